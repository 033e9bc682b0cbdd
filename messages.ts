/** pi's transcript as a chat/completions request body. Pure: the same history gives the same bytes. */
import { createHash } from "node:crypto";
import type {
  Api,
  AssistantMessage,
  ImageContent,
  Message,
  Model,
  SimpleStreamOptions,
  TextContent,
  Tool,
  ToolResultMessage,
  TranscriptContext,
} from "@earendil-works/pi-ai";
import {
  clampThinkingLevel,
  collapseSystemMessages,
  getCurrentTools,
  getSystemMessageText,
} from "@earendil-works/pi-ai";
import { type JsonRecord, record } from "./lib/json.ts";
import { outputLimit } from "./messages/output-limit.ts";
import {
  type AssistantChatMessage,
  alternating,
  type ChatMessage,
  type ImagePart,
  type TextPart,
  type ToolCallPart,
  withoutTools,
} from "./messages/template-limits.ts";
import { type ThinkingTraits, thinkingFields } from "./messages/thinking-fields.ts";

/** What the request needs to know of the model beyond what pi registers. */
export interface ModelTraits extends ThinkingTraits {
  takesTools: boolean;
  /** Whether the user may speak only after an answer. */
  needsAlternation: boolean;
  /** Whether ids of tool calls must be nine letters and digits. */
  needsShortCallIds: boolean;
}

type RequestOptions = Pick<
  SimpleStreamOptions,
  "maxTokens" | "reasoning" | "samplingParams" | "temperature" | "thinkingBudgets" | "toolChoice"
> & {
  /** The slot of llama-server; its own choice by default. */
  slot?: number | undefined;
  /** Whether the server may be asked to end the thinking of the answer. */
  isEndable?: boolean | undefined;
};

const NO_IMAGE = "(An image stood here; this model does not take images.)";
const NO_RESULT = "No result: the call was interrupted.";
const IMAGES_FOLLOW = "(The image follows in the next message.)";
const RESULT_IMAGES = "Images from the tool results above:";

/** llama-server refuses a body with half of a surrogate pair, which is not valid UTF-8. */
function wellFormed(text: string): string {
  return text.toWellFormed();
}

/**
 * A JSON value with its keys in the order of its schema's properties, then the others sorted. The model probably wrote
 * it so, which keeps the server's cache valid, and the bytes do not depend on how the object was built.
 */
function ordered(value: unknown, schema: JsonRecord | undefined): unknown {
  if (typeof value === "string") return wellFormed(value);
  if (Array.isArray(value)) return value.map((item) => ordered(item, record(schema?.items)));
  const object = record(value);
  if (object === undefined) return value;
  const properties = record(schema?.properties) ?? {};
  const known = Object.keys(properties).filter((key) => Object.hasOwn(object, key));
  const others = Object.keys(object)
    .filter((key) => !Object.hasOwn(properties, key))
    .sort();
  return Object.fromEntries(
    [...known, ...others].map((key) => [wellFormed(key), ordered(object[key], record(properties[key]))]),
  );
}

/** A JSON schema with its keywords sorted; the order of properties is kept, since the model writes in that order. */
function orderedSchema(value: unknown, isProperties = false): unknown {
  if (typeof value === "string") return wellFormed(value);
  if (Array.isArray(value)) return value.map((item) => orderedSchema(item));
  const object = record(value);
  if (object === undefined) return value;
  const keys = Object.keys(object);
  if (!isProperties) keys.sort();
  return Object.fromEntries(
    keys.map((key) => [wellFormed(key), orderedSchema(object[key], !isProperties && key === "properties")]),
  );
}

/** Ids of other models may be too long or odd for chat templates; Mistral accepts only its own form. */
function toolCallId(id: string, { needsShortCallIds }: ModelTraits): string {
  if (needsShortCallIds) return /^[A-Za-z0-9]{9}$/.test(id) ? id : digest(id).slice(0, 9);
  return /^[A-Za-z0-9_-]{1,64}$/.test(id) ? id : `call_${digest(id).slice(0, 24)}`;
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function imagePart(image: ImageContent): ImagePart {
  return { type: "image_url", image_url: { url: `data:${image.mimeType};base64,${image.data}` } };
}

function userMessage(
  content: string | readonly (TextContent | ImageContent)[],
  vision: boolean,
): ChatMessage[] {
  if (typeof content === "string")
    return content === "" ? [] : [{ role: "user", content: wellFormed(content) }];
  const parts = content.flatMap((part): (TextPart | ImagePart)[] => {
    if (part.type === "image") return [vision ? imagePart(part) : { type: "text", text: NO_IMAGE }];
    return part.text === "" ? [] : [{ type: "text", text: wellFormed(part.text) }];
  });
  if (parts.length === 0) return [];
  // Plain text as a string: some chat templates print a list of parts verbatim.
  const texts = parts.flatMap((part) => (part.type === "text" ? [part.text] : []));
  return [{ role: "user", content: texts.length === parts.length ? texts.join("\n") : parts }];
}

function assistantMessage(
  message: AssistantMessage,
  model: Model<Api>,
  traits: ModelTraits,
  schemas: ReadonlyMap<string, JsonRecord | undefined>,
): AssistantChatMessage | undefined {
  if (message.stopReason === "error" || message.stopReason === "aborted") return undefined;
  const own = message.provider === model.provider && message.model === model.id;
  let text = "";
  let thinking = "";
  const calls: ToolCallPart[] = [];
  for (const block of message.content ?? []) {
    if (block.type === "text") text += block.text;
    else if (block.type === "thinking") thinking += own && traits.keepsThinking ? block.thinking : "";
    else {
      const args = JSON.stringify(ordered(block.arguments ?? {}, schemas.get(block.name)));
      calls.push({
        id: toolCallId(block.id, traits),
        type: "function",
        function: { name: wellFormed(block.name), arguments: args },
      });
    }
  }
  if (text.trim() === "" && calls.length === 0) return undefined;
  return {
    role: "assistant",
    content: wellFormed(text),
    ...(thinking === "" ? {} : { reasoning_content: wellFormed(thinking) }),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}

/** The results of one assistant message's calls, in the order of the calls; missing ones are closed. */
function toolMessages(
  calls: readonly ToolCallPart[],
  results: readonly ToolResultMessage[],
  vision: boolean,
  traits: ModelTraits,
): ChatMessage[] {
  const images: ImagePart[] = [];
  const messages = calls.map((call): ChatMessage => {
    const result = results.find(({ toolCallId: id }) => toolCallId(id, traits) === call.id);
    const content = result?.content ?? [{ type: "text", text: NO_RESULT }];
    const texts = content.flatMap((part) => (part.type === "text" ? [part.text] : vision ? [] : [NO_IMAGE]));
    const found = vision ? content.flatMap((part) => (part.type === "image" ? [imagePart(part)] : [])) : [];
    images.push(...found);
    const text = texts.join("\n");
    const fallback = found.length > 0 ? IMAGES_FOLLOW : "(no output)";
    return { role: "tool", tool_call_id: call.id, content: wellFormed(text.trim() === "" ? fallback : text) };
  });
  if (images.length > 0) {
    messages.push({ role: "user", content: [{ type: "text", text: RESULT_IMAGES }, ...images] });
  }
  return messages;
}

/** Two answers in a row become one: llama-server refuses two at the end. */
function join(first: AssistantChatMessage, second: AssistantChatMessage): AssistantChatMessage {
  const thinking = [first.reasoning_content, second.reasoning_content].filter((part) => part !== undefined);
  return {
    role: "assistant",
    content: [first.content, second.content].filter((part) => part !== "").join("\n\n"),
    ...(thinking.length === 0 ? {} : { reasoning_content: thinking.join("\n\n") }),
    ...(second.tool_calls === undefined ? {} : { tool_calls: second.tool_calls }),
  };
}

/** The messages between one assistant message and the next that answer its calls. */
function resultsAfter(messages: readonly Message[], at: number): ToolResultMessage[] {
  const results: ToolResultMessage[] = [];
  for (const message of messages.slice(at + 1)) {
    if (message.role === "assistant" && message.stopReason !== "error" && message.stopReason !== "aborted")
      break;
    if (message.role === "toolResult") results.push(message);
  }
  return results;
}

/**
 * Converts the messages of a transcript.
 *
 * Later system messages are folded into the first. Failed and aborted answers are left out, as are results whose
 * call is not sent. Every call is followed by its result, or by a note where there is none. Messages are reworded where
 * the model's template would not accept them.
 */
export function chatMessages(
  context: TranscriptContext,
  model: Model<Api>,
  traits: ModelTraits,
): ChatMessage[] {
  const { messages } = collapseSystemMessages(context);
  const vision = model.input.includes("image");
  const schemas = new Map(
    getCurrentTools(context.messages).map((tool) => [tool.name, record(tool.parameters)]),
  );
  const converted: ChatMessage[] = [];
  messages.forEach((message, at) => {
    if (message.role === "system") {
      const text = getSystemMessageText(message);
      if (text !== "") converted.push({ role: "system", content: wellFormed(text) });
    } else if (message.role === "user") {
      converted.push(...userMessage(message.content ?? [], vision));
    } else if (message.role === "assistant") {
      const answer = assistantMessage(message, model, traits, schemas);
      if (answer === undefined) return;
      const last = converted.at(-1);
      if (last?.role === "assistant") converted.splice(-1, 1, join(last, answer));
      else converted.push(answer);
      if (answer.tool_calls)
        converted.push(...toolMessages(answer.tool_calls, resultsAfter(messages, at), vision, traits));
    }
  });
  const taken = traits.takesTools ? converted : withoutTools(converted);
  return traits.needsAlternation ? alternating(taken) : taken;
}

function toolDefinition(tool: Tool): unknown {
  return {
    type: "function",
    function: {
      name: wellFormed(tool.name),
      description: wellFormed(tool.description),
      parameters: orderedSchema(tool.parameters),
    },
  };
}

function sorted(fields: JsonRecord): JsonRecord {
  return Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The model's, overridden by those of its thinking level, then by the request's: pi's order (simple-options.js). */
function samplingParams(model: Model<Api>, options: RequestOptions): JsonRecord {
  const level = clampThinkingLevel(model, options.reasoning ?? "off");
  const ofLevel = model.samplingParamsByThinkingLevel?.[level];
  return { ...model.samplingParams, ...ofLevel, ...options.samplingParams };
}

/** Fields that a plain chat/completions server may refuse and that can be left out. */
export const OPTIONAL_FIELDS = [
  "return_progress",
  "stream_options",
  "chat_template_kwargs",
  "reasoning_effort",
  "thinking_budget_tokens",
  "tool_choice",
  "id_slot",
  "reasoning_control",
] as const;

/**
 * The body of one request.
 *
 * @param refused optional fields that this server has refused; left out
 * @returns an object whose keys come in a fixed order
 */
export function chatRequest(
  context: TranscriptContext,
  model: Model<Api>,
  traits: ModelTraits,
  options: RequestOptions,
  refused: ReadonlySet<string>,
): Record<string, unknown> {
  const messages = chatMessages(context, model, traits);
  const definitions = getCurrentTools(context.messages).map(toolDefinition);
  const tools = definitions.length === 0 || !traits.takesTools ? undefined : definitions;
  const body: Record<string, unknown> = {
    model: model.id,
    messages,
    stream: true,
    stream_options: { include_usage: true },
    return_progress: true,
    max_tokens: outputLimit(context, model, options.maxTokens ?? model.maxTokens),
    ...(tools === undefined ? {} : { tools }),
    ...(tools === undefined || options.toolChoice === undefined ? {} : { tool_choice: options.toolChoice }),
    ...(options.temperature === undefined ? {} : { temperature: options.temperature }),
    ...thinkingFields(traits, options),
    ...(options.isEndable && traits.thinking.kind !== "none" ? { reasoning_control: true } : {}),
    ...(options.slot === undefined ? {} : { id_slot: options.slot }),
    ...sorted(samplingParams(model, options)),
  };
  for (const name of refused) delete body[name];
  return body;
}
