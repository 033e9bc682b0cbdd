/** Time as the terminal's lines need it. */
export interface Timer {
  /** Unix time in milliseconds. */
  now(): number;
  /** Calls again and again, and keeps no process alive. @returns ends it */
  every(milliseconds: number, act: () => void): () => void;
}

export const TIMER: Timer = {
  now: Date.now,
  every: (milliseconds, act) => {
    const interval = setInterval(act, milliseconds).unref();
    return () => clearInterval(interval);
  },
};
