import type { Behaviour } from "../flags.ts";
import type { Exchange } from "../http.ts";
import { Log } from "../log.ts";
import { ProcessGone, Upstream } from "../upstream.ts";
import { answer } from "../upstream-answers.ts";
import type { Surroundings } from "./kind.ts";

/** Time that a process takes to exit after the signal. */
const STOP_MS = 20;

export type ChildState = "unloaded" | "loading" | "loaded";

/** One model and its process while it has one, for servers that load models by themselves. */
export class Child {
  readonly id: string;
  readonly behaviour: Behaviour;
  process: Upstream | undefined;
  state: ChildState = "unloaded";
  /** Of the process that ended last. */
  exitCode: number | undefined;
  /** It loads after a sleep, in the process that it has. */
  waking = false;
  /** Requests that it serves now, and when the last one came or ended (simulated ms). */
  busy = 0;
  lastUse = 0;
  readonly #around: Surroundings;
  readonly #onChange: (child: Child) => void;
  #waiters: (() => void)[] = [];

  constructor(id: string, behaviour: Behaviour, around: Surroundings, onChange: (child: Child) => void) {
    this.id = id;
    this.behaviour = behaviour;
    this.#around = around;
    this.#onChange = onChange;
  }

  get failed(): boolean {
    return this.exitCode !== undefined && this.exitCode !== 0;
  }

  /** Begins to load if it has not yet; `changed` reports progress. */
  start(): void {
    if (this.state !== "unloaded") return;
    this.#around.started(this.id);
    this.exitCode = undefined;
    this.lastUse = this.#around.clock.now();
    const process = new Upstream(this.behaviour, this.#around.clock, new Log());
    this.process = process;
    process.exited.addEventListener("abort", () => this.#ended(process, 1), { once: true });
    this.#set("loading");
    void process.ready.then(() => {
      if (process.alive && this.process === process) this.#set("loaded");
    });
    const { dieAfterMs } = this.behaviour;
    if (dieAfterMs !== undefined) {
      void this.#around.clock.sleep(dieAfterMs, process.exited).then(() => process.kill());
    }
  }

  /** Ends the process and aborts its requests. */
  async stop(): Promise<void> {
    const { process } = this;
    if (!process) return;
    await this.#around.clock.sleep(Math.max(STOP_MS, this.behaviour.stopMs), process.exited);
    // A process stopped before it has loaded ends like a failed load.
    this.#ended(process, this.state === "loading" ? 1 : 0);
    process.kill();
  }

  /** Resolves at the next change of its state, or when one of its requests ends. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** Starts it if necessary, and waits. @returns whether it is loaded; false also when the client disconnected */
  async load(gone: AbortSignal): Promise<boolean> {
    this.start();
    const left = new Promise<void>((resolve) => gone.addEventListener("abort", () => resolve()));
    while (this.state === "loading" && !gone.aborted) await Promise.race([this.changed(), left]);
    return this.state === "loaded" && !gone.aborted;
  }

  /** Hands a request to the process. @throws {ProcessGone} when that ends before it has answered */
  async serve(exchange: Exchange): Promise<void> {
    const { process } = this;
    if (!process) throw new ProcessGone();
    this.busy++;
    this.lastUse = this.#around.clock.now();
    try {
      await answer(exchange, process);
    } finally {
      this.busy--;
      this.lastUse = this.#around.clock.now();
      this.#wakeWaiters();
    }
  }

  /** After a sleep, the first request that needs the model loads it again. */
  async wake(): Promise<void> {
    if (!this.process?.sleeping) return;
    this.#around.started(this.id);
    const awake = this.process.wake();
    this.waking = true;
    this.#set("loading");
    await awake;
    this.#set("loaded");
    this.waking = false;
  }

  sleep(): void {
    this.process?.sleep();
    this.#onChange(this);
  }

  #ended(process: Upstream, exitCode: number): void {
    if (this.process !== process) return;
    this.process = undefined;
    this.exitCode = exitCode;
    this.#set("unloaded");
  }

  #set(state: ChildState): void {
    this.state = state;
    this.#onChange(this);
    this.#wakeWaiters();
  }

  #wakeWaiters(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }
}
