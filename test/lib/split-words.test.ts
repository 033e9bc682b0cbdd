import { describe, expect, test } from "vitest";
import { isOversized, MAX_COMMAND_CHARACTERS, splitWords } from "../../lib/split-words.ts";
import { readCommandLine } from "../../server/models/command-line.ts";
import { processorTime } from "../support/clock.ts";

const REAL = `llama-server --port 9001 -m "/models/a b/Qwen3-Q4_K_M.gguf" --chat-template-kwargs '{"enable_thinking": true, "effort": "low"}' -c 32768`;

describe("a command line", () => {
  test("of a usual length is split as a shell splits it", () => {
    expect(splitWords(REAL)).toContain('{"enable_thinking": true, "effort": "low"}');
    expect(isOversized(`${REAL} ${"--override-kv a=b ".repeat(1500)}`)).toBe(false);
  });

  test.each([
    ["many quotes in one word", 'a""'.repeat(170_000)],
    ["many escapes", '"a\\\\b"'.repeat(85_000)],
    ["many quotes of bash", "$'a'".repeat(125_000)],
    ["many quotes, though it is short", '""'.repeat(5000)],
    ["more than Linux takes", "x".repeat(MAX_COMMAND_CHARACTERS + 1)],
  ])("with %s is not split, and takes no time", (_, line) => {
    const spent = processorTime();
    expect(() => splitWords(line)).toThrow(RangeError);
    expect(readCommandLine(`llama-server -c 4096 ${line}`)).toMatchObject({
      context: undefined,
      isChat: true,
    });
    expect(spent()).toBeLessThan(2000);
  });

  test("with as many quotes as are taken takes a moment", () => {
    const line = `${"x".repeat(2900)}${'"'.repeat(1000)}`;
    const spent = processorTime();
    splitWords(line);
    expect(spent()).toBeLessThan(2000);
  });

  test("whose model has a name that looks like quantisations for ever is read in a moment", () => {
    const spent = processorTime();
    readCommandLine(`llama-server -m ${"_Q1".repeat(10_000)}!.gguf -c 4096`);
    expect(spent()).toBeLessThan(2000);
  });
});
