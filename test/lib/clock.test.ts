import { getEventListeners } from "node:events";
import { describe, expect, test } from "vitest";
import { REAL_CLOCK, within } from "../../lib/clock.ts";
import { FakeClock } from "../support/clock.ts";

const REASON = new Error("enough");
const LATE = new Error("too late");
const forever = (stop: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    stop.addEventListener("abort", () => reject(stop.reason), { once: true });
  });

describe("a limit", () => {
  test("leaves what is done in time, and no timer", async () => {
    const clock = new FakeClock();
    let signal: AbortSignal | undefined;
    const work = within(
      1000,
      new AbortController().signal,
      clock,
      () => LATE,
      async (stop) => {
        signal = stop;
        return 5;
      },
    );
    expect(await work).toBe(5);
    expect(clock.waiting).toBe(0);
    expect(signal?.aborted).toBe(true);
  });

  test("ends what takes longer with its own error", async () => {
    const clock = new FakeClock();
    const work = within(1000, new AbortController().signal, clock, () => LATE, forever);
    await expect(clock.until(work)).rejects.toBe(LATE);
    expect(clock.sleeps).toEqual([1000]);
  });

  test("gives the caller's reason where it gave up first", async () => {
    const clock = new FakeClock();
    const abort = new AbortController();
    const work = within(1000, abort.signal, clock, () => LATE, forever);
    abort.abort(REASON);
    await expect(work).rejects.toBe(REASON);
    expect(clock.waiting).toBe(0);
  });
});

describe("the real clock", () => {
  test("sleeps", async () => {
    const abort = new AbortController();
    const began = performance.now();
    await REAL_CLOCK.sleep(30, abort.signal);
    expect(performance.now() - began).toBeGreaterThan(20);
    expect(getEventListeners(abort.signal, "abort")).toEqual([]);
    expect(Math.abs(REAL_CLOCK.now() - Date.now())).toBeLessThan(1000);
  });

  test("wakes with the signal's reason", async () => {
    const abort = new AbortController();
    const sleep = REAL_CLOCK.sleep(60_000, abort.signal);
    abort.abort(REASON);
    await expect(sleep).rejects.toBe(REASON);
    await expect(REAL_CLOCK.sleep(1, abort.signal)).rejects.toBe(REASON);
  });
});
