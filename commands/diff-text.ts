/** Differences of config files as the commands show them: with secrets masked. */
import type { ExtensionContext } from "@earendil-works/pi-coding-agent";
import type { ConfigFormat } from "../host/config-file.ts";
import { maskLines } from "../masking/masking.ts";
import { colouredDiff, countChanges, type DiffLine, diffOf, plainDiff } from "../ui/diff.ts";

/** A question must fit on the screen. */
const MOST_LINES = 30;

function linesOf(before: string, after: string, format: ConfigFormat): DiffLine[] {
  return diffOf(before, after, (lines) => maskLines(lines, format));
}

/** A unified diff for a question, coloured in the terminal. */
export function diffText(
  { mode, ui }: Pick<ExtensionContext, "mode" | "ui">,
  before: string,
  after: string,
  format: ConfigFormat,
): string {
  const lines = linesOf(before, after, format);
  return mode === "tui" ? colouredDiff(lines, ui.theme, MOST_LINES) : plainDiff(lines, MOST_LINES);
}

/** The same as plain text. */
export function plainDiffOf(before: string, after: string, format: ConfigFormat): string {
  return plainDiff(linesOf(before, after, format), MOST_LINES);
}

/** How many lines differ. */
export function changeCounts(before: string, after: string): { added: number; removed: number } {
  return countChanges(diffOf(before, after, (lines) => [...lines]));
}
