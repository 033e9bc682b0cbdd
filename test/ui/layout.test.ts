import { describe, expect, test } from "vitest";
import { fitted, flow, halves, joined, padded, share } from "../../ui/layout.ts";

test.each([
  [20, ["one · two · three", "four"]],
  [10, ["one · two", "three", "four"]],
  [4, ["one", "two", "thr…", "four"]],
])("pieces flow into %d columns", (width, lines) => {
  expect(flow(["one", "two", "three", "four"], " · ", width).map(plain)).toEqual(lines);
});

test("wide characters count as two columns", () => {
  expect(padded("模型", 6)).toBe("模型  ");
  expect(plain(fitted("模型模型", 5))).toBe("模型…");
  expect(flow(["模型", "模型"], " ", 8)).toEqual(["模型", "模型"]);
});

describe("two blocks", () => {
  test("stand one below the other where there is little room, what is short first", () => {
    const widths = halves(60);
    expect(widths).toEqual({ left: 60, right: undefined });
    expect(joined(["a", "b"], ["c"], widths)).toEqual(["c", "", "a", "b"]);
    expect(joined([], ["c"], widths)).toEqual(["c"]);
  });

  test("stand beside each other where there is much", () => {
    const widths = halves(103);
    expect(widths).toEqual({ left: 50, right: 50 });
    expect(joined(["a", "b"], ["c"], widths)).toEqual([`a${" ".repeat(52)}c`, "b"]);
    expect(joined([], ["c"], widths)).toEqual([`${" ".repeat(53)}c`]);
  });
});

test.each([
  [20, 6, 10, { list: 6, below: 14 }],
  [20, 30, 10, { list: 10, below: 10 }],
  [20, 30, 3, { list: 17, below: 3 }],
  [20, 30, 30, { list: 10, below: 10 }],
  [20, 2, 30, { list: 2, below: 18 }],
  [1, 9, 9, { list: 1, below: 0 }],
  [0, 9, 9, { list: 0, below: 0 }],
])("of %d lines a list of %d and %d below it share", (height, list, below, given) => {
  expect(share(height, list, below)).toEqual(given);
});

/** pi-tui puts colour resets around its ellipsis. */
function plain(line: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed here
  return line.replace(/\u001b\[[0-9;]*m/g, "");
}
