import { visibleWidth } from "@earendil-works/pi-tui";
import { describe, expect, test } from "vitest";
import { row, Shown } from "../../support/panel-screen.ts";
import { seeded } from "../../support/random.ts";

const UP = "\u001b[A";
const DOWN = "\u001b[B";
const PAGE_DOWN = "\u001b[6~";
const LEFT = "\u001b[D";
const RIGHT = "\u001b[C";
const HOME = "\u001b[H";
const END = "\u001b[F";
const ESCAPE = "\u001b";
const ENTER = "\r";

describe("the screen", () => {
  test("shows every part, with the keys at the bottom", () => {
    const shown = new Shown({
      bars: [{ title: "Loading gamma", words: "12 s of about 20 s", fraction: 0.6, step: 48 }],
      message: { level: "warning", text: "Something\nto know" },
    });
    expect(shown.lines()).toEqual([
      "AI server · live · llama-swap v250 · https://ai.example",
      "certificate until 2027-01-02",
      "",
      "  Model 1/3  State     Context  From      tok/s  Unloads",
      "→ alpha      unloaded      64k  declared     38",
      "  beta       unloaded      64k  declared     38",
      "  gamma      unloaded      64k  declared     38",
      "Loading gamma",
      `${"█".repeat(24)}${"░".repeat(16)} 12 s of about 20 s`,
      "Something",
      "to know",
      "",
      "In flight: nothing",
      `Host memory  ▁█${" ".repeat(38)} 4 of 64 GB`,
      "",
      "State  unloaded",
      ...Array<string>(7).fill(""),
      "escape leave · enter load · / filter · m use in pi · c context · l log · ? help",
    ]);
  });

  test("offers to open a download only if there is one, and a and d do the same whether or not", () => {
    const shown = new Shown({ hasDownloads: true });
    expect(shown.lines().at(-1)).toBe(
      "escape leave · enter load · d download · / filter · m use in pi · ? help",
    );
    shown.content = { ...shown.content, hasDownloads: false };
    expect(shown.screen).not.toContain("d download");
    shown.press("a", "d");
    expect(shown.actions).toEqual([{ kind: "add" }, { kind: "downloads" }]);
  });

  test("has two columns if there is room", () => {
    const shown = new Shown();
    shown.columns = 120;
    expect(shown.screen).toMatch(/^State {2}unloaded {46}In flight: nothing$/m);
  });

  test("at 40 columns keeps id, state and the key for help", () => {
    const rows = ["alpha-with-a-name-o", "beta"].map((id) => row(id));
    const shown = new Shown({ rows });
    shown.columns = 40;
    expect(shown.lines().slice(4, 7)).toEqual([
      "  Model 1/2            State     Context",
      "→ alpha-with-a-name-o  unloaded      64k",
      "  beta                 unloaded      64k",
    ]);
    expect(shown.lines().at(-1)).toBe("escape leave · enter load · ? help");
  });

  test("shows the position in a long list", () => {
    const rows = Array.from({ length: 100 }, (_, at) => row(`model-${at}`));
    const shown = new Shown({ rows });
    shown.press(...Array<string>(50).fill(DOWN));
    expect(shown.screen).toMatch(/^ {2}Model 51\/100 /m);
    expect(shown.screen).toMatch(/^→ model-50 /m);
    expect(shown.lines()).toHaveLength(24);
  });

  test("shows the selected model and the keys in a terminal of four lines", () => {
    const shown = new Shown();
    shown.columns = 200;
    shown.terminal.rows = 4;
    shown.press(DOWN);
    expect(shown.lines()[0]).toMatch(/^AI server/);
    expect(shown.screen).toMatch(/^→ beta/m);
    expect(shown.lines()).toHaveLength(4);
    expect(shown.lines().at(-1)).toMatch(/^escape leave · enter unload/);
  });

  test("says why there are no models", () => {
    const shown = new Shown({ rows: [], trouble: "DNS FAILS\nThe server has no address.", details: [] });
    expect(shown.screen).toMatch(/^DNS FAILS\nThe server has no address\.$/m);
    expect(shown.screen).not.toMatch(/Model|enter/);
  });

  test("keeps the first line of a long message, and its last ones", () => {
    const text = Array.from({ length: 30 }, (_, at) => `line ${at}`).join("\n");
    const shown = new Shown({ message: { level: "error", text } });
    expect(shown.screen).toMatch(/line 0\n…\nline 26\nline 27\nline 28\nline 29\n/);
  });

  test("uses only colours of the theme", () => {
    const shown = new Shown({ message: { level: "info", text: "x" }, trouble: "y" });
    shown.screen;
    const known = ["accent", "muted", "dim", "success", "warning", "error"];
    expect([...shown.colours].filter((colour) => !known.includes(colour))).toEqual([]);
  });

  test("is never wider or higher than the terminal, whatever it shows", () => {
    const random = seeded(7);
    const pieces = ["模型", "a", "Größe", "👩‍💻", " ", "e\u0301", "-very-long-", "🇩🇪", "x".repeat(60)];
    const words = (): string =>
      Array.from(
        { length: Math.floor(random() * 8) },
        () => pieces[Math.floor(random() * pieces.length)],
      ).join("");
    for (let width = 40; width <= 200; width++) {
      const ids = Array.from({ length: Math.floor(random() * 30) }, (_, at) => `${words()}${at}`);
      const shown = new Shown({
        heading: ["AI server", words(), words(), words()],
        rows: ids.map((id) => row(id, { cells: [id, words(), "64k", "last seen", "38", words()] })),
        trouble: random() < 0.3 ? words() : undefined,
        bars: [
          { title: `Loading ${words()}`, words: "12 s of about 1 min 20 s", fraction: random(), step: 3 },
          { title: words(), words: "more than 12 s", fraction: undefined, step: width },
        ],
        message: { level: "error", text: `${words()}\n${words()}` },
        details: [
          ["About", words()],
          ["Command", `${words()} ${words()}\n${words()}`],
        ],
        inFlight: ["In flight: 2", words(), words()],
        plots: [
          { name: words(), figure: "18.2", words: "of 24 GB · 97 % busy", values: [0.2, 0.5, 1], most: 1 },
        ],
      });
      shown.columns = width;
      shown.terminal.rows = 1 + Math.floor(random() * 50);
      shown.place.filter = random() < 0.2 ? words() : "";
      shown.press(...(random() < 0.2 ? ["/", "x"] : [DOWN, END]));
      const lines = shown.view.render(width);
      expect(lines).toHaveLength(shown.terminal.rows);
      const widest = Math.max(...lines.map((line) => visibleWidth(line)));
      expect(widest, `${width} columns:\n${lines.join("\n")}`).toBeLessThanOrEqual(width);
    }
  });
});

describe.each([40, 60, 80, 120])("at %d columns", (columns) => {
  const long = (name: string): string => `${name}-${"with-a-long-name-".repeat(7)}end`;
  const texts = ["Gemma", "Heading", "Bar", "Request", "Plot"].map(long);
  const [id = "", heading = "", title = "", request = "", name = ""] = texts;
  const shown = new Shown({
    heading: ["AI server", heading],
    rows: [row(id), row("beta")],
    bars: [{ title, words: "12 s of about 20 s", fraction: 0.6, step: 48 }],
    details: [["About", `first ${"words to wrap ".repeat(12)}last`]],
    inFlight: ["In flight: 1", `  ${request}`],
    plots: [{ name, figure: "4", words: "of 64 GB", values: [0.1, 0.9], most: 1 }],
  });
  shown.columns = columns;
  shown.terminal.rows = 60;

  test("a line that is cut ends what is cut with an ellipsis", () => {
    for (const text of texts) {
      const line = shown.lines().find((each) => each.includes(text.slice(0, 5))) ?? "";
      expect(line.includes(text) || line.includes("…"), `${text}:\n${line}`).toBe(true);
    }
  });

  test("every line fits, and a value wraps to its end", () => {
    expect(Math.max(...shown.lines().map((line) => visibleWidth(line)))).toBeLessThanOrEqual(columns);
    expect(shown.screen).toMatch(/About +first/);
    expect(shown.screen).toMatch(/\blast\b/);
    expect(shown.screen).toContain("12 s of about 20 s");
    expect(shown.screen).toContain("4 of 64 GB");
  });
});

describe("drawing", () => {
  test("happens again only when the content changes", () => {
    const shown = new Shown();
    shown.view.update();
    expect(shown.renders).toBe(1);
    shown.view.update();
    expect(shown.renders).toBe(1);
    shown.content = { ...shown.content, inFlight: ["In flight: 1"] };
    shown.view.update();
    expect(shown.renders).toBe(2);
  });

  test("keeps the model selected that it shows so, wherever it moves", () => {
    const shown = new Shown();
    const comes = (...ids: string[]): string => {
      shown.content = { ...shown.content, rows: ids.map((id) => row(id)) };
      return /→ (\S+)/.exec(shown.screen)?.[1] ?? "";
    };
    expect(comes("alpha", "beta", "gamma")).toBe("alpha");
    expect(comes("gamma", "beta", "alpha")).toBe("alpha");
    expect(comes("gamma", "beta")).toBe("gamma");
    expect(comes("beta", "alpha", "gamma")).toBe("gamma");
    shown.press("/", "b", ENTER);
    expect(comes("bold", "beta")).toBe("beta");
    expect(comes()).toBe("");
    expect(comes("bold", "beta")).toBe("beta");
  });

  test("asks for the details of the selected model", () => {
    const shown = new Shown().press(DOWN);
    expect(shown.asked.at(-1)).toBe("beta");
    shown.content = { ...shown.content, rows: [row("gamma")] };
    shown.screen;
    expect(shown.asked.at(-1)).toBe("gamma");
  });
});

describe("keys", () => {
  test.each([
    ["down", [DOWN], "beta"],
    ["up again", [DOWN, DOWN, UP], "beta"],
    ["not above the first", [UP], "alpha"],
    ["not below the last", [DOWN, DOWN, DOWN], "gamma"],
    ["to the end", [END], "gamma"],
    ["to the beginning", [END, HOME], "alpha"],
    ["a page on", [RIGHT], "gamma"],
    ["a page back", [END, LEFT], "alpha"],
    ["nowhere while the details scroll", [PAGE_DOWN], "alpha"],
  ])("go %s", (_, keys, selected) => {
    expect(new Shown().press(...keys).place.selected).toBe(selected);
  });

  test.each([
    [ENTER, { kind: "toggle", id: "beta" }],
    ["m", { kind: "use", id: "beta" }],
    ["l", { kind: "log", id: "beta" }],
    ["r", { kind: "refresh" }],
    ["R", { kind: "restart" }],
    ["U", { kind: "unload all" }],
    [
      "?",
      { kind: "help", lines: expect.arrayContaining([expect.stringMatching(/^up\/down +select a model$/)]) },
    ],
    ["q", { kind: "leave" }],
    [ESCAPE, { kind: "leave" }],
  ])("%j acts on the selected model", (key, action) => {
    expect(new Shown().press(DOWN, key).actions).toEqual([action]);
  });

  test("other letters do nothing", () => {
    const shown = new Shown().press("x", "Q", "M", "1");
    expect([shown.actions, shown.screen.includes("→ alpha")]).toEqual([[], true]);
  });

  test("act without a model only if they need none", () => {
    const shown = new Shown({ rows: [] }).press(ENTER, "m", "c", "l", DOWN, "r", ESCAPE);
    expect(shown.actions).toEqual([{ kind: "refresh" }, { kind: "leave" }]);
  });

  test("are pi's own bindings, and the hints name them", () => {
    const shown = new Shown(
      {},
      { "tui.select.down": "ctrl+n", "tui.select.cancel": "ctrl+g", "tui.select.up": [] },
    );
    shown.columns = 200;
    expect(shown.lines().at(-1)).toMatch(/^ctrl\+g leave · enter load · .* · ctrl\+n move · \? help$/);
    expect(shown.press(DOWN, ESCAPE).screen).toContain("→ alpha");
    shown.press("\u000e", "\u0007");
    expect([shown.place.selected, shown.actions]).toEqual(["beta", [{ kind: "leave" }]]);
  });

  test("say whether Enter loads, unloads, stops, or nothing", () => {
    const rows = [
      row("a"),
      row("b", { toggles: "unload" }),
      row("c", { toggles: "stop" }),
      row("d", { toggles: undefined }),
    ];
    const shown = new Shown({ rows });
    const hints = rows.map(() => {
      const hint = /enter (\w+)/.exec(shown.screen)?.[1];
      shown.press(DOWN);
      return hint;
    });
    expect(hints).toEqual(["load", "unload", "stop", undefined]);
  });

  test("name only the letters that work for the model", () => {
    const shown = new Shown({ rows: [row("a", { offers: [] }), row("b", { offers: ["log"] })] });
    expect(shown.screen).not.toMatch(/use in pi|context\n|c context|l log/);
    shown.press(DOWN);
    expect(shown.screen).toMatch(/l log/);
    expect(shown.screen).not.toMatch(/use in pi|c context/);
  });
});

describe("the filter", () => {
  test("is typed after a slash, and its letters are no commands", () => {
    const shown = new Shown().press("/", "m", "m");
    expect(shown.actions).toEqual([]);
    expect(shown.screen).toMatch(/^\/mm\nenter keeps the filter · escape clears it$/m);
    expect(shown.lines().filter((line) => /unloaded +64k/.test(line))).toEqual([
      expect.stringContaining("→ gamma"),
    ]);
  });

  test("ends with Enter, which acts only afterwards", () => {
    const shown = new Shown().press("/", "g", ENTER);
    expect(shown.actions).toEqual([]);
    expect(shown.screen).toContain("filter: g");
    shown.press(ENTER, "l");
    expect(shown.actions).toEqual([
      { kind: "toggle", id: "gamma" },
      { kind: "log", id: "gamma" },
    ]);
  });

  test("is dropped by Escape, during typing and afterwards; the next Escape leaves", () => {
    const shown = new Shown().press("/", "g", ESCAPE);
    expect(shown.place.filter).toBe("");
    expect(shown.screen).toContain("→ alpha");
    shown.press("/", "g", ENTER);
    expect(shown.screen).toContain("escape all models");
    shown.press(ESCAPE);
    expect([shown.place.filter, shown.actions]).toEqual(["", []]);
    expect(shown.press(ESCAPE).actions).toEqual([{ kind: "leave" }]);
  });

  test("continues from its last text", () => {
    expect(new Shown().press("/", "g", ENTER, "/", "a").place.filter).toBe("ga");
  });

  test("lets the arrow keys move", () => {
    expect(new Shown().press("/", "a", DOWN, DOWN).place).toEqual({ selected: "gamma", filter: "a" });
  });

  test("says so when no model matches", () => {
    expect(new Shown().press("/", "z", "z").screen).toContain('No model matches "zz".');
  });

  test("shows its cursor only where the keys go", () => {
    const shown = new Shown().press("/", "g");
    const cursors = [true, false].map((focused) => {
      shown.view.focused = focused;
      return shown.view.render(80).join("\n");
    });
    expect(cursors[0]).not.toBe(cursors[1]);
  });
});
