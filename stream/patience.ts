/** How often and how long a turn asks again. */
import type { SimpleStreamOptions } from "@earendil-works/pi-ai";
import { ServerError } from "../lib/errors.ts";
import type { Verdict } from "../server/kinds/refusal.ts";

/** Milliseconds before the second request. */
export const RETRY_BASE_MS = 1000;

/** Between two requests for a model that is unloaded repeatedly: each loads it. */
const LONGEST_POLL_MS = 10_000;

/** pi's own default for the longest wait between two attempts. */
const MAX_RETRY_DELAY_MS = 60_000;

/** Why a turn asks again, for its working line. */
export const WHY_WAIT = {
  loading: "the model is loading",
  unloaded: "the model was unloaded",
  busy: "the server has too many requests",
};

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

  /** The server has restarted and loads the model from the beginning, so the whole time is left again. */
  renew(): void {
    this.#until = this.#now() + this.#loadTimeoutMs;
  }

  /** Milliseconds left for waiting. */
  get leftMs(): number {
    return this.#until - this.#now();
  }

  /**
   * A lost connection is tried once more than pi asks for.
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

function waitedTooLong(modelName: string, why: keyof typeof WHY_WAIT): ServerError {
  return new ServerError(
    why === "busy"
      ? `${modelName} has had too many requests at once for longer than AI_SERVER_LOAD_TIMEOUT_MS allows (timed out).`
      : `${modelName} was not loaded within AI_SERVER_LOAD_TIMEOUT_MS (timed out). See /ai-server-status for what the server is doing.`,
    { link: "model", remedy: "retry" },
  );
}
