import { expect, test } from "vitest";
import type { PanelRow } from "../../../admin/panel/content.ts";
import { filtered, selectedAt } from "../../../admin/panel/list.ts";
import { firstSeen } from "../../../ui/layout.ts";

const row = (id: string, ...cells: string[]): PanelRow => ({
  id,
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
  [10, 0, 4, 0],
  [10, 5, 4, 3],
  [10, 9, 4, 6],
  [3, 2, 4, 0],
  [10, 7, 1, 7],
])("of %d rows the %dth is seen in %d lines", (count, selected, height, first) => {
  expect(firstSeen(count, selected, height)).toBe(first);
});
