import { createHash } from "node:crypto";
import type { Behaviour } from "./flags.ts";
import { LlamaError } from "./llama-replies.ts";
import { isMap } from "./macros.ts";

export interface ToolCall {
  name: string;
  /** JSON text, as the client sent it. */
  arguments: string;
}

export interface ChatMessage {
  role: string;
  text: string;
  /** Data URLs of the images, in order. */
  images: string[];
  reasoning: string;
  calls: ToolCall[];
}

export interface ChatRequest {
  model: string | undefined;
  messages: ChatMessage[];
  tools: unknown[];
  /** False with `tool_choice: "none"`: calls then stay text. */
  mayCall: boolean;
  stream: boolean;
  includeUsage: boolean;
  returnProgress: boolean;
  maxTokens: number;
  thinking: boolean;
  /** Whether the client may end the thinking of the answer. */
  hasControl: boolean;
}

const INVALID = "invalid_request_error";

/**
 * Reads a chat/completions body with llama-server's checks and wordings.
 * @throws {LlamaError} 400 for a malformed request; 500 for an image without a projector and for call
 * arguments in the history that are not JSON
 */
export function readChatRequest(text: string, behaviour: Behaviour): ChatRequest {
  const body = parseBody(text);
  if (!Array.isArray(body.messages)) throw new LlamaError(400, INVALID, "'messages' is required");
  const messages = body.messages.filter(isMap).map((message) => readMessage(message, behaviour));
  if (messages.length > 1 && messages.slice(-2).every((message) => message.role === "assistant")) {
    throw new LlamaError(400, INVALID, "Cannot have 2 or more assistant messages at the end of the list.");
  }
  const template = isMap(body.chat_template_kwargs) ? body.chat_template_kwargs : {};
  const limit = body.max_tokens ?? body.max_completion_tokens ?? -1;
  if (typeof limit !== "number") {
    const found = `[json.exception.type_error.302] type must be number, but is ${typeof limit}`;
    throw new LlamaError(400, INVALID, `Field 'max_tokens': ${found}`);
  }
  return {
    model: typeof body.model === "string" ? body.model : undefined,
    messages,
    tools: Array.isArray(body.tools) ? body.tools : [],
    mayCall: body.tool_choice !== "none",
    stream: body.stream === true,
    includeUsage: isMap(body.stream_options) && body.stream_options.include_usage === true,
    returnProgress: body.return_progress === true,
    maxTokens: limit < 0 ? Number.POSITIVE_INFINITY : limit,
    hasControl: body.reasoning_control === true,
    thinking: template.enable_thinking !== false && body.reasoning_effort !== "none" && behaviour.reasoning,
  };
}

/** What a request to end the thinking of an answer names; empty where it names nothing. */
export function readControl(text: string): { id: string; action: string } {
  const { id, action } = parseBody(text);
  return { id: String(id ?? ""), action: String(action ?? "") };
}

/**
 * The prompt as tokens: system, tools, messages, and the opening of the answer, in the order of a common chat
 * template. Each part is tokenized on its own, so an answer sent back later gives the tokens it was made of.
 */
export function renderPrompt(request: ChatRequest): string[] {
  const tokens: string[] = [];
  const add = (text: string) => {
    for (const token of tokenize(text)) tokens.push(token);
  };
  const [first] = request.messages;
  const rest = first?.role === "system" ? request.messages.slice(1) : request.messages;
  if (first?.role === "system" || request.tools.length > 0) {
    tokens.push("<|im_start|>system\n");
    if (first?.role === "system") add(first.text);
    for (const tool of request.tools) add(JSON.stringify(tool));
    tokens.push("<|im_end|>\n");
  }
  for (const message of rest) {
    tokens.push(`<|im_start|>${message.role}\n`);
    if (message.reasoning !== "") tokens.push(THINK, ...tokenize(message.reasoning), END_THINK);
    for (const image of message.images) tokens.push(...imageTokens(image));
    add(message.text);
    for (const call of message.calls) tokens.push(...callTokens(call));
    tokens.push("<|im_end|>\n");
  }
  tokens.push("<|im_start|>assistant\n");
  if (!request.thinking) tokens.push(THINK, END_THINK);
  return tokens;
}

export const THINK = "<think>\n";
export const END_THINK = "\n</think>\n\n";

/** A toy tokenizer: about four characters a token, the same for the same text. */
export function* tokenize(text: string): Generator<string> {
  for (const [token] of text.matchAll(/\s?\S{1,6}|\s+/gu)) yield token;
}

/** A call as the model sees it; spelled canonically, since clients send arguments back in their own spelling. */
export function callTokens(call: ToolCall): string[] {
  let spelled = call.arguments;
  try {
    spelled = JSON.stringify(JSON.parse(call.arguments));
  } catch {
    // A call cut by max_tokens stays unchanged.
  }
  return [`<tool_call>${call.name}`, ...tokenize(spelled), "</tool_call>"];
}

function imageTokens(url: string): string[] {
  const digest = createHash("sha1").update(url).digest("hex").slice(0, 12);
  return new Array<string>(256).fill(`<image ${digest}>`);
}

function parseBody(text: string): Record<string, unknown> {
  try {
    const body: unknown = JSON.parse(text);
    return isMap(body) ? body : {};
  } catch {
    throw new LlamaError(400, INVALID, parseError(text));
  }
}

function readMessage(message: Record<string, unknown>, behaviour: Behaviour): ChatMessage {
  const role = String(message.role);
  const calls = Array.isArray(message.tool_calls) ? message.tool_calls.filter(isMap).map(readCall) : [];
  const { content } = message;
  if (role === "assistant" && (content === undefined || content === null) && calls.length === 0) {
    const wording = "Assistant message must contain either 'content' or 'tool_calls'!";
    throw new LlamaError(400, INVALID, wording);
  }
  const parts = Array.isArray(content) ? content.filter(isMap) : [{ type: "text", text: content ?? "" }];
  const texts: string[] = [];
  const images: string[] = [];
  for (const part of parts) {
    if (part.type === "text") texts.push(String(part.text));
    else if (part.type === "image_url" && "image_url" in part && isMap(part.image_url)) {
      if (!behaviour.vision) {
        const hint = "hint: if this is unexpected, you may need to provide the mmproj";
        throw new LlamaError(500, "server_error", `image input is not supported - ${hint}`);
      }
      images.push(String(part.image_url.url));
    } else throw new LlamaError(400, INVALID, "unsupported content[].type");
  }
  const reasoning = typeof message.reasoning_content === "string" ? message.reasoning_content : "";
  return { role, text: texts.join("\n"), images, reasoning, calls };
}

function readCall(call: Record<string, unknown>): ToolCall {
  const named = isMap(call.function) ? call.function : {};
  const read = { name: String(named.name), arguments: String(named.arguments) };
  try {
    JSON.parse(read.arguments);
  } catch {
    const wording = `Failed to parse tool call arguments as JSON: ${parseError(read.arguments)}`;
    throw new LlamaError(500, "server_error", wording);
  }
  return read;
}

/** llama-server's words for JSON that ends too early, the only damage that clients cause. */
function parseError(text: string): string {
  const where = `[json.exception.parse_error.101] parse error at line 1, column ${text.length + 1}`;
  if (text === "") {
    const advice = "check that your input string or stream contains the expected JSON";
    return `${where}: attempting to parse an empty input; ${advice}`;
  }
  const open = /^[^"]*(?:"(?:[^"\\]|\\.)*"[^"]*)*("(?:[^"\\]|\\.)*)$/s.exec(text)?.[1];
  const problem =
    open === undefined
      ? "unexpected end of input; expected '[', '{', or a literal"
      : `invalid string: missing closing quote; last read: '${open}'`;
  return `${where}: syntax error while parsing value - ${problem}`;
}
