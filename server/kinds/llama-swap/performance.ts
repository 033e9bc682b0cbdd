/** llama-swap's `/api/performance`: memory and load of its machine over the last minutes. */

import { ServerError } from "../../../lib/errors.ts";
import { type JsonRecord, list, number, record } from "../../../lib/json.ts";
import { type Access, DETAIL_TIMEOUT_MS } from "../../http/access.ts";
import { nameOf } from "../../models/names.ts";

/** Readings kept of each memory: ten minutes at llama-swap's usual five seconds. */
export const MOST_READINGS = 120;
const MOST_GPUS = 16;

/** One moment of a memory. `busyPercent`: of its processor, 0 to 100. */
interface Reading {
  /** Unix milliseconds by the server's clock. */
  readonly at: number;
  readonly usedMb: number;
  readonly totalMb: number;
  readonly busyPercent: number | undefined;
}

/** The memory of the host or of one GPU, the oldest reading first; there is at least one. */
export interface MemoryHistory {
  /** Identifies the GPU. */
  readonly key: string;
  readonly name: string;
  readonly readings: readonly Reading[];
}

export interface Performance {
  readonly host: MemoryHistory | undefined;
  readonly gpus: readonly MemoryHistory[];
}

const NOTHING: Performance = { host: undefined, gpus: [] };

/**
 * Reads the measurements since `after`. llama-swap does not log this request.
 *
 * @param after Unix milliseconds by the server's clock
 * @returns undefined where the server has no such route (before v212) or measures nothing
 * @throws {ServerError}; the signal's reason
 */
export async function readPerformance(
  server: Access,
  after: number | undefined,
  signal: AbortSignal,
): Promise<Performance | undefined> {
  const query = after === undefined ? "" : `?after=${encodeURIComponent(new Date(after).toISOString())}`;
  try {
    const answer = await server.http.json(`/api/performance${query}`, {
      signal,
      timeoutMs: DETAIL_TIMEOUT_MS,
    });
    return parsePerformance(answer);
  } catch (error) {
    // 503: measuring is switched off. 200: a page of another server, not JSON.
    if (error instanceof ServerError && [200, 400, 404, 405, 501, 503].includes(error.status ?? 0))
      return undefined;
    throw error;
  }
}

/** Reads an answer. @returns undefined for anything else, and where the server measures nothing */
export function parsePerformance(answer: unknown): Performance | undefined {
  const told = record(answer);
  if (told === undefined || told.enabled === false || !("sys_stats" in told || "gpu_stats" in told))
    return undefined;
  const host = readingsOf(list(told.sys_stats).map(record), cores);
  const gpus = Map.groupBy(
    list(told.gpu_stats)
      .map(record)
      .filter((entry) => entry !== undefined),
    keyOf,
  );
  return {
    host: host.length === 0 ? undefined : { key: "host", name: "Host", readings: host },
    gpus: [...gpus].slice(0, MOST_GPUS).flatMap(([key, entries]) => {
      const readings = readingsOf(entries, ({ gpu_util_pct }) => number(gpu_util_pct));
      const name = nameOf(entries[0]?.name) ?? "GPU";
      return readings.length === 0 ? [] : [{ key, name, readings }];
    }),
  };
}

function keyOf({ id, uuid, name }: JsonRecord): string {
  return [uuid, id, name].map(String).join(" ");
}

function cores(entry: JsonRecord): number | undefined {
  const told = list(entry.cpu_util_per_core).map(number);
  const known = told.filter((percent) => percent !== undefined);
  return known.length === 0 ? undefined : known.reduce((sum, percent) => sum + percent, 0) / known.length;
}

function readingsOf(
  entries: readonly (JsonRecord | undefined)[],
  busy: (entry: JsonRecord) => number | undefined,
): Reading[] {
  const readings = entries.slice(-10 * MOST_READINGS).flatMap((entry) => {
    if (entry === undefined) return [];
    const at = Date.parse(String(entry.timestamp));
    const usedMb = number(entry.mem_used_mb);
    const totalMb = number(entry.mem_total_mb);
    if (Number.isNaN(at) || usedMb === undefined || totalMb === undefined) return [];
    if (usedMb < 0 || totalMb <= 0) return [];
    const percent = busy(entry);
    const busyPercent = percent === undefined ? undefined : Math.min(100, Math.max(0, percent));
    return [{ at, usedMb: Math.min(usedMb, totalMb), totalMb, busyPercent }];
  });
  return readings.sort((a, b) => a.at - b.at).slice(-MOST_READINGS);
}

/** Appends a later answer to the known readings; a repeated reading is kept once. */
export function joinPerformance(before: Performance | undefined, later: Performance): Performance {
  const { host, gpus } = before ?? NOTHING;
  const join = (old: MemoryHistory | undefined, added: MemoryHistory): MemoryHistory => {
    const last = old?.readings.at(-1)?.at ?? Number.NEGATIVE_INFINITY;
    const news = added.readings.filter(({ at }) => at > last);
    return { ...added, readings: [...(old?.readings ?? []), ...news].slice(-MOST_READINGS) };
  };
  const laterGpus = new Map(later.gpus.map((gpu) => [gpu.key, gpu]));
  const known = gpus.map((gpu) => {
    const added = laterGpus.get(gpu.key);
    return added === undefined ? gpu : join(gpu, added);
  });
  const fresh = later.gpus.filter(({ key }) => !gpus.some((gpu) => gpu.key === key));
  return {
    host: later.host === undefined ? host : join(host, later.host),
    gpus: [...known, ...fresh].slice(0, MOST_GPUS),
  };
}

/** When the last reading was taken, in Unix milliseconds by the server's clock. */
export function lastReadingAt({ host, gpus }: Performance): number | undefined {
  const times = [host, ...gpus].flatMap((history) => history?.readings.at(-1)?.at ?? []);
  return times.length === 0 ? undefined : Math.max(...times);
}
