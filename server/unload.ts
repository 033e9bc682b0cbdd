/** Unloads models and checks that they are gone. */

import { type Clock, REAL_CLOCK, within } from "../lib/clock.ts";
import { ServerError } from "../lib/errors.ts";
import { type Backend, cannotLoad } from "./kinds/backend.ts";
import type { ModelServer } from "./model-server.ts";

/** llama-swap waits for a process 10 s by default (`unloadTimeout`) before it kills it. */
const LIMIT_MS = 60_000;
const POLL_MS = 1000;

/**
 * Unloads one model, or all, and returns when `/running` no longer shows them. This cuts off requests that they are
 * answering and interrupts a load (llama-swap before v204 silently continues it).
 *
 * @param id of a model or an alias; undefined for everything that is loaded
 * @throws {ServerError} also when it is still there after 60 s, or llama-swap has loaded it again; the signal's reason
 */
export function unloadModel(
  server: ModelServer,
  id: string | undefined,
  signal: AbortSignal,
  clock: Clock = REAL_CLOCK,
): Promise<void> {
  const late = (): ServerError =>
    new ServerError(
      `${id ?? "The loaded models"} did not stop within ${LIMIT_MS / 1000} s (timed out). The server may still be stopping them; see /ai-server-status, or restart the service with /ai-server-restart.`,
      { link: "model", remedy: "retry" },
    );
  return within(LIMIT_MS, signal, clock, late, async (stop) => {
    const backend = await server.backend(stop);
    if (backend.unload === undefined) throw cannotLoad(backend);
    await backend.unload(id, stop);
    await untilGone(server, backend, id, stop, clock);
  });
}

async function untilGone(
  server: ModelServer,
  { kind }: Backend,
  id: string | undefined,
  signal: AbortSignal,
  clock: Clock,
): Promise<void> {
  for (let looks = 1; ; looks += 1) {
    const running = await server.runningNow(signal);
    const left = running?.filter((model) => id === undefined || model.id === id) ?? [];
    if (left.length === 0) return;
    // llama-swap answers once the process has ended; others show a stopping model as before.
    const back = left.find(({ state }) => state === "starting" || state === "ready");
    if (kind === "llama-swap" && back !== undefined && looks > 1) {
      throw new ServerError(
        `${back.id} was unloaded, but is loaded again: another client has requested it, or the configuration preloads it.`,
        { link: "model", remedy: "none" },
      );
    }
    await clock.sleep(POLL_MS, signal);
  }
}
