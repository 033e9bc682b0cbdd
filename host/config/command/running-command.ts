import { Scalar } from "yaml";
import { CONTEXT_VARIABLE } from "../context-setting.ts";
import type { TracedText } from "../traced-text.ts";
import { sizeIn } from "./programs.ts";
import { serverOf } from "./server-arguments.ts";
import { contextFlags } from "./server-flags.ts";
import { splitCommand } from "./words.ts";

/** A text that stands in no file: every character is its own place. */
function untraced(text: string): TracedText {
  const scalar = new Scalar(text);
  const traces = Array.from({ length: text.length }, (_, start) => {
    const span = { start, end: start + 1 };
    return { own: span, origin: span, scalar };
  });
  return { text, traces };
}

/**
 * The context size that a command line, as `/running` shows it, gives its server: for all slots together.
 *
 * @returns undefined where it gives none, or what it starts cannot be told
 */
export function contextOfCommand(commandLine: string): number | undefined {
  const words = splitCommand(untraced(commandLine));
  const server = words && serverOf(words);
  if (server === undefined || typeof server === "string") return undefined;
  const flag = contextFlags(server).at(-1)?.value.text;
  const assigned = server.assignments.findLast(({ text }) => text.startsWith(`${CONTEXT_VARIABLE}=`))?.text;
  return sizeIn(server.program, flag ?? assigned?.slice(CONTEXT_VARIABLE.length + 1) ?? "");
}
