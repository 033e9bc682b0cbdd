import type { Config } from "../config.ts";
import { abortable, type Clock, REAL_CLOCK } from "../lib/clock.ts";
import { ServerError } from "../lib/errors.ts";
import { record } from "../lib/json.ts";
import { type Holding, holdingOf, type OwnRequest } from "./holding.ts";
import { ANSWER_TIMEOUT_MS, type Limits } from "./http/access.ts";
import { Http, type HttpResponse } from "./http/http.ts";
import { OpenDoor } from "./http/open-door.ts";
import { isWorking, slotFor } from "./in-flight.ts";
import {
  type Backend,
  type BackendKind,
  hasConfigFile,
  recognise,
  type ServerVersion,
} from "./kinds/backend.ts";
import type { EventHooks } from "./kinds/events.ts";
import { llamaServer } from "./kinds/llama-cpp/llama-server.ts";
import { router } from "./kinds/llama-cpp/router.ts";
import { llamaSwap } from "./kinds/llama-swap/llama-swap.ts";
import { otherServer } from "./kinds/other.ts";
import { KnownFacts } from "./models/known-facts.ts";
import type { FileFacts, ListedModel, ModelDescription } from "./models/listed-model.ts";
import {
  type LiveFacts,
  type ModelFacts,
  modelsOf,
  processesOf,
  type RememberedFacts,
  type RunningModel,
} from "./models/models.ts";
import { MAX_MODELS } from "./models/names.ts";
import { ReadAhead } from "./read-ahead.ts";
import { SeveralServers } from "./several-servers.ts";
import { ThinkingControl } from "./thinking-control.ts";
import { WhatRuns } from "./what-runs.ts";

/**
 * For the facts of a ready model, which earlier ones can replace. Up to v217 llama-swap answers no such request while it
 * answers the one that loaded the model.
 */
const LIVE_TIMEOUT_MS = 2000;

/** Pause before a follower looks again at a server that it could not recognise. */
const FOLLOW_PAUSE_MS = 5000;

const MAKERS = { "llama-swap": llamaSwap, router, "llama-server": llamaServer } as const;

/** The server at the configured address, of whatever kind. Reading never loads a model. */
export class ModelServer {
  readonly config: Config;
  readonly http: Http;
  readonly openDoor: OpenDoor;
  readonly #now: () => number;
  readonly #kindBefore: BackendKind | undefined;
  readonly #recogniseMs: number;
  readonly #session: () => string | undefined;
  #several: SeveralServers;
  #backend: Backend | undefined;
  #recognising: Promise<Backend> | undefined;
  readonly #runs: WhatRuns;
  #listed: readonly ListedModel[] = [];
  /** How many models of the list exceed `MAX_MODELS`. */
  #leftOut = 0;
  readonly known = new KnownFacts();
  readonly thinkingControl = new ThinkingControl(this);
  readonly readAhead: ReadAhead;
  /** Fields of a request body that this server has refused. */
  readonly refusedFields = new Set<string>();

  /**
   * @param kindBefore the kind of server that an earlier process found at this address
   * @param recogniseMs for each answer by which the server is recognised
   * @param session the conversation that requests belong to which name none themselves
   */
  constructor(
    config: Config,
    now: () => number = Date.now,
    kindBefore?: BackendKind,
    recogniseMs = ANSWER_TIMEOUT_MS,
    session: () => string | undefined = () => undefined,
  ) {
    this.config = config;
    this.#session = session;
    this.#several = new SeveralServers(session(), now);
    this.http = new Http(config, now, () => this.several);
    this.openDoor = new OpenDoor(config, this.http);
    this.#now = now;
    this.#runs = new WhatRuns({
      now,
      several: () => this.several,
      onRead: (running) => this.known.saw(running),
    });
    this.#kindBefore = kindBefore;
    this.#recogniseMs = recogniseMs;
    this.readAhead = new ReadAhead(this, now);
  }

  /** What the answers to this session show of several servers behind the address. */
  get several(): SeveralServers {
    const session = this.#session();
    if (this.#several.session !== session) this.#several = new SeveralServers(session, this.#now);
    return this.#several;
  }

  /**
   * The server by its kind: recognised once, and again by each discovery.
   *
   * @throws {ServerError} where the server cannot be reached; the signal's reason
   */
  async backend(signal?: AbortSignal): Promise<Backend> {
    if (this.#backend !== undefined) return this.#backend;
    // Several turns share it: one caller's signal must not end it for the others.
    const limits = { timeoutMs: this.#recogniseMs };
    this.#recognising ??= this.#recognise(limits, () => this.#readList(limits)).finally(() => {
      this.#recognising = undefined;
    });
    this.#recognising.catch(() => undefined);
    return abortable(this.#recognising, signal);
  }

  async #recognise(limits: Limits, models: () => Promise<unknown>): Promise<Backend> {
    const at = this.#now();
    const { kind, running } = await recognise(this, limits, models);
    if (this.#backend?.kind !== kind)
      this.#backend = kind === "other" ? await otherServer(this, await models(), limits) : MAKERS[kind](this);
    const backend = this.#backend;
    if (running !== undefined) this.#runs.keep(running, at);
    return backend;
  }

  /**
   * The loaded models; all callers within a second share one request.
   *
   * @returns undefined where the server does not report them
   * @throws {ServerError}
   */
  async running(signal?: AbortSignal, timeoutMs = ANSWER_TIMEOUT_MS): Promise<RunningModel[] | undefined> {
    return this.#runs.shared(await this.backend(signal), timeoutMs, signal);
  }

  /**
   * The same, read now for this caller alone.
   *
   * @param isTwice whether to read it twice, so that several servers that take turns show
   * @throws {ServerError}; the signal's reason
   */
  async runningNow(signal?: AbortSignal, isTwice = false): Promise<RunningModel[] | undefined> {
    const isNew = this.#backend === undefined;
    const backend = await this.backend(signal);
    // The server was just recognised by its answer to this very request.
    if (isNew && !isTwice && this.#runs.last !== undefined) return abortable(this.#runs.last, signal);
    return this.#runs.read(backend, { signal, timeoutMs: ANSWER_TIMEOUT_MS }, isTwice);
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
   * Reads the list of models, which of them are loaded, and the live facts of ready ones that are not known yet.
   *
   * @param timeoutMs for all of it
   * @throws {ServerError} where a list cannot be read; a model that fails or is slow loses only its live facts
   */
  async discover(
    before: ReadonlyMap<string, RememberedFacts>,
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
    this.#runs.forget();
    const list = this.#readList(limits);
    const [models, backend] = await Promise.all([list, this.#recognise(limits, () => list)]);
    // Recognising llama-swap has read it already.
    const first = await (this.#runs.last ?? backend.running(limits, models));
    const again = async (): Promise<ListedModel[]> => backend.listed(await this.#readList(limits), limits);
    const all = await this.several.listed(await backend.listed(models, limits), again);
    this.#leftOut = Math.max(0, all.length - MAX_MODELS);
    const listed = all.slice(0, MAX_MODELS);
    this.#listed = listed;
    const { running, live } = await this.#liveFacts(backend, listed, first, before, limits);
    this.#runs.keep(running, this.#now());
    signal?.throwIfAborted();
    return modelsOf({ listed, running, live }, before);
  }

  /** @param first what runs, as it was just read */
  async #liveFacts(
    backend: Backend,
    listed: readonly ListedModel[],
    first: RunningModel[] | undefined,
    before: ReadonlyMap<string, RememberedFacts>,
    limits: Limits,
  ): Promise<{ running: RunningModel[] | undefined; live: ReadonlyMap<string, LiveFacts> }> {
    let running = await this.#runs.check(backend, limits, first);
    let processes = processesOf(listed, running ?? []);
    if (backend.kind === "llama-swap" && this.known.asks(backend, processes, before)) {
      // Of servers that take turns the next one would get the question, and load the model for it.
      running = await this.#runs.read(backend, limits);
      processes = processesOf(listed, running ?? []);
    }
    if (this.several.isKnown) return { running, live: new Map() };
    const timeoutMs = Math.min(limits.timeoutMs, LIVE_TIMEOUT_MS);
    const live = await this.known.read(backend, processes, before, { signal: limits.signal, timeoutMs });
    return { running, live };
  }

  /** A sentence where the last list had more models than are kept; else none. */
  get tooMany(): string[] {
    if (this.#leftOut === 0) return [];
    return [
      `The server lists ${MAX_MODELS + this.#leftOut} models. The first ${MAX_MODELS} are kept, and ${this.#leftOut} left out: list fewer in its configuration.`,
    ];
  }

  /** Descriptions, aliases and the like from the last list, by model id. */
  get descriptions(): ReadonlyMap<string, ModelDescription> {
    return new Map(this.#listed.map(({ id, description }) => [id, description]));
  }

  /** Whether a ready model is working on a request, by its slots; unknown counts as no. Never throws. */
  isWorking(id: string, signal: AbortSignal): Promise<boolean> {
    return isWorking(this, id, signal);
  }

  /** Whether the server still has a request of ours. @throws the signal's reason, and nothing else */
  holding(own: OwnRequest, signal: AbortSignal): Promise<Holding> {
    return holdingOf(this, own, signal);
  }

  /** Whether the server has answered since this was made. */
  get hasAnswered(): boolean {
    return this.http.hasAnswered;
  }

  /** One request that every server answers without asking a model. @throws {ServerError}; the signal's reason */
  async ping(signal: AbortSignal): Promise<void> {
    const path = this.kind === "llama-swap" ? this.config.runningPath : this.config.modelsPath;
    await this.http.json(path, { signal, timeoutMs: ANSWER_TIMEOUT_MS });
  }

  /** The slot that a turn should ask for; undefined where the server is to choose. Never throws. */
  slotFor(id: string, isNew: boolean, signal: AbortSignal): Promise<number | undefined> {
    return slotFor(this, id, { isNew, read: this.readAhead.takeSlot(id) }, signal);
  }

  /** The context window of a ready model, the one it was trained for, and other facts of its file. @throws {ServerError} */
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
    if (!this.several.isKnown) this.known.keep(id, live);
    return { tokens: live?.context, trained: file?.trainedContext, file };
  }

  /** Undefined until it is known. */
  get kind(): BackendKind | undefined {
    return this.#backend?.kind;
  }

  /** Until the server has answered, the kind that it had before: no more than a hint. */
  get lastKind(): BackendKind | undefined {
    return this.kind ?? this.#kindBefore;
  }

  /** Whether the server loads and unloads on request; undefined until that is known. */
  get canLoad(): boolean | undefined {
    if (this.#backend !== undefined) return this.#backend.load !== undefined;
    return this.#kindBefore === "llama-server" ? false : undefined;
  }

  /** Whether it has a config file with context windows to change; undefined until that is known. */
  get hasConfigFile(): boolean | undefined {
    return this.lastKind && hasConfigFile(this.lastKind);
  }

  /** @throws {ServerError} */
  async version(signal: AbortSignal | undefined): Promise<ServerVersion> {
    return (await this.backend(signal)).version(signal);
  }

  /** Follows the server's events until the signal is aborted or the server turns out to have none. Never throws. */
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

  /** Posts a chat/completions body; the answer's headers come once the model is loaded. */
  chat(body: string, headers: Record<string, string>, signal: AbortSignal): Promise<HttpResponse> {
    return this.http.request({
      method: "POST",
      path: "/v1/chat/completions",
      body,
      headers: { ...headers, accept: "text/event-stream, application/json" },
      signal,
      isPaced: true,
    });
  }

  /** Sends later requests over new connections, and no longer shares an answer that is on its way. Never throws. */
  renew(): Promise<void> {
    this.#recognising = undefined;
    this.#runs.forget();
    return this.http.renew();
  }

  /** Closes each connection once its request has ended. */
  retire(): Promise<void> {
    return this.http.retire();
  }

  /** Closes all connections. Idempotent. */
  close(): Promise<void> {
    return this.http.close();
  }
}
