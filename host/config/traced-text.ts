import type { Scalar } from "yaml";

/** A stretch of a file's text: offsets in UTF-16 units, the end not included. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** Where one character of a resolved text comes from. */
export interface Trace {
  /** In the scalar that was read: the character itself, or the whole `${macro}` that put it there. */
  readonly own: Span;
  /** The characters that finally spell it: the same, or inside the macro's value. */
  readonly origin: Span;
  /** The scalar that holds `origin`. */
  readonly scalar: Scalar;
}

export interface TracedText {
  readonly text: string;
  readonly traces: readonly Trace[];
}

/** One replacement in a text; an empty stretch inserts. */
export interface Edit extends Span {
  readonly text: string;
}

/** The part between two indices, as `String.slice`. */
export function sliceTraced(traced: TracedText, from: number, to?: number): TracedText {
  return { text: traced.text.slice(from, to), traces: traced.traces.slice(from, to) };
}

export function joinTraced(parts: readonly TracedText[]): TracedText {
  return { text: parts.map((part) => part.text).join(""), traces: parts.flatMap((part) => part.traces) };
}

/** The characters at these indices, in this order. */
export function pickTraced(traced: TracedText, indices: readonly number[]): TracedText {
  const traces = indices.flatMap((index) => traced.traces[index] ?? []);
  return { text: indices.map((index) => traced.text.charAt(index)).join(""), traces };
}

/** Puts `by` in the place of every `needle`: its characters then belong to the needle's place. */
export function replaceTraced(traced: TracedText, needle: string, by: TracedText): TracedText {
  const parts: TracedText[] = [];
  let from = 0;
  for (let at = traced.text.indexOf(needle); at >= 0; at = traced.text.indexOf(needle, from)) {
    const own = ownSpan(sliceTraced(traced, at, at + needle.length));
    parts.push(sliceTraced(traced, from, at));
    if (own) parts.push({ text: by.text, traces: by.traces.map((trace) => ({ ...trace, own })) });
    from = at + needle.length;
  }
  return parts.length === 0 ? traced : joinTraced([...parts, sliceTraced(traced, from)]);
}

/** The stretch that this text takes in the scalar that was read; undefined when the text is empty. */
export function ownSpan(traced: TracedText): Span | undefined {
  const [first, last] = [traced.traces[0], traced.traces.at(-1)];
  return first && last ? { start: first.own.start, end: last.own.end } : undefined;
}

/** The stretch and the scalar where this text is finally spelled, when all of it stands in one scalar. */
export function originOf(traced: TracedText): { span: Span; scalar: Scalar } | undefined {
  const [first, last] = [traced.traces[0], traced.traces.at(-1)];
  if (!first || !last || traced.traces.some((trace) => trace.scalar !== first.scalar)) return undefined;
  return { span: { start: first.origin.start, end: last.origin.end }, scalar: first.scalar };
}

/**
 * Applies replacements that do not overlap, in any order.
 *
 * @throws {RangeError} when two of them overlap
 */
export function applyEdits(text: string, edits: readonly Edit[]): string {
  let result = "";
  let from = 0;
  for (const edit of [...edits].sort((a, b) => a.start - b.start)) {
    if (edit.start < from) throw new RangeError("Two edits overlap.");
    result += text.slice(from, edit.start) + edit.text;
    from = edit.end;
  }
  return result + text.slice(from);
}

/** Line and column, both from 1, as editors show them. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Line and column of an offset; a byte order mark takes no column. */
export function positionAt(text: string, offset: number): Position {
  let line = 1;
  let start = text.startsWith("\uFEFF") ? 1 : 0;
  // Without a list of lines: this is asked for every model of a file.
  for (let at = text.indexOf("\n"); at >= 0 && at < offset; at = text.indexOf("\n", start)) {
    line += 1;
    start = at + 1;
  }
  return { line, column: [...text.slice(start, offset)].length + 1 };
}
