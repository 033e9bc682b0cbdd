import { expect, test } from "vitest";
import { RateMeter } from "../../activity/rates.ts";

/** A meter with a sample each quarter of a second. */
function fed(counts: readonly number[]): RateMeter {
  const meter = new RateMeter();
  for (const [index, count] of counts.entries()) meter.add(index * 250, count);
  return meter;
}

const steady = (seconds: number, perSecond: number): number[] =>
  Array.from({ length: seconds * 4 + 1 }, (_, index) => (index * perSecond) / 4);

test("says nothing before there is something to tell a rate from", () => {
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
