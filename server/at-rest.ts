/** Whether a server has nothing to do, so that work ahead of a turn disturbs no other client. Loads nothing. */

import { requestsAhead } from "./in-flight.ts";
import type { Backend, OwnUse, ServerAccess } from "./kinds/backend.ts";
import type { RunningModel } from "./models/models.ts";

/** A model that has answered within this time is in use: the reader of its answer may send more. */
const IN_USE_MS = 5 * 60_000;

interface RunningServer extends ServerAccess {
  runningNow(signal: AbortSignal): Promise<RunningModel[] | undefined>;
  /** What this pi has had a model read. */
  readonly readAhead: { useOf(id: string): OwnUse };
}

/** The model that the work is for, on a server at rest. */
export interface Rest {
  backend: Backend;
  /** Undefined: not loaded. */
  own: RunningModel | undefined;
}

/**
 * A server is at rest when no request is in flight or waits, and no other loaded model has answered lately.
 *
 * @param id under which the server runs the model that the work is for
 * @returns undefined where it is not, where that is not known, and for a server that is neither llama-swap nor llama.cpp
 * @throws {ServerError} where the server cannot be reached; the signal's reason
 */
export async function restOf(
  server: RunningServer,
  id: string,
  signal: AbortSignal,
): Promise<Rest | undefined> {
  const backend = await server.backend(signal);
  if (backend.kind === "other") return undefined;
  const running = await server.runningNow(signal);
  const own = running?.find((model) => model.id === id);
  if (running === undefined || own?.state === "stopping" || own?.state === "unknown") return undefined;
  const others = running.filter((model) => model !== own);
  // First: where that is not known, the models' slots need not be read, which some servers take for a use.
  for (const other of others) {
    if (!(await isIdle(backend, other, server.readAhead.useOf(other.id), signal))) return undefined;
  }
  const { total } = await requestsAhead(server, signal);
  return total === 0 ? { backend, own } : undefined;
}

async function isIdle(
  backend: Backend,
  { id, state, isAsleep }: RunningModel,
  own: OwnUse,
  signal: AbortSignal,
): Promise<boolean> {
  if (state !== "ready") return false;
  if (isAsleep) return true;
  const sinceMs = await backend.sinceAnswer?.(id, own, signal);
  return sinceMs !== undefined && sinceMs >= IN_USE_MS;
}
