import { expect, test } from "vitest";
import { isWithinLimit, limitText } from "./figure.ts";
import { PREFIX_REUSE, prefixShares } from "./prefix-reuse.ts";

const answer = (cached: number, prompt: number) => ({ cached, prompt, blocks: [] });

test("what is cached counts against the request before it, not against its own", () => {
  const answers = [answer(0, 1000), answer(900, 1500), answer(1500, 3000)];
  expect(prefixShares(answers)).toEqual([0.9, 1]);
});

test("an answer that is cached too counts no more than the request", () => {
  expect(prefixShares([answer(0, 1000), answer(1040, 1100)])).toEqual([1]);
});

test("one request gives no figure", () => {
  expect(() => prefixShares([answer(0, 1000)])).toThrow(/no other before it/);
});

test("less than the least misses the limit", () => {
  const measured = (value: number) => ({ figure: PREFIX_REUSE, value, detail: "" });
  expect(isWithinLimit(measured(0.95), false)).toBe(true);
  expect(isWithinLimit(measured(0.949), true)).toBe(false);
  expect(limitText(PREFIX_REUSE)).toBe("≥ 0.95");
});
