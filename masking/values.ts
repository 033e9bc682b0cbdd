import type { Span } from "./spans.ts";

/** Where a value may stand, which tells how far one without quotes reaches. */
export type Room = "line" | "flow" | "word" | "parameter" | "log";

/** What follows a value, or the quote around it and its name. */
const AFTER = /[\s,;:|\]})]/;

/** The quote that begins here, as it is written: also within another's quotes. */
export function quoteAt(text: string, at: number): string {
  if (text.startsWith('\\"', at)) return '\\"';
  if (text.startsWith("''", at) && /[^\s',\]}]/.test(text.charAt(at + 2))) return "''";
  const char = text.charAt(at);
  return char === '"' || char === "'" ? char : "";
}

/** The quote that ends right before this index. */
export function quoteBefore(text: string, at: number): string {
  const char = text.charAt(at - 1);
  if (char === '"' && text.charAt(at - 2) === "\\") return '\\"';
  if (char === "'" && text.charAt(at - 2) === "'" && /[\s=]/.test(text.charAt(at - 3))) return "''";
  return char === '"' || char === "'" ? char : "";
}

/** The index of the quote that closes, before `end`; -1 where none does. */
export function findClose(text: string, from: number, end: number, quote: string): number {
  for (let at = from; at < end; at += 1) {
    const char = text.charAt(at);
    if (quote === '"' && char === "\\") at += 1;
    else if (text.startsWith(quote, at)) {
      const isPair = quote === "'" && text.charAt(at + 1) === "'" && at + 1 < end;
      if (!isPair) return at;
      at += 1;
    }
  }
  return -1;
}

/** The end of a value without quotes that takes the rest of the line, but for a comment. */
function lineValueEnd(text: string, from: number, end: number): number {
  const comment = text.slice(from, end).search(/[ \t][#;]/);
  const stop = comment < 0 ? end : from + comment;
  return from + text.slice(from, stop).trimEnd().length;
}

function wordValueEnd(text: string, from: number, end: number, room: Room): number {
  for (let at = from; at < end; at += 1) {
    const char = text.charAt(at);
    const next = at + 1 < end ? text.charAt(at + 1) : "\n";
    if (/[ \t\r\n]/.test(char) || (room === "parameter" && /[&#<>]/.test(char))) return at;
    if (char === "\\" && /["\s]/.test(next)) {
      if (next === '"' || /[\r\n]/.test(next)) return at;
      at += 1;
    } else if (/["']/.test(char) && AFTER.test(next)) return at;
    else if (room !== "word" && char === "," && /[\s"'[{]/.test(next)) return at;
    else if (room === "flow" && /[,\]}]/.test(char)) return at;
    else if (room === "log" && /[\])}]/.test(char) && /[\s,\])}]/.test(next)) return at;
  }
  return end;
}

/** The length of a `${name}` that begins here, whose brace does not end a value; 0 without one. */
function referenceAt(text: string, at: number): number {
  if (!text.startsWith("${", at)) return 0;
  return /^\$\{[\w.-]{1,80}\}/.exec(text.slice(at, at + 83))?.[0].length ?? 0;
}

/** The end of a value without quotes that begins at `from`, on a line that ends at `end`. */
export function bareEnd(text: string, from: number, end: number, room: Room): number {
  if (room === "line") return lineValueEnd(text, from, end);
  if (room !== "flow") return wordValueEnd(text, from, end, room);
  let at = from;
  while (at < end && !/[,\]}]/.test(text.charAt(at))) at += referenceAt(text, at) || 1;
  return lineValueEnd(text, from, Math.min(at, end));
}

/**
 * The value that begins at `from`, quotes left out. One whose quote does not close on its line takes the rest of
 * the line.
 *
 * @param end the end of the line
 */
export function readValue(text: string, from: number, end: number, room: Room): Span & { next: number } {
  const quote = quoteAt(text, from);
  if (quote === "") {
    const stop = bareEnd(text, from, end, room);
    return { start: from, end: stop, next: stop };
  }
  const start = from + quote.length;
  const close = findClose(text, start, end, quote);
  if (close < 0) return { start, end, next: end };
  const next = close + quote.length;
  if (next >= end || AFTER.test(text.charAt(next)) || /["'\\]/.test(text.charAt(next)))
    return { start, end: close, next };
  // A shell joins what touches: "a b"c is one word.
  const stop = wordValueEnd(text, next, end, room);
  return { start: from, end: stop, next: stop };
}

/** The values within brackets that begin at `from`: not the names before a colon. */
export function readItems(
  text: string,
  from: number,
  end: number,
): { items: Span[]; next: number; isOpen: boolean } {
  const items: Span[] = [];
  let depth = 0;
  let at = from;
  while (at < end) {
    const char = text.charAt(at);
    if (/[[{]/.test(char)) depth += 1;
    else if (/[\]}]/.test(char)) depth -= 1;
    else if (char === "#" && /\s/.test(text.charAt(at - 1))) break;
    else if (!/[\s,]/.test(char)) {
      const name = /^[^\s"',:[\]{}]+:(?=\s)/.exec(text.slice(at, Math.min(end, at + 80)))?.[0];
      const item = name === undefined ? readValue(text, at, end, "flow") : undefined;
      const isName = item === undefined || /^[ \t]{0,8}:/.test(text.slice(item.next, item.next + 9));
      if (item && !isName) items.push({ start: item.start, end: item.end });
      at = Math.max(item ? item.next + (isName ? 1 : 0) : at + (name?.length ?? 0), at + 1);
      continue;
    }
    at += 1;
    if (depth <= 0) return { items, next: at, isOpen: false };
  }
  return { items, next: end, isOpen: depth > 0 };
}
