/** Finds the largest context size that fits, by asking what sizes need. Loads nothing. */
import { type MemoryNeed, type StartedModel, sumOf, type Unknown, unknown } from "./fit.ts";
import type { Verdict } from "./room.ts";
import type { ServerMemory } from "./server-memory.ts";

/** llama-server rounds each slot's share up to a multiple of this, and gives no fitted model less than the other. */
const STEP_TOKENS = 256;
const LEAST_TOKENS = 4096;

/** Questions to the tool: what a size needs grows so evenly with it that four are enough. */
const MOST_ROUNDS = 16;

export type Largest =
  /** `isTrained`: more would fit, and the model was trained for no more. */
  | { readonly kind: "largest"; readonly need: MemoryNeed; readonly isTrained: boolean }
  /** Not even the smallest useful size does. */
  | { readonly kind: "none"; readonly need: MemoryNeed; readonly verdict: Verdict }
  | Unknown;

export interface Search {
  readonly memory: Pick<ServerMemory, "needs">;
  readonly model: StartedModel;
  /** In tokens; undefined where only the model's file knows it. */
  readonly trained: number | undefined;
  verdictOf(need: MemoryNeed): Verdict;
  /** No larger size is looked at, in tokens; undefined where only the trained size is the limit. */
  readonly below?: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/** @throws the signal's reason, and nothing else */
export async function largestContext(search: Search): Promise<Largest> {
  const { model } = search;
  const shares = model.isUnified ? 1 : model.slots;
  const step = STEP_TOKENS * shares;
  const least = await needFor(search, LEAST_TOKENS * shares);
  if (least.kind === "unknown") return least;
  const trained = (least.trained ?? search.trained ?? Infinity) * shares;
  const limit = Math.min(trained, search.below ?? Infinity);
  if (limit === Infinity) return unknown("no source gives the context size that the model was trained for.");
  const most = await needFor(search, Math.max(1, Math.floor(limit / step)) * step);
  if (most.kind === "unknown") return most;
  if (isFit(search, most)) return { kind: "largest", need: most, isTrained: limit === trained };
  if (most.tokens <= least.tokens || !isFit(search, least))
    return noneOf(search, most.tokens < least.tokens ? most : least);
  return between(search, least, most, step);
}

/** @param fits needs of a size that fits, and of a larger one that does not */
async function between(search: Search, least: MemoryNeed, most: MemoryNeed, step: number): Promise<Largest> {
  let [fits, exceeds] = [least, most];
  for (let round = 0; round < MOST_ROUNDS && exceeds.tokens - fits.tokens > step; round += 1) {
    const guess = guessBetween(search, fits, exceeds, step, round);
    // Where the guess is right, the next size is the first that does not fit.
    const sizes = [guess, guess + step].filter((tokens) => tokens < exceeds.tokens);
    const needs = await search.memory.needs(search.model, sizes, search.signal);
    if (!Array.isArray(needs)) return needs;
    for (const need of needs) {
      if (isFit(search, need)) fits = need;
      else if (need.tokens < exceeds.tokens) exceeds = need;
    }
  }
  return { kind: "largest", need: fits, isTrained: false };
}

/** Where the need, drawn as a line between both, reaches what is there; every third time the middle. */
function guessBetween(
  search: Search,
  fits: MemoryNeed,
  exceeds: MemoryNeed,
  step: number,
  round: number,
): number {
  const [low, high] = [totalOf(fits), totalOf(exceeds)];
  const verdict = search.verdictOf(exceeds);
  const isLine = verdict.kind === "does not fit" && high > low && round % 3 !== 2;
  const part = isLine ? Math.max(0, (high - verdict.missingMiB - low) / (high - low)) : 0.5;
  const steps = Math.floor(((exceeds.tokens - fits.tokens) / step) * part);
  const most = Math.ceil((exceeds.tokens - fits.tokens) / step) - 1;
  return fits.tokens + step * Math.min(most, Math.max(1, steps));
}

function totalOf({ devices }: MemoryNeed): number {
  return devices.reduce((sum, device) => sum + sumOf(device), 0);
}

async function needFor({ memory, model, signal }: Search, tokens: number): Promise<MemoryNeed | Unknown> {
  const needs = await memory.needs(model, [tokens], signal);
  return Array.isArray(needs)
    ? (needs[0] ?? unknown("llama-fit-params printed nothing for this size."))
    : needs;
}

function isFit(search: Search, need: MemoryNeed): boolean {
  return search.verdictOf(need).kind === "fits";
}

function noneOf(search: Search, need: MemoryNeed): Largest {
  const verdict = search.verdictOf(need);
  if (verdict.kind === "not known")
    return unknown("what it needs, or what will be free, can be counted only in part.");
  return { kind: "none", need, verdict };
}
