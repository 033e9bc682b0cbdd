/** Conversations reworded for strict chat templates. Pure; an unchanged history keeps its bytes. */

/** The messages of a chat/completions request, as far as this extension writes them. */
export type TextPart = { type: "text"; text: string };
export type ImagePart = { type: "image_url"; image_url: { url: string } };
export type ToolCallPart = { id: string; type: "function"; function: { name: string; arguments: string } };

type UserChatMessage = { role: "user"; content: string | (TextPart | ImagePart)[] };

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

/** Between a tool's result and the user: alternating templates count the call as the user's turn. */
const NO_ANSWER = "(no answer)";

/**
 * For templates that refuse two user messages in a row (Mistral, Gemma, Cohere): joins them, and puts an answer between
 * a tool's result and the user.
 */
export function alternating(messages: readonly ChatMessage[]): ChatMessage[] {
  const turns: ChatMessage[] = [];
  for (const message of messages) {
    const last = turns.at(-1);
    if (message.role === "user" && last?.role === "user") turns.splice(-1, 1, joined(last, message));
    else if (message.role === "user" && last?.role === "tool")
      turns.push({ role: "assistant", content: NO_ANSWER }, message);
    else turns.push(message);
  }
  return turns;
}

function joined(first: UserChatMessage, second: UserChatMessage): UserChatMessage {
  const { content: before } = first;
  const { content: after } = second;
  if (typeof before === "string" && typeof after === "string")
    return { role: "user", content: `${before}\n\n${after}` };
  return { role: "user", content: [before, after].flatMap(partsOf) };
}

function partsOf(content: UserChatMessage["content"]): Exclude<UserChatMessage["content"], string> {
  return typeof content === "string" ? [{ type: "text", text: content }] : content;
}

/**
 * For models without tools: an earlier model's calls and results as plain words, since a template without tools drops
 * them or refuses their role.
 */
export function withoutTools(messages: readonly ChatMessage[]): ChatMessage[] {
  const names = new Map<string, string>();
  return messages.map((message): ChatMessage => {
    if (message.role === "assistant") {
      for (const call of message.tool_calls ?? []) names.set(call.id, call.function.name);
      return callsInWords(message);
    }
    if (message.role !== "tool") return message;
    const name = names.get(message.tool_call_id) ?? "a tool";
    return { role: "user", content: `Result of ${name}:\n${message.content}` };
  });
}

function callsInWords({ tool_calls: calls, ...answer }: AssistantChatMessage): AssistantChatMessage {
  if (calls === undefined) return answer;
  const said = calls.map(({ function: { name, arguments: given } }) => `Called ${name} with ${given}`);
  return { ...answer, content: [answer.content, ...said].filter((part) => part !== "").join("\n\n") };
}
