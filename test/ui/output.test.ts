import { spawn, spawnSync } from "node:child_process";
import type { ExtensionContext } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, test } from "vitest";
import { commandOutput, notify, show, widthOf, withResults } from "../../ui/output.ts";
import type { Result } from "../../ui/result.ts";
import { User } from "../support/command-user.ts";

type Screen = Parameters<typeof show>[0];
type Mode = Screen["mode"];

const BETWEEN = "<next call>";

interface Written {
  stdout: string;
  stderr: string;
}

/** What a process of its own writes for each call, since a descriptor cannot be watched from inside. */
function written(calls: readonly string[]): Written[] {
  const module = JSON.stringify(new URL("../../ui/output.ts", import.meta.url).href);
  const mark = `for (const descriptor of [1, 2]) writeSync(descriptor, ${JSON.stringify(BETWEEN)});`;
  const script = [
    `const { writeSync } = await import("node:fs"); const { show, notify } = await import(${module});`,
    'const ui = { notify: () => { throw new Error("no screen"); } };',
    ...calls.map((call) => `${call} ${mark}`),
  ].join("\n");
  const args = ["--no-warnings", "--input-type=module", "-e", script];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  const errors = stderr.split(BETWEEN);
  return stdout.split(BETWEEN).map((text, at) => ({ stdout: text, stderr: errors[at] ?? "" }));
}

describe("output without a screen", () => {
  const calls = [
    ["print", "info", "text\n", ""],
    ["print", "warning", "text\n", ""],
    ["print", "error", "", "text\n"],
    ["tui", "info", "", ""],
    ["rpc", "info", "", ""],
  ] as const;
  const notices = ["print", "json"] as const;
  let answers: Written[] = [];
  let unasked: Written[] = [];
  beforeAll(() => {
    const all = written([
      ...calls.map(([mode, level]) => `show({ mode: "${mode}", ui }, "text", "${level}");`),
      ...notices.map((mode) => `notify({ mode: "${mode}", ui }, "text", "warning");`),
    ]);
    answers = all.slice(0, calls.length);
    unasked = all.slice(calls.length);
  });

  for (const [at, [mode, level, stdout, stderr]] of calls.entries()) {
    test(`an answer (${level}) in ${mode} mode goes to ${JSON.stringify([stdout, stderr])}`, () => {
      expect(answers[at]).toEqual({ stdout, stderr });
    });
  }

  for (const [at, mode] of notices.entries()) {
    test(`a notice without a command never goes to standard output in ${mode} mode`, () => {
      expect(unasked[at]).toEqual({ stdout: "", stderr: "text\n" });
    });
  }
});

describe("the output of one command", () => {
  const TABLE: Result = {
    level: "info",
    heading: "Heading",
    content: (width) => [`${width} columns`],
    data: { rows: [1] },
  };
  const BAD: Result = { level: "error", content: "It failed.\nTry again." };

  /** What a command with these results leaves. */
  function outputOf(mode: Mode, ...results: Result[]): { user: User; kept: Result[] } {
    const user = new User(mode).readsOutput();
    return { user, kept: takenBy(user, results) };
  }

  /** @returns the results that are kept for pi's transcript */
  function takenBy(user: User, results: readonly Result[], isIdle = true): Result[] {
    const { mode, ui } = user;
    const kept: Result[] = [];
    const screen = { mode, ui, isIdle: () => isIdle } as unknown as ExtensionContext;
    const output = commandOutput(screen, "ai-server-x", (result) => kept.push(result));
    for (const result of results) output.take(result);
    output.end();
    return kept;
  }

  test("in JSON mode is one line with all results, their text as lines and their data", () => {
    const { user } = outputOf("json", TABLE, BAD);
    expect(user.stdout).toMatch(/^[^\n]+\n$/);
    expect(user.objects).toEqual([
      {
        type: "ai_server_result",
        command: "ai-server-x",
        ok: false,
        level: "error",
        lines: ["Heading", "1000 columns", "It failed.", "Try again."],
        rows: [1],
      },
    ]);
    expect([user.stderr, user.notices, process.exitCode]).toEqual(["", [], 1]);
  });

  test("in JSON mode is an object without lines where the command shows nothing", () => {
    expect(outputOf("json").user.objects).toMatchObject([{ ok: true, level: "info", lines: [] }]);
  });

  test.each<[Result["level"], number | undefined]>([
    ["info", undefined],
    ["warning", undefined],
    ["error", 1],
  ])("of the level %s in print mode leaves the exit status %s", (level, status) => {
    const { user } = outputOf("print", { level, content: "text" });
    expect([user.stdout + user.stderr, process.exitCode]).toEqual(["text\n", status]);
  });

  test("in the terminal is kept for pi's transcript, and is no notice", () => {
    const { user, kept } = outputOf("tui", TABLE, BAD);
    expect([kept, user.notices, process.exitCode]).toEqual([[TABLE, BAD], [], undefined]);
  });

  test("in the terminal is a notice during a turn", () => {
    const user = new User("tui");
    expect(takenBy(user, [{ ...TABLE, content: "Text" }, BAD], false)).toEqual([]);
    expect(user.told).toEqual(["Heading\nText", "It failed.\nTry again."]);
  });
});

describe("the answer of a command", () => {
  test.each<Mode>(["tui", "rpc"])("in %s mode is a notice", (mode) => {
    const notices: unknown[] = [];
    const screen = {
      mode,
      ui: { notify: (...notice: unknown[]) => notices.push(notice) },
    } as unknown as Screen;
    show(screen, "text");
    show(screen, "bad", "error");
    notify(screen, "unasked", "warning");
    expect(notices).toEqual([
      ["text", "info"],
      ["bad", "error"],
      ["unasked", "warning"],
    ]);
  });
});

test("a long text arrives whole at a reader that is slow, though the pipe does not block", async () => {
  const module = JSON.stringify(new URL("../../ui/output.ts", import.meta.url).href);
  const script = `process.stdout._handle.setBlocking(false); const { show } = await import(${module}); show({ mode: "print", ui: {} }, "x".repeat(500_000));`;
  const writer = spawn(process.execPath, ["--no-warnings", "--input-type=module", "-e", script]);
  let size = 0;
  for await (const piece of writer.stdout) {
    size += piece.length;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  expect(size).toBe(500_001);
});

test("in JSON mode the object waits for a line that pi has begun, and follows it on its own", async () => {
  const module = JSON.stringify(new URL("../../ui/output.ts", import.meta.url).href);
  const script = [
    `process.stdout._handle.setBlocking(false); const { commandOutput } = await import(${module});`,
    'process.stdout.write("x".repeat(500_000) + "\\n");',
    'commandOutput({ mode: "json", ui: {} }, "ai-server-x", () => {}).end();',
  ].join("\n");
  const writer = spawn(process.execPath, ["--no-warnings", "--input-type=module", "-e", script]);
  let text = "";
  for await (const piece of writer.stdout) {
    text += String(piece);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const [before = "", object = "", ...rest] = text.split("\n");
  expect([before.length, JSON.parse(object).type, rest]).toEqual([500_000, "ai_server_result", [""]]);
});

test("a session that has ended takes no notice, and nothing is thrown", () => {
  const stale = new Proxy({} as Screen, {
    get() {
      throw new Error("This extension ctx is stale");
    },
  });
  expect(() => show(stale, "text")).not.toThrow();
  expect(() => notify(stale, "text", "error")).not.toThrow();
});

test.each([
  ["tui", 80, 78],
  ["print", 80, 80],
  ["rpc", undefined, 100],
  ["print", undefined, 120],
  ["tui", 10, 20],
] as const)("the width in %s mode at %s columns is %d", (mode, columns, width) => {
  const before = Object.getOwnPropertyDescriptor(process.stdout, "columns");
  Object.defineProperty(process.stdout, "columns", { value: columns, configurable: true });
  try {
    expect(widthOf({ mode } as unknown as Screen)).toBe(width);
  } finally {
    if (before) Object.defineProperty(process.stdout, "columns", before);
    else Reflect.deleteProperty(process.stdout, "columns");
  }
});

test("results can be taken elsewhere, and all else stays pi's own", () => {
  const heard: unknown[] = [];
  const notices: string[] = [];
  let model = "a";
  const ui = { notify: (text: string) => notices.push(text), theme: "dark" };
  const ctx = {
    mode: "tui",
    ui,
    get model() {
      return model;
    },
  } as unknown as Parameters<typeof withResults>[0];
  const other = withResults(ctx, ({ level, content }) => heard.push([level, content]));
  show(other, "one");
  show(other, "two", "error");
  model = "b";
  expect([heard, notices]).toEqual([
    [
      ["info", "one"],
      ["error", "two"],
    ],
    [],
  ]);
  expect([other.mode, other.model, other.ui.theme]).toEqual(["tui", "b", "dark"]);
});
