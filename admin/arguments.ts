/** Reads the arguments of a command. Pure; a sentence says why one cannot be read. */
import leven from "leven";
import { MAX_TOKENS } from "../host/config/context-setting.ts";
import { shown } from "../host/config/refusals.ts";
import { ServerError } from "../lib/errors.ts";

/** `rest` is what follows the id, trimmed. */
export type ReadId = { id: string; rest: string } | { unknown: string; rest: string; nearest: string[] };

const MAX_NEAREST = 3;

/** A quote inside, as in `"it's"` or `'it's'`, ends nothing. */
const QUOTED = /^(["'])(.*?)\1(?=\s|$)/s;

/** The longest known id that `text` begins with, and that ends there at white space or with the text. */
function longestKnown(text: string, ids: readonly string[]): string | undefined {
  let longest: string | undefined;
  for (const id of ids) {
    const isLonger = id !== "" && id.length > (longest?.length ?? 0);
    if (isLonger && text.startsWith(id) && /^(?:\s|$)/.test(text.slice(id.length))) longest = id;
  }
  return longest;
}

/** A quoted word without its quotes, or else the first word. */
function firstWord(text: string): { word: string; rest: string } {
  const quoted = QUOTED.exec(text);
  const taken = quoted?.[0] ?? /^\S*/.exec(text)?.[0] ?? "";
  return { word: quoted?.[2] ?? taken, rest: text.slice(taken.length).trim() };
}

/**
 * Reads the model id at the beginning of an argument text. Ids may hold white space and quotes: the longest known
 * id wins, then a quoted word, then the first word.
 *
 * @returns undefined when there is no argument
 */
export function readId(text: string, ids: readonly string[]): ReadId | undefined {
  const trimmed = text.trim();
  if (trimmed === "") return undefined;
  const known = longestKnown(trimmed, ids);
  if (known !== undefined) return { id: known, rest: trimmed.slice(known.length).trim() };
  const { word, rest } = firstWord(trimmed);
  if (word !== "" && ids.includes(word)) return { id: word, rest };
  return { unknown: word, rest, nearest: nearestIds(word, ids) };
}

/** The ids of models by their other names. */
export type Aliases = ReadonlyMap<string, string>;

/**
 * The same, where only a known model will do: by its id, by an alias, or by the beginning of the only id that begins so,
 * in upper or lower case.
 *
 * @throws {ServerError} for an unknown one
 */
export function readKnownId(
  text: string,
  ids: readonly string[],
  aliases: Aliases = new Map(),
): { id: string; rest: string } | undefined {
  const read = readId(text, [...ids, ...aliases.keys()]);
  if (read === undefined) return undefined;
  if ("id" in read)
    return { ...read, id: ids.includes(read.id) ? read.id : (aliases.get(read.id) ?? read.id) };
  const beginning = read.unknown.toLowerCase();
  const meant = new Set(ids.filter((id) => id.toLowerCase().startsWith(beginning)));
  const [only] = meant;
  if (beginning !== "" && meant.size === 1 && only !== undefined) return { id: only, rest: read.rest };
  throw unknownId(read.unknown, read.nearest);
}

/** How an id is typed so that `readId` finds it again; undefined where no way of quoting it does. */
export function typedId(id: string, ids: readonly string[]): string | undefined {
  return [id, `"${id}"`, `'${id}'`].find((typed) => {
    const read = readId(typed, ids);
    return read !== undefined && "id" in read && read.id === id && read.rest === "";
  });
}

/** 0 is the same but for upper and lower case; undefined is too far to be meant. */
function distance(word: string, id: string): number | undefined {
  if (word === id) return 0;
  if (id.startsWith(word)) return 1;
  if (id.includes(word) || (id.length > 2 && word.includes(id))) return 2;
  const maxDistance = Math.floor((word.length + 1) / 3);
  // The beginning alone counts too: an id is seldom typed to its end.
  const edits = Math.min(
    ...[id, id.slice(0, word.length)].map((part) => leven(word, part, { maxDistance: maxDistance + 1 })),
  );
  return edits > maxDistance ? undefined : 2 + edits;
}

/** Up to three known ids that may be meant, the likeliest first: by contained text, then by typing errors. */
function nearestIds(unknown: string, ids: readonly string[]): string[] {
  const word = unknown.trim().toLowerCase();
  if (word === "") return [];
  const surplus = (id: string): number => Math.abs(id.length - word.length);
  return [...new Set(ids)]
    .flatMap((id) => {
      const away = distance(word, id.toLowerCase());
      return away === undefined ? [] : [{ id, away }];
    })
    .sort((a, b) => a.away - b.away || surplus(a.id) - surplus(b.id))
    .slice(0, MAX_NEAREST)
    .map(({ id }) => id);
}

export function unknownId(unknown: string, nearest: readonly string[]): ServerError {
  const choice = new Intl.ListFormat("en-GB", { type: "disjunction" }).format(nearest.map(shown));
  const next = nearest.length > 0 ? `Did you mean ${choice}?` : "/ai-server-status lists the models.";
  return new ServerError(`No model ${shown(unknown)}. ${next}`, { link: "model" });
}

const UNITS: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["k", 1024],
  ["m", 1024 * 1024],
]);

/** A comma must separate thousands: `1,5` is no number of tokens. An underscore may stand between any two digits. */
const THOUSANDS = /^(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+(?:_[0-9]+)+)(?![0-9,_])/;

/**
 * A context size in tokens: digits, or with `k` (1024) or `m` (1024²), also with a fraction (`1.5k`) or with thousands
 * apart (`65,536`, `65_536`).
 *
 * @returns undefined for anything else than a whole number of tokens from 1 to 2³¹ − 1
 */
export function parseSize(text: string): number | undefined {
  const plain = text.trim().replace(THOUSANDS, (number) => number.replaceAll(/[,_]/g, ""));
  const parts = /^([0-9]{1,12}(?:\.[0-9]{1,6})?)([km]?)$/i.exec(plain);
  const unit = UNITS.get(parts?.[2]?.toLowerCase() ?? "");
  if (parts?.[1] === undefined || unit === undefined) return undefined;
  const tokens = Number(parts[1]) * unit;
  return Number.isInteger(tokens) && tokens >= 1 && tokens <= MAX_TOKENS ? tokens : undefined;
}

/** In place of a size: the largest that fits. */
export const LARGEST = "max";

/** The same, or the word for the largest that fits. */
export function parseSizeOrLargest(text: string): number | typeof LARGEST | undefined {
  return text.trim().toLowerCase() === LARGEST ? LARGEST : parseSize(text);
}

export function wrongSize(text: string): ServerError {
  return new ServerError(
    `${shown(text)} is not a context size. Give a number of tokens (65536, 64k, 1m) or max.`,
    { link: "configuration" },
  );
}

/**
 * Takes flags such as `--ssh` out of an argument text, before or after the id; in an id that contains one it stays.
 *
 * @returns the flags given, and the text without them, trimmed
 */
export function readFlags<Flag extends string>(
  text: string,
  flags: readonly Flag[],
  ids: readonly string[],
): { given: ReadonlySet<Flag>; text: string } {
  const given = new Set<Flag>();
  const longer = ids.filter((id) => !flags.some((flag) => flag === id));
  let rest = text.trim();

  const first = (): Flag | undefined =>
    longestKnown(rest, longer) === undefined
      ? flags.find((flag) => longestKnown(rest, [flag]) !== undefined)
      : undefined;
  for (let flag = first(); flag !== undefined; flag = first()) {
    given.add(flag);
    rest = rest.slice(flag.length).trim();
  }

  const idLength = longestKnown(rest, longer)?.length ?? QUOTED.exec(rest)?.[0].length ?? 0;
  const last = (): Flag | undefined => flags.find((flag) => endsWithWord(rest.slice(idLength), flag));
  for (let flag = last(); flag !== undefined; flag = last()) {
    given.add(flag);
    rest = rest.slice(0, -flag.length).trimEnd();
  }
  return { given, text: rest };
}

function endsWithWord(text: string, word: string): boolean {
  return text.endsWith(word) && /\s$/.test(text.slice(0, -word.length));
}
