/** What the server does while one model is loaded, out of what `/running` and the events tell. Does no I/O. */

import type { ModelState, RunningModel } from "../models/models.ts";
import type { RequestInFlight } from "./llama-swap/event-reader.ts";

export type LoadProgress =
  /**
   * Another model has to go first, and llama-swap lets it finish what it answers.
   * `requests`: how many it answers; undefined where the server does not tell.
   */
  | { kind: "waiting"; for: string; requests: number | undefined }
  /** That model is being stopped: another one, or an earlier process of this one. */
  | { kind: "stopping"; model: string }
  /** The model has as many requests as it may have; asked again in a moment. */
  | { kind: "busy" }
  /** `elapsedMs`: of the load alone, as far as it was seen. `stage`: where the server tells it. */
  | { kind: "loading"; elapsedMs: number; stage?: LoadStage | undefined }
  | { kind: "ready" };

/** What of a model is being loaded: llama.cpp's router tells it. */
export interface LoadStage {
  /** In the server's words: `text_model`, `mmproj`. */
  name: string;
  /** Of this stage, from 0 to 1. */
  share: number;
}

type States = ReadonlyMap<string, ModelState>;

/** Follows one load. Times are Unix milliseconds. */
export class LoadWatch {
  readonly #id: string;
  #running: States | undefined;
  /** Undefined while no events come: what they told then no longer holds. */
  #events: States | undefined;
  #requests: readonly RequestInFlight[] | undefined;
  #begun: number | undefined;
  #stage: LoadStage | undefined;
  /** Whether somebody else had begun the load before us, so that its length is not known. */
  #isOthers: boolean;
  /** Whether it was ready from the beginning: it does not load then. */
  #wasReady: boolean;

  /**
   * @param running what `/running` told before the model was asked for
   * @param now when it is asked for
   */
  constructor(id: string, running: readonly RunningModel[] | undefined, now: number) {
    this.#id = id;
    this.#running = statesOf(running);
    this.#isOthers = this.#running?.has(id) === true;
    this.#wasReady = this.#running?.get(id) === "ready";
    this.#note(now);
  }

  /** @param running undefined where `/running` cannot be had */
  sawRunning(running: readonly RunningModel[] | undefined, now: number): void {
    this.#running = statesOf(running);
    this.#note(now);
  }

  sawEvents(states: States, now: number): void {
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

  /** The load was broken off and begins anew. */
  restarted(): void {
    this.#stage = undefined;
    this.#begun = undefined;
    this.#isOthers = false;
  }

  /** Milliseconds that the load took; undefined where it was not seen from its beginning. */
  loadMs(now: number): number | undefined {
    return this.#isOthers || this.#begun === undefined ? undefined : now - this.#begun;
  }

  /** @returns undefined where the server does not tell, and for a model that was ready and still is */
  progress(now: number): LoadProgress | undefined {
    const states = this.#events ?? this.#running;
    const own = states?.get(this.#id);
    if (states === undefined || (own === "ready" && this.#wasReady)) return undefined;
    const loading: LoadProgress = {
      kind: "loading",
      elapsedMs: now - (this.#begun ?? now),
      ...(this.#stage === undefined ? {} : { stage: this.#stage }),
    };
    // Without a health check of llama-swap's own (`checkEndpoint: none`) a model is ready before it has loaded.
    if (own === "starting" || own === "ready") return loading;
    if (own === "stopping") return { kind: "stopping", model: this.#id };
    const others = [...states].filter(([id]) => id !== this.#id);
    const stopping = others.find(([, state]) => state === "stopping");
    if (stopping !== undefined) return { kind: "stopping", model: stopping[0] };
    const loaded = others.filter(([, state]) => state === "ready" || state === "starting").map(([id]) => id);
    // Up to v217 a starting model is not shown.
    if (loaded.length === 0) return loading;
    const busiest = loaded.reduce((a, b) =>
      (this.#requestsOf(b) ?? 0) > (this.#requestsOf(a) ?? 0) ? b : a,
    );
    return { kind: "waiting", for: busiest, requests: this.#requestsOf(busiest) };
  }

  #requestsOf(id: string): number | undefined {
    return this.#requests?.filter(({ model }) => model === id).length;
  }

  /** Keeps the moment at which the load itself began. */
  #note(now: number): void {
    const progress = this.progress(now);
    if (progress === undefined) return;
    if (this.#wasReady) this.restarted();
    this.#wasReady = false;
    if (progress.kind !== "loading") this.#begun = undefined;
    // What is ready at the first look began some time before; events would have told when.
    else if (this.#events !== undefined || this.#running?.get(this.#id) !== "ready") this.#begun ??= now;
  }
}

function statesOf(running: readonly RunningModel[] | undefined): States | undefined {
  return running && new Map(running.map(({ id, state }) => [id, state]));
}
