import { expect, test } from "vitest";
import { duration, spent } from "../../lib/figures.ts";

test.each([
  [-5, "0 s"],
  [999, "0 s"],
  [59_999, "59 s"],
  [60_000, "1 min"],
  [65_999, "1 min 5 s"],
  [3_600_000, "60 min"],
])("%d ms is %s", (milliseconds, words) => {
  expect(duration(milliseconds)).toBe(words);
});

test.each([
  [0, "0.0 s"],
  [1234, "1.2 s"],
  [9949, "9.9 s"],
  [9950, "9 s"],
  [65_999, "1 min 5 s"],
])("%d ms that are over are %s", (milliseconds, words) => {
  expect(spent(milliseconds)).toBe(words);
});
