import type { SessionEntry } from "@earendil-works/pi-coding-agent";
import { PROVIDER_ID } from "../config.ts";

/**
 * Why the last turn failed, where pi has nothing left to print. An answer that overflowed is taken out of the
 * conversation before pi compacts; when nothing can be compacted, print mode ends without a word and with code 0
 * (`_omitRecoveryAttempt` in pi's agent session, 1.5.2 and 1.6.0).
 *
 * @param entries of the session's branch, from its beginning
 */
export function lostFailure(entries: readonly SessionEntry[]): string | undefined {
  const last = entries.findLast((entry) => entry.type === "message" && entry.message.role === "assistant");
  if (last?.type !== "message" || last.message.role !== "assistant") return undefined;
  const { provider, stopReason, errorMessage } = last.message;
  const isOmitted = entries.some(
    (entry) => entry.type === "context_edit" && entry.targetId === last.id && entry.replacement === null,
  );
  return provider === PROVIDER_ID && stopReason === "error" && isOmitted ? errorMessage : undefined;
}
