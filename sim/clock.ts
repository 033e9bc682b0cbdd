/** Time as the stand-in sees it: milliseconds that may pass faster than real ones, so that tests need not wait. */
export interface Clock {
  /** Simulated milliseconds since the clock was made. */
  now(): number;
  /** Resolves after `ms` simulated milliseconds, or at once when `signal` aborts; it never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Changes the pace, also of pending sleeps. */
  setSpeed(speed: number): void;
}

interface Sleeper {
  due: number;
  timer: NodeJS.Timeout | undefined;
  wake(): void;
}

/** @param initialSpeed how many simulated milliseconds pass in a real one; 1 is real time */
export function makeClock(initialSpeed: number): Clock {
  let speed = initialSpeed;
  let anchor = { real: performance.now(), simulated: 0 };
  const sleepers = new Set<Sleeper>();
  const now = () => anchor.simulated + (performance.now() - anchor.real) * speed;
  const schedule = (sleeper: Sleeper) => {
    clearTimeout(sleeper.timer);
    // Node's timers may fire a little early, which at a high speed is long.
    const fire = () => (now() < sleeper.due ? schedule(sleeper) : sleeper.wake());
    sleeper.timer = setTimeout(fire, Math.max(0, sleeper.due - now()) / speed);
  };
  return {
    now,
    sleep(ms, signal) {
      if (ms <= 0 || signal?.aborted) return Promise.resolve();
      return new Promise((resolve) => {
        const sleeper: Sleeper = {
          due: now() + ms,
          timer: undefined,
          wake() {
            clearTimeout(sleeper.timer);
            sleepers.delete(sleeper);
            signal?.removeEventListener("abort", sleeper.wake);
            resolve();
          },
        };
        sleepers.add(sleeper);
        signal?.addEventListener("abort", sleeper.wake, { once: true });
        schedule(sleeper);
      });
    },
    setSpeed(newSpeed) {
      anchor = { real: performance.now(), simulated: now() };
      speed = newSpeed;
      for (const sleeper of sleepers) schedule(sleeper);
    },
  };
}
