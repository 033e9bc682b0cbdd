import { expect, test } from "vitest";
import { judgeContext } from "../../host/probe.ts";

const judge = (asked: number, cmd: string, tokens: number | undefined, trained?: number) =>
  judgeContext(asked, `llama-server ${cmd}`, { tokens, trained });

test.each([
  [65536, "-c 65536", 65536, "as asked", 65536],
  [1000, "-c 1000", 1024, "as asked", 1024],
  [65536, "-c 65536 --parallel 4", 16384, "as asked", 16384],
  [65536, "-c 65536 -np=4 --kv-unified", 65536, "as asked", 65536],
  [0, "-c 0", 131_072, "as asked", 131_072],
  [10_000, "-c 10000 \\\n --parallel '3'", 3584, "as asked", 3584],
])("%i with %s and %i live is %s", (asked, cmd, tokens, kind, expected) => {
  expect(judge(asked, cmd, tokens, 131_072)).toMatchObject({ kind, expected, isFault: false, why: "" });
});

// n_ctx of llama.cpp 0.7.0 for these flags; the second limit has no effect there, which its log says.
test.each([
  [16384, "-c 16384 -np 4 --kv-unified-per-slot 2000", 2000, "as asked", 2000],
  [1024, "-c 1024 -np 4 --kv-unified-per-slot 2048", 256, "as asked", 256],
  [16384, "-c 16384 --kv-unified-per-slot 2048", 2048, "as asked", 2048],
])("a limit for each slot, %i with %s and %i live is %s", (asked, cmd, tokens, kind, expected) => {
  expect(judge(asked, cmd, tokens, 32_768)).toMatchObject({ kind, expected });
  const perSlot = Number(cmd.split(" ").at(-1));
  const plain = cmd.replace(/ --kv-unified-per-slot.*/, "");
  const declared = { parallel: undefined, kvUnified: undefined, perSlot };
  expect(judgeContext(asked, `x ${plain}`, { tokens, trained: 32_768 }, declared)).toMatchObject({
    kind,
    expected,
  });
});

test("slots that only the config shows, as in the environment or in a script, explain it too", () => {
  const judged = (command: string, parallel: number, kvUnified?: boolean) =>
    judgeContext(65536, command, { tokens: 16384, trained: 131_072 }, { parallel, kvUnified });
  const asAsked = { kind: "as asked", expected: 16384, isFault: false };
  expect(judged("llama-server -c 65536 --fit off", 4)).toMatchObject(asAsked);
  expect(judged("sh -c 'llama-server -c 65536 -np 4'", 4)).toMatchObject(asAsked);
  expect(judged("llama-server -c 65536 -np 4", 1)).toMatchObject(asAsked);
  expect(judged("llama-server -c 65536 --fit off", 4, true)).toMatchObject({
    expected: 65536,
    isFault: true,
  });
});

test("accepts the exact size from a program that does not round", () => {
  const live = { tokens: 5000, trained: undefined };
  expect(judgeContext(5000, "koboldcpp --contextsize 5000", live)).toMatchObject({
    kind: "as asked",
    why: "",
  });
  expect(judgeContext(5001, "koboldcpp --contextsize 5001", live)).toMatchObject({ kind: "less" });
});

test("reports a smaller window that has a reason, which is no fault", () => {
  expect(judge(200_000, "-c 200000", 131_072, 131_072).why).toMatch(/trained for 131072/);
  expect(judge(65536, "-c 65536", 30_000, 131_072).why).toMatch(/--fit/);
  expect(judge(65536, "-c 65536", 30_000).why).toMatch(/may have been trained/);
  expect(judge(65536, "-c 65536", undefined)).toMatchObject({ kind: "unknown", isFault: false });
});

test("reports a smaller window without a reason as a fault", () => {
  expect(judge(65536, "-c 65536 --fit off", 30_000, 131_072)).toMatchObject({ kind: "less", isFault: true });
});
