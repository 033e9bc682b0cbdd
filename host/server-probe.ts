import { ServerError } from "../server/errors.ts";
import { type LoadProgress, loadModel } from "../server/load.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { RunningModel } from "../server/models.ts";
import type { LiveContext, ServerProbe } from "./probe.ts";

const LOG_LINES = 20;

export interface ProbeHooks {
  onLoading(id: string, progress: LoadProgress): void;
  /** A model has been loaded, in this many milliseconds. */
  onLoaded(id: string, loadMs: number): void;
}

/** A change's view of llama-swap. */
export class HttpProbe implements ServerProbe {
  readonly #server: ModelServer;
  readonly #hooks: ProbeHooks;

  constructor(server: ModelServer, hooks: ProbeHooks) {
    this.#server = server;
    this.#hooks = hooks;
  }

  async answers(signal: AbortSignal): Promise<boolean> {
    try {
      await this.#server.runningNow(signal);
      return true;
    } catch (error) {
      if (error instanceof ServerError) return false;
      throw error;
    }
  }

  async running(signal: AbortSignal): Promise<RunningModel[]> {
    return (await this.#server.runningNow(signal)) ?? [];
  }

  async load(id: string, signal: AbortSignal): Promise<void> {
    const report = (progress: LoadProgress): void => this.#hooks.onLoading(id, progress);
    const { loadMs } = await loadModel(this.#server, id, { report, signal });
    if (loadMs !== undefined) this.#hooks.onLoaded(id, loadMs);
  }

  liveContext(id: string, signal: AbortSignal): Promise<LiveContext> {
    return this.#server.liveContext(id, signal);
  }

  log(id: string | undefined, signal: AbortSignal): Promise<string[]> {
    return this.#server.logTail(id ?? "proxy", LOG_LINES, signal);
  }
}
