import { parse, type Scalar } from "yaml";
import type { Span, Trace, TracedText } from "../traced-text.ts";

const BLANK = /[ \t\r\n]/;

/** YAML's escapes in double quotes that stand for something other than themselves. */
const ESCAPES: Readonly<Record<string, string>> = {
  "0": "\0",
  a: "\x07",
  b: "\b",
  t: "\t",
  n: "\n",
  v: "\v",
  f: "\f",
  r: "\r",
  e: "\x1b",
  N: "\u0085",
  _: "\u00a0",
  L: "\u2028",
  P: "\u2029",
};

interface Unit {
  readonly char: string;
  readonly span: Span;
}

/** The offset after the opening quote or the block's header line, and the offset where the content ends. */
function contentSpan(scalar: Scalar, source: string): Span | undefined {
  if (!scalar.range) return undefined;
  const [start, end] = scalar.range;
  switch (scalar.type) {
    case "BLOCK_LITERAL":
    case "BLOCK_FOLDED": {
      const lineEnd = source.indexOf("\n", start);
      return lineEnd < 0 || lineEnd >= end ? { start: end, end } : { start: lineEnd + 1, end };
    }
    case "QUOTE_DOUBLE":
    case "QUOTE_SINGLE":
      return { start: start + 1, end: end - 1 };
    default:
      return { start, end };
  }
}

/** The decoded characters of one escape sequence that begins at the backslash. */
function readEscape(source: string, at: number): Unit[] {
  const kind = source.charAt(at + 1);
  const digits = { x: 2, u: 4, U: 8 }[kind];
  if (digits === undefined) {
    const span = { start: at, end: at + 2 };
    return [{ char: ESCAPES[kind] ?? kind, span }];
  }
  const span = { start: at, end: at + 2 + digits };
  const code = Number.parseInt(source.slice(at + 2, span.end), 16);
  return code <= 0x10ffff ? [...String.fromCodePoint(code).split("")].map((char) => ({ char, span })) : [];
}

/** The characters of a scalar that folding and indentation leave alone: all but blanks. */
function* unitsOf(scalar: Scalar, source: string, content: Span): Generator<Unit> {
  for (let at = content.start; at < content.end; ) {
    const char = source.charAt(at);
    if (scalar.type === "QUOTE_DOUBLE" && char === "\\") {
      const units = readEscape(source, at);
      yield* units.filter((unit) => !BLANK.test(unit.char));
      at = units[0]?.span.end ?? at + 2;
      continue;
    }
    const length = scalar.type === "QUOTE_SINGLE" && char === "'" ? 2 : 1;
    if (!BLANK.test(char)) yield { char, span: { start: at, end: at + length } };
    at += length;
  }
}

/**
 * How llama-swap writes a value into a text (Go's `%v` of what yaml.v3 read, to which a leading zero means octal).
 */
export function textOfScalar(scalar: Scalar): string {
  const digits = scalar.type === "PLAIN" ? (scalar.source ?? "").replaceAll("_", "") : "";
  if (/^[-+]?0[0-7]+$/.test(digits)) return String(Number.parseInt(digits, 8));
  if (typeof scalar.value === "string") {
    const isDigits = scalar.type === "PLAIN" && /^[-+]?\d[\d_]*$/.test(scalar.value);
    return isDigits ? scalar.value.replaceAll("_", "") : scalar.value;
  }
  return scalar.value === null ? "<nil>" : String(scalar.value);
}

/**
 * The text of a scalar, each character with its place in the file.
 *
 * Folding, indentation and chomping only ever change blanks, so the other characters are matched one by one and
 * blanks are given the gap between them.
 *
 * @returns undefined where source and value do not match
 */
export function traceScalar(scalar: Scalar, source: string): TracedText | undefined {
  const content = contentSpan(scalar, source);
  if (!content) return undefined;
  const text = textOfScalar(scalar);
  if (text !== scalar.value && text !== source.slice(content.start, content.end)) {
    // A number written in another way, as 0x8000: it can only be replaced whole.
    const whole: Trace = { own: content, origin: content, scalar };
    return { text, traces: Array.from(text, () => whole) };
  }
  const units = [...unitsOf(scalar, source, content)];
  const traces: Trace[] = [];
  let next = 0;
  for (const char of text.split("")) {
    const unit = units[next];
    let span = { start: units[next - 1]?.span.end ?? content.start, end: unit?.span.start ?? content.end };
    if (!BLANK.test(char)) {
      if (unit?.char !== char) return undefined;
      span = unit.span;
      next += 1;
    }
    traces.push({ own: span, origin: span, scalar });
  }
  return next === units.length ? { text, traces } : undefined;
}

/** A scalar written again elsewhere: what follows `key: ` on its line, and the lines below it, if any. */
export interface ScalarCopy {
  readonly head: string;
  readonly lines: readonly string[];
}

/**
 * Writes a scalar again at another indentation, in its own style where that style allows it.
 *
 * @param scalar its type and place in `source`
 * @param written its text as it is to be written, from its first quote or header on
 * @param indent what the lines of a block begin with
 * @param inFlow whether it will stand inside `{}` or `[]`
 * @returns undefined where that cannot be done
 */
export function copyScalar(
  scalar: Scalar,
  written: string,
  indent: string,
  inFlow: boolean,
): ScalarCopy | undefined {
  if (scalar.type !== "BLOCK_LITERAL" && scalar.type !== "BLOCK_FOLDED") {
    const isQuoted = scalar.type !== "PLAIN";
    if (!written.includes("\n") && (isQuoted || !inFlow)) return { head: written, lines: [] };
    const value: unknown = parse(written);
    return typeof value === "string" ? { head: JSON.stringify(value), lines: [] } : undefined;
  }
  const [header = "", ...lines] = written.replace(/\r?\n$/, "").split(/\r?\n/);
  const head = header.replace(/\s+#.*$/, "").trimEnd();
  const old = /^ */.exec(lines.find((line) => line.trim() !== "") ?? "")?.[0].length ?? 0;
  if (inFlow || /\d/.test(head)) return undefined;
  return { head, lines: lines.map((line) => (line.trim() === "" ? line : indent + line.slice(old))) };
}
