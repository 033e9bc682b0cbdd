/** The list of models: what is filtered, which one is selected, and its lines. Pure but for the theme's colours. */
import { visibleWidth } from "@earendil-works/pi-tui";
import { type Colours, firstSeen, fitted, table, withoutMiddle } from "../../ui/layout.ts";
import type { PanelContent, PanelPlace, PanelRow } from "./lines.ts";

const MARK = 2;
const GAP = 2;
/** As many columns the table itself leaves to an id. */
const LEAST_ID = 12;

/** The rows that have every word of the filter in their id or cells. */
export function filtered(rows: readonly PanelRow[], filter: string): PanelRow[] {
  const words = filter
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== "");
  return rows.filter(({ id, cells }) => {
    const text = [id, ...cells].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

/** The index of the selected row; of the first one if that is missing, -1 if there are none. */
export function selectedAt(rows: readonly PanelRow[], { selected }: PanelPlace): number {
  const at = rows.findIndex(({ id }) => id === selected);
  return at < 0 ? Math.min(0, rows.length - 1) : at;
}

/**
 * The titles, with the position, and the rows around the selected one. An id gets at most half the width. A single line
 * shows the selected model rather than the titles.
 */
export function listLines(
  { columns, rows }: PanelContent,
  place: PanelPlace,
  width: number,
  height: number,
  theme: Colours,
): string[] {
  if (rows.length === 0) return [];
  const at = selectedAt(rows, place);
  const most = widestId(columns, rows, width);
  const cells = rows.map(({ id, mark, cells }) => [
    withoutMiddle(id, Math.max(1, most - visibleWidth(mark))) + mark,
    ...cells.slice(1),
  ]);
  const titles = columns.map((column, index) =>
    index === 0 ? { ...column, title: `${column.title} ${at + 1}/${rows.length}` } : column,
  );
  const [title = "", ...lines] = table(...aligned(titles, cells), width - MARK);
  const seen = Math.max(1, height - 1);
  const first = firstSeen(rows.length, at, seen);
  const body = lines
    .slice(first, first + seen)
    .map((line, offset) => rowLine(line, rows[first + offset], first + offset === at, theme));
  return height < 2 ? body : [theme.fg("dim", fitted(`  ${title}`, width)), ...body];
}

/** Half the width, or what the columns leave of it that stay in a narrow terminal. */
function widestId(columns: PanelContent["columns"], rows: readonly PanelRow[], width: number): number {
  const needed = columns.map(({ title, priority }, at) =>
    at === 0 || priority > 1
      ? 0
      : GAP + Math.max(title.length, ...rows.map(({ cells }) => visibleWidth(cells[at] ?? ""))),
  );
  const left = width - MARK - needed.reduce((sum, columns) => sum + columns, 0);
  return Math.min(Math.floor(width / 2), Math.max(LEAST_ID, left));
}

/** Figures to the right, under a title that stands there too. */
function aligned(
  columns: PanelContent["columns"],
  rows: readonly (readonly string[])[],
): [PanelContent["columns"], string[][]] {
  const widths = columns.map(({ title, isFigure }, at) =>
    isFigure ? Math.max(title.length, ...rows.map((cells) => (cells[at] ?? "").length)) : 0,
  );
  return [
    columns.map((column, at) => ({ ...column, title: column.title.padStart(widths[at] ?? 0) })),
    rows.map((cells) => cells.map((cell, at) => cell.padStart(widths[at] ?? 0))),
  ];
}

function rowLine(line: string, row: PanelRow | undefined, isSelected: boolean, theme: Colours): string {
  if (isSelected) return theme.fg("accent", theme.bold(`→ ${line}`));
  const colour = row?.tone === "ready" ? "success" : row?.tone === "changing" ? "warning" : "muted";
  return theme.fg(colour, `  ${line}`);
}
