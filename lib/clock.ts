/** Time as a parameter, so that tests need not wait. */
import { setTimeout as wait } from "node:timers/promises";

export interface Clock {
  /** Unix time in milliseconds. */
  now(): number;
  /** Rejects with the signal's reason when that is aborted. */
  sleep(milliseconds: number, signal: AbortSignal): Promise<void>;
}

/** A clock that also ticks, for what the terminal shows. */
export interface Ticker extends Pick<Clock, "now"> {
  /** Calls `act` repeatedly without keeping the process alive. @returns what stops it */
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
 * Runs `work` with a signal that aborts with the caller's, at the limit, and when the work is done.
 *
 * @param late makes the error that the signal aborts with at the limit
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

/** The same promise, for one caller: rejects with the signal's reason when that is aborted. */
export async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  // Once the caller has stopped waiting, a rejection has no other handler.
  promise.catch(() => undefined);
  signal.throwIfAborted();
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (onAbort) signal.removeEventListener("abort", onAbort);
  }
}
