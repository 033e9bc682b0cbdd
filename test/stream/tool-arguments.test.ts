import { StreamingJsonParser } from "@earendil-works/pi-ai";
import { describe, expect, it, vi } from "vitest";
import { ToolArguments } from "../../stream/tool-arguments.ts";
import { integer, type Random, RUNS, randomObject, randomText, seeded } from "../support/random.ts";

/** The text in pieces of one to `longest` characters, cut anywhere. */
function pieces(text: string, random: Random, longest = 5): string[] {
  const cut: string[] = [];
  for (let at = 0; at < text.length; ) {
    const length = integer(random, 1, longest);
    cut.push(text.slice(at, at + length));
    at += length;
  }
  return cut;
}

function spelled(value: unknown, random: Random): string {
  const compact = JSON.stringify(value, null, random() < 0.5 ? 2 : 0);
  // Servers may escape every character that is not ASCII.
  if (random() < 0.5) return compact;
  return compact.replace(
    /[\u0080-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

describe("whole arguments", () => {
  it("are what JSON.parse gives, in the preview and at the end", () => {
    for (let seed = 1; seed <= 1000; seed += 1) {
      const random = seeded(seed);
      const text = spelled(randomObject(random, 4), random);
      const reader = new ToolArguments();
      let preview: unknown;
      for (const piece of pieces(text, random)) preview = reader.append(piece);
      expect(preview, `preview of seed ${seed}`).toEqual(JSON.parse(text));
      // Spelled out, so that keys such as __proto__ count.
      const whole = JSON.stringify(JSON.parse(text));
      expect(JSON.stringify(preview), `preview of seed ${seed}`).toBe(whole);
      expect(JSON.stringify(reader.finish()), `seed ${seed}`).toBe(`{"arguments":${whole}}`);
    }
  });

  it("that are empty are an empty object", () => {
    const reader = new ToolArguments();
    expect(reader.append(" \n")).toEqual({});
    expect(reader.finish()).toEqual({ arguments: {} });
  });

  it.each(["[1]", '"text"', "7", "null", "true"])("%s are no object", (text) => {
    const reader = new ToolArguments();
    reader.append(text);
    expect(reader.finish()).toEqual({ arguments: {}, error: "The arguments are JSON, but not an object." });
  });

  it.each(['{"a":', '{"a":1}}', "{'a':1}", "{} {}", "bare"])("%s are not valid JSON", (text) => {
    const reader = new ToolArguments();
    reader.append(text);
    expect(reader.finish()).toEqual({
      arguments: {},
      error: expect.stringMatching(/^The arguments are not valid JSON: ./),
    });
  });
});

describe("the preview", () => {
  it("shows a string, a number and a literal as far as they came, and never changes an earlier preview", () => {
    const reader = new ToolArguments();
    const seen = ['{"pa', 'th": "a', "b\\", "nc", '", "n": 1', "2", ', "on": tr', "ue}"].map((piece) =>
      reader.append(piece),
    );
    expect(seen).toEqual([
      {},
      { path: "a" },
      { path: "ab" },
      { path: "ab\nc" },
      { path: "ab\nc", n: 1 },
      { path: "ab\nc", n: 12 },
      { path: "ab\nc", n: 12, on: true },
      { path: "ab\nc", n: 12, on: true },
    ]);
  });

  it("takes __proto__ as a key like any other", () => {
    const reader = new ToolArguments();
    const preview = reader.append('{"__proto__": {"polluted": true}, "in": {"__proto__": [1]}}');
    expect(Object.keys(preview)).toEqual(["__proto__", "in"]);
    expect(Object.getPrototypeOf(preview)).toBe(Object.prototype);
    expect(Reflect.get({}, "polluted")).toBeUndefined();
  });

  it("stops at a nesting of 64 levels, and the end is still whole", () => {
    const text = `{"a":${"[".repeat(1000)}${"]".repeat(1000)}}`;
    const reader = new ToolArguments();
    let preview: unknown;
    for (const piece of pieces(text, seeded(1), 50)) preview = reader.append(piece);
    expect(JSON.stringify(preview).length).toBeLessThan(200);
    expect(JSON.stringify(reader.finish())).toBe(`{"arguments":${text}}`);
  });
});

describe("damaged arguments", () => {
  it("never throw, at any prefix", () => {
    for (let seed = 1; seed <= 600 * RUNS; seed += 1) {
      const random = seeded(seed);
      const text = spelled(randomObject(random, 4), random);
      const at = integer(random, 0, text.length);
      const damaged = text.slice(0, at) + randomText(random) + text.slice(at + integer(random, 0, 4));
      const reader = new ToolArguments();
      for (const piece of pieces(damaged, random)) {
        const preview: unknown = reader.append(piece);
        // An assertion for each of so many pieces would take most of the time.
        if (typeof preview !== "object") expect.fail(`seed ${seed}: ${preview}`);
      }
      const { arguments: args, error } = reader.finish();
      expect(error === undefined || Object.keys(args).length === 0, `seed ${seed}`).toBe(true);
    }
  });
});

describe("the end of the arguments", () => {
  it.each([
    [["{", '"a":"}"', ","], false],
    [['{"a":"\\', '""', "}"], true],
    [["[1", ",{}]"], true],
    [["7"], false],
  ])("after %j is seen: %s", (given, isWhole) => {
    const reader = new ToolArguments();
    for (const piece of given) reader.append(piece);
    expect(reader.isWhole).toBe(isWhole);
  });
});

/** The benchmark `toolArgsGrowth` measures that the cost is linear. */
it("hands each piece to the parser once", () => {
  const append = vi.spyOn(StreamingJsonParser.prototype, "append");
  const reader = new ToolArguments();
  const text = `{"content":"${"line\\n".repeat(1000)}"}`;
  for (const piece of pieces(text, seeded(1))) reader.append(piece);
  const read = append.mock.calls.reduce((sum, [piece]) => sum + piece.length, 0);
  append.mockRestore();
  expect(read).toBe(text.length);
});
