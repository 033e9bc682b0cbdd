import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  isAboutLoading,
  isLoadFailure,
  judgeRefusal,
  retryAfterMs,
  type StateNow,
} from "../../../server/kinds/refusal.ts";
import { recording } from "../../support/decoding.ts";

const NOW = Date.parse("2026-11-20T12:00:00Z");
const FIELDS = ["return_progress", "stream_options", "tool_choice"];

function judge(status: number, text: string, state: StateNow = "ready", retryAfter?: string) {
  const verdict = judgeRefusal({ status, text, retryAfter }, state, FIELDS, "/v1/chat/completions", NOW);
  return verdict.kind === "failed"
    ? { kind: "failed", remedy: verdict.error.remedy, link: verdict.error.link }
    : verdict;
}

/** A recorded answer of llama-swap's. */
function recorded(name: string): [status: number, body: string] {
  const raw = readFileSync(new URL(`../../fixtures/llama-swap-head/${name}.http`, import.meta.url), "utf8");
  return [
    Number(raw.split(" ")[1]),
    raw
      .split(/\r?\n\r?\n/)
      .slice(1)
      .join("\n\n"),
  ];
}

const LOADING = { kind: "wait", why: "loading", delayMs: 1000 };
const UNLOADED = { ...LOADING, why: "unloaded" };
const STATES: StateNow[] = ["ready", "starting", "stopping", "unloaded", "gone", "unknown", "unreachable"];

describe("an empty 502", () => {
  it.each<[StateNow, unknown]>([
    ["starting", LOADING],
    ["stopping", LOADING],
    ["ready", { kind: "crashed" }],
    ["gone", { kind: "crashed" }],
    ["unloaded", { kind: "crashed" }],
    ["unreachable", { kind: "failed", remedy: "retry", link: "server" }],
    ["unknown", { kind: "failed", remedy: "retry", link: "server" }],
  ])("with the model %s", (state, expected) => {
    expect(judge(502, "", state)).toEqual(expected);
  });
});

describe("503 Loading model", () => {
  it.each(STATES)("is waited for with the model %s", (state) => {
    const text = '{"error":{"message":"Loading model","type":"unavailable_error","code":503}}';
    expect(judge(503, text, state)).toEqual(LOADING);
    expect(judge(503, text, state, "5")).toEqual({ ...LOADING, delayMs: 5000 });
  });

  it("that is another service's is not, when /running cannot be had either", () => {
    expect(judge(503, "upstream is down", "unreachable")).toMatchObject({ kind: "failed", remedy: "retry" });
  });
});

describe("429", () => {
  it.each([
    ["today", recorded("142-second-429")[1]],
    ["of v224 to v250", '{"error":"Too many requests"}'],
    ["as text", "Too many requests\n"],
    ["in words of an overflow", "The request exceeds the rate limit: too many tokens a minute"],
  ])("%s is waited for", (_when, body) => {
    expect(judge(429, body, "ready", "3")).toEqual({ kind: "wait", why: "busy", delayMs: 3000 });
  });

  it("is the meaning of Ollama's 503", () => {
    const body = '{"error":"server busy, please try again.  maximum pending requests exceeded"}';
    expect(judge(503, body, "ready")).toEqual({ kind: "wait", why: "busy", delayMs: 1000 });
  });

  it.each([
    [undefined, 1000],
    ["0", 1000],
    ["12", 12_000],
    ["2.5", 2500],
    [" 4 ", 4000],
    ["Fri, 20 Nov 2026 12:00:30 GMT", 30_000],
    ["Fri, 20 Nov 2026 11:00:00 GMT", 1000],
    ["soon", 1000],
    ["-5", 1000],
  ])("with Retry-After %j waits %d ms", (value, expected) => {
    expect(retryAfterMs(value, NOW)).toBe(expected);
  });
});

describe("a start that failed", () => {
  const forms: [string, number, string][] = [
    ...["110-fail-exit", "112-fail-exit-html", "113-fail-missing", "116-fail-health"].map(
      (name): [string, number, string] => [name, ...recorded(name)],
    ),
    [
      "v218 to v250",
      500,
      '{"error":"unspecific error: upstream command exited prematurely","src":"llama-swap"}',
    ],
    [
      "v218, quotes unescaped",
      500,
      `{"error":"unspecific error: failed to start command '"x"'","src":"llama-swap"}`,
    ],
    ["up to v217", 502, "unable to start process: upstream command exited prematurely but successfully\n"],
    ["a proxy's 503", 503, '{"error":"failed to load the model"}'],
    ["llama.cpp's router", 500, recording("r03-chat-garbage.json").toString()],
  ];

  it.each(forms)("(%s) ends with its reason", (_name, status, body) => {
    for (const state of ["gone", "unloaded", "unknown"] as const) {
      expect(judge(status, body, state)).toEqual({
        kind: "load failed",
        reason: expect.stringMatching(/\S/),
      });
    }
    expect(isLoadFailure(body)).toBe(true);
  });

  it.each(forms)("(%s) is asked again where another client has begun a load", (_name, status, body) => {
    for (const state of ["starting", "stopping", "ready"] as const)
      expect(judge(status, body, state)).toEqual(LOADING);
  });

  it("through an unload is waited for, whatever the state", () => {
    const [status, body] = recorded("092-chat-cancelled-by-unload");
    for (const state of ["gone", "starting", "ready", "unknown"] as const)
      expect(judge(status, body, state)).toEqual(UNLOADED);
    expect([isAboutLoading(body), isLoadFailure(body)]).toEqual([true, false]);
    expect(judge(500, '{"error":"matrix: model unloaded","src":"llama-swap"}', "gone")).toEqual(UNLOADED);
  });

  it.each([
    // v150 to v217, of a reload during the load and of a request while the process is being stopped.
    [502, "unable to start process: health check interrupted due to shutdown\n"],
    [502, "unable to start process: processes was in state stopping when start() was called\n"],
    [502, "unable to start process: process was already starting but wound up in state shutdown\n"],
    [502, "unable to start process: failed to set Process state to ready: current state: stopping, error: x"],
    // Since v218, where the process hears of it before the queue does.
    [500, '{"error":"unspecific error: [b] shutdown","src":"llama-swap"}'],
    [500, '{"error":"unspecific error: [b] stopped","src":"llama-swap"}'],
    [500, '{"error":"unspecific error: aborted","src":"llama-swap"}'],
  ])("that was broken off is waited for: %d %s", (status, body) => {
    for (const state of ["gone", "starting", "ready", "unknown"] as const)
      expect(judge(status, body, state)).toEqual(UNLOADED);
    expect([isAboutLoading(body), isLoadFailure(body)]).toEqual([true, false]);
  });

  it("beside another that failed is a failure", () => {
    const body = "unable to start process: process was already starting but wound up in state stopped\n";
    expect(judge(502, body, "gone")).toMatchObject({ kind: "load failed" });
  });
});

describe("an overflow", () => {
  it.each([
    "request (8619 tokens) exceeds the available context size (4096 tokens), try increasing it",
    "the request exceeds the available context size. try increasing the context size or enable context shift",
    "Context size has been exceeded.",
    "input (9739 tokens) is larger than the max context size (8192 tokens). skipping",
    "Input prompt is too big compared to KV size. Please try increasing KV size.",
    "This model's maximum context length is 4096 tokens.",
  ])("worded %j is compacted", (message) => {
    for (const status of [400, 500]) {
      const body = JSON.stringify({ error: { code: status, message, type: "server_error" } });
      expect(judge(status, body)).toEqual({ kind: "failed", remedy: "compact", link: "model" });
    }
  });

  it("of llama-server brings the window", () => {
    const text = recording("s04-err-context-stream.json").toString();
    const verdict = judgeRefusal({ status: 400, text, retryAfter: undefined }, "unknown", FIELDS, "/", NOW);
    expect(verdict).toMatchObject({ kind: "failed", error: { contextWindow: 4096, status: 400 } });
  });

  it.each([
    "The request exceeds the rate limit",
    "the file exceeds the upload size",
    "context checkpoint failed",
  ])("is not seen in %j", (message) => {
    expect(judge(400, JSON.stringify({ error: { message } }))).toMatchObject({ remedy: "none" });
  });
});

describe("an unknown field", () => {
  it.each([
    [
      400,
      '{"error":{"message":"Unrecognized request argument supplied: return_progress"}}',
      "return_progress",
    ],
    [400, '{"error":"unknown field \\"stream_options\\""}', "stream_options"],
    [
      422,
      '{"detail":[{"loc":["body","tool_choice"],"msg":"Extra inputs are not permitted"}]}',
      "tool_choice",
    ],
  ])("with %d %s is found", (status, text, field) => {
    expect(judge(status, text)).toEqual({ kind: "unknown field", field });
  });

  it("that the body does not have is ignored", () => {
    expect(judge(400, '{"error":{"message":"unknown field reasoning_effort"}}')).toMatchObject({
      kind: "failed",
    });
  });
});

describe("what stays wrong", () => {
  it.each([
    "s04-err-invalid-json.json",
    "s04-err-no-messages.json",
    "s04-err-assistant-last-2.json",
    "s04-err-assistant-nocontent.json",
    "s04-err-image.json",
    "s04-err-toolcall-args-badjson.json",
    "s04-err-tools-badschema.json",
    "s04-err-tools-nofunction.json",
    "s04-err-max-tokens-type.json",
    "r03-chat-unknown.json",
  ])("(%s) is neither retried nor compacted", (name) => {
    const text = recording(name).toString();
    const { code = 400 } = (JSON.parse(text) as { error: { code?: number } }).error;
    expect(judge(code, text)).toMatchObject({ kind: "failed", remedy: "none" });
  });

  it("is a model that is gone", () => {
    expect(judge(...recorded("040-chat-unknown"))).toEqual({ kind: "failed", remedy: "none", link: "model" });
  });
});
