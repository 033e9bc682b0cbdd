/** Keeps the state of the server up to date while the panel is open. Loads nothing. */

import { type Clock, REAL_CLOCK } from "../../lib/clock.ts";
import { requestsInSlots } from "../../server/in-flight.ts";
import type { Backend } from "../../server/kinds/backend.ts";
import type { EventHooks } from "../../server/kinds/events.ts";
import {
  joinPerformance,
  lastReadingAt,
  MOST_READINGS,
  readPerformance,
  readRecentActivity,
} from "../../server/kinds/llama-swap/metrics.ts";
import type { ModelServer } from "../../server/model-server.ts";
import type { ModelFacts, RememberedFacts } from "../../server/models/models.ts";
import { type PanelState, PanelStore } from "./state.ts";

/** Between two readings of the models: each adds lines to llama-swap's log. */
const MODELS_PAUSE_MS = 1000;
/** Where there are no events. */
const POLL_MS = 10_000;
/** llama-swap measures no more often. */
const PERFORMANCE_MS = 5000;
const ACTIVITY_MS = 5000;
const SLOTS_MS = 5000;

/** The part of the earlier measurements that is shown. */
const HISTORY_MS = MOST_READINGS * PERFORMANCE_MS;

export interface PanelSourceParts {
  readonly server: ModelServer;
  /** Facts of earlier readings by id. */
  remembered(): ReadonlyMap<string, RememberedFacts> | Promise<ReadonlyMap<string, RememberedFacts>>;
  /** About how long a load of this model takes, in milliseconds. */
  expectedLoadMs(id: string): Promise<number | undefined>;
  onChange(): void;
  readonly clock?: Clock;
}

/** Work that may be requested at any time, and is done once at a time with a pause after each. */
class Wanted {
  #want = Promise.withResolvers<void>();

  want(): void {
    this.#want.resolve();
  }

  async run(work: () => Promise<void>, pauseMs: number, signal: AbortSignal, clock: Clock): Promise<void> {
    const end = (): void => this.#want.resolve();
    signal.addEventListener("abort", end, { once: true });
    try {
      for (;;) {
        await this.#want.promise;
        if (signal.aborted) return;
        this.#want = Promise.withResolvers();
        await work();
        await clock.sleep(pauseMs, signal);
      }
    } finally {
      signal.removeEventListener("abort", end);
    }
  }
}

export class PanelSource {
  readonly #parts: PanelSourceParts;
  readonly #clock: Clock;
  readonly #store = new PanelStore();
  readonly #models = new Wanted();
  readonly #activity = new Wanted();
  #hasActivity = true;
  /** How often each model had been asked for its facts at the last reading. */
  #timesAsked: ReadonlyMap<string, number> | undefined;

  constructor(parts: PanelSourceParts) {
    this.#parts = parts;
    this.#clock = parts.clock ?? REAL_CLOCK;
  }

  get state(): PanelState {
    return this.#store;
  }

  /** Follows the server until the signal aborts, and leaves no request open. Never throws. */
  async follow(signal: AbortSignal): Promise<void> {
    const clock = this.#clock;
    const first = Promise.withResolvers<void>();
    const readModels = async (): Promise<void> => {
      const isRead = await this.#readModels(signal);
      first.resolve();
      if (isRead) return;
      await clock.sleep(POLL_MS, signal);
      this.#models.want();
    };
    this.#models.want();
    const rest = async (): Promise<void> => {
      // One after the other: parallel requests need a connection each, with its handshake.
      await first.promise;
      await this.#readServer(signal);
      this.#activity.want();
      await this.#followPerformance(signal);
    };
    const tasks = [
      this.#models.run(readModels, MODELS_PAUSE_MS, signal, clock).finally(first.resolve),
      this.#activity.run(() => this.#readActivity(signal), ACTIVITY_MS, signal, clock),
      this.#followEvents(signal),
      this.#followSlots(signal),
      rest(),
    ];
    // Each of them ends with the reason of the signal.
    await Promise.all(tasks.map((task) => task.catch(() => undefined)));
  }

  /**
   * Reads everything again.
   *
   * @returns the models
   * @throws {ServerError} if they cannot be read; the signal's reason
   */
  async refresh(signal: AbortSignal): Promise<readonly ModelFacts[]> {
    this.#hasActivity = true;
    this.#activity.want();
    try {
      const [models] = await Promise.all([this.#askModels(signal), this.#readServer(signal)]);
      return models;
    } catch (problem) {
      if (!signal.aborted) this.#sawProblem(problem);
      throw problem;
    }
  }

  /** @returns whether they were read */
  async #readModels(signal: AbortSignal): Promise<boolean> {
    try {
      await this.#askModels(signal);
      return true;
    } catch (problem) {
      if (signal.aborted) return true;
      this.#sawProblem(problem);
      return false;
    }
  }

  #changed(): void {
    const { upstream, warning } = this.#parts.server.several;
    this.#store.upstream = upstream;
    this.#store.warning = warning;
    this.#parts.onChange();
  }

  #sawProblem(problem: unknown): void {
    this.#store.problem = problem;
    this.#changed();
  }

  async #askModels(signal: AbortSignal): Promise<readonly ModelFacts[]> {
    const { server, remembered, expectedLoadMs } = this.#parts;
    const { events } = this.#store;
    const isFirst = this.#timesAsked === undefined;
    const before = this.#timesAsked ?? new Map(server.known.timesAsked);
    const models = await server.discover(await remembered(), { signal });
    const times = new Map(server.known.timesAsked);
    this.#timesAsked = times;
    const asked = [...times].flatMap(([id, count]) => (count === before.get(id) ? [] : [id]));
    // Read twice the first time, so that several servers that take turns show; later from the cache.
    const running = await (isFirst ? server.runningNow(signal, true) : server.running(signal));
    const now = this.#clock.now();
    const processes = new Set(models.flatMap(({ runsAs }) => runsAs ?? []));
    const expected = await Promise.all(
      [...processes].map(async (id): Promise<[string, number][]> => {
        const ms = await expectedLoadMs(id);
        return ms === undefined ? [] : [[id, ms]];
      }),
    );
    signal.throwIfAborted();
    this.#store.canLoad = (await server.backend(signal)).load !== undefined;
    const { descriptions } = server;
    const read = { models, running, descriptions, expectedLoads: new Map(expected.flat()), asked };
    if (this.#store.sawModels(read, events, now)) this.#models.want();
    this.#changed();
    return models;
  }

  async #readActivity(signal: AbortSignal): Promise<void> {
    if (!this.#hasActivity) return;
    const answered = await readRecentActivity(this.#parts.server, signal).catch(() => null);
    if (signal.aborted || answered === null) return;
    this.#hasActivity = answered !== undefined;
    this.#store.answered = answered;
    this.#changed();
  }

  /** Version and certificate, which seldom change. */
  async #readServer(signal: AbortSignal): Promise<void> {
    const { server } = this.#parts;
    const [version, identity] = await Promise.all([
      server.version(signal).catch(() => undefined),
      server.http.identity().catch(() => undefined),
    ]);
    if (signal.aborted) return;
    this.#store.version = version ?? this.#store.version;
    this.#store.certificateEnds = identity?.validTo;
    this.#changed();
  }

  async #followEvents(signal: AbortSignal): Promise<void> {
    const store = this.#store;
    const { server } = this.#parts;
    let isUnsupported = false;
    const hooks: EventHooks = {
      onModels: (states) => {
        const wasLost = store.following === "lost" || store.problem !== undefined;
        store.following = "live";
        // They are of one server alone, whichever answers the next request.
        const isNews = server.several.isKnown || store.sawStates(states, this.#clock.now());
        if (isNews || wasLost) this.#models.want();
        if (wasLost) void this.#readServer(signal).catch(() => undefined);
        this.#changed();
      },
      onRequests: (requests) => {
        if (store.sawRequests(requests, this.#clock.now())) this.#changed();
      },
      onActivity: () => this.#activity.want(),
      onLost: () => {
        store.lostEvents();
        // Which finds out why, and tries again.
        this.#models.want();
        this.#changed();
      },
      onUnsupported: () => {
        isUnsupported = true;
      },
    };
    await server.follow(hooks, signal, this.#clock);
    if (isUnsupported) await this.#poll(signal);
  }

  /** Asks only which models run: a question to a model would keep it loaded. */
  async #poll(signal: AbortSignal): Promise<void> {
    const store = this.#store;
    store.following = "polling";
    this.#changed();
    for (;;) {
      await this.#clock.sleep(POLL_MS, signal);
      const running = await this.#parts.server.runningNow(signal).catch(() => null);
      signal.throwIfAborted();
      if (running === undefined) break;
      const isBack = running !== null && (store.following === "lost" || store.problem !== undefined);
      if (running === null && store.following !== "lost") this.#models.want();
      store.following = running === null ? "lost" : "polling";
      const isNews = running !== null && store.sawRunning(running, this.#clock.now());
      if (isNews || isBack) this.#models.want();
      this.#changed();
    }
    store.following = "still";
    this.#changed();
  }

  /** llama.cpp's router reports no requests; the slots of its models show them. */
  async #followSlots(signal: AbortSignal): Promise<void> {
    for (;;) {
      const backend = await this.#parts.server.backend(signal).catch(() => undefined);
      if (backend !== undefined && backend.kind !== "router") return;
      if (backend !== undefined) await this.#readSlots(backend, signal);
      await this.#clock.sleep(SLOTS_MS, signal);
    }
  }

  async #readSlots(backend: Backend, signal: AbortSignal): Promise<void> {
    const store = this.#store;
    if (store.requests === undefined) store.isAskingRequests = true;
    try {
      const requests = await requestsInSlots(backend, signal);
      store.isAskingRequests = requests !== undefined;
      if (requests === undefined) store.requests = undefined;
      else store.sawRequests(requests, this.#clock.now());
      this.#changed();
    } catch {
      // A model that is too busy to answer is still busy.
    }
  }

  async #followPerformance(signal: AbortSignal): Promise<void> {
    let pause = 0;
    // By the server's clock: if that differs from ours, nothing comes and all is asked for.
    let after: number | undefined = this.#clock.now() - HISTORY_MS;
    for (;;) {
      if (pause > 0) await this.#clock.sleep(pause, signal);
      const read = await readPerformance(this.#parts.server, after, signal).catch(() => null);
      signal.throwIfAborted();
      if (read === undefined) return;
      // The events report a lost connection.
      pause = read === null ? POLL_MS : PERFORMANCE_MS;
      if (read === null) continue;
      const last = lastReadingAt(read);
      if (last !== undefined) {
        this.#store.performance = joinPerformance(this.#store.performance, read);
        this.#changed();
      }
      const known = this.#store.performance;
      after = known && lastReadingAt(known);
    }
  }
}
