import { visibleWidth } from "@earendil-works/pi-tui";
import { describe, expect, test } from "vitest";
import type { PanelContent } from "../../../admin/panel/lines.ts";
import { row, Shown } from "../../support/panel-screen.ts";

const PAGE_UP = "\u001b[5~";
const PAGE_DOWN = "\u001b[6~";
const DOWN = "\u001b[B";
const ENTER = "\r";
const ESCAPE = "\u001b";

const SIZES = [
  [40, 15],
  [60, 20],
  [80, 24],
  [120, 30],
] as const;

const LONG = `org/${"a-model-with-a-long-name-".repeat(4)}Q4_K_M`;
const MANY = [LONG, ...Array.from({ length: 16 }, (_, at) => `model-${at}`)];
const DETAILS = Array.from({ length: 30 }, (_, at): [string, string] => [`Row ${at}`, `value ${at}.`]);
const FAULT = `configuration ok · certificates ok · DNS ok · TCP FAILS\n${"The server does not answer. ".repeat(9)}Start it again.`;

const shownAt = (columns: number, rows: number, content: Partial<PanelContent>): Shown => {
  const shown = new Shown(content);
  shown.columns = columns;
  shown.terminal.rows = rows;
  return shown;
};

/** Every screen on the way to the end of what scrolls. */
function allScreens(shown: Shown): string[] {
  const screens = [shown.screen];
  for (;;) {
    const next = shown.press(PAGE_DOWN).screen;
    if (next === screens.at(-1)) return screens;
    screens.push(next);
  }
}

describe.each(SIZES)("at %dx%d", (columns, rows) => {
  const whole = (shown: Shown): void => {
    const lines = shown.lines();
    expect(lines).toHaveLength(rows);
    expect(Math.max(...lines.map((line) => visibleWidth(line)))).toBeLessThanOrEqual(columns);
    expect(lines.at(-1)).toMatch(/\? help$/);
  };

  test("ids get half the width, and are whole in the details", () => {
    const shown = shownAt(columns, rows, {
      rows: [row(LONG, { mark: " (in pi)" }), row("beta")],
      details: [["Model", LONG]],
    });
    whole(shown);
    const id = /^→ (\S+) \(in pi\)/m.exec(shown.screen)?.[1] ?? "";
    expect(visibleWidth(id) + " (in pi)".length).toBeLessThanOrEqual(columns / 2);
    if (columns < 120) expect(id).toMatch(/^org.*….*M$/);
    // In two columns its lines stand beside others.
    if (columns < 100) expect(shown.screen.replaceAll(/\s/g, "")).toContain(LONG);
  });

  test("details that do not fit have a mark, and scroll to their end and back", () => {
    const shown = shownAt(columns, rows, { rows: MANY.map((id) => row(id)), details: DETAILS, plots: [] });
    whole(shown);
    expect(shown.screen).toMatch(/^ {2}Model 1\/17 /m);
    expect(shown.screen).toMatch(/^… \d+ more lines \(pageDown\)$/m);
    const screens = allScreens(shown);
    for (const [, value] of DETAILS) expect(screens.some((screen) => screen.includes(value))).toBe(true);
    expect(screens[1]).toMatch(/^… \d+ above, \d+ below \(pageUp\/pageDown\)$/m);
    expect(screens.at(-1)).toMatch(/^… \d+ more lines above \(pageUp\)$/m);
    expect(shown.press(...screens.map(() => PAGE_UP)).screen).toBe(screens[0]);
    shown.press(PAGE_DOWN, DOWN);
    expect(shown.screen).toMatch(/^… \d+ more lines \(pageDown\)$/m);
  });

  test.each([
    [
      true,
      [/^r {2}try again now$/m, /^R {2}restart over ssh/m, /^l {2}the unit's journal/m, /^q {2}leave$/m],
    ],
    [false, [/^r {2}try again now$/m, /AI_SERVER_SSH_HOST is not set/, /^q {2}leave$/m]],
  ] as const)("a server that is down shows its fault and what can be done, ssh: %s", (hasSsh, offers) => {
    const down = { rows: [], details: [], inFlight: [], plots: [], isDown: true, hasSsh, trouble: FAULT };
    const shown = shownAt(columns, rows, down);
    whole(shown);
    for (const offer of offers) expect(shown.screen).toMatch(offer);
    const screens = allScreens(shown);
    for (const screen of screens) for (const offer of offers) expect(screen).toMatch(offer);
    expect(screens.at(-1)?.replaceAll(/\s+/g, " ")).toContain("Start it again.");
    expect(shown.lines().at(-1)).toMatch(
      hasSsh ? /^q leave · r retry · R restart · / : /^q leave · r retry · \? help$/,
    );
  });

  test("a fault above a list keeps the list, and scrolls where it is long", () => {
    const shown = shownAt(columns, rows, { rows: MANY.map((id) => row(id)), isDown: true, trouble: FAULT });
    whole(shown);
    expect(shown.screen).toMatch(/TCP|FAILS/);
    expect(shown.screen).toMatch(/^→ org/m);
    expect(allScreens(shown).join(" ").replaceAll(/\s+/g, " ")).toContain("Start it again.");
  });

  test("c shows the present size and an example, and keeps what is no size", () => {
    const shown = shownAt(columns, rows, { rows: [row("alpha", { contextTokens: 131_072 })] });
    const words = (): string => shown.screen.replaceAll(/\s+/g, " ");
    shown.press("c", "6", "4", "x");
    expect(words()).toContain("Context size of alpha: now 128k; for example 64k, or max > 64x");
    expect(words()).toMatch(
      /enter shows the change and asks · ?escape changes nothing|enter shows the change and asks escape changes nothing/,
    );
    shown.press(ENTER);
    expect(words()).toContain(
      '> 64x "64x" is not a context size. Give a number of tokens (65536, 64k, 1m) or max.',
    );
    expect(shown.actions).toEqual([]);
    expect(Math.max(...shown.lines().map((line) => visibleWidth(line)))).toBeLessThanOrEqual(columns);
    shown.press("\u007f", "k", ENTER);
    expect(shown.actions).toEqual([{ kind: "context", id: "alpha", size: "64k" }]);
    whole(shown);
  });
});

test("c is left by Escape, and asks for no size if there can be none", () => {
  const shown = new Shown({
    rows: [row("alpha", { contextTokens: undefined }), row("beta", { offers: [] })],
  });
  shown.press("c");
  expect(shown.screen).toContain("now not known; for example 64k");
  shown.press("q", ENTER, ESCAPE, DOWN, "c");
  expect(shown.actions).toEqual([{ kind: "context", id: "beta" }]);
});

test("letters are text while a filter is typed, and Escape goes back to the model before it", () => {
  const shown = new Shown().press(DOWN, "/", "q", "R", "U", "?", "l");
  expect([shown.actions, shown.place.filter]).toEqual([[], "qRU?l"]);
  shown.press("\u0015", "g", "a");
  expect(shown.screen).toContain("→ gamma");
  expect(shown.press(ESCAPE).screen).toContain("→ beta");
});

test("l shows the journal of a server that is down, with or without a model", () => {
  const down = { isDown: true, trouble: "TCP FAILS" };
  expect(new Shown(down).press("l").actions).toEqual([{ kind: "journal" }]);
  expect(new Shown({ ...down, rows: [] }).press("l", "r").actions).toEqual([
    { kind: "journal" },
    { kind: "refresh" },
  ]);
});

test("the help says each key on a line of 40 columns", () => {
  const { actions } = new Shown().press("?");
  const [lines = []] = actions.flatMap((action) => (action.kind === "help" ? [action.lines] : []));
  const keys = lines.slice(0, lines.indexOf(""));
  expect(keys).toHaveLength(16);
  expect(Math.max(...keys.map((line) => visibleWidth(line)))).toBeLessThanOrEqual(40);
});

test("a heading that is cut ends with an ellipsis", () => {
  const heading = [
    "AI server",
    "live",
    "llama-swap v250",
    "https://ai.example",
    "certificate until 2027-01-02",
  ];
  const lines = shownAt(40, 8, { heading }).lines();
  expect(lines.slice(0, 2)).toEqual(["AI server · live · llama-swap v250", "https://ai.example …"]);
});

test("more loads than two are counted", () => {
  const bars = ["a", "b", "c"].map((id) => ({
    title: `Loading ${id}`,
    words: "1 s",
    fraction: 0.5,
    step: 1,
  }));
  expect(new Shown({ bars }).screen).toMatch(/^Loading b\n.*\n… and 1 more$/m);
});

test("figures stand at the right of their columns", () => {
  const rows = [row("a"), row("b", { cells: ["b", "ready", "128k", "live", "8.5", "never"] })];
  const plots = [
    { name: "GPU", figure: "18.2", words: "of 24 GB", values: [0.7], most: 1 },
    { name: "Host memory", figure: "4", words: "of 64 GB", values: [0.1], most: 1 },
  ];
  const { screen } = new Shown({ rows, plots });
  expect(screen).toMatch(/unloaded {6}64k {2}declared {5}38\n.* ready {8}128k {2}live {8}8\.5/);
  expect(screen).toMatch(/ 18\.2 of 24 GB\n.* {3}4 of 64 GB/);
});
