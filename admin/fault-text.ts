import { sentenceOf } from "../lib/errors.ts";
import { maskText } from "../masking/masking.ts";

/** What went wrong, as a sentence without secrets: what a program of the server's wrote may stand in it. */
export function faultText(error: unknown): string {
  return maskText(sentenceOf(error), "log");
}
