import { describe, expect, test } from "vitest";
import { planAddition, planRemoval } from "../../../../host/config/config-file.ts";
import type { NewModel } from "../../../../host/config/model-change.ts";

const FILE = "/home/ai/models/new-Q4_K_M.gguf";

function add(text: string, model: Partial<NewModel> = {}): ReturnType<typeof planAddition> {
  return planAddition(text, "ini", { id: "new", file: FILE, ...model });
}

describe("a section for a new model", () => {
  test.each([
    ["", ""],
    ["version = 1\n\n[*]\nc = 8192\n", "\n"],
    ["[a]\nmodel = x", "\n\n"],
    ["[a]\nmodel = x\n\n", ""],
    ["; nothing yet\n", "\n"],
  ])("stands at the end of %j", (text, gap) => {
    expect(add(text, { context: 8192, mmproj: "/m/mmproj.gguf" })).toMatchObject({
      text: `${text}${gap}[new]\nmodel = ${FILE}\nmmproj = /m/mmproj.gguf\nctx-size = 8192\n`,
      setting: { model: "new", tokens: 8192, setBy: "section" },
      warnings: [],
    });
  });

  test("keeps the file's line ends and its way of writing a value", () => {
    expect(add("[a]\r\nmodel=x\r\n").text).toBe(`[a]\r\nmodel=x\r\n\r\n[new]\r\nmodel=${FILE}\r\n`);
  });

  test("says the size alone of a model that the router finds itself", () => {
    expect(add("", { id: "ggml-org/x-GGUF:Q8_0", file: undefined, context: 4096 }).text).toBe(
      "[ggml-org/x-GGUF:Q8_0]\nctx-size = 4096\n",
    );
    expect(() => add("", { file: undefined })).toThrow(/would be empty/);
  });

  test("takes over the options of a pattern, but not what was made for that model", () => {
    const text = [
      "[a]",
      "model = /m/a.gguf",
      "mm = /m/mmproj-a.gguf",
      "alias = fast",
      "c = 4096",
      "n-gpu-layers = 99 ; all",
      "temp = 0.7",
      "lora = /m/lora.gguf",
      "LLAMA_ARG_CHAT_TEMPLATE_FILE = /m/a.jinja",
      "model-draft = /m/draft.gguf",
      "load-on-startup = true",
      "cache-type-k = q8_0",
      "",
    ].join("\n");
    const { text: after, warnings } = add(text, { from: "a", context: 8192 });
    expect(after.slice(text.length)).toBe(
      `\n[new]\nmodel = ${FILE}\nc = 8192\nn-gpu-layers = 99\ntemp = 0.7\ncache-type-k = q8_0\n`,
    );
    expect(warnings).toEqual([
      'Left out, being specific to "a": lora = /m/lora.gguf, LLAMA_ARG_CHAT_TEMPLATE_FILE = /m/a.jinja, model-draft = /m/draft.gguf.',
      'Copied from "a"; check that this fits: temp = 0.7.',
    ]);
  });

  test("keeps the pattern's size where none is asked for", () => {
    expect(add("[a]\nmodel = x\nc = 4096\n", { from: "a" }).text).toContain(
      `[new]\nmodel = ${FILE}\nc = 4096\n`,
    );
  });

  test.each([
    ["[new]\n", {}, 'The preset has a section for "new" already.'],
    ["[a]\nalias = old, new\n", {}, 'The preset has the model "a" with the alias "new" already.'],
    ["", { id: "a]b" }, 'No section of a preset can have the name "a]b".'],
    ["", { id: "" }, 'No section of a preset can have the name "".'],
    ["", { id: "*" }, 'No model of a preset can have the name "*".'],
    ["", { id: "default" }, 'No model of a preset can have the name "default".'],
    ["", { id: " a" }, 'No model of a preset can have the name "a".'],
    [
      "",
      { file: "/m/a#1.gguf" },
      'A preset cannot name the file "/m/a#1.gguf": it ends a value at ";" and "#".',
    ],
    [
      "",
      { mmproj: "/m/a\nb = c" },
      'A preset cannot name the file "/m/a b = c": it ends a value at ";" and "#".',
    ],
    ["", { from: "b" }, 'The preset has no section for "b".'],
  ])("is refused: %j %j", (text, model, sentence) => {
    expect(() => add(text, model)).toThrow(sentence);
  });

  test.each(["ggml-org/x:Q8_0", "Qwen3.6-35B", "constructor", "é 😀", "$(rm -rf ~)", "a = b", "'"])(
    "may have the name %s",
    (id) => {
      const { text } = add("[a]\nmodel = x\n", { id, file: "/m/a b.gguf" });
      expect(text).toBe(`[a]\nmodel = x\n\n[${id}]\nmodel = /m/a b.gguf\n`);
      expect(planRemoval(text, "ini", id)).toMatchObject({
        text: "[a]\nmodel = x\n",
        files: ["/m/a b.gguf"],
      });
    },
  );
});

describe("a section that is taken out", () => {
  const remove = (lines: readonly string[], id = "b"): ReturnType<typeof planRemoval> =>
    planRemoval(lines.join("\n"), "ini", id);

  test("goes with the comment above it, its own comments and one gap", () => {
    const text = [
      "; all",
      "[a]",
      "model = x",
      "",
      "; b is slow",
      "[b] ; old",
      "model = y ; file",
      "; c = 1",
      "",
      "[c]",
    ];
    expect(remove(text).text).toBe("; all\n[a]\nmodel = x\n\n[c]");
    expect(remove(text, "a").text).toBe("; b is slow\n[b] ; old\nmodel = y ; file\n; c = 1\n\n[c]");
    expect(remove(text, "c").text).toBe(`${text.slice(0, 8).join("\n")}\n`);
  });

  test("leaves comments that are set off, a heading, and the comment of the next section", () => {
    const text = [
      "; ---- big ----",
      "[b]",
      "model = y",
      "",
      "; about all",
      "",
      "; the next",
      "[c]",
      "model = z",
      "",
    ];
    expect(remove(text).text).toBe("; ---- big ----\n; about all\n\n; the next\n[c]\nmodel = z\n");
  });

  test("goes in all its places, with any line end", () => {
    expect(remove(["[b]\r", "c = 1\r", "[a]\r", "c = 2\r", "[b]\r", "c = 3\r", ""]).text).toBe(
      "[a]\r\nc = 2\r\n",
    );
  });

  test("names its files, all shards of each, but none that another section names", () => {
    const text = [
      "[a]",
      "model = /m/shared.gguf",
      "[b]",
      "model = /m/b-00001-of-00003.gguf",
      "mmproj = /other/shared.gguf",
      "lora = /m/l1.gguf,/m/l2.gguf",
      "model-draft = relative.gguf",
    ];
    expect(remove(text).files).toEqual([
      "/m/b-00001-of-00003.gguf",
      "/m/b-00002-of-00003.gguf",
      "/m/b-00003-of-00003.gguf",
      "/m/l1.gguf",
      "/m/l2.gguf",
    ]);
  });

  test.each([
    [["[a]", "alias = b"], '"b" is an alias of the model "a": give that id instead.'],
    [["[B]"], 'The preset has no section for "b". There is "B"'],
    [["[b]", "what is this"], "The configuration at line 2, column 1: llama.cpp cannot parse this line"],
  ])("is refused: %j", (text, sentence) => {
    expect(() => remove(text)).toThrow(sentence);
  });

  test("is refused where it has no header", () => {
    expect(() => remove(["c = 1", "[a]"], "default")).toThrow(
      /line 1, column 1: "default" is the part before/,
    );
  });
});
