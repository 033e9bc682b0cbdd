import { createHash } from "node:crypto";
import { lastValue, OTHER_SIZE_FLAGS, splitWords } from "../../lib/split-words.ts";

/** What the flags of a llama-server's command line set. */
export interface CommandLine {
  /** `--ctx-size`: tokens for all slots together. */
  contextSize: number | undefined;
  /** Tokens a single request may use: `--ctx-size` divided by the slots. */
  context: number | undefined;
  /** Embedding or reranking: not a chat model. */
  isChat: boolean;
  /** Whether it has a projector for images; undefined where none is named, since one may come with the model. */
  vision: boolean | undefined;
  /** As the name of the model's file has it: `Q4_K_M`. */
  quantization: string | undefined;
}

const NOTHING: CommandLine = {
  contextSize: undefined,
  context: undefined,
  isChat: true,
  vision: undefined,
  quantization: undefined,
};

/**
 * SHA-256 of a command line, by which a later one is known to be the same: it may hold secrets, and so is not kept
 * itself. Its port is another one at each start of llama.cpp's router, and whenever llama-swap counts its models again.
 */
export function commandDigest(commandLine: string): string {
  const lasting = commandLine.replace(/(?<=^|\s)(["']?--port["']?)(=|\s+)\S+/g, "$1");
  return createHash("sha256").update(lasting).digest("hex");
}

const KV_UNIFIED = /^(-kvu|--kv-unified|-no-kvu|--no-kv-unified)$/;

/** SGLang has `--max-total-tokens` too, for its memory. */
const { textGeneration: _, ...TELLING } = OTHER_SIZE_FLAGS;
const OTHER_SIZES = Object.values(TELLING);

/** What comes after the name of llama-server, where that is named: a wrapper's `-c` is another one. */
function argumentsOf(words: readonly string[]): string[] {
  const at = words.findIndex(
    (word) => /(^|[/\\_.-])llama-server([-_.][^/\\]*)?$/i.test(word) && !/\.gguf$/i.test(word),
  );
  return words.slice(at + 1);
}

function wholeNumber(value: string | undefined): number | undefined {
  const number = value !== undefined && /^\d+$/.test(value) ? Number(value) : 0;
  return number > 0 && Number.isSafeInteger(number) ? number : undefined;
}

/** The names of quantisations, as the files of models end with them. */
const QUANTIZATION =
  /(?<=[-_.:/])((?:UD-)?(?:I?Q[1-8](?:_[A-Z0-9]+)*|TQ[12]_0|MXFP4(?:_MOE)?|NVFP4|BF16|F16|F32))(?=[-.:]|$)/gi;

/** The end of a file's name: the pattern above takes time for each letter of each. */
const MAX_FILE_CHARACTERS = 300;

function quantizationIn(words: readonly string[]): string | undefined {
  const file = lastValue(words, ["--model", "-m"]) ?? lastValue(words, ["--hf-repo", "-hf", "-hfr"]);
  return file
    ?.slice(-MAX_FILE_CHARACTERS)
    ?.replace(/-\d{5}-of-\d{5}(?=\.gguf$)/, "")
    .match(QUANTIZATION)
    ?.at(-1)
    ?.toUpperCase();
}

function visionOf(words: readonly string[]): boolean | undefined {
  const last = words.findLast((word) => /^(--mmproj(-url)?|-mmu?|--no-mmproj)(=|$)/.test(word));
  return last === undefined ? undefined : last !== "--no-mmproj";
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
    words = argumentsOf(splitWords(command.replace(/\\\r?\n/g, " ")));
  } catch {
    return NOTHING;
  }
  const isChat = !words.some((word) => /^--(embeddings?|rerank(ing)?)$/.test(word));
  const size = lastValue(words, OTHER_SIZES) ?? lastValue(words, ["--ctx-size", "-c"]);
  const total = wholeNumber(size);
  const perSlot = wholeNumber(lastValue(words, ["--kv-unified-per-slot"]));
  const known = { ...NOTHING, isChat, vision: visionOf(words), quantization: quantizationIn(words) };
  // Without a size llama-server takes as much as all slots need.
  if (total === undefined) return { ...known, context: size === undefined ? perSlot : undefined };
  // One KV cache for all slots: each request may use the whole window.
  const slots = isUnified(words) ? 1 : (wholeNumber(lastValue(words, ["--parallel", "-np"])) ?? 1);
  const share = Math.floor(total / slots);
  return { ...known, contextSize: total, context: Math.min(share, perSlot ?? share) || undefined };
}
