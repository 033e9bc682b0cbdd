import { expect, test } from "vitest";
import { firstSeen, fitted, flow, padded } from "../../ui/layout.ts";

test.each([
  [20, ["one · two · three", "four"]],
  [10, ["one · two", "three", "four"]],
  [4, ["one", "two", "thr…", "four"]],
])("pieces flow into %d columns", (width, lines) => {
  expect(flow(["one", "two", "three", "four"], width).map(plain)).toEqual(lines);
});

test("wide characters count as two columns", () => {
  expect(padded("模型", 6)).toBe("模型  ");
  expect(plain(fitted("模型模型", 5))).toBe("模型…");
  expect(flow(["模型", "模型"], 8)).toEqual(["模型", "模型"]);
});

test.each([
  [10, 0, 4, 0],
  [10, 5, 4, 3],
  [10, 9, 4, 6],
  [3, 2, 4, 0],
  [10, 7, 1, 7],
])("of %d rows the %dth is seen in %d lines", (count, selected, height, first) => {
  expect(firstSeen(count, selected, height)).toBe(first);
});

/** pi-tui puts colour resets around its ellipsis. */
function plain(line: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed here
  return line.replace(/\u001b\[[0-9;]*m/g, "");
}
