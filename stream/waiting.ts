/** Why a turn's model does not answer yet, put together from llama-swap's banner and from `/running`. */
import type { LoadStage } from "../activity/load-state.ts";
import type { QuietReason, TurnReport, Waiting } from "../activity/turn-activity.ts";
import { ServerError } from "../lib/errors.ts";
import type { StateNow } from "../server/kinds/refusal.ts";
import type { SilentState } from "./silence.ts";

/** Characters of a banner that are looked at: a place is told once, and holds until another one is. */
const BANNER_TAIL = 8192;

/** Why a turn asks again, for its working line. */
export const WHY_WAIT = {
  loading: "the model is loading",
  unloaded: "the model was unloaded",
  busy: "the server has too many requests",
};

const NOTHING: Waiting = { blockedBy: undefined, position: undefined };

export class HeldUp {
  readonly #tell: (say: (report: TurnReport) => void) => void;
  /** Whether the last that was told is that the model is not ready. */
  #isHeldUp = false;
  #waiting = NOTHING;
  /** As `/running` told it last: the banner tells a place in the queue, and never that the place is left. */
  #own: StateNow | undefined;
  #hasBanner = false;
  #hasBegun = false;

  constructor(tell: (say: (report: TurnReport) => void) => void) {
    this.#tell = tell;
  }

  /** The request is sent, maybe once more. */
  asks(): void {
    this.#waiting = NOTHING;
    this.#own = undefined;
    this.#hasBanner = false;
    this.#hasBegun = false;
  }

  /** The answer's headers came. A model sends them when it has a slot, llama-swap's banner comes before that. */
  begins(): void {
    this.#hasBegun = true;
  }

  /**
   * @param banner all of it that came
   * @param elapsedMs since the request
   */
  sawBanner(banner: string, elapsedMs: number): void {
    this.#hasBanner = true;
    this.#waiting = { ...this.#waiting, position: queuePosition(banner) };
    // It finishes its line, and the model may read the prompt without a word by then.
    if (this.#own !== "ready") this.#say(elapsedMs);
  }

  /** @param elapsedMs since the request */
  sawState({ own, blockedBy, stage, ahead = 0 }: SilentState, elapsedMs: number): void {
    // Nothing is claimed that `/running` did not tell.
    if (own === "unknown" || own === "unreachable") return;
    this.#own = own;
    this.#waiting = { ...this.#waiting, blockedBy };
    if (own === "ready" && ahead > 0 && (this.#hasBanner || !this.#hasBegun)) this.#sayAhead(ahead);
    else if (own === "ready") this.answers();
    else this.#say(elapsedMs, stage);
  }

  /** The model itself has the request: it may read the prompt without a word, or be busy with others. */
  answers(): void {
    if (this.#isHeldUp) this.#tell((report) => report.connecting());
    this.#isHeldUp = false;
  }

  #sayAhead(ahead: number): void {
    this.#isHeldUp = true;
    this.#tell((report) => report.waiting({ blockedBy: undefined, position: undefined, ahead }));
  }

  #say(elapsedMs: number, stage?: LoadStage): void {
    this.#isHeldUp = true;
    const waiting = this.#waiting;
    const isWaiting = this.#own !== "starting" && (waiting.blockedBy ?? waiting.position) !== undefined;
    this.#tell((report) =>
      isWaiting ? report.waiting(waiting) : report.loading(elapsedMs, waiting.blockedBy, stage),
    );
  }
}

/** The last place in the queue that llama-swap's banner tells; a number at its very end may not be whole. */
function queuePosition(banner: string): number | undefined {
  const places = [...banner.slice(-BANNER_TAIL).matchAll(/Queue position: #?(\d+)\D/gi)];
  const place = places.at(-1)?.[1];
  return place === undefined ? undefined : Number(place);
}

/** Why an answer that has begun is silent, as far as the server shows it. */
export function quietReason({ own, isHeld }: SilentState): QuietReason | undefined {
  if (own === "starting" || own === "stopping" || own === "gone" || own === "unreachable") return own;
  return isHeld === false ? "not held" : undefined;
}

/** The error of a turn that has asked again for as long as it may. */
export function waitedTooLong(modelName: string, why: keyof typeof WHY_WAIT): ServerError {
  return new ServerError(
    why === "busy"
      ? `${modelName} has had too many requests at once for longer than AI_SERVER_LOAD_TIMEOUT_MS allows (timed out).`
      : `${modelName} was not loaded within AI_SERVER_LOAD_TIMEOUT_MS (timed out). See /ai-server-status for what the server is doing.`,
    { link: "model", remedy: "retry" },
  );
}
