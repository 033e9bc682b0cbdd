/** Where on the screen each part of the panel goes. Pure. */
import { truncateToWidth, visibleWidth } from "@earendil-works/pi-tui";

export const SEPARATOR = " · ";

/** From this width on the lower half stands in two columns. */
const TWO_COLUMNS = 100;
const GAP = 3;

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

/** The columns that each half of the lower part has; `right` is undefined where they stand one below the other. */
export function halves(width: number): { left: number; right: number | undefined } {
  if (width < TWO_COLUMNS) return { left: width, right: undefined };
  const left = Math.floor((width - GAP) / 2);
  return { left, right: width - GAP - left };
}

/** Two blocks beside each other, or one below the other, the first one's lines before the second one's. */
export function joined(
  left: readonly string[],
  right: readonly string[],
  widths: ReturnType<typeof halves>,
): string[] {
  if (widths.right === undefined) {
    const between = left.length > 0 && right.length > 0 ? [""] : [];
    return [...right, ...between, ...left];
  }
  const count = Math.max(left.length, right.length);
  return Array.from({ length: count }, (_, at) => {
    const second = right[at] ?? "";
    const first = left[at] ?? "";
    return second === "" ? first : padded(first, widths.left) + " ".repeat(GAP) + second;
  });
}

/** How many lines a list and what stands below it get of `height`: the list half of it, and more where that is free. */
export function share(height: number, list: number, below: number): { list: number; below: number } {
  const least = Math.min(list, Math.max(2, Math.floor(height / 2)));
  const gets = Math.min(height, list, Math.max(least, height - below));
  return { list: Math.max(0, gets), below: Math.max(0, height - gets) };
}

/** The first of `height` rows that are seen, so that the selected one is, with others around it. */
export function firstSeen(count: number, selected: number, height: number): number {
  const middle = selected - Math.floor(height / 2);
  return Math.max(0, Math.min(middle, count - height));
}
