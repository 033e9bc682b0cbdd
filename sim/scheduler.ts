import { SwapError } from "./http.ts";
import type { Model } from "./model.ts";

/** A request's place: admitted, perhaps waiting, then served, then released. */
export interface Ticket {
  /** Resolves when the model is ready for it; rejects with why it never will be. */
  granted: Promise<void>;
  /** Position in the queue from 1, undefined outside it. */
  position(): number | undefined;
  /** Call this once, when the request was served, failed or its client disconnected. A load continues regardless. */
  release(): void;
}

interface Request {
  model: Model;
  state: "waiting" | "serving" | "over";
  grant(): void;
  fail(error: Error): void;
}

/**
 * llama-swap's default: one exclusive group with its fifo scheduler. Loading a model unloads every other one, but
 * waits for requests that those still serve; requests for a model that is ready are served at once.
 */
export class Scheduler {
  readonly #models: Model[];
  #swap: { model: Model; waiters: Request[] } | undefined;
  #queue: Request[] = [];
  readonly #requests = new Set<Request>();
  #unloading = 0;
  #closed = false;

  constructor(models: Iterable<Model>) {
    this.#models = [...models];
  }

  /** @throws {SwapError} 429 when the model already has as many requests, served or waiting, as it may have */
  admit(model: Model): Ticket {
    if (this.#closed) throw new Error("group is shutting down");
    const held = [...this.#requests].filter((request) => request.model === model);
    if (held.length >= model.config.concurrencyLimit) {
      throw new SwapError(429, "Too many requests", "concurrency_limit", { "Retry-After": "1" });
    }
    const request: Request = { model, state: "waiting", grant: () => {}, fail: () => {} };
    const granted = new Promise<void>((resolve, reject) => {
      request.grant = resolve;
      request.fail = reject;
    });
    // A client that has left awaits nothing any more.
    granted.catch(() => undefined);
    this.#requests.add(request);
    if (!this.#place(request)) this.#queue.push(request);
    return {
      granted,
      position: () => this.#queue.indexOf(request) + 1 || undefined,
      release: () => this.#release(request),
    };
  }

  /** Stops the models, fails the requests waiting for them, and resolves when their processes have exited. */
  async unload(models: Model[]): Promise<void> {
    const error = new Error("group: model unloaded");
    if (this.#swap && models.includes(this.#swap.model)) this.#swap = undefined;
    for (const request of this.#requests) {
      if (request.state === "waiting" && models.includes(request.model)) this.#drop(request, error);
    }
    // Nothing else is scheduled meanwhile: llama-swap's run loop blocks until the processes have exited.
    this.#unloading++;
    await Promise.all(models.map((model) => model.stop()));
    this.#unloading--;
    this.#drain();
  }

  /** Fails the waiting requests and stops every model; admits nothing afterwards. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#swap = undefined;
    const error = new Error("group is shutting down");
    for (const request of this.#requests) if (request.state === "waiting") this.#drop(request, error);
    await Promise.all(this.#models.map((model) => model.stop()));
  }

  /** @returns false when the request has to stay in the queue */
  #place(request: Request): boolean {
    const { model } = request;
    if (this.#unloading > 0) return false;
    if (this.#swap) {
      if (this.#swap.model !== model) return false;
      this.#swap.waiters.push(request);
      return true;
    }
    const others = this.#models.filter((other) => other !== model && other.state !== "stopped");
    if (model.state === "ready" && others.length === 0) {
      this.#serve(request);
      return true;
    }
    if (others.some((other) => other.inFlight > 0)) return false;
    this.#swap = { model, waiters: [request] };
    void this.#run(this.#swap, others);
    return true;
  }

  async #run(swap: { model: Model; waiters: Request[] }, evict: Model[]): Promise<void> {
    let failure: Error | undefined;
    try {
      await Promise.all(evict.map((model) => model.stop()));
      await swap.model.ensureReady();
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error));
    }
    if (this.#swap !== swap) return;
    this.#swap = undefined;
    for (const request of swap.waiters) {
      if (request.state !== "waiting") continue;
      if (failure) this.#drop(request, failure);
      else this.#serve(request);
    }
    this.#drain();
  }

  #drain(): void {
    const queue = this.#queue;
    this.#queue = [];
    for (const request of queue) {
      if (request.state === "waiting" && !this.#place(request)) this.#queue.push(request);
    }
  }

  #serve(request: Request): void {
    request.state = "serving";
    request.model.inFlight++;
    request.grant();
  }

  #drop(request: Request, error: Error): void {
    request.state = "over";
    this.#requests.delete(request);
    this.#queue = this.#queue.filter((queued) => queued !== request);
    request.fail(error);
  }

  #release(request: Request): void {
    if (request.state === "waiting") this.#drop(request, new Error("cancelled"));
    if (request.state !== "serving") return;
    request.state = "over";
    this.#requests.delete(request);
    request.model.inFlight--;
    if (request.model.inFlight === 0) this.#drain();
  }
}
