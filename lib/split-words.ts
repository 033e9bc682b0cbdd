/** Command lines taken apart, within bounds. */
import { split } from "shlex";

/** Characters of the longest command line that is taken apart: Linux starts no program with more. */
export const MAX_COMMAND_CHARACTERS = 2_097_152;

/**
 * shlex reads a word again at each quote that closes in it: its time grows with the length times the quotes, and 500 kB
 * of them took 19 seconds. This much takes a millisecond.
 */
const MAX_WORK = 4_000_000;

/** Whether a command line is longer, or has more quotes, than any real one. */
export function isOversized(command: string): boolean {
  if (command.length > MAX_COMMAND_CHARACTERS) return true;
  return command.length * (command.match(/["']/g)?.length ?? 0) > MAX_WORK;
}

/**
 * The words of a command line, as a shell splits them.
 *
 * @throws where a quote is left open, and where the line is oversized
 */
export function splitWords(command: string): string[] {
  if (isOversized(command)) throw new RangeError("The command line is longer than any real one.");
  return split(command);
}
