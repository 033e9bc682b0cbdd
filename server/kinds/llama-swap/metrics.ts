/**
 * llama-swap's measurements: in `/api/performance` memory and load of its machine over the last minutes, in
 * `/api/metrics/activity` how fast the last requests were answered.
 */

import { ServerError } from "../../../lib/errors.ts";
import { count, type JsonRecord, list, number, parsed, record, records, text } from "../../../lib/json.ts";
import { type Access, DETAIL_TIMEOUT_MS, optionalJson } from "../../http/access.ts";
import { answerFault } from "../../http/answer-faults.ts";
import { ERROR_BYTES, readText } from "../../http/http.ts";
import { idOf, nameOf } from "../../models/names.ts";
import type { OwnUse } from "../backend.ts";

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
    const limits = { signal, timeoutMs: DETAIL_TIMEOUT_MS };
    return parsePerformance(await optionalJson(server.http, `/api/performance${query}`, limits));
  } catch (error) {
    // Measuring is switched off.
    if (error instanceof ServerError && error.status === 503) return undefined;
    throw error;
  }
}

/** Reads an answer. @returns undefined for anything else, and where the server measures nothing */
export function parsePerformance(answer: unknown): Performance | undefined {
  const stats = record(answer);
  if (stats === undefined || stats.enabled === false || !("sys_stats" in stats || "gpu_stats" in stats))
    return undefined;
  const host = readingsOf(records(stats.sys_stats), cores);
  const gpus = Map.groupBy(records(stats.gpu_stats), keyOf);
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
  const known = list(entry.cpu_util_per_core).flatMap((percent) => number(percent) ?? []);
  return known.length === 0 ? undefined : known.reduce((sum, percent) => sum + percent, 0) / known.length;
}

function readingsOf(
  entries: readonly JsonRecord[],
  busy: (entry: JsonRecord) => number | undefined,
): Reading[] {
  const readings = entries.slice(-10 * MOST_READINGS).flatMap((entry) => {
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

const MOST_ROWS = 50;

/** One answered request. Undefined: not reported, or not measured. */
export interface AnsweredRequest {
  readonly model: string;
  /** Tokens per second. */
  readonly promptRate: number | undefined;
  readonly generationRate: number | undefined;
  /** Tokens that were read, without cached ones. */
  readonly promptTokens: number | undefined;
  readonly outputTokens: number | undefined;
}

/** With fewer tokens, the rate says more about the clock than about the model. */
const LEAST_TOKENS = 2;

/**
 * Reads the last 50 requests. llama-swap logs each call, so call it rarely.
 *
 * @returns the oldest first; undefined where the server has no such route (before v236)
 * @throws {ServerError}; the signal's reason
 */
export async function readRecentActivity(
  server: Access,
  signal: AbortSignal,
): Promise<AnsweredRequest[] | undefined> {
  const path = `/api/metrics/activity?limit=${MOST_ROWS}`;
  return parseActivity(await optionalJson(server.http, path, { signal, timeoutMs: DETAIL_TIMEOUT_MS }));
}

/** Reads an answer, which has the newest row first. @returns undefined for anything else */
export function parseActivity(answer: unknown): AnsweredRequest[] | undefined {
  const data = record(answer)?.data;
  if (!Array.isArray(data)) return undefined;
  const rows = records(data.slice(0, MOST_ROWS)).flatMap((row) => {
    const model = idOf(row.model);
    const tokens = record(row.tokens);
    if (model === undefined || tokens === undefined) return [];
    const promptTokens = count(tokens.input_tokens);
    const outputTokens = count(tokens.output_tokens);
    const promptRate = rateOf(tokens.prompt_per_second, promptTokens);
    const generationRate = rateOf(tokens.tokens_per_second, outputTokens);
    return [{ model, promptTokens, outputTokens, promptRate, generationRate }];
  });
  return rows.reverse();
}

/** Of one model: more than this pi adds to them at a time. */
const LAST_ROWS = 10;

/**
 * How long ago a model ended its last answer, by the server's own clock.
 *
 * @returns milliseconds, infinite where llama-swap has seen no answer of it; undefined where it keeps no such record
 *   (before v236), or no time
 * @throws {ServerError}; the signal's reason
 */
export async function sinceAnswer(
  { http, config }: Access,
  id: string,
  own: OwnUse,
  signal: AbortSignal,
): Promise<number | undefined> {
  const path = `/api/metrics/activity?limit=${LAST_ROWS}&model=${encodeURIComponent(id)}`;
  const limit = AbortSignal.any([signal, AbortSignal.timeout(DETAIL_TIMEOUT_MS)]);
  const { status, headers, body } = await http.request({ method: "GET", path, signal: limit });
  const answer = await readText(body, ERROR_BYTES);
  if (status === 404) return undefined;
  if (status !== 200) throw answerFault(status, answer, config.basePath + path);
  const data = record(parsed(answer))?.data;
  if (!Array.isArray(data)) return undefined;
  const now = Date.parse(headers.date ?? "");
  const ages = records(data).map(({ model, timestamp }) =>
    // Where llama-swap does not filter by model, the rows are of any.
    model === id ? now - Date.parse(text(timestamp) ?? "") : Number.NaN,
  );
  const last = ages.find((age) => !own.hasEnded(age));
  if (last === undefined) return ages.length < LAST_ROWS ? Number.POSITIVE_INFINITY : undefined;
  return Number.isNaN(last) ? undefined : last;
}

/** llama-swap writes 0 or -1 for a rate that it did not measure. */
function rateOf(value: unknown, tokens: number | undefined): number | undefined {
  const rate = number(value);
  return rate === undefined || rate <= 0 || (tokens ?? 0) < LEAST_TOKENS ? undefined : rate;
}
