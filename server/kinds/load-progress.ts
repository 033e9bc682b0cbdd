/** What the server does while it loads one model, from `/running` and the events. Does no I/O. */

import { type LoadStage, type LoadState, loadStateOf, type ModelStates } from "../../activity/load-state.ts";
import type { RunningModel } from "../models/models.ts";
import type { RequestInFlight } from "./llama-swap/event-reader.ts";

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
