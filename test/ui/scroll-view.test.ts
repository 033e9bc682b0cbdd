import { stripVTControlCharacters } from "node:util";
import {
  KeybindingsManager,
  TUI_KEYBINDINGS,
  type TuiMouseEvent,
  visibleWidth,
} from "@earendil-works/pi-tui";
import { describe, expect, test } from "vitest";
import { ScrollView } from "../../ui/scroll-view.ts";

const UP = "\u001b[A";
const DOWN = "\u001b[B";
const PAGE_UP = "\u001b[5~";
const PAGE_DOWN = "\u001b[6~";
const HOME = "\u001b[H";
const END = "\u001b[F";
const ESCAPE = "\u001b";
const ENTER = "\r";

const WIDE = [
  "models:",
  '  "模型/通义千问-非常长的名字-Q4_K_M.gguf": 这是一个没有空格的非常长的行用来测试换行是否正确而且不会超过终端的宽度',
  "👩‍💻👨‍👩‍👧 e\u0301a\u0308 🇩🇪🇩🇪🇩🇪🇩🇪🇩🇪🇩🇪🇩🇪🇩🇪🇩🇪🇩🇪",
  "",
  `    cmd: llama-server --model ${"/very/long/path".repeat(30)} -c 4096`,
  "x".repeat(1000),
  "    ttl: 300",
];

const numbered = (count: number, from = 1): string[] =>
  Array.from({ length: count }, (_, at) => `line ${at + from}`);

class Shown {
  readonly terminal = { rows: 10 };
  columns = 60;
  renders = 0;
  closed = 0;
  styled: string[][] = [];
  colour = 32;
  readonly view: ScrollView;

  constructor(lines: readonly string[], bindings: Record<string, string | string[]> = {}) {
    const style = (given: readonly string[]): string[] => {
      this.styled.push([...given]);
      return given.map((line) => `\u001b[${this.colour}m${line}\u001b[39m`);
    };
    const parts = {
      tui: { terminal: this.terminal, requestRender: () => this.renders++ },
      theme: {
        fg: (_: string, text: string) => `\u001b[36m${text}\u001b[39m`,
        bold: (text: string) => `\u001b[1m${text}\u001b[22m`,
        inverse: (text: string) => `\u001b[7m${text}\u001b[27m`,
      },
      keys: new KeybindingsManager(TUI_KEYBINDINGS, bindings as KeybindingsConfig),
      title: "the title",
      style,
      close: () => this.closed++,
    };
    this.view = new ScrollView(parts, lines);
  }

  press(...keys: string[]): this {
    // Drawn before the first key and after each, as pi does.
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

  screen(): string[] {
    return this.raw().map((line) => stripVTControlCharacters(line));
  }

  get text(): string[] {
    return this.screen().slice(1, -1);
  }

  get footer(): string {
    return this.screen().at(-1) ?? "";
  }
}

type KeybindingsConfig = ConstructorParameters<typeof KeybindingsManager>[1];

describe("a text", () => {
  test("fills the terminal, with its title, where one is, and the keys", () => {
    const shown = new Shown(numbered(100));
    expect(shown.screen()).toEqual([
      "the title",
      ...numbered(8),
      "1–8 of 100 · 8 % · escape close · / search · up/down scroll",
    ]);
    shown.columns = 120;
    expect(shown.footer).toBe(
      "1–8 of 100 · 8 % · escape close · / search · up/down scroll · pageUp/pageDown page · home/end",
    );
  });

  test.each([
    ["one line down", [DOWN], 2],
    ["and up again", [DOWN, DOWN, UP], 2],
    ["not above the top", [UP, PAGE_UP, DOWN], 2],
    ["a page down, with a line of overlap", [PAGE_DOWN], 8],
    ["a page by the space bar", [" ", " "], 15],
    ["a page up", [PAGE_DOWN, PAGE_DOWN, PAGE_UP], 8],
    ["to the end", [END], 93],
    ["to the end by G", ["G"], 93],
    ["not below the end", [END, DOWN, PAGE_DOWN], 93],
    ["up from the end", [END, UP], 92],
    ["to the beginning", [END, HOME], 1],
    ["to the beginning by g", [END, "g"], 1],
    ["nowhere by other keys", ["x", "\u001b[C", "\t"], 1],
  ])("scrolls %s", (_, keys, first) => {
    expect(new Shown(numbered(100)).press(...keys).text).toEqual(numbered(8, first));
  });

  test("scrolls by the wheel of the mouse, and leaves the rest of it to pi", () => {
    const shown = new Shown(numbered(100));
    shown.raw();
    const mouse = (type: string, wheelDelta?: number): TuiMouseEvent =>
      ({ type, wheelDelta }) as TuiMouseEvent;
    expect(shown.view.handleMouse(mouse("wheel", 3))).toEqual({ handled: true });
    expect(shown.text[0]).toBe("line 4");
    expect(shown.view.handleMouse(mouse("wheel", -2))).toEqual({ handled: true });
    expect(shown.text[0]).toBe("line 2");
    expect(shown.view.handleMouse(mouse("press"))).toBeUndefined();
  });

  test.each([
    [[], "empty · escape close"],
    [["one"], "1–1 of 1 · 100 %"],
    [numbered(8), "1–8 of 8 · 100 %"],
    [numbered(9), "1–8 of 9 · 88 %"],
    [numbered(1000), "1–8 of 1000 · 0 %"],
  ])("%# shows the position", (lines, position) => {
    expect(new Shown(lines).footer.startsWith(position)).toBe(true);
    expect(new Shown(lines).screen()).toHaveLength(10);
  });

  test("is wrapped, and scrolls by rows", () => {
    const shown = new Shown(["a", "word ".repeat(60).trim(), "z"]);
    shown.terminal.rows = 5;
    shown.columns = 20;
    expect(shown.text).toEqual(["a", "word word word word", "word word word word"]);
    expect(shown.press(DOWN, DOWN, DOWN).text).toEqual(Array(3).fill("word word word word"));
    expect(shown.footer).toContain("2–2 of 3");
    expect(shown.press(END).text.at(-1)).toBe("z");
    expect(shown.press(UP).text).toEqual(Array(3).fill("word word word word"));
  });
});

describe("the way out", () => {
  test.each([ESCAPE, "\u0003", "q"])("is %j", (key) => {
    expect(new Shown(["a"]).press(key).closed).toBe(1);
  });

  test("is the key that is bound to it", () => {
    const shown = new Shown(["a"], { "tui.select.cancel": "ctrl+x" });
    expect(shown.press(ESCAPE, "\u0003").closed).toBe(0);
    expect(shown.footer).toContain("ctrl+x close");
    expect(shown.press("\u0018").closed).toBe(1);
  });

  test("is q where no key is bound to it", () => {
    const shown = new Shown(numbered(50), {
      "tui.select.cancel": [],
      "tui.select.up": [],
      "tui.select.down": "j",
    });
    expect(shown.footer).toContain("q close · / search · j scroll");
    expect(shown.press("j").text[0]).toBe("line 2");
    expect(shown.press(DOWN).text[0]).toBe("line 2");
    expect(shown.press("q").closed).toBe(1);
  });
});

test("at 20 to 200 columns no line is wider, no row is missing, and no character is lost", () => {
  const squeezed = (lines: readonly string[]): string => lines.join("").replaceAll(" ", "");
  for (let columns = 20; columns <= 200; columns += 1) {
    const shown = new Shown(WIDE);
    shown.columns = columns;
    for (let page = 0; page < 5; page++) {
      const lines = shown.raw();
      expect(lines).toHaveLength(10);
      expect(Math.max(...lines.map(visibleWidth)), `${columns} columns`).toBeLessThanOrEqual(columns);
      shown.press(PAGE_DOWN);
    }
    shown.terminal.rows = 300;
    expect(squeezed(shown.text), `${columns} columns`).toBe(squeezed(WIDE));
  }
});

describe("a terminal that changes its size", () => {
  test("shows the same line at the top", () => {
    const shown = new Shown(numbered(100)).press(PAGE_DOWN, PAGE_DOWN);
    shown.terminal.rows = 20;
    expect(shown.text).toEqual(numbered(18, 15));
    shown.terminal.rows = 5;
    shown.columns = 20;
    expect(shown.text).toEqual(numbered(3, 15));
  });

  test("stays inside a long line, however it wraps", () => {
    const shown = new Shown([...numbered(5), "x".repeat(2000), ...numbered(50, 6)]);
    shown.columns = 20;
    shown.press(...Array<string>(60).fill(DOWN));
    shown.columns = 200;
    expect(shown.text[0]).toBe("x".repeat(200));
    expect(shown.text[1]).toBe("line 6");
  });

  test("leaves no empty rows below the end", () => {
    const shown = new Shown(numbered(100)).press(END);
    shown.terminal.rows = 30;
    expect(shown.text).toEqual(numbered(28, 73));
  });

  test.each([0, 1, 2, 3])("of %d rows has at least one for the text", (rows) => {
    const shown = new Shown(numbered(100));
    shown.terminal.rows = rows;
    expect(shown.press(END).text).toEqual(["line 100"]);
  });
});

describe("a text that grows", () => {
  test("scrolls with its end while the end is visible", () => {
    const shown = new Shown(numbered(20));
    shown.view.follow();
    expect(shown.text).toEqual(numbered(8, 13));
    expect(shown.footer).toContain("13–20 of 20 · 100 % · live · escape close");
    const before = shown.renders;
    shown.view.append(["line 21", "line 22"]);
    expect(shown.renders).toBe(before + 1);
    expect(shown.text).toEqual(numbered(8, 15));
  });

  test("keeps the place of a reader further up, and counts the new lines", () => {
    const shown = new Shown(numbered(20));
    shown.view.follow();
    shown.press(UP, UP);
    shown.view.append(["line 21"]);
    expect(shown.text).toEqual(numbered(8, 11));
    expect(shown.footer).toContain("live · 1 new line below");
    shown.view.append(numbered(11, 22));
    expect(shown.footer).toContain("11–18 of 32 · 56 % · live · 12 new lines below");
    expect(shown.press(END).footer).toContain("25–32 of 32 · 100 % · live · escape");
    shown.view.append(["line 33"]);
    expect(shown.text.at(-1)).toBe("line 33");
  });

  test("says when it has ended", () => {
    const shown = new Shown([]);
    shown.view.follow();
    expect(shown.footer).toContain("empty · live");
    shown.view.append(["the last"]);
    shown.view.end();
    expect(shown.text[0]).toBe("the last");
    expect(shown.footer).toContain("1–1 of 1 · 100 % · ended");
  });

  test("keeps its last 20,000 lines, and the reader's place", () => {
    const shown = new Shown(numbered(25_000));
    shown.view.follow();
    expect(shown.footer).toContain("19993–20000 of 20000");
    shown.press(PAGE_UP);
    expect(shown.text[0]).toBe("line 24986");
    shown.view.append(numbered(1000, 25_001));
    expect(shown.text[0]).toBe("line 24986");
    expect(shown.footer).toContain("18986–18993 of 20000");
    shown.view.append(numbered(100_000, 26_001));
    expect(shown.text[0]).toBe("line 106001");
    expect(shown.press(END).text.at(-1)).toBe("line 126000");
  });

  test("keeps no more than eight million characters", () => {
    const shown = new Shown([]);
    shown.view.follow();
    for (let at = 0; at < 50; at++) shown.view.append(Array<string>(10).fill("x".repeat(20_000)));
    expect(shown.footer).toContain("of 400");
  });
});

describe("colours", () => {
  test("are made once, for appended lines alone, and again after a change of theme", () => {
    const shown = new Shown(["a", "b"]);
    expect(shown.raw()[1]).toBe("\u001b[32ma\u001b[39m");
    shown.press(DOWN, UP);
    shown.view.append(["c"]);
    shown.raw();
    expect(shown.styled).toEqual([["a", "b"], ["c"]]);
    shown.colour = 35;
    expect(shown.raw()[3]).toBe("\u001b[32mc\u001b[39m");
    shown.view.invalidate();
    expect(shown.raw()[3]).toBe("\u001b[35mc\u001b[39m");
    expect(shown.styled.slice(2)).toEqual([["a", "b", "c"]]);
  });
});

describe("a search", () => {
  const lines = [
    ...numbered(30),
    "  cmd: Llama-Server (x)",
    ...numbered(30, 31),
    "llama-server",
    ...numbered(30, 61),
  ];
  const searched = (words: string): Shown => new Shown(lines).press("/", ...words, ENTER);

  test("is typed in the footer and goes to the next match, which stands out", () => {
    const shown = new Shown(lines).press("/", ..."llama");
    expect(shown.footer).toMatch(/^\/llama/);
    shown.press(ENTER);
    expect(shown.text[0]).toBe("  cmd: Llama-Server (x)");
    expect(shown.raw()[1]).toBe("  cmd: \u001b[7mLlama\u001b[27m-Server (x)");
    expect(shown.footer).toContain("n/N next");
  });

  test("goes on by n, back by N, and around", () => {
    const shown = searched("LLAMA");
    expect(shown.press("n").text[0]).toBe("llama-server");
    expect(shown.press("n").text[0]).toBe("  cmd: Llama-Server (x)");
    expect(shown.press("N").text[0]).toBe("llama-server");
    expect(shown.press("N").text[0]).toBe("  cmd: Llama-Server (x)");
  });

  test("takes words as they are", () => {
    expect(searched("(x)").text[0]).toBe("  cmd: Llama-Server (x)");
    expect(searched(".*").footer).toContain('no ".*"');
  });

  test("that finds nothing stays where it is, and says so", () => {
    const shown = new Shown(lines).press(PAGE_DOWN, "/", ..."nowhere", ENTER);
    expect(shown.text[0]).toBe("line 8");
    expect(shown.footer).toContain('no "nowhere"');
    expect(shown.press("n").text[0]).toBe("line 8");
  });

  test("is left by Escape, which does not close the view; an empty one ends the last", () => {
    const shown = searched("llama").press("/", "q", ESCAPE);
    expect(shown.closed).toBe(0);
    expect(shown.footer).toContain("n/N next");
    expect(shown.press("/", ENTER).footer).toContain("/ search");
    expect(shown.press(ESCAPE).closed).toBe(1);
  });

  test("keeps its place in a text that loses its first lines", () => {
    const shown = new Shown([...numbered(19_990), "here", ...numbered(9)]);
    shown.view.follow();
    shown.press("/", ..."here", ENTER);
    shown.view.append(["here again", ...numbered(100)]);
    expect(shown.press("n").text[0]).toBe("here again");
    expect(shown.press("N").text[0]).toBe("here");
  });

  test("shows its cursor only with focus", () => {
    const shown = new Shown(lines).press("/");
    expect(shown.raw().at(-1)).not.toContain("\u001b_pi:c\u0007");
    shown.view.focused = true;
    expect(shown.raw().at(-1)).toContain("\u001b_pi:c\u0007");
  });
});
