import type { Clock } from "../../lib/clock.ts";

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
