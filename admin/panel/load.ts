/** A load that goes on while the panel is open. */
import { REAL_CLOCK } from "../../lib/clock.ts";
import type { ModelServer } from "../../server/model-server.ts";
import type { Call } from "../call.ts";
import { loadNow, runningOf, tellLoaded } from "../load.ts";
import type { OwnLoad } from "./words.ts";

export class PanelLoad implements OwnLoad {
  readonly id: string;
  words: string;
  since = REAL_CLOCK.now();
  expectedMs: number | undefined;
  /** Ends when it is over, however it went. */
  readonly over: Promise<void>;
  readonly #stopped = new AbortController();
  /** What ran when it began. */
  #before: readonly string[] = [];

  /**
   * @param id under which the server runs the model
   * @param call whose notices tell how it goes; its own wait is not used
   * @param failed hears why it could not be loaded; not called when it was given up
   */
  constructor(call: Call, server: ModelServer, id: string, failed: (error: unknown) => void) {
    this.id = id;
    this.words = `Loading ${id}`;
    const signal = AbortSignal.any([this.#stopped.signal, call.ended]);
    this.over = this.#run(call, server, signal).catch((error: unknown) => {
      if (!signal.aborted) failed(error);
    });
  }

  get isGivenUp(): boolean {
    return this.#stopped.signal.aborted;
  }

  /** Waits for it no longer; the server goes on. */
  giveUp(): void {
    this.#stopped.abort(new Error("Cancelled"));
  }

  /** Of what ran before, what does not run any more. @throws {ServerError} */
  async gone(server: ModelServer, signal: AbortSignal): Promise<string[]> {
    const still = new Set((await runningOf(server, signal)).map(({ id }) => id));
    return this.#before.filter((id) => id !== this.id && !still.has(id));
  }

  async #run(call: Call, server: ModelServer, signal: AbortSignal): Promise<void> {
    const say = (words: string, expectedMs?: number, elapsedMs?: number): void => {
      if (elapsedMs !== undefined || words !== this.words) this.since = REAL_CLOCK.now() - (elapsedMs ?? 0);
      this.words = words;
      this.expectedMs = expectedMs;
    };
    const waiting = { signal, say, ask: <T>(dialog: () => Promise<T>): Promise<T> => dialog() };
    const own: Call = { ...call, waiting };
    await call.aiServer.exclusively(`/ai-server-load ${this.id}`, async () => {
      const running = await runningOf(server, signal);
      this.#before = running.map(({ id }) => id);
      const loaded = await loadNow(own, server, this.id, running);
      await tellLoaded(own, server, this.id, running, loaded);
    });
  }
}
