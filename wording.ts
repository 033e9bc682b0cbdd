/**
 * pi decides by the words of an error whether it asks again, compacts the conversation, or shows it. Here a fault's
 * sentence is checked against pi's own rules, so that words quoted from the server do not decide.
 */
import type { AssistantMessage } from "@earendil-works/pi-ai";
import { isContextOverflow, isRetryableAssistantError } from "@earendil-works/pi-ai";
import type { Remedy, ServerError } from "./server/errors.ts";

/** What pi will do with an error of this text. */
export function remedyOf(text: string): Remedy {
  const message: AssistantMessage = {
    role: "assistant",
    content: [],
    api: "",
    provider: "",
    model: "",
    usage: {
      input: 0,
      output: 0,
      cacheRead: 0,
      cacheWrite: 0,
      totalTokens: 0,
      cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0, total: 0 },
    },
    stopReason: "error",
    errorMessage: text,
    timestamp: 0,
  };
  if (isContextOverflow(message)) return "compact";
  return isRetryableAssistantError(message) ? "retry" : "none";
}

/** Unseen, and no letter: words read as before but match no rule. */
const WORD_JOINER = "\u2060";

function disarm(text: string): string {
  return text
    .replace(/\p{L}{3,}/gu, (word) => word.slice(0, 1) + WORD_JOINER + word.slice(1))
    .replace(/\d(?=\d)/g, (digit) => digit + WORD_JOINER);
}

/**
 * The sentence of a fault, so worded that pi does what helps. Quoted text that would mislead pi is made unreadable
 * to its rules, not to people.
 */
export function wordedFor(fault: ServerError): string {
  const { message, quote, remedy } = fault;
  if (remedyOf(message) === remedy) return message;
  const disarmed = quote === undefined ? message : message.replace(quote, () => disarm(quote));
  if (remedyOf(disarmed) === remedy) return disarmed;
  // A path or a model's name did it.
  return remedy === "none" ? disarm(message) : disarmed;
}
