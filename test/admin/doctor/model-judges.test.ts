import { describe, expect, test } from "vitest";
import { thinkingOff, thinkingOn, toolCall } from "../../../admin/doctor/model/abilities.ts";
import { figuresOf, prefix } from "../../../admin/doctor/model/answers.ts";
import { loadTime } from "../../../admin/doctor/model/load-limits.ts";
import type { Answer } from "../../../admin/doctor/model/request.ts";
import { assistant, call, text } from "../../support/samples.ts";

function answer(changes: Partial<Answer> = {}, output = 64, cacheRead = 0): Answer {
  const message = assistant("one two", { stopReason: "stop" });
  Object.assign(message.usage, { input: 1500 - cacheRead, output, cacheRead });
  return {
    message,
    failure: undefined,
    firstMs: 500,
    lastMs: 2500,
    pieces: 60,
    usage: { prompt_tokens: 1500 },
    timings: undefined,
    reports: 2,
    ...changes,
  };
}

const figure = (check: string, one: Answer) =>
  figuresOf(one, one.firstMs ?? 0, 32_768).find((finding) => finding.check === check);

describe("the figures", () => {
  test("are llama-server's where it sends them, and else by this clock", () => {
    const timings = { prompt_per_second: 2000, predicted_per_second: 8.5, predicted_ms: 2000 };
    expect(figure("reading", answer({ timings }))?.seen).toBe(
      "2000 tok/s; at that rate a full window of 32k takes 16 s",
    );
    expect(figure("writing", answer({ timings }))?.seen).toBe("8.5 tok/s, measured on 64 tokens");
    expect(figure("reading", answer())?.seen).toMatch(/^3000 tok\/s; /);
    expect(figure("writing", answer())?.seen).toMatch(/^32 tok\/s, /);
  });

  test("are left out where the answer came at once", () => {
    expect(figure("writing", answer({ lastMs: 500 }))).toMatchObject({ verdict: "unchecked" });
  });

  test("warn where the server reports no usage", () => {
    expect(figure("usage", answer({ usage: undefined }))).toMatchObject({ verdict: "warning" });
    expect(figure("usage", answer({ usage: undefined, timings: { prompt_n: 1 } }))).toMatchObject({
      verdict: "ok",
    });
  });

  test("say nothing of the pieces of a short answer, nor of a fast one without timings", () => {
    expect(figure("answer-stream", answer({}, 19))).toMatchObject({ verdict: "unchecked" });
    expect(figure("answer-stream", answer({ pieces: 1, lastMs: 501 }))).toMatchObject({
      verdict: "unchecked",
    });
    const fast = { pieces: 1, lastMs: 501, timings: { predicted_ms: 100 } };
    expect(figure("answer-stream", answer(fast))).toMatchObject({ verdict: "unchecked" });
  });

  test("find a stream that is held back, and one that comes as it is written", () => {
    const timings = { predicted_ms: 2000 };
    expect(figure("answer-stream", answer({ timings }))).toMatchObject({ verdict: "ok" });
    expect(figure("answer-stream", answer({ timings, lastMs: 520 }))).toMatchObject({ verdict: "warning" });
  });
});

describe("the prompt cache", () => {
  const reported = { usage: { prompt_tokens_details: { cached_tokens: 0 } } };

  test.each([
    [1500, "ok"],
    [1350, "ok"],
    [1349, "warning"],
    [0, "warning"],
  ])("%i of 1500 tokens are %s", (cached, verdict) => {
    expect(prefix(1500, answer(reported, 16, cached))).toMatchObject({ verdict });
  });

  test("is not judged where the server reports none", () => {
    expect(prefix(1500, answer({ usage: { prompt_tokens_details: null } }))).toMatchObject({
      verdict: "unchecked",
    });
  });

  test("is not judged by a request that failed", () => {
    expect(prefix(1500, answer({ failure: "It broke." }))).toMatchObject({ verdict: "fault" });
  });
});

describe("a tool call", () => {
  const called = (content: Parameters<typeof assistant>[0], stopReason: "stop" | "length" = "stop") =>
    toolCall(answer({ message: assistant(content, { stopReason }) }));

  test.each([
    ["of the tool that was offered", [call("a", "bash", { command: "ls" })], "ok"],
    ["of another", [call("a", "python", {})], "warning"],
    ["as text", [text('<tool_call>\n{"name": "bash", "arguments": {}}\n</tool_call>')], "fault"],
    ["in no form", [text("There are two files.")], "warning"],
  ] as const)("%s", (_, content, verdict) => expect(called([...content])).toMatchObject({ verdict }));

  test("that was cut says nothing of the model", () => {
    expect(called([call("a", "bash", {})], "length")).toMatchObject({ verdict: "unchecked" });
  });

  test("that the server refuses is a fault in its words", () => {
    const failure = "The server answered with 500: tools param requires --jinja flag.";
    expect(toolCall(answer({ failure }))).toMatchObject({ verdict: "fault", seen: failure });
  });
});

describe("thinking", () => {
  const thoughtful = answer({ message: assistant([{ type: "thinking", thinking: "Hm." }, text("400")]) });

  test("is apart from the answer, a part of it, or missing", () => {
    expect(thinkingOn(thoughtful, "low")).toMatchObject({ verdict: "ok" });
    const tagged = answer({ message: assistant("<think>Hm.</think>400") });
    expect(thinkingOn(tagged, "low")).toMatchObject({
      verdict: "warning",
      next: expect.stringContaining("--reasoning-format"),
    });
    expect(thinkingOn(answer(), "low")).toMatchObject({ verdict: "warning" });
  });

  test("is off where none comes; a model without the switch is not blamed", () => {
    expect(thinkingOff([answer()], true)).toMatchObject({ verdict: "ok" });
    expect(thinkingOff([answer(), thoughtful], true)).toMatchObject({ verdict: "warning" });
    expect(thinkingOff([thoughtful], false)).toMatchObject({ verdict: "unchecked" });
  });
});

test("a load that nearly takes its limit is a warning", () => {
  const limit = { limitMs: 100_000, name: "healthCheckTimeout", next: "Raise healthCheckTimeout" };
  expect(loadTime({ wasLoaded: false, loadMs: 80_000 }, limit)).toMatchObject({ verdict: "ok" });
  expect(loadTime({ wasLoaded: false, loadMs: 81_000 }, limit)).toMatchObject({
    verdict: "warning",
    seen: "loaded in 1 min 21 s, of 1 min 40 s that healthCheckTimeout allows; it stays loaded",
    next: "Raise healthCheckTimeout: the next load may take a little longer.",
  });
  expect(loadTime({ wasLoaded: false, loadMs: undefined }, limit)).toMatchObject({ verdict: "ok" });
});
