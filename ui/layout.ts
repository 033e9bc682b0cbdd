/** Lines that fit: pieces flow, what is too wide is cut with an ellipsis. Pure. */
import {
  type Keybinding,
  type KeybindingsManager,
  truncateToWidth,
  visibleWidth,
} from "@earendil-works/pi-tui";

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

/** The line itself, or as much of it as fits. */
export function fitted(line: string, width: number): string {
  return visibleWidth(line) > width ? truncateToWidth(line, width, "…") : line;
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
