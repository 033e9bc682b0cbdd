import { describe, expect, test } from "vitest";
import { cleanLine, cleanText } from "../../lib/text.ts";

describe("cleanText", () => {
  test.each([
    ["a\u001b[31;1mred\u001b[0m b", "ared b"],
    ["a\u001b]0;title\u0007b", "ab"],
    ["a\u001b]8;;https://evil.example\u001b\\link\u001b]8;;\u001b\\b", "alinkb"],
    ["a\u001b]0;never ends", "a"],
    ["a\u009b31mb", "ab"],
    ["a\u009d0;title\u009cb", "ab"],
    ["a\u001bcb", "ab"],
    ["a\u001b\u001b[2Jb", "a[2Jb"],
    ["a\u0000\u0007\u0008\u007f\u0085b", "ab"],
    ["user\u202egnp.exe\u2066\u2069", "usergnp.exe"],
    ["a\r\nb\rc\nd", "a\nb\nc\nd"],
    ["a\tb", "a  b"],
    ["  spaces  ", "spaces"],
    ["Größe 模型 👩‍💻", "Größe 模型 👩‍💻"],
  ])("case %#", (dirty, clean) => {
    expect(cleanText(dirty)).toBe(clean);
  });

  test("cuts what is too long, and marks it", () => {
    expect(cleanText("x".repeat(2000))).toBe("x".repeat(2000));
    expect(cleanText("x".repeat(2001))).toBe(`${"x".repeat(2000)}…`);
    expect(cleanText("abcdef", 3)).toBe("abc…");
  });

  test("leaves nothing of any sequence of control characters that a terminal obeys", () => {
    const alphabet = [
      "\u001b",
      "[",
      "]",
      "\u009b",
      "\u009d",
      "\u0007",
      "\\",
      "3",
      "1",
      "m",
      ";",
      "\r",
      "\n",
      "x",
    ];
    let seed = 7;
    for (let round = 0; round < 5000; round++) {
      let dirty = "";
      for (let at = 0; at < 12; at++) {
        seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
        dirty += alphabet[seed % alphabet.length];
      }
      expect(cleanText(dirty)).not.toMatch(/(?!\n)\p{Cc}/u);
    }
  });

  test("a megabyte of openings is read once, not once for each", () => {
    expect(cleanText("\u001b]".repeat(500_000))).toBe("");
    expect(cleanText(`${"\u001b[".repeat(500_000)}m`).length).toBeLessThan(2002);
  });
});

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
