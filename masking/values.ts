/** Reads the value after a name: up to which quote, blank, bracket or line it extends. */
import { isPlainValue } from "./names.ts";

/** Shown in place of a secret: always as long, so that it does not give away the secret's length. */
export const MASK = "••••";

/** `${name}` and `${env.NAME}`: a reference to a secret is no secret. */
const REFERENCES = /\$\{([\w.-]{1,80})\}/g;
const SHELL_VARIABLE = /^\$[A-Z_][A-Z0-9_]*$/;
const SCHEME = /^(?:Bearer|Basic|Token|Digest|ApiKey|Negotiate)[ \t]+/i;
/** The part of each line that is hidden: from its first letter to its end. */
const SHOWN = /\S(?:[^\r\n]|\r(?!\n|$))*/g;

export class Findings {
  /** Macros, and anchors with their `&`, that are used in place of a secret: their own values are secrets. */
  readonly learned = new Set<string>();
  readonly #spans: { start: number; end: number }[] = [];

  /** Hides the value of a name, except references in it, the word `Bearer` and the like, and harmless values. */
  hideValue(text: string, start: number, end: number, name: string): void {
    const value = text.slice(start, end);
    if (isPlainValue(value.trim(), name) || SHELL_VARIABLE.test(value)) return;
    const scheme = /auth|bearer/i.test(name) ? (SCHEME.exec(value)?.[0].length ?? 0) : 0;
    let from = start + scheme;
    for (const match of value.slice(scheme).matchAll(REFERENCES)) {
      if (match[1] !== undefined) this.learned.add(match[1]);
      const at = start + scheme + match.index;
      this.hide(from, at);
      from = at + match[0].length;
    }
    this.hide(from, end);
  }

  /** Hides everything between two offsets in UTF-16 units; the end is not included. */
  hide(start: number, end: number): void {
    if (end > start) this.#spans.push({ start, end });
  }

  /** The text with a mask in each line of each hidden part. */
  masked(text: string): string {
    let result = "";
    let from = 0;
    for (let at = 0, all = this.#spans.sort((a, b) => a.start - b.start); at < all.length; ) {
      const start = Math.max(all[at]?.start ?? 0, from);
      let end = start;
      // Parts that touch get one mask.
      while (at < all.length && (all[at]?.start ?? 0) <= end) end = Math.max(end, all[at++]?.end ?? 0);
      result += text.slice(from, start) + text.slice(start, end).replace(SHOWN, MASK);
      from = end;
    }
    return result + text.slice(from);
  }
}

/** What kind of text is shown. */
export type TextKind = "yaml" | "ini" | "command" | "log";

/** A name, and the line on which it stands. */
export interface Place {
  readonly text: string;
  readonly kind: TextKind;
  readonly found: Findings;
  /** Without the dashes before it. */
  readonly name: string;
  readonly isFlag: boolean;
  readonly start: number;
  readonly end: number;
  readonly lineStart: number;
  readonly lineEnd: number;
  /** The line before the name, or the last part of it. */
  readonly lead: string;
  /** The quote that is open before the name, or nothing. */
  readonly open: string;
}

/** The end of a line, comments, and the dash of a list. */
export const LINE_END = /[ \t]*\\?[ \t\r]*\n(?:[ \t\r]*(?:#[^\n]*)?\n)*[ \t]*(?:- +)?/y;
/** Where a word of a log ends; of a command only blanks end it. */
const LOG_END = /,(?=[\s"'[{])|[\])}](?=[\s,\])}]|$)/y;
const REFERENCE = /\$\{[\w.-]{1,80}\}/y;
/** Values without quotes: in brackets, and the rest of a line but for its comment. */
const ITEM = /(?:\$\{[\w.-]{1,80}\}|(?![ \t]#)[^,\]}\n])+/y;
const LINE = { yaml: /(?:(?![ \t]#)[^\n])+/y, ini: /(?:(?![ \t][#;])[^\n])+/y };
/** What stands around the values of a block or in brackets. */
const AROUND = /\s+|,|[-?](?=\s)|[&!][^\s,\]}]*|#[ \t]*(?=- )|#[^\n]*/y;
const ITEM_NAME = /(?:"(?:[^"\\\n]|\\.){0,80}"|'[^'\n]{0,80}')[ \t]*:|[^\s"',:[\]{}#]{1,80}:(?=\s)/y;
const BLOCK_HEADER = /[|>][-+\d]{0,2}[ \t\r]*(?:#[^\n]*)?\n/y;
const ALIAS = /\*([\w.-]+)/y;

/** What a sticky pattern matches at this index: nothing, or its text. */
export function matchAt(pattern: RegExp, text: string, at: number): string {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? "";
}

export function lineEndAfter(text: string, at: number): number {
  const end = text.indexOf("\n", at);
  return end < 0 ? text.length : end;
}

/** The quote that begins here, as it is written within another. */
export function quoteAt({ text, open }: Place, at: number): string {
  if (open !== "" && text.startsWith('\\"', at)) return '\\"';
  if (open === "'" && text.startsWith("''", at)) return "''";
  const char = text.charAt(at);
  return char === '"' || char === "'" ? char : "";
}

/** The index of the quote that closes, before `end`; -1 for none. */
export function findClose(text: string, from: number, end: number, quote: string): number {
  for (let at = from; at < end; at += 1) {
    if (quote === '"' && text.charAt(at) === "\\") at += 1;
    else if (quote === '\\"' && text.startsWith("\\\\", at)) at += 3;
    else if (text.startsWith(quote, at)) {
      if (quote !== "'" || text.charAt(at + 1) !== "'" || at + 1 >= end) return at;
      at += 1;
    }
  }
  return -1;
}

/** The end of a word as a shell splits it: quotes may join pieces, a backslash takes the blank after it along. */
export function wordEnd(place: Place, from: number, end: number): number {
  const { text, kind, open } = place;
  let isJoined = false;
  for (let at = from; at < end; ) {
    const char = text.charAt(at);
    if (/\s/.test(char) || (kind === "log" && matchAt(LOG_END, text, at) !== "")) return at;
    const quote = quoteAt(place, at);
    if (quote !== "") {
      const after = at + quote.length;
      const mayEnd = !isJoined && (after >= end || /[\s,;|\]})]/.test(text.charAt(after)));
      if (at > from && (quote === open || (quote.length > 1 && mayEnd))) return at;
      const close = findClose(text, after, end, quote);
      if (close < 0 && (mayEnd || at === from)) return at === from ? end : at;
      at = close < 0 ? after : close + quote.length;
      isJoined = true;
    } else if (char === "\\") {
      if (matchAt(LINE_END, text, at) !== "") return at;
      at += open === '"' && text.charAt(at + 1) === "\\" ? 2 : 1;
      at += quoteAt(place, at).length || 1;
      isJoined = true;
    } else {
      at += matchAt(REFERENCE, text, at).length || 1;
      isJoined = false;
    }
  }
  return end;
}

/** The next word without the quotes around all of it. */
export function readWord(place: Place, from: number): { start: number; end: number; next: number } {
  const { text } = place;
  const lineEnd = lineEndAfter(text, from);
  const next = Math.min(wordEnd(place, from, lineEnd), lineEnd);
  const quote = quoteAt(place, from);
  const close = quote === "" ? -1 : findClose(text, from + quote.length, next, quote);
  if (quote !== "" && close < 0) return { start: from + quote.length, end: next, next };
  return close + quote.length === next && close >= 0
    ? { start: from + quote.length, end: close, next }
    : { start: from, end: next, next };
}

/** Hides one value of a block or in brackets. @returns where it ends */
export function hideScalar(place: Place, at: number, end: number, isItem: boolean): number {
  const { text, found, name, kind } = place;
  const alias = matchAt(ALIAS, text, at);
  if (alias !== "" && kind === "yaml") {
    found.learned.add(`&${alias.slice(1)}`);
    return at + alias.length;
  }
  const quote = quoteAt(place, at);
  if (quote !== "") {
    const start = at + quote.length;
    const close = findClose(text, start, end, quote);
    const stop = close < 0 ? lineEndAfter(text, at) : close;
    found.hideValue(text, start, stop, name);
    return close < 0 ? stop : close + quote.length;
  }
  const value = matchAt(isItem ? ITEM : LINE[kind === "ini" ? "ini" : "yaml"], text, at);
  found.hideValue(text, at, at + value.trimEnd().length, name);
  return at + Math.max(value.length, 1);
}

/** Hides the lines of a YAML block scalar that begins at `from`. @returns where they end */
function hideBlockScalar({ text, found, name }: Place, from: number, end: number): number {
  const ownIndent = matchAt(/ */y, text, text.lastIndexOf("\n", from - 2) + 1).length;
  let at = from;
  while (at < end) {
    const stop = Math.min(lineEndAfter(text, at), end);
    const indent = matchAt(/ */y, text, at).length;
    if (indent <= ownIndent && text.slice(at, stop).trim() !== "") break;
    found.hideValue(text, at + indent, stop, name);
    at = stop + 1;
  }
  return at;
}

/** Hides all values of a block or in brackets, but not the names, dashes and comments around them. */
export function hideAll(place: Place, from: number, end: number): number {
  const { text, kind, lineEnd } = place;
  const isBracket = /[[{]/.test(text.charAt(from));
  let depth = 0;
  let at = from;
  while (at < end) {
    const char = text.charAt(at);
    const header = depth === 0 && kind === "yaml" ? matchAt(BLOCK_HEADER, text, at) : "";
    const around =
      matchAt(AROUND, text, at) || (depth > 0 || at > lineEnd ? matchAt(ITEM_NAME, text, at) : "");
    if (header !== "") at = hideBlockScalar(place, at + header.length, end);
    else if (around !== "") at += around.length;
    else if (/[[{\]}]/.test(char)) {
      depth += /[[{]/.test(char) ? 1 : -1;
      at += 1;
      if (depth <= 0 && isBracket) return at;
    } else at = hideScalar(place, at, end, depth > 0);
  }
  return end;
}

/** Where the block ends that belongs to a key in this column: after deeper lines, items and closing brackets. */
export function blockEnd(text: string, lineEnd: number, column: number, isComment: boolean): number {
  let end = lineEnd;
  while (end < text.length) {
    const stop = lineEndAfter(text, end + 1);
    const line = text.slice(end + 1, stop);
    const indent = /^[ \t]*/.exec(line)?.[0].length ?? 0;
    const isInside = isComment
      ? /^[ \t]*#[ \t]*- /.test(line)
      : indent > column || /^\s*(#|$)/.test(line) || (indent === column && /^\s*(-\s|-$|[\]}])/.test(line));
    if (!isInside) break;
    end = stop;
  }
  return end;
}
