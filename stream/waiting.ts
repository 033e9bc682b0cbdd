/**
 * Why a turn's model does not answer yet: what the server reports of it, put together with llama-swap's banner.
 */
import { blockerOf, type LoadStage } from "../activity/load-state.ts";
import type { QuietReason, TurnReport, Waiting } from "../activity/turn-activity.ts";
import type { StateNow } from "../server/kinds/refusal.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { RunningModel } from "../server/models/models.ts";

/** Between two looks at a model whose load failed. `/running` is cached for a second, and timers may fire early. */
const FIRST_SETTLE_MS = 1050;
const LONGEST_SETTLE_MS = 10_000;

export interface SilentState {
  own: StateNow;
  /** Where the server reports it. */
  stage?: LoadStage | undefined;
  /** The model that must unload first, or is being stopped. */
  blockedBy: string | undefined;
  /** Requests of others that the model answers, where it is ready and the server lists them. */
  ahead?: number | undefined;
  /** False: the server does not have this request any more. Undefined: not known. */
  isHeld?: boolean | undefined;
}

export const UNREACHABLE: SilentState = { own: "unreachable", blockedBy: undefined };

export const UNREPORTED: SilentState = { own: "unknown", blockedBy: undefined };

export function silentStateOf(running: readonly RunningModel[] | undefined, id: string): SilentState {
  if (running === undefined) return UNREPORTED;
  const own = running.find((model) => model.id === id)?.state ?? "gone";
  return { own, blockedBy: blockerOf(id, new Map(running.map((model) => [model.id, model.state]))) };
}

/** @param id under which `/running` lists the model; undefined where it runs elsewhere */
export async function stateNow(
  server: ModelServer,
  id: string | undefined,
  signal: AbortSignal,
): Promise<StateNow> {
  try {
    const running = await server.running(signal);
    return running === undefined || id === undefined ? "unknown" : silentStateOf(running, id).own;
  } catch {
    return "unreachable";
  }
}

/**
 * The state after a failed load, once the model neither starts nor stops: another client may have asked for it since.
 *
 * @param look reads the state
 * @param pause waits so many milliseconds
 * @param leftMs of the time that may be waited
 */
export async function settledState(
  look: () => Promise<StateNow>,
  pause: (milliseconds: number) => Promise<void>,
  leftMs: () => number,
): Promise<StateNow> {
  for (let pauseMs = FIRST_SETTLE_MS; ; pauseMs = Math.min(LONGEST_SETTLE_MS, pauseMs * 1.3)) {
    await pause(pauseMs);
    const state = await look();
    if ((state !== "starting" && state !== "stopping") || pauseMs >= leftMs()) return state;
  }
}

/** Characters of a banner that are looked at: a place is written once, and holds until the next. */
const BANNER_TAIL = 8192;

const NOTHING: Waiting = { blockedBy: undefined, position: undefined };

/** Reports why the model does not answer, until it does. */
export class WaitingReport {
  readonly #report: (say: (report: TurnReport) => void) => void;
  /** Whether the last report was that the model is not ready. */
  #isWaiting = false;
  #waiting = NOTHING;
  /** By `/running`: the banner names a place in the queue, and never that the place is left. */
  #own: StateNow | undefined;
  #hasBanner = false;
  #hasBegun = false;

  constructor(report: (say: (report: TurnReport) => void) => void) {
    this.#report = report;
  }

  /** The request is sent, for the first time or again. */
  asks(): void {
    this.#waiting = NOTHING;
    this.#own = undefined;
    this.#hasBanner = false;
    this.#hasBegun = false;
  }

  /** The answer's headers came: a model sends them when it has a slot, llama-swap's banner earlier. */
  begins(): void {
    this.#hasBegun = true;
  }

  /**
   * @param banner as far as it came
   * @param elapsedMs since the request
   */
  sawBanner(banner: string, elapsedMs: number): void {
    this.#hasBanner = true;
    this.#waiting = { ...this.#waiting, position: queuePosition(banner) };
    // The banner finishes its line while a ready model already reads the prompt.
    if (this.#own !== "ready") this.#say(elapsedMs);
  }

  /** @param elapsedMs since the request */
  sawState({ own, blockedBy, stage, ahead = 0 }: SilentState, elapsedMs: number): void {
    if (own === "unknown" || own === "unreachable") return;
    this.#own = own;
    this.#waiting = { ...this.#waiting, blockedBy };
    if (own === "ready" && ahead > 0 && (this.#hasBanner || !this.#hasBegun)) this.#sayAhead(ahead);
    else if (own === "ready") this.answers();
    else this.#say(elapsedMs, stage);
  }

  /** The model has the request: it may read the prompt silently, or work for others. */
  answers(): void {
    if (this.#isWaiting) this.#report((report) => report.connecting());
    this.#isWaiting = false;
  }

  #sayAhead(ahead: number): void {
    this.#isWaiting = true;
    this.#report((report) => report.waiting({ blockedBy: undefined, position: undefined, ahead }));
  }

  #say(elapsedMs: number, stage?: LoadStage): void {
    this.#isWaiting = true;
    const waiting = this.#waiting;
    const isWaiting = this.#own !== "starting" && (waiting.blockedBy ?? waiting.position) !== undefined;
    this.#report((report) =>
      isWaiting ? report.waiting(waiting) : report.loading(elapsedMs, waiting.blockedBy, stage),
    );
  }
}

/** The last place in the queue in llama-swap's banner; a number at its very end may be cut. */
function queuePosition(banner: string): number | undefined {
  const places = [...banner.slice(-BANNER_TAIL).matchAll(/Queue position: #?(\d+)\D/gi)];
  const place = places.at(-1)?.[1];
  return place === undefined ? undefined : Number(place);
}

/** Why an answer that has begun is silent, where the server shows it. */
export function quietReason({ own, isHeld }: SilentState): QuietReason | undefined {
  if (own === "starting" || own === "stopping" || own === "gone" || own === "unreachable") return own;
  return isHeld === false ? "not held" : undefined;
}
