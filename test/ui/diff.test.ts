import { describe, expect, test } from "vitest";
import { countChanges, diffOf, diffStyled, plainDiff } from "../../ui/diff.ts";
import { processorTime } from "../support/clock.ts";

const asIs = (lines: readonly string[]): string[] => [...lines];
const masked = (lines: readonly string[]): string[] =>
  lines.map((line) => line.replace(/key: .*/, "key: ***"));
const plain = (before: string, after: string): string => plainDiff(diffOf(before, after, asIs), 1000);
const numbered = (count: number): string[] => Array.from({ length: count }, (_, at) => `${at + 1}`);

describe("a diff", () => {
  test("has three lines of context and the place of each change", () => {
    const before = numbered(30);
    const after = [...before];
    after[9] = "ten";
    after.splice(24, 1);
    expect(plain(`${before.join("\n")}\n`, `${after.join("\n")}\n`)).toBe(
      "@@ -7,7 +7,7 @@\n 7\n 8\n 9\n-10\n+ten\n 11\n 12\n 13\n@@ -22,7 +22,6 @@\n 22\n 23\n 24\n-25\n 26\n 27\n 28",
    );
  });

  test("of equal texts is empty", () => {
    expect(diffOf("a\n", "a\n", asIs)).toEqual([]);
  });

  test.each([
    ["", "a\nb\n", "@@ -0,0 +1,2 @@\n+a\n+b"],
    ["a\n", "", "@@ -1,1 +0,0 @@\n-a"],
    ["a\nb", "a\nb\n", "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b"],
    ["x\nb", "y\nb", "@@ -1,2 +1,2 @@\n-x\n+y\n b\n\\ No newline at end of file"],
    ["a\r\nb\r\n", "a\r\nc\r\n", "@@ -1,2 +1,2 @@\n a\n-b\n+c"],
    ["a\r\n", "a\n", "@@ -1,1 +1,1 @@\n-a\n+a"],
    ["a\n\n", "a\n", "@@ -1,2 +1,1 @@\n a\n-"],
  ])("of %j and %j reads %j", (before, after, shown) => {
    expect(plain(before, after)).toBe(shown);
  });

  test("shows lines as they are masked, and a changed secret as changed", () => {
    const lines = diffOf("a: 1\nkey: one\nb: 2\n", "a: 1\nkey: two\nb: 2\n", masked);
    expect(plainDiff(lines, 100)).toBe("@@ -1,3 +1,3 @@\n a: 1\n-key: ***\n+key: ***\n b: 2");
    expect(countChanges(lines)).toEqual({ added: 1, removed: 1 });
  });

  test("gives the mask the lines of a whole text, so that it may look around", () => {
    const seen: string[][] = [];
    diffOf("a\nb\n", "a\nc", (lines) => {
      seen.push([...lines]);
      return [...lines];
    });
    expect(seen).toEqual([
      ["a", "b"],
      ["a", "c"],
    ]);
  });

  test("holds no terminal control characters, and keeps the indentation", () => {
    const lines = diffOf("  a\n", "  \u001b[31ma\u0007\u001b]0;t\u0007b\n", asIs);
    expect(lines.map(({ text }) => text)).toEqual(["@@ -1,1 +1,1 @@", "  a", "  ab"]);
  });
});

describe("texts that differ too much", () => {
  const CHANGES = 3000;
  const before = `same\n${numbered(CHANGES).join("\n")}\nend\n`;
  const after = `same\n${numbered(CHANGES)
    .map((line) => `new ${line}`)
    .join("\n")}\nend\n`;

  test("are shown as one block, with a sentence and the right numbers", () => {
    const lines = diffOf(before, after, masked);
    expect(lines.slice(0, 4)).toEqual([
      {
        kind: "hunk",
        text: "Too many changes to compare line by line; this is everything from the first to the last one.",
      },
      { kind: "hunk", text: `@@ -1,${CHANGES + 2} +1,${CHANGES + 2} @@` },
      { kind: "context", text: "same" },
      { kind: "removed", text: "1" },
    ]);
    expect(lines.slice(-2)).toEqual([
      { kind: "added", text: `new ${CHANGES}` },
      { kind: "context", text: "end" },
    ]);
    expect(countChanges(lines)).toEqual({ added: CHANGES, removed: CHANGES });
  });

  test("are shown in time that grows with their length, at 1 MiB of usual lines and of a single one", () => {
    const size = 1024 * 1024;
    const spent = processorTime();
    expect(
      diffOf("old line\n".repeat(size / 9), "new line\n".repeat(size / 9), masked).length,
    ).toBeGreaterThan(2);
    expect(diffOf("a".repeat(size), "b".repeat(size), masked)).toHaveLength(5);
    expect(spent()).toBeLessThan(15_000);
  });
});

describe("a diff as text", () => {
  const lines = diffOf("a\n".repeat(5), "b\n".repeat(5), asIs);

  test.each([
    [100, "@@ -1,5 +1,5 @@\n-a\n-a\n-a\n-a\n-a\n+b\n+b\n+b\n+b\n+b"],
    [11, "@@ -1,5 +1,5 @@\n-a\n-a\n-a\n-a\n-a\n+b\n+b\n+b\n+b\n+b"],
    [10, "@@ -1,5 +1,5 @@\n-a\n-a\n-a\n-a\n-a\n+b\n+b\n+b\n+b\n… 1 more line"],
    [2, "@@ -1,5 +1,5 @@\n-a\n… 9 more lines"],
  ])("of at most %d lines says how many more there are", (limit, text) => {
    expect(plainDiff(lines, limit)).toBe(text);
  });

  test("has the colours of the theme", () => {
    const theme = { fg: (colour: string, text: string) => `<${colour}>${text}` };
    expect(diffStyled([" a", "-b", "+c", "\\ No newline at end of file", ""], theme)).toEqual([
      "<toolDiffContext> a",
      "<toolDiffRemoved>-b",
      "<toolDiffAdded>+c",
      "<muted>\\ No newline at end of file",
      "<muted>",
    ]);
  });
});
