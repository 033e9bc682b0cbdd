import { describe, expect, test } from "vitest";
import { changesBetween, isChanged, windowChanges, withWindow } from "../../provider/catalog-changes.ts";
import { type ServedModel, toServedModel } from "../../provider/pi-models.ts";
import type { ModelFacts } from "../../server/models/models.ts";
import { facts } from "../support/model-facts.ts";

const served = (more: Partial<ModelFacts> = {}): ServedModel =>
  toServedModel(
    facts({
      context: { value: 65_536, source: "live" },
      outputLimit: { value: 1000, source: "declared" },
      ...more,
    }),
    "https://ai.example/llm",
  );

describe("changes", () => {
  const sized = (id: string, value: number): ServedModel =>
    served({ id, context: { value, source: "live" } });

  test("are listed one per line", () => {
    const before = [sized("a", 32_768), sized("b", 4096), sized("gone", 1)];
    const after = [sized("new", 1), sized("b", 4096), sized("a", 131_072)];
    expect(changesBetween(before, after)).toEqual(["new: added", "a: context 32k → 128k", "gone: gone"]);
    expect(changesBetween(before, before)).toEqual([]);
    expect(changesBetween([sized("a", 32_000)], [sized("a", 32_768)])).toEqual(["a: context 32000 → 32768"]);
    expect(windowChanges(before, after)).toEqual(["a: context 32k → 128k"]);
  });

  test("name no number where none was known", () => {
    const unknown = served({ id: "a", context: { value: 32_768, source: "default" } });
    expect(changesBetween([unknown], [sized("a", 8192)])).toEqual(["a: context 8k"]);
    expect(windowChanges([unknown], [sized("a", 32_768)])).toEqual(["a: context 32k"]);
    expect(changesBetween([sized("a", 8192)], [unknown])).toEqual(["a: context no longer known"]);
    expect(changesBetween([unknown], [unknown])).toEqual([]);
  });

  test("include those read in the background since the last report", () => {
    const [a, b, gone] = [sized("a", 8192), sized("b", 8192), sized("gone", 1)];
    expect(changesBetween([a, b], [a, b], [a, gone])).toEqual(["b: added", "gone: gone"]);
  });

  test("of any kind are reported to pi", () => {
    expect(isChanged([sized("a", 1)], [sized("a", 1)])).toBe(false);
    expect(isChanged([sized("a", 1)], [sized("a", 2)])).toBe(true);
    expect(isChanged([], [sized("a", 2)])).toBe(true);
  });
});

describe("a window that the running model reported", () => {
  const models = [
    served({ id: "a", runsAs: "a", context: { value: 8192, source: "declared" } }),
    served({ id: "alias", runsAs: "a", context: { value: 8192, source: "command line" } }),
    served({ id: "b", runsAs: "b" }),
  ];

  test("applies to all models of its process, and refutes the earlier figure", () => {
    const { models: after, corrected } = withWindow(models, "alias", 4096);
    expect(after.map(({ id, contextWindow, maxTokens }) => [id, contextWindow, maxTokens])).toEqual([
      ["a", 4096, 1000],
      ["alias", 4096, 1000],
      ["b", 65_536, 1000],
    ]);
    expect(corrected.map(({ aiServer: { context, refuted } }) => [context, refuted])).toEqual([
      [{ value: 4096, source: "live" }, { declared: 8192 }],
      [{ value: 4096, source: "live" }, { commandLine: 8192 }],
    ]);
  });

  test("equal to the registered one is known from then on, and refutes nothing", () => {
    const { corrected } = withWindow(models, "a", 8192);
    expect(corrected.map(({ aiServer }) => aiServer.refuted)).toEqual([{}, {}]);
    expect(withWindow(withWindow(models, "a", 8192).models, "a", 8192).corrected).toEqual([]);
  });

  test("shortens an answer that is longer than half of it, for pi and in the facts", () => {
    const { corrected } = withWindow(models, "a", 1001);
    expect(corrected.map((model) => [model.maxTokens, model.aiServer.outputLimit.value])).toEqual([
      [501, 501],
      [501, 501],
    ]);
  });

  test.each([0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])("of %d is none", (tokens) => {
    expect(withWindow(models, "a", tokens)).toEqual({ models, corrected: [] });
  });
});
