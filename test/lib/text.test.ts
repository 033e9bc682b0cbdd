import { expect, test } from "vitest";
import { cleanLine } from "../../lib/text.ts";

test.each([
  ["  a: 1", "  a: 1"],
  ["\ta", "  a"],
  ["", ""],
  ["a\r", "a"],
  ["10 %\r20 %\r", "10 %20 %"],
  ["one\ntwo", "one two"],
  ["\u001b[31m  red\u001b[0m", "  red"],
  ["\u001b]0;title\u0007x\u0000\u009b2Jy\u202e", "xy"],
  ["\u001b]8;;http://x", ""],
  ["\ufeff模型", "\ufeff模型"],
])("%j is shown as %j", (line, shown) => {
  expect(cleanLine(line)).toBe(shown);
});

test("a very long line is cut, and marked", () => {
  const shown = cleanLine("x".repeat(5_000_000));
  expect(shown).toHaveLength(20_001);
  expect(shown.endsWith("x…")).toBe(true);
});
