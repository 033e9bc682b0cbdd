/** pi's compaction settings against the window of a model. Pure. */
import { PROVIDER_ID } from "../config.ts";
import { record } from "../lib/json.ts";

/** pi's defaults in tokens: it compacts when less than the reserve is free, and keeps the most recent ones. */
const RESERVE_TOKENS = 16_384;
const KEEP_RECENT_TOKENS = 20_000;

/** Below this pi would compact again at once: what it keeps, its reserve, and some room to work in. */
const LEAST_WINDOW = RESERVE_TOKENS + KEEP_RECENT_TOKENS + 4096;

interface Windowed {
  readonly id: string;
  /** In tokens. */
  readonly contextWindow: number;
}

/** Whether pi would compact all the time. @param settings pi's; what the user has set for the model counts as enough */
export function isTooSmall({ id, contextWindow }: Windowed, settings: unknown): boolean {
  if (contextWindow >= LEAST_WINDOW) return false;
  const compaction = record(record(settings)?.compaction);
  return (
    compaction?.enabled !== false &&
    record(compaction?.modelOverrides)?.[`${PROVIDER_ID}/${id}`] === undefined
  );
}

/** What belongs under `compaction` in pi's settings for these models. */
export function compactionFor(models: readonly Windowed[]): { modelOverrides: Record<string, object> } {
  const overrides = models.map(({ id, contextWindow }) => {
    const quarter = Math.floor(contextWindow / 4);
    return [`${PROVIDER_ID}/${id}`, { reserveTokens: quarter, keepRecentTokens: quarter }] as const;
  });
  return { modelOverrides: Object.fromEntries(overrides) };
}
