/** Notices that a model wrote a tool call as text, which happens where its server does not parse calls. Pure. */
import type { AgentEndEvent } from "@earendil-works/pi-coding-agent";
import { PROVIDER_ID } from "../config.ts";
import { list, parsed, record, text } from "../lib/json.ts";

/** A call in the spelling of a chat template, from the beginning of its line to the end of the answer. */
const TAGGED = /^[ \t]*(?:<tool_call>|<function=|\[TOOL_CALLS\])/m;
const TAGGED_END = /(?:<\/tool_call>|<\/function>|[\]}])$/;

/** The name of the called tool, as Hermes and Qwen, Qwen3-Coder and Llama, and GLM write it. */
const NAME = /"name"\s*:\s*"([^"]+)"|<function=([^\s>]+)>|<tool_call>\s*([\w.-]+)/;

const FENCED = /^```\w*\s*\n(.*)\n\s*```$/s;

/** The name of the tool that the whole answer calls, or its end; an answer that only explains a call has other text after it. */
function calledIn(answer: string): string | undefined {
  const whole = answer.trim();
  const at = whole.search(TAGGED);
  if (at >= 0) {
    const isQuoted = (whole.slice(0, at).match(/```/g)?.length ?? 0) % 2 === 1;
    if (isQuoted || !TAGGED_END.test(whole)) return undefined;
    const [, hermes, tagged, bare] = NAME.exec(whole.slice(at)) ?? [];
    return hermes ?? tagged ?? bare;
  }
  const value = parsed(FENCED.exec(whole)?.[1] ?? whole);
  const call = record(value) ?? record(list(value)[0]);
  const given = record(call?.arguments ?? call?.parameters);
  // The definition of a tool has a schema there.
  const isDefinition = given?.type === "object" && record(given.properties) !== undefined;
  return given === undefined || isDefinition ? undefined : text(call?.name);
}

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
  const name = calledIn(written);
  if (name === undefined || !tools.includes(name)) return undefined;
  return "The model wrote a tool call as text, so nothing was run: the server did not recognise it as a call. Start llama-server with --jinja, or give it the chat template of this model with --chat-template-file.";
}
