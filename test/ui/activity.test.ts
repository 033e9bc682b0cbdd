import { expect, test } from "vitest";
import type { Activity } from "../../stream.ts";
import { activityLine } from "../../ui/activity.ts";

test.each<[Activity, string | undefined]>([
  [{ kind: "connecting" }, "Waiting for the server"],
  [{ kind: "waiting", for: "other" }, "Waiting for other"],
  [{ kind: "loading", elapsedMs: 12_400 }, "Loading Qwen · 12 s"],
  [{ kind: "prompt", total: 1000, cached: 200, processed: 600 }, "Reading prompt · 50 %"],
  [{ kind: "prompt", total: 1000, cached: 0, processed: 0 }, "Reading prompt · 0 %"],
  [{ kind: "prompt", total: 1000, cached: 200, processed: 1200 }, "Reading prompt · 100 %"],
  [{ kind: "prompt", total: 1000, cached: 200, processed: 0 }, "Reading prompt · 0 %"],
  [{ kind: "prompt", total: 200, cached: 200, processed: 200 }, "Reading prompt"],
  [{ kind: "retrying", why: "the server is busy", delayMs: 2000 }, "Asking again in 2 s: the server is busy"],
  [{ kind: "generating" }, undefined],
] as [Activity, string | undefined][])("%j reads %s", (activity, line) => {
  expect(activityLine(activity, "Qwen")).toBe(line);
});
