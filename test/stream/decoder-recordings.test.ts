import { describe, expect, it } from "vitest";
import { decode, expectBalanced, outcome, recordings } from "../support/decoding.ts";
import { integer, RUNS, seeded } from "../support/random.ts";

const LINE_END = 10;
const LARGE = 20_000;
const STEP = 19;
const LINES = 24;

/**
 * Where a stream is cut: near its ends, around the first and last 24 line ends and each eighth between, inside
 * characters of many bytes, and at every 19th byte, not the same one for each file. A large file has hundreds of like
 * lines: its ends and every 1999th byte.
 * With AI_SERVER_TEST_RUNS above 1: every byte, and of a large file every 37th and all near its ends.
 */
function cuts(name: string, bytes: Buffer): number[] {
  const all = Array.from({ length: bytes.length - 1 }, (_, at) => at + 1);
  if (bytes.length > LARGE) {
    const [step, ends] = RUNS > 1 ? [37, 2000] : [1999, 100];
    return all.filter((at) => at % step === 0 || at <= ends || at >= bytes.length - ends);
  }
  if (RUNS > 1) return all;
  const ends = all.filter((at) => bytes[at] === LINE_END);
  const isCut = (_: number, line: number): boolean =>
    line < LINES || line >= ends.length - LINES || line % 8 === 0;
  const chosen = new Set(ends.filter(isCut));
  const isEdge = (at: number): boolean =>
    at <= 20 ||
    at >= bytes.length - 40 ||
    [-1, 0, 1].some((by) => chosen.has(at + by)) ||
    ((bytes[at] ?? 0) & 0xc0) === 0x80;
  const first = integer(seeded(name.length + bytes.length), 0, STEP - 1);
  return all.filter((at) => at % STEP === first || isEdge(at));
}

describe("a recorded stream", () => {
  const files = recordings();

  it("is there to be tried", () => {
    expect(files.length).toBeGreaterThanOrEqual(50);
  });

  it.each(files)("%s in two pieces gives the same events", { timeout: 120_000 }, (name, bytes) => {
    const whole = decode([bytes]);
    expectBalanced(whole);
    const expected = outcome(whole);
    for (const at of cuts(name, bytes)) {
      const cut = outcome(decode([bytes.subarray(0, at), bytes.subarray(at)]));
      if (cut !== expected) expect(cut, `cut at byte ${at}`).toBe(expected);
    }
  });

  it.each(files)(
    "%s that ends early ends in one way, with its blocks closed",
    { timeout: 120_000 },
    (name, bytes) => {
      const finish = Math.max(bytes.indexOf('"finish_reason":"'), 0);
      for (const at of cuts(name, bytes)) {
        const early = decode([bytes.subarray(0, at)]);
        expectBalanced(early);
        // Before the model said that it had finished, nothing may look like a whole answer.
        const { error, message } = early;
        const isRetried = error?.remedy === "retry";
        const isNamed =
          error === undefined
            ? ["stop", "length", "toolUse"].includes(message.stopReason)
            : error.message.startsWith("The answer broke off: the stream ended without");
        if ((at < finish && !isRetried) || !isNamed)
          expect.fail(`ended at byte ${at}: ${error ?? message.stopReason}`);
      }
    },
  );
});
