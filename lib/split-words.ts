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

/** The last value of a flag in any of its forms `-c 1`, `-c=1`, `--ctx-size 1`, `--ctx-size=1`: the last one wins. */
export function lastValue(words: readonly string[], names: readonly string[]): string | undefined {
  let found: string | undefined;
  words.forEach((word, at) => {
    const equals = word.indexOf("=");
    if (names.includes(word)) found = words[at + 1];
    else if (equals > 0 && names.includes(word.slice(0, equals))) found = word.slice(equals + 1);
  });
  return found;
}

/** The flag that sets the context size of other servers. */
export const OTHER_SIZE_FLAGS = {
  vllm: "--max-model-len",
  aphrodite: "--max-model-len",
  sglang: "--context-length",
  koboldcpp: "--contextsize",
  tabby: "--max-seq-len",
  llamaCppPython: "--n_ctx",
  lmdeploy: "--session-len",
  textGeneration: "--max-total-tokens",
  tensorRt: "--max_seq_len",
} as const;
