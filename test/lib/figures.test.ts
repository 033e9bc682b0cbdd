import { expect, test } from "vitest";
import { binarySize, counted, duration, shortTokens, spent, wholeSeconds } from "../../lib/figures.ts";

test.each([
  [-5, "0 s"],
  [999, "0 s"],
  [59_999, "59 s"],
  [60_000, "1 min"],
  [65_999, "1 min 5 s"],
  [3_600_000, "60 min"],
])("%d ms is %s", (milliseconds, words) => {
  expect(duration(milliseconds)).toBe(words);
});

test.each([
  [0, "0.0 s"],
  [1234, "1.2 s"],
  [9949, "9.9 s"],
  [9950, "9 s"],
  [65_999, "1 min 5 s"],
])("%d ms that are over are %s", (milliseconds, words) => {
  expect(spent(milliseconds)).toBe(words);
});

test.each([
  [1000, "1 s"],
  [1001, "2 s"],
  [600_000, "600 s"],
])("a limit of %d ms is %s", (milliseconds, words) => {
  expect(wholeSeconds(milliseconds)).toBe(words);
});

test.each([
  [0, "0 models"],
  [1, "1 model"],
  [2, "2 models"],
])("%d of a model are %s", (number, words) => {
  expect(counted(number, "model")).toBe(words);
});

test.each([
  [0, "0"],
  [999, "999"],
  [1000, "1k"],
  [1024, "1k"],
  [1536, "1.5k"],
  [32_768, "32k"],
  [128_000, "128k"],
  [131_072, "128k"],
  [262_144, "256k"],
  [1_048_576, "1M"],
  [1_000_000, "1M"],
  [1_500_000, "1.5M"],
  [10_485_760, "10M"],
])("%d tokens are %s", (tokens, short) => {
  expect(shortTokens(tokens)).toBe(short);
});

const MIB = 1024 ** 2;

test.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1 KiB"],
  [1536, "1.5 KiB"],
  [99.94 * MIB, "99.9 MiB"],
  [99.96 * MIB, "100 MiB"],
  [512 * MIB, "512 MiB"],
  [1023.4 * MIB, "1023 MiB"],
  [1023.6 * MIB, "1 GiB"],
  [42_300 * MIB, "41.3 GiB"],
  [3_000_000 * MIB, "2.9 TiB"],
])("%d bytes are %s", (bytes, words) => {
  expect(binarySize(bytes)).toBe(words);
});
