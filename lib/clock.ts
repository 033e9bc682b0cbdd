/** Time as a parameter, so that tests need not wait. */
import { setTimeout as wait } from "node:timers/promises";

export interface Clock {
  /** Unix time in milliseconds. */
  now(): number;
  /** Rejects with the signal's reason when it is aborted meanwhile. */
  sleep(milliseconds: number, signal: AbortSignal): Promise<void>;
}

/** A clock that also ticks, for what the terminal shows. */
export interface Ticker extends Pick<Clock, "now"> {
  /** Calls again and again, and keeps no process alive. @returns ends it */
  every(milliseconds: number, act: () => void): () => void;
}

export const REAL_CLOCK: Clock & Ticker = {
  now: Date.now,
  sleep: async (milliseconds, signal) => {
    await wait(milliseconds, undefined, { signal }).catch(() => signal.throwIfAborted());
  },
  every: (milliseconds, act) => {
    const interval = setInterval(act, milliseconds).unref();
    return () => clearInterval(interval);
  },
};

/**
 * Runs `work` with a signal that is aborted by the caller's, by the limit, and when the work is over.
 *
 * @param late gives the error with which the signal is aborted at the limit
 */
export async function within<T>(
  limitMs: number,
  signal: AbortSignal,
  clock: Clock,
  late: () => Error,
  work: (stop: AbortSignal) => Promise<T>,
): Promise<T> {
  const ended = new AbortController();
  const limit = clock.sleep(limitMs, ended.signal).then(
    () => ended.abort(late()),
    () => undefined,
  );
  try {
    return await work(AbortSignal.any([signal, ended.signal]));
  } finally {
    ended.abort();
    await limit;
  }
}
