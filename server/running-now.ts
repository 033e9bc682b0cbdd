/** `/running` as it is at this moment, for those who must not act on what was true a second ago. */
import { ServerError } from "./errors.ts";
import type { ModelServer } from "./model-server.ts";
import { parseRunning, type RunningModel } from "./models.ts";

const ANSWER_TIMEOUT_MS = 10_000;

/**
 * What runs, asked now and for this caller alone. Each question adds a line to llama-swap's log of 100 KiB.
 *
 * @returns undefined where the server has no such route (a plain llama-server)
 * @throws {ServerError}; the signal's reason
 */
export async function runningNow(
  server: ModelServer,
  signal: AbortSignal,
): Promise<RunningModel[] | undefined> {
  try {
    const limits = { signal, timeoutMs: ANSWER_TIMEOUT_MS };
    return parseRunning(await server.http.json(server.config.runningPath, limits));
  } catch (error) {
    if (error instanceof ServerError && error.status === 404) return undefined;
    throw error;
  }
}
