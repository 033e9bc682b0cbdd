import { expect, test } from "vitest";
import { parsePlainList } from "../../../server/kinds/other.ts";

test.each([
  [{ max_model_len: 131_072 }, 131_072],
  [{ context_length: 8192 }, 8192],
  [{ context_window: 4096 }, 4096],
  [{ max_context_length: 2048 }, 2048],
  [{ parameters: { max_seq_len: 1024 } }, 1024],
  [{ meta: { n_ctx: 4096, n_ctx_train: 32_768 } }, 4096],
  [{ max_model_len: 131_072, context_length: 1 }, 131_072],
  [{ max_model_len: "many", context_length: -5 }, undefined],
  [{}, undefined],
])("the window of %j is %s", (entry, window) => {
  expect(parsePlainList({ data: [{ id: "m", ...entry }] })[0]?.declared.context).toBe(window);
});

test("what is no model, or stands there twice, is left out", () => {
  const data = [
    { id: "a", name: "First" },
    { id: "a", name: "Second" },
    null,
    { id: 7 },
    "b",
    { id: "\u001b[31m" },
  ];
  expect(parsePlainList({ data }).map(({ id, name }) => [id, name])).toEqual([["a", "First"]]);
  expect([null, [], { data: {} }].flatMap(parsePlainList)).toEqual([]);
});

test("models that embed are not for chatting", () => {
  const data = [
    { id: "bge-reranker" },
    { id: "qwen" },
    { id: "x", architecture: { output_modalities: ["image"] } },
  ];
  expect(parsePlainList({ data }).map(({ id, isChat }) => [id, isChat])).toEqual([
    ["bge-reranker", false],
    ["qwen", true],
    ["x", false],
  ]);
});
