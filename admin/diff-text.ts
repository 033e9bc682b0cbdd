/** Differences of config files as the commands show them: with secrets masked. */
import type { ConfigFormat } from "../host/config/config-file.ts";
import { maskLines } from "../masking/masking.ts";
import { countChanges, type DiffLine, diffOf, plainDiff } from "../ui/diff.ts";

/** A notice must fit on the screen. */
const MOST_LINES = 30;

function linesOf(before: string, after: string, format: ConfigFormat): DiffLine[] {
  return diffOf(before, after, (lines) => maskLines(lines, format));
}

/** The lines of a unified diff for a question, which scrolls them. */
export function diffLines(before: string, after: string, format: ConfigFormat): string[] {
  const lines = linesOf(before, after, format);
  return lines.length === 0 ? [] : plainDiff(lines, lines.length).split("\n");
}

/** A unified diff for a notice. */
export function plainDiffOf(before: string, after: string, format: ConfigFormat): string {
  return plainDiff(linesOf(before, after, format), MOST_LINES);
}

/** How many lines differ. */
export function changeCounts(before: string, after: string): { added: number; removed: number } {
  return countChanges(diffOf(before, after, (lines) => [...lines]));
}
