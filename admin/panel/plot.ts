/** Bars and small plots out of block characters. Pure. */

const STEPS = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"] as const;
const FULL = "█";
const EMPTY = "░";

/** The last values, one column each, from 0 to `most`; at most `width` columns. */
export function sparkline(values: readonly number[], most: number, width: number): string {
  const shown = width < 1 ? [] : values.slice(-width);
  return shown
    .map((value) => {
      const part = most > 0 && Number.isFinite(value) ? Math.min(1, Math.max(0, value / most)) : 0;
      return STEPS[Math.min(STEPS.length - 1, Math.floor(part * STEPS.length))] ?? STEPS[0];
    })
    .join("");
}

/**
 * A bar of `width` columns.
 *
 * @param fraction of 1; it is never full before the end, which nobody claims to know
 */
export function progressBar(fraction: number, width: number): string {
  const columns = Math.max(0, width);
  const full = Math.min(Math.max(0, columns - 1), Math.max(0, Math.floor(fraction * columns)));
  return FULL.repeat(full) + EMPTY.repeat(columns - full);
}

/** A bar that says only that something goes on. @param step counted up by whoever draws it */
export function movingBar(step: number, width: number): string {
  const columns = Math.max(0, width);
  const block = Math.min(columns, Math.max(1, Math.floor(columns / 5)));
  const way = columns - block;
  // There and back again.
  const turn = way === 0 ? 0 : step % (2 * way);
  const before = turn <= way ? turn : 2 * way - turn;
  return EMPTY.repeat(before) + FULL.repeat(block) + EMPTY.repeat(way - before);
}
