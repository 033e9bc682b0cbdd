/** Whether an error says that the context window is too small, and how long an answer would fit. Pure. */

import { count } from "../../lib/json.ts";
import type { ErrorBody } from "./error-body.ts";

/** Tokens left free besides prompt and answer: servers add a few of their own, SGLang two. */
const OUTPUT_MARGIN = 16;
/** An answer of fewer tokens is useless: the conversation counts as too long. */
const LEAST_OUTPUT = 64;

/**
 * The longest answer that fits, where a server refused a request whose prompt fits alone but not with the requested
 * answer. vLLM, SGLang, text-generation-inference, llama-cpp-python and OpenRouter count both.
 *
 * @param asked tokens that the request allowed the answer
 * @returns fewer tokens than `asked`; undefined where the error does not name the numbers, or nothing fits
 */
export function fittingOutput({ words, figures }: ErrorBody, asked: number): number | undefined {
  const { prompt, window, output } = figures;
  const most = count(/at most (\d+) (?:completion|output) tokens/i.exec(words)?.[1]);
  if (most !== undefined && most < asked) return most;
  const isAboutOutput = output !== undefined || /max_(?:completion_|new_)?tokens|output tokens/i.test(words);
  if (!isAboutOutput || prompt === undefined || window === undefined) return undefined;
  // vLLM stops counting at the first token too many: the prompt may be longer than it says.
  const isCountCut = /at least/i.test(words) && prompt === window - asked + 1;
  const room = window - prompt - OUTPUT_MARGIN;
  const fitting = isCountCut ? Math.floor(room / 4) : room;
  return fitting >= LEAST_OUTPUT && fitting < asked ? fitting : undefined;
}

/** The codes and types of such errors. */
const OVERFLOW_NAME =
  /context_(?:length|window|size)_exceeded|exceeds?_context_(?:size|length|window)|context_?window_?exceeded|prompt_too_long|request_too_large/i;

/** Messages of llama.cpp and similar servers for a prompt that does not fit. */
const OVERFLOW = new RegExp(
  [
    "exceed(?:s|ed|ing)?\\b.{0,60}\\bcontext[ _-](?:size|length|window)",
    "context[ _-](?:size|length|window)\\b.{0,40}\\bexceed",
    "(?:greater|larger|longer|bigger) than (?:the )?(?:model'?s? |loaded |max(?:imum)? )*context",
    "prompt[ _](?:\\([^)]{0,40}\\) )?(?:is )?too[ _]long",
    "\\binput (?:is )?too long",
    "longer than the maximum (?:model )?length",
    "context overflow",
    "exceeds? n_ctx\\b",
    "exceeds (?:the )?maximum length of \\d+ tokens",
    // vLLM, when it computes the answer's length itself and nothing is left for it.
    "max_tokens must be at least 1, got -",
    "too big compared to KV size",
    "maximum context length",
    "context length is only",
    "input is too large",
    "context shift is disabled",
    "trying to keep the first \\d+ tokens",
    "reached context length",
    "n_keep.{0,20}>=? ?n_ctx",
    "greater than max_seq_len",
    "`inputs` (?:tokens|must have less)",
    "exceeds the maximum allowed (?:input )?length",
    OVERFLOW_NAME.source,
  ].join("|"),
  "i",
);

/** Errors that look like an overflow, but pass, or are about money. */
const NO_OVERFLOW =
  /rate.?limit|too many requests|throttl|quota|billing|overloaded|server (?:is )?busy|try again later/i;

/** Whether these words are about a quota, a rate or a busy server, though they may speak of tokens. */
export function isShortage(words: string): boolean {
  return NO_OVERFLOW.test(words);
}

/** Whether an error says that the prompt, or prompt and answer together, did not fit. */
export function isOverflow({ words, type, code, figures }: ErrorBody): boolean {
  if (OVERFLOW_NAME.test(type) || OVERFLOW_NAME.test(code)) return true;
  const { prompt = 0, window = Number.POSITIVE_INFINITY } = figures;
  return (OVERFLOW.test(words) || prompt > window) && !NO_OVERFLOW.test(words);
}
