/** Commands that change the server run one at a time: two at once would undo each other's work. */
import { ServerError } from "../lib/errors.ts";

export class OneAtATime {
  #running: string | undefined;

  /** The command that runs at this moment, as the user typed it. */
  get running(): string | undefined {
    return this.#running;
  }

  /** @throws {ServerError} while a command runs, so that a second one need not begin */
  refuseWhileRunning(): void {
    if (this.#running === undefined) return;
    throw new ServerError(`${this.#running} is still at work. Wait for its end; nothing was done.`, {
      link: "configuration",
      remedy: "none",
    });
  }

  /**
   * Runs a command, unless another one runs.
   *
   * @param what the command, as the user typed it
   * @throws {ServerError} while another one runs; what the work throws
   */
  async run<T>(what: string, work: () => Promise<T>): Promise<T> {
    this.refuseWhileRunning();
    this.#running = what;
    try {
      return await work();
    } finally {
      this.#running = undefined;
    }
  }
}
