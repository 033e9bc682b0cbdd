/** Models and transcripts as pi builds them, with only what a test cares about written out. */
import type {
  Api,
  AssistantMessage,
  ImageContent,
  JsonObject,
  Message,
  Model,
  SystemMessage,
  TextContent,
  Tool,
  ToolCall,
  ToolResultMessage,
  TranscriptContext,
  UserMessage,
} from "@earendil-works/pi-ai";
import type { ModelTraits } from "../../messages.ts";

const NO_COST = { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 };

export function model(changes: Partial<Model<Api>> = {}): Model<Api> {
  return {
    id: "thinker",
    name: "thinker",
    api: "ai-server",
    provider: "ai-server",
    baseUrl: "https://127.0.0.1",
    reasoning: true,
    input: ["text", "image"],
    cost: NO_COST,
    contextWindow: 65_536,
    maxTokens: 32_768,
    ...changes,
  };
}

export const PLAIN: ModelTraits = {
  thinking: { kind: "none" },
  keepsThinking: false,
  keptBy: undefined,
  takesTools: true,
  needsAlternation: false,
  needsShortCallIds: false,
};

export function system(content: string, changes: Partial<SystemMessage> = {}): SystemMessage {
  return { role: "system", content, timestamp: 0, ...changes };
}

export function user(content: string | (TextContent | ImageContent)[]): UserMessage {
  return { role: "user", content, timestamp: 0 };
}

export function text(value: string): TextContent {
  return { type: "text", text: value };
}

export function image(data = "aGk=", mimeType = "image/png"): ImageContent {
  return { type: "image", data, mimeType };
}

export function call(id: string, name: string, args: JsonObject = {}): ToolCall {
  return { type: "toolCall", id, name, arguments: args };
}

export function assistant(
  content: string | AssistantMessage["content"],
  changes: Partial<AssistantMessage> = {},
): AssistantMessage {
  return {
    role: "assistant",
    content: typeof content === "string" ? [text(content)] : content,
    api: "ai-server",
    provider: "ai-server",
    model: "thinker",
    usage: {
      input: 0,
      output: 0,
      cacheRead: 0,
      cacheWrite: 0,
      totalTokens: 0,
      cost: { ...NO_COST, total: 0 },
    },
    stopReason: "stop",
    timestamp: 0,
    ...changes,
  };
}

export function result(
  toolCallId: string,
  content: string | (TextContent | ImageContent)[],
): ToolResultMessage {
  return {
    role: "toolResult",
    toolCallId,
    toolName: "bash",
    content: typeof content === "string" ? [text(content)] : content,
    isError: false,
    timestamp: 0,
  };
}

export function tool(name: string, properties: JsonObject = {}): Tool {
  return { name, description: `Runs ${name}`, parameters: { type: "object", properties } };
}

export function transcript(...messages: Message[]): TranscriptContext {
  return { messages } as TranscriptContext;
}
