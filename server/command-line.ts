import { createHash } from "node:crypto";
import { split } from "shlex";

/** What the flags of a llama-server's command line tell. */
export interface CommandLine {
  /** `--ctx-size`: tokens for all slots together. */
  contextSize: number | undefined;
  /** Tokens a single request may use: `--ctx-size` divided by the slots. */
  context: number | undefined;
  /** Embedding or reranking: not a chat model. */
  isChat: boolean;
}

/**
 * SHA-256 of a command line, by which a later one is known to be the same: it may hold secrets, and so is not kept
 * itself. Its port is another one at each start of llama.cpp's router, and whenever llama-swap counts its models anew.
 */
export function commandDigest(commandLine: string): string {
  const lasting = commandLine.replace(/(?<=^|\s)(["']?--port["']?)(=|\s+)\S+/g, "$1");
  return createHash("sha256").update(lasting).digest("hex");
}

const KV_UNIFIED = /^(-kvu|--kv-unified|-no-kvu|--no-kv-unified)$/;

/** The last value of a flag in any of its forms `-c 1`, `-c=1`, `--ctx-size 1`, `--ctx-size=1`: the last one wins. */
function lastValue(words: readonly string[], names: readonly string[]): string | undefined {
  let found: string | undefined;
  words.forEach((word, at) => {
    const equals = word.indexOf("=");
    if (names.includes(word)) found = words[at + 1];
    else if (equals > 0 && names.includes(word.slice(0, equals))) found = word.slice(equals + 1);
  });
  return found;
}

function wholeNumber(value: string | undefined): number | undefined {
  const number = value !== undefined && /^\d+$/.test(value) ? Number(value) : 0;
  return number > 0 && Number.isSafeInteger(number) ? number : undefined;
}

/** Whether all slots share one KV cache; of flag and counter-flag the last one wins. */
function isUnified(words: readonly string[]): boolean {
  return words.findLast((word) => KV_UNIFIED.test(word))?.includes("no-") === false;
}

/**
 * Reads the command line that llama-swap shows in `/running`: macros are expanded there, comment lines are gone,
 * line breaks and quotes are kept.
 *
 * @returns what is known; everything undefined where the text cannot be split into words
 */
export function readCommandLine(command: string): CommandLine {
  let words: string[];
  try {
    words = split(command.replace(/\\\r?\n/g, " "));
  } catch {
    return { contextSize: undefined, context: undefined, isChat: true };
  }
  const isChat = !words.some((word) => /^--(embeddings?|rerank(ing)?)$/.test(word));
  const total = wholeNumber(lastValue(words, ["--ctx-size", "-c"]));
  if (total === undefined) return { contextSize: undefined, context: undefined, isChat };
  // One KV cache for all slots: each request may use the whole window.
  const slots = isUnified(words) ? 1 : (wholeNumber(lastValue(words, ["--parallel", "-np"])) ?? 1);
  return { contextSize: total, context: Math.floor(total / slots) || undefined, isChat };
}
