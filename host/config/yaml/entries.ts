/** The entries of YAML's mappings and lists as stretches of the text: which lines they take, and how one goes. */
import { isCollection, isPair, isScalar, type Pair, type Scalar, type YAMLMap, type YAMLSeq } from "yaml";
import { commentAbove, type Line, linesOf, withGap } from "../text-lines.ts";
import type { Edit, Span } from "../traced-text.ts";
import { endOfLine } from "./own-command.ts";

export type Collection = YAMLMap | YAMLSeq;

/** Anchors and tags before a node. */
const PROPERTIES = /(?:[&!][^\s,[\]{}]*[ \t]+)+$/;
/** What may stand before a block's entry on its line. */
const BEFORE_ENTRY = /^ *(?:[?-][ \t]+)*$/;

function rangeOf(node: unknown): Span | undefined {
  const range = isScalar(node) || isCollection(node) ? node.range : (node as Scalar | null)?.range;
  return range ? { start: range[0], end: range[1] } : undefined;
}

/** Where the content of a node ends, without the blanks and comments after it. */
function endOf(node: unknown): number | undefined {
  if (!isCollection(node) || node.flow === true || node.items.length === 0) return rangeOf(node)?.end;
  const last: unknown = node.items.at(-1);
  return isPair(last) ? (endOfPair(last) ?? rangeOf(node)?.end) : endOf(last);
}

function endOfPair({ key, value }: Pair): number | undefined {
  const end = endOf(value);
  return end === undefined || end === rangeOf(value)?.start ? (end ?? endOf(key)) : end;
}

/** From an entry's key, with its anchor and tag, to the end of its value. */
function spanOf(text: string, entry: unknown): Span {
  const node = isPair(entry) ? entry.key : entry;
  const start = rangeOf(node)?.start ?? 0;
  const before = text.slice(text.lastIndexOf("\n", start - 1) + 1, start);
  const end = isPair(entry) ? endOfPair(entry) : endOf(entry);
  return { start: start - (PROPERTIES.exec(before)?.[0].length ?? 0), end: end ?? start };
}

export interface EntryLines {
  readonly lines: readonly Line[];
  /** The index of the line on which it begins. */
  readonly first: number;
  /** The index of its last line: comments that are deeper than its first one belong to it. */
  readonly last: number;
  /** The blanks before it. */
  readonly indent: string;
}

const isComment = ({ text }: Line): boolean => /^[ \t]*#/.test(text);

function indentOf({ text }: Line): number {
  return /^ */.exec(text)?.[0].length ?? 0;
}

/** The lines of an entry of a block; undefined where something else stands before it on its first one. */
export function linesOfEntry(text: string, entry: unknown): EntryLines | undefined {
  const lines = linesOf(text, "\n");
  const { start, end } = spanOf(text, entry);
  const first = lines.findLastIndex((line) => line.start <= start);
  const line = lines[first];
  const before = line && text.slice(line.start, start);
  if (!line || before === undefined || !BEFORE_ENTRY.test(before)) return undefined;
  // The text of a block ends with a line end of its own.
  const lastOffset = text.charAt(end - 1) === "\n" ? end - 1 : Math.max(start, end - 1);
  let last = lines.findLastIndex((other) => other.start <= lastOffset);
  for (let at = last + 1; at < lines.length; at += 1) {
    const next = lines[at];
    if (!next || next.text.trim() === "") continue;
    if (!isComment(next) || indentOf(next) <= indentOf(line)) break;
    last = at;
  }
  return { lines, first, last, indent: /^ */.exec(line.text)?.[0] ?? "" };
}

/** The first line of an entry, or of the comment directly above it. */
export function firstWithComment({ lines, first, indent }: EntryLines): number {
  return commentAbove(lines, first, (line) => isComment(line) && indentOf(line) === indent.length);
}

/**
 * All ways to take an entry out of a block, the most natural first: with its comment and the blank lines that set it
 * off; those may belong to the text of its neighbour.
 */
function cutFromBlock(text: string, { items }: Collection, at: number): Edit[][] {
  const found = linesOfEntry(text, items[at]);
  if (!found) return [];
  const { lines, last } = found;
  const first = firstWithComment(found);
  const tight = { start: lines[first]?.start ?? 0, end: lines[last]?.end ?? 0 };
  return [withGap(lines, first, last, at === items.length - 1), tight].map((span) => [{ ...span, text: "" }]);
}

/** Takes an entry out of `{}` or `[]`, with one comma. */
function cutFromFlow(text: string, collection: Collection, at: number): Edit[][] {
  const spans = collection.items.map((item) => spanOf(text, item));
  const [before, span, after] = [spans[at - 1], spans[at], spans[at + 1]];
  if (!span) return [];
  const comma = /^\s*,/.exec(text.slice(span.end))?.[0].length;
  const end = span.end + (comma ?? 0);
  const lineStart = text.lastIndexOf("\n", span.start - 1) + 1;
  const isOnOwnLines =
    text.slice(lineStart, span.start).trim() === "" &&
    /^[ \t]*(#.*)?$/.test(text.slice(end, endOfLine(text, end)));
  const lines = { start: lineStart, end: Math.min(endOfLine(text, end) + 1, text.length), text: "" };
  if (isOnOwnLines && (comma !== undefined || !before)) return [[lines]];
  if (after) return [[{ start: span.start, end: after.start, text: "" }]];
  if (!before) return [[{ start: span.start, end, text: "" }]];
  const ownComma = text.indexOf(",", before.end);
  if (isOnOwnLines) return [[{ start: ownComma, end: ownComma + 1, text: "" }, lines]];
  return [[{ start: before.end, end: span.end, text: "" }]];
}

/** What stands between a key and the value below it: the colon, anchors and tags. */
const AFTER_KEY = /^[ \t]*:(?:[ \t]+[&!]\S*)*/;

/**
 * All ways to take an entry out of its collection.
 *
 * @param holder the pair whose value the collection is; a block without entries is written as `{}` or `[]` there
 */
export function cutEntry(text: string, holder: Pair, collection: Collection, at: number): Edit[][] {
  if (collection.flow === true) return cutFromFlow(text, collection, at);
  const cuts = cutFromBlock(text, collection, at);
  if (collection.items.length > 1) return cuts;
  const keyEnd = rangeOf(holder.key)?.end ?? 0;
  const place = keyEnd + (AFTER_KEY.exec(text.slice(keyEnd))?.[0].length ?? 0);
  const empty = { start: place, end: place, text: isPair(collection.items[0]) ? " {}" : " []" };
  return cuts.map((edits) => [empty, ...edits]);
}
