/** How fast a turn goes: the rate of a growing count, and how far the server is with a prompt. */

/** A rate covers the last seconds. */
const WINDOW_MS = 4000;
/** A shorter span gives no estimate. */
const LEAST_SPAN_MS = 800;

/** The rate of a growing count. It falls to zero when samples go on and the count no longer grows. */
export class RateMeter {
  #samples: { at: number; count: number }[] = [];

  /**
   * Ignores a sample that goes backwards, in time or in number.
   *
   * @param at in milliseconds, of any clock that runs evenly
   */
  add(at: number, count: number): void {
    const last = this.#samples.at(-1);
    if (!Number.isFinite(at) || !Number.isFinite(count)) return;
    if (last !== undefined && (at <= last.at || count < last.count)) return;
    this.#samples.push({ at, count });
    // One sample from before the window stays, so that the window is whole.
    while (this.#samples[1] !== undefined && this.#samples[1].at <= at - WINDOW_MS) this.#samples.shift();
  }

  /**
   * @param lateMs how long the next sample is overdue, in milliseconds
   * @returns per second; undefined until there are enough samples
   */
  perSecond(lateMs = 0): number | undefined {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (first === undefined || last === undefined || last.at - first.at < LEAST_SPAN_MS) return undefined;
    return (1000 * (last.count - first.count)) / (last.at - first.at + lateMs);
  }
}

/** llama-server's `prompt_progress`. */
export interface PromptProgress {
  total: number;
  cached: number;
  processed: number;
  /** Milliseconds that the server has spent on it, by its own clock. */
  timeMs: number | undefined;
}

/** Tokens of a prompt: `cached` of them need no work; `processed` includes them. */
export interface PromptFigures {
  total: number;
  cached: number;
  processed: number;
  perSecond: number | undefined;
  leftMs: number | undefined;
}

/** A report counts as late after this many times the last interval, and not before so many milliseconds. */
const LATE_FACTOR = 1.5;
const LATE_MS = 2000;

/** An estimate beyond a day is not shown. */
const MAX_LEFT_MS = 86_400_000;

/** The reading of one prompt; its figures never go backwards. */
export class PromptReading {
  readonly #total: number;
  readonly #cached: number;
  readonly #hasServerTime: boolean;
  readonly #rate = new RateMeter();
  #processed: number;
  #reportedAt: number;
  #allowedMs = LATE_MS;

  /** @param now in milliseconds */
  constructor(progress: PromptProgress, now: number) {
    this.#total = Math.max(0, progress.total);
    this.#cached = Math.min(this.#total, Math.max(0, progress.cached));
    this.#processed = this.#cached;
    this.#reportedAt = now;
    this.#hasServerTime = progress.timeMs !== undefined;
    this.add(progress, now);
  }

  /** Whether the report is about this prompt, and not about another one that the server begins. */
  isOf({ total, cached }: PromptProgress): boolean {
    return Math.max(0, total) === this.#total && Math.min(this.#total, Math.max(0, cached)) === this.#cached;
  }

  add({ processed, timeMs }: PromptProgress, now: number): void {
    this.#processed = Math.min(this.#total, Math.max(this.#processed, processed));
    this.#allowedMs = Math.max(LATE_MS, LATE_FACTOR * (now - this.#reportedAt));
    this.#reportedAt = now;
    const at = this.#hasServerTime ? timeMs : now;
    if (at !== undefined) this.#rate.add(at, this.#processed - this.#cached);
  }

  look(now: number): PromptFigures {
    const silentMs = Math.max(0, now - this.#reportedAt);
    const perSecond = this.#rate.perSecond(Math.max(0, silentMs - this.#allowedMs));
    const [total, cached, processed] = [this.#total, this.#cached, this.#processed];
    return { total, cached, processed, perSecond, leftMs: this.#left(perSecond, silentMs) };
  }

  #left(perSecond: number | undefined, silentMs: number): number | undefined {
    if (perSecond === undefined || perSecond <= 0) return undefined;
    const left = (1000 * (this.#total - this.#processed)) / perSecond - silentMs;
    // An estimate that is used up was wrong.
    return left > 0 && left <= MAX_LEFT_MS ? left : undefined;
  }
}
