/** The message of an answer: empty at first, its usage, its figures. */
import type { Api, AssistantMessage, Model, Usage } from "@earendil-works/pi-ai";
import type { PromptProgress } from "../activity/rates.ts";
import type { AnswerFigures } from "../activity/turn-activity.ts";
import { count, type JsonRecord, number, record } from "../lib/json.ts";

/** An answer before its first event. */
export function emptyMessage(
  model: Pick<Model<Api>, "api" | "provider" | "id">,
  timestamp: number,
): AssistantMessage {
  return {
    role: "assistant",
    content: [],
    api: model.api,
    provider: model.provider,
    model: model.id,
    usage: {
      input: 0,
      output: 0,
      cacheRead: 0,
      cacheWrite: 0,
      totalTokens: 0,
      cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0, total: 0 },
    },
    stopReason: "pending",
    timestamp,
  };
}

/** Cached tokens by the fields of OpenAI, DeepSeek, Moonshot, and Anthropic through a proxy. */
function cachedIn(usage: JsonRecord | undefined): number | undefined {
  const details = record(usage?.prompt_tokens_details);
  return (
    count(details?.cached_tokens) ??
    count(usage?.prompt_cache_hit_tokens) ??
    count(usage?.cached_tokens) ??
    count(usage?.cache_read_input_tokens)
  );
}

/** The usage in the events of one stream; the last one counts. */
export class UsageSoFar {
  #usage: JsonRecord | undefined;
  /** llama-server's, in which `prompt_n` excludes the cached tokens. */
  #timings: JsonRecord | undefined;
  /** From the prompt's progress, for a stream that was cut. */
  #prompt: { total: number; cached: number } | undefined;

  /** llama-server's own measurements, once they came. */
  get timings(): JsonRecord | undefined {
    return this.#timings;
  }

  /** @returns whether the event carries usage */
  note({ usage, timings }: JsonRecord): boolean {
    if (!usage && !timings) return false;
    this.#usage = record(usage) ?? this.#usage;
    this.#timings = record(timings) ?? this.#timings;
    return true;
  }

  /** @returns the progress, where it is readable */
  notePrompt(progress: JsonRecord | undefined): PromptProgress | undefined {
    const total = count(progress?.total);
    const cached = count(progress?.cache) ?? 0;
    const processed = number(progress?.processed);
    if (total === undefined || processed === undefined) return undefined;
    this.#prompt = { total, cached };
    return { total, cached, processed, timeMs: number(progress?.time_ms) };
  }

  /**
   * The usage for pi, which adds input, output and cached tokens, while llama.cpp counts the cached ones within the
   * prompt: they are subtracted, so that nothing counts twice.
   *
   * @param deltas content events that came, about one token each: the output of a stream without usage
   */
  with(
    deltas: number,
  ): Pick<Usage, "input" | "output" | "cacheRead" | "totalTokens"> & { reasoning?: number } {
    const [usage, timings, prompt] = [this.#usage, this.#timings, this.#prompt];
    const cached = cachedIn(usage) ?? count(timings?.cache_n) ?? prompt?.cached ?? 0;
    const fromTimings =
      timings === undefined ? undefined : (count(timings.prompt_n) ?? 0) + (count(timings.cache_n) ?? 0);
    const total = Math.max(count(usage?.prompt_tokens) ?? fromTimings ?? prompt?.total ?? 0, cached);
    const output = count(usage?.completion_tokens) ?? count(timings?.predicted_n) ?? deltas;
    const reasoning =
      count(record(usage?.completion_tokens_details)?.reasoning_tokens) ?? count(usage?.reasoning_tokens);
    return {
      input: total - cached,
      output,
      cacheRead: cached,
      totalTokens: total + output,
      ...(reasoning === undefined ? {} : { reasoning }),
    };
  }
}

function rate(value: unknown): number | undefined {
  const perSecond = number(value);
  return perSecond !== undefined && perSecond >= 0 ? perSecond : undefined;
}

/**
 * The figures of an answer.
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
