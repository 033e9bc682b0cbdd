import { expect, test } from "vitest";
import { findQuantisation, groupFiles } from "../../huggingface/quantisations.ts";

/** Files by path, each with its size. */
const grouped = (sizes: Record<string, number>) =>
  groupFiles(
    Object.entries(sizes).map(([path, bytes]) => ({
      path,
      bytes,
      sha256: "0".repeat(64),
      url: `http://h/${path}`,
    })),
  );

const names = (...paths: string[]) =>
  grouped(Object.fromEntries(paths.map((path, at) => [path, at + 1]))).quantisations.map(({ name }) => name);

test.each([
  ["Qwen3-30B-A3B-Q4_K_M.gguf", "Q4_K_M"],
  ["Qwen3-30B-A3B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"],
  ["Model.i1-IQ2_XXS.gguf", "IQ2_XXS"],
  ["ggml-model-q8_0.gguf", "Q8_0"],
  ["gpt-oss-20b-mxfp4.gguf", "MXFP4"],
  ["model-TQ1_0.gguf", "TQ1_0"],
  ["model_BF16.gguf", "BF16"],
  ["model-fp16.GGUF", "FP16"],
  ["Q8_0/model.gguf", "Q8_0"],
  ["deep/er/UD-IQ3_S/model-00001-of-00001.gguf", "UD-IQ3_S"],
  ["plain-name.gguf", "plain-name"],
  ["Q4-of-a-name.gguf", "Q4-of-a-name"],
])("%s is %s", (path, expected) => {
  expect(names(path)).toEqual([expected]);
});

test("the parts of a model are one, in their order, however they are listed", () => {
  const { quantisations } = grouped({
    "Q4_K_M/big-Q4_K_M-00002-of-00003.gguf": 20,
    "Q4_K_M/big-Q4_K_M-00003-of-00003.gguf": 5,
    "big-Q8_0.gguf": 90,
    "Q4_K_M/big-Q4_K_M-00001-of-00003.gguf": 20,
  });
  expect(quantisations.map(({ name, bytes }) => [name, bytes])).toEqual([
    ["Q4_K_M", 45],
    ["Q8_0", 90],
  ]);
  expect(quantisations[0]?.files.map(({ path }) => path.slice(-19))).toEqual([
    "00001-of-00003.gguf",
    "00002-of-00003.gguf",
    "00003-of-00003.gguf",
  ]);
});

test("a model without one of its parts is not offered", () => {
  const { quantisations, incomplete } = grouped({
    "big-Q4_K_M-00001-of-00002.gguf": 1,
    "big-Q8_0-00001-of-00002.gguf": 1,
    "big-Q8_0-00002-of-00002.gguf": 1,
  });
  expect(quantisations.map(({ name }) => name)).toEqual(["Q8_0"]);
  expect(incomplete).toEqual(["Q4_K_M"]);
});

test("two models of the same quantisation are named by their files", () => {
  expect(
    names("a-7B-Q4_K_M.gguf", "a-13B-Q4_K_M.gguf", "b/x-Q8_0.gguf", "c/x-Q8_0.gguf", "y-F16.gguf"),
  ).toEqual(["a-7B-Q4_K_M", "a-13B-Q4_K_M", "b-x-Q8_0", "c-x-Q8_0", "F16"]);
});

test("projectors come apart, the most usual first, and other helpers of a model are left out", () => {
  const { quantisations, projectors } = grouped({
    "mmproj-F32.gguf": 40,
    "mmproj-BF16.gguf": 20,
    "sub/model-mmproj-f16.gguf": 20,
    "model-Q8_0.gguf": 100,
    "imatrix_unsloth.gguf": 1,
    "mtp-model-Q8_0.gguf": 2,
    "README.md": 3,
  });
  expect(projectors.map(({ path }) => path)).toEqual([
    "sub/model-mmproj-f16.gguf",
    "mmproj-BF16.gguf",
    "mmproj-F32.gguf",
  ]);
  expect(quantisations.map(({ name }) => name)).toEqual(["Q8_0"]);
});

test("a quantisation is found in upper and lower case", () => {
  const { quantisations } = grouped({ "m-Q4_K_M.gguf": 1, "m-Q8_0.gguf": 2 });
  expect(findQuantisation(quantisations, "q4_k_m")?.name).toBe("Q4_K_M");
  expect(findQuantisation(quantisations, "Q4")).toBeUndefined();
});
