import type { LoadState } from "../activity/load-state.ts";
import { ServerError } from "../lib/errors.ts";
import type { Backend } from "../server/kinds/backend.ts";
import { loadModel } from "../server/load.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { RunningModel } from "../server/models/models.ts";
import type { LiveContext, ServerProbe } from "./probe.ts";

const LOG_LINES = 20;
const ANSWER_TIMEOUT_MS = 10_000;

export interface ProbeHooks {
  onLoading(id: string, progress: LoadState): void;
  /** A model has been loaded, in this many milliseconds. */
  onLoaded(id: string, loadMs: number): void;
}

/** A change's view of the server. */
export class HttpProbe implements ServerProbe {
  readonly #server: ModelServer;
  readonly #hooks: ProbeHooks;

  readonly #backend: Backend | undefined;
  readonly reload?: NonNullable<ServerProbe["reload"]>;

  /** @param backend undefined where the server did not tell its kind: then it is restarted and not reloaded */
  constructor(server: ModelServer, hooks: ProbeHooks, backend?: Backend) {
    this.#server = server;
    this.#hooks = hooks;
    this.#backend = backend;
    if (backend?.reloadConfig !== undefined)
      this.reload = async (signal) =>
        (await backend.reloadConfig?.(signal)) ? "reloaded" : "not understood";
  }

  async startLine(id: string, signal: AbortSignal): Promise<string | undefined> {
    const limits = { signal, timeoutMs: ANSWER_TIMEOUT_MS };
    const models = await this.#server.http.json(this.#server.config.modelsPath, limits);
    const listed = await this.#backend?.listed(models, limits);
    return listed?.find((model) => model.id === id)?.commandLine;
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
    const report = (progress: LoadState): void => this.#hooks.onLoading(id, progress);
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
