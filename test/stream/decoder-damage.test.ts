import { describe, expect, it } from "vitest";
import { FakeClock } from "../support/clock.ts";
import { decode, expectBalanced, recordings } from "../support/decoding.ts";
import { integer, pick, type Random, RUNS, seeded } from "../support/random.ts";
import { FakeServer, turnOn } from "../support/turns.ts";

const SMALL = recordings().filter(([, bytes]) => bytes.length < 9000);

type Damage = (bytes: Buffer, random: Random) => Buffer;
type NamedDamage = readonly [name: string, damage: Damage];

const text = (change: (stream: string, random: Random) => string): Damage => {
  return (bytes, random) => Buffer.from(change(bytes.toString("latin1"), random), "latin1");
};

const lines = (change: (all: string[], random: Random) => string[]): Damage =>
  text((stream, random) => change(stream.split("\n"), random).join("\n"));

const anywhere = (random: Random, items: readonly unknown[]): number =>
  integer(random, 0, Math.max(0, items.length - 1));

const DAMAGES: readonly [NamedDamage, ...NamedDamage[]] = [
  ["cut at the end", (bytes, random) => bytes.subarray(0, integer(random, 0, bytes.length))],
  ["cut at the beginning", (bytes, random) => bytes.subarray(integer(random, 0, bytes.length))],
  [
    "a piece lost",
    (bytes, random) => {
      const from = integer(random, 0, bytes.length);
      return Buffer.concat([bytes.subarray(0, from), bytes.subarray(from + integer(random, 1, 300))]);
    },
  ],
  [
    "two lines swapped",
    lines((all, random) => {
      const [a, b] = [anywhere(random, all), anywhere(random, all)];
      [all[a], all[b]] = [all[b] ?? "", all[a] ?? ""];
      return all;
    }),
  ],
  [
    "lines repeated",
    lines((all, random) =>
      all.toSpliced(anywhere(random, all), 0, ...all.slice(anywhere(random, all)).slice(0, 5)),
    ),
  ],
  [
    "bytes flipped",
    (bytes, random) => {
      const flipped = Buffer.from(bytes);
      for (let count = integer(random, 1, 6); count > 0; count -= 1) {
        const at = integer(random, 0, flipped.length - 1);
        flipped[at] = (flipped[at] ?? 0) ^ (1 << integer(random, 0, 7));
      }
      return flipped;
    },
  ],
  ["CRLF", text((stream) => stream.replaceAll("\n", "\r\n"))],
  [
    "mixed line ends",
    text((stream, random) => stream.replace(/\n/g, () => pick(random, ["\n", "\r\n", "\r"]))),
  ],
  ["a BOM", (bytes, random) => Buffer.concat([Buffer.from("\ufeff".repeat(integer(random, 1, 2))), bytes])],
  [
    "missing blank lines",
    text((stream, random) => stream.replace(/\n\n/g, (end) => (random() < 0.3 ? "\n" : end))),
  ],
  [
    "random bytes in between",
    (bytes, random) => {
      const at = integer(random, 0, bytes.length);
      const noise = Buffer.from(
        Array.from({ length: integer(random, 1, 40) }, () => integer(random, 0, 255)),
      );
      return Buffer.concat([bytes.subarray(0, at), noise, bytes.subarray(at)]);
    },
  ],
  [
    "values of other types",
    text((stream, random) =>
      stream.replace(/:("[^"]*"|\d+|null|\[\]|\{\})/g, (value) =>
        random() < 0.05
          ? `:${pick(random, ["null", "7", '"x"', "[]", "{}", "true", "[null]", "1e999", '{"error":1}'])}`
          : value,
      ),
    ),
  ],
];

/** The recordings and damages that each test below must have tried. */
const EVERYTHING = [...SMALL, ...DAMAGES].map(([name]) => name).sort();
/** With AI_SERVER_TEST_RUNS that many times as many. */
const STREAMS = 1500;
const TURNS = 200;

/** A recording with one damage or several, in pieces of any length. */
function damaged(seed: number): { what: string; tried: string[]; pieces: Buffer[] } {
  const random = seeded(seed);
  const [name, bytes] = SMALL[seed % SMALL.length] ?? ["none", Buffer.alloc(0)];
  let stream = bytes;
  const names: string[] = [];
  for (let count = integer(random, 1, 3); count > 0; count -= 1) {
    const [kind, damage] = pick(random, DAMAGES);
    names.push(kind);
    if (stream.length > 0) stream = damage(stream, random);
  }
  const pieces: Buffer[] = [];
  const longest = pick(random, [3, 50, 2000, 100_000] as const);
  for (let at = 0; at < stream.length; ) {
    const length = integer(random, 1, longest);
    pieces.push(stream.subarray(at, at + length));
    at += length;
  }
  return { what: `seed ${seed} (${name}: ${names.join(", ")})`, tried: [name, ...names], pieces };
}

describe("a damaged stream", () => {
  it("ends in one way, and the decoder throws nothing but a sentence", () => {
    const ends = new Set<string>();
    const all = new Set<string>();
    for (let seed = 1; seed <= STREAMS * RUNS; seed += 1) {
      const { what, tried, pieces } = damaged(seed);
      for (const name of tried) all.add(name);
      let decoded: ReturnType<typeof decode>;
      try {
        decoded = decode(pieces);
        expectBalanced(decoded);
      } catch (error) {
        throw new Error(what, { cause: error });
      }
      const { error, message } = decoded;
      ends.add(error === undefined ? message.stopReason : error.link);
      const { input, output, cacheRead, totalTokens } = message.usage;
      const figures = [input, output, cacheRead, totalTokens];
      if (!figures.every((figure) => Number.isFinite(figure) && figure >= 0))
        expect.fail(`${what}: ${figures}`);
      if (error === undefined) expect(["stop", "length", "toolUse"], what).toContain(message.stopReason);
    }
    // The damages must not all be harmless, nor all deadly.
    expect([...ends]).toEqual(expect.arrayContaining(["length", "stop", "stream", "toolUse"]));
    expect([...all].sort()).toEqual(EVERYTHING);
  });

  it("ends a whole turn in one terminal event, and leaves nothing behind", async () => {
    const all = new Set<string>();
    for (let seed = 1; seed <= TURNS * RUNS; seed += 1) {
      const { what, tried, pieces } = damaged(seed);
      for (const name of tried) all.add(name);
      const clock = new FakeClock();
      const server = new FakeServer(clock);
      const end = seed % 3 === 0 ? "lost" : "whole";
      // The second answer is for turns whose first broke off before any content.
      server.answers.push({ pieces, end }, { pieces, end });
      const { events, message } = await turnOn(server, clock).catch((error: unknown) => {
        throw new Error(what, { cause: error });
      });
      if (events.at(-1) === "done") expect(message.errorMessage, what).toBeUndefined();
      else
        expect(message, what).toMatchObject({
          stopReason: "error",
          errorMessage: expect.stringMatching(/^(The |127\.0\.0\.1:9 |context_length_exceeded: )/),
        });
    }
    expect([...all].sort()).toEqual(EVERYTHING);
  });
});
