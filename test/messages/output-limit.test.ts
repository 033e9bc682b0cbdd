import { describe, expect, it } from "vitest";
import { askedOutput, outputLimit, withOutput } from "../../messages/output-limit.ts";
import { assistant, model, transcript, user } from "../support/samples.ts";

const usage = (totalTokens: number) => ({
  usage: {
    input: totalTokens,
    output: 0,
    cacheRead: 0,
    cacheWrite: 0,
    totalTokens,
    cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0, total: 0 },
  },
});
const large = model({ contextWindow: 131_072, maxTokens: 65_536 });

describe("the longest answer", () => {
  it("is the model's own limit, while there is room", () => {
    expect(outputLimit(transcript(user("Hi")), large, 65_536)).toBe(65_536);
  });

  it("leaves room for the last answer's real usage, what came after it, and a margin of 15 %", () => {
    const messages = [user("x".repeat(900_000)), assistant([], usage(60_000)), user("y".repeat(3500))];
    // 131,072 - 61,000 - 9,150
    expect(outputLimit(transcript(...messages), large, 65_536)).toBe(60_922);
  });

  it("keeps 4,096 tokens free where 15 % would leave less than 32,768", () => {
    const at = (used: number) => outputLimit(transcript(assistant([], usage(used)), user("")), large, 65_536);
    expect(at(90_000)).toBe(32_768);
    expect(at(100_000)).toBe(131_072 - 100_000 - 4096);
    expect(at(131_000)).toBe(1024);
  });

  it("counts no answer that failed, nor one that was given to another prompt", () => {
    const failed = assistant([], { ...usage(100_000), stopReason: "error" });
    expect(outputLimit(transcript(user("Hi"), failed, user("Hi")), large, 65_536)).toBe(65_536);
    const before = assistant([], { ...usage(100_000), timestamp: 1 });
    const summary = { ...user("What was said before"), timestamp: 2 };
    expect(outputLimit(transcript(summary, before, user("Hi")), large, 65_536)).toBe(65_536);
  });

  it("of a small window leaves an eighth of it free", () => {
    const small = model({ contextWindow: 8192, maxTokens: 8192 });
    expect(outputLimit(transcript(assistant([], usage(2000)), user("")), small, 8192)).toBe(
      8192 - 2000 - 1024,
    );
  });

  it("is not limited by a window that is not known", () => {
    expect(outputLimit(transcript(user("Hi")), model({ contextWindow: 0 }), 4096)).toBe(4096);
  });
});

describe("a body that asks for a shorter answer", () => {
  it("has the limit under each name that asked for more", () => {
    const body = { model: "m", max_tokens: 100, max_completion_tokens: 10 };
    expect(askedOutput(body)).toBe(100);
    expect(withOutput(body, 50)).toEqual({ model: "m", max_tokens: 50, max_completion_tokens: 10 });
    expect(askedOutput({ model: "m" })).toBe(Number.POSITIVE_INFINITY);
  });
});
