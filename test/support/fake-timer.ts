import type { Ticker } from "../../lib/clock.ts";

/** Ticks that come only when a test lets time pass. */
export class FakeTimer implements Ticker {
  #now = 1_800_000_000_000;
  readonly #ticking = new Set<{ every: number; due: number; act: () => void }>();

  readonly now = (): number => this.#now;

  readonly every = (milliseconds: number, act: () => void): (() => void) => {
    const tick = { every: milliseconds, due: this.#now + milliseconds, act };
    this.#ticking.add(tick);
    return () => this.#ticking.delete(tick);
  };

  /** How many would still tick. */
  get left(): number {
    return this.#ticking.size;
  }

  advance(milliseconds: number): void {
    const end = this.#now + milliseconds;
    for (;;) {
      const next = [...this.#ticking].sort((a, b) => a.due - b.due)[0];
      if (next === undefined || next.due > end) break;
      this.#now = next.due;
      next.due += next.every;
      next.act();
    }
    this.#now = end;
  }
}
