import { describe, expect, test } from "vitest";
import { type PromptProgress, PromptReading, RateMeter } from "../../activity/rates.ts";

/** A meter with a sample each quarter of a second. */
function fed(counts: readonly number[]): RateMeter {
  const meter = new RateMeter();
  for (const [index, count] of counts.entries()) meter.add(index * 250, count);
  return meter;
}

const steady = (seconds: number, perSecond: number): number[] =>
  Array.from({ length: seconds * 4 + 1 }, (_, index) => (index * perSecond) / 4);

test("says nothing before there are samples enough for a rate", () => {
  expect(fed([]).perSecond()).toBeUndefined();
  expect(fed([0]).perSecond()).toBeUndefined();
  expect(fed([0, 10, 20, 30]).perSecond()).toBeUndefined();
  expect(fed([0, 10, 20, 30, 40]).perSecond()).toBe(40);
});

test("is of the last seconds, whatever was before", () => {
  const slow = steady(60, 8);
  const fast = steady(4, 100).map((count) => count + (slow.at(-1) ?? 0));
  expect(fed(slow).perSecond()).toBe(8);
  expect(fed([...slow, ...fast.slice(1)]).perSecond()).toBe(100);
});

test("falls to nothing when the count grows no more", () => {
  const meter = fed(steady(10, 40));
  const rates: (number | undefined)[] = [];
  for (let at = 10_250; at <= 15_000; at += 250) {
    meter.add(at, 400);
    rates.push(meter.perSecond());
  }
  expect(rates).toEqual([...rates].sort((a, b) => (b ?? 0) - (a ?? 0)));
  expect(rates[3]).toBe(30);
  expect(rates.at(-1)).toBe(0);
});

test("falls too where the next sample is overdue", () => {
  const meter = fed(steady(4, 100));
  expect([meter.perSecond(0), meter.perSecond(4000), meter.perSecond(36_000)]).toEqual([100, 50, 10]);
});

test.each([
  ["backwards in time", 900, 50],
  ["at the same time", 1000, 50],
  ["backwards in number", 1500, 30],
  ["that is none", Number.NaN, 50],
  ["without end", 2000, Number.POSITIVE_INFINITY],
])("a sample %s is left out", (_what, at, count) => {
  const meter = fed([0, 10, 20, 30, 40]);
  meter.add(at, count);
  expect(meter.perSecond()).toBe(40);
});

const progress = (
  processed: number,
  timeMs?: number,
  more: Partial<PromptProgress> = {},
): PromptProgress => ({
  total: 10_000,
  cached: 0,
  processed,
  timeMs,
  ...more,
});

describe("a prompt that is read", () => {
  test("has no estimate before its second report, then the server's own rate", () => {
    const reading = new PromptReading(progress(0, 0), 0);
    expect(reading.look(0)).toEqual({
      total: 10_000,
      cached: 0,
      processed: 0,
      perSecond: undefined,
      leftMs: undefined,
    });
    // The report was a second under way: that second is no work.
    reading.add(progress(2000, 4000), 5000);
    expect(reading.look(5000)).toMatchObject({ processed: 2000, perSecond: 500, leftMs: 16_000 });
    expect(reading.look(6500)).toMatchObject({ perSecond: 500, leftMs: 14_500 });
  });

  test("is measured by our own clock where the server reports no time", () => {
    const reading = new PromptReading(progress(0), 100);
    reading.add(progress(1000), 2100);
    reading.add(progress(2400, 1), 4100);
    expect(reading.look(4100)).toMatchObject({ perSecond: 600 });
  });

  test("does not count cached tokens as read", () => {
    const cached = { cached: 6000 };
    const reading = new PromptReading(progress(6000, 0, cached), 0);
    reading.add(progress(8000, 2000, cached), 2000);
    expect(reading.look(2000)).toMatchObject({ processed: 8000, perSecond: 1000, leftMs: 2000 });
  });

  test("slows down while a report is overdue, and gives the estimate up that was wrong", () => {
    const reading = new PromptReading(progress(0, 0), 0);
    reading.add(progress(8000, 4000), 4000);
    const looks = [4000, 4900, 5500, 10_000, 14_000, 60_000].map((now) => reading.look(now));
    expect(looks.map(({ perSecond }) => perSecond)).toEqual([
      2000,
      2000,
      2000,
      2000,
      1000,
      expect.any(Number),
    ]);
    expect(looks.at(-1)?.perSecond).toBeLessThan(160);
    expect(looks.map(({ leftMs }) => leftMs)).toEqual([
      1000,
      100,
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
  });

  test("never falls back, and never passes its end", () => {
    const reading = new PromptReading(progress(4000, 1000), 0);
    reading.add(progress(3000, 2000), 1000);
    expect(reading.look(1000).processed).toBe(4000);
    reading.add(progress(99_999, 3000), 2000);
    expect(reading.look(2000)).toMatchObject({ processed: 10_000, leftMs: undefined });
  });

  test("is not the one with other figures", () => {
    const reading = new PromptReading(progress(10), 0);
    expect(reading.isOf(progress(0))).toBe(true);
    expect(reading.isOf(progress(10, 0, { total: 9999 }))).toBe(false);
    expect(reading.isOf(progress(10, 0, { cached: 1 }))).toBe(false);
  });

  test.each([
    ["negative", progress(-5, -1, { cached: -3 })],
    ["beyond all bounds", progress(Number.MAX_VALUE, Number.MAX_VALUE, { cached: Number.MAX_SAFE_INTEGER })],
    ["endless", progress(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY)],
    ["hardly any", progress(1e-300, 1e300)],
  ])("stays within bounds where figures are %s", (_what, wrong) => {
    const reading = new PromptReading({ ...wrong, processed: 0, timeMs: 0 }, 0);
    reading.add(wrong, 5000);
    const { total, cached, processed, perSecond = 0, leftMs = 0 } = reading.look(9000);
    for (const figure of [total, cached, processed, perSecond, leftMs]) {
      expect(figure).toBeGreaterThanOrEqual(0);
      expect(figure).toBeLessThan(Number.POSITIVE_INFINITY);
    }
    expect(cached).toBeLessThanOrEqual(processed);
    expect(processed).toBeLessThanOrEqual(total);
  });
});
