import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  type ContextChange,
  contextPerSlot,
  findContext,
  findContexts,
  formatOf,
  modelsIn,
  planContextChange,
} from "../../../host/config/config-file.ts";
import { applyEdits } from "../../../host/config/traced-text.ts";
import { ServerError } from "../../../lib/errors.ts";
import { processorTime } from "../../support/clock.ts";
import { CONFIG_CASES, type ConfigCase } from "./config-cases.ts";

const FOLDER = new URL("../../fixtures/configs/", import.meta.url);

function read(file: string): string {
  return readFileSync(new URL(file, FOLDER), "utf8");
}

function expectedOf(file: string): string {
  return file.replace(/\.(yaml|ini)$/, ".expected.$1");
}

function plan(config: ConfigCase): ContextChange {
  return planContextChange(read(config.file), formatOf(config.file), config.model, config.tokens);
}

function refusalOf(action: () => unknown): ServerError {
  try {
    action();
  } catch (error) {
    if (error instanceof ServerError) return error;
    throw error;
  }
  throw new Error("It was not refused.");
}

const changes = CONFIG_CASES.filter((config) => config.refusal === undefined);
const refusals = CONFIG_CASES.filter((config) => config.refusal !== undefined);

describe("the configurations in test/fixtures/configs", () => {
  test("every file there is asked for, at least 60 of them", () => {
    const asked = CONFIG_CASES.flatMap(({ file, refusal }) => (refusal ? [file] : [file, expectedOf(file)]));
    expect(readdirSync(FOLDER).sort()).toEqual([...asked].sort());
    expect(CONFIG_CASES.length).toBeGreaterThanOrEqual(60);
  });

  test.each(changes)("$file: $model gets $tokens", (config) => {
    const text = read(config.file);
    const change = plan(config);
    expect(change.text).toBe(read(expectedOf(config.file)));
    expect(change.after).toMatchObject({ model: config.model, tokens: config.tokens, problem: undefined });
    const warnings = change.warnings.filter((warning) => !warning.includes("`cmd`"));
    expect(warnings).toEqual(config.warnings ?? []);
    expect(applyEdits(text, change.edits)).toBe(change.text);
  });

  test.each(changes)("$file: all other models keep their size", (config) => {
    const format = formatOf(config.file);
    const others = (text: string): unknown =>
      findContexts(text, format)
        .filter(({ model }) => model !== config.model)
        .map(({ model, tokens, slots, problem }) => ({ model, tokens, slots, problem }));
    expect(others(plan(config).text)).toEqual(others(read(config.file)));
  });

  test.each(refusals)("$file: refused", (config) => {
    const error = refusalOf(() => plan(config));
    expect(error).toMatchObject({ link: "config file", remedy: "none" });
    const expected = config.refusal ?? "";
    if (expected.startsWith("*")) expect(error.message.slice(0, expected.length - 1)).toBe(expected.slice(1));
    else expect(error.message).toBe(expected);
  });

  test.each(changes.filter(({ file }) => !file.includes("same-size")))(
    "$file: the same change again changes nothing",
    (config) => {
      const { text } = plan(config);
      expect(planContextChange(text, formatOf(config.file), config.model, config.tokens)).toMatchObject({
        text,
        edits: [],
      });
    },
  );
});

describe("what is found", () => {
  const find = (file: string, model: string): unknown => findContext(read(file), formatOf(file), model);

  test("a flag in the command, with line and column of the number", () => {
    expect(find("deployment.yaml", "MiniMax-M2.7-IQ3_XXS")).toEqual({
      model: "MiniMax-M2.7-IQ3_XXS",
      line: 22,
      column: 18,
      tokens: 131_072,
      setBy: "flag",
      name: "--ctx-size",
      sharedWith: [],
      slots: { parallel: undefined, kvUnified: undefined },
      problem: undefined,
    });
  });

  test.each([
    [
      "macro-number.yaml",
      "a",
      { setBy: "global macro", name: "default_ctx", line: 3, column: 16, tokens: 4096, sharedWith: ["b"] },
    ],
    [
      "macro-number.yaml",
      "c",
      { setBy: "global macro", name: "full", line: 8, column: 8, tokens: 2048, sharedWith: ["f"] },
    ],
    [
      "macro-number.yaml",
      "d",
      { setBy: "model macro", name: "default_ctx", line: 19, column: 20, tokens: 8192, sharedWith: [] },
    ],
    ["macro-part-of-number.yaml", "a", { setBy: "flag", tokens: 32_000 }],
    ["macro-hex.yaml", "a", { setBy: "model macro", tokens: 4096, line: 4 }],
    ["macro-underscores.yaml", "a", { setBy: "model macro", tokens: 4096 }],
    ["macro-server-environment.yaml", "a", { setBy: "flag", tokens: undefined }],
    ["macro-anchored-number.yaml", "a", { setBy: "model macro", line: 1, column: 9, sharedWith: ["b"] }],
    [
      "env-list.yaml",
      "a",
      { setBy: "environment", name: "LLAMA_ARG_CTX_SIZE", line: 5, column: 29, tokens: 4096 },
    ],
    ["env-shared.yaml", "a", { setBy: "environment", line: 2, sharedWith: ["b"] }],
    ["env-program.yaml", "a", { setBy: "environment", tokens: 4096 }],
    ["docker-env.yaml", "a", { setBy: "environment", tokens: 4096, line: 3 }],
    ["anchor-alias.yaml", "a", { setBy: "flag", line: 4, column: 14, sharedWith: ["b"] }],
    ["anchor-alias.yaml", "c", { setBy: "flag", line: 8, sharedWith: ["d", "e"] }],
    ["anchor-alias.yaml", "f", { setBy: "flag", line: 23, sharedWith: [] }],
    ["added-long.yaml", "a", { setBy: "nothing", tokens: undefined, line: 3, column: 10 }],
    ["flag-zero.yaml", "a", { setBy: "flag", tokens: 0 }],
    ["bom-tabs-blanks.yaml", "a", { setBy: "flag", line: 6, column: 33 }],
    ["unicode.yaml", "模型/é😀", { line: 6, column: 32 }],
    ["declared-per-slot.yaml", "a", { tokens: 65_536, slots: { parallel: 4, kvUnified: undefined } }],
    ["preset.ini", "alpha", { setBy: "section", name: "ctx-size", line: 10, column: 12, tokens: 2048 }],
    [
      "preset.ini",
      "Qwen3.6-35B",
      { setBy: "global section", line: 5, tokens: 4096, slots: { parallel: 2, kvUnified: undefined } },
    ],
    ["preset.ini", "gamma", { setBy: "section", name: "c", line: 18, column: 3, tokens: 1024 }],
  ])("%s: %s", (file, model, expected) => {
    expect(find(file, model)).toMatchObject(expected);
  });

  test.each([
    ["010000", 4096],
    ["0_10_000", 4096],
    ["032768", 32768],
    ['"010000"', 10000],
  ])("a macro of %s as Go reads it", (written, tokens) => {
    const text = `macros: {ctx: ${written}}\nmodels:\n  a:\n    cmd: llama-server -c \${ctx}\n`;
    expect(findContext(text, "yaml", "a").tokens).toBe(tokens);
  });

  test("all models at once; one that is not understood has its problem and harms no other", () => {
    const text = [
      "models:",
      "  good: {cmd: llama-server -m a.gguf -c 4096 -np 2 --no-kv-unified}",
      "  open: {cmd: 'llama-server -m \"a.gguf'}",
      "  none: {ttl: 5}",
      "  last: {cmd: llama-server -m a.gguf -kvu -c 512, env: [LLAMA_ARG_N_PARALLEL=3]}",
    ].join("\n");
    expect(findContexts(text, "yaml")).toMatchObject([
      { model: "good", tokens: 4096, slots: { parallel: 2, kvUnified: false }, problem: undefined },
      { model: "open", tokens: undefined, line: 3, problem: expect.stringContaining("line 3, column 15") },
      { model: "none", tokens: undefined, line: 4, problem: expect.stringContaining("is missing") },
      { model: "last", tokens: 512, slots: { parallel: 3, kvUnified: true }, problem: undefined },
    ]);
  });

  test("the models of a preset, without its global section", () => {
    const found = findContexts(read("preset.ini"), "ini");
    expect(found.map(({ model, tokens }) => [model, tokens])).toEqual([
      ["alpha", 2048],
      ["Qwen3.6-35B", 4096],
      ["gamma", 1024],
      ["ggml-org/d:Q8_0", 2048],
    ]);
  });

  // Live n_ctx of llama.cpp 0.7.0 for these flags.
  test.each([
    [4000, undefined, undefined, 4096],
    [4096, 2, undefined, 2048],
    [4096, 2, true, 4096],
    [5000, 3, undefined, 1792],
    [5000, 3, false, 1792],
  ])("%d tokens, %s slots, unified %s: %d each", (tokens, parallel, kvUnified, each) => {
    expect(contextPerSlot(tokens, { parallel, kvUnified })).toBe(each);
  });

  test("the name of the file decides what it holds", () => {
    expect(["a.yaml", "a.YML", "dir", "~/.llama-models.ini", "A.INI"].map(formatOf)).toEqual([
      "yaml",
      "yaml",
      "yaml",
      "ini",
      "ini",
    ]);
  });
});

describe("what the file of a model says of its length", () => {
  const model = (metadata: string, size = "4096"): string =>
    `models:\n  a:\n    macros: {ctx: 4096}\n    cmd: llama-server -c ${size}\n    metadata: {${metadata}}\n`;

  test.each([
    "architecture: gemma4, context_length: 4096",
    "context_length: 4096, embedding_length: 1536",
    "parameters: 4650000000, context_length: '4096'",
    "general.architecture: qwen3, contextLength: 4096",
    "gguf: {block_count: 32, context_length: 4096}",
  ])("stays: %s", (metadata) => {
    const { text, warnings } = planContextChange(model(metadata), "yaml", "a", 8192);
    expect(text).toBe(model(metadata, "8192"));
    expect(warnings).toEqual([
      expect.stringMatching(/is what the model was trained for and stays at "4096"\.$/),
    ]);
  });

  test.each([
    "context_length: 4096",
    "context_length: 4096, family: gemma, quantization: Q4_0",
    "parameters: 4B, context_length: 4096",
    "architecture: {input_modalities: [text]}, context_length: 4096",
    "architecture: gemma4, n_ctx: 4096",
  ])("is the user's own and follows: %s", (metadata) => {
    const { text, warnings } = planContextChange(model(metadata), "yaml", "a", 8192);
    expect(text).toBe(model(metadata.replace("4096", "8192"), "8192"));
    expect(warnings).toEqual([]);
  });

  test("keeps a macro that it shares with the command", () => {
    const ctx = ["$", "{ctx}"].join("");
    const metadata = `architecture: gemma4, context_length: "${ctx}"`;
    const { text, warnings } = planContextChange(model(metadata, ctx), "yaml", "a", 8192);
    expect(text).toBe(model(metadata, "8192"));
    expect(warnings[0]).toBe(
      'The macro "ctx" stays at "4096": with it, metadata.context_length of this model would change too.',
    );
  });
});

describe("what llama-swap puts in before it reads the file", () => {
  const variable = ["$", "{env.FAVOURITE}"].join("");
  const text = (size: number): string =>
    `apiKeys: [${variable}]\nmodels:\n  a: {aliases: [${variable}, fast], cmd: llama-server -c ${size} -m /m/a.gguf}\n  b:\n    cmd: llama-server -m "${variable}" -c 1 # ${variable}\n`;

  test("may stand where YAML allows no brace, and stays as it is", () => {
    const change = planContextChange(text(4096), "yaml", "a", 8192);
    expect([change.text, change.before.tokens, change.after.tokens]).toEqual([text(8192), 4096, 8192]);
    expect(planContextChange(text(8192), "yaml", "a", 8192)).toMatchObject({ text: text(8192), edits: [] });
    expect(planContextChange(text(4096), "yaml", "b", 7).text).toBe(text(4096).replace("-c 1 ", "-c 7 "));
  });

  test("is not copied, and a fault beside it is named where it is", () => {
    const shared = `x: &cmd "llama-server -m ${variable} -c 1"\nmodels:\n  a: {aliases: [${variable}], cmd: *cmd}\n`;
    expect(refusalOf(() => planContextChange(shared, "yaml", "a", 8192)).message).toContain(
      "a variable of the environment would have to be copied",
    );
    const broken = `models:\n  a: {aliases: [${variable}, cmd: llama-server}\n`;
    expect(refusalOf(() => findContexts(broken, "yaml")).message).toMatch(
      /line 2, column \d+: the YAML is broken/,
    );
    const own = `models:\n  a: {cmd: llama-server ${["$", "{PORT}"].join("")}}\n`;
    expect(refusalOf(() => findContexts(own, "yaml")).message).toContain("the YAML is broken there");
  });
});

test.each(["{LLAMA_ARG_CTX_SIZE: 4096}", "LLAMA_ARG_CTX_SIZE=4096"])(
  "an environment that is no list is named, and no flag is added beside it: %s",
  (env) => {
    const text = `models:\n  a:\n    cmd: llama-server\n    env: ${env}\n`;
    expect(refusalOf(() => planContextChange(text, "yaml", "a", 8192)).message).toBe(
      'The configuration at line 4, column 10: the `env` of "a" is not a list, and llama-swap does not start with it. Write it as a list of `NAME=value` by hand, then try again.',
    );
  },
);

describe("what is no model", () => {
  test.each([
    ["models: []", "`models:` holds a list"],
    ["models: llama-server", "`models:` holds a single value"],
    ["models:", "`models:` is empty"],
    ["models: &m\n  - a\nother: 1", "`models:` holds a list"],
    ["Models:\n  a: {cmd: x}", 'the key is spelled "Models"'],
    ["models:\n  a: [llama-server]", '"a" holds no mapping'],
    ["models:\n  a: llama-server", '"a" holds no mapping'],
    ["models:\n  a:", '"a" holds no settings'],
    ["models:\n  a: {cmd: llama-server}\n---\nmodels: {}", "a second YAML document begins there"],
    ["models:\n  a: {cmd: llama-server}\n---\n", "a second YAML document begins there"],
  ])("%j", (text, what) => {
    expect(refusalOf(() => planContextChange(text, "yaml", "a", 8192)).message).toContain(what);
  });

  test("the markers around a single document are no second document", () => {
    const text = "---\nmodels:\n  a: {cmd: llama-server -c 1}\n...\n";
    expect(planContextChange(text, "yaml", "a", 8192).text).toBe(text.replace("-c 1", "-c 8192"));
  });
});

describe("a model that the router has found itself", () => {
  const plan = (text: string, id = "tiny-7b", size = 24_576): ContextChange =>
    planContextChange(text, "ini", id, size, true);

  test.each([
    ["version = 1\n\n[*]\nc = 8192\n", "\n[tiny-7b]\nc = 24576\n"],
    ["[*]\nLLAMA_ARG_CTX_SIZE = 8192", "\n\n[tiny-7b]\nLLAMA_ARG_CTX_SIZE = 24576\n"],
    ["[a]\r\nmodel = x\r\n\r\n", "[tiny-7b]\r\nctx-size = 24576\r\n"],
    ["; nothing yet\n", "\n[tiny-7b]\nctx-size = 24576\n"],
    ["", "[tiny-7b]\nctx-size = 24576\n"],
  ])("gets a section at the end of %j", (text, section) => {
    const change = plan(text);
    expect(change.text).toBe(text + section);
    expect(change.before.tokens).toBe(text.includes("8192") ? 8192 : undefined);
    expect(change.after).toMatchObject({ tokens: 24_576, setBy: "section" });
    expect(plan(change.text, "tiny-7b", 4096).text).toBe(change.text.replace("24576", "4096"));
  });

  test("needs none for the size that it has already", () => {
    expect(plan("[*]\nc = 24576\n")).toMatchObject({ edits: [], warnings: [] });
    expect(findContext("[*]\nc = 8192\n", "ini", "tiny-7b", true)).toMatchObject({
      tokens: 8192,
      setBy: "global section",
    });
  });

  test.each(["a]b", "a\nb", " a"])("has a name that is no section's: %j", (id) => {
    expect(refusalOf(() => plan("[*]\nc = 8192\n", id)).message).toMatch(/^No section of a preset can have/);
  });

  test.each(["ggml-org/x-GGUF:Q8_0", "Qwen3.6-35B", "constructor", "é 😀"])("or %s", (id) => {
    expect(plan("[*]\nc = 8192\n", id).text).toBe(`[*]\nc = 8192\n\n[${id}]\nc = 24576\n`);
  });
});

describe("hostile ids and sizes", () => {
  const HOSTILE = [
    "",
    "__proto__",
    "constructor",
    "../../etc/passwd",
    "-rf",
    "a\nb: {cmd: x}",
    'a" && $(touch /tmp/x) `id`',
    "\u001b[31mred\u0000\u202e",
    "x".repeat(10_240),
    ["$", "{PORT}"].join(""),
    "*",
    "]\n[b",
  ];

  test.each(HOSTILE.map((id) => [JSON.stringify(id).slice(0, 40), id]))(
    "%s: a sentence, nothing else",
    (_, id) => {
      for (const file of ["deployment.yaml", "preset.ini"]) {
        const { message } = refusalOf(() => planContextChange(read(file), formatOf(file), id, 8192));
        expect(message.length).toBeLessThan(400);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not be there
        expect(message).not.toMatch(/[\u0000-\u001f\u007f\u202e]/);
      }
    },
  );

  test.each(
    HOSTILE.filter((id) => !id.includes("\u0000") && id.length < 1000).map((id) => [
      JSON.stringify(id).slice(0, 40),
      id,
    ]),
  )("%s: changed as any other where a model has this id", (_, id) => {
    const lines = (size: number): string =>
      [
        "models:",
        "  other: {cmd: llama-server -m a.gguf -c 4096}",
        `  ${JSON.stringify(id)}:`,
        `    cmd: llama-server -m a.gguf -c ${size}`,
        "",
      ].join("\n");
    expect(planContextChange(lines(4096), "yaml", id, 8192).text).toBe(lines(8192));
  });

  test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2_147_483_648, 1e21])(
    "size %d is refused",
    (tokens) => {
      const { message } = refusalOf(() => planContextChange(read("plain.yaml"), "yaml", "a", tokens));
      expect(message).toBe("The context size must be a whole number from 1 to 2147483647.");
    },
  );

  test("refuses aliases that grow without end", () => {
    const rows = Array.from({ length: 30 }, (_, at) => `x${at + 1}: &x${at + 1} [*x${at}, *x${at}, *x${at}]`);
    const text = ["x0: &x0 [a]", ...rows, "models: {a: {cmd: llama-server -c 1}}"].join("\n");
    expect(refusalOf(() => planContextChange(text, "yaml", "a", 512)).message).toContain("without end");
  });

  test("refuses a mapping that merges itself", () => {
    const text = "a: &a\n  <<: [*a, *a]\nmodels:\n  m:\n    <<: *a\n    name: M\n";
    expect(refusalOf(() => planContextChange(text, "yaml", "m", 512)).message).toMatch(
      /line \d+, column \d+/,
    );
  });

  test.each([
    [
      "models:\n  a: &a\n    cmd: llama-server -c 1\n    x: *a\n",
      "line 4, column 8: the alias *a refers to a block that contains it",
    ],
    [
      "models:\n  a:\n    cmd: llama-server\n    metadata: &m [*m]\n",
      "line 4, column 19: the alias *m refers to",
    ],
    [
      "models:\n  a:\n    <<: 5\n    cmd: llama-server\n",
      "a merge key (`<<`) refers to something that is no mapping",
    ],
  ])("what Go refuses is a sentence: %j", (text, sentence) => {
    expect(refusalOf(() => planContextChange(text, "yaml", "a", 512)).message).toContain(sentence);
    expect(refusalOf(() => findContexts(text, "yaml")).message).toContain(sentence);
  });

  test("refuses macros that double one another", () => {
    const rows = Array.from({ length: 40 }, (_, at) => `  m${at + 1}: "\${m${at}}\${m${at}}"`);
    const head = ["macros:", "  m0: x", ...rows, "models:", "  a:"];
    const inCommand = [...head, "    cmd: llama-server ${m40} -c 4096"].join("\n");
    expect(refusalOf(() => planContextChange(inCommand, "yaml", "a", 512)).message).toContain(
      "cannot be followed",
    );
    const beside = [...head, "    cmd: llama-server -c 4096", '    name: "${m40}"'].join("\n");
    expect(refusalOf(() => planContextChange(beside, "yaml", "a", 512)).message).toContain(
      "name of this model",
    );
    expect(findContext(beside, "yaml", "a").tokens).toBe(4096);
  });

  test("one anchor may serve some hundred models", () => {
    const block = (at: number): string => `  m${at}:\n    cmd: llama-server -c 4096\n    env: *env\n`;
    const models = Array.from({ length: 300 }, (_, at) => block(at)).join("");
    const { text } = planContextChange(`x: &env [A=1]\nmodels:\n${models}`, "yaml", "m299", 8192);
    expect(findContext(text, "yaml", "m299").tokens).toBe(8192);
  });

  test.each([
    ["000D", "\r"],
    ["0085", "\u0085"],
    ["2028", "\u2028"],
    ["2029", "\u2029"],
  ])("U+%s, which ends a line for llama-swap alone, is refused and not read over", (code, char) => {
    const text = `models:\n  a:\n    # was:${char}    name: A\n    cmd: llama-server -c 4096\n`;
    expect(refusalOf(() => planContextChange(text, "yaml", "a", 8192)).message).toBe(
      `The configuration at line 3, column 11: the character U+${code} ends a line for llama-swap, but not for every reader of YAML. Replace it with a plain line end or a space.`,
    );
  });

  test("a preset of some thousand sections is read in seconds, not minutes", () => {
    const section = (at: number): string => `[m${at}]\nmodel = /models/${at}.gguf\nctx-size = 4096\n`;
    const text = Array.from({ length: 3000 }, (_, at) => section(at)).join("");
    const spent = processorTime();
    expect(findContexts(text, "ini")).toHaveLength(3000);
    expect(spent()).toBeLessThan(4000);
  });

  test("a hundred models are planned in less than two seconds", () => {
    const block = (at: number): string =>
      `  m${at}:\n    cmd: |\n      \${bin}\n      -m /models/${at}.gguf\n      -c 4096\n`;
    const text = `macros:\n  bin: llama-server --port \${PORT}\nmodels:\n${Array.from({ length: 100 }, (_, at) => block(at)).join("")}`;
    const spent = processorTime();
    expect(planContextChange(text, "yaml", "m99", 8192).text).toContain("/99.gguf\n      -c 8192\n");
    expect(spent()).toBeLessThan(2000);
  });
});

test("a file without models has none among those of a folder, and one that is broken is named", () => {
  const files = ["", "# nothing yet\n", "models: {}\n", "models:\n", "models: {a: {cmd: x}}\n"];
  const named = files.map((text, at) => ({ name: `${at}.yaml`, text }));
  expect(modelsIn(named).map(({ model, file }) => [model, file.name])).toEqual([["a", "4.yaml"]]);
  expect(() => modelsIn([{ name: "x.yaml", text: "Models: {}\n" }])).toThrow('the key is spelled "Models"');
});
