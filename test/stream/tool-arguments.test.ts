import { afterEach, describe, expect, it, vi } from "vitest";
import { PartialJson } from "../../stream/tool-arguments.ts";
import { integer, type Random, randomObject, randomText, seeded } from "../support/random.ts";

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
      const reader = new PartialJson();
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
    const reader = new PartialJson();
    expect(reader.append(" \n")).toEqual({});
    expect(reader.finish()).toEqual({ arguments: {} });
  });

  it.each(["[1]", '"text"', "7", "null", "true"])("%s are no object", (text) => {
    const reader = new PartialJson();
    reader.append(text);
    expect(reader.finish()).toEqual({ arguments: {}, error: "The arguments are JSON, but not an object." });
  });

  it.each(['{"a":', '{"a":1}}', "{'a':1}", "{} {}", "bare"])("%s are not valid JSON", (text) => {
    const reader = new PartialJson();
    reader.append(text);
    expect(reader.finish()).toEqual({
      arguments: {},
      error: expect.stringMatching(/^The arguments are not valid JSON: ./),
    });
  });
});

/** Whether every value of `earlier` is still in `later`, as it was or grown. */
function grew(earlier: unknown, later: unknown): boolean {
  if (typeof earlier === "string") return typeof later === "string" && later.startsWith(earlier);
  if (Array.isArray(earlier))
    return Array.isArray(later) && earlier.every((item, at) => at < later.length && grew(item, later[at]));
  if (typeof earlier !== "object" || earlier === null) return Object.is(earlier, later);
  if (typeof later !== "object" || later === null) return false;
  return Object.entries(earlier).every(
    ([key, value]) => Object.hasOwn(later, key) && grew(value, Reflect.get(later, key)),
  );
}

describe("the preview", () => {
  it("only ever grows", () => {
    for (let seed = 1; seed <= 500; seed += 1) {
      const random = seeded(seed);
      const reader = new PartialJson();
      let before = structuredClone(reader.append(""));
      for (const piece of pieces(spelled(randomObject(random, 4), random), random)) {
        const after = reader.append(piece);
        expect(grew(before, after), `seed ${seed}: ${JSON.stringify([before, after])}`).toBe(true);
        before = structuredClone(after);
      }
    }
  });

  it("shows a string while it grows, and a number once it is whole", () => {
    const reader = new PartialJson();
    const seen = ['{"pa', 'th": "a', "b\\", "nc", '", "n": 1', "2", ', "on": tr', "ue}"].map((piece) =>
      structuredClone(reader.append(piece)),
    );
    expect(seen).toEqual([
      {},
      { path: "a" },
      { path: "ab" },
      { path: "ab\nc" },
      { path: "ab\nc" },
      { path: "ab\nc" },
      { path: "ab\nc", n: 12 },
      { path: "ab\nc", n: 12, on: true },
    ]);
  });

  it("is another object each time", () => {
    const reader = new PartialJson();
    expect(reader.append('{"a":"b')).not.toBe(reader.append("c"));
  });

  it("takes __proto__ as a key like any other", () => {
    const reader = new PartialJson();
    const preview = reader.append('{"__proto__": {"polluted": true}, "in": {"__proto__": [1]}}');
    expect(Object.keys(preview)).toEqual(["__proto__", "in"]);
    expect(Object.getPrototypeOf(preview)).toBe(Object.prototype);
    expect(Reflect.get({}, "polluted")).toBeUndefined();
  });

  it("of deeper nesting than anybody needs stops, and the end is still whole", () => {
    const text = `{"a":${"[".repeat(1000)}${"]".repeat(1000)}}`;
    const reader = new PartialJson();
    for (const piece of pieces(text, seeded(1), 50)) reader.append(piece);
    expect(JSON.stringify(reader.finish())).toBe(`{"arguments":${text}}`);
  });
});

describe("damaged arguments", () => {
  it("never throw, at any prefix", () => {
    for (let seed = 1; seed <= 2000; seed += 1) {
      const random = seeded(seed);
      const text = spelled(randomObject(random, 4), random);
      const at = integer(random, 0, text.length);
      const damaged = text.slice(0, at) + randomText(random) + text.slice(at + integer(random, 0, 4));
      const reader = new PartialJson();
      for (const piece of pieces(damaged, random)) expect(reader.append(piece)).toBeTypeOf("object");
      const { arguments: args, error } = reader.finish();
      expect(error === undefined || Object.keys(args).length === 0, `seed ${seed}`).toBe(true);
    }
  });
});

describe("the cost", () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  /** Characters that are handed to the reader's patterns for a text that comes in pieces of four. */
  function charactersRead(text: string): number {
    let read = 0;
    const test = RegExp.prototype.test;
    const spy = vi.spyOn(RegExp.prototype, "test").mockImplementation(function (this: RegExp, piece: string) {
      read += piece.length;
      return test.call(this, piece);
    });
    const reader = new PartialJson();
    for (let at = 0; at < text.length; at += 4) reader.append(text.slice(at, at + 4));
    spy.mockRestore();
    return read;
  }

  it.each([
    ["a long string", (length: number) => `{"content":"${"line\\n".repeat(length / 6)}"}`],
    ["many items", (length: number) => `{"items":[${'"item", 12, '.repeat(length / 12)}0]}`],
    ["a number without end", (length: number) => `{"n":${"1".repeat(length)}}`],
    ["garbage without end", (length: number) => "x".repeat(length)],
    ["a key without end", (length: number) => `{"${"k".repeat(length)}":1}`],
    ["escapes without end", (length: number) => `{"u":"${"\\u00e4".repeat(length / 6)}"}`],
  ])("of %s is linear", (_what, make) => {
    const [small, large] = [charactersRead(make(6000)), charactersRead(make(24_000))];
    expect(small).toBeGreaterThan(1000);
    expect(large / small).toBeLessThan(4.4);
  });
});
