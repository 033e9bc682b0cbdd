/** How far a server is with a prompt, and how long it will still take. */
import { RateMeter } from "./rates.ts";

/** What the server tells of a prompt that it reads (llama-server's `prompt_progress`). */
export interface PromptProgress {
  total: number;
  cached: number;
  processed: number;
  /** Milliseconds that the server has spent on it; its own clock knows best. */
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

/** A report may come this much later than the one before it, and at least so late, before its delay counts. */
const LATE_FACTOR = 1.5;
const LATE_MS = 2000;

/** An estimate beyond a day is none. */
const MAX_LEFT_MS = 86_400_000;

/** One prompt that is read; what is told of it never goes backwards. */
export class PromptReading {
  readonly #total: number;
  readonly #cached: number;
  readonly #hasServerTime: boolean;
  readonly #rate = new RateMeter();
  #processed: number;
  #toldAt: number;
  #allowedMs = LATE_MS;

  /** @param now in milliseconds */
  constructor(progress: PromptProgress, now: number) {
    this.#total = Math.max(0, progress.total);
    this.#cached = Math.min(this.#total, Math.max(0, progress.cached));
    this.#processed = this.#cached;
    this.#toldAt = now;
    this.#hasServerTime = progress.timeMs !== undefined;
    this.add(progress, now);
  }

  /** Whether the report is of this prompt, and not of another one that the server begins. */
  isOf({ total, cached }: PromptProgress): boolean {
    return Math.max(0, total) === this.#total && Math.min(this.#total, Math.max(0, cached)) === this.#cached;
  }

  add({ processed, timeMs }: PromptProgress, now: number): void {
    this.#processed = Math.min(this.#total, Math.max(this.#processed, processed));
    this.#allowedMs = Math.max(LATE_MS, LATE_FACTOR * (now - this.#toldAt));
    this.#toldAt = now;
    const at = this.#hasServerTime ? timeMs : now;
    if (at !== undefined) this.#rate.add(at, this.#processed - this.#cached);
  }

  look(now: number): PromptFigures {
    const silentMs = Math.max(0, now - this.#toldAt);
    const perSecond = this.#rate.perSecond(Math.max(0, silentMs - this.#allowedMs));
    const [total, cached, processed] = [this.#total, this.#cached, this.#processed];
    return { total, cached, processed, perSecond, leftMs: this.#left(perSecond, silentMs) };
  }

  #left(perSecond: number | undefined, silentMs: number): number | undefined {
    if (perSecond === undefined || perSecond <= 0) return undefined;
    const left = (1000 * (this.#total - this.#processed)) / perSecond - silentMs;
    // Once the estimate is used up it was wrong.
    return left > 0 && left <= MAX_LEFT_MS ? left : undefined;
  }
}
