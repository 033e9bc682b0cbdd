import type { Clock, Ticker } from "../../lib/clock.ts";

/** Time that passes only when a test says so. */
export class FakeClock {
  /** Every wait that was asked for, in milliseconds, in order. */
  readonly sleeps: number[] = [];
  #now = 1_800_000_000_000;
  readonly #sleepers = new Set<{ due: number; wake: () => void }>();

  readonly now = (): number => this.#now;

  readonly sleep = (milliseconds: number, signal: AbortSignal): Promise<void> => {
    if (signal.aborted) return Promise.reject(signal.reason);
    this.sleeps.push(milliseconds);
    return new Promise((resolve, reject) => {
      const sleeper = {
        due: this.#now + milliseconds,
        wake: () => {
          this.#sleepers.delete(sleeper);
          signal.removeEventListener("abort", abort);
          resolve();
        },
      };
      const abort = (): void => {
        this.#sleepers.delete(sleeper);
        reject(signal.reason);
      };
      signal.addEventListener("abort", abort, { once: true });
      this.#sleepers.add(sleeper);
    });
  };

  /** How many wait at this moment. */
  get waiting(): number {
    return this.#sleepers.size;
  }

  /** Lets `milliseconds` pass, and ends each wait that falls due meanwhile. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    for (;;) {
      await settled();
      const next = this.#next();
      if (next === undefined || next.due > end) break;
      this.#now = Math.max(this.#now, next.due);
      next.wake();
    }
    this.#now = end;
    await settled();
  }

  /**
   * Lets time pass until `work` has ended.
   *
   * @throws when nothing waits for time any more and `work` still has not ended
   */
  async until<T>(work: Promise<T>): Promise<T> {
    let ended = false;
    const end = (): void => {
      ended = true;
    };
    work.then(end, end);
    for (let idle = 0; idle < 200; idle += 1) {
      await settled();
      if (ended) return work;
      const next = this.#next();
      if (next === undefined) continue;
      idle = 0;
      this.#now = Math.max(this.#now, next.due);
      next.wake();
    }
    throw new Error("It hangs: nothing waits for time any more.");
  }

  #next(): { due: number; wake: () => void } | undefined {
    return [...this.#sleepers].sort((a, b) => a.due - b.due)[0];
  }
}

/** Resolves when everything that needs no time has happened. */
export async function settled(): Promise<void> {
  for (let round = 0; round < 6; round += 1) await new Promise(setImmediate);
}

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

/** Real time that passes `speed` times faster, as in a stand-in of the same speed. */
export function fastClock(speed: number): Clock {
  const origin = { real: performance.now(), date: Date.now() };
  return {
    now: () => Math.round(origin.date + (performance.now() - origin.real) * speed),
    sleep: (milliseconds, signal) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason);
        const end = (): void => {
          clearTimeout(timer);
          signal.removeEventListener("abort", end);
          if (signal.aborted) reject(signal.reason);
          else resolve();
        };
        const timer = setTimeout(end, milliseconds / speed);
        signal.addEventListener("abort", end, { once: true });
      }),
  };
}

/** Starts to count the milliseconds of processor time that this process uses, which no other process lengthens. */
export function processorTime(): () => number {
  const start = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000;
  };
}

/** Resolves when `read` gave the same for a moment. @throws as soon as it gives something else */
export async function unchanged(read: () => unknown, milliseconds = 100): Promise<void> {
  const before = JSON.stringify(read());
  const end = performance.now() + milliseconds;
  while (performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    const now = JSON.stringify(read());
    if (now !== before) throw new Error(`It was ${before}, and became ${now}`);
  }
}
