import { setMaxListeners } from "node:events";
import type { Clock } from "./clock.ts";
import type { Behaviour } from "./flags.ts";
import type { Log } from "./log.ts";

/** Time a process needs until it listens; before that a connection is refused. */
const LISTEN_MS = 100;
const TENSOR_MS = 500;

/** The process died, or does not listen: llama-swap answers 502, or lets a stream that has begun just end. */
export class ProcessGone extends Error {}

/** An answer that is being written, and whether the client has ended its thinking, where it may. */
export interface RunningAnswer {
  readonly hasControl: boolean;
  isThinkingEnded: boolean;
}

/** One run of a simulated llama-server, from its start until it is killed or dies. */
export class Upstream {
  readonly behaviour: Behaviour;
  readonly clock: Clock;
  /** Aborted when the process has ended, whyever. */
  readonly exited: AbortSignal;
  /** The answers that it writes now, by their ids. */
  readonly answers = new Map<string, RunningAnswer>();
  /** What the slot's KV cache holds: the last prompt and its answer. */
  slotTokens: string[] = [];
  readonly #exit = new AbortController();
  readonly #log: Log;
  #begun: number;
  #loaded = false;
  #tensors = 0;
  #busySlots = 0;
  readonly #slotWaiters: (() => void)[] = [];
  /** Resolves when the process listens and the model is loaded, or the process has ended. */
  ready: Promise<void>;
  #sleeping = false;

  constructor(behaviour: Behaviour, clock: Clock, log: Log) {
    this.behaviour = behaviour;
    this.clock = clock;
    this.exited = this.#exit.signal;
    this.#log = log;
    this.#begun = clock.now();
    setMaxListeners(0, this.exited);
    this.ready = this.#load();
    if (behaviour.failAfterMs !== undefined) void this.#fail(behaviour.failAfterMs);
  }

  get alive(): boolean {
    return !this.exited.aborted;
  }

  /** Ends the process at once, as SIGKILL or a crash does. */
  kill(): void {
    this.#exit.abort();
    for (const waiter of this.#slotWaiters.splice(0)) waiter();
  }

  get loaded(): boolean {
    return this.alive && this.#loaded;
  }

  get busySlots(): number {
    return this.#busySlots;
  }

  get sleeping(): boolean {
    return this.#sleeping;
  }

  /** Gives the memory back, as `--sleep-idle-seconds` does after a while; what needs the model wakes it. */
  sleep(): void {
    this.#sleeping = true;
    this.slotTokens = [];
  }

  /** Loads the model again; resolves when that is done. */
  wake(): Promise<void> {
    this.#sleeping = false;
    this.#begun = this.clock.now() - LISTEN_MS;
    this.#tensors = 0;
    this.#loaded = false;
    this.ready = this.#load();
    return this.ready;
  }

  /** @throws {ProcessGone} */
  assertAlive(): void {
    if (!this.alive) throw new ProcessGone();
  }

  /**
   * Waits simulated milliseconds, less when `signal` aborts.
   * @throws {ProcessGone} when the process ended meanwhile
   */
  async wait(ms: number, signal: AbortSignal): Promise<void> {
    await this.clock.sleep(ms, signal);
    this.assertAlive();
  }

  /** One health check as llama-swap makes it. */
  healthy(): boolean {
    if (!this.listening) return false;
    this.logRequest("GET", "/health", this.#loaded ? 200 : 503);
    return this.#loaded;
  }

  /**
   * Takes a slot, or waits for one; a request that waits gets not even its headers.
   * @returns the function that frees it, undefined when the client left first
   */
  async takeSlot(gone: AbortSignal): Promise<(() => void) | undefined> {
    while (this.#busySlots >= this.behaviour.slots && this.alive && !gone.aborted) {
      await new Promise<void>((resolve) => {
        this.#slotWaiters.push(resolve);
        gone.addEventListener("abort", () => resolve(), { once: true });
      });
    }
    this.assertAlive();
    if (gone.aborted) return undefined;
    this.#busySlots++;
    return () => {
      this.#busySlots--;
      this.#slotWaiters.shift()?.();
    };
  }

  /** Whether it accepts connections. */
  get listening(): boolean {
    return this.alive && this.clock.now() - this.#begun >= LISTEN_MS;
  }

  async #load(): Promise<void> {
    const { behaviour, clock } = this;
    this.#log.line(`llama_model_loader: loaded meta data from ${behaviour.modelPath}`);
    let rest = behaviour.loadMs;
    while (rest > 0 && this.alive) {
      await clock.sleep(Math.min(rest, TENSOR_MS), this.exited);
      rest = behaviour.loadMs - (clock.now() - this.#begun);
      if (this.alive) this.#logTensors();
    }
    if (behaviour.neverHealthy && this.alive) {
      await new Promise((resolve) => this.exited.addEventListener("abort", resolve));
    }
    if (!this.alive) return;
    this.#loaded = true;
    this.#log.line("main: server is listening - starting the main loop");
    await clock.sleep(this.#begun + LISTEN_MS - clock.now(), this.exited);
  }

  /** Logs the steps that are due: two timers may fire late and in either order, the log stays complete. */
  #logTensors(): void {
    const passed = Math.min(this.clock.now() - this.#begun, this.behaviour.loadMs);
    while ((this.#tensors + 1) * TENSOR_MS <= passed) {
      this.#log.line(`load_tensors: loading model tensors, step ${++this.#tensors}`);
    }
  }

  async #fail(afterMs: number): Promise<void> {
    await this.clock.sleep(afterMs, this.exited);
    if (!this.alive) return;
    this.#logTensors();
    const allocation = "allocating 9999.00 MiB on device 0: cudaMalloc failed: out of memory";
    this.#log.line(`ggml_backend_cuda_buffer_type_alloc_buffer: ${allocation}`);
    this.#log.line("llama_model_load: error loading model: unable to allocate CUDA0 buffer");
    this.#log.line(`srv    load_model: failed to load model, '${this.behaviour.modelPath}'`);
    this.kill();
  }

  logRequest(method: string, path: string, status: number): void {
    this.#log.line(`srv  log_server_r: request: "${method} ${path} HTTP/1.1" ${status} -`);
  }
}
