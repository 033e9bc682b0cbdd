/** Loads a model and reports what the server does meanwhile. */

import type { LoadState } from "../activity/load-state.ts";
import { type Clock, REAL_CLOCK, within } from "../lib/clock.ts";
import type { ServerError } from "../lib/errors.ts";
import { cannotLoad } from "./kinds/backend.ts";
import type { EventHooks } from "./kinds/llama-swap/events.ts";
import { loadTimedOut } from "./kinds/load-failure.ts";
import { LoadWatch } from "./kinds/load-progress.ts";
import type { ModelServer } from "./model-server.ts";

/** Between two reports, and between two looks at `/running`: those are rare, since each adds to llama-swap's log. */
const REPORT_MS = 500;
const FIRST_LOOK_MS = 1000;
const LONGEST_LOOK_MS = 5000;

export interface LoadOptions {
  /** Called twice a second during the load, and with `ready` at its end. */
  report(progress: LoadState): void;
  /** Ends the waiting at once; the server continues the load. */
  signal: AbortSignal;
  clock?: Clock;
}

export interface Loaded {
  /** Whether it was ready before. */
  wasLoaded: boolean;
  /** Since it began to start; undefined where that was not seen. */
  loadMs: number | undefined;
}

/**
 * Loads a model, and returns when the server shows it as ready. The server unloads others to make room.
 *
 * @param id under which the server runs the model, no alias
 * @throws {ServerError} of link `model` when it cannot be loaded, with the end of its log where there is one; when the
 *   load takes longer than `loadTimeoutMs`; where the server cannot load; the signal's reason
 */
export async function loadModel(server: ModelServer, id: string, options: LoadOptions): Promise<Loaded> {
  const { signal, report, clock = REAL_CLOCK } = options;
  const { loadTimeoutMs } = server.config;
  signal.throwIfAborted();
  const backend = await server.backend(signal);
  if (backend.load === undefined) throw cannotLoad(backend);
  const before = await server.runningNow(signal);
  const wasLoaded = before?.some((model) => model.id === id && model.state === "ready") === true;
  const watch = new LoadWatch(id, before, clock.now());
  const late = (): ServerError => loadTimedOut(id, loadTimeoutMs, watch.progress(clock.now()));
  await within(loadTimeoutMs, signal, clock, late, async (stop) => {
    const over = new AbortController();
    const either = AbortSignal.any([stop, over.signal]);
    const watching = watchers(server, watch, report, wasLoaded ? REPORT_MS : 0, either, clock);
    try {
      await backend.load?.(id, { watch, report, signal: stop, clock });
    } finally {
      over.abort();
      await Promise.all(watching);
    }
  });
  const loadMs = wasLoaded ? undefined : watch.loadMs(clock.now());
  report({ kind: "ready" });
  return { wasLoaded, loadMs };
}

/**
 * Updates `watch` and reports its progress until the signal is aborted. None of them rejects.
 *
 * @param delayMs before connecting to the events: their beginning is large, and a loaded model answers at once
 */
function watchers(
  server: ModelServer,
  watch: LoadWatch,
  report: LoadOptions["report"],
  delayMs: number,
  signal: AbortSignal,
  clock: Clock,
): Promise<void>[] {
  const hooks: EventHooks = {
    onModels: (states) => watch.sawEvents(states, clock.now()),
    onRequests: (requests) => watch.sawRequests(requests),
    onStage: (id, stage) => watch.sawStage(id, stage),
    onLost: () => watch.lostEvents(),
  };
  const events = async (): Promise<void> => {
    if (delayMs > 0) await clock.sleep(delayMs, signal).catch(() => undefined);
    await server.follow(hooks, signal, clock);
  };
  const repeat = async (pauseMs: () => number, act: () => void | Promise<void>): Promise<void> => {
    try {
      for (;;) {
        await clock.sleep(pauseMs(), signal);
        await act();
      }
    } catch {
      // The load is over.
    }
  };
  let pause = FIRST_LOOK_MS / 1.3;
  const nextPause = (): number => {
    pause = Math.min(LONGEST_LOOK_MS, pause * 1.3);
    return pause;
  };
  const look = async (): Promise<void> => {
    const running = await server.runningNow(signal).catch(() => undefined);
    if (!signal.aborted) watch.sawRunning(running, clock.now());
  };
  const tell = (): void => {
    const progress = watch.progress(clock.now());
    if (progress !== undefined) report(progress);
  };
  return [events(), repeat(nextPause, look), repeat(() => REPORT_MS, tell)];
}
