import type { Theme } from "@earendil-works/pi-coding-agent";
import { structuredPatch } from "diff";
import { counted } from "../lib/figures.ts";
import { cleanLine } from "../lib/text.ts";

/** One line of a unified diff without its prefix; a `hunk` line describes the others and has none. */
export interface DiffLine {
  kind: "hunk" | "context" | "removed" | "added";
  text: string;
}

const CONTEXT_LINES = 3;

/** Bounds of the comparison, whose time grows with the square of the edits. */
const MOST_EDITS = 2000;
const LONGEST_MS = 1000;

const PREFIXES = { hunk: "", context: " ", removed: "-", added: "+" } as const;

/** One stretch of differing lines; each of `lines` begins with the prefix of its kind. */
interface Hunk {
  oldStart: number;
  oldLines: number;
  newStart: number;
  newLines: number;
  lines: string[];
}

/**
 * The unified diff of two texts with three lines of context. The texts themselves are compared and masked afterwards:
 * the diff shows that a secret has changed, and not the secret.
 *
 * @param mask gets all lines of one text, without line ends, and returns as many
 * @returns no lines for equal texts; for texts that cannot be compared within a second a sentence, and one block of
 *   everything from the first to the last difference
 */
export function diffOf(
  before: string,
  after: string,
  mask: (lines: readonly string[]) => string[],
): DiffLine[] {
  if (before === after) return [];
  const options = { context: CONTEXT_LINES, maxEditLength: MOST_EDITS, timeout: LONGEST_MS };
  const patch = structuredPatch("", "", before, after, undefined, undefined, options);
  const texts = { old: mask(linesOf(before)), new: mask(linesOf(after)) };
  if (patch) return patch.hunks.flatMap((hunk) => shownHunk(hunk, texts));
  const sentence =
    "Too many changes to compare line by line; this is everything from the first to the last one.";
  return [{ kind: "hunk", text: sentence }, ...shownHunk(blockHunk(before, after), texts)];
}

function shownHunk(hunk: Hunk, texts: { old: readonly string[]; new: readonly string[] }): DiffLine[] {
  const range = (start: number, count: number): string => `${count === 0 ? start - 1 : start},${count}`;
  const ranges = `-${range(hunk.oldStart, hunk.oldLines)} +${range(hunk.newStart, hunk.newLines)}`;
  let oldAt = hunk.oldStart - 1;
  let newAt = hunk.newStart - 1;
  const lines = hunk.lines.map((line): DiffLine => {
    switch (line[0]) {
      case "-":
        return { kind: "removed", text: cleanLine(texts.old[oldAt++] ?? "") };
      case "+":
        return { kind: "added", text: cleanLine(texts.new[newAt++] ?? "") };
      case " ":
        oldAt++;
        return { kind: "context", text: cleanLine(texts.new[newAt++] ?? "") };
      default:
        return { kind: "hunk", text: line };
    }
  });
  return [{ kind: "hunk", text: `@@ ${ranges} @@` }, ...lines];
}

/** Everything between the common start and end of two texts, as removed and added. */
function blockHunk(before: string, after: string): Hunk {
  const [old, now] = [linesOf(before), linesOf(after)];
  const shorter = Math.min(old.length, now.length);
  let head = 0;
  while (head < shorter && old[head] === now[head]) head++;
  let tail = 0;
  while (tail < shorter - head && old.at(-1 - tail) === now.at(-1 - tail)) tail++;
  const from = Math.max(0, head - CONTEXT_LINES);
  const trailing = Math.min(tail, CONTEXT_LINES);
  const lines = [
    ...Array<string>(head - from).fill(" "),
    ...Array<string>(old.length - head - tail).fill("-"),
    ...Array<string>(now.length - head - tail).fill("+"),
    ...Array<string>(trailing).fill(" "),
  ];
  const [oldLines, newLines] = [old, now].map((text) => text.length - tail + trailing - from) as [
    number,
    number,
  ];
  return { oldStart: from + 1, oldLines, newStart: from + 1, newLines, lines };
}

/** Lines without their ends; nothing after the last line end is no line. */
function linesOf(text: string): string[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

export function countChanges(lines: readonly DiffLine[]): { added: number; removed: number } {
  const count = (kind: DiffLine["kind"]): number => lines.filter((line) => line.kind === kind).length;
  return { added: count("added"), removed: count("removed") };
}

/** The diff without colours. @param limit the most lines; one more line counts the rest */
export function plainDiff(lines: readonly DiffLine[], limit: number): string {
  const shown = lines.slice(0, limit).map(({ kind, text }) => PREFIXES[kind] + text);
  const more = lines.length - shown.length;
  if (more > 0) shown.push(`… ${counted(more, "more line")}`);
  return shown.join("\n");
}

/** Colours the lines of a unified diff by their first character. */
export function diffStyled(lines: readonly string[], theme: Pick<Theme, "fg">): string[] {
  return lines.map((line) => {
    if (line.startsWith("+")) return theme.fg("toolDiffAdded", line);
    if (line.startsWith("-")) return theme.fg("toolDiffRemoved", line);
    return theme.fg(line.startsWith(" ") ? "toolDiffContext" : "muted", line);
  });
}
