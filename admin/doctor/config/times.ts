/** How long llama-swap waits for a model, and how long it keeps one. */
import { duration } from "../../../lib/figures.ts";
import { type Finding, ok, warning } from "../finding.ts";
import { allOr, type SeenModel, type Sight } from "./sight.ts";

/** llama-swap's own `healthCheckTimeout`, and the least that it takes, in seconds. */
const USUAL_TIMEOUT = 120;
const LEAST_TIMEOUT = 15;
/** A load that takes this part of the limit may miss it on a busy disk. */
const CLOSE = 0.7;
/** Seconds: two prompts of one person are further apart. */
const SHORT_TTL = 60;

/** The limit of a load against the loads that this machine remembers. */
export async function* loadTimes({ visit, models, swap }: Sight): AsyncIterable<Finding> {
  if (swap === undefined) return;
  const set = swap.healthCheckTimeout;
  const limit = Math.max(LEAST_TIMEOUT, set ?? USUAL_TIMEOUT);
  const words = set === undefined ? `${limit} s, llama-swap's own limit` : `${limit} s`;
  const { remembered } = visit.call.aiServer;
  const loads = await Promise.all(
    models.map(async (model) => ({
      model,
      ms: (await remembered.expectedLoadMs(visit.config, model.id)) ?? 0,
    })),
  );
  const slow = loads.filter(({ ms }) => ms > CLOSE * limit * 1000);
  const slowest = Math.max(0, ...loads.map(({ ms }) => ms));
  yield* allOr(
    slow.map(({ model, ms }) => {
      const seen = `its loads take about ${duration(ms)}, and healthCheckTimeout ends one after ${words}`;
      const next = `Set \`healthCheckTimeout: ${Math.ceil((3 * ms) / 60_000) * 60}\` at the top of the config, then /ai-server-restart.`;
      return warning("load-time", `Load of ${model.shown}`, seen, next);
    }),
    "load-time",
    "Time to load",
    slowest === 0
      ? `${words}; no load is remembered here`
      : `${words}; the slowest load that is remembered here took ${duration(slowest)}`,
  );
}

export function* idleTimes({ models, swap }: Sight): Iterable<Finding> {
  if (swap === undefined) return;
  const ttlOf = ({ ttl }: SeenModel): number => ttl ?? swap.globalTtl;
  const short = models.filter((model) => ttlOf(model) > 0 && ttlOf(model) < SHORT_TTL);
  yield* allOr(
    short.map((model) => {
      const seen = `it is unloaded after ${ttlOf(model)} s without a request, so most prompts wait for a load`;
      const next = "Set `ttl` (or `globalTTL`) to some minutes, such as 1800, then /ai-server-restart.";
      return warning("idle-time", `Idle time of ${model.shown}`, seen, next);
    }),
    "idle-time",
    "Idle time",
    keptWords(models.map(ttlOf)),
  );
  yield ok(
    "loading-state",
    "Words about a load",
    swap.sendsLoading
      ? "llama-swap writes them into the thinking of the answer (sendLoadingState)"
      : "not in the answers; the working line has them",
  );
}

/** @param ttls of all models, in seconds */
function keptWords(ttls: readonly number[]): string {
  const times = [...new Set(ttls)].filter((ttl) => ttl > 0).sort((a, b) => a - b);
  if (times.length === 0) return "models stay loaded until another one needs the room";
  const words = times.map((ttl) => duration(ttl * 1000));
  const some = ttls.includes(0) ? "some models are" : "a model is";
  return `${some} unloaded after ${new Intl.ListFormat("en-GB", { type: "disjunction" }).format(words)} without a request`;
}
