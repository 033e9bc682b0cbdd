/** How often and how long a turn asks again. Pure but for the clock. */
import type { SimpleStreamOptions } from "@earendil-works/pi-ai";
import type { ServerError } from "../lib/errors.ts";
import type { Verdict } from "../server/kinds/refusal.ts";
import { waitedTooLong } from "./waiting.ts";

/** Before the second request, in milliseconds. */
export const RETRY_BASE_MS = 1000;

/** Between two requests for a model that is unloaded again and again: each loads it. */
const LONGEST_POLL_MS = 10_000;

/** pi's own default for the longest wait between two attempts. */
const MAX_RETRY_DELAY_MS = 60_000;

export class Patience {
  readonly #loadTimeoutMs: number;
  readonly #options: Pick<SimpleStreamOptions, "maxRetries" | "maxRetryDelayMs">;
  readonly #now: () => number;
  #until: number;
  #faults = 0;
  #unloads = 0;

  /** @param loadTimeoutMs for all waiting until `renew` */
  constructor(
    loadTimeoutMs: number,
    options: Pick<SimpleStreamOptions, "maxRetries" | "maxRetryDelayMs">,
    now: () => number,
  ) {
    this.#loadTimeoutMs = loadTimeoutMs;
    this.#options = options;
    this.#now = now;
    this.#until = now() + loadTimeoutMs;
  }

  /** The whole time again: the server has restarted, and loads the model from the beginning. */
  renew(): void {
    this.#until = this.#now() + this.#loadTimeoutMs;
  }

  /** Milliseconds that are left for waiting. */
  get leftMs(): number {
    return this.#until - this.#now();
  }

  /**
   * A connection that was lost is tried once more on our own account, everything else as often as pi asks for.
   *
   * @returns milliseconds until the next request; undefined where there is none
   */
  afterFault({ link }: ServerError): number | undefined {
    const allowed = (link === "Caddy" || link === "stream" ? 1 : 0) + (this.#options.maxRetries ?? 0);
    if (this.#faults >= allowed) return undefined;
    const limit = this.#options.maxRetryDelayMs ?? MAX_RETRY_DELAY_MS;
    const delay = RETRY_BASE_MS * 2 ** this.#faults;
    this.#faults += 1;
    return limit > 0 ? Math.min(delay, limit) : delay;
  }

  /**
   * @returns milliseconds until the next request for a model that is not ready
   * @throws {ServerError} where there is no time left
   */
  whileNotReady({ why, delayMs }: Extract<Verdict, { kind: "wait" }>, modelName: string): number {
    if (delayMs > this.leftMs) throw waitedTooLong(modelName, why);
    if (why !== "unloaded") return delayMs;
    const longer = Math.min(LONGEST_POLL_MS, delayMs * 1.3 ** this.#unloads);
    this.#unloads += 1;
    return Math.max(delayMs, longer);
  }
}
