/** A load that failed under a turn, while the server shows the model as ready or on its way. */
import type { StateNow } from "../server/kinds/refusal.ts";

/** An answer of `/running` is shared for a second, and timers may fire a little early. */
const FIRST_PAUSE_MS = 1050;
const LONGEST_PAUSE_MS = 10_000;

/**
 * Another client may have asked for the model since, or what `/running` told was a second old: it is asked for once
 * more. Each further request could load it again, to fail again.
 */
export class FailedLoad {
  #hasFailed = false;

  /**
   * Waits until the model neither starts nor stops.
   *
   * @param pause waits so many milliseconds, where the user sees it
   * @param left milliseconds of the limit
   * @returns its state then; `gone` for a load that has failed again, whatever the server shows
   */
  async stateAfter(
    pause: (milliseconds: number) => Promise<void>,
    stateNow: () => Promise<StateNow>,
    left: () => number,
  ): Promise<StateNow> {
    if (this.#hasFailed) return "gone";
    this.#hasFailed = true;
    for (let milliseconds = FIRST_PAUSE_MS; ; milliseconds = Math.min(LONGEST_PAUSE_MS, milliseconds * 1.3)) {
      await pause(milliseconds);
      const state = await stateNow();
      if ((state !== "starting" && state !== "stopping") || milliseconds >= left()) return state;
    }
  }
}
