import type { Scalar } from "yaml";
import { ESCAPES } from "../lib/yaml-escapes.ts";
import type { Span } from "./spans.ts";

/** The characters of a scalar without YAML's own quotes and escapes, each with its place in the file. */
export interface ScalarText {
  readonly text: string;
  /** The stretch of the file that spells these characters; the quotes are left out. */
  place(start: number, end: number): Span;
}

function readEscape(source: string, at: number): { text: string; length: number } {
  const kind = source.charAt(at + 1);
  const continued = /^\\[ \t]*\r?\n[ \t]*/.exec(source.slice(at, at + 400));
  if (continued) return { text: "", length: continued[0].length };
  const digits = { x: 2, u: 4, U: 8 }[kind];
  if (digits === undefined) return { text: ESCAPES[kind] ?? kind, length: 2 };
  const code = Number.parseInt(source.slice(at + 2, at + 2 + digits), 16);
  return { text: code <= 0x10ffff ? String.fromCodePoint(code) : "\ufffd", length: 2 + digits };
}

/** Quoted text: escapes are read; a line break within it is a blank. */
function readQuoted(source: string, start: number, end: number, isDouble: boolean): ScalarText {
  let text = "";
  const starts: number[] = [];
  const ends: number[] = [];
  for (let at = start; at < end; ) {
    const char = source.charAt(at);
    let unit = { text: char === "\n" ? " " : char, length: 1 };
    if (isDouble && char === "\\") unit = readEscape(source, at);
    else if (!isDouble && char === "'") unit = { text: char, length: 2 };
    text += unit.text;
    for (let count = unit.text.length; count > 0; count -= 1) {
      starts.push(at);
      ends.push(Math.min(at + unit.length, end));
    }
    at += unit.length;
  }
  return {
    text,
    place: (from, to) => ({ start: starts[from] ?? end, end: ends[to - 1] ?? start }),
  };
}

/**
 * Reads a scalar of any style. Blocks and plain text keep their line breaks and indentation.
 *
 * @returns undefined for one without a place
 */
export function readScalar(scalar: Scalar, source: string): ScalarText | undefined {
  if (!scalar.range) return undefined;
  let [start, end] = scalar.range;
  const first = source.charAt(start);
  if (scalar.type === "QUOTE_DOUBLE" || scalar.type === "QUOTE_SINGLE") {
    const isClosed = end - start > 1 && source.charAt(end - 1) === first;
    return readQuoted(source, start + 1, isClosed ? end - 1 : end, scalar.type === "QUOTE_DOUBLE");
  }
  if (scalar.type === "BLOCK_LITERAL" || scalar.type === "BLOCK_FOLDED") {
    const header = source.indexOf("\n", start);
    start = header < 0 || header >= end ? end : header + 1;
  }
  return { text: source.slice(start, end), place: (from, to) => ({ start: start + from, end: start + to }) };
}
