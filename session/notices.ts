/** Notices of a session, as sentences. Does no I/O. */
import type { Api, Model } from "@earendil-works/pi-ai";
import type { SessionEntry } from "@earendil-works/pi-coding-agent";
import { PROVIDER_ID, VARIABLES, type Variables } from "../config.ts";
import { record } from "../lib/json.ts";
import { cleanText } from "../lib/text.ts";

/** Changed windows that one notice names. */
const MAX_WINDOWS = 5;

/** pi's defaults in tokens: it compacts when less than the reserve is free, and keeps the most recent ones. */
const RESERVE_TOKENS = 16_384;
const KEEP_RECENT_TOKENS = 20_000;

/** Below this pi would compact again at once: what it keeps, its reserve, and some room to work in. */
const LEAST_WINDOW = RESERVE_TOKENS + KEEP_RECENT_TOKENS + 4096;

/** Characters of the name of a variable that are shown. */
const SHOWN_NAME = 80;

/** Letters in which a misspelt variable differs at most from the one that was meant. */
const MAX_TYPOS = 3;

/** Names the variables that look like this extension's and are none: a misspelt one would be ignored silently. */
export async function unknownVariablesNotice(env: Variables): Promise<string | undefined> {
  const unknown = Object.keys(env).filter(
    (name) => name.startsWith("AI_SERVER_") && env[name] && !VARIABLES.includes(name),
  );
  if (unknown.length === 0) return undefined;
  // Loaded only now: each start of pi would pay for it.
  const { default: leven } = await import("leven");
  return unknown
    .sort()
    .map((name) => {
      const distances = VARIABLES.map((known) => leven(name, known));
      const least = Math.min(...distances);
      const hint =
        least <= MAX_TYPOS
          ? `did you mean ${VARIABLES[distances.indexOf(least)]}?`
          : "docs/variables.md lists all.";
      return `${cleanText(name.replaceAll("\n", " "), SHOWN_NAME)} is set, but there is no such variable; ${hint}`;
    })
    .join("\n");
}

/** @param windows a line for each model whose window changed */
export function windowsNotice(windows: readonly string[]): string {
  const more = windows.length - MAX_WINDOWS;
  return [...windows.slice(0, MAX_WINDOWS), ...(more > 0 ? [`and ${more} more`] : [])].join("\n");
}

function isSet(key: string, settings: unknown): boolean {
  const compaction = record(record(settings)?.compaction);
  return compaction?.enabled === false || record(compaction?.modelOverrides)?.[key] !== undefined;
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
  const key = `${PROVIDER_ID}/${model.id}`;
  if (model.contextWindow >= LEAST_WINDOW || isSet(key, settings)) return undefined;
  const quarter = Math.floor(model.contextWindow / 4);
  const override = { reserveTokens: quarter, keepRecentTokens: quarter };
  const lines = { compaction: { modelOverrides: { [key]: override } } };
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
