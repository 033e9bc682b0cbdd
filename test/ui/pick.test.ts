import { stripVTControlCharacters } from "node:util";
import type { ExtensionContext, Theme } from "@earendil-works/pi-coding-agent";
import { KeybindingsManager, TUI_KEYBINDINGS, visibleWidth } from "@earendil-works/pi-tui";
import { expect, test } from "vitest";
import { type Picking, PickView, pick } from "../../ui/pick.ts";
import { FakeClock, settled } from "../support/clock.ts";
import { plainLine } from "../support/plain-line.ts";

const UP = "\u001b[A";
const DOWN = "\u001b[B";
const PAGE_DOWN = "\u001b[6~";
const ESCAPE = "\u001b";
const ENTER = "\r";
const never = new AbortController().signal;

const SIZES: Picking<string> = {
  title: "Which quantisation of maker/Small-GGUF?",
  notes: ["The devices have 96 GiB."],
  noun: "quantisation",
  typing: "part of a name",
  items: [
    { words: "Q4_K_M", detail: "18.6 GiB · fits", tone: "good", means: "four" },
    { words: "Q8_0", detail: "32.4 GiB · tight", tone: "doubtful", means: "eight" },
    { words: "BF16", detail: "110 GiB · too large", tone: "bad", means: "sixteen" },
  ],
};

class Shown {
  readonly clock = new FakeClock();
  readonly terminal = { rows: 24 };
  columns = 80;
  renders = 0;
  readonly answers: (string | undefined)[] = [];
  readonly view: PickView<string>;

  constructor(picking: Partial<Picking<string>> = {}) {
    this.view = new PickView({
      tui: { terminal: this.terminal, requestRender: () => this.renders++ },
      theme: {
        fg: (colour: string, text: string) => `<${colour}>${text}</>`,
        bold: (text: string) => text,
      } as Pick<Theme, "fg" | "bold">,
      keys: new KeybindingsManager(TUI_KEYBINDINGS),
      picking: { ...SIZES, ...picking },
      clock: this.clock,
      answer: (chosen) => this.answers.push(chosen?.means),
    });
  }

  press(...keys: string[]): this {
    for (const key of keys) {
      this.view.render(this.columns);
      this.view.handleInput(key);
    }
    return this;
  }

  type(text: string): this {
    return this.press(...text);
  }

  get screen(): string[] {
    const lines = this.view.render(this.columns);
    expect(lines.length).toBeLessThanOrEqual(this.terminal.rows);
    return lines.map((line) => plainLine(stripVTControlCharacters(line.replace(/<\w*>|<\/>/g, ""))));
  }

  get colours(): string {
    return stripVTControlCharacters(this.view.render(this.columns).join("\n"));
  }

  get rows(): string[] {
    return this.screen.filter((line) => /^(?:→| ) \S/.test(line)).map((line) => line.trimEnd());
  }
}

test("a list shows what to choose, with its details and the keys", () => {
  const shown = new Shown();
  expect(shown.screen.join("\n").trimEnd()).toMatchInlineSnapshot(`
    "Which quantisation of maker/Small-GGUF?
    The devices have 96 GiB.

    >   part of a name

    → Q4_K_M  18.6 GiB · fits
      Q8_0    32.4 GiB · tight
      BF16    110 GiB · too large
      3 quantisations














    up/down choose · enter ok · escape leave"
  `);
  expect(shown.colours).toContain("<success>18.6 GiB · fits</>");
  expect(shown.colours).toContain("<error>110 GiB · too large</>");
});

test("enter takes the marked row, escape none", () => {
  expect(new Shown().press(ENTER).answers).toEqual(["four"]);
  expect(new Shown().press(DOWN, DOWN, DOWN, UP, ENTER).answers).toEqual(["eight"]);
  expect(new Shown().press(PAGE_DOWN, ENTER).answers).toEqual(["sixteen"]);
  expect(new Shown().press(DOWN, ESCAPE).answers).toEqual([undefined]);
});

test("typed words filter the list by words and details", () => {
  const shown = new Shown().type("q GIB tight");
  expect(shown.rows).toEqual(["→ Q8_0  32.4 GiB · tight", "  1 quantisation"]);
  expect(shown.press(ENTER).answers).toEqual(["eight"]);
  shown.type("x");
  expect(shown.rows).toEqual([]);
  expect(shown.screen).toContain("No quantisation found.");
  expect(shown.press(ENTER).answers).toEqual(["eight"]);
});

test("a typed text can be a choice of its own, above or below the others", () => {
  const typed = (place: "first" | "last") => (text: string) =>
    ({ words: text, detail: "as typed", means: `typed ${text}`, place }) as const;
  expect(new Shown({ typed: typed("first") }).type("q").press(ENTER).answers).toEqual(["typed q"]);
  const below = new Shown({ typed: typed("last") }).type("Q8");
  expect(below.rows.slice(0, 2)).toEqual(["→ Q8_0  32.4 GiB · tight", "  Q8    as typed"]);
  expect(below.type("_0").rows[1]).toBe("  1 quantisation");
  expect(new Shown({ typed: typed("first") }).rows[0]).toBe("→ Q4_K_M  18.6 GiB · fits");
});

/** A search whose answers come when the test gives them. */
class Asked {
  readonly asked: string[] = [];
  readonly signals: AbortSignal[] = [];
  readonly #answers: ((names: readonly string[] | Error) => void)[] = [];

  readonly search = (words: string, signal: AbortSignal) => {
    this.asked.push(words);
    this.signals.push(signal);
    return new Promise<{ words: string; means: string }[]>((resolve, reject) => {
      this.#answers.push((names) => {
        if (names instanceof Error) reject(names);
        else resolve(names.map((name) => ({ words: name, means: name })));
      });
    });
  };

  async answer(at: number, names: readonly string[] | Error): Promise<void> {
    this.#answers[at]?.(names);
    await settled();
  }
}

test("a search asks once the words rest, and an answer that comes too late is dropped", async () => {
  const asked = new Asked();
  const shown = new Shown({ search: asked.search, noun: "model", items: [] });
  shown.type("q");
  expect(shown.screen).toContain("Type at least 2 characters.");
  await shown.type("w").clock.advance(300);
  await shown.type("en").clock.advance(349);
  expect(asked.asked).toEqual([]);
  expect(shown.screen).toContain("Searching…");
  await shown.clock.advance(1);
  await shown.type("3").clock.advance(350);
  expect(asked.asked).toEqual(["qwen", "qwen3"]);
  expect(asked.signals.map(({ aborted }) => aborted)).toEqual([true, false]);
  await asked.answer(1, ["a/Qwen3", "b/Qwen3"]);
  await asked.answer(0, ["old/Qwen"]);
  expect(shown.rows).toEqual(["→ a/Qwen3", "  b/Qwen3", "  2 models"]);
});

test("while the next answer is awaited, what is known of it stays, and words that were asked are not asked again", async () => {
  const asked = new Asked();
  const shown = new Shown({ search: asked.search, items: [] });
  await shown.type("qw").clock.advance(350);
  await asked.answer(0, ["a/Qwen", "b/Qwoz"]);
  shown.type("e");
  expect(shown.rows).toEqual(["→ a/Qwen", "  Searching…"]);
  shown.press("\u007f");
  expect(shown.rows.slice(0, 2)).toEqual(["→ a/Qwen", "  b/Qwoz"]);
  await shown.clock.advance(1000);
  expect(asked.asked).toEqual(["qw"]);
});

test("the row to which the user has moved stays marked when the answer comes", async () => {
  const asked = new Asked();
  const shown = new Shown({ search: asked.search, items: [] });
  await shown.type("qw").clock.advance(350);
  await asked.answer(0, ["a/Qwen", "b/Qwen"]);
  await shown.type("en").press(DOWN).clock.advance(350);
  await asked.answer(1, ["c/Qwen", "b/Qwen", "a/Qwen"]);
  expect(shown.rows[1]).toBe("→ b/Qwen");
});

test("a search that fails shows the sentence, and the next one is asked", async () => {
  const asked = new Asked();
  const shown = new Shown({ search: asked.search, items: [] });
  await shown.type("qw").clock.advance(350);
  await asked.answer(0, new Error("The hub limits how often it may be asked. Try again in 55 s."));
  expect(shown.screen).toContain("The hub limits how often it may be asked. Try again in 55 s.");
  await shown.type("e").clock.advance(350);
  await asked.answer(1, ["a/Qwe"]);
  expect(shown.rows[0]).toBe("→ a/Qwe");
});

test("a screen that is closed ends its search", async () => {
  const asked = new Asked();
  const shown = new Shown({ search: asked.search });
  await shown.type("qw").clock.advance(350);
  shown.view.close();
  expect(asked.signals[0]?.aborted).toBe(true);
  await shown.type("e").clock.advance(350);
  expect(asked.asked).toEqual(["qw"]);
});

test("details that are too wide are cut, and names keep their ends", () => {
  const detail = "131072 tokens · a note that is longer than the terminal";
  const shown = new Shown({
    items: [
      { words: "128k", detail, means: "a" },
      { words: "8k", detail: "short", means: "b" },
    ],
  });
  shown.columns = 40;
  expect(shown.rows.slice(0, 2)).toEqual(["→ 128k  131072 tokens · a note that is …", "  8k    short"]);
  const long = new Shown({
    items: [{ words: "someone/Model-With-A-Long-Name-GGUF", detail: "48k downloads", means: "a" }],
  });
  long.columns = 45;
  expect(long.rows[0]).toBe("→ someone/Model-…ong-Name-GGUF  48k downloads");
  long.columns = 32;
  expect(long.rows[0]).toBe("→ someone/Mode…g-Name-GGUF");
});

test.each([
  [80, 24],
  [60, 20],
  [40, 12],
  [20, 5],
  [8, 2],
])("at %i×%i every line fits, and the marked row is seen", (columns, rows) => {
  const items = Array.from({ length: 40 }, (_, at) => ({
    words: `someone/A-Model-With-A-Rather-Long-Name-${at}-GGUF`,
    detail: `${at}k downloads`,
    means: String(at),
  }));
  const shown = new Shown({
    items,
    notes: ["A note that is longer than the terminal is wide.", "Another one."],
  });
  shown.columns = columns;
  shown.terminal.rows = rows;
  for (let step = 0; step < 45; step++) {
    for (const line of shown.view.render(columns))
      expect(visibleWidth(stripVTControlCharacters(line.replace(/<\w*>|<\/>/g, "")))).toBeLessThanOrEqual(
        columns,
      );
    if (rows >= 5) expect(shown.screen.some((line) => line.startsWith("→"))).toBe(true);
    shown.press(DOWN);
  }
  expect(shown.press(ENTER).answers).toEqual(["39"]);
});

const rpc = (chosen: string | undefined, seen: unknown[]) =>
  ({
    mode: "rpc",
    ui: {
      select: async (title: string, lines: string[]) => {
        seen.push(title, lines);
        return chosen;
      },
    },
  }) as unknown as ExtensionContext;

test("an RPC client chooses from a list", async () => {
  const seen: unknown[] = [];
  expect(await pick(rpc("Q8_0 · 32.4 GiB · tight", seen), SIZES, never)).toBe("eight");
  expect(seen).toEqual([
    "Which quantisation of maker/Small-GGUF?\nThe devices have 96 GiB.",
    ["Q4_K_M · 18.6 GiB · fits", "Q8_0 · 32.4 GiB · tight", "BF16 · 110 GiB · too large"],
  ]);
  expect(await pick(rpc(undefined, seen), SIZES, never)).toBeUndefined();
  expect(await pick(rpc("Q8_0", seen), SIZES, AbortSignal.abort())).toBeUndefined();
});
