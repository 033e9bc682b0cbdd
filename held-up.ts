/** Why a turn's model does not answer yet, put together from llama-swap's banner and from `/running`. */
import type { TurnReport, Waiting } from "./activity.ts";
import type { LoadStage } from "./server/load-progress.ts";
import type { SilentState } from "./server/silence.ts";

/** Characters of a banner that are looked at: a place is told once, and holds until another one is. */
const BANNER_TAIL = 8192;

const NOTHING: Waiting = { for: undefined, position: undefined };

export class HeldUp {
  readonly #tell: (say: (report: TurnReport) => void) => void;
  /** Whether the last that was told is that the model is not ready. */
  #isHeldUp = false;
  #hasBanner = false;
  #waiting = NOTHING;
  /** The banner tells a place in the queue, and never that the place is left: `/running` does. */
  #isItsTurn = false;

  constructor(tell: (say: (report: TurnReport) => void) => void) {
    this.#tell = tell;
  }

  /** The request is sent, maybe once more. */
  asks(): void {
    this.#hasBanner = false;
    this.#waiting = NOTHING;
    this.#isItsTurn = false;
  }

  /**
   * @param banner all of it that came
   * @param elapsedMs since the request
   */
  sawBanner(banner: string, elapsedMs: number): void {
    this.#hasBanner = true;
    this.#waiting = { ...this.#waiting, position: queuePosition(banner) };
    this.#say(elapsedMs);
  }

  /** @param elapsedMs since the request */
  sawState({ own, busy, stage }: SilentState, elapsedMs: number): void {
    // Nothing is claimed that `/running` did not tell.
    if (own === "unknown" || own === "unreachable") return;
    const wasHeldUp = this.#isHeldUp;
    this.#isHeldUp = own !== "ready";
    this.#isItsTurn = own === "ready" || own === "starting";
    this.#waiting = { ...this.#waiting, for: busy };
    if (own === "ready") {
      // It may read the prompt without a word, or be busy with others. A banner goes on to its own end.
      if (wasHeldUp && !this.#hasBanner) this.#tell((report) => report.connecting());
      return;
    }
    this.#say(elapsedMs, stage);
  }

  #say(elapsedMs: number, stage?: LoadStage): void {
    const waiting = this.#waiting;
    const isWaiting = !this.#isItsTurn && (waiting.for ?? waiting.position) !== undefined;
    this.#tell((report) =>
      isWaiting ? report.waiting(waiting) : report.loading(elapsedMs, waiting.for, stage),
    );
  }
}

/** The last place in the queue that llama-swap's banner tells; a number at its very end may not be whole. */
function queuePosition(banner: string): number | undefined {
  const places = [...banner.slice(-BANNER_TAIL).matchAll(/Queue position: #?(\d+)\D/gi)];
  const place = places.at(-1)?.[1];
  return place === undefined ? undefined : Number(place);
}
