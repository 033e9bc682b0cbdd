/**
 * How long an answer may be. Counted as pi's own provider does (`clampMaxTokensToContext` in pi-ai's simple-options, which
 * extensions cannot import): servers such as vLLM refuse a request whose prompt and longest answer exceed the window.
 */
import type { Api, Message, Model, TranscriptContext } from "@earendil-works/pi-ai";
import { getSystemMessageText } from "@earendil-works/pi-ai";
import { type JsonRecord, record } from "../lib/json.ts";

/** Rough figures, pi's own. */
const CHARACTERS_PER_TOKEN = 3.5;
const IMAGE_CHARACTERS = 4800;

/** Tokens left free, since the input may exceed the estimate; of a small window an eighth. */
const MARGIN = 4096;
const SMALL_WINDOW_SHARE = 1 / 8;
/** The margin of a long input, kept while it leaves this many tokens for the answer. */
const MARGIN_SHARE = 0.15;
const AMPLE_OUTPUT = 32_768;

/** Less is no answer. llama-server accepts it even where the prompt fills the window; others refuse and name the room. */
const LEAST_OUTPUT = 1024;

/**
 * The longest answer to ask for.
 *
 * @param wanted tokens that the caller or the model's own limit allows
 * @returns tokens
 */
export function outputLimit(context: TranscriptContext, model: Model<Api>, wanted: number): number {
  const { contextWindow } = model;
  if (contextWindow <= 0) return wanted;
  const input = inputTokens(context.messages);
  const least = Math.min(MARGIN, Math.ceil(contextWindow * SMALL_WINDOW_SHARE));
  const ample = contextWindow - input - Math.max(least, Math.ceil(input * MARGIN_SHARE));
  const room = ample >= AMPLE_OUTPUT ? ample : Math.min(AMPLE_OUTPUT, contextWindow - input - least);
  return Math.min(wanted, Math.max(room, LEAST_OUTPUT));
}

/** Tokens of the conversation: the last answer's real usage, and an estimate of what came after it. */
function inputTokens(messages: readonly Message[]): number {
  let known = 0;
  let from = 0;
  let newest = Number.NEGATIVE_INFINITY;
  messages.forEach((message, at) => {
    // A later message in front of an answer, such as a summary, makes its usage that of another prompt.
    const used = message.timestamp >= newest ? usedTokens(message) : 0;
    if (used > 0) [known, from] = [used, at + 1];
    newest = Math.max(newest, message.timestamp);
  });
  const characters = messages.slice(from).reduce((sum, message) => sum + charactersOf(message), 0);
  return known + Math.ceil(characters / CHARACTERS_PER_TOKEN);
}

function usedTokens(message: Message): number {
  if (message.role !== "assistant" || message.stopReason === "error" || message.stopReason === "aborted")
    return 0;
  const { totalTokens, input, output, cacheRead, cacheWrite } = message.usage;
  return totalTokens || input + output + cacheRead + cacheWrite;
}

function charactersOf(message: Message): number {
  if (message.role === "system")
    return getSystemMessageText(message).length + JSON.stringify(message.toolsAdded ?? "").length;
  if (typeof message.content === "string") return message.content.length;
  return message.content.reduce((sum, part) => sum + charactersOfPart(part), 0);
}

function charactersOfPart(part: Exclude<Message["content"], string>[number]): number {
  if (part.type === "text") return part.text.length;
  if (part.type === "image") return IMAGE_CHARACTERS;
  if (part.type === "thinking") return part.thinking.length;
  return part.name.length + JSON.stringify(part.arguments).length;
}

/** The body, asking for at most `tokens`, even if a hook changed it. */
export function withOutput(body: unknown, tokens: number): unknown {
  const fields = record(body);
  if (fields === undefined) return body;
  const limits = OUTPUT_FIELDS.filter((name) => askedFor(fields, name) > tokens);
  return { ...fields, ...Object.fromEntries(limits.map((name) => [name, tokens])) };
}

/** Tokens of the longest answer that a body asks for; infinite where it names none. */
export function askedOutput(body: unknown): number {
  const fields = record(body) ?? {};
  const asked = OUTPUT_FIELDS.filter((name) => name in fields).map((name) => askedFor(fields, name));
  return asked.length === 0 ? Number.POSITIVE_INFINITY : Math.max(...asked);
}

const OUTPUT_FIELDS = ["max_tokens", "max_completion_tokens"] as const;

function askedFor(fields: JsonRecord, name: (typeof OUTPUT_FIELDS)[number]): number {
  const asked = fields[name];
  return typeof asked === "number" ? asked : 0;
}
