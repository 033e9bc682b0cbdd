import { describe, expect, it } from "vitest";
import { chunk, DONE, decode, events, recording } from "../support/decoding.ts";

const usageOf = (...pieces: string[]) => decode(pieces).message.usage;
const content = chunk({ content: "A" });
const usage = (prompt_tokens: number, cached_tokens: number, completion_tokens: number) => ({
  choices: [],
  usage: { prompt_tokens, completion_tokens, prompt_tokens_details: { cached_tokens } },
});

describe("usage", () => {
  it("counts nothing twice", () => {
    const counted = usageOf(events(content, chunk({}, "stop"), usage(100, 90, 7)), DONE);
    expect(counted).toMatchObject({ input: 10, cacheRead: 90, output: 7, cacheWrite: 0, totalTokens: 107 });
    expect(counted.input + counted.cacheRead + counted.output + counted.cacheWrite).toBe(counted.totalTokens);
    expect(counted.cost).toEqual({ input: 0, output: 0, cacheRead: 0, cacheWrite: 0, total: 0 });
    expect(counted).not.toHaveProperty("reasoning");
  });

  it.each([
    ["s02-stream-plain-2-cached.sse", "usage"],
    ["s02-stream-nousage.sse", "timings"],
  ])("of %s comes from its %s", (name, source) => {
    const text = recording(name).toString();
    const figures = [...text.matchAll(/"(cache_n|prompt_n|predicted_n)":(\d+)/g)].map(([, key, value]) => [
      key,
      Number(value),
    ]);
    const {
      cache_n = 0,
      prompt_n = 0,
      predicted_n = 0,
    } = Object.fromEntries(figures) as Record<string, number>;
    expect(text.includes('"usage"')).toBe(source === "usage");
    expect(usageOf(text)).toMatchObject({
      input: prompt_n,
      cacheRead: cache_n,
      output: predicted_n,
      totalTokens: prompt_n + cache_n + predicted_n,
    });
  });

  it.each([
    ["DeepSeek", { prompt_cache_hit_tokens: 90, prompt_cache_miss_tokens: 10 }],
    ["Moonshot", { cached_tokens: 90 }],
    ["Anthropic behind a proxy", { cache_read_input_tokens: 90 }],
  ])("finds the cached tokens where %s writes them", (_, cached) => {
    const last = { choices: [], usage: { prompt_tokens: 100, completion_tokens: 7, ...cached } };
    expect(usageOf(events(content, chunk({}, "stop"), last), DONE)).toMatchObject({
      input: 10,
      cacheRead: 90,
    });
  });

  it("stands in the choice with some servers", () => {
    const choice = {
      index: 0,
      delta: {},
      finish_reason: "stop",
      usage: { prompt_tokens: 100, completion_tokens: 7 },
    };
    expect(usageOf(events(content, { choices: [choice] }), DONE)).toMatchObject({ input: 100, output: 7 });
  });

  it("reports reasoning tokens where the server does", () => {
    const last = {
      choices: [],
      usage: { prompt_tokens: 5, completion_tokens: 4, completion_tokens_details: { reasoning_tokens: 3 } },
    };
    expect(usageOf(events(content, last), DONE)).toMatchObject({
      input: 5,
      output: 4,
      reasoning: 3,
      totalTokens: 9,
    });
  });

  it("is never zero output where tokens came", () => {
    expect(usageOf(events(content, content, usage(10, 0, 0)), DONE).output).toBe(2);
    expect(usageOf(events(content, content), DONE)).toMatchObject({ input: 0, output: 2, totalTokens: 2 });
  });

  it("of a cut stream comes from the progress of the prompt and the pieces that came", () => {
    const progress = chunk({ role: "assistant", content: null }, null, {
      prompt_progress: { total: 100, cache: 60, processed: 100, time_ms: 5 },
    });
    expect(usageOf(events(progress, content, content))).toMatchObject({
      input: 40,
      cacheRead: 60,
      output: 2,
      totalTokens: 102,
    });
  });

  it("stays whole where the server's figures are odd", () => {
    const odd = [
      { choices: [], usage: { prompt_tokens: -5, completion_tokens: "many", prompt_tokens_details: null } },
      { choices: [], usage: { prompt_tokens: 3, prompt_tokens_details: { cached_tokens: 9 } } },
      { choices: [], timings: { cache_n: -1, prompt_n: -1, predicted_n: 1.5 } },
      { choices: [], timings: { cache_n: 1e308, prompt_n: 1e308, predicted_n: 1e308 } },
      { choices: [], usage: [], timings: "x" },
      { choices: [], prompt_progress: { total: 1.5, processed: 1 } },
    ];
    for (const one of odd) {
      const { input, output, cacheRead, totalTokens } = usageOf(events(content, one), DONE);
      for (const figure of [input, output, cacheRead, totalTokens]) {
        expect(Number.isSafeInteger(figure) && figure >= 0, JSON.stringify(one)).toBe(true);
      }
      expect(totalTokens).toBe(input + output + cacheRead);
    }
  });
});

describe("progress", () => {
  it("of the prompt is reported as it comes, before generating", () => {
    const { progress } = decode([recording("s02-stream-return-progress.sse")]);
    const prompt = progress.filter((one) => one.kind === "prompt");
    expect(prompt.length).toBeGreaterThan(1);
    expect(prompt.at(-1)).toMatchObject({ total: prompt[0]?.total, processed: prompt[0]?.total });
    expect(progress.at(-1)).toEqual({ kind: "generating" });
  });
});
