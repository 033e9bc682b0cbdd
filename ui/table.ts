import { stripVTControlCharacters } from "node:util";
import { truncateToWidth, visibleWidth } from "@earendil-works/pi-tui";

export interface Column {
  title: string;
  /** In a narrow terminal the columns with the highest number are dropped first; 0 always stays. */
  priority: number;
}

const GAP = "  ";
const LEAST_FIRST_COLUMN = 12;
/** Columns of a higher priority are dropped before the first one is cut. */
const DISPENSABLE = 1;

/**
 * Lays out rows for a terminal of `width` columns: columns are dropped or the first one is cut, so that no line is
 * wider than `width`.
 *
 * @param rows one text per column; shorter rows count as empty at their end
 */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number,
): string[] {
  const widths = columns.map(({ title }, at) =>
    Math.max(visibleWidth(title), ...rows.map((row) => visibleWidth(row[at] ?? ""))),
  );
  const shown = columns.map((_, at) => at);
  const rest = (): number => shown.slice(1).reduce((sum, at) => sum + GAP.length + (widths[at] ?? 0), 0);
  const first = (): number => Math.min(widths[0] ?? 0, width - rest());
  while (shown.length > 1) {
    const least = shown.reduce((a, b) =>
      (columns[b]?.priority ?? 0) >= (columns[a]?.priority ?? 0) ? b : a,
    );
    const priority = columns[least]?.priority ?? 0;
    // The user has to type the first column: unimportant ones are dropped before it is cut, others only to keep its minimum.
    const needed = priority > DISPENSABLE ? (widths[0] ?? 0) : Math.min(widths[0] ?? 0, LEAST_FIRST_COLUMN);
    if (priority === 0 || first() >= needed) break;
    shown.splice(shown.indexOf(least), 1);
  }
  widths[0] = Math.max(1, first());
  const line = (cells: readonly string[]): string => {
    const padded = shown.map((at) => pad(cells[at] ?? "", widths[at] ?? 0));
    return cut(padded.join(GAP).trimEnd(), width);
  };
  return [line(columns.map(({ title }) => title)), ...rows.map(line)];
}

function pad(text: string, width: number): string {
  const shown = cut(text, width);
  return shown + " ".repeat(Math.max(0, width - visibleWidth(shown)));
}

/** Plain text: pi-tui puts colour resets around its ellipsis, which do not belong in a file or a pipe. */
function cut(text: string, width: number): string {
  return visibleWidth(text) > width ? stripVTControlCharacters(truncateToWidth(text, width, "…")) : text;
}
