/** Unloading models, and making sure that they are gone. */
import { routeFor } from "../config.ts";
import { type Clock, REAL_CLOCK, within } from "./clock.ts";
import { ServerError } from "./errors.ts";
import { answerFault, parseErrorBody } from "./faults.ts";
import { readText } from "./http.ts";
import type { ModelServer } from "./model-server.ts";
import { runningNow } from "./running-now.ts";

/** llama-swap waits for a process 10 s by default (`unloadTimeout`) before it kills it. */
const LIMIT_MS = 60_000;
const POLL_MS = 1000;
const ERROR_BYTES = 16 * 1024;

/**
 * Unloads a model, or all of them, and returns when `/running` shows them no more. Requests that they are answering
 * are cut; a load that is under way is broken off (llama-swap before v204 goes on with it and does not say so).
 *
 * @param id of a model or an alias; undefined for everything that is loaded
 * @throws {ServerError} also when it is not gone after 60 s, or was loaded again meanwhile; the signal's reason
 */
export function unloadModel(
  server: ModelServer,
  id: string | undefined,
  signal: AbortSignal,
  clock: Clock = REAL_CLOCK,
): Promise<void> {
  const late = (): ServerError =>
    new ServerError(
      `${id ?? "The loaded models"} did not stop within ${LIMIT_MS / 1000} s (timed out). llama-swap may still be stopping them; see /ai-server-status, or restart the service with /ai-server-restart.`,
      { link: "model", remedy: "retry" },
    );
  return within(LIMIT_MS, signal, clock, late, async (stop) => {
    await askToUnload(server, id, stop);
    await untilGone(server, id, stop, clock);
  });
}

async function askToUnload(server: ModelServer, id: string | undefined, signal: AbortSignal): Promise<void> {
  const { unloadPath, unloadAllPath } = server.config;
  const path = id === undefined ? unloadAllPath : routeFor(unloadPath, id);
  signal.throwIfAborted();
  const { status, body } = await server.http.request({ method: "POST", path, signal });
  const text = await readText(body, ERROR_BYTES).catch((error: unknown) => {
    signal.throwIfAborted();
    throw error;
  });
  if (status === 200) return;
  throw status === 404 && id !== undefined ? notUnloadable(id, text) : answerFault(status, text, path);
}

/** 404 also says that there is no such route: llama-swap has it since v161, and names the model only then. */
function notUnloadable(id: string, text: string): ServerError {
  const sentence = /model not found/i.test(parseErrorBody(text).message)
    ? `The server has no model ${id} that could be unloaded: there is none of this id, or it runs on another server (peer) or stands for several (selector). /ai-server-status lists what is loaded.`
    : `This server cannot unload ${id} alone: llama-swap can since v161. Check AI_SERVER_UNLOAD_PATH, or unload all models.`;
  return new ServerError(sentence, { link: "model", remedy: "none", status: 404 });
}

async function untilGone(
  server: ModelServer,
  id: string | undefined,
  signal: AbortSignal,
  clock: Clock,
): Promise<void> {
  for (let looks = 1; ; looks += 1) {
    const running = await runningNow(server, signal);
    const left = running?.filter((model) => id === undefined || model.id === id) ?? [];
    if (left.length === 0) return;
    const back = left.find(({ state }) => state === "starting" || state === "ready");
    if (back !== undefined && looks > 1) {
      throw new ServerError(
        `${back.id} was unloaded, but is loaded again: somebody has asked for it meanwhile, or the configuration preloads it.`,
        { link: "model", remedy: "none" },
      );
    }
    await clock.sleep(POLL_MS, signal);
  }
}
