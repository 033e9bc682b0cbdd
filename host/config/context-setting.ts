import { wordSet } from "../../lib/text.ts";
import type { Edit, Position } from "./traced-text.ts";

/** What decides how a model's context is divided among requests. */
export interface Slots {
  /** `--parallel`; undefined where nothing says it, and llama-server decides. */
  readonly parallel: number | undefined;
  /** `--kv-unified`; undefined where nothing says it. */
  readonly kvUnified: boolean | undefined;
  /** `--kv-unified-per-slot`: tokens above which no slot goes, whatever its share is; absent where nothing says it. */
  readonly perSlot?: number | undefined;
}

export type SetBy =
  | "flag"
  | "model macro"
  | "global macro"
  | "environment"
  | "section"
  | "global section"
  | "nothing";

/** A model's context size as the file has it. */
export interface ContextSetting extends Position {
  readonly model: string;
  /**
   * The size written there, in tokens, for all slots together; 0 is llama-server's word for the trained size.
   * Undefined where none is set or the file alone does not show it.
   */
  readonly tokens: number | undefined;
  readonly setBy: SetBy;
  /** How it is spelled: the flag, the macro's name, the variable or the key. */
  readonly name: string | undefined;
  /** Other models that share this setting. */
  readonly sharedWith: readonly string[];
  readonly slots: Slots;
  /** How the program is called that runs the model, where that is not llama-server. */
  readonly program?: string | undefined;
  /** A sentence where this model cannot be understood; everything but line and column is then unknown. */
  readonly problem: string | undefined;
}

/** A change that was proven to touch one model's context size and nothing else. */
export interface ContextChange {
  /** The whole new text; the same as the old one when it has this size already. */
  readonly text: string;
  /** What turns the old text into the new one. */
  readonly edits: readonly Edit[];
  readonly before: ContextSetting;
  readonly after: ContextSetting;
  /** Sentences: what is ignored beside the change, and which declared figures stayed as they were. */
  readonly warnings: readonly string[];
}

/** llama.cpp reads the size into 32 bits with a sign. */
export const MAX_TOKENS = 2_147_483_647;

/** What `LLAMA_ARG_CTX_SIZE` and the flags are called where a sentence needs one name. */
export const CONTEXT_VARIABLE = "LLAMA_ARG_CTX_SIZE";

/**
 * Tokens that one request may use: the size divided by the slots unless they share one KV cache, rounded up to 256
 * as llama-server does, and no more than `--kv-unified-per-slot`. Caps by the trained size and by memory are not known
 * here.
 */
export function contextPerSlot(tokens: number, slots: Slots): number {
  const share = Math.ceil(dividedAmong(tokens, slots) / 256) * 256;
  return Math.min(share, slots.perSlot ?? share);
}

/** The size divided by the slots, not rounded, and no more than `--kv-unified-per-slot`. */
export function shareOf(tokens: number, slots: Slots): number {
  const share = dividedAmong(tokens, slots);
  return Math.min(share, slots.perSlot ?? share);
}

function dividedAmong(tokens: number, slots: Slots): number {
  const isDivided = slots.parallel !== undefined && slots.parallel > 1 && slots.kvUnified !== true;
  return isDivided ? Math.floor(tokens / (slots.parallel ?? 1)) : tokens;
}

/** A size as it may be written: digits only; undefined for everything else. */
export function tokensOf(text: string): number | undefined {
  return /^\d{1,15}$/.test(text.trim()) ? Number(text) : undefined;
}

const DECLARED = wordSet(
  "context ctx nctx numctx maxctx ctxsize ctxlen ctxlength contextsize contextlen contextlength contextwindow contexttokens maxcontext maxcontextsize maxcontextlength maxcontextwindow maxcontexttokens maxmodellen",
);

/** Whether a key of a model's metadata names its context size, in any of the usual spellings. */
export function namesContext(key: string): boolean {
  return DECLARED.has(key.toLowerCase().replace(/[-_. ]/g, ""));
}
