/** A file as lines, and which of them belong to the block of one model. Pure. */
import type { Span } from "./traced-text.ts";

/** One line; its span includes its end. */
export interface Line extends Span {
  readonly text: string;
}

/** @param lineEnd what ends a line in this format */
export function linesOf(text: string, lineEnd: "\n" | "any"): Line[] {
  const begin = text.startsWith("\uFEFF") ? 1 : 0;
  const pattern = lineEnd === "any" ? /([^\r\n]*)(\r\n|\n|\r|$)/g : /([^\n]*)(\n|$)/g;
  return [...text.slice(begin).matchAll(pattern)].flatMap((match) => {
    const start = begin + match.index;
    return match[0] === "" ? [] : [{ start, end: start + match[0].length, text: match[1] ?? "" }];
  });
}

export function isBlank(line: Line | undefined): boolean {
  return line !== undefined && line.text.trim() === "";
}

/** A line drawn across a comment. */
const RULE = /[-=#;*~_─━═]{3,}/;

/**
 * The index of the first comment line directly above a line, without a blank line between: it belongs to the block that
 * begins there. One with a line drawn through it is the heading of several blocks, and does not.
 *
 * @returns the line's own index where there is none
 */
export function commentAbove(lines: readonly Line[], at: number, isComment: (line: Line) => boolean): number {
  let first = at;
  for (let above = lines[at - 1]; above && isComment(above); above = lines[first - 1]) first -= 1;
  return lines.slice(first, at).some(({ text }) => RULE.test(text)) ? at : first;
}

/**
 * The span of these lines with the blank ones that set the block off from its neighbour: those after it, or where it is
 * the last of its kind, those before it.
 */
export function withGap(lines: readonly Line[], first: number, last: number, isLast: boolean): Span {
  let [from, to] = [first, last];
  if (isLast) while (isBlank(lines[from - 1])) from -= 1;
  else while (isBlank(lines[to + 1])) to += 1;
  return { start: lines[from]?.start ?? 0, end: lines[to]?.end ?? 0 };
}
