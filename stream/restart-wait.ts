/** A server that answered before and no longer does is restarting, and a turn waits for it as for a load. */
import type { Clock } from "../lib/clock.ts";
import { codeOf, ServerError } from "../lib/errors.ts";
import type { ModelServer } from "../server/model-server.ts";

export interface RestartParts {
  clock: Clock;
  /** The command of this pi that is restarting the server. */
  restarting?(): string | undefined;
}

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 5000;

/** A server that goes away more often under one request may crash because of it. */
const MOST_RETURNS = 3;

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
      `The server answered earlier, but has not come back within ${Math.ceil(limitMs / 1000)} s (AI_SERVER_LOAD_TIMEOUT_MS). `,
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
