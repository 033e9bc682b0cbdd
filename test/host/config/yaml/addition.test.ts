import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { planAddition } from "../../../../host/config/config-file.ts";
import type { Addition, NewModel, OtherFile } from "../../../../host/config/model-change.ts";
import { applyEdits } from "../../../../host/config/traced-text.ts";

const FILE = "/home/ai/models/new-Q4_K_M.gguf";
const PORT = ["$", "{PORT}"].join("");
const ID = ["$", "{MODEL_ID}"].join("");

/** A macro's reference. */
const ref = (name: string): string => ["$", `{${name}}`].join("");

function add(text: string, model: Partial<NewModel> = {}, others: readonly OtherFile[] = []): Addition {
  return planAddition(text, "yaml", { id: "new", file: FILE, ...model }, others);
}

/** The new block's lines after the pattern of `a`. */
function blockAfter(block: readonly string[], model: Partial<NewModel> = {}): string {
  const text = ["models:", "  a:", ...block.map((line) => `    ${line}`), ""].join("\n");
  const { text: after, edits } = add(text, { from: "a", ...model });
  expect(applyEdits(text, edits)).toBe(after);
  expect(after.startsWith(text)).toBe(true);
  return after.slice(text.length).replace(/^\n/, "");
}

/** The new command after that of `a`. */
function commandAfter(command: string, model: Partial<NewModel> = {}, head = ""): string {
  const text = `${head}models:\n  a:\n    cmd: ${JSON.stringify(command)}\n`;
  const plain: unknown = parse(add(text, { from: "a", ...model }).text);
  return (plain as { models: { new: { cmd: string } } }).models.new.cmd;
}

function warningsAfter(command: string, block = ""): readonly string[] {
  return add(`models:\n  a:\n    cmd: ${JSON.stringify(command)}\n${block}`, { from: "a" }).warnings;
}

const MINIMAL = [
  "  new:",
  "    cmd: |",
  "      llama-server",
  `      --port ${PORT}`,
  `      --model ${FILE}`,
];

describe("a model without a pattern", () => {
  const block = `${MINIMAL.join("\n")}\n`;

  test.each([
    ["", `models:\n${block}`],
    ["# nothing yet\n", `# nothing yet\n\nmodels:\n${block}`],
    ["---\n", `---\nmodels:\n${block}`],
    ["globalTTL: 5", `globalTTL: 5\n\nmodels:\n${block}`],
    ["globalTTL: 5\n# end\n", `globalTTL: 5\n# end\n\nmodels:\n${block}`],
    ["globalTTL: 5\n...\n", `globalTTL: 5\n\nmodels:\n${block}...\n`],
    ["models:\n", `models:\n${block}`],
    ["models:", `models:\n${block}`],
    ["models: {}\nlogLevel: info\n", `models:\n${block}logLevel: info\n`],
    ["models: {} # none yet\n", `models: # none yet\n${block}`],
    ["models: ~\n", `models:\n${block}`],
    ["models:\n  # yours here\n\nttl: 1\n", `models:\n  # yours here\n${block}\nttl: 1\n`],
    ["macros:\n    x: 1\nmodels: {}\n", "macros:\n    x: 1\nmodels:\n"],
  ])("is written into %j", (text, expected) => {
    const { text: after, warnings, setting } = add(text);
    if (text.includes("macros")) expect(after).toMatch(/models:\n {4}new:\n {8}cmd: \|\n {10}llama-server\n/);
    else expect(after).toBe(expected);
    expect(warnings).toEqual([]);
    expect(setting).toMatchObject({ model: "new", tokens: undefined, setBy: "nothing" });
  });

  test("has a projector and a size where they are given, and the program that is asked for", () => {
    const model = { mmproj: "/m/mmproj new.gguf", context: 8192, program: "/opt/llama.cpp/llama-server" };
    const { text, setting } = add("", model);
    expect(text).toBe(
      [
        "models:",
        "  new:",
        "    cmd: |",
        "      /opt/llama.cpp/llama-server",
        `      --port ${PORT}`,
        `      --model ${FILE}`,
        "      --mmproj '/m/mmproj new.gguf'",
        "      --ctx-size 8192",
        "",
      ].join("\n"),
    );
    expect(setting).toMatchObject({ tokens: 8192, setBy: "flag" });
  });

  test.each([
    ["{}", `{models: {new: {cmd: "llama-server --port ${PORT} --model ${FILE}"}}}`],
    [
      '{"ttl": 5}\n',
      `{"ttl": 5, "models": {"new": {"cmd": "llama-server --port ${PORT} --model ${FILE}"}}}\n`,
    ],
    ["{models: {}}", `{models: {new: {cmd: "llama-server --port ${PORT} --model ${FILE}"}}}`],
    [
      'models: {\n  "a": {"cmd": "x"}, # first\n}\n',
      `models: {\n  "a": {"cmd": "x"}, # first\n  "new": {"cmd": "llama-server --port ${PORT} --model ${FILE}"},\n}\n`,
    ],
    [
      "models: {\n  a: {cmd: x} # first\n}\n",
      `models: {\n  a: {cmd: x}, # first\n  new: {cmd: "llama-server --port ${PORT} --model ${FILE}"}\n}\n`,
    ],
  ])("keeps the braces of %j", (text, expected) => {
    expect(add(text).text).toBe(expected);
  });

  test("keeps line ends, the byte order mark, and the text after the models", () => {
    const text =
      "\uFEFFmodels:\r\n  a:\r\n    cmd: x\r\n\r\n  b:\r\n    cmd: y\r\n    # about b\r\n\r\n# end\r\ngroups: {}\r\n";
    const at = text.indexOf("\r\n# end");
    expect(add(text).text).toBe(
      `${text.slice(0, at)}\r\n${MINIMAL.map((line) => `${line}\r\n`).join("")}${text.slice(at)}`,
    );
  });

  test("follows the indentation and the gaps of the others", () => {
    const tight = "models:\n      a:\n       cmd: x\n      b:\n       cmd: y\n";
    expect(add(tight).text).toBe(
      `${tight}      new:\n       cmd: |\n         llama-server\n         --port ${PORT}\n         --model ${FILE}\n`,
    );
  });

  test("does not change the text that ends with blank lines before it", () => {
    const keep = "models:\n  a:\n    ttl: 1\n    cmd: |+\n      x\n\n\n";
    expect(add(keep).text).toBe(`${keep}${MINIMAL.join("\n")}\n`);
  });

  test("says that no group and no set has it", () => {
    const groups = "models: {a: {cmd: x}}\ngroups: {g: {members: [a]}}\n";
    expect(add(groups).warnings).toEqual([
      "It is in none of the groups: llama-swap puts it into its default group.",
    ]);
    const matrix =
      "models: {a: {cmd: x}}\nrouting: {router: {use: matrix, settings: {matrix: {sets: {s: a}}}}}\n";
    expect(add(matrix).warnings).toEqual(["It is in no set of the matrix: it only runs alone."]);
  });
});

describe("ids and paths that are hostile to YAML, a splitter or a shell", () => {
  const IDS = [
    "org/model:Q4_K_M",
    "true",
    "null",
    "~",
    "7",
    "1e3",
    "0x10",
    "<<",
    "yes",
    "- a",
    "a: b",
    "a #b",
    "{a}",
    "*a",
    "&a",
    "!a",
    "'",
    '"',
    "a\\nb",
    "$(rm -rf ~)",
    "`id`",
    "__proto__",
    "constructor",
    "模型 😀",
    "a".repeat(300),
    "trailing:",
  ];
  const file = '/m/it\'s a "file"; $(id) #1.gguf';

  test.each(IDS)("%s", (id) => {
    for (const from of [undefined, "a"]) {
      const text = `models:\n  a:\n    cmd: llama-server -m /m/a.gguf --alias "${ID}" --port ${PORT}\n`;
      const attempt = (): Addition => add(text, { id, from, file, context: 512 });
      if (from === "a" && id.includes('"')) {
        expect(attempt).toThrow("cannot be added alone");
        continue;
      }
      const { text: after, setting } = attempt();
      expect(setting).toMatchObject({ model: id, tokens: 512 });
      const plain: unknown = parse(after, { mapAsMap: true });
      const models: unknown = plain instanceof Map ? plain.get("models") : undefined;
      expect(models instanceof Map && [...models.keys()]).toEqual(["a", id]);
    }
  });

  test("an id that would be split into words is refused with a command that has it bare", () => {
    const bare = `models:\n  a:\n    cmd: llama-server -m /m/a.gguf --alias ${ID}\n`;
    expect(add(bare, { id: "a/b:c", from: "a" }).setting.model).toBe("a/b:c");
    for (const id of ["a b", "a'b", "a #b"]) {
      expect(() => add(bare, { id, from: "a" })).toThrow(
        /cannot be added alone \(its command would change|the new text would not be understood/,
      );
    }
    const shell = `models:\n  a:\n    cmd: sh -c "exec llama-server -m /m/a.gguf --alias ${ID}"\n`;
    for (const id of ["$(id)", "`id`", "a;b", "a&b"]) {
      expect(() => add(shell, { id, from: "a" })).toThrow(
        /"a" starts a shell, which could read|would change|would differ/,
      );
    }
  });

  test.each([
    ["", 'No model of llama-swap can have the id "".'],
    [" a", "No model of llama-swap can have the id"],
    ["a\nb", "No model of llama-swap can have the id"],
    [ref("x"), "No model of llama-swap can have the id"],
    ["a\u2028b", "No model of llama-swap can have the id"],
  ])("refuses the id %j", (id, sentence) => {
    expect(() => add("models: {}\n", { id })).toThrow(sentence);
  });

  test.each([
    [{ file: "models/a.gguf" }, 'The file "models/a.gguf" needs its whole path on the server.'],
    [{ file: "~/a.gguf" }, "needs its whole path"],
    [{ file: "/m/a\nb.gguf" }, "No command of llama-swap can name the file"],
    [{ file: `/m/${ref("x")}.gguf` }, "No command of llama-swap can name the file"],
    [{ mmproj: "x.gguf" }, 'The projector "x.gguf" needs its whole path'],
    [{ program: "a\nb" }, "No command of llama-swap can name the program"],
    [{ file: undefined }, '"new" needs the path of its file.'],
  ])("refuses %j", (model, sentence) => {
    expect(() => add("models: {}\n", model)).toThrow(sentence);
  });
});

describe("an id that is taken", () => {
  test.each([
    ["models: {new: {cmd: x}}", 'The configuration has a model "new" already.'],
    [
      "models: {a: {cmd: x, aliases: [b, new]}}",
      'The configuration has the model "a" with the alias "new" already.',
    ],
    [
      `macros: {n: ew}\nmodels: {a: {cmd: x, aliases: ["n${ref("n")}"]}}`,
      'The configuration has the model "a" with the alias "new" already.',
    ],
    [
      "models: {a: {cmd: x, filters: {setParamsByID: {new: {}}}}}",
      'The configuration has the model "a" with the alias "new" already.',
    ],
    ["models: {a: {cmd: x}}\nselectors: {new: {}}", 'The configuration has a selector "new" already.'],
  ])("%s", (text, sentence) => {
    expect(() => add(text)).toThrow(sentence);
    expect(() => add("models: {}\n", {}, [{ name: "10-more.yaml", text }])).toThrow(
      sentence.replace("The configuration", '"10-more.yaml"'),
    );
  });
});

describe("a block after the pattern of another", () => {
  test("takes over how the model is run, and nothing that describes it", () => {
    expect(
      blockAfter(
        [
          "name: The old one",
          "description: x",
          "aliases: [old]",
          "env:",
          '  - "CUDA_VISIBLE_DEVICES=0" # the fast card',
          "cmd: |",
          "  # the server",
          "  llama-server --port 1",
          "checkEndpoint: /health",
          "ttl: 60",
          "metadata: {x: 1}",
          "capabilities: {context: 4096}",
          "filters: {stripParams: top_k}",
          "useModelName: x",
          "unlisted: true",
          "concurrencyLimit: 2",
        ].map((line) => line.replace("--port 1", `--port ${PORT} -m /m/a.gguf`)),
      ),
    ).toBe(
      [
        "  new:",
        "    env:",
        '      - "CUDA_VISIBLE_DEVICES=0" # the fast card',
        "    cmd: |",
        "      # the server",
        `      llama-server --port ${PORT} -m ${FILE}`,
        "    checkEndpoint: /health",
        "    ttl: 60",
        "    concurrencyLimit: 2",
        "",
      ].join("\n"),
    );
  });

  test("says what it does not take over", () => {
    expect(
      warningsAfter("llama-server -m /m/a.gguf", "    name: x\n    aliases: [y]\n    metadata: {z: 1}\n"),
    ).toEqual(['Not copied from "a": name, aliases, metadata.']);
  });

  test.each([
    ["-m /m/a.gguf", `-m ${FILE}`],
    ["--model /m/a.gguf -c 5", `--model ${FILE} -c 5`],
    ["--model=/m/a.gguf", `--model ${FILE}`],
    ["-m /m/old.gguf -m /m/a.gguf", `-m ${FILE}`],
    ["-hf org/repo:Q4", `--model ${FILE}`],
    ["--hf-repo org/repo --hf-file x.gguf --hf-token hf_x --jinja", `--model ${FILE} --jinja`],
    ["-mu https://x/y.gguf", `--model ${FILE}`],
    ["-dr gemma3", `--model ${FILE}`],
    ["--gpt-oss-20b-default -fa on", `--model ${FILE} -fa on`],
    ["-m /m/a.gguf --mmproj /m/mm.gguf -ngl 9", `-m ${FILE} -ngl 9`],
    ["-m /m/a.gguf --no-mmproj -ngl 9", `-m ${FILE} -ngl 9`],
    ["-m /m/a.gguf --alias a --jinja", `-m ${FILE} --alias new --jinja`],
    [`-m /m/a.gguf --alias ${ID}`, `-m ${FILE} --alias ${ID}`],
    ["-m /m/a.gguf --alias gpt-4,other --tags x --jinja", `-m ${FILE} --jinja`],
    ["-m /m/a.gguf --lora /m/l.gguf --chat-template-file /m/t.jinja", `-m ${FILE}`],
    ["-md /m/d.gguf -m /m/a.gguf -cd 4096 --draft-max 16 -ngld 99 --jinja", `-m ${FILE} --jinja`],
    [
      "-m /m/a.gguf --spec-draft-model /m/d.gguf --spec-draft-n-max 3 --spec-draft-cpu-moe -np 2",
      `-m ${FILE} -np 2`,
    ],
    [
      "-m /m/a.gguf --spec-type ngram-mod --spec-ngram-mod-n-max 8",
      `-m ${FILE} --spec-type ngram-mod --spec-ngram-mod-n-max 8`,
    ],
    ["-m /m/a.gguf --spec-type draft-mtp --jinja", `-m ${FILE} --jinja`],
    [
      "-m /m/a.gguf --rope-scaling yarn --yarn-orig-ctx 32768 --control-vector-layer-range 1 2 -fa on",
      `-m ${FILE} -fa on`,
    ],
    [
      '-m /m/a.gguf --system-prompt "use --lora x" -fa on',
      `-m ${FILE} --system-prompt "use --lora x" -fa on`,
    ],
    ["-m /m/a.gguf --log-file /var/log/a.log", `-m ${FILE}`],
  ])("%s becomes %s", (old, now) => {
    expect(commandAfter(`llama-server ${old} --port ${PORT}`)).toBe(`llama-server ${now} --port ${PORT}`);
  });

  test.each([
    ["-m /m/a.gguf --mmproj /m/mm.gguf -ngl 9", `-m ${FILE} --mmproj /m/p.gguf -ngl 9`],
    ["-m /m/a.gguf -mm /m/mm.gguf", `-m ${FILE} -mm /m/p.gguf`],
    ["-m /m/a.gguf --mmproj-url https://x/y.gguf", `-m ${FILE} --mmproj /m/p.gguf`],
    ["-m /m/a.gguf --no-mmproj -ngl 9", `-m ${FILE} --mmproj /m/p.gguf -ngl 9`],
    ["-hf org/repo:Q4 -ngl 9", `-m ${FILE} --mmproj /m/p.gguf -ngl 9`],
  ])("%s with a projector becomes %s", (old, now) => {
    expect(commandAfter(`llama-server ${old} --port ${PORT}`, { mmproj: "/m/p.gguf" })).toBe(
      `llama-server ${now} --port ${PORT}`,
    );
  });

  test("keeps a command of several lines in lines, with its comments and continuations", () => {
    const block = [
      "cmd: |",
      "  # fast",
      "  llama-server \\",
      "    --model /m/a.gguf \\",
      "    --lora /m/l.gguf \\",
      `    --port ${PORT} \\`,
      "    --chat-template-file /m/a.jinja",
    ];
    expect(blockAfter(block, { mmproj: "/m/p.gguf", context: 4096 })).toBe(
      [
        "  new:",
        "    cmd: |",
        "      # fast",
        "      llama-server \\",
        `        --model ${FILE} \\`,
        "        --mmproj /m/p.gguf \\",
        `        --port ${PORT} \\`,
        "        --ctx-size 4096",
        "",
      ].join("\n"),
    );
  });

  test("says what was left out and what may not fit", () => {
    expect(
      warningsAfter("llama-server -m /m/a.gguf --temp 0.7 --lora /m/l.gguf --embeddings --port 1"),
    ).toEqual([
      'Left out, being specific to "a": --lora /m/l.gguf.',
      'Copied from "a"; check that this fits: --temp 0.7, --embeddings.',
    ]);
  });
});

describe("macros and anchors of the pattern", () => {
  test("a macro for the folder stays in use, in quotes too", () => {
    const head = "macros: {dir: /home/ai/models, other: /m}\n";
    expect(commandAfter(`llama-server -m ${ref("dir")}/a.gguf`, {}, head)).toBe(
      `llama-server -m ${ref("dir")}/new-Q4_K_M.gguf`,
    );
    expect(commandAfter(`llama-server -m "${ref("dir")}/a.gguf" -fa on`, {}, head)).toBe(
      `llama-server -m "${ref("dir")}/new-Q4_K_M.gguf" -fa on`,
    );
    expect(commandAfter(`llama-server -m ${ref("other")}/a.gguf`, {}, head)).toBe(`llama-server -m ${FILE}`);
    expect(
      commandAfter(`llama-server -m ${ref("dir")}/a.gguf`, { file: "/home/ai/models/a b.gguf" }, head),
    ).toBe("llama-server -m '/home/ai/models/a b.gguf'");
  });

  test("a macro that holds the file is written out, and only that one", () => {
    const head = `macros: {bin: "llama-server --port ${PORT}", args: "-m /m/a.gguf -ngl 99", all: "${ref("bin")} ${ref("args")}"}\n`;
    expect(commandAfter(`${ref("bin")} ${ref("args")}`, {}, head)).toBe(`${ref("bin")} -m ${FILE} -ngl 99`);
    expect(commandAfter(ref("all"), {}, head)).toBe(`${ref("bin")} -m ${FILE} -ngl 99`);
    const whole = "macros: {file: /m/a.gguf, bin: llama-server}\n";
    expect(commandAfter(`${ref("bin")} -m ${ref("file")} -fa on`, {}, whole)).toBe(
      `${ref("bin")} -m ${FILE} -fa on`,
    );
  });

  test("a macro of several lines takes its lines along", () => {
    const text = [
      "macros:",
      "  base: |",
      `    llama-server --port ${PORT}`,
      "    -m /m/a.gguf",
      "models:",
      "  a:",
      "    cmd: |",
      `      ${ref("base")}`,
      "      -ngl 99",
      "",
    ].join("\n");
    expect(add(text, { from: "a" }).text.slice(text.length)).toBe(
      `\n  new:\n    cmd: |\n      llama-server --port ${PORT}\n      -m ${FILE}\n      -ngl 99\n`,
    );
  });

  test("the pattern's own macros come along where the command uses them, also through others", () => {
    const head = `macros: {args: "-c ${ref("ctx")}"}\n`;
    const text = `${head}models:\n  a:\n    macros:\n      ctx: 4096 # small\n      unused: 1\n    cmd: llama-server -m /m/a.gguf ${ref("args")}\n`;
    expect(add(text, { from: "a" }).text.slice(text.length)).toBe(
      `\n  new:\n    macros:\n      ctx: 4096\n    cmd: llama-server -m ${FILE} ${ref("args")}\n`,
    );
  });

  test("a shared block stays shared where it describes no model", () => {
    const base = `x: &base\n  ttl: 5\n  cmd: llama-server -m /m/a.gguf --port ${PORT}\n`;
    const text = `${base}models:\n  a:\n    <<: *base\n`;
    expect(add(text, { from: "a" }).text.slice(text.length)).toBe(
      `\n  new:\n    <<: *base\n    cmd: llama-server -m ${FILE} --port ${PORT}\n`,
    );
    const described = text.replace("  ttl: 5", "  ttl: 5\n  name: x");
    expect(add(described, { from: "a" }).text.slice(described.length)).toBe(
      `\n  new:\n    ttl: 5\n    cmd: llama-server -m ${FILE} --port ${PORT}\n`,
    );
  });

  test("an anchor of the pattern is referred to, and not defined again", () => {
    const text = `models:\n  a:\n    env: &env [A=1]\n    cmd: &cmd llama-server -m /m/a.gguf\n  b:\n    env: *env\n    cmd: *cmd\n`;
    const block = `  new:\n    env: *env\n    cmd: llama-server -m ${FILE}\n`;
    expect(add(text, { from: "a" }).text).toBe(text + block);
    expect(add(text, { from: "b" }).text).toBe(text + block);
  });

  test("a variable of the environment comes along where YAML allows it, and nowhere else", () => {
    const variable = ref("env.DIR");
    expect(commandAfter(`llama-server -m ${variable}/a.gguf -fa on`)).toBe(`llama-server -m ${FILE} -fa on`);
    expect(commandAfter(`${variable}/llama-server -m /m/a.gguf`)).toBe(`${variable}/llama-server -m ${FILE}`);
    const masked = `models:\n  a: {aliases: [${variable}], cmd: "${variable}/llama-server -m /m/a.gguf"}\n`;
    expect(() => add(masked, { from: "a" })).toThrow(/a variable of the environment would have to be copied/);
    expect(add(masked.replace(`"${variable}/`, '"')).text).toContain(FILE);
  });
});

describe("what belongs to the pattern alone", () => {
  test("its port is left to it", () => {
    const text =
      "models:\n  a:\n    proxy: http://127.0.0.1:9001\n    cmd: llama-server -m /m/a.gguf --port 9001\n";
    const { text: after, warnings } = add(text, { from: "a" });
    expect(after.slice(text.length)).toBe(`\n  new:\n    cmd: llama-server -m ${FILE} --port ${PORT}\n`);
    expect(warnings).toEqual(['llama-swap chooses its port: 9001 is that of "a".']);
    expect(blockAfter([`proxy: "http://127.0.0.1:${PORT}"`, "cmd: llama-server -m /m/a.gguf"])).toContain(
      "proxy:",
    );
  });

  test.each([
    [
      "proxy: http://10.0.0.7:9001\ncmd: llama-server -m /m/a.gguf",
      'line 3, column 12: the `proxy` of "a" is the address of that model alone',
    ],
    [
      "proxy: http://127.0.0.1:9001\ncmd: docker run -p 9001:80 -v /home/ai/models:/m ghcr.io/ggml-org/llama.cpp:server -m /m/a.gguf",
      'line 2, column 3: "a" needs the port 9001 for itself',
    ],
    [
      "cmdStop: docker stop llama\ncmd: llama-server -m /m/a.gguf",
      'line 3, column 14: the `cmdStop` of "a" stops that model alone',
    ],
    [
      "env: [LLAMA_ARG_MODEL=/m/a.gguf]\ncmd: llama-server -m /m/a.gguf",
      'the `env` of "a" names its model in LLAMA_ARG_MODEL',
    ],
    [
      "cmd: docker run --name llama -v /home/ai/models:/m ghcr.io/ggml-org/llama.cpp:server -m /m/a.gguf",
      '"a" starts a container with a name of its own',
    ],
    [
      "cmd: docker run -v /srv:/m ghcr.io/ggml-org/llama.cpp:server -m /m/a.gguf",
      `"a" runs in a container that does not see ${FILE}`,
    ],
    ["cmd: ssh gpu llama-server -m /m/a.gguf", '"a" runs on another machine'],
    ["cmd: llama-server --models-dir /m", '"a" is a router for many models itself'],
    ["cmd: llama-server --port 1", '"a" names no model file that could be replaced'],
    ["cmd: vllm serve /m/a", '"a" starts "vllm", which is not llama-server'],
    ["cmd: my-server --weights /m/a.gguf", '"a" starts "my-server", which is not llama-server'],
    ["cmd: llama-server -m '/m/a.gguf", "a quote is left open"],
    [
      "cmd: llama-server -m /m/a.gguf --context-size 5",
      '"new" cannot be added alone (the context size of this command cannot be set)',
    ],
  ])("%s", (block, sentence) => {
    const text = `models:\n  a:\n${block
      .split("\n")
      .map((line) => `    ${line}\n`)
      .join("")}`;
    const attempt = (): unknown => add(text, { from: "a", context: 8192 });
    expect(attempt).toThrow(sentence);
    expect(attempt).toThrow("Choose another model as the pattern, or write the block by hand.");
  });

  test("a container sees the file where its folder is mounted, and has the id in its name", () => {
    const image = "ghcr.io/ggml-org/llama.cpp:server";
    const run = `docker run --rm --name ${ID} -p ${PORT}:8080 -v /home/ai/models:/models ${image}`;
    expect(
      blockAfter([`cmd: ${run} -m /models/a.gguf`, `cmdStop: docker stop ${ID}`], {
        mmproj: "/home/ai/models/p.gguf",
      }),
    ).toBe(
      `  new:\n    cmd: ${run} -m /models/new-Q4_K_M.gguf --mmproj /models/p.gguf\n    cmdStop: docker stop ${ID}\n`,
    );
    const mounted = `docker run --mount type=bind,source=/home/ai,target=/x ${image} -m /x/a.gguf`;
    expect(commandAfter(mounted)).toBe(mounted.replace("/x/a.gguf", "/x/models/new-Q4_K_M.gguf"));
  });

  test("a shell gets plain words only", () => {
    const shell = `sh -c "exec llama-server -m /m/a.gguf --port ${PORT}"`;
    expect(commandAfter(shell)).toBe(shell.replace("/m/a.gguf", FILE));
    const hostile = (model: Partial<NewModel>): unknown => commandAfter(shell, model);
    for (const file of ["/m/$(id).gguf", "/m/a b.gguf", "/m/a;b.gguf", "/m/`id`.gguf", "/m/a'b.gguf"]) {
      expect(() => hostile({ file })).toThrow(
        '"a" starts a shell, which could read the new names as something else',
      );
    }
  });

  test("a program that is not known gets no argument that was not there", () => {
    expect(commandAfter("/opt/run.sh -m /m/a.gguf -ngl 99")).toBe(`/opt/run.sh -m ${FILE} -ngl 99`);
    expect(() => commandAfter("/opt/run.sh -m /m/a.gguf -ngl 99", { context: 512 })).toThrow(
      '"new" cannot be added alone (the context size of this command cannot be set)',
    );
    expect(() => commandAfter("/opt/run.sh -m /m/a.gguf -ngl 99", { mmproj: "/m/p.gguf" })).toThrow(
      '"a" has no projector, and cannot be given one',
    );
  });
});

describe("files that have their models elsewhere", () => {
  test.each([
    ["x: &m\n  a: {cmd: x}\nmodels: *m\n", "line 3, column 1: the models come from an anchor"],
    ["x: &m\n  models: {a: {cmd: x}}\n<<: *m\n", "the models come from an anchor"],
    ["Models: {}\n", 'the key is spelled "Models"'],
    ["models: []\n", "`models:` holds a list"],
    ["models: {a: {cmd: x}\n", "the YAML is broken there"],
    ["- a\n", "the file is not a YAML mapping"],
    ["models: {}\n---\na: 1\n", "a second YAML document begins there"],
    ["models: {}\n# \u2028\n", "the character U+2028 ends a line for llama-swap"],
  ])("are refused with the line: %j", (text, sentence) => {
    expect(() => add(text)).toThrow(sentence);
  });
});
