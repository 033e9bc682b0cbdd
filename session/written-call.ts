/** Notices that a model wrote a tool call as text, which happens where its server does not parse calls. Pure. */
import type { AgentEndEvent } from "@earendil-works/pi-coding-agent";
import { PROVIDER_ID } from "../config.ts";
import { writtenCall } from "../lib/written-call.ts";

/**
 * @param tools the names of those that the model was offered
 * @returns a notice where the last answer of a run is a call of one of them in words, and no real call
 */
export function writtenCallNotice(
  last: AgentEndEvent["messages"][number] | undefined,
  tools: readonly string[],
): string | undefined {
  if (last?.role !== "assistant" || last.provider !== PROVIDER_ID || last.stopReason !== "stop")
    return undefined;
  if (last.content.some(({ type }) => type === "toolCall")) return undefined;
  const written = last.content.map((block) => (block.type === "text" ? block.text : "")).join("");
  const name = writtenCall(written);
  if (name === undefined || !tools.includes(name)) return undefined;
  return "The model wrote a tool call as text, so nothing was run: the server did not recognise it as a call. Start llama-server with --jinja, or give it the chat template of this model with --chat-template-file.";
}
