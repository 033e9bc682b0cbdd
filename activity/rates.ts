/** A rate is that of the last seconds. */
const WINDOW_MS = 4000;
/** Below this there is nothing to estimate from. */
const LEAST_SPAN_MS = 800;

/**
 * The rate of a growing count over the last seconds. It falls to nothing when the count no longer grows, as long as
 * samples are still added.
 */
export class RateMeter {
  #samples: { at: number; count: number }[] = [];

  /**
   * A sample that goes backwards, in time or in number, is left out.
   *
   * @param at in milliseconds, of any clock that runs evenly
   */
  add(at: number, count: number): void {
    const last = this.#samples.at(-1);
    if (!Number.isFinite(at) || !Number.isFinite(count)) return;
    if (last !== undefined && (at <= last.at || count < last.count)) return;
    this.#samples.push({ at, count });
    // One sample at or before the window's beginning stays, so that the window is whole.
    while (this.#samples[1] !== undefined && this.#samples[1].at <= at - WINDOW_MS) this.#samples.shift();
  }

  /**
   * @param lateMs how long the next sample is overdue, in milliseconds
   * @returns per second; undefined until there is something to tell it from
   */
  perSecond(lateMs = 0): number | undefined {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (first === undefined || last === undefined || last.at - first.at < LEAST_SPAN_MS) return undefined;
    return (1000 * (last.count - first.count)) / (last.at - first.at + lateMs);
  }
}
