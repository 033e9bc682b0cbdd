/** JSON answers as a broken, foreign or hostile server gives them: seeded, so that each can be found again. */
import { integer, type Random } from "../support/random.ts";

/** An answer in the place of the right one. */
export interface Mutation {
  what: string;
  /** The kinds of damage in it, by their names in `DAMAGES`; without, `what` is one. */
  damages?: readonly string[];
  status: number;
  type: string;
  body: string;
}

const JSON_TYPE = "application/json";
const EMPTY: Mutation = { what: "empty", status: 200, type: JSON_TYPE, body: "" };
const HOSTILE = "\u001b]0;owned\u0007\u001b[31mred\u009b2J\u202e\r\nsecond line";

function nested(depth: number, open: string, close: string, inside: string): string {
  return open.repeat(depth) + inside + close.repeat(depth);
}

const DEEP_LIST = nested(10_000, "[", "]", "1");
const DEEP_OBJECT = nested(10_000, '{"data":', "}", "[]");

/** The whole answer is another thing. */
export const WHOLE: readonly Mutation[] = [
  ["empty", ""],
  ["null", "null"],
  ["a number", "7"],
  ["a text", '"ok"'],
  ["an empty object", "{}"],
  ["an empty array", "[]"],
  ["an array of nulls", "[null,null]"],
  ["nested lists", DEEP_LIST],
  ["nested objects", DEEP_OBJECT],
  ["not JSON", "{'data': [}"],
  ["cut off", '{"data":[{"id":"small","obj'],
  ["an error in a text", '{"error":"something is wrong"}'],
  ["an error in an object", `{"error":{"message":${JSON.stringify(HOSTILE)},"code":"x"}}`],
].map(([what = "", body = ""]) => ({ what, body, status: 200, type: JSON_TYPE }));

/** Other statuses, each with what stands behind it. */
export const STATUSES: readonly Mutation[] = [
  { what: "a page", status: 200, type: "text/html", body: `<html>${HOSTILE}</html>` },
  { what: "204", status: 204, type: JSON_TYPE, body: "" },
  { what: "301", status: 301, type: "text/html", body: "moved" },
  { what: "500 without a body", status: 500, type: "text/plain", body: "" },
  { what: "500 nested", status: 500, type: JSON_TYPE, body: `{"error":${DEEP_LIST}}` },
  { what: "503 hostile", status: 503, type: "text/plain", body: HOSTILE.repeat(1000) },
];

/** What stands in the place of one value, as JSON; undefined removes it, which servers do most. */
const VALUES: readonly [string, string | undefined][] = [
  ["missing", undefined],
  ["null", "null"],
  ["true", "true"],
  ["-1", "-1"],
  ["1e308", "1e308"],
  ["0.5", "0.5"],
  ["a text", '"text"'],
  ["an empty text", '""'],
  ["a hostile text", JSON.stringify(HOSTILE)],
  ["missing", undefined],
  ["a long text", JSON.stringify("x".repeat(100_000))],
  ["__proto__", '"__proto__"'],
  ["an empty array", "[]"],
  ["an array", '[1,"two",null,{}]'],
  ["an object", '{"a":{"b":[]}}'],
  ["nested lists", DEEP_LIST],
];

/** Every kind of damage, by its name. */
export const DAMAGES: readonly string[] = [
  ...new Set([
    ...WHOLE.map(({ what }) => what),
    ...STATUSES.map(({ what }) => what),
    ...VALUES.map(([what]) => what),
  ]),
];

type Path = (string | number)[];

/** Values changed in one answer: one that hides another is not alone then. */
const AT_ONCE = 3;

function pathsOf(value: unknown, at: Path = []): Path[] {
  if (typeof value !== "object" || value === null) return [at];
  const inside = Object.entries(value).flatMap(([key, inner]) =>
    pathsOf(inner, [...at, Array.isArray(value) ? Number(key) : key]),
  );
  return at.length === 0 ? inside : [at, ...inside];
}

/** A path of this answer: of those that differ in a place of a list alone, one. */
function pickPath(random: Random, paths: readonly Path[]): Path {
  const kinds = Object.values(
    Object.groupBy(paths, (path) => path.filter((key) => typeof key === "string").join(".")),
  );
  const alike = kinds[integer(random, 0, kinds.length - 1)] ?? [];
  return alike[integer(random, 0, alike.length - 1)] ?? [];
}

function replaced(value: unknown, path: Path, by: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return by;
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((inner, at) => (at === key ? replaced(inner, rest, by) : inner));
  const entries = Object.entries(value).map(([name, inner]): [string, unknown] => [
    name,
    name === key ? replaced(inner, rest, by) : inner,
  ]);
  return Object.fromEntries(entries.filter(([, inner]) => inner !== undefined));
}

/**
 * Some values of a right answer are missing, or others. Where is random; what comes in turn, so that none is left out.
 *
 * @param turn counts the mutations
 * @param body of the right answer; not JSON gives an answer as a whole
 */
export function mutated(random: Random, turn: number, body: string): Mutation {
  const right = parsed(body);
  const paths = pathsOf(right);
  if (right === undefined || paths.length === 0) return WHOLE[integer(random, 0, WHOLE.length - 1)] ?? EMPTY;
  const said: string[] = [];
  const damages: string[] = [];
  const texts: string[] = [];
  let changed: unknown = right;
  for (let at = 0; at < AT_ONCE; at += 1) {
    const path = pickPath(random, paths);
    const [what, text] = VALUES[(turn * AT_ONCE + at) % VALUES.length] ?? ["null", "null"];
    said.push(`${path.join(".")}: ${what}`);
    damages.push(what);
    texts.push(text ?? "");
    changed = replaced(changed, path, text === undefined ? undefined : `<mark ${at}>`);
  }
  // Put in as text: what is nested this deep cannot be written by JSON.stringify.
  const marked = JSON.stringify(changed).replace(/"<mark (\d)>"/g, (_, at) => texts[Number(at)] ?? "null");
  return { what: said.join("; "), damages, status: 200, type: JSON_TYPE, body: marked };
}

/**
 * One frame of a stream of events is not what it should be: its JSON, or where that holds JSON in a text, the inner.
 *
 * @param turn counts the mutations
 * @param body of the stream, its frames one after another
 */
export function mutatedEvents(random: Random, turn: number, body: string): Mutation {
  const frames = [...body.matchAll(/^data: ?(\{.*)$/gm)];
  const frame = frames[integer(random, 0, frames.length - 1)];
  if (frame?.[1] === undefined) throw new Error("there is no frame");
  const inner = Object(parsed(frame[1])).data;
  const isInner = typeof inner === "string" && random() < 0.7;
  const { body: text, ...mutation } = mutated(random, turn, isInner ? inner : frame[1]);
  const json = isInner ? JSON.stringify({ ...parsed(frame[1]), data: text }) : text.replaceAll("\n", "");
  const changed = `${body.slice(0, frame.index)}data: ${json}${body.slice(frame.index + frame[0].length)}`;
  const what = `frame ${frame.index}: ${mutation.what}`;
  return { ...mutation, what, type: "text/event-stream", body: changed };
}

/**
 * The first list of objects in an answer is far longer than any server has one: its last entry again and again, each
 * under another name.
 *
 * @returns undefined where the answer has no such list
 */
export function hugeList(body: string, length: number): Mutation | undefined {
  const [key, entries] =
    Object.entries(parsed(body) ?? {}).find(([, value]) => Array.isArray(value) && value.length > 0) ?? [];
  const last: unknown = Array.isArray(entries) ? entries.at(-1) : undefined;
  if (key === undefined || typeof last !== "object") return undefined;
  const renamed = (at: number): object => {
    const names = ["id", "model", "name", "key"].filter((name) => name in Object(last));
    return { ...last, ...Object.fromEntries(names.map((name) => [name, `m${at}`])) };
  };
  const list = Array.from({ length }, (_, at) => renamed(at));
  const text = JSON.stringify({ ...parsed(body), [key]: list });
  return { what: `${length} entries`, status: 200, type: JSON_TYPE, body: text };
}

function parsed(body: string): object | undefined {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
