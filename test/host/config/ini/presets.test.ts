import { describe, expect, test } from "vitest";
import { isAsHeld, lacksModel, reloadEffect } from "../../../../host/config/ini/presets.ts";

const PRESET = `version = 1
[*]
n-gpu-layers = 0

[a]
model = /m/a.gguf
c = 2048   ; small
temp = 0.7
[b]
model = /m/b.gguf
jinja = on
[bare]
ctx-size = 512
`;

describe("a section without a model", () => {
  test.each([
    ["a", false],
    ["b", false],
    ["bare", true],
    ["absent", true],
  ])("%s: %s", (id, lacks) => {
    expect(lacksModel(PRESET, id)).toBe(lacks);
  });

  test.each(["m", "hf-repo", "LLAMA_ARG_MODEL_URL", "docker-repo"])("%s names one", (key) => {
    expect(lacksModel(`[x]\nctx-size = 1\n${key} = y\n`, "x")).toBe(false);
    expect(lacksModel(`[*]\n${key} = y\n[x]\nctx-size = 1\n`, "x")).toBe(false);
  });
});

describe("the models that another text changes", () => {
  test.each<[string, string, string[]]>([
    ["nothing", PRESET, []],
    [
      "a comment, the order and a blank",
      PRESET.replace("; small", "# s").replace("jinja = on", "jinja=on"),
      [],
    ],
    ["one value", PRESET.replace("2048", "4096"), ["a"]],
    ["a line that is gone", PRESET.replace("jinja = on\n", ""), ["b"]],
    ["a section that is gone", PRESET.replace(/\[b\][^[]*/, ""), ["b"]],
    ["a section that is new", `${PRESET}[c]\nmodel = /m/c.gguf\n`, ["c"]],
    ["what holds for all", PRESET.replace("n-gpu-layers = 0", "n-gpu-layers = 9"), ["a", "b", "bare"]],
  ])("%s", (_what, text, changed) => {
    expect([...(reloadEffect(PRESET, text).changed ?? [])].sort()).toEqual(changed);
  });

  test("show it by their size where that is another", () => {
    const { changed, expected } = reloadEffect(
      PRESET,
      PRESET.replace("2048", "4096").replace("jinja = on", "jinja = off"),
    );
    expect(changed).toEqual(["a", "b"]);
    expect(expected).toEqual([{ id: "a", contextSize: 4096 }]);
  });

  test("are unknown where the text cannot be parsed", () => {
    expect(reloadEffect(PRESET, "no preset")).toEqual({ changed: undefined, expected: [] });
  });
});

describe("what the router has read", () => {
  // As llama-server 0.7.0 shows it, with --threads 1 and --offline on its own command line.
  const HELD =
    "[a]\nlog-colors = off\noffline = 1\nctx-size = 2048\nmodel = /m/a.gguf\nn-gpu-layers = 0\ntemperature = 0.7\nthreads = 1\n\n";
  const COMMAND = ["/usr/bin/llama-server", "--offline", "-t", "1", "--models-preset", "/p.ini"];

  test("is the same by other names and words", () => {
    expect(isAsHeld(PRESET, "a", HELD, COMMAND)).toBe(true);
    const switched = "[b]\nlog-colors = off\nmodel = /m/b.gguf\nn-gpu-layers = 0\njinja = 1\n";
    expect(isAsHeld(PRESET, "b", switched, [])).toBe(true);
  });

  test.each([
    ["another value", PRESET.replace("2048", "4096")],
    ["another value for all", PRESET.replace("n-gpu-layers = 0", "n-gpu-layers = 9")],
    ["a line that is new", PRESET.replace("temp =", "top-k = 4\ntemp =")],
    ["a line that is gone", PRESET.replace("temp = 0.7\n", "")],
    ["a section that is gone", PRESET.replace("[a]", "[z]")],
  ])("is not the same with %s", (_what, text) => {
    expect(isAsHeld(text, "a", HELD, COMMAND)).toBe(false);
  });

  test("is not for sure the same where the router's own command line, or what it holds, is not known", () => {
    expect(isAsHeld(PRESET, "a", HELD, [])).toBe(false);
    expect(isAsHeld(PRESET, "a", "", COMMAND)).toBe(false);
  });
});
