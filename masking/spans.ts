import { isPlainValue } from "./names.ts";

/** Shown in the place of a secret: always as long, so that nothing is told of its length. */
export const MASK = "••••";

/** A stretch of a text: offsets in UTF-16 units, the end not included. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** `${name}` and `${env.NAME}`: where a secret comes from is no secret. */
const REFERENCE = /\$\{([\w.-]{1,80})\}/g;
const SHELL_VARIABLE = /^\$[A-Z_][A-Z0-9_]*$/;
const SCHEME = /^(?:Bearer|Basic|Token|Digest|ApiKey|Negotiate)[ \t]+/i;

/** What was found in one text. */
export class Findings {
  readonly spans: Span[] = [];
  /** Macros, and anchors with their `&`, that stand in the place of a secret: their own values are secrets. */
  readonly learned = new Set<string>();

  /**
   * Hides the value of a name, but for references in it, the word `Bearer` and the like, and values that hide
   * nothing.
   */
  hideValue(text: string, start: number, end: number, name: string): void {
    const value = text.slice(start, end);
    if (isPlainValue(value.trim(), name) || SHELL_VARIABLE.test(value)) return;
    const scheme = /auth|bearer/i.test(name) ? (SCHEME.exec(value)?.[0].length ?? 0) : 0;
    let from = start + scheme;
    for (const match of value.slice(scheme).matchAll(REFERENCE)) {
      if (match[1] !== undefined) this.learned.add(match[1]);
      const at = start + scheme + match.index;
      this.hide(text, from, at);
      from = at + match[0].length;
    }
    this.hide(text, from, end);
  }

  /** Hides a stretch, whatever stands there. */
  hide(text: string, start: number, end: number): void {
    if (end > start && /\S/.test(text.slice(start, end))) this.spans.push({ start, end });
  }
}

/** The same stretches in order, those that touch joined. */
export function joined(spans: readonly Span[]): Span[] {
  const result: Span[] = [];
  for (const span of [...spans].sort((a, b) => a.start - b.start)) {
    const last = result.at(-1);
    if (last && span.start <= last.end)
      result[result.length - 1] = { start: last.start, end: Math.max(last.end, span.end) };
    else result.push(span);
  }
  return result;
}

/** One line with what is hidden of it; a stretch that came over its beginning leaves the indentation. */
function hiddenLine(line: string, from: number, spans: readonly Span[]): string {
  let result = "";
  let at = 0;
  for (const span of spans) {
    let start = Math.max(span.start - from, 0);
    let end = Math.min(span.end - from, line.length);
    if (span.start <= from) start += /^[ \t]*/.exec(line)?.[0].length ?? 0;
    while (end > start && line.charAt(end - 1) === "\r") end -= 1;
    if (end > start) {
      result += line.slice(at, start) + MASK;
      at = end;
    }
  }
  return result + line.slice(at);
}

/**
 * The lines with a mask in the place of each stretch; one over several lines gives each its own mask.
 *
 * @param spans offsets in the lines joined by one character each
 */
export function hidden(lines: readonly string[], spans: readonly Span[]): string[] {
  const all = joined(spans);
  let from = 0;
  let first = 0;
  return lines.map((line) => {
    const end = from + line.length;
    while (first < all.length && (all[first]?.end ?? 0) <= from) first += 1;
    let last = first;
    while (last < all.length && (all[last]?.start ?? 0) < end) last += 1;
    const result = first === last ? line : hiddenLine(line, from, all.slice(first, last));
    from = end + 1;
    return result;
  });
}
