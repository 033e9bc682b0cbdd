/** Random values that are the same in every run: a failing case can be found again by its seed. */

/** AI_SERVER_TEST_RUNS, or 1: above 1, a test that tries some of many cases tries more of them. */
export const RUNS = Math.max(1, Number(process.env.AI_SERVER_TEST_RUNS ?? 1) || 1);

export type Random = () => number;

/** Numbers from 0 to below 1 (mulberry32). */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** A whole number from `from` to `to`, both included. */
export function integer(random: Random, from: number, to: number): number {
  return from + Math.floor(random() * (to - from + 1));
}

export function pick<T>(random: Random, items: readonly [T, ...T[]]): T {
  return items[integer(random, 0, items.length - 1)] ?? items[0];
}

export function shuffled<T>(random: Random, items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

const PIECES = [
  "a",
  "Ü",
  "\n",
  '"',
  "\\",
  "/",
  "{",
  "}",
  "\u0001",
  "😀",
  "日本",
  " ",
  "\u2028",
  "e\u0301",
] as const;

export function randomText(random: Random, longest = 12): string {
  return Array.from({ length: integer(random, 0, longest) }, () => pick(random, PIECES)).join("");
}

/** Any JSON value; objects among them have keys of every kind, those that JavaScript treats specially too. */
export function randomJson(random: Random, depth = 3): unknown {
  const kind = integer(random, 0, depth > 0 ? 7 : 5);
  switch (kind) {
    case 0:
      return null;
    case 1:
      return random() < 0.5;
    case 2:
      return integer(random, -1000, 1000);
    case 3:
      return pick(random, [0, -0.5, 1e21, 1e-7, 123456.789, 9007199254740991] as const);
    case 4:
    case 5:
      return randomText(random);
    case 6:
      return Array.from({ length: integer(random, 0, 4) }, () => randomJson(random, depth - 1));
    default:
      return randomObject(random, depth - 1);
  }
}

const KEYS = [
  "a",
  "b",
  "path",
  "0",
  "10",
  "",
  "constructor",
  "toString",
  "__proto__",
  "Ä ö",
  "content",
] as const;

export function randomObject(random: Random, depth = 3): Record<string, unknown> {
  const entries = Array.from({ length: integer(random, 0, 5) }, (): [string, unknown] => [
    random() < 0.7 ? pick(random, KEYS) : randomText(random, 6),
    randomJson(random, depth),
  ]);
  return Object.fromEntries(entries);
}
