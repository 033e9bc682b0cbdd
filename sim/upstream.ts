import { setMaxListeners } from "node:events";
import { chat } from "./chat.ts";
import { ServerError } from "./chat-request.ts";
import type { Clock } from "./clock.ts";
import type { Behaviour } from "./flags.ts";
import { type Exchange, reply } from "./http.ts";
import type { Log } from "./log.ts";

/** Time a process needs until it listens; before that a connection is refused. */
const LISTEN_MS = 100;
const TENSOR_MS = 500;

/** The process died, or does not listen: llama-swap answers 502, or lets a stream that has begun just end. */
export class ProcessGone extends Error {}

/** One run of a simulated llama-server, from its start until it is killed or dies. */
export class Upstream {
  readonly behaviour: Behaviour;
  readonly clock: Clock;
  /** Aborted when the process has ended, whyever. */
  readonly exited: AbortSignal;
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
    if (!this.#listening()) return false;
    this.#logRequest("GET", "/health", this.#loaded ? 200 : 503);
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

  /**
   * Answers one request as llama-server does.
   * @throws {ProcessGone} when the process does not listen yet or dies meanwhile
   */
  async handle(exchange: Exchange): Promise<void> {
    if (!this.alive || !this.#listening()) throw new ProcessGone();
    try {
      if (!this.#loaded) throw new ServerError(503, "unavailable_error", "Loading model");
      await this.#route(exchange);
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      const { status: code, message, type, extra } = error;
      replyJson(exchange, code, { error: { code, message, type, ...extra } });
    }
    this.#logRequest(exchange.method, exchange.path, exchange.response.statusCode);
  }

  async #route(exchange: Exchange): Promise<void> {
    const [path] = exchange.path.split("?");
    const { behaviour } = this;
    if (exchange.method === "POST" && (path === "/v1/chat/completions" || path === "/chat/completions")) {
      return chat(exchange, this);
    }
    const get = exchange.method === "GET" || exchange.method === "HEAD";
    if (get && (path === "/health" || path === "/v1/health"))
      return replyJson(exchange, 200, { status: "ok" });
    if (get && path === "/props") return replyJson(exchange, 200, this.#props());
    if (get && (path === "/v1/models" || path === "/models")) return replyJson(exchange, 200, this.#models());
    if (get && path === "/slots") {
      const slot = (id: number) => ({ id, n_ctx: behaviour.slotContext, speculative: false });
      const busy = (id: number) => ({ is_processing: id < this.#busySlots });
      const slots = Array.from({ length: behaviour.slots }, (_, id) => ({ ...slot(id), ...busy(id) }));
      return replyJson(exchange, 200, slots);
    }
    if (get && path === "/") {
      return reply(exchange, 200, { "Content-Type": "text/html" }, "<html>stand-in llama ui</html>");
    }
    replyJson(exchange, 404, { error: { message: "File Not Found", type: "not_found_error", code: 404 } });
  }

  #props(): unknown {
    const { slotContext, slots, alias, modelPath, vision, reasoning } = this.behaviour;
    const template = reasoning ? "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}" : "";
    return {
      default_generation_settings: {
        n_ctx: slotContext,
        params: { n_predict: -1, reasoning_format: "auto" },
      },
      total_slots: slots,
      model_alias: alias ?? modelPath,
      model_path: modelPath,
      modalities: { vision, video: false, audio: false },
      chat_template: `{% for message in messages %}{{ message.content }}{% endfor %}${template}`,
      chat_template_caps: {
        supports_parallel_tool_calls: true,
        supports_preserve_reasoning: true,
        supports_reasoning_effort: false,
        supports_system_role: true,
        supports_tool_calls: true,
        supports_tools: true,
      },
      build_info: "b11669-Debian",
      is_sleeping: this.#sleeping,
    };
  }

  #models(): unknown {
    const { contextSize, trainContext, alias, modelPath, vision } = this.behaviour;
    const id = alias ?? modelPath;
    const architecture = {
      input_modalities: vision ? ["text", "image"] : ["text"],
      output_modalities: ["text"],
    };
    const meta = { n_ctx: contextSize, n_ctx_train: trainContext };
    return { object: "list", data: [{ id, object: "model", architecture, owned_by: "llamacpp", meta }] };
  }

  #listening(): boolean {
    return this.clock.now() - this.#begun >= LISTEN_MS;
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

  #logRequest(method: string, path: string, status: number): void {
    this.#log.line(`srv  log_server_r: request: "${method} ${path} HTTP/1.1" ${status} -`);
  }
}

/** llama-server's headers on a JSON answer. */
export function replyJson(exchange: Exchange, status: number, value: unknown): void {
  const type = { "Content-Type": "application/json; charset=utf-8" };
  reply(exchange, status, { Server: "llama.cpp", ...type }, JSON.stringify(value));
}
