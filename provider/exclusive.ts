/** Runs the commands that change the server one at a time. */
import { ServerError } from "../lib/errors.ts";

export class Exclusive {
  readonly #onBegin: () => void;
  #running: { what: string; isRestart: boolean } | undefined;

  /** @param onBegin called when a command begins to change the server */
  constructor(onBegin: () => void) {
    this.#onBegin = onBegin;
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** The command that restarts the server at this moment, as the user typed it. */
  get restarting(): string | undefined {
    return this.#running?.isRestart ? this.#running.what : undefined;
  }

  /** @throws {ServerError} while a command changes the server: two at once would undo each other's work */
  refuse(): void {
    if (this.#running === undefined) return;
    throw new ServerError(`${this.#running.what} is still running. Wait until it ends; nothing was done.`, {
      link: "configuration",
    });
  }

  /**
   * Runs a command that changes the server, unless another one is running.
   *
   * @param what the command, as the user typed it
   * @param isRestart whether it restarts the server: turns then wait for the end of it
   * @throws {ServerError} while another one is running; what the work throws
   */
  async run<T>(what: string, work: () => Promise<T>, isRestart: boolean): Promise<T> {
    this.refuse();
    this.#running = { what, isRestart };
    this.#onBegin();
    try {
      return await work();
    } finally {
      this.#running = undefined;
    }
  }
}
