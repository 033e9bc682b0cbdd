/**
 * pi decides by the words of an error whether to ask again, to compact the conversation, or to show it. These functions
 * check a fault's sentence against pi's own rules, so that words quoted from the server do not decide.
 */
import { isContextOverflow, isRetryableAssistantError } from "@earendil-works/pi-ai";
import { type Remedy, type Sentence, ServerError, sentenceOf } from "../lib/errors.ts";
import type { OwnSecrets } from "../masking/masking.ts";
import { overflowFault } from "../server/http/answer-faults.ts";
import { isShortage, parseErrorBody } from "../server/http/error-body.ts";
import { emptyMessage } from "./message.ts";

/** What pi will do with an error of this text. */
export function remedyOf(text: string): Remedy {
  const message = emptyMessage({ api: "", provider: "", id: "" }, 0);
  message.stopReason = "error";
  message.errorMessage = text;
  if (isContextOverflow(message)) return "compact";
  return isRetryableAssistantError(message) ? "retry" : "none";
}

/**
 * The fault as it is, or an overflow: where nothing but the server's words shows what a fault is, and pi's own rules
 * find an overflow in them, it is one.
 */
export function asPiReads(fault: ServerError): ServerError {
  const { undecided, status, quote } = fault;
  if (fault.remedy === "compact" || undecided === undefined || isShortage(undecided)) return fault;
  if (remedyOf(undecided) !== "compact") return fault;
  return overflowFault(parseErrorBody(undecided), { status, quote, cause: fault });
}

/** Unseen, and no letter: words read as before but match no rule. */
const WORD_JOINER = "\u2060";

/**
 * Puts a word joiner into those words of `text` that make pi do something else than `remedy`, and into no others.
 *
 * @param whole the sentence around a candidate for `text`
 */
function disarm(text: string, remedy: Remedy, whole: (text: string) => string): string {
  const words = text.split(/(\p{L}{3,}|\d{2,})/u);
  const broken = words.map((word, at) => (at % 2 === 0 ? word : [...word].join(WORD_JOINER)));
  words.forEach((word, at) => {
    const kept = broken[at] ?? "";
    broken[at] = word;
    if (remedyOf(whole(broken.join(""))) !== remedy) broken[at] = kept;
  });
  return broken.join("");
}

/**
 * A fault's sentence, so worded that pi does what helps. Quoted text that would mislead pi is made unreadable to its
 * rules, not to people.
 */
export function wordedFor(sentence: Sentence, remedy: Remedy): string {
  const [before, quote, after = ""] = typeof sentence === "string" ? [sentence, ""] : sentence;
  const around = (text: string): string => before + text + after;
  const message = around(quote);
  if (remedyOf(message) === remedy) return message;
  const disarmed = quote && around(disarm(quote, remedy, around));
  if (disarmed !== "" && remedyOf(disarmed) === remedy) return disarmed;
  // A host, a path or a model's name outside of the quote did it.
  const marked = (text: string): string => (remedy === "retry" ? `${text} (connection error)` : text);
  const reworded = disarm(message, remedy, marked);
  return remedyOf(reworded) === remedy ? reworded : marked(reworded);
}

/**
 * What the user reads of a turn that failed, and pi keeps in the session: worded for pi, without the user's own
 * secrets, and with what else looks like one masked. Never rejects.
 *
 * @param secrets of the configuration that the turn ran with, where it came as far as to have one
 */
export async function errorText(error: unknown, secrets: OwnSecrets | undefined): Promise<string> {
  try {
    // Only failures need it, and it reads YAML.
    const { blankerOf, maskText } = await import("../masking/masking.ts");
    const own = secrets ?? { apiKey: undefined, passphrase: undefined };
    const [theirs, ours] = [blankerOf(own), blankerOf(own, "ours")];
    const whole = (text: string): string => maskText(ours(text), "log");
    if (!(error instanceof ServerError)) return whole(sentenceOf(error));
    if (typeof error.sentence === "string") return wordedFor(whole(error.sentence), error.remedy);
    const [before, quote, after = ""] = error.sentence;
    const masked = [before, maskText(theirs(quote), "log"), after] as const;
    const message = whole(masked.join(""));
    return wordedFor(message === masked.join("") ? masked : message, error.remedy);
  } catch {
    // What cannot be masked is not shown.
    return "The turn failed, and its error message could not be cleaned of secrets. Run /reload, or install the extension again.";
  }
}
