/** A load that goes on while the panel is open. */
import { REAL_CLOCK } from "../../lib/clock.ts";
import type { ModelServer } from "../../server/model-server.ts";
import { type Said, saidNow } from "../../ui/wait.ts";
import type { Call } from "../call.ts";
import { loadNow, reportLoaded, runningOf } from "../load.ts";

export class PanelLoad {
  readonly id: string;
  /** What the server does for it: `Loading a`, `a waits for b to unload`. */
  said: Said;
  /** Resolves when it is over, however it went. */
  readonly over: Promise<void>;
  readonly #stopped = new AbortController();
  /** What ran when it began. */
  #before: readonly string[] = [];

  /**
   * @param id under which the server runs the model
   * @param call whose results say how it goes; its own wait is not used
   * @param failed gets the error of a load that was not given up
   */
  constructor(call: Call, server: ModelServer, id: string, failed: (error: unknown) => void) {
    this.id = id;
    this.said = saidNow(undefined, { text: `Loading ${id}` }, REAL_CLOCK.now());
    const signal = AbortSignal.any([this.#stopped.signal, call.ended]);
    this.over = this.#run(call, server, signal).catch((error: unknown) => {
      if (!signal.aborted) failed(error);
    });
  }

  get isGivenUp(): boolean {
    return this.#stopped.signal.aborted;
  }

  /** Stops waiting for it; the server goes on. */
  giveUp(): void {
    this.#stopped.abort(new Error("Cancelled"));
  }

  /** The models that ran before and no longer do. @throws {ServerError} */
  async gone(server: ModelServer, signal: AbortSignal): Promise<string[]> {
    const still = new Set((await runningOf(server, signal)).map(({ id }) => id));
    return this.#before.filter((id) => id !== this.id && !still.has(id));
  }

  async #run(call: Call, server: ModelServer, signal: AbortSignal): Promise<void> {
    const say = (text: string, expectedMs?: number, elapsedMs?: number): void => {
      this.said = saidNow(this.said, { text, expectedMs, elapsedMs }, REAL_CLOCK.now());
    };
    const own: Call = { ...call, waiting: { signal, say, ask: (dialog) => dialog() } };
    await call.aiServer.exclusively(`/ai-server-load ${this.id}`, async () => {
      const running = await runningOf(server, signal);
      this.#before = running.map(({ id }) => id);
      const loaded = await loadNow(own, server, this.id, running);
      await reportLoaded(own, server, this.id, running, loaded);
    });
  }
}
