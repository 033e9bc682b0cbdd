import { stripVTControlCharacters } from "node:util";
import type { ExtensionContext, Theme } from "@earendil-works/pi-coding-agent";
import { type Component, KeybindingsManager, TUI_KEYBINDINGS, visibleWidth } from "@earendil-works/pi-tui";
import { describe, expect, test } from "vitest";
import { ask, type Choices, type Question, QuestionView } from "../../ui/question.ts";
import { plainLine } from "../support/plain-line.ts";
import { seeded } from "../support/random.ts";

const UP = "\u001b[A";
const DOWN = "\u001b[B";
const PAGE_UP = "\u001b[5~";
const PAGE_DOWN = "\u001b[6~";
const HOME = "\u001b[H";
const END = "\u001b[F";
const ESCAPE = "\u001b";
const ENTER = "\r";

type Bindings = ConstructorParameters<typeof KeybindingsManager>[1];

const CHANGE: Question = {
  title: "Change the context size of org/Größe:Q4 to 49152 tokens (48k)?",
  consequences: [
    "It is 32768 tokens (32k) now.",
    "This restarts llama-swap.service, which unloads every model.",
    "Will be unloaded: steady.",
    "In-flight requests that will be cut off: 1 on steady (for 12 s, curl/8.5 at 10.0.0.7).",
    "It should take about 41 s.",
  ],
  diff: {
    title: "In /etc/llama-swap/config.yaml:",
    lines: [
      "@@ -11,7 +11,7 @@",
      "     cmd: |",
      "       llama-server --port ${PORT}",
      "         -m /models/groesse.gguf --no-reasoning",
      "-        --ctx-size 32768",
      "+        --ctx-size 49152",
      '   "a model with spaces":',
      "     cmd: llama-server --port ${PORT} -m /models/spaces.gguf -c 8192 --no-reasoning",
      "   slow:",
    ],
  },
};
const ACTS = ["Keep as it is", "Change and restart"];

class Shown {
  readonly terminal = { rows: 24 };
  columns = 80;
  renders = 0;
  colour = 36;
  readonly answers: number[] = [];
  readonly view: QuestionView;

  constructor(
    question: Partial<Question> = {},
    choices: readonly string[] = ACTS,
    bindings: Record<string, string | string[]> = {},
  ) {
    this.view = new QuestionView({
      tui: { terminal: this.terminal, requestRender: () => this.renders++ },
      theme: {
        fg: (_: string, text: string) => `\u001b[${this.colour}m${text}\u001b[39m`,
        bold: (text: string) => `\u001b[1m${text}\u001b[22m`,
      },
      keys: new KeybindingsManager(TUI_KEYBINDINGS, bindings as Bindings),
      question: { ...CHANGE, ...question },
      choices,
      answer: (chosen) => this.answers.push(chosen),
    });
  }

  at(columns: number, rows: number): this {
    this.columns = columns;
    this.terminal.rows = rows;
    return this;
  }

  press(...keys: string[]): this {
    this.raw();
    for (const key of keys) {
      this.view.handleInput(key);
      this.raw();
    }
    return this;
  }

  raw(): string[] {
    return this.view.render(this.columns);
  }

  get lines(): string[] {
    return this.raw().map(plainLine);
  }

  /** Without the empty lines below. */
  get screen(): string {
    return this.lines.join("\n").trimEnd();
  }

  /** With its words in their order, wherever they were wrapped. */
  get words(): string {
    return this.screen.replace(/\s+/g, " ");
  }
}

const KEYS = "up/down choose · enter ok · escape no";

describe("a question with a diff", () => {
  test("at 80×24 has the consequences above it, and the choices below", () => {
    expect(new Shown().at(80, 24).screen).toBe(
      [
        "Change the context size of org/Größe:Q4 to 49152 tokens (48k)?",
        "",
        "It is 32768 tokens (32k) now.",
        "This restarts llama-swap.service, which unloads every model.",
        "Will be unloaded: steady.",
        "In-flight requests that will be cut off: 1 on steady (for 12 s, curl/8.5 at",
        "  10.0.0.7).",
        "It should take about 41 s.",
        "",
        "In /etc/llama-swap/config.yaml:",
        "@@ -11,7 +11,7 @@",
        "     cmd: |",
        "       llama-server --port ${PORT}",
        "         -m /models/groesse.gguf --no-reasoning",
        "-        --ctx-size 32768",
        "+        --ctx-size 49152",
        '   "a model with spaces":',
        "     cmd: llama-server --port ${PORT} -m /models/spaces.gguf -c 8192",
        "2 lines hidden below · pageUp/pageDown scroll",
        "",
        "→ Keep as it is",
        "  Change and restart",
        "",
        KEYS,
      ].join("\n"),
    );
  });

  test("at 60×20 shows what changes, and how much of it is hidden", () => {
    expect(new Shown().at(60, 20).lines.slice(10)).toEqual([
      "         -m /models/groesse.gguf --no-reasoning",
      "-        --ctx-size 32768",
      "+        --ctx-size 49152",
      '   "a model with spaces":',
      "6 lines hidden (4 above, 2 below) · pageUp/pageDown scroll",
      "",
      "→ Keep as it is",
      "  Change and restart",
      "",
      KEYS,
    ]);
  });

  test("at 60×20 shows what changes, though the line before it takes as many rows as there are", () => {
    const model = `         --model /models/${"a-long-name-".repeat(11)}.gguf`;
    const lines = [
      "@@ -11,4 +11,4 @@",
      "     cmd: |",
      model,
      "-        -c 8192",
      "+        -c 16384",
      "   slow:",
    ];
    const shown = new Shown({ diff: { title: "In a.yaml:", lines } }).at(60, 20);
    expect(shown.lines).toEqual(expect.arrayContaining(["-        -c 8192", "+        -c 16384"]));
  });

  test("at 40×15 has every consequence and both choices", () => {
    const shown = new Shown().at(40, 15);
    expect(shown.lines.slice(-4)).toEqual([
      "9 hidden · pageUp/pageDown scroll",
      "→ Keep as it is",
      "  Change and restart",
      KEYS,
    ]);
    for (const consequence of CHANGE.consequences) expect(shown.words).toContain(consequence);
  });

  test("scrolls the diff alone, to its end and back", () => {
    const shown = new Shown().at(60, 20).press(HOME);
    const [above, below] = [shown.lines.slice(0, 10), shown.lines.slice(-5)];
    expect(shown.lines[10]).toBe("In /etc/llama-swap/config.yaml:");
    expect(shown.lines[14]).toBe("6 lines hidden below · pageUp/pageDown scroll");
    const seen = new Set<string>();
    for (let page = 0; page < 5; page += 1) {
      for (const line of shown.lines.slice(10, 14)) seen.add(line);
      shown.press(PAGE_DOWN);
    }
    for (const line of CHANGE.diff?.lines ?? []) {
      if (line.length < 60) expect(seen).toContain(line);
    }
    expect(shown.lines[14]).toBe("7 lines hidden above · pageUp/pageDown scroll");
    expect([shown.lines.slice(0, 10), shown.lines.slice(-5)]).toEqual([above, below]);
    expect(shown.press(PAGE_UP).lines[14]).toContain("above, ");
    expect(shown.press(END).lines[14]).toContain("hidden above · ");
    shown.view.handleMouse({ type: "wheel", wheelDelta: -100 } as never);
    expect(shown.lines[10]).toBe("In /etc/llama-swap/config.yaml:");
    expect(shown.answers).toEqual([]);
  });

  test("sets the rest of a long line in, so that it looks like no line of its own", () => {
    const lines = ["@@ -1 +1 @@", `-cmd: llama-server ${"--no-reasoning ".repeat(9)}`];
    const shown = new Shown({ consequences: [], diff: { title: "In a.yaml:", lines } }).at(40, 24);
    expect(shown.lines.filter((line) => line.startsWith("-"))).toEqual(["-cmd: llama-server --no-reasoning"]);
    expect(shown.lines.filter((line) => line.startsWith("  --no-reasoning")).length).toBeGreaterThan(2);
  });

  test("has other colours after a change of theme", () => {
    const shown = new Shown();
    shown.raw();
    shown.colour = 31;
    expect(shown.raw().join("")).toContain("\u001b[36m-        --ctx-size");
    shown.view.invalidate();
    expect(shown.raw().join("")).not.toContain("\u001b[36m");
  });
});

describe("the keys", () => {
  test.each([
    ["Enter right away", [ENTER], 0],
    ["Escape", [ESCAPE], 0],
    ["Escape on the change", [DOWN, ESCAPE], 0],
    ["Enter after the diff was read", [PAGE_DOWN, PAGE_DOWN, END, HOME, PAGE_UP, ENTER], 0],
    ["down and Enter", [DOWN, ENTER], 1],
    ["down beyond the end, up again and Enter", [DOWN, DOWN, DOWN, UP, ENTER], 0],
    ["up beyond the beginning and Enter", [UP, UP, ENTER], 0],
  ])("%s", (_, keys, answer) => {
    expect(new Shown().press(...keys).answers).toEqual([answer]);
  });

  test("do not include letters or space", () => {
    const shown = new Shown().press("y", "Y", "n", " ", "q", "\t", "1", "2");
    expect([shown.answers, shown.screen]).toEqual([[], new Shown().screen]);
  });

  test("mark the choice that Enter takes, and draw it", () => {
    const shown = new Shown().press(DOWN);
    expect(shown.screen.split("\n").slice(-4, -2)).toEqual(["  Keep as it is", "→ Change and restart"]);
    expect(shown.renders).toBe(1);
  });

  test("are pi's own, and those shown", () => {
    const bindings = {
      "tui.select.confirm": "ctrl+y",
      "tui.select.cancel": "ctrl+x",
      "tui.select.down": "ctrl+j",
      "tui.select.pageUp": [],
      "tui.select.pageDown": "ctrl+f",
    };
    const shown = new Shown({}, ACTS, bindings).at(60, 20);
    expect(shown.screen).toContain("hidden (4 above, 2 below) · ctrl+f scroll");
    expect(shown.screen).toMatch(/up\/ctrl\+j choose · ctrl\+y ok · ctrl\+x no$/);
    expect(shown.press(ENTER, ESCAPE).answers).toEqual([]);
    expect(shown.press("\u000a", "\u0019").answers).toEqual([1]);
  });
});

describe("where little fits", () => {
  const LONG: Question = {
    ...CHANGE,
    title: `Unload ${"org/very-long-".repeat(18)}model?`,
    consequences: Array.from({ length: 30 }, (_, at) => `Consequence ${at + 1} of this.`),
  };

  test("consequences scroll with the diff, and the last row says so", () => {
    const shown = new Shown({ consequences: LONG.consequences }).at(60, 20);
    expect(shown.lines.slice(2)).toEqual([
      ...LONG.consequences.slice(0, 14),
      "26 lines hidden below · pageUp/pageDown scroll",
      "→ Keep as it is",
      "  Change and restart",
      KEYS,
    ]);
    expect(shown.press(END).screen).toContain("   slow:\n27 lines hidden above · ");
    expect(shown.press(HOME, ENTER).answers).toEqual([0]);
  });

  test("the gaps go before a consequence or the change does", () => {
    const consequences = LONG.consequences.slice(0, 9);
    const shown = new Shown({ title: "Change it?", consequences }).at(80, 19);
    const roomy = new Shown({ title: "Change it?", consequences }).at(80, 20);
    for (const { lines } of [shown, roomy]) {
      expect(lines).toEqual(expect.arrayContaining([...consequences, "-        --ctx-size 32768"]));
      expect(lines.at(-1)).toBe(KEYS);
    }
    expect([shown.lines.includes(""), roomy.lines.includes("")]).toEqual([false, true]);
    const more = new Shown({ title: "Change it?", consequences: LONG.consequences.slice(0, 12) }).at(80, 20);
    expect(more.lines.slice(1, 13)).toEqual(LONG.consequences.slice(0, 12));
    expect(more.lines.slice(13, 17)).toEqual([
      "         -m /models/groesse.gguf --no-reasoning",
      "-        --ctx-size 32768",
      "+        --ctx-size 49152",
      "7 lines hidden (4 above, 3 below) · pageUp/pageDown scroll",
    ]);
  });

  test("a diff has one row at least before consequences begin to scroll", () => {
    const shown = new Shown({ title: "Change it?", consequences: LONG.consequences.slice(0, 10) }).at(80, 17);
    expect(shown.lines.slice(10)).toEqual([
      "Consequence 10 of this.",
      "-        --ctx-size 32768",
      "+        --ctx-size 49152",
      "8 lines hidden (5 above, 3 below) · pageUp/pageDown scroll",
      "→ Keep as it is",
      "  Change and restart",
      KEYS,
    ]);
    shown.at(80, 16);
    expect(shown.lines.slice(10, 13)).toEqual([
      "Consequence 10 of this.",
      "-        --ctx-size 32768",
      "9 lines hidden (5 above, 4 below) · pageUp/pageDown scroll",
    ]);
    shown.at(80, 15);
    expect(shown.lines.slice(9, 12)).toEqual([
      "Consequence 9 of this.",
      "Consequence 10 of this.",
      "10 lines hidden below · pageUp/pageDown scroll",
    ]);
  });

  test("a title that is cut can be read whole by scrolling", () => {
    const shown = new Shown(LONG).at(40, 15);
    expect(shown.lines.slice(0, 4)).toEqual([
      "Unload",
      "org/very-long-org/very-long-org/very-lon",
      "…long-org/very-long-org/very-long-model?",
      "Consequence 1 of this.",
    ]);
    expect(shown.lines.slice(-3)).toEqual(["→ Keep as it is", "  Change and restart", KEYS]);
    const seen: string[] = [];
    for (let page = 0; page < 10; page += 1) {
      seen.push(...shown.lines.slice(3, -4));
      shown.press(PAGE_DOWN);
    }
    expect(seen).toContain("Consequence 30 of this.");
    expect([...new Set(seen)].join("").replace(/\s+/g, "")).toContain(LONG.title.replace(/\s+/g, ""));
  });

  test.each([
    [2, ["→ Keep as it is", "  Change and restart"]],
    [1, ["→ Keep as it is"]],
  ])("in %d rows the choices remain", (rows, lines) => {
    expect(new Shown(LONG).at(40, rows).lines).toEqual(lines);
  });

  test("shows the selected one of many choices, and its position", () => {
    const backups = Array.from({ length: 40 }, (_, at) => `backup ${at + 1}`);
    const shown = new Shown({ title: "Which?", consequences: [], diff: undefined }, ["Keep", ...backups]);
    shown.at(40, 15);
    expect(shown.lines.slice(0, 3)).toEqual(["Which?", "→ Keep", "  backup 1"]);
    shown.press(...Array<string>(25).fill(DOWN));
    expect(shown.screen).toContain("→ backup 25\n");
    expect(shown.screen).toContain("26 of 41 · up/down choose");
    expect(shown.press(ENTER).answers).toEqual([25]);
  });

  test("a choice with a long path leaves room for the others", () => {
    const shown = new Shown({ consequences: [] }, ["Keep", `/etc/${"long/".repeat(100)}`, "the last"]).at(
      40,
      15,
    );
    expect(shown.screen).toMatch(/→ Keep\n {2}\/etc\/.*\n.*\n.*…\n {2}the last\n/);
  });

  test("a change of the terminal's size keeps the choice, and everything in its place", () => {
    const shown = new Shown().at(80, 24).press(DOWN, PAGE_DOWN);
    for (const [columns, rows] of [
      [40, 15],
      [200, 60],
      [60, 20],
      [20, 5],
      [80, 24],
    ] as const) {
      shown.at(columns, rows);
      expect(shown.lines).toHaveLength(rows);
      expect(shown.words).toContain("Keep as it is → Change and restart");
    }
    expect(shown.press(ENTER).answers).toEqual([1]);
  });

  test("no size and no text breaks a line, hides the chosen answer or gives the same array twice", () => {
    const random = seeded(7);
    const texts = [
      ...CHANGE.consequences,
      "模型/通义千问-非常长的名字".repeat(9),
      "👩‍💻👨‍👩‍👧 e\u0301a\u0308 🇩🇪".repeat(8),
      "x".repeat(700),
      "\u001b[2J\u001b]0;title\u0007evil\r\nsecond\u0008 line\u202e",
      "",
    ];
    const any = (most: number): string[] =>
      Array.from(
        { length: Math.floor(random() * most) },
        () => texts[Math.floor(random() * texts.length)] ?? "",
      );
    for (let round = 0; round < 200; round += 1) {
      const diff =
        round % 3 === 0 ? undefined : { title: any(3).join(" "), lines: any(20).map((line) => `+${line}`) };
      const shown = new Shown({ title: any(4).join(""), consequences: any(12), diff });
      shown.at(1 + Math.floor(random() * 100), 1 + Math.floor(random() * 40));
      const first = shown.raw();
      expect(first).toHaveLength(shown.terminal.rows);
      for (const line of first) expect(visibleWidth(line)).toBeLessThanOrEqual(shown.columns);
      expect(stripVTControlCharacters(first.join(""))).not.toMatch(/[\p{Cc}\p{Bidi_Control}]/u);
      if (shown.columns >= 24) {
        expect(shown.lines).toContain("→ Keep as it is");
        if (shown.terminal.rows > 1) expect(shown.lines).toContain("  Change and restart");
      }
      shown.press(PAGE_DOWN, DOWN);
      expect(shown.raw()).not.toBe(first);
      if (shown.columns >= 24) expect(shown.lines).toContain("→ Change and restart");
      expect(shown.press(ENTER).answers).toEqual([1]);
    }
  });
});

describe("asked", () => {
  const CHOICES: Choices<string> = [
    { words: "Keep as it is", means: "kept" },
    { words: "Change and restart", means: "changed" },
  ];
  const open = new AbortController().signal;

  function terminal() {
    const seen: { view?: Component; options?: unknown } = {};
    const theme = { fg: (_: string, text: string) => text, bold: (text: string) => text } as unknown as Theme;
    const custom = (make: (...parts: unknown[]) => Component, options: unknown): Promise<unknown> =>
      new Promise((done) => {
        const tui = { terminal: { rows: 24 }, requestRender: () => {} };
        seen.options = options;
        seen.view = make(tui, theme, new KeybindingsManager(TUI_KEYBINDINGS), done);
      });
    return { seen, ctx: { mode: "tui", ui: { custom } } as unknown as ExtensionContext };
  }

  test.each([
    [[ENTER], "kept"],
    [[ESCAPE], "kept"],
    [[DOWN, ENTER], "changed"],
  ])("in the terminal, over all of it: %j", async (keys, answer) => {
    const { seen, ctx } = terminal();
    const asked = ask(ctx, CHANGE, CHOICES, open);
    expect(seen.options).toMatchObject({
      overlay: true,
      overlayOptions: { width: "100%", maxHeight: "100%" },
      blocked: { kind: "question", message: CHANGE.title },
    });
    for (const key of keys) seen.view?.handleInput?.(key);
    expect(await asked).toBe(answer);
  });

  test("the session's end takes the first choice, before and during the question", async () => {
    const { seen, ctx } = terminal();
    const ended = new AbortController();
    const asked = ask(ctx, CHANGE, CHOICES, ended.signal);
    seen.view?.handleInput?.(DOWN);
    ended.abort();
    expect(await asked).toBe("kept");
    const late = terminal();
    expect(await ask(late.ctx, CHANGE, CHOICES, ended.signal)).toBe("kept");
    expect(late.seen.view).toBeUndefined();
  });

  test("a screen that pi closes with the session takes the first choice; any other failure is thrown", async () => {
    const ended = new AbortController();
    const custom = async (): Promise<never> => {
      ended.abort();
      throw new Error("closed");
    };
    const ctx = { mode: "tui", ui: { custom } } as unknown as ExtensionContext;
    expect(await ask(ctx, CHANGE, CHOICES, ended.signal)).toBe("kept");
    await expect(ask(ctx, CHANGE, CHOICES, open)).rejects.toThrow("closed");
  });

  test.each([
    ["Change and restart", "changed"],
    ["Keep as it is", "kept"],
    [undefined, "kept"],
    ["something else", "kept"],
  ])("an RPC client gets a list and answers %s", async (value, answer) => {
    const asked: unknown[] = [];
    const select = async (...given: unknown[]): Promise<string | undefined> => {
      asked.push(given);
      return value;
    };
    const ctx = { mode: "rpc", ui: { select } } as unknown as ExtensionContext;
    const lines = ["@@ -1 +1 @@", ...Array.from({ length: 40 }, (_, at) => `+${at}`)];
    const question = { ...CHANGE, consequences: ["One\u001b[2J.", "Two."], diff: { title: "In a:", lines } };
    expect(await ask(ctx, question, CHOICES, open)).toBe(answer);
    const text = [CHANGE.title, "One.", "Two.", "In a:", ...lines.slice(0, 30), "… 11 more lines"].join("\n");
    expect(asked).toEqual([[text, ["Keep as it is", "Change and restart"], { signal: open }]]);
  });
});
