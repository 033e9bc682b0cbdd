import type { Usage } from "@earendil-works/pi-ai";
import type { AnswerFigures } from "./activity.ts";
import { count, type JsonRecord, number, record } from "./server/json.ts";

/**
 * pi adds input, output and cached tokens, llama.cpp counts the cached ones within the prompt: they are taken out,
 * so that nothing counts twice.
 *
 * @param usage the `usage` object of chat/completions
 * @param timings llama-server's timings, for streams without usage: `prompt_n` leaves the cached tokens out
 * @param prompt from the prompt's progress, for a stream that was cut
 * @param deltas content events that came: about one token each
 */
export function usageOf(
  usage: JsonRecord | undefined,
  timings: JsonRecord | undefined,
  prompt: { total: number; cached: number } | undefined,
  deltas: number,
): Pick<Usage, "input" | "output" | "cacheRead" | "totalTokens"> & { reasoning?: number } {
  const details = record(usage?.prompt_tokens_details);
  const cached = count(details?.cached_tokens) ?? count(timings?.cache_n) ?? prompt?.cached ?? 0;
  const fromTimings =
    timings === undefined ? undefined : (count(timings.prompt_n) ?? 0) + (count(timings.cache_n) ?? 0);
  const total = Math.max(count(usage?.prompt_tokens) ?? fromTimings ?? prompt?.total ?? 0, cached);
  const output = count(usage?.completion_tokens) ?? count(timings?.predicted_n) ?? deltas;
  const reasoning = count(record(usage?.completion_tokens_details)?.reasoning_tokens);
  return {
    input: total - cached,
    output,
    cacheRead: cached,
    totalTokens: total + output,
    ...(reasoning === undefined ? {} : { reasoning }),
  };
}

/** A rate that can be shown. */
function rate(value: unknown): number | undefined {
  const perSecond = number(value);
  return perSecond !== undefined && perSecond >= 0 && Number.isFinite(perSecond) ? perSecond : undefined;
}

/**
 * What an answer took.
 *
 * @param usage of the finished message
 * @param timings llama-server's, the last that came
 */
export function answerFigures(
  { input, cacheRead, output }: Pick<Usage, "input" | "cacheRead" | "output">,
  timings: JsonRecord | undefined,
): AnswerFigures {
  return {
    promptTokens: input + cacheRead,
    cachedTokens: cacheRead,
    promptPerSecond: rate(timings?.prompt_per_second),
    tokens: output,
    perSecond: rate(timings?.predicted_per_second),
  };
}
