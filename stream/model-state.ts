/** What the server reports of the turn's model while nothing comes of an answer. */
import { blockerOf, type LoadStage } from "../activity/load-state.ts";
import type { StateNow } from "../server/kinds/refusal.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { RunningModel } from "../server/models/models.ts";

/** Between two looks at a model whose load failed. `/running` is cached for a second, and timers may fire early. */
const FIRST_SETTLE_MS = 1050;
const LONGEST_SETTLE_MS = 10_000;

export interface SilentState {
  own: StateNow;
  /** Where the server reports it. */
  stage?: LoadStage | undefined;
  /** The model that has to unload first, or is being stopped. */
  blockedBy: string | undefined;
  /** Requests of others that the model answers, where it is ready and the server lists them. */
  ahead?: number | undefined;
  /** False: the server does not have this request any more. Undefined: not known. */
  isHeld?: boolean | undefined;
}

export const UNREACHABLE: SilentState = { own: "unreachable", blockedBy: undefined };

export const UNREPORTED: SilentState = { own: "unknown", blockedBy: undefined };

export function silentStateOf(running: readonly RunningModel[] | undefined, id: string): SilentState {
  if (running === undefined) return UNREPORTED;
  const own = running.find((model) => model.id === id)?.state ?? "gone";
  return { own, blockedBy: blockerOf(id, new Map(running.map((model) => [model.id, model.state]))) };
}

/** @param id under which `/running` lists the model; undefined where it runs elsewhere */
export async function stateNow(
  server: ModelServer,
  id: string | undefined,
  signal: AbortSignal,
): Promise<StateNow> {
  try {
    const running = await server.running(signal);
    return running === undefined || id === undefined ? "unknown" : silentStateOf(running, id).own;
  } catch {
    return "unreachable";
  }
}

/**
 * The state after a failed load, once the model neither starts nor stops: another client may have asked for it since.
 *
 * @param look reads the state
 * @param pause waits so many milliseconds
 * @param leftMs of the time that may be waited
 */
export async function settledState(
  look: () => Promise<StateNow>,
  pause: (milliseconds: number) => Promise<void>,
  leftMs: () => number,
): Promise<StateNow> {
  for (let pauseMs = FIRST_SETTLE_MS; ; pauseMs = Math.min(LONGEST_SETTLE_MS, pauseMs * 1.3)) {
    await pause(pauseMs);
    const state = await look();
    if ((state !== "starting" && state !== "stopping") || pauseMs >= leftMs()) return state;
  }
}
