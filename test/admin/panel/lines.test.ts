import { describe, expect, test } from "vitest";
import {
  halves,
  joined,
  movingBar,
  type PanelRow,
  progressBar,
  share,
  sparkline,
} from "../../../admin/panel/lines.ts";
import { filtered, selectedAt } from "../../../admin/panel/list.ts";
import { withoutMiddle } from "../../../ui/layout.ts";

const row = (id: string, ...cells: string[]): PanelRow => ({
  id,
  mark: "",
  contextTokens: undefined,
  cells,
  tone: "still",
  toggles: "load",
  offers: [],
});
const ROWS = [
  row("Qwen-30B", "Qwen-30B", "ready"),
  row("gemma", "gemma (in pi)", "unloaded"),
  row("通义", "通义"),
];

test.each([
  ["", ["Qwen-30B", "gemma", "通义"]],
  ["  ", ["Qwen-30B", "gemma", "通义"]],
  ["QWEN", ["Qwen-30B"]],
  ["30 qw", ["Qwen-30B"]],
  ["unloaded", ["gemma"]],
  ["in pi", ["gemma"]],
  ["义", ["通义"]],
  ["qwen gemma", []],
  [".*", []],
])("the filter %j leaves %j", (filter, ids) => {
  expect(filtered(ROWS, filter).map(({ id }) => id)).toEqual(ids);
});

test.each([
  ["gemma", 1],
  ["gone", 0],
  [undefined, 0],
])("%s is selected at %d", (selected, at) => {
  expect(selectedAt(ROWS, { selected, filter: "" })).toBe(at);
});

test("of no rows none is selected", () => {
  expect(selectedAt([], { selected: "a", filter: "" })).toBe(-1);
});

test.each([
  ["short", 5, "short"],
  ["a-long-id-Q4_K_M", 9, "a-lo…_K_M"],
  ["a-long-id-Q4_K_M", 8, "a-lo…K_M"],
  ["通义千问-Q4", 8, "通义…-Q4"],
  ["long", 1, "…"],
])("%s in %d columns is %s", (text, width, shown) => {
  expect(withoutMiddle(text, width)).toBe(shown);
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

test.each([
  [[0, 1, 2, 3, 4, 5, 6, 7, 8], 8, 20, "▁▂▃▄▅▆▇██"],
  [[0, 1, 2, 3, 4], 8, 2, "▄▅"],
  [[-5, 99, Number.NaN], 8, 9, "▁█▁"],
  [[0, 0], 0, 9, "▁▁"],
  [[1, 2], 2, 0, ""],
  [[], 2, 9, ""],
])("%j of %d in %d columns is %s", (values, most, width, drawn) => {
  expect(sparkline(values, most, width)).toBe(drawn);
});

test.each([
  [0, 4, "░░░░"],
  [0.5, 4, "██░░"],
  [0.99, 4, "███░"],
  [1, 4, "███░"],
  [7, 4, "███░"],
  [-1, 4, "░░░░"],
  [0.5, 0, ""],
  [0.5, -3, ""],
])("%d done is never full: %d columns are %s", (fraction, width, drawn) => {
  expect(progressBar(fraction, width)).toBe(drawn);
});

test("a bar without an end goes there and back", () => {
  const steps = Array.from({ length: 7 }, (_, step) => movingBar(step, 4));
  expect(steps).toEqual(["█░░░", "░█░░", "░░█░", "░░░█", "░░█░", "░█░░", "█░░░"]);
  expect([movingBar(5, 0), movingBar(5, 1)]).toEqual(["", "█"]);
});
