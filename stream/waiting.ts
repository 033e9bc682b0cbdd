/** Why a turn's model does not answer yet, put together from llama-swap's banner and from `/running`. */
import type { LoadStage } from "../activity/load-state.ts";
import type { QuietReason, TurnReport, Waiting } from "../activity/turn-activity.ts";
import type { StateNow } from "../server/kinds/refusal.ts";
import type { SilentState } from "./model-state.ts";

/** Characters of a banner that are looked at: a place is written once, and holds until the next. */
const BANNER_TAIL = 8192;

const NOTHING: Waiting = { blockedBy: undefined, position: undefined };

/** Reports why the model does not answer, until it does. */
export class WaitingReport {
  readonly #tell: (say: (report: TurnReport) => void) => void;
  /** Whether the last report was that the model is not ready. */
  #isWaiting = false;
  #waiting = NOTHING;
  /** By `/running`: the banner names a place in the queue, and never that the place is left. */
  #own: StateNow | undefined;
  #hasBanner = false;
  #hasBegun = false;

  constructor(tell: (say: (report: TurnReport) => void) => void) {
    this.#tell = tell;
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
    if (this.#isWaiting) this.#tell((report) => report.connecting());
    this.#isWaiting = false;
  }

  #sayAhead(ahead: number): void {
    this.#isWaiting = true;
    this.#tell((report) => report.waiting({ blockedBy: undefined, position: undefined, ahead }));
  }

  #say(elapsedMs: number, stage?: LoadStage): void {
    this.#isWaiting = true;
    const waiting = this.#waiting;
    const isWaiting = this.#own !== "starting" && (waiting.blockedBy ?? waiting.position) !== undefined;
    this.#tell((report) =>
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
