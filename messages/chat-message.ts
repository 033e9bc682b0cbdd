/** The messages of a chat/completions request, as far as this extension writes them. */

export type TextPart = { type: "text"; text: string };
export type ImagePart = { type: "image_url"; image_url: { url: string } };
export type ToolCallPart = { id: string; type: "function"; function: { name: string; arguments: string } };

export type UserChatMessage = { role: "user"; content: string | (TextPart | ImagePart)[] };

export type AssistantChatMessage = {
  role: "assistant";
  content: string;
  reasoning_content?: string;
  tool_calls?: ToolCallPart[];
};

export type ChatMessage =
  | { role: "system"; content: string }
  | UserChatMessage
  | AssistantChatMessage
  | { role: "tool"; tool_call_id: string; content: string };
