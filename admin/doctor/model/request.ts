/** One small request of a trial, sent and read as a turn of pi's is. */
import { randomUUID } from "node:crypto";
import type { Api, AssistantMessage, Message, Model, ThinkingLevel, Tool } from "@earendil-works/pi-ai";
import { normalizeContext } from "@earendil-works/pi-ai";
import { Activities } from "../../../activity/activities.ts";
import { spent, wholeSeconds } from "../../../lib/figures.ts";
import { type JsonRecord, record } from "../../../lib/json.ts";
import { createProvider } from "../../../provider/provider.ts";
import { sessionOf } from "../../interruption.ts";
import type { Visit } from "../visit.ts";

export interface Question {
  readonly messages: readonly Message[];
  readonly maxTokens: number;
  /** Off by default. */
  readonly level?: ThinkingLevel | undefined;
}

/** What pi got. Times are in milliseconds since the request. */
export interface Answer {
  readonly message: AssistantMessage;
  /** A sentence. */
  readonly failure: string | undefined;
  /** Until the first piece of an answer, of thinking or of a call came; undefined where none did. */
  readonly firstMs: number | undefined;
  readonly lastMs: number;
  /** In how many pieces the answer came. */
  readonly pieces: number;
  /** As the server sent them. */
  readonly usage: JsonRecord | undefined;
  readonly timings: JsonRecord | undefined;
  /** How often the server said how far it is with the prompt. */
  readonly reports: number;
}

/** @throws the reason of the visit's signal */
export async function ask(visit: Visit, model: Model<Api>, question: Question): Promise<Answer> {
  const { aiServer } = visit.call;
  const limitMs = visit.config.loadTimeoutMs;
  const limit = AbortSignal.timeout(limitMs);
  const wire = new Wire();
  const session = sessionOf(visit.call);
  // Not those of the session: a trial is none of its turns.
  const provider = createProvider(aiServer, new Activities());
  const begun = performance.now();
  const stream = provider.streamSimple(model, normalizeContext({ messages: [...question.messages] }), {
    ...aiServer.payloadHook.option,
    env: definedOf(visit.stored),
    ...(session === undefined ? {} : { sessionId: session }),
    signal: AbortSignal.any([visit.signal, limit]),
    maxTokens: question.maxTokens,
    ...(question.level === undefined ? {} : { reasoning: question.level }),
    onProviderStreamEvent: (event) => wire.saw(event),
  });
  let firstMs: number | undefined;
  let lastMs = 0;
  let pieces = 0;
  for await (const { type } of stream) {
    if (!type.endsWith("_delta") && type !== "toolcall_start") continue;
    lastMs = performance.now() - begun;
    firstMs ??= lastMs;
    pieces += 1;
  }
  visit.signal.throwIfAborted();
  const message = await stream.result();
  const isLate = limit.aborted && message.stopReason === "aborted";
  const failure = isLate ? tooLate(limitMs, firstMs) : message.errorMessage;
  return { message, failure, firstMs, lastMs, pieces, ...wire.seen };
}

function tooLate(limitMs: number, firstMs: number | undefined): string {
  const first = firstMs === undefined ? "" : `; its first token came after ${spent(firstMs)}`;
  return `No whole answer came within ${wholeSeconds(limitMs)} (AI_SERVER_LOAD_TIMEOUT_MS)${first}.`;
}

/** What the server sends beside the answer, in the events of its stream. */
class Wire {
  #usage: JsonRecord | undefined;
  #timings: JsonRecord | undefined;
  #reports = 0;

  saw(event: unknown): void {
    const chunk = record(event);
    this.#usage = record(chunk?.usage) ?? this.#usage;
    this.#timings = record(chunk?.timings) ?? this.#timings;
    if (record(chunk?.prompt_progress) !== undefined) this.#reports += 1;
  }

  get seen(): Pick<Answer, "usage" | "timings" | "reports"> {
    return { usage: this.#usage, timings: this.#timings, reports: this.#reports };
  }
}

function definedOf(variables: Visit["stored"]): Record<string, string> {
  return Object.fromEntries(
    Object.entries(variables).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}

/** About 27 tokens. */
const line = (number: number): string =>
  `Line ${number} of a text that only makes this prompt as long as that of a short session; nothing in it needs an answer.`;
const LINE_TOKENS = 27;
const LONG_PROMPT_TOKENS = 1500;

/** A system message of about 1,500 tokens, or of a third of a small window. It begins as no other prompt does. */
export function longSystem(contextWindow: number): Message {
  const tokens = Math.min(LONG_PROMPT_TOKENS, contextWindow / 3);
  const lines = Array.from({ length: Math.ceil(tokens / LINE_TOKENS) }, (_, at) => line(at + 1));
  return system(lines.join("\n"));
}

/** Nothing of it is in a cache. */
export function system(text: string, tools: Tool[] = []): Message {
  const content = `Trial ${randomUUID()}.\n${text}`;
  return { role: "system", content, ...(tools.length === 0 ? {} : { toolsAdded: tools }), timestamp: 0 };
}

export function user(content: Extract<Message, { role: "user" }>["content"]): Message {
  return { role: "user", content, timestamp: 0 };
}
