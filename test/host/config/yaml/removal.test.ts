import { describe, expect, test } from "vitest";
import { planRemoval } from "../../../../host/config/config-file.ts";
import type { OtherFile, Removal } from "../../../../host/config/model-change.ts";

/** A macro's reference. */
const ref = (name: string): string => ["$", `{${name}}`].join("");

function remove(text: string, id = "a", others: readonly OtherFile[] = []): Removal {
  return planRemoval(text, "yaml", id, others);
}

/** Two models, and more lines after them. */
function config(...more: readonly string[]): string {
  return [
    "models:",
    "  a: {cmd: llama-server -m /m/a.gguf}",
    "  b: {cmd: llama-server -m /m/b.gguf}",
    ...more,
    "",
  ].join("\n");
}

/** The lines after the models once `a` is gone, and the sentences. */
function rest(...more: readonly string[]): { lines: string[]; alsoChanged: readonly string[] } {
  const { text, alsoChanged } = remove(config(...more));
  const [models, b, ...lines] = text.split("\n");
  expect([models, b]).toEqual(["models:", "  b: {cmd: llama-server -m /m/b.gguf}"]);
  expect(lines.pop()).toBe("");
  return { lines, alsoChanged };
}

describe("which lines are the model's", () => {
  const TEXT = [
    "# top",
    "models: # all",
    "  # about a",
    "  # and more about a",
    "  a: # first",
    "    # inside",
    "    cmd: |",
    "      llama-server -m /m/a.gguf",
    "",
    "    ttl: 1 # one",
    "    # after, deeper",
    "",
    "  # set off",
    "",
    "  # ---- big ones ----",
    "  b:",
    "    cmd: llama-server -m /m/b.gguf",
    "  # about c",
    "",
    "  c: {cmd: llama-server -m /m/c.gguf} # last",
    "",
    "",
    "# groups",
    "groups: {}",
    "",
  ];
  const without = (from: number, to: number): string =>
    [...TEXT.slice(0, from), ...TEXT.slice(to)].join("\n");

  test("the comment directly above, all that is deeper, and one gap", () => {
    expect(remove(TEXT.join("\n")).text).toBe(without(2, 12));
  });

  test("neither a heading, nor a comment that is set off", () => {
    expect(remove(TEXT.join("\n"), "b").text).toBe(without(15, 17));
    expect(remove(TEXT.join("\n"), "c").text).toBe(without(18, 20));
  });

  test("with its line ends, wherever the file ends", () => {
    const crlf = "models:\r\n  a:\r\n    cmd: x\r\n\r\n  b:\r\n    cmd: y";
    expect(remove(crlf).text).toBe("models:\r\n  b:\r\n    cmd: y");
    expect(remove(crlf, "b").text).toBe("models:\r\n  a:\r\n    cmd: x\r\n");
  });

  test("but not the blank lines that belong to the text of its neighbour", () => {
    const keep = "models:\n  b:\n    cmd: |+\n      y\n\n\n  a:\n    cmd: x\n";
    expect(remove(keep).text).toBe("models:\n  b:\n    cmd: |+\n      y\n\n\n");
  });

  test.each([
    ["models:\n  a:\n    cmd: x\n", "models: {}\n"],
    ["models: # all\n  a:\n    cmd: x\nttl: 1\n", "models: {} # all\nttl: 1\n"],
    ["models: &m\n  a:\n    cmd: x\n", "models: &m {}\n"],
    ["models: {a: {cmd: x}}\n", "models: {}\n"],
    ['{"models": {"a": {"cmd": "x"}}}', '{"models": {}}'],
    ["? models\n: a:\n    cmd: x\n", undefined],
  ])("the last one leaves an empty mapping: %j", (text, expected) => {
    if (expected === undefined) expect(() => remove(text)).toThrow("cannot be removed alone");
    else expect(remove(text).text).toBe(expected);
  });

  test.each([
    ["models: {a: {cmd: x}, b: {cmd: y}}\n", "models: {b: {cmd: y}}\n"],
    ["models: {b: {cmd: y}, a: {cmd: x}}\n", "models: {b: {cmd: y}}\n"],
    ["models: {b: {cmd: y}, a: {cmd: x},}\n", "models: {b: {cmd: y},}\n"],
    [
      'models: {\n  "a": {"cmd": "x"}, # about a\n  "b": {"cmd": "y"}\n}\n',
      'models: {\n  "b": {"cmd": "y"}\n}\n',
    ],
    ['models: {\n  "b": {"cmd": "y"},\n  "a": {"cmd": "x"}\n}\n', 'models: {\n  "b": {"cmd": "y"}\n}\n'],
    ["models:\n  ? a\n  : cmd: x\n  b: {cmd: y}\n", "models:\n  b: {cmd: y}\n"],
    ["models:\n  &k a: {cmd: x}\n  b: {cmd: y}\n", "models:\n  b: {cmd: y}\n"],
    ["x: &x {cmd: x}\nmodels:\n  a: *x\n  b: *x\n", "x: &x {cmd: x}\nmodels:\n  b: *x\n"],
  ])("in every style: %j", (text, expected) => {
    expect(remove(text).text).toBe(expected);
  });
});

describe("mentions of the model elsewhere are removed", () => {
  test.each([
    ["groups:", "  g: {swap: false, members: [a, b]}", "  g: {swap: false, members: [b]}"],
    ["groups:", '  g: {members: [b, "a"]}', "  g: {members: [b]}"],
    ["groups:", "  g: {members: [a]}", "  g: {members: []}"],
    [
      "routing:",
      "  router: {settings: {groups: {g: {members: [a, b]}}}}",
      "  router: {settings: {groups: {g: {members: [b]}}}}",
    ],
  ])("a group: %s%s", (head, line, expected) => {
    const { lines, alsoChanged } = rest(head, line);
    expect(lines).toEqual([head, expected]);
    expect(alsoChanged).toEqual(['It leaves the group "g".']);
  });

  test("a group's lines, with their comments", () => {
    const group = [
      "groups:",
      "  g:",
      "    members:",
      "      # first",
      "      - a # x",
      "      - b",
      "  h:",
      "    members:",
      "      - c",
    ];
    expect(rest(...group).lines).toEqual([...group.slice(0, 3), ...group.slice(5)]);
    const alone = ["groups:", "  g:", "    members: # all", "      - a", "    swap: true"];
    expect(rest(...alone).lines).toEqual(["groups:", "  g:", "    members: [] # all", "    swap: true"]);
  });

  test("what is loaded at the start, under any of its names", () => {
    const text = config("hooks: {on_startup: {preload: [b, fast, a, ' a ']}}").replace(
      "{cmd: llama-server -m /m/a.gguf}",
      "{cmd: x, aliases: [fast]}",
    );
    const { text: after, alsoChanged } = remove(text);
    expect(after).toContain("preload: [b]}}");
    expect(alsoChanged).toEqual(["It is no longer loaded when the server starts."]);
  });

  test("a priority", () => {
    const fifo = (priority: string): string =>
      `routing: {scheduler: {settings: {fifo: {priority: {${priority}}}}}}`;
    expect(rest(fifo("a: 10, b: 5")).lines).toEqual([fifo("b: 5")]);
  });

  test("one target of a selector, but not the one that counts", () => {
    const selector = (strategy: string, targets: string): string =>
      `selectors: {s: {strategy: ${strategy}, targets: [${targets}]}}`;
    expect(rest(selector("warm", "a, b")).lines).toEqual([selector("warm", "b")]);
    expect(rest(selector("pin", "b, a")).lines).toEqual([selector("pin", "b")]);
    for (const [strategy, targets] of [
      ["pin", "a, b"],
      ["warm", "a"],
      ["spillover", "a"],
    ] as const) {
      expect(() => rest(selector(strategy, targets))).toThrow(
        /line 4, column \d+: the selector "s" leads to "a"\. Give it another target/,
      );
    }
  });

  test.each([
    ["a | b", "b"],
    ["b | a", "b"],
    ["b | a | c", "b | c"],
    ["(a | b) & c", "(b) & c"],
    ["(b | a) & c", "(b) & c"],
    ["A | b", "b"],
    ["+other | a", "+other"],
    ["a | a | b", "b"],
    ["aa | a-b | a", "aa | a-b"],
  ])("an alternative in a set: %s", (set, expected) => {
    const matrix = (one: string, vars = "{A: a, B: b}"): string[] => [
      "matrix:",
      `  vars: ${vars}`,
      "  sets:",
      `    other: b`,
      `    s: "${one}"`,
    ];
    const { lines, alsoChanged } = rest(...matrix(set));
    expect(lines).toEqual(matrix(expected, "{B: b}"));
    expect(alsoChanged).toEqual([
      'It leaves the set "s" of the matrix.',
      "Its variable in the matrix is removed.",
    ]);
  });

  test("a set of this model alone, and its cost", () => {
    const { lines, alsoChanged } = rest(
      "matrix:",
      "  evict_costs: {a: 5, b: 2}",
      "  sets:",
      "    full: a",
      "    s: b",
    );
    expect(lines).toEqual(["matrix:", "  evict_costs: {b: 2}", "  sets:", "    s: b"]);
    expect(alsoChanged).toEqual([
      'The set "full" of the matrix is removed: it contains only this model.',
      "Its cost in the matrix is removed.",
    ]);
  });

  test.each([
    [
      ["matrix: {sets: {s: a & b}}"],
      'line 4, column 20: the set "s" of the matrix needs "a". Write the set without this model by hand',
    ],
    [["matrix: {sets: {s: b | a & c}}"], 'the set "s" of the matrix needs "a"'],
    [["matrix: {sets: {s: a}}"], 'the set "s" of the matrix needs "a"'],
    [["matrix: {sets: {s: a, t: +s & b}}"], 'the set "s" of the matrix needs "a"'],
    [[`matrix: {sets: {s: "b | ${ref("x")}"}}`, "macros: {x: a}"], 'the set "s" of the matrix needs "a"'],
    [
      ["profiles: {p: {pins: {x: a}}}"],
      'line 4, column 26: the profile "p" leads "x" to "a". Point it to another model by hand',
    ],
    [
      ["x: &l [a, b]", "groups: {g: {members: *l}}"],
      'the group "g" names "a" in a list that is used elsewhere too',
    ],
  ])("is refused where the change is not sure: %j", (more, sentence) => {
    expect(() => remove(config(...more))).toThrow(sentence);
  });

  test("a variable of the matrix that is called as the model, and means another", () => {
    const lines = ["matrix:", "  vars: {a: b}", "  sets:", "    s: a", "    t: b"];
    expect(rest(...lines).lines).toEqual(lines);
  });
});

describe("macros and anchors", () => {
  test("a macro that this model alone uses goes, also through another", () => {
    const text = [
      "macros:",
      "  dir: /m",
      "  # for a",
      `  one: "${ref("inner")} -c 5"`,
      "  unused: x",
      "  inner: y",
      `  both: "-m ${ref("dir")}"`,
      "models:",
      `  a: {cmd: "llama-server ${ref("one")} ${ref("both")}"}`,
      `  b: {cmd: "llama-server ${ref("both")}"}`,
      "",
    ];
    const { text: after, alsoChanged } = remove(text.join("\n"));
    expect(after).toBe([text[0], text[1], text[4], text[6], text[7], text[9], ""].join("\n"));
    expect(alsoChanged).toEqual([
      'The macro "inner" is removed: no other model uses it.',
      'The macro "one" is removed: no other model uses it.',
    ]);
  });

  test("the last macro leaves an empty mapping, and one of another file stays", () => {
    const text = `macros:\n  x: 1\nmodels:\n  a: {cmd: "llama-server ${ref("x")}"}\n`;
    expect(remove(text).text).toBe("macros: {}\nmodels: {}\n");
    const other = { name: "b.yaml", text: `models: {b: {cmd: "llama-server ${ref("x")}"}}\n` };
    expect(remove(text, "a", [other]).text).toBe("macros:\n  x: 1\nmodels: {}\n");
  });

  test("an anchor that is used elsewhere is named with both lines", () => {
    const text = "models:\n  a: &a\n    cmd: llama-server -m /m/a.gguf\n  b:\n    <<: *a\n";
    expect(() => remove(text)).toThrow(
      'The configuration at line 5, column 9: the alias *a uses what the block of "a" defines (line 3, column 5). Write it out there by hand, then try again.',
    );
    expect(remove(text, "b").text).toBe("models:\n  a: &a\n    cmd: llama-server -m /m/a.gguf\n");
  });

  test("an anchor that only the block uses goes with it", () => {
    expect(
      remove("models:\n  a:\n    env: &e [x]\n    cmdStop: &c x\n    cmd: *c\n  b: {cmd: x}\n").text,
    ).toBe("models:\n  b: {cmd: x}\n");
  });
});

describe("refuses to remove", () => {
  test.each([
    ["models:\n  b: {cmd: x, aliases: [a]}\n", '"a" is an alias of the model "b": give that id instead.'],
    ["models:\n  A: {cmd: x}\n", 'The configuration has no model "a". There is "A".'],
    ["x: &x\n  a: {cmd: x}\nmodels: *x\n", '"a" comes from an anchor or a merge key'],
    ["x: &x\n  a: {cmd: x}\nmodels:\n  <<: *x\n", '"a" comes from an anchor or a merge key'],
    ["models: {a: {cmd: x}\n", "the YAML is broken there"],
    ["models:\n", "`models:` is empty"],
    ["models: {a: {cmd: x}}\n# \u2028\n", "the character U+2028 ends a line for llama-swap"],
  ])("%j", (text, sentence) => {
    expect(() => remove(text)).toThrow(sentence);
  });

  test("what another file of the folder names", () => {
    const text = "models: {a: {cmd: x}}\n";
    const other = (more: string): OtherFile[] => [{ name: "20-groups.yaml", text: `# two\n${more}\n` }];
    expect(() => remove(text, "a", other("groups: {g: {members: [a, b]}}"))).toThrow(
      '"20-groups.yaml" names "a" too (groups.g.members.0, line 2, column 24). Remove the model there by hand, then try again.',
    );
    expect(() => remove(text, "a", other("profiles: {p: {pins: {x: a}}}"))).toThrow(
      'In "20-groups.yaml": The configuration at line 2, column 26: the profile "p" leads "x" to "a".',
    );
    expect(remove(text, "a", [{ name: "empty.yaml", text: "" }]).text).toBe("models: {}\n");
  });

  test("a refusal names the line of the file as it is, whatever else would have gone before", () => {
    const lines = [
      "groups:",
      "  g:",
      "    members:",
      "      - a",
      "      - b",
      "matrix:",
      "  sets:",
      "    s: a & b",
    ];
    expect(() => remove(config(...lines))).toThrow(/^The configuration at line 11, column 8: the set "s"/);
  });
});

describe("the files of a model", () => {
  const files = (command: string, ...others: readonly string[]): readonly string[] => {
    const text = [
      `macros: {dir: /m, shared: /m/shared.gguf, gone: "${command}"}`,
      "models:",
      `  a: {cmd: "${command}"}`,
      ...others.map((other, at) => `  b${at}: {cmd: "${other}"}`),
      "",
    ].join("\n");
    return remove(text.replace(`, gone: "${command}"`, "")).files;
  };

  test.each([
    [
      "llama-server -m /m/a.gguf --mmproj /m/p.gguf --lora /m/l1.gguf,/m/l2.gguf -md /m/d.gguf",
      ["/m/a.gguf", "/m/p.gguf", "/m/l1.gguf", "/m/l2.gguf", "/m/d.gguf"],
    ],
    ["llama-server -m /m/a,b.gguf --lora-scaled /m/l.gguf:0.5", ["/m/a,b.gguf", "/m/l.gguf"]],
    [
      `llama-server -m ${ref("dir")}/x-00001-of-00002.gguf`,
      ["/m/x-00001-of-00002.gguf", "/m/x-00002-of-00002.gguf"],
    ],
    ["llama-server -m models/a.gguf -hf org/repo", []],
    [
      "llama-server -m '/m/it is.gguf' --chat-template-file /m/t.jinja --log-file /m/x.log",
      ["/m/it is.gguf"],
    ],
    [
      "docker run -v /srv/models:/m ghcr.io/ggml-org/llama.cpp:server -m /m/a.gguf --mmproj /other/p.gguf",
      ["/srv/models/a.gguf"],
    ],
    ["ssh gpu llama-server -m /m/a.gguf", []],
    ["sd-server --diffusion-model /m/x.gguf", []],
  ])("%s", (command, expected) => {
    expect(files(command)).toEqual(expected);
  });

  test.each([
    ["llama-server -m /m/shared.gguf", "llama-server -m /m/shared.gguf -c 5"],
    ["llama-server -m /m/shared.gguf", `llama-server -m ${ref("shared")}`],
    ["llama-server -m /m/shared.gguf", "my-server --weights=/elsewhere/shared.gguf"],
    ["llama-server -m /m/x-00001-of-00003.gguf", "llama-server -m /m/x-00002-of-00003.gguf"],
    ["llama-server -m /m/p.gguf", "llama-server -m /m/b.gguf --mmproj /m/p.gguf"],
    ["llama-server -m /m/p.gguf", "sh -c 'llama-server -m /m/p.gguf && llama-server -m /m/b.gguf'"],
    ["llama-server -m /m/p.gguf", "llama-server --models-dir /m"],
    ["llama-server -m /m/p.gguf", "llama-server -m '/m/p.gguf"],
  ])("%s is still named by %s", (command, other) => {
    expect(files(command, other)).toEqual([]);
  });

  test("says which ones are still named, and that an unknown command's are not known", () => {
    const text = "models:\n  a: {cmd: llama-server -m /m/x.gguf}\n  b: {cmd: llama-server -m /m/x.gguf}\n";
    expect(remove(text).notes).toEqual(["/m/x.gguf stays: another model uses that file."]);
    expect(remove(text, "a", [{ name: "c.yaml", text: "" }]).files).toEqual([]);
    expect(remove('models:\n  a: {cmd: "llama-server -m \'/m"}\n').notes).toEqual([
      'The command of "a" is not understood: its files are not known.',
    ]);
  });

  test("another file of the folder counts too", () => {
    const others = [{ name: "c.yaml", text: "models: {c: {cmd: llama-server -m /m/a.gguf}}\n" }];
    expect(remove(config(), "a", others).files).toEqual([]);
    expect(remove(config()).files).toEqual(["/m/a.gguf"]);
  });
});
