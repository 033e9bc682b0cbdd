/** Lines that fit: pieces flow, tables drop columns, what is too wide is cut with an ellipsis. Pure. */
import { stripVTControlCharacters } from "node:util";
import type { Theme } from "@earendil-works/pi-coding-agent";
import {
  type Keybinding,
  type KeybindingsManager,
  type TUI,
  truncateToWidth,
  visibleWidth,
} from "@earendil-works/pi-tui";
import { type Paint, unpainted } from "./result.ts";

export type Colours = Pick<Theme, "fg" | "bold">;

/** What pi gives a component that fills the terminal. */
export interface ViewParts {
  tui: { terminal: Pick<TUI["terminal"], "rows">; requestRender(): void };
  theme: Colours;
  keys: Pick<KeybindingsManager, "matches" | "getKeys">;
}

export const SEPARATOR = " · ";

/** Pieces on as few lines as they need; only a piece wider than a line is cut. */
export function flow(pieces: readonly string[], width: number): string[] {
  const lines: string[] = [];
  for (const piece of pieces) {
    const last = lines.at(-1);
    const joined = last === undefined ? piece : last + SEPARATOR + piece;
    if (last !== undefined && visibleWidth(joined) <= width) lines[lines.length - 1] = joined;
    else lines.push(piece);
  }
  return lines.map((line) => fitted(line, width));
}

export function fitted(line: string, width: number): string {
  return visibleWidth(line) > width ? truncateToWidth(line, width, "…") : line;
}

/**
 * A text without colours, cut where it is too wide. pi-tui puts colour resets around its ellipsis: they would end the
 * colour of a line, and do not belong in a file or a pipe.
 */
export function fittedPlain(text: string, width: number, ellipsis = "…"): string {
  return stripVTControlCharacters(truncateToWidth(text, width, ellipsis));
}

/** A text of at most `width` columns, without its middle where it is longer: ids mostly differ at their ends. */
export function withoutMiddle(text: string, width: number): string {
  if (visibleWidth(text) <= width) return text;
  const end = Array.from(text);
  const room = Math.floor((width - 1) / 2);
  while (end.length > 0 && visibleWidth(end.join("")) > room) end.shift();
  const tail = end.join("");
  return fittedPlain(text, width - visibleWidth(tail)) + tail;
}

export function padded(line: string, width: number): string {
  const shown = fitted(line, width);
  return shown + " ".repeat(Math.max(0, width - visibleWidth(shown)));
}

/** The first row to show of `count`, so that the selected one is in the middle of `height` rows where that is possible. */
export function firstSeen(count: number, selected: number, height: number): number {
  const middle = selected - Math.floor(height / 2);
  return Math.max(0, Math.min(middle, count - height));
}

/** The first key of each binding, as in `up/down`; empty where nothing is bound. */
export function keyNames(keys: Pick<KeybindingsManager, "getKeys">, ...bindings: Keybinding[]): string {
  return bindings.flatMap((binding) => keys.getKeys(binding).slice(0, 1)).join("/");
}

/** `escape leave`; nothing where no key is bound. */
export function keyHint(key: string, does: string): string[] {
  return key === "" ? [] : [`${key} ${does}`];
}

export interface Column {
  title: string;
  /** In a narrow terminal the columns with the highest number are dropped first; 0 always stays. */
  priority: number;
}

/** A text, with how it looks. */
export interface Cell {
  readonly text: string;
  readonly paint: Paint;
}

const GAP = "  ";
const LEAST_FIRST_COLUMN = 12;
/** Columns of a higher priority are dropped before the first one is cut. */
const DISPENSABLE = 1;

function cellOf(cell: Cell | string | undefined): Cell {
  return typeof cell === "object" ? cell : { text: cell ?? "", paint: unpainted };
}

/**
 * Lays out rows for a terminal of `width` columns: columns are dropped or the first one is cut, so that no line is
 * wider than `width`.
 *
 * @param rows one cell per column; shorter rows count as empty at their end
 * @param paintTitles how the line of titles looks
 */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly (Cell | string)[])[],
  width: number,
  paintTitles: Paint = unpainted,
): string[] {
  const cells = rows.map((row) => columns.map((_, at) => cellOf(row[at])));
  const widths = columns.map(({ title }, at) =>
    Math.max(visibleWidth(title), ...cells.map((row) => visibleWidth(cellOf(row[at]).text))),
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
  const plain = (text: string, columns: number): string => padded(fittedPlain(text, columns), columns);
  const line = (row: readonly Cell[]): string => {
    const cut = shown.map((at) => ({
      ...cellOf(row[at]),
      text: plain(cellOf(row[at]).text, widths[at] ?? 0),
    }));
    const whole = cut.map(({ text }) => text).join(GAP);
    if (visibleWidth(whole.trimEnd()) > width) return plain(whole.trimEnd(), width);
    return cut.map(painted).join(GAP).trimEnd();
  };
  return [line(columns.map(({ title }) => ({ text: title, paint: paintTitles }))), ...cells.map(line)];
}

/** The spaces at the end stay outside the colour. */
function painted({ text, paint }: Cell): string {
  const seen = text.trimEnd();
  return (seen === "" ? "" : paint(seen)) + text.slice(seen.length);
}
