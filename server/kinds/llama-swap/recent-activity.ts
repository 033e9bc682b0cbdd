/** llama-swap's `/api/metrics/activity`: how fast the last requests were answered. */

import { ServerError } from "../../../lib/errors.ts";
import { count, number, record } from "../../../lib/json.ts";
import { type Access, DETAIL_TIMEOUT_MS } from "../../http/access.ts";
import { idOf } from "../../models/names.ts";

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
  try {
    const path = `/api/metrics/activity?limit=${MOST_ROWS}`;
    return parseActivity(await server.http.json(path, { signal, timeoutMs: DETAIL_TIMEOUT_MS }));
  } catch (error) {
    if (error instanceof ServerError && [200, 400, 404, 405, 501].includes(error.status ?? 0))
      return undefined;
    throw error;
  }
}

/** Reads an answer, which has the newest row first. @returns undefined for anything else */
export function parseActivity(answer: unknown): AnsweredRequest[] | undefined {
  const data = record(answer)?.data;
  if (!Array.isArray(data)) return undefined;
  const rows = data.slice(0, MOST_ROWS).flatMap((value) => {
    const row = record(value);
    const model = idOf(row?.model);
    const tokens = record(row?.tokens);
    if (model === undefined || tokens === undefined) return [];
    const promptTokens = count(tokens.input_tokens);
    const outputTokens = count(tokens.output_tokens);
    return [
      {
        model,
        promptTokens,
        outputTokens,
        promptRate: rateOf(tokens.prompt_per_second, promptTokens),
        generationRate: rateOf(tokens.tokens_per_second, outputTokens),
      },
    ];
  });
  return rows.reverse();
}

/** llama-swap writes 0 or -1 for a rate that it did not measure. */
function rateOf(value: unknown, tokens: number | undefined): number | undefined {
  const rate = number(value);
  return rate === undefined || rate <= 0 || (tokens ?? 0) < LEAST_TOKENS ? undefined : rate;
}
