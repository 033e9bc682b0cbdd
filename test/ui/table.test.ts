import { visibleWidth } from "@earendil-works/pi-tui";
import { expect, test } from "vitest";
import { type Column, table } from "../../ui/layout.ts";

const COLUMNS: Column[] = [
  { title: "Model", priority: 0 },
  { title: "State", priority: 0 },
  { title: "Context", priority: 1 },
  { title: "Vision", priority: 2 },
];

const ROWS = [
  ["Qwen3-30B-A3B", "ready", "128k", "yes"],
  ["模型/通义千问-非常长的名字-Q4_K_M.gguf", "unloaded", "unknown", "no"],
  ["👩‍💻👨‍👩‍👧 e\u0301a\u0308", "starting", "4k"],
  ["x".repeat(300), "stopping", "1M", "yes"],
  [],
];

test("is laid out in columns as wide as they need", () => {
  expect(
    table(
      COLUMNS,
      [
        ["a", "ready", "128k", "yes"],
        ["longer", "unloaded", "4k"],
      ],
      80,
    ),
  ).toEqual(["Model   State     Context  Vision", "a       ready     128k     yes", "longer  unloaded  4k"]);
});

test("columns are dropped by priority in a narrow terminal, then the first is cut", () => {
  const rows = [["a-model-with-a-name", "unloaded", "128k", "yes"]];
  const shown = [60, 42, 34, 24, 20].map((width) => table(COLUMNS, rows, width));
  expect(shown).toEqual([
    ["Model                State     Context  Vision", "a-model-with-a-name  unloaded  128k     yes"],
    ["Model                State     Context", "a-model-with-a-name  unloaded  128k"],
    ["Model            State     Context", "a-model-with-a…  unloaded  128k"],
    ["Model           State", "a-model-with-…  unloaded"],
    ["Model       State", "a-model-w…  unloaded"],
  ]);
});

test("at 20 to 200 columns no line is wider, broken or lost, and a cut cell ends with an ellipsis", () => {
  for (let width = 20; width <= 200; width += 1) {
    const lines = table(COLUMNS, ROWS, width);
    expect(lines).toHaveLength(ROWS.length + 1);
    expect(Math.max(...lines.map(visibleWidth)), `${width} columns`).toBeLessThanOrEqual(width);
    expect(lines.join("")).not.toMatch(/\p{Cc}/u);
    expect(lines[0]).toContain("State");
    expect(lines[4]).toMatch(/^x+…/);
  }
});

test("no rows leave the titles", () => {
  expect(table(COLUMNS, [], 80)).toEqual(["Model  State  Context  Vision"]);
});
