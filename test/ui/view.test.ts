import { spawnSync } from "node:child_process";
import { stripVTControlCharacters } from "node:util";
import type { Theme } from "@earendil-works/pi-coding-agent";
import { type Component, KeybindingsManager, TUI_KEYBINDINGS } from "@earendil-works/pi-tui";
import { beforeAll, describe, expect, test } from "vitest";
import { showLive, showText, type View } from "../../ui/view.ts";
import { settled } from "../support/clock.ts";

type Context = Parameters<typeof showText>[0];

const VIEW: View = { title: "config.yaml", lines: ["models:", "  a: 1"], language: "yaml" };
const ESCAPE = "\u001b";
const END = "\u001b[F";

/** A terminal in which a view opens as pi opens it. */
class Terminal {
  opened: Component | undefined;
  options: unknown;
  opens = 0;
  readonly ctx: Context;

  constructor() {
    const tui = { terminal: { rows: 10 }, requestRender: () => {} };
    const theme = {
      fg: (colour: string, text: string) => (colour.startsWith("toolDiff") ? `<${colour}>${text}` : text),
      bold: (text: string) => text,
      inverse: (text: string) => text,
    } as unknown as Theme;
    const keys = new KeybindingsManager(TUI_KEYBINDINGS);
    const custom = (make: (...parts: unknown[]) => Component, options: unknown): Promise<void> => {
      this.options = options;
      this.opens++;
      return new Promise((resolve) => {
        const done = (): void => {
          this.opened = undefined;
          resolve();
        };
        this.opened = make(tui, theme, keys, done);
      });
    };
    this.ctx = { mode: "tui", ui: { custom } } as unknown as Context;
  }

  press(key: string): void {
    this.opened?.handleInput?.(key);
  }

  get screen(): string[] {
    return (this.opened?.render(80) ?? []).map((line) => stripVTControlCharacters(line));
  }
}

function rpc(): { ctx: Context; notices: string[] } {
  const notices: string[] = [];
  const ctx = { mode: "rpc", ui: { notify: (text: string) => notices.push(text) } } as unknown as Context;
  return { ctx, notices };
}

describe("in the terminal", () => {
  test("a text is an overlay of the whole terminal, until Escape", async () => {
    const terminal = new Terminal();
    const shown = showText(terminal.ctx, VIEW);
    expect(terminal.options).toEqual({
      overlay: true,
      overlayOptions: { width: "100%", maxHeight: "100%", anchor: "top-left" },
    });
    expect(terminal.screen.slice(0, 3)).toEqual(["config.yaml", "models:", "  a: 1"]);
    terminal.press(ESCAPE);
    await shown;
    expect(terminal.opened).toBeUndefined();
  });

  test("a diff has its colours", async () => {
    const terminal = new Terminal();
    const lines = ["@@ -1,1 +1,1 @@", "-a", "+b"];
    const shown = showText(terminal.ctx, { title: "changes", lines, language: "diff" });
    expect(terminal.screen.slice(1, 4)).toEqual([
      "@@ -1,1 +1,1 @@",
      "<toolDiffRemoved>-a",
      "<toolDiffAdded>+b",
    ]);
    terminal.press(ESCAPE);
    await shown;
  });

  test("no control character of the text or its title reaches it", async () => {
    const terminal = new Terminal();
    const lines = ["  a\u001b[2J\u0007", "b\rc\n\u009b1m"];
    const shown = showText(terminal.ctx, { title: "t\u001b]0;x\u0007\n", lines, language: "plain" });
    const screen = terminal.opened?.render(80) ?? [];
    expect(screen.slice(0, 3)).toEqual(["t", "  a", "bc"]);
    terminal.press(ESCAPE);
    await shown;
  });
});

describe("a text that grows, in the terminal", () => {
  const never = new AbortController().signal;

  test("is followed until Escape, which ends the following first", async () => {
    const terminal = new Terminal();
    const events: string[] = [];
    let append: (lines: readonly string[]) => void = () => {};
    const follow: Parameters<typeof showLive>[2] = async (given, signal) => {
      append = given;
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      events.push("aborted");
      await settled();
      events.push("followed to its end");
    };
    const shown = showLive(terminal.ctx, VIEW, follow, never).then(() => events.push("returned"));
    expect(terminal.screen.at(-1)).toContain("live");
    append(["  b:\u001b[31m 2", "  c: 3"]);
    expect(terminal.screen.slice(1, 6)).toEqual(["models:", "  a: 1", "  b: 2", "  c: 3", ""]);
    const screen = terminal.opened;
    expect(screen?.render(80).join()).not.toContain("\u001b[31m");
    terminal.press(ESCAPE);
    await shown;
    expect(events).toEqual(["aborted", "followed to its end", "returned"]);
    append(["too late"]);
    expect(screen?.render(80).join()).not.toContain("too late");
  });

  test("shows how following failed as its last line", async () => {
    const terminal = new Terminal();
    const follow = async (append: (lines: readonly string[]) => void): Promise<void> => {
      append(["one"]);
      throw new Error("The server ended the log.\nAsk again.");
    };
    const shown = showLive(terminal.ctx, VIEW, follow, never);
    await settled();
    expect(terminal.screen.slice(1, 6)).toEqual([
      ...VIEW.lines,
      "one",
      "The server ended the log.",
      "Ask again.",
    ]);
    expect(terminal.screen.at(-1)).toContain("ended");
    terminal.press(END);
    terminal.press(ESCAPE);
    await shown;
  });

  test("stays open when the text ends", async () => {
    const terminal = new Terminal();
    const shown = showLive(terminal.ctx, VIEW, async () => {}, never);
    await settled();
    expect(terminal.screen.at(-1)).toContain("ended");
    terminal.press(ESCAPE);
    await shown;
  });

  test("closes with the session, and says nothing of the abort", async () => {
    const terminal = new Terminal();
    const ended = new AbortController();
    let reason: unknown;
    const follow = (_: unknown, signal: AbortSignal): Promise<void> =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => {
          reason = signal.reason;
          reject(signal.reason);
        });
      });
    const shown = showLive(terminal.ctx, VIEW, follow, ended.signal);
    const screen = terminal.opened;
    ended.abort(new Error("the session has ended"));
    await shown;
    expect(reason).toEqual(new Error("the session has ended"));
    expect(terminal.opened).toBeUndefined();
    expect(screen?.render(80).join()).not.toContain("the session has ended");
  });

  test("is not opened in a session that has ended", async () => {
    const terminal = new Terminal();
    await showLive(terminal.ctx, VIEW, () => Promise.reject(new Error("followed")), AbortSignal.abort());
    expect(terminal.opens).toBe(0);
  });

  test("stops following if the screen cannot be opened", async () => {
    let signal: AbortSignal | undefined;
    const custom = (make: (...parts: unknown[]) => Component): Promise<void> => {
      make({ terminal: { rows: 5 }, requestRender: () => {} }, {}, {}, () => {});
      return Promise.reject(new Error("no screen"));
    };
    const ctx = { mode: "tui", ui: { custom } } as unknown as Context;
    const follow = (_: unknown, given: AbortSignal): Promise<void> => {
      signal = given;
      return new Promise((resolve) => given.addEventListener("abort", () => resolve()));
    };
    await expect(showLive(ctx, VIEW, follow, never)).rejects.toThrow("no screen");
    expect(signal?.aborted).toBe(true);
  });
});

describe("at an RPC client", () => {
  test("a text is one notice, and a growing one is not followed", async () => {
    const { ctx, notices } = rpc();
    await showText(ctx, { ...VIEW, lines: ["a\u0007", "  b"] });
    await showLive(ctx, VIEW, () => Promise.reject(new Error("followed")), new AbortController().signal);
    expect(notices).toEqual(["config.yaml\n\na\n  b", "config.yaml\n\nmodels:\n  a: 1"]);
  });

  test("of a long log the last lines are kept", async () => {
    const { ctx, notices } = rpc();
    const lines = Array.from({ length: 10_000 }, (_, at) => `${at} ${"x".repeat(100)}`);
    await showText(ctx, { ...VIEW, lines, language: "log" });
    const [, , first, ...shown] = (notices[0] ?? "").split("\n");
    expect(first).toBe(`… ${10_000 - shown.length} earlier lines, too many for a notice`);
    expect(shown).toEqual(lines.slice(-shown.length));
    expect(Buffer.byteLength(notices[0] ?? "")).toBeLessThanOrEqual(200_000);
  });

  test("a long text is cut at 200 kB, and says so", async () => {
    const { ctx, notices } = rpc();
    const lines = Array<string>(10_000).fill("ä".repeat(100));
    await showText(ctx, { ...VIEW, lines });
    const text = notices[0] ?? "";
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(200_000);
    expect(Buffer.byteLength(text)).toBeGreaterThan(199_000);
    const shown = text.split("\n").length - 3;
    expect(text.split("\n").at(-1)).toBe(`… ${10_000 - shown} more lines, too many for a notice`);
  });

  test("an empty text says so", async () => {
    const { ctx, notices } = rpc();
    await showText(ctx, { ...VIEW, lines: [] });
    expect(notices).toEqual(["config.yaml: empty"]);
  });
});

const BETWEEN = "<next call>";

/** What a process of its own writes for each call, since a descriptor cannot be watched from inside. */
function written(calls: readonly string[]): { stdout: string; stderr: string }[] {
  const module = JSON.stringify(new URL("../../ui/view.ts", import.meta.url).href);
  const mark = `for (const descriptor of [1, 2]) writeSync(descriptor, ${JSON.stringify(BETWEEN)});`;
  const script = [
    `const { writeSync } = await import("node:fs"); const { showText, showLive } = await import(${module});`,
    `const view = ${JSON.stringify(VIEW)};`,
    ...calls.map((call) => `{ ${call} } ${mark}`),
  ].join("\n");
  const args = ["--no-warnings", "--input-type=module", "-e", script];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  const errors = stderr.split(BETWEEN);
  return stdout.split(BETWEEN).map((text, at) => ({ stdout: text, stderr: errors[at] ?? "" }));
}

describe("without a screen", () => {
  const following = "() => { throw new Error('followed'); }, new AbortController().signal";

  const CASES = [
    ["print", "showText(ctx, view)", "models:\n  a: 1\n", ""],
    ["print", `showLive(ctx, view, ${following})`, "models:\n  a: 1\n", ""],
    ["print", "showText(ctx, { ...view, lines: [] })", "config.yaml: empty\n", ""],
  ] as const;
  const calls = CASES.map(([mode, call]) => `const ctx = { mode: "${mode}", ui: {} }; await ${call};`);
  let outputs: ReturnType<typeof written> = [];
  beforeAll(() => {
    outputs = written(calls);
  });

  test.each(CASES.map((row, at) => [...row, at] as const))(
    "in %s mode %s writes %j, %j",
    (_mode, _call, stdout, stderr, at) => {
      expect(outputs[at]).toEqual({ stdout, stderr });
    },
  );
});
