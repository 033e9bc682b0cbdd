import type { Clock } from "./clock.ts";
import type { ModelConfig } from "./config.ts";
import { type Behaviour, readBehaviour } from "./flags.ts";
import { Log } from "./log.ts";
import { Upstream } from "./upstream.ts";

export type ModelState = "stopped" | "starting" | "ready" | "stopping";

/** Changes of a model while it runs. */
export interface ModelEvents {
  stateChanged(model: Model): void;
  /** A process was started for it. */
  started(id: string): void;
}

const FIRST_CHECK_MS = 250;
const CHECK_MS = 1000;

/** A configured model: its state, and its process while it has one (llama-swap's ProcessCommand). */
export class Model {
  readonly config: ModelConfig;
  readonly behaviour: Behaviour;
  readonly log: Log;
  process: Upstream | undefined;
  /** Requests that are being served, and when the last one ended (simulated ms). */
  inFlight = 0;
  lastUse = 0;
  #state: ModelState = "stopped";
  #abortStart = new AbortController();
  /** Settles when the current start or stop is through. */
  #change: Promise<unknown> = Promise.resolve();
  readonly #clock: Clock;
  readonly #healthCheckTimeout: number;
  readonly #events: ModelEvents;

  /** @param healthCheckTimeout seconds */
  constructor(config: ModelConfig, healthCheckTimeout: number, clock: Clock, log: Log, events: ModelEvents) {
    this.config = config;
    this.behaviour = readBehaviour(config.cmd, config.env);
    this.log = new Log(log);
    this.#clock = clock;
    this.#healthCheckTimeout = healthCheckTimeout;
    this.#events = events;
  }

  get id(): string {
    return this.config.id;
  }

  get state(): ModelState {
    return this.#state;
  }

  /**
   * Starts the process unless it is ready, after a stop that is under way.
   * @throws {Error} with llama-swap's words when it exits, cannot be started, is unloaded or never gets healthy
   */
  async ensureReady(): Promise<void> {
    while (this.#state === "starting" || this.#state === "stopping") await this.#change;
    if (this.#state === "ready") return;
    this.#setState("starting");
    this.#abortStart = new AbortController();
    const start = this.#start(this.#abortStart.signal);
    this.#change = start.catch(() => undefined);
    try {
      this.process = await start;
    } catch (error) {
      this.#setState("stopped");
      throw error;
    }
    this.lastUse = this.#clock.now();
    this.#setState("ready");
    this.#watch(this.process);
  }

  /** Stops the process, or aborts its start; resolves when it has exited. */
  async stop(): Promise<void> {
    if (this.#state === "starting") {
      this.#abortStart.abort();
      await this.#change;
    }
    if (this.#state === "stopping") await this.#change;
    if (this.#state === "ready") {
      this.#setState("stopping");
      this.#change = this.#clock.sleep(this.behaviour.stopMs).then(() => this.#dropProcess());
      await this.#change;
    }
  }

  #dropProcess(): void {
    this.process?.kill();
    this.process = undefined;
    this.#setState("stopped");
  }

  async #start(aborted: AbortSignal): Promise<Upstream> {
    const { args } = this.behaviour;
    const [program = ""] = args;
    if (program === "") throw new Error("unable to get sanitized command: empty command");
    if (program.startsWith("/nonexistent/")) {
      const reason = `fork/exec ${program}: no such file or directory`;
      throw new Error(`failed to start command '${args.join(" ")}': ${reason}`);
    }
    this.#events.started(this.id);
    const process = new Upstream(this.behaviour, this.#clock, this.log);
    if (this.config.checkEndpoint === "none") return process;
    const interrupted = AbortSignal.any([aborted, process.exited]);
    await this.#clock.sleep(FIRST_CHECK_MS, aborted);
    const deadline = this.#clock.now() + this.#healthCheckTimeout * 1000;
    for (;;) {
      if (aborted.aborted) return this.#abandon(process, "aborted");
      if (!process.alive) return this.#abandon(process, "upstream command exited prematurely");
      if (this.#clock.now() > deadline) {
        return this.#abandon(process, `health check timed out after ${goDuration(this.#healthCheckTimeout)}`);
      }
      if (process.healthy()) return process;
      await this.#clock.sleep(CHECK_MS, interrupted);
    }
  }

  #abandon(process: Upstream, reason: string): never {
    process.kill();
    throw new Error(reason);
  }

  /** Looks after a running process: its own death, and the one by idleness. */
  #watch(process: Upstream): void {
    const { dieAfterMs } = this.behaviour;
    process.exited.addEventListener("abort", () => {
      if (this.process === process && this.#state === "ready") this.#dropProcess();
    });
    if (dieAfterMs !== undefined)
      void this.#clock.sleep(dieAfterMs, process.exited).then(() => process.kill());
    if (this.config.ttl > 0) void this.#unloadWhenIdle(process);
  }

  async #unloadWhenIdle(process: Upstream): Promise<void> {
    while (process.alive && this.#state === "ready") {
      await this.#clock.sleep(1000, process.exited);
      const idle = this.#clock.now() - this.lastUse;
      if (process.alive && this.inFlight === 0 && idle > this.config.ttl * 1000) return this.stop();
    }
  }

  #setState(state: ModelState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#events.stateChanged(this);
  }
}

/** Seconds as Go prints a duration: `15s`, `2m0s`, `1h0m0s`. */
function goDuration(seconds: number): string {
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  if (seconds < 60) return `${seconds}s`;
  return `${hours > 0 ? `${hours}h` : ""}${minutes}m${seconds % 60}s`;
}
