import { expect, test } from "vitest";
import type { Activity } from "../activity/turn-activity.ts";
import { type Look, rateErrors } from "./rates.ts";

const TIMINGS = { promptPerSecond: 1000, perSecond: 50 };
const PROGRESS = [
  { at: 0, share: 0 },
  { at: 1000, share: 0.25 },
  { at: 2000, share: 0.5 },
];

function reading(at: number, processed: number, perSecond: number): Look {
  const activity: Activity = {
    kind: "prompt",
    total: 5000,
    cached: 1000,
    processed,
    perSecond,
    leftMs: undefined,
  };
  return { at, activity };
}

const writing = (perSecond: number | undefined): Look => ({
  at: 9000,
  activity: { kind: "generating", tokens: 100, perSecond },
});

test("what is shown as the server says it has no error", () => {
  const looks = [reading(1500, 2000, 3000), reading(2500, 3000, 1000), writing(90), writing(50)];
  expect(rateErrors(looks, PROGRESS, TIMINGS)).toEqual({ promptRate: 0, tokenRate: 0, share: 0 });
});

test("the last rates of both phases count, and the part read at every look", () => {
  const looks = [reading(1500, 2400, 1000), reading(2500, 3000, 1200), writing(40)];
  const { promptRate, tokenRate, share } = rateErrors(looks, PROGRESS, TIMINGS);
  expect([promptRate, tokenRate, share]).toEqual([0.2, 0.2, 0.1].map((error) => expect.closeTo(error)));
});

test("a report that has just passed may be shown or not yet, an older one is", () => {
  const shareAt = (at: number) => rateErrors([reading(at, 2000, 1000), writing(50)], PROGRESS, TIMINGS).share;
  expect(shareAt(2020)).toBe(0);
  expect(shareAt(2200)).toBe(0.25);
});

test("a phase without a rate is no measurement", () => {
  expect(() => rateErrors([reading(1500, 2000, 1000), writing(undefined)], PROGRESS, TIMINGS)).toThrow(
    /too short/,
  );
});
