/** The one object that leads to everything else: configuration, server, catalogue, and what is remembered. */
import { join } from "node:path";
import type { RefreshModelsContext } from "@earendil-works/pi-ai";
import { Activities } from "../activity/activities.ts";
import { type Config, isOffline, isSetUp, PROVIDER_ID, readConfig, type Variables } from "../config.ts";
import { sentenceOf } from "../lib/errors.ts";
import { list } from "../lib/json.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { ModelFacts, RememberedFacts } from "../server/models/models.ts";
import { changesBetween, isChanged, windowChanges, withWindow } from "./catalog-changes.ts";
import { CurrentServer, keyOf } from "./current-server.ts";
import { Exclusive } from "./exclusive.ts";
import { PayloadHook } from "./payload-hook.ts";
import {
  baseUrlOf,
  fallbackModels,
  processOf,
  restoredModels,
  type ServedModel,
  toServedModels,
} from "./pi-models.ts";
import { Remembered } from "./remembered.ts";

const START_TIMEOUT_MS = 3000;

/** The part of pi's registry that refreshes catalogues. */
export interface Registry {
  refresh(options: { providers: readonly string[]; allowNetwork: boolean }): Promise<unknown>;
}

export interface AiServerOptions {
  env: Variables;
  agentDir: string;
  now: () => number;
  /** How long a start of pi waits for the server, in milliseconds, when nothing is stored yet. */
  startTimeoutMs?: number;
  /**
   * Called after the catalogue changed in a way that a running session must know.
   *
   * @param windows a line for each model whose window changed; none when a command reports them itself
   */
  onChanged: (windows: readonly string[]) => void;
  /** The id of pi's session, if there is one. */
  session?: () => string | undefined;
  /** Receives what the user must know of a turn that goes on. */
  onNotice?: (text: string) => void;
}

interface ModelsOrigin {
  /** The server's address; undefined where the configuration names none. */
  url: string | undefined;
  /** Read from the server in this process, and not from pi's store. */
  isLive: boolean;
}

/** Opens nothing until a server is asked for, and can be closed and used again. */
export class AiServer {
  readonly activities = new Activities();
  readonly remembered: Remembered;
  readonly payloadHook: PayloadHook;
  readonly #options: AiServerOptions;
  readonly #startTimeoutMs: number;
  #stored: Variables = {};
  readonly #current: CurrentServer;
  #models: readonly ServedModel[] = [];
  /** Undefined as long as the models are no server's. */
  #origin: ModelsOrigin | undefined;
  /** The list that pi's store holds, if it is one of this process. */
  #inStore: readonly ServedModel[] | undefined;
  /** The list that a command reported last, or the first one. */
  #reported: readonly ServedModel[] | undefined;
  /** The discovery of a start or a login; its models are undefined if it failed. */
  #discovered: { key: string; models: Promise<readonly ServedModel[] | undefined> } | undefined;
  #problem: string | undefined;
  #isUsed = false;
  #isClaimed = false;
  readonly #firstRefresh = Promise.withResolvers<void>();
  #started: Promise<void> | undefined;
  /** Windows that overflows revealed, in order: a discovery under way does not know them. */
  readonly #corrections: { id: string; tokens: number }[] = [];
  readonly #changes: Exclusive;

  constructor(options: AiServerOptions) {
    this.#options = options;
    this.#startTimeoutMs = options.startTimeoutMs ?? START_TIMEOUT_MS;
    const remembered = new Remembered(join(options.agentDir, "ai-server.json"), options.now);
    this.remembered = remembered;
    this.payloadHook = new PayloadHook(() => options.session?.());
    this.#changes = new Exclusive(() => this.activities.notify());
    this.#current = new CurrentServer(
      options.now,
      (config) => remembered.kindBefore(config),
      options.session,
    );
  }

  get models(): readonly ServedModel[] {
    return this.#models;
  }

  /** Whether the list is as it was read from the server in this process. */
  get isLive(): boolean {
    return this.#origin?.isLive ?? false;
  }

  /** Whether pi asked for models with anything set up. */
  get isUsed(): boolean {
    return this.#isUsed;
  }

  /** Whether a session is on one of its models though nothing is set up: its turns end with what to do. */
  get isOnlyClaimed(): boolean {
    return this.#isClaimed && !this.#isUsed;
  }

  /** Keeps a session that belongs to this provider here, even where nothing is set up. */
  claim(): void {
    this.#isClaimed = true;
  }

  /**
   * Ends with pi's first refresh that pi did not abort itself, at the latest at the limit of a start. A start of pi begins
   * two refreshes at once: either may abort the other and then goes on without its models; the last thing that
   * a start waits for is whether the provider is available.
   */
  started(): Promise<void> {
    this.#started ??= new Promise((resolve) => {
      const limit = setTimeout(resolve, this.#startTimeoutMs);
      void this.#firstRefresh.promise.then(() => {
        clearTimeout(limit);
        resolve();
      });
    });
    return this.#started;
  }

  notice(text: string): void {
    this.#options.onNotice?.(text);
  }

  /** Why the last discovery failed; the next call returns undefined. */
  takeProblem(): string | undefined {
    const problem = this.#problem;
    this.#problem = undefined;
    return problem;
  }

  isSetUp(stored: Variables | undefined): boolean {
    return isSetUp(this.#options.env, stored, this.#options.agentDir);
  }

  /** The environment of this process. */
  get variables(): Variables {
    return this.#options.env;
  }

  isFromEnvironment(name: string): boolean {
    return Boolean(this.#options.env[name]?.trim());
  }

  /**
   * @param stored what `/login` stored, where the caller has it; otherwise what pi handed over last
   * @throws {ServerError} that names the wrong variable
   */
  config(stored: Variables = this.#stored): Config {
    return readConfig(this.#options.env, stored, this.#options.agentDir);
  }

  async server(stored?: Variables): Promise<ModelServer> {
    return this.#current.get(this.config(stored));
  }

  /** The same, but undefined unless it is in use already. */
  async openServer(stored?: Variables): Promise<ModelServer | undefined> {
    return this.#current.open(this.config(stored));
  }

  /** Aborted when the connections of now are closed. */
  get closing(): AbortSignal {
    return this.#current.closing;
  }

  /**
   * Reads the models from the server.
   *
   * @returns the models, what was found of each, and a line for each change
   * @throws {ServerError}
   */
  async discover(
    stored: Variables | undefined,
    options: { signal?: AbortSignal | undefined; timeoutMs?: number } = {},
  ): Promise<{ models: readonly ServedModel[]; found: readonly ModelFacts[]; changes: string[] }> {
    const server = await this.server(stored);
    const before = restoredModels(this.#models, baseUrlOf(server.config));
    const correctedBefore = this.#corrections.length;
    const found = await server.discover(await this.rememberedFacts(server.config), options);
    this.remembered.rememberKind(server.config, server.kind);
    let models: readonly ServedModel[] = toServedModels(found, server.config);
    for (const { id, tokens } of this.#corrections.slice(correctedBefore))
      models = withWindow(models, id, tokens).models;
    this.#discovered = { key: keyOf(server.config), models: Promise.resolve(models) };
    const reported = this.#reported && restoredModels(this.#reported, baseUrlOf(server.config));
    return { models, found, changes: changesBetween(before, models, reported) };
  }

  /** What is remembered of the models of this configuration's server, by the id under which each runs. */
  rememberedFacts(config: Config): Promise<Map<string, RememberedFacts>> {
    return this.remembered.facts(this.#models, config);
  }

  /**
   * Takes over a list that was just read, and has pi store and show it.
   *
   * @param isReported whether the caller reports the changed windows
   */
  async publish(models: readonly ServedModel[], registry: Registry, isReported: boolean): Promise<void> {
    if (isReported) this.#reported = models;
    this.#keep(models, { url: baseUrlOf(this.config()), isLive: true }, isReported);
    await registry.refresh({ providers: [PROVIDER_ID], allowNetwork: false });
  }

  /** The model's real window, which an overflow revealed. */
  correctContextWindow(id: string, tokens: number): void {
    const { models, corrected } = withWindow(this.#models, id, tokens);
    if (corrected.length === 0) return;
    this.#corrections.push({ id, tokens });
    const correct = (server: ModelServer | undefined): void =>
      corrected.forEach((model) => void server?.known.correctContext(processOf(model), tokens));
    this.openServer().then(correct, () => {});
    // Neither as it was read nor as pi has stored it: the next refresh makes up for that.
    this.#keep(models, this.#origin && { ...this.#origin, isLive: false });
    this.remembered.rememberModels(corrected);
  }

  /**
   * pi's refresh of the catalogue. Never throws: a server that cannot be used leaves the list as it was, and the
   * problem is reported once.
   *
   * Offline calls restore what is stored. Without it, the several calls of one start share one discovery, which ends
   * with the limit of a start and which no single call's signal ends, since pi aborts each call by the next.
   */
  async refresh(context: RefreshModelsContext): Promise<void> {
    await this.#refresh(context);
    if (!context.signal.aborted) this.#firstRefresh.resolve();
  }

  async #refresh(context: RefreshModelsContext): Promise<void> {
    const stored = context.credential?.type === "api_key" ? (context.credential.env ?? {}) : {};
    try {
      if (!this.isSetUp(context.credential ? stored : undefined)) return;
      this.#isUsed = true;
      this.#stored = stored;
      const config = this.#configOrProblem(stored);
      const address = config && baseUrlOf(config);
      const restored = restoredModels(list(context.stored?.models), address);
      // The store lacks the windows that turns have revealed since.
      const isThere = this.#origin !== undefined && (this.#origin.url === address || address === undefined);
      if (restored.length > 0 && !isThere) {
        await context.publish({ update: () => this.#keep(restored, { url: address, isLive: false }) });
      }
      // With a wrong variable the stored models stay, so that the first turn can say what is wrong.
      if (config === undefined) return;
      if (context.allowNetwork) {
        const { models } = await this.discover(stored, { signal: context.signal });
        await this.#store(context, models, config);
      } else if (this.isLive && isThere) {
        if (this.#models !== this.#inStore) await this.#store(context, this.#models, config);
      } else if (restored.length === 0 && !isThere) {
        await this.#start(context, stored, config);
      }
    } catch (error) {
      if (!context.signal.aborted) this.#problem = sentenceOf(error);
    }
  }

  #configOrProblem(stored: Variables): Config | undefined {
    try {
      return this.config(stored);
    } catch (error) {
      this.#problem = sentenceOf(error);
      return undefined;
    }
  }

  async #start(context: RefreshModelsContext, stored: Variables, config: Config): Promise<void> {
    const key = keyOf(config);
    if (this.#discovered?.key !== key && !isOffline(this.#options.env)) {
      const models = this.discover(stored, { timeoutMs: this.#startTimeoutMs }).then(
        (found) => found.models,
        (error: unknown) => {
          this.#problem = sentenceOf(error);
          return undefined;
        },
      );
      this.#discovered = { key, models };
    }
    const models = this.#discovered?.key === key ? await this.#discovered.models : undefined;
    if (models !== undefined) return this.#store(context, models, config);
    const fallback = fallbackModels(config);
    await context.publish({ update: () => this.#keep(fallback, undefined) });
  }

  async #store(context: RefreshModelsContext, models: readonly ServedModel[], config: Config): Promise<void> {
    await context.publish({
      persist: { models: [...models], checkedAt: this.#options.now() },
      update: () => {
        this.#inStore = models;
        this.#keep(models, { url: baseUrlOf(config), isLive: true });
      },
    });
  }

  /** Takes over a list, and notifies the session of a change. */
  #keep(models: readonly ServedModel[], origin: ModelsOrigin | undefined, isReported = false): void {
    const before = this.#models;
    this.#models = models;
    this.#origin = origin;
    if (origin !== undefined) this.#reported ??= models;
    if (origin?.isLive) {
      this.#problem = undefined;
      this.remembered.rememberModels(models);
    }
    if (isChanged(before, models)) this.#options.onChanged(isReported ? [] : windowChanges(before, models));
  }

  /** The command that restarts the server at this moment, as the user typed it. */
  get restarting(): string | undefined {
    return this.#changes.restarting;
  }

  /** Whether a command changes the server at this moment. */
  get isChanging(): boolean {
    return this.#changes.isRunning;
  }

  /** @throws {ServerError} while a command changes the server */
  refuseWhileChanging(): void {
    this.#changes.refuse();
  }

  /** Runs a command that changes the server, as `Exclusive.run` does. */
  exclusively<T>(what: string, work: () => Promise<T>, isRestart = false): Promise<T> {
    return this.#changes.run(what, work, isRestart);
  }

  /** Closes every connection. Idempotent; a later use opens them again. */
  close(): Promise<void> {
    return this.#current.close();
  }
}
