import { describe, expect, test } from "vitest";
import type { Fitting } from "../../admin/fit.ts";
import { largestWords, needWords, toolWords, verdictWords } from "../../admin/fit-words.ts";
import { type MemoryNeed, unknown } from "../../host/fit/fit.ts";
import type { Largest } from "../../host/fit/largest.ts";
import { fitting, held, MINIMAX, need, part, QWEN } from "../support/fit-figures.ts";

const GIB = 1024;
const WILL = "will be unloaded";

describe("what a size needs", () => {
  test.each<[string, MemoryNeed, Fitting, string]>([
    [
      "nothing is loaded",
      QWEN,
      fitting([["Vulkan0", 96, 95.5]]),
      "Needs 41.3 GiB on Vulkan0 (weights 30.1, context 9.8, compute 1.4) of 96 GiB; 95.5 GiB now free.",
    ],
    [
      "more of the machine's own memory is needed than a bit",
      need([part("CUDA0", 8, 2, 0.5), part(undefined, 40, 0, 0.5)]),
      fitting([["CUDA0", 24, 23]]),
      "Needs 10.5 GiB on CUDA0 (weights 8.0, context 2.0, compute 0.5) of 24 GiB and 40.5 GiB in the machine's own memory (weights 40.0, context 0.0, compute 0.5) of 64 GiB; 23 GiB now free.",
    ],
    [
      "there is no device",
      need([part(undefined, 0.05, 0.1, 0.05)]),
      fitting([]),
      "Needs 204 MiB in the machine's own memory (weights 51, context 102, compute 51) of 64 GiB.",
    ],
    [
      "two models make room on two devices",
      need([part("CUDA0", 10, 2, 1), part("CUDA1", 10, 2, 1)]),
      fitting(
        [
          ["CUDA0", 24, 4],
          ["CUDA1", 24, 14],
        ],
        [held("a", part("CUDA0", 8, 1, 1)), held("b", part("CUDA0", 9, 0, 1), part("CUDA1", 9, 0, 1))],
      ),
      "Needs 13 GiB on CUDA0 (weights 10.0, context 2.0, compute 1.0) of 24 GiB and 13 GiB on CUDA1 (weights 10.0, context 2.0, compute 1.0) of 24 GiB; 30 GiB now used by a and b, which will be unloaded.",
    ],
    [
      "another model holds less there than it would need",
      QWEN,
      fitting([["Vulkan0", 96, 90]], [MINIMAX]),
      "Needs 41.3 GiB on Vulkan0 (weights 30.1, context 9.8, compute 1.4) of 96 GiB; 6 GiB now used by MiniMax-M2.7, which will be unloaded.",
    ],
    [
      "it is not known what another model holds",
      QWEN,
      fitting([["Vulkan0", 96, 20]], [MINIMAX, { id: "vllm-one", need: undefined }]),
      "Needs 41.3 GiB on Vulkan0 (weights 30.1, context 9.8, compute 1.4) of 96 GiB; 52 GiB now used by MiniMax-M2.7, which will be unloaded; how much vllm-one uses is not known.",
    ],
    [
      "a projector is counted, and a part is not",
      need([{ ...part("Vulkan0", 4, 1, 0.5), projectorMiB: 0.9 * GIB }], { bound: "at least" }),
      fitting([["Vulkan0", 96, 96]]),
      "Needs at least 6.4 GiB on Vulkan0 (weights 4.0, context 1.0, compute 0.5, projector 0.9) of 96 GiB; 96 GiB now free.",
    ],
  ])("where %s", (_what, wanted, place, said) => {
    expect(needWords(wanted, place, WILL)).toBe(said);
  });
});

describe("whether it fits", () => {
  const tight = fitting([["Vulkan0", 48, 40]]);
  const largest: Largest = { kind: "largest", need: need([], { tokens: 65_536 }), isTrained: false };

  test("is only said where it does not", () => {
    expect(verdictWords(QWEN, fitting([["Vulkan0", 96, 95]]))).toEqual([]);
    expect(verdictWords(QWEN, tight, largest)).toEqual([
      "It does not fit: 2.3 GiB too much on Vulkan0, with the 1 GiB that llama.cpp leaves free.",
      "65536 tokens (64k) would fit.",
    ]);
    expect(verdictWords({ ...QWEN, bound: "at most" }, tight)).toEqual([
      "It may not fit: up to 2.3 GiB too much on Vulkan0, with the 1 GiB that llama.cpp leaves free.",
    ]);
    const uncounted = { ...QWEN, bound: "at least", notes: ["Not counted: its draft model."] } as const;
    expect(verdictWords(uncounted, fitting([["Vulkan0", 96, 95]]))).toEqual([
      "Whether it fits is not known.",
      "Not counted: its draft model.",
    ]);
  });

  test("names the devices that count together, and the machine's own memory", () => {
    const two = fitting([
      ["CUDA0", 12, 12],
      ["CUDA1", 12, 12],
    ]);
    const both = need([part("CUDA0", 12, 1, 0), part("CUDA1", 12, 1, 0)]);
    expect(verdictWords(both, two)).toEqual([
      "It does not fit: 4 GiB too much on CUDA0 and CUDA1, with the 1 GiB that llama.cpp leaves free on each.",
    ]);
    expect(verdictWords(need([part(undefined, 70, 0, 0)]), fitting([]))).toEqual([
      "It does not fit: 7 GiB too much for the machine's own memory, with the 1 GiB that llama.cpp leaves free.",
    ]);
  });
});

test("the largest size that fits, or why there is none", () => {
  const found = need([], { tokens: 262_144 });
  expect(largestWords({ kind: "largest", need: found, isTrained: true })).toBe(
    "Largest that fits: 262144 tokens (256k), all that it was trained for.",
  );
  expect(largestWords({ kind: "largest", need: found, isTrained: false })).toBe(
    "Largest that fits: 262144 tokens (256k).",
  );
  const lack = { kind: "does not fit", missingMiB: 1, names: ["CUDA0"] } as const;
  expect(largestWords({ kind: "none", need: need([], { tokens: 4096 }), verdict: lack })).toBe(
    "No size fits: not even 4096 tokens (4k).",
  );
  expect(largestWords(unknown("there is no tool."))).toBe("What fits is not known: there is no tool.");
});

test("names from the server's machine steer no terminal", () => {
  const evil = "CUDA0\u001b[2J";
  const place = fitting([[evil, 96, 90]], [{ id: "x\u001b]0;y\u0007", need: undefined }]);
  const said = [
    needWords(need([part(evil, 100, 1, 1)]), place, WILL),
    ...verdictWords(need([part(evil, 100, 1, 1)]), place),
    ...toolWords({ ...place.memory, tool: "/t\u001b[2J" }),
  ].join("\n");
  expect(said).toMatch(/CUDA0/);
  expect(said).not.toMatch(/(?!\n)\p{Cc}/u);
});
