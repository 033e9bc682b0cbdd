/** Lines that fit: pieces flow, what is too wide is cut with an ellipsis. Pure. */
import { truncateToWidth, visibleWidth } from "@earendil-works/pi-tui";

export const SEPARATOR = " · ";

/** Pieces on as few lines as they need, none of which is cut as long as it fits a line alone. */
export function flow(pieces: readonly string[], separator: string, width: number): string[] {
  const lines: string[] = [];
  for (const piece of pieces) {
    const last = lines.at(-1);
    const joined = last === undefined ? piece : last + separator + piece;
    if (last !== undefined && visibleWidth(joined) <= width) lines[lines.length - 1] = joined;
    else lines.push(piece);
  }
  return lines.map((line) => fitted(line, width));
}

/** The line itself, or as much of it as fits. */
export function fitted(line: string, width: number): string {
  return visibleWidth(line) > width ? truncateToWidth(line, width, "…") : line;
}

export function padded(line: string, width: number): string {
  const shown = fitted(line, width);
  return shown + " ".repeat(Math.max(0, width - visibleWidth(shown)));
}

/** The first of `height` rows that are seen, so that the selected one is, with others around it. */
export function firstSeen(count: number, selected: number, height: number): number {
  const middle = selected - Math.floor(height / 2);
  return Math.max(0, Math.min(middle, count - height));
}
