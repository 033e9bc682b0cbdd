import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Api, Model } from "@earendil-works/pi-ai";
import type { ExtensionAPI } from "@earendil-works/pi-coding-agent";
import { PROVIDER_ID } from "../config.ts";
import { record } from "../lib/json.ts";

/** pi's defaults in tokens: it compacts when less than the reserve is free, and keeps the most recent ones. */
const RESERVE_TOKENS = 16_384;
const KEEP_RECENT_TOKENS = 20_000;

/** Below this pi would compact again at once: what it keeps, its reserve, and some room to work in. */
const LEAST_WINDOW = RESERVE_TOKENS + KEEP_RECENT_TOKENS + 4096;

/** pi's settings; before 1.0 pi did not hand them out, so that the user's file is read. */
export async function settingsOf(pi: ExtensionAPI, agentDir: string): Promise<unknown> {
  if ("getSettings" in pi && typeof pi.getSettings === "function") return pi.getSettings();
  try {
    return JSON.parse(await readFile(join(agentDir, "settings.json"), "utf8"));
  } catch {
    return undefined;
  }
}

function isSettled(key: string, settings: unknown): boolean {
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
  if (model.contextWindow >= LEAST_WINDOW || isSettled(key, settings)) return undefined;
  const reserveTokens = Math.floor(model.contextWindow / 4);
  const keepRecentTokens = Math.floor(model.contextWindow / 4);
  const lines = { compaction: { modelOverrides: { [key]: { reserveTokens, keepRecentTokens } } } };
  return `The context of ${model.id} (${model.contextWindow} tokens) is too small for pi's own compaction settings. Add to settings.json in pi's agent folder:\n${JSON.stringify(lines, null, 2)}`;
}
