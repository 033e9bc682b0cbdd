import { expect, test } from "vitest";
import { activityLine, turnLine } from "../../activity/activity-line.ts";
import type { Activity } from "../../activity/turn-activity.ts";

type Prompt = Extract<Activity, { kind: "prompt" }>;
const prompt = (more: Partial<Prompt>): Prompt => ({
  kind: "prompt",
  total: 1000,
  cached: 0,
  processed: 0,
  perSecond: undefined,
  leftMs: undefined,
  ...more,
});
type Waiting = Extract<Activity, { kind: "waiting" }>;
const waiting = (more: Partial<Waiting>): Waiting => ({
  kind: "waiting",
  blockedBy: undefined,
  requests: undefined,
  position: undefined,
  elapsedMs: 0,
  ...more,
});
type Loading = Extract<Activity, { kind: "loading" }>;
const loading = (more: Partial<Loading>): Loading => ({
  kind: "loading",
  elapsedMs: 12_400,
  expectedMs: undefined,
  again: undefined,
  stage: undefined,
  ...more,
});

test.each<[Activity, string]>([
  [{ kind: "connecting", elapsedMs: 999 }, "Waiting for the server"],
  [{ kind: "connecting", elapsedMs: 12_000 }, "Waiting for the server · 12 s"],
  [waiting({ blockedBy: "other" }), "Waiting for other to unload"],
  [waiting({ blockedBy: "other", requests: 0 }), "Waiting for other to unload"],
  [waiting({ blockedBy: "other", requests: 1 }), "Waiting for other, which answers a request"],
  [
    waiting({ blockedBy: "other", requests: 3, elapsedMs: 65_000 }),
    "Waiting for other, which answers 3 requests · 1 min 5 s",
  ],
  [waiting({ position: 2, elapsedMs: 4000 }), "Place 2 in the queue · 4 s"],
  [waiting({}), "Waiting for the server"],
  [waiting({ ahead: 1 }), "Waiting for Qwen, which answers another request"],
  [waiting({ ahead: 3, elapsedMs: 9000 }), "Waiting for Qwen, which answers 3 other requests · 9 s"],
  [{ kind: "down", by: undefined, elapsedMs: 12_000 }, "The server is restarting or stopped · 12 s"],
  [
    { kind: "down", by: "/ai-server-restart", elapsedMs: 999 },
    "The server is restarting (/ai-server-restart)",
  ],
  [{ kind: "silent", tokens: 1, why: undefined, elapsedMs: 6000 }, "No answer for 6 s · 1 token"],
  [
    { kind: "silent", tokens: 345, why: "gone", elapsedMs: 12_000 },
    "No answer for 12 s: Qwen was unloaded · 345 tokens",
  ],
  [
    { kind: "silent", tokens: 0, why: "stopping", elapsedMs: 12_000 },
    "No answer for 12 s: the server is stopping Qwen",
  ],
  [
    { kind: "silent", tokens: 0, why: "starting", elapsedMs: 12_000 },
    "No answer for 12 s: the server loads Qwen again",
  ],
  [
    { kind: "silent", tokens: 0, why: "unreachable", elapsedMs: 12_000 },
    "No answer for 12 s: the server does not answer at all",
  ],
  [
    { kind: "silent", tokens: 2, why: "not held", elapsedMs: 12_000 },
    "No answer for 12 s: the server no longer works on it · 2 tokens",
  ],
  [loading({}), "Loading Qwen · 12 s"],
  [loading({ expectedMs: 20_000 }), "Loading Qwen · 12 s of about 20 s"],
  [
    loading({ stage: { name: "text_model", share: 0.436 }, expectedMs: 20_000 }),
    "Loading Qwen (text_model 43 %) · 12 s of about 20 s",
  ],
  [loading({ again: { blockedBy: "other" } }), "Loading Qwen again · 12 s · other was loaded meanwhile"],
  [
    loading({ again: { blockedBy: undefined }, stage: { name: "text_model", share: 0.436 } }),
    "Loading Qwen again (text_model 43 %) · 12 s · it was unloaded meanwhile",
  ],
  [prompt({ cached: 200, processed: 600 }), "Reading prompt · 50 % of 1k (200 cached)"],
  [prompt({}), "Reading prompt · 0 % of 1k"],
  [prompt({ cached: 200, processed: 1200 }), "Reading prompt · 100 % of 1k (200 cached)"],
  [prompt({ cached: 200, processed: 0 }), "Reading prompt · 0 % of 1k (200 cached)"],
  [prompt({ total: 200, cached: 200, processed: 200 }), "Reading prompt"],
  [
    prompt({ total: 28_000, cached: 12_000, processed: 18_880, perSecond: 310.4, leftMs: 46_100 }),
    "Reading prompt · 43 % of 28k (12k cached) · 310 tok/s · 50 s left",
  ],
  [prompt({ processed: 1000, perSecond: 5.25, leftMs: 0 }), "Reading prompt · 100 % of 1k · 5.3 tok/s"],
  [{ kind: "retrying", why: "the server is busy", leftMs: 1900 }, "Asking again in 2 s: the server is busy"],
  [{ kind: "generating", tokens: 1, perSecond: undefined }, "1 token"],
  [{ kind: "generating", tokens: 512, perSecond: 38.2 }, "38 tok/s · 512 tokens"],
  [
    { kind: "generating", tokens: 512, perSecond: 38.2, canAnswerNow: true },
    "38 tok/s · 512 tokens · alt+a answers now",
  ],
])("%j reads %s", (activity, line) => {
  expect(activityLine(activity, "Qwen")).toBe(line);
});

test("other turns are counted", () => {
  expect(turnLine({ kind: "connecting", elapsedMs: 0 }, "Qwen", 0)).toBe("Waiting for the server");
  expect(turnLine({ kind: "connecting", elapsedMs: 0 }, "Qwen", 2)).toBe(
    "Waiting for the server · and 2 more",
  );
});
