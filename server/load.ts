/** Loads and unloads models, and reports what the server does meanwhile. */

import { type LoadStage, type LoadState, loadStateOf, type ModelStates } from "../activity/load-state.ts";
import { type Clock, REAL_CLOCK, within } from "../lib/clock.ts";
import { ServerError } from "../lib/errors.ts";
import { counted, wholeSeconds } from "../lib/figures.ts";
import { type Backend, cannotLoad } from "./kinds/backend.ts";
import type { EventHooks, RequestInFlight } from "./kinds/events.ts";
import type { ModelServer } from "./model-server.ts";
import type { RunningModel } from "./models/models.ts";

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
  /** Whether the load ends when another client's request interrupts it, since no turn waits for it. */
  givesWay?: boolean;
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
  const { signal, report, clock = REAL_CLOCK, givesWay = false } = options;
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
      await backend.load?.(id, { watch, report, signal: stop, clock, givesWay });
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
  const show = (): void => {
    const progress = watch.progress(clock.now());
    if (progress !== undefined) report(progress);
  };
  return [events(), repeat(nextPause, look), repeat(() => REPORT_MS, show)];
}

/** Follows one load. Times are Unix milliseconds. */
export class LoadWatch {
  readonly #id: string;
  #running: ModelStates | undefined;
  /** Undefined while the events are disconnected. */
  #events: ModelStates | undefined;
  #requests: readonly RequestInFlight[] | undefined;
  #begun: number | undefined;
  #stage: LoadStage | undefined;
  /** Whether another client began the load before us, so that its duration is unknown. */
  #isOthers: boolean;
  /** Whether it was ready from the beginning, so that nothing loads. */
  #wasReady: boolean;

  /**
   * @param running the answer of `/running` before the load was requested
   * @param now when the load is requested
   */
  constructor(id: string, running: readonly RunningModel[] | undefined, now: number) {
    this.#id = id;
    this.#running = statesOf(running);
    this.#isOthers = this.#running?.has(id) === true;
    this.#wasReady = this.#running?.get(id) === "ready";
    this.#note(now);
  }

  /** @param running undefined where `/running` cannot be read */
  sawRunning(running: readonly RunningModel[] | undefined, now: number): void {
    this.#running = statesOf(running);
    this.#note(now);
  }

  sawEvents(states: ModelStates, now: number): void {
    this.#events = states;
    this.#note(now);
  }

  sawRequests(requests: readonly RequestInFlight[]): void {
    this.#requests = requests;
  }

  sawStage(id: string, stage: LoadStage): void {
    if (id === this.#id) this.#stage = stage;
  }

  lostEvents(): void {
    this.#events = undefined;
    this.#stage = undefined;
    this.#requests = undefined;
  }

  /** The load was interrupted and begins again. */
  restarted(): void {
    this.#stage = undefined;
    this.#begun = undefined;
    this.#isOthers = false;
  }

  /** Milliseconds that the load took; undefined where it was not seen from its beginning. */
  loadMs(now: number): number | undefined {
    return this.#isOthers || this.#begun === undefined ? undefined : now - this.#begun;
  }

  /** @returns undefined where the server does not report it, and for a model that was ready all the time */
  progress(now: number): LoadState | undefined {
    const states = this.#events ?? this.#running;
    if (states === undefined) return undefined;
    const loading = {
      elapsedMs: now - (this.#begun ?? now),
      ...(this.#stage === undefined ? {} : { stage: this.#stage }),
    };
    const state = loadStateOf(this.#id, states, loading, (id) => this.#requestsOf(id));
    if (state.kind !== "ready") return state;
    // Without a health check of llama-swap's own (`checkEndpoint: none`) a model is ready before it has loaded.
    return this.#wasReady ? undefined : { kind: "loading", ...loading };
  }

  #requestsOf(id: string): number | undefined {
    return this.#requests?.filter(({ model }) => model === id).length;
  }

  /** Keeps the time when the load itself began. */
  #note(now: number): void {
    const progress = this.progress(now);
    if (progress === undefined) return;
    if (this.#wasReady) this.restarted();
    this.#wasReady = false;
    if (progress.kind !== "loading") this.#begun = undefined;
    // A model that is ready at the first look began earlier; only the events would show when.
    else if (this.#events !== undefined || this.#running?.get(this.#id) !== "ready") this.#begun ??= now;
  }
}

function statesOf(running: readonly RunningModel[] | undefined): ModelStates | undefined {
  return running && new Map(running.map(({ id, state }) => [id, state]));
}

/** @param progress what the server was doing at the limit */
export function loadTimedOut(id: string, limitMs: number, progress: LoadState | undefined): ServerError {
  const limit = `${id} was not loaded within ${wholeSeconds(limitMs)} (timed out)`;
  return new ServerError(
    `${limit}: ${doing(progress)} Look at /ai-server-status, or raise AI_SERVER_LOAD_TIMEOUT_MS.`,
    { link: "model", remedy: "retry" },
  );
}

function doing(progress: LoadState | undefined): string {
  switch (progress?.kind) {
    case "waiting":
      return progress.requests
        ? `${progress.blockedBy} must unload first and is still answering ${counted(progress.requests, "request")}.`
        : `${progress.blockedBy} is still loaded and must unload first.`;
    case "stopping":
      return `the server is still stopping ${progress.model}.`;
    case "loading":
      return `it has been loading for ${wholeSeconds(progress.elapsedMs)}, and the server continues to load it.`;
    default:
      return "the server does not say why.";
  }
}

/** llama-swap waits for a process 10 s by default (`unloadTimeout`) before it kills it. */
const UNLOAD_LIMIT_MS = 60_000;
const UNLOAD_POLL_MS = 1000;

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
      `${id ?? "The loaded models"} did not stop within ${UNLOAD_LIMIT_MS / 1000} s (timed out). The server may still be stopping them; see /ai-server-status, or restart the service with /ai-server-restart.`,
      { link: "model", remedy: "retry" },
    );
  return within(UNLOAD_LIMIT_MS, signal, clock, late, async (stop) => {
    const backend = await server.backend(stop);
    if (backend.unload === undefined) throw cannotLoad(backend);
    await backend.unload(id, stop);
    await untilGone(server, backend, id, stop, clock);
  });
}

function loadedElsewhere(id: string): ServerError {
  return new ServerError(
    `The server that took the request has unloaded what it had, but several answer at this address, and another one may still have ${id} loaded. /ai-server-status says what differs.`,
    { link: "model", remedy: "retry" },
  );
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
    if (server.several.isKnown) throw loadedElsewhere(left[0]?.id ?? "It");
    // llama-swap answers once the process has ended; others show a stopping model as before.
    const back = left.find(({ state }) => state === "starting" || state === "ready");
    if (kind === "llama-swap" && back !== undefined && looks > 1) {
      throw new ServerError(
        `${back.id} was unloaded, but is loaded again: another client has requested it, or the configuration preloads it.`,
        { link: "model", remedy: "none" },
      );
    }
    await clock.sleep(UNLOAD_POLL_MS, signal);
  }
}
