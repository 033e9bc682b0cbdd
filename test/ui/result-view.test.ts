import { stripVTControlCharacters } from "node:util";
import { visibleWidth } from "@earendil-works/pi-tui";
import { describe, expect, test } from "vitest";
import { modelDetails, statusTable } from "../../admin/model-words.ts";
import { plainLines, type Result } from "../../ui/result.ts";
import { ResultView } from "../../ui/result-view.ts";
import { facts } from "../support/model-facts.ts";

type Colours = ConstructorParameters<typeof ResultView>[1];

/** Colours as words, to be read. */
const WORDS = {
  fg: (colour: string, text: string) => `<${colour}>${text}</>`,
  bold: (text: string) => `<bold>${text}</>`,
} as unknown as Colours;

/** Colours as a terminal gets them. */
const ANSI = {
  fg: (_colour: string, text: string) => `\u001b[31m${text}\u001b[39m`,
  bold: (text: string) => `\u001b[1m${text}\u001b[22m`,
} as unknown as Colours;

const MODELS = [
  facts({ id: "Qwen3.6-35B-A3B-Instruct-Q4_K_M", state: "ready" }),
  facts({ id: "slow", state: "starting", context: { value: 32_768, source: "default" } }),
  facts({ id: "bad", state: "unloaded", failure: { exitCode: 1 } }),
  facts({ id: "模型", state: "unloaded", ttlSeconds: undefined }),
];

const TABLE: Result = {
  level: "info",
  heading: "https://ai.example.org:8443/llama-swap · llama-swap v217 · cannot load or unload on request",
  content: (width, style) => statusTable(MODELS, width, [], style),
};

const AROUND = {
  running: {
    id: "a",
    state: "ready",
    commandLine: `llama-server --port 1 -m ${"x".repeat(90)} -c 8192 \\\n -np 2`,
  },
  lastLoadMs: 83_000,
  description: {
    text: "A model for code, and for much else besides.",
    aliases: ["b"],
    peer: undefined,
    targets: [],
  },
  address: "https://ai.example.org:8443/llama-swap",
} as const;

const DETAILS: Result = {
  level: "info",
  content: (width, style) => modelDetails(facts(), AROUND, width, style),
};

const ERROR: Result = { level: "error", content: `It failed: ${"word ".repeat(40)}\n${"x".repeat(200)}` };

describe("a result in the terminal", () => {
  test.each([1, 10, 40, 60, 80, 120])("has no line that is wider than %i columns", (width) => {
    for (const result of [TABLE, DETAILS, ERROR]) {
      const lines = new ResultView(() => result, ANSI).render(width);
      for (const line of lines) expect(visibleWidth(line)).toBeLessThanOrEqual(width);
    }
  });

  test("is laid out again when the width changes, and is the same array while it does not", () => {
    const view = new ResultView(() => TABLE, WORDS);
    const wide = view.render(120);
    expect(view.render(120)).toBe(wide);
    const narrow = view.render(50);
    expect(wide.join("\n")).toContain("Thinking");
    expect(narrow.join("\n")).not.toContain("Thinking");
    expect(view.render(120)).toEqual(wide);
  });

  test("has its heading apart, and the states and what is unknown in their colours", () => {
    const [heading, gap, titles, ...rows] = new ResultView(() => TABLE, WORDS).render(1000);
    expect(heading).toMatch(/^ <accent><bold>https.*<\/><\/>$/);
    expect([gap?.trim(), titles?.trim()]).toEqual([
      "",
      expect.stringMatching(/^<muted>Model<\/> +<muted>State/),
    ]);
    expect(rows[0]).toMatch(/Q4_K_M {2}<success>ready<\/> +128k +live/);
    expect(rows[1]).toMatch(/slow +<warning>starting<\/> +<muted>–<\/> +<muted>–<\/>/);
    expect(rows[2]).toMatch(/bad +<error>failed<\/>/);
    expect(rows[3]).toMatch(/模型 +<muted>unloaded<\/>.*<muted>–<\/>/);
  });

  test("has long values of a model beside their titles", () => {
    const lines = new ResultView(() => DETAILS, ANSI).render(60).map(stripVTControlCharacters);
    expect(lines[0]).toBe(" a");
    const at = lines.findIndex((line) => line.includes("Command"));
    expect(lines[at]).toMatch(/^ {3}Command {4}llama-server/);
    expect(lines.slice(at + 1).length).toBeGreaterThan(1);
    for (const line of lines.slice(at + 1)) expect(line).toMatch(/^ {14,15}\S/);
  });

  test.each<[Result["level"], RegExp]>([
    ["info", /^ It\n is\.$/],
    ["warning", /^ <warning>It<\/>\n <warning>is\.<\/>$/],
    ["error", /^ <error>It<\/>\n <error>is\.<\/>$/],
  ])("as text of the level %s is in its colour", (level, lines) => {
    expect(new ResultView(() => ({ level, content: "It\nis." }), WORDS).render(80).join("\n")).toMatch(lines);
  });

  test("steers no terminal, whatever the text holds", () => {
    const hostile = "a\u001b[2Jb\u001b]0;title\u0007c\u0008d";
    const lines = new ResultView(() => ({ level: "info", heading: hostile, content: hostile }), WORDS).render(
      80,
    );
    expect(lines).toEqual([" <accent><bold>abcd</></>", " ", " abcd"]);
  });
});

test("elsewhere it is plain text, and a long value stays on its line", () => {
  expect(plainLines(TABLE, 120).join("")).not.toMatch(/\p{Cc}/u);
  expect(plainLines(DETAILS, 60).find((line) => line.includes("Command"))?.length).toBeGreaterThan(100);
});
