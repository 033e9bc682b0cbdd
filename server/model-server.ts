import type { Config } from "../config.ts";
import { type Clock, REAL_CLOCK } from "../lib/clock.ts";
import { ServerError } from "../lib/errors.ts";
import { record } from "../lib/json.ts";
import { type Holding, holdingOf, type OwnRequest } from "./holding.ts";
import { ANSWER_TIMEOUT_MS, type Limits } from "./http/access.ts";
import { abortable, Http, type HttpResponse } from "./http/http.ts";
import { OpenDoor } from "./http/open-door.ts";
import { type Backend, type BackendKind, hasConfigFile, recognise } from "./kinds/backend.ts";
import { LlamaServer } from "./kinds/llama-cpp/llama-server.ts";
import { Router } from "./kinds/llama-cpp/router.ts";
import { slotWithLeast } from "./kinds/llama-cpp/slots.ts";
import type { EventHooks } from "./kinds/llama-swap/events.ts";
import { parseRunning } from "./kinds/llama-swap/list.ts";
import { LlamaSwap } from "./kinds/llama-swap/llama-swap.ts";
import { otherServer } from "./kinds/other.ts";
import type { ServerVersion } from "./kinds/version.ts";
import { KnownFacts } from "./models/known-facts.ts";
import type { FileFacts, ListedModel } from "./models/listed-model.ts";
import type { ModelDescription } from "./models/model-description.ts";
import {
  type ModelFacts,
  modelsOf,
  processesOf,
  type RememberedFacts,
  type RunningModel,
} from "./models/models.ts";
import { MAX_MODELS, tooManyModels } from "./models/names.ts";

/**
 * For what a ready model tells of itself, which is kept from earlier. Up to v217 llama-swap answers no such question as long as
 * the request that loaded the model is answered.
 */
const LIVE_TIMEOUT_MS = 2000;

/** A server that is busy tells of its slots only between two batches: no turn waits longer for that. */
const SLOT_TIMEOUT_MS = 500;

/** What runs is not asked more often than this: each request adds a line to llama-swap's log of 100 KiB. */
const RUNNING_INTERVAL_MS = 1000;

/** Before a server that could not be recognised is asked again by those who follow it. */
const FOLLOW_PAUSE_MS = 5000;

/** The server behind the address, whatever kind it is. Reading never loads a model. */
export class ModelServer {
  readonly config: Config;
  readonly http: Http;
  readonly openDoor: OpenDoor;
  readonly #now: () => number;
  readonly #kindBefore: BackendKind | undefined;
  #backend: Backend | undefined;
  #recognising: Promise<Backend> | undefined;
  #running: { at: number; answer: Promise<RunningModel[] | undefined> } | undefined;
  /** The list of models as last read. */
  #listed: readonly ListedModel[] = [];
  /** Models of the list that are too many to be kept. */
  #leftOut = 0;
  readonly known = new KnownFacts();
  /** Fields of a request body that this server refused once. */
  readonly refusedFields = new Set<string>();

  /** @param kindBefore what stood at this address when it last answered an earlier process */
  constructor(config: Config, now: () => number = Date.now, kindBefore?: BackendKind) {
    this.config = config;
    this.http = new Http(config, now);
    this.openDoor = new OpenDoor(config, this.http);
    this.#now = now;
    this.#kindBefore = kindBefore;
  }

  /**
   * The kind of server, asked once and again with each discovery.
   *
   * @throws {ServerError} where the server cannot be reached; the signal's reason
   */
  async backend(signal?: AbortSignal): Promise<Backend> {
    if (this.#backend !== undefined) return this.#backend;
    // Shared by several turns: one caller's signal must not end it for the others.
    const limits = { timeoutMs: ANSWER_TIMEOUT_MS };
    this.#recognising ??= this.#recognise(limits, () => this.#readList(limits)).finally(() => {
      this.#recognising = undefined;
    });
    this.#recognising.catch(() => undefined);
    return abortable(this.#recognising, signal);
  }

  async #recognise(limits: Limits, models: () => Promise<unknown>): Promise<Backend> {
    const at = this.#now();
    const { kind, running } = await recognise(this, limits, models);
    const backend = this.#backend?.kind === kind ? this.#backend : await this.#made(kind, limits, models);
    this.#backend = backend;
    if (running !== undefined)
      this.#running = { at, answer: Promise.resolve(this.#saw(parseRunning(running))) };
    return backend;
  }

  #saw(running: RunningModel[] | undefined): RunningModel[] | undefined {
    if (running !== undefined) this.known.saw(running);
    return running;
  }

  async #askRunning(backend: Backend, limits: Limits, models?: unknown): Promise<RunningModel[] | undefined> {
    return this.#saw(await backend.running(limits, models));
  }

  async #made(kind: BackendKind, limits: Limits, models: () => Promise<unknown>): Promise<Backend> {
    switch (kind) {
      case "llama-swap":
        return new LlamaSwap(this);
      case "router":
        return new Router(this);
      case "llama-server":
        return new LlamaServer(this);
      case "other":
        return otherServer(this, await models(), limits);
    }
  }

  /**
   * What runs at this moment; all callers within a second share one request.
   *
   * @returns undefined where the server does not tell
   * @throws {ServerError}
   */
  async running(signal?: AbortSignal, timeoutMs = ANSWER_TIMEOUT_MS): Promise<RunningModel[] | undefined> {
    const backend = await this.backend(signal);
    const now = this.#now();
    if (this.#running === undefined || now - this.#running.at >= RUNNING_INTERVAL_MS) {
      // Shared by several turns: one caller's signal must not end it for the others.
      const answer = this.#askRunning(backend, { timeoutMs });
      this.#running = { at: now, answer };
      answer.catch(() => undefined);
    }
    return abortable(this.#running.answer, signal);
  }

  /**
   * What runs, asked now and for this caller alone.
   *
   * @returns undefined where the server does not tell
   * @throws {ServerError}; the signal's reason
   */
  async runningNow(signal?: AbortSignal): Promise<RunningModel[] | undefined> {
    const isNew = this.#backend === undefined;
    const backend = await this.backend(signal);
    // What has just told llama-swap from others is its answer to this very question.
    if (isNew && this.#running !== undefined) return abortable(this.#running.answer, signal);
    return this.#askRunning(backend, { signal, timeoutMs: ANSWER_TIMEOUT_MS });
  }

  async #readList(limits: Limits): Promise<unknown> {
    const models = await this.http.json(this.config.modelsPath, limits);
    if (Array.isArray(record(models)?.data)) return models;
    throw new ServerError(
      `The server's answer to ${this.config.modelsPath} is not a list of models. Check AI_SERVER_URL and AI_SERVER_MODELS_PATH.`,
      { link: "server", remedy: "none" },
    );
  }

  /**
   * Reads which models there are and what is known of each: the list, what runs, and the live facts of those that
   * are ready and have not said them yet.
   *
   * @param timeoutMs for all of it; a model that is slow to tell loses its live facts
   * @throws {ServerError} where list or what runs cannot be had; a model's own failure loses only its live facts
   */
  async discover(
    learnt: ReadonlyMap<string, RememberedFacts>,
    options: { signal?: AbortSignal | undefined; timeoutMs?: number } = {},
  ): Promise<ModelFacts[]> {
    const { signal, timeoutMs = ANSWER_TIMEOUT_MS } = options;
    const now = this.#now;
    const end = now() + timeoutMs;
    const limits: Limits = {
      signal,
      get timeoutMs() {
        return Math.max(1, end - now());
      },
    };
    this.#running = undefined;
    const list = this.#readList(limits);
    const [models, backend] = await Promise.all([list, this.#recognise(limits, () => list)]);
    // Only llama-swap tells it apart from the list.
    const known = this.#running as { answer: Promise<RunningModel[] | undefined> } | undefined;
    const running = await (known?.answer ?? this.#askRunning(backend, limits, models));
    const all = await backend.listed(models, limits);
    this.#leftOut = Math.max(0, all.length - MAX_MODELS);
    const listed = all.slice(0, MAX_MODELS);
    this.#running ??= { at: this.#now(), answer: Promise.resolve(running) };
    this.#listed = listed;
    const processes = processesOf(listed, running ?? []);
    const liveMs = Math.min(limits.timeoutMs, LIVE_TIMEOUT_MS);
    const live = await this.known.read(backend, processes, learnt, { signal, timeoutMs: liveMs });
    signal?.throwIfAborted();
    return modelsOf({ listed, running, live }, learnt);
  }

  /** That the list, as last read, has more models than are kept, as a sentence; none where it has not. */
  get tooMany(): string[] {
    return tooManyModels(this.#leftOut);
  }

  /** What the list, as last read, says of each model beside its facts. */
  get descriptions(): ReadonlyMap<string, ModelDescription> {
    return new Map(this.#listed.map(({ id, description }) => [id, description]));
  }

  /**
   * Whether a ready model works on a request, told by its slots. Unknown counts as no.
   *
   * @param id of a model that is ready
   */
  async isWorking(id: string, signal: AbortSignal): Promise<boolean> {
    const backend = await this.backend(signal).catch(() => undefined);
    const slots = await backend?.slots(id, { signal, timeoutMs: ANSWER_TIMEOUT_MS }).catch(() => undefined);
    return slots?.some(({ isBusy }) => isBusy) ?? false;
  }

  /** Whether the server still has a request of ours. @throws the signal's reason, and nothing else */
  holding(own: OwnRequest, signal: AbortSignal): Promise<Holding> {
    return holdingOf(this, own, signal);
  }

  /** Whether the server has answered since this was made. */
  get hasAnswered(): boolean {
    return this.http.hasAnswered;
  }

  /** One question that every server answers without asking a model. @throws {ServerError}; the signal's reason */
  async ping(signal: AbortSignal): Promise<void> {
    const path = this.kind === "llama-swap" ? this.config.runningPath : this.config.modelsPath;
    await this.http.json(path, { signal, timeoutMs: ANSWER_TIMEOUT_MS });
  }

  /**
   * The slot of a model for a conversation that begins, where the server's own choice may cost another conversation
   * its cache. Never throws, and never takes long.
   *
   * @param id as `/running` lists it
   * @returns undefined: the server is to choose
   */
  async slotForNew(id: string, signal: AbortSignal): Promise<number | undefined> {
    try {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(SLOT_TIMEOUT_MS)]);
      const running = await this.running(limit);
      // What is not ready would be loaded by the question, what sleeps be woken.
      if (!running?.some((model) => model.id === id && model.state === "ready" && model.isAsleep !== true))
        return undefined;
      const backend = await this.backend(limit);
      const slots = await backend.slots(id, { signal: limit, timeoutMs: SLOT_TIMEOUT_MS });
      return slots && slotWithLeast(slots);
    } catch {
      return undefined;
    }
  }

  /**
   * The window of a loaded model, the one that it was trained for, and what else its file tells.
   *
   * @param id of a model that is ready
   * @throws {ServerError}
   */
  async liveContext(
    id: string,
    signal?: AbortSignal,
  ): Promise<{ tokens: number | undefined; trained: number | undefined; file: FileFacts | undefined }> {
    const limits = { signal, timeoutMs: ANSWER_TIMEOUT_MS };
    const backend = await this.backend(signal);
    const [live, file] = await Promise.all([
      backend.live(id, limits),
      backend.fileFacts(id, limits).catch(() => undefined),
    ]);
    this.known.keep(id, live);
    return { tokens: live?.context, trained: file?.trainedContext, file };
  }

  /** Undefined as long as it is not known. */
  get kind(): BackendKind | undefined {
    return this.#backend?.kind;
  }

  /** What it is, or as long as it has not answered, what it was before: then no more than a hint. */
  get lastKind(): BackendKind | undefined {
    return this.kind ?? this.#kindBefore;
  }

  /** Whether the server loads and unloads when asked; undefined as long as that is not known. */
  get canLoad(): boolean | undefined {
    if (this.#backend !== undefined) return this.#backend.load !== undefined;
    return this.#kindBefore === "llama-server" ? false : undefined;
  }

  /** Whether it has a config file whose contexts can be changed; undefined as long as that is not known. */
  get hasConfigFile(): boolean | undefined {
    return this.lastKind && hasConfigFile(this.lastKind);
  }

  /** What the server is, and of which version. @throws {ServerError} */
  async version(signal: AbortSignal | undefined): Promise<ServerVersion> {
    return (await this.backend(signal)).version(signal);
  }

  /**
   * Follows what the server tells of changes, until the signal is aborted or it turns out to tell nothing. Never
   * throws.
   */
  async follow(hooks: EventHooks, signal: AbortSignal, clock: Clock = REAL_CLOCK): Promise<void> {
    while (!signal.aborted) {
      const backend = await this.backend(signal).catch(() => undefined);
      if (signal.aborted) return;
      if (backend?.follow !== undefined) return backend.follow(hooks, signal, clock);
      if (backend !== undefined) return hooks.onUnsupported?.();
      hooks.onLost?.();
      await clock.sleep(FOLLOW_PAUSE_MS, signal).catch(() => undefined);
    }
  }

  /** The last lines of a model's log; none where the server has no such log. Never throws. */
  async logTail(id: string, lines: number, signal?: AbortSignal): Promise<string[]> {
    const backend = await this.backend(signal).catch(() => undefined);
    return (await backend?.logTail?.(id, lines, signal)) ?? [];
  }

  /** Posts a chat/completions body; the answer's headers come when the model is loaded and the server answers. */
  chat(body: string, headers: Record<string, string>, signal: AbortSignal): Promise<HttpResponse> {
    return this.http.request({
      method: "POST",
      path: "/v1/chat/completions",
      body,
      headers: { ...headers, accept: "text/event-stream, application/json" },
      signal,
    });
  }

  /** Has every question from now on go over new connections, those too whose answer others wait for. Never throws. */
  renew(): Promise<void> {
    this.#recognising = undefined;
    this.#running = undefined;
    return this.http.renew();
  }

  /** Takes no more requests; running ones end by themselves. */
  retire(): Promise<void> {
    return this.http.retire();
  }

  /** Closes all connections. Idempotent. */
  close(): Promise<void> {
    return this.http.close();
  }
}
