/** How often and how long a turn asks again, and waits for a server that restarts. */
import type { SimpleStreamOptions } from "@earendil-works/pi-ai";
import type { Clock } from "../lib/clock.ts";
import { codeOf, ServerError } from "../lib/errors.ts";
import { wholeSeconds } from "../lib/figures.ts";
import type { Verdict } from "../server/kinds/refusal.ts";
import type { ModelServer } from "../server/model-server.ts";

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

export interface RestartParts {
  clock: Clock;
  /** The command of this pi that is restarting the server. */
  restarting?(): string | undefined;
}

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 5000;

/** A server that goes away more often under one request may crash because of it. */
const MOST_RETURNS = 3;

/** Waits for a server that answered before and no longer does: it is restarting, which a turn outlasts like a load. */
export class RestartWait {
  readonly #server: ModelServer;
  readonly #parts: RestartParts;
  readonly #signal: AbortSignal;
  readonly #onDown: (by: string | undefined) => void;
  /** Milliseconds that the server may still be away in this turn. */
  #leftMs: number;
  #returns = 0;

  /** @param onDown called before each pause, with the command that restarts the server */
  constructor(
    server: ModelServer,
    parts: RestartParts,
    signal: AbortSignal,
    onDown: (by: string | undefined) => void,
  ) {
    this.#server = server;
    this.#parts = parts;
    this.#signal = signal;
    this.#onDown = onDown;
    this.#leftMs = server.config.loadTimeoutMs;
  }

  /**
   * Waits where the fault is that of a restarting server: llama-swap refuses connections from SIGTERM on, and drains
   * for up to 30 s before its unit starts it again.
   *
   * @returns whether it is back; false for any other fault
   * @throws {ServerError} when it stays away for longer than `loadTimeoutMs`, or goes away again and again; the
   *   signal's reason
   */
  async isBackAfter(fault: ServerError): Promise<boolean> {
    if (!this.#server.hasAnswered && this.#parts.restarting?.() === undefined) return false;
    if (!isAway(fault)) return false;
    // A fault other than a refused connection may be of this one request.
    const still = isRefused(fault) ? fault : await this.#away();
    if (still === undefined || !isAway(still)) return false;
    if (this.#returns >= MOST_RETURNS) throw wentAwayAgain(fault);
    // A server that this pi restarts did not crash.
    if (this.#parts.restarting?.() === undefined) this.#returns += 1;
    await this.#untilBack(fault);
    return true;
  }

  async #untilBack(fault: ServerError): Promise<void> {
    const { now, sleep } = this.#parts.clock;
    const until = now() + this.#leftMs;
    for (let pause = FIRST_PAUSE_MS, last = fault; ; pause = Math.min(LONGEST_PAUSE_MS, pause * 1.3)) {
      if (now() + pause > until) throw stayedAway(this.#server.config.loadTimeoutMs, last);
      this.#onDown(this.#parts.restarting?.());
      await sleep(pause, this.#signal);
      const away = await this.#away();
      if (away === undefined) break;
      last = away;
    }
    this.#leftMs = until - now();
  }

  /** Why it does not answer; undefined where it does. */
  async #away(): Promise<ServerError | undefined> {
    try {
      await this.#server.ping(this.#signal);
      return undefined;
    } catch (error) {
      this.#signal.throwIfAborted();
      // Any answer of its own will do. A rebooting machine first refuses connections, then is silent.
      return error instanceof ServerError && (isAway(error) || isUnreachable(error)) ? error : undefined;
    }
  }
}

function isRefused(fault: ServerError): boolean {
  return fault.link === "TCP" && codeOf(fault) === "ECONNREFUSED";
}

function isUnreachable({ link, remedy }: ServerError): boolean {
  return link === "TCP" && remedy === "retry";
}

/** Nothing listens, the connection was closed, or Caddy says that nothing listens. A 503 with words is the server's own. */
function isAway(fault: ServerError): boolean {
  if (fault.remedy !== "retry") return false;
  if (fault.status === undefined) return isRefused(fault) || fault.link === "Caddy";
  return fault.status === 502 || fault.status === 504 || (fault.status === 503 && fault.quote === undefined);
}

function stayedAway(limitMs: number, last: ServerError): ServerError {
  return new ServerError(
    [
      `The server answered earlier, but has not come back within ${wholeSeconds(limitMs)} (AI_SERVER_LOAD_TIMEOUT_MS). `,
      last.message,
    ],
    { link: last.link, remedy: "none", cause: last },
  );
}

function wentAwayAgain(last: ServerError): ServerError {
  return new ServerError(
    [
      `The server went away ${MOST_RETURNS + 1} times while it worked on this request, which may be crashing it. /ai-server-logs may show why. `,
      last.message,
    ],
    { link: last.link, remedy: "none", cause: last },
  );
}
