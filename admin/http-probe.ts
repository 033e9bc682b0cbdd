/** The server over HTTP, as a change of its config sees it. */

import type { LoadState } from "../activity/load-state.ts";
import type { ServerProbe } from "../host/probe.ts";
import { ServerError } from "../lib/errors.ts";
import { ANSWER_TIMEOUT_MS } from "../server/http/access.ts";
import type { Backend } from "../server/kinds/backend.ts";
import { loadModel } from "../server/load.ts";
import type { ModelServer } from "../server/model-server.ts";

const LOG_LINES = 20;

export interface ProbeHooks {
  onLoading(id: string, progress: LoadState): void;
  /** A model has been loaded, in this many milliseconds. */
  onLoaded(id: string, loadMs: number): void;
}

/** @param backend undefined where the server's kind is not known: then it is restarted and not reloaded */
export function httpProbe(server: ModelServer, hooks: ProbeHooks, backend?: Backend): ServerProbe {
  return {
    running: async (signal) => (await server.runningNow(signal)) ?? [],
    answers: async (signal) => {
      try {
        await server.runningNow(signal);
        return true;
      } catch (error) {
        if (error instanceof ServerError) return false;
        throw error;
      }
    },
    startLine: async (id, signal) => {
      const limits = { signal, timeoutMs: ANSWER_TIMEOUT_MS };
      const models = await server.http.json(server.config.modelsPath, limits);
      const listed = await backend?.listed(models, limits);
      return listed?.find((model) => model.id === id)?.commandLine;
    },
    load: async (id, signal) => {
      const report = (progress: LoadState): void => hooks.onLoading(id, progress);
      const { loadMs } = await loadModel(server, id, { report, signal });
      if (loadMs !== undefined) hooks.onLoaded(id, loadMs);
    },
    liveContext: (id, signal) => server.liveContext(id, signal),
    log: (id, signal) => server.logTail(id ?? "proxy", LOG_LINES, signal),
    ...(backend?.reloadConfig === undefined
      ? {}
      : {
          reload: async (signal) => ((await backend.reloadConfig?.(signal)) ? "reloaded" : "not understood"),
        }),
  };
}
