import { createRequire } from "node:module";
import { stripVTControlCharacters } from "node:util";
import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { highlighted } from "../../ui/view.ts";
import { processorTime } from "../support/clock.ts";

const theme = { fg: (colour: string, text: string) => `<${colour}>${text}</>` };
const YAML = [
  "models:",
  "  a: # the first",
  "    cmd: |",
  "      llama-server",
  "      -c 4096",
  "    ttl: 300",
];

test("before pi has a theme, YAML stays plain", () => {
  // Another file of this worker may have set it: pi keeps it under this key.
  vi.stubGlobal(Symbol.for("@earendil-works/pi-coding-agent:theme"), undefined);
  onTestFinished(() => {
    vi.unstubAllGlobals();
  });
  expect(highlighted(YAML, "yaml", theme)).toEqual(YAML);
});

describe("with pi's grammars", () => {
  beforeAll(() => {
    initTheme("dark");
    // In the terminal pi loads the rest of its grammars soon after its start.
    const pi = createRequire(import.meta.resolve("@earendil-works/pi-coding-agent"));
    pi("highlight.js");
  });

  test("YAML has colours, each line its own beginning and end", () => {
    const lines = highlighted(YAML, "yaml", theme);
    expect(lines.map((line) => stripVTControlCharacters(line))).toEqual(YAML);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the colour of a string
    const colour = /\u001b\[38;[\d;]+m(?=\|)/.exec(lines[2] ?? "")?.[0] ?? "none";
    expect(lines[3]).toBe(`${colour}      llama-server\u001b[39m`);
    expect(lines[4]).toBe(`${colour}      -c 4096\u001b[39m`);
    expect(lines[5]).not.toContain(`${colour} `);
  });

  test.each([
    ["more than 5000 lines", Array<string>(5001).fill("a: 1")],
    ["more than 200,000 characters", Array<string>(2100).fill(`a: ${"b".repeat(97)}`)],
    ["a very long line", ["a ".repeat(20_000)]],
  ])("YAML of %s is plain", (_, lines) => {
    expect(highlighted(lines, "yaml", theme)).toEqual(lines);
  });

  test("YAML of 5000 lines has colours", () => {
    const lines = Array<string>(5000).fill("a: 1");
    expect(highlighted(lines, "yaml", theme)[4999]).not.toBe("a: 1");
  });

  test.each([[[]], [[""]], [["", "", "a: |", ""]], [["&a *b <<: {[", "'", '"', "%"]]])(
    "as many lines come back as %j",
    (lines) => {
      expect(highlighted(lines, "yaml", theme).map((line) => stripVTControlCharacters(line))).toEqual(lines);
    },
  );
});

test("INI shows sections, keys, numbers, texts and comments", () => {
  const lines = ["; a comment", "[qwen]", "ctx-size = 65536", "model = /a=b.gguf", "  # too", "loose", ""];
  expect(highlighted(lines, "ini", theme)).toEqual([
    "<syntaxComment>; a comment</>",
    "<syntaxType>[qwen]</>",
    "<syntaxVariable>ctx-size </>=<syntaxNumber> 65536</>",
    "<syntaxVariable>model </>=<syntaxString> /a=b.gguf</>",
    "<syntaxComment>  # too</>",
    "loose",
    "",
  ]);
});

test("a log shows its errors and warnings", () => {
  const lines = [
    "[WARN] slow",
    "llama_model_load: error loading model",
    "srv: ready",
    "no errors, forewarned",
  ];
  expect(highlighted(lines, "log", theme)).toEqual([
    "<warning>[WARN] slow</>",
    "<error>llama_model_load: error loading model</>",
    "srv: ready",
    "no errors, forewarned",
  ]);
});

test("hostile lines cost no more than others", () => {
  const lines = Array<string>(1900).fill("a.".repeat(50));
  const spent = processorTime();
  expect(highlighted(lines, "ini", theme)).toEqual(lines);
  expect(spent()).toBeLessThan(1000);
});

test("a theme that fails leaves the lines plain", () => {
  const broken = {
    fg: () => {
      throw new Error("no theme");
    },
  };
  expect(highlighted(["a = 1"], "ini", broken)).toEqual(["a = 1"]);
});
