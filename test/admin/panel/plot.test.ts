import { expect, test } from "vitest";
import { movingBar, progressBar, sparkline } from "../../../admin/panel/plot.ts";

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
