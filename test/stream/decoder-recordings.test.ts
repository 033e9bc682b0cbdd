import { describe, expect, it } from "vitest";
import { decode, expectBalanced, outcome, recordings } from "../support/decoding.ts";

const LARGE = 20_000;

/** Every byte of a small file; of a large one every 37th, and all near its ends. */
function cuts(length: number): number[] {
  const all = Array.from({ length: length - 1 }, (_, at) => at + 1);
  if (length <= LARGE) return all;
  return all.filter((at) => at % 37 === 0 || at <= 2000 || at >= length - 2000);
}

describe("a recorded stream", () => {
  const files = recordings();

  it("is there to be tried", () => {
    expect(files.length).toBeGreaterThanOrEqual(50);
  });

  it.each(files)("%s in two pieces gives the same events", { timeout: 120_000 }, (_name, bytes) => {
    const whole = decode([bytes]);
    expectBalanced(whole);
    const expected = outcome(whole);
    for (const at of cuts(bytes.length)) {
      const cut = outcome(decode([bytes.subarray(0, at), bytes.subarray(at)]));
      if (cut !== expected) expect(cut, `cut at byte ${at}`).toBe(expected);
    }
  });

  it.each(files)(
    "%s that ends early ends in one way, with its blocks closed",
    { timeout: 120_000 },
    (_name, bytes) => {
      const finish = Math.max(bytes.indexOf('"finish_reason":"'), 0);
      for (const at of cuts(bytes.length)) {
        const early = decode([bytes.subarray(0, at)]);
        expectBalanced(early);
        // Before the model said that it had finished, nothing may look like a whole answer.
        if (at < finish) expect(early.error?.remedy, `ended at byte ${at}`).toBe("retry");
        if (early.error === undefined)
          expect(["stop", "length", "toolUse"]).toContain(early.message.stopReason);
        else
          expect(early.error.message, `ended at byte ${at}`).toMatch(
            /^The answer broke off: the stream ended without/,
          );
      }
    },
  );
});
