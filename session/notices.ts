/** Notices of a session, as sentences. Does no I/O. */
import type { Api, Model } from "@earendil-works/pi-ai";
import type { SessionEntry } from "@earendil-works/pi-coding-agent";
import { compactionFor, isTooSmall } from "../config/compaction.ts";
import { PROVIDER_ID } from "../config.ts";

/** Changed windows that one notice names. */
const MAX_WINDOWS = 5;

/** @param windows a line for each model whose window changed */
export function windowsNotice(windows: readonly string[]): string {
  const more = windows.length - MAX_WINDOWS;
  return [...windows.slice(0, MAX_WINDOWS), ...(more > 0 ? [`and ${more} more`] : [])].join("\n");
}

/**
 * The settings that make compaction work for a model whose window is too small for pi's defaults.
 *
 * @returns undefined where the window is large enough, or the user has set it
 */
export function smallWindowNotice(
  model: Pick<Model<Api>, "id" | "contextWindow">,
  settings: unknown,
): string | undefined {
  if (!isTooSmall(model, settings)) return undefined;
  const lines = { compaction: compactionFor([model]) };
  return `The context of ${model.id} (${model.contextWindow} tokens) is too small for pi's own compaction settings. Add to settings.json in pi's agent folder:\n${JSON.stringify(lines, null, 2)}`;
}

/**
 * Why the last turn failed, where pi has nothing left to print. pi takes an answer that overflowed out of the
 * conversation before it compacts; when nothing can be compacted, print mode ends silently and with code 0
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
