/** A tool call that a model wrote as text, in the forms of common chat templates. Pure. */
import { list, parsed, record, text } from "./json.ts";

/** A call in the spelling of a chat template, from the beginning of its line to the end of the answer. */
const TAGGED = /^[ \t]*(?:<tool_call>|<function=|\[TOOL_CALLS\])/m;
const TAGGED_END = /(?:<\/tool_call>|<\/function>|[\]}])$/;

/** The name of the called tool, as Hermes and Qwen, Qwen3-Coder and Llama, and GLM write it. */
const NAME = /"name"\s*:\s*"([^"]+)"|<function=([^\s>]+)>|<tool_call>\s*([\w.-]+)/;

const FENCED = /^```\w*\s*\n(.*)\n\s*```$/s;

/**
 * The name of the tool that the whole answer calls, or its end; an answer that only explains a call has other text
 * after it.
 */
export function writtenCall(answer: string): string | undefined {
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
