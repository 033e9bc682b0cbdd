/** The one object that leads to everything else: configuration, server, and the models last heard of. */
import { join } from "node:path";
import type { RefreshModelsContext } from "@earendil-works/pi-ai";
import { type Config, isOffline, isSetUp, PROVIDER_ID, readConfig, type Variables } from "../config.ts";
import { sentenceOf } from "../lib/errors.ts";
import { list } from "../lib/json.ts";
import type { Memory } from "../memory/memory.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { LearntFacts } from "../server/models/models.ts";
import { changesBetween, isChanged, windowChanges, withWindow } from "./catalog-changes.ts";
import { CurrentServer, keyOf } from "./current-server.ts";
import { Learnt } from "./learnt.ts";
import { OneAtATime } from "./one-at-a-time.ts";
import {
  baseUrlOf,
  fallbackModels,
  processOf,
  restoredModels,
  type ServedModel,
  toServedModels,
} from "./pi-models.ts";

/** How long a start of pi waits for the server, in milliseconds, when nothing is stored yet. */
const START_TIMEOUT_MS = 3000;

/** The part of pi's registry that refreshes catalogues. */
export interface Registry {
  refresh(options: {
    providers: readonly string[];
    allowNetwork: boolean;
    signal?: AbortSignal;
  }): Promise<unknown>;
}

export interface AiServerOptions {
  env: Variables;
  agentDir: string;
  now: () => number;
  /**
   * Called after the catalogue changed in a way that a running session must be told of.
   *
   * @param windows the models whose window is another now, a line each; none when a command tells of them itself
   */
  onChanged: (windows: readonly string[]) => void;
}

interface ModelsOrigin {
  /** The server's address; undefined where the configuration names none. */
  url: string | undefined;
  /** Read from it in this process, and not from pi's store. */
  isLive: boolean;
}

/**
 * Opens nothing until a server is asked for, and can be closed and used again. The server is made anew when the
 * configuration is another than before.
 */
export class AiServer {
  readonly #options: AiServerOptions;
  #stored: Variables = {};
  readonly #current: CurrentServer;
  #models: readonly ServedModel[] = [];
  /** As a command last reported them, or as they first were. */
  #told: readonly ServedModel[] | undefined;
  /** Where the models come from; undefined as long as they are nobody's. */
  #origin: ModelsOrigin | undefined;
  /** The discovery of a start or a login by its configuration: none for one that failed. */
  #discovered: { key: string; models: Promise<readonly ServedModel[] | undefined> } | undefined;
  #problem: string | undefined;
  #isUsed = false;
  #isClaimed = false;
  readonly #firstRefresh = Promise.withResolvers<void>();
  #started: Promise<void> | undefined;
  /** A list that was read for a command, on its way through pi's refresh. */
  #found: { models: readonly ServedModel[]; isTold: boolean } | undefined;
  readonly #learnt: Learnt;
  /** Windows that overflows told, in order: a reading that was under way does not know them. */
  readonly #corrections: { id: string; tokens: number }[] = [];
  readonly #commands = new OneAtATime();

  constructor(options: AiServerOptions) {
    this.#options = options;
    const learnt = new Learnt(join(options.agentDir, "ai-server.json"), options.now);
    this.#learnt = learnt;
    this.#current = new CurrentServer(options.now, (config) => learnt.kindBefore(config));
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

  /** Keeps a session here that belongs here, also where nothing is set up. */
  claim(): void {
    this.#isClaimed = true;
  }

  /**
   * Ends with pi's first refresh that pi did not abort itself, at the latest after three seconds. A start of pi begins
   * two refreshes at once, either of which may abort the other and then goes on without its models; the last thing that
   * a start waits for is whether the provider is available.
   */
  started(): Promise<void> {
    this.#started ??= new Promise((resolve) => {
      const limit = setTimeout(resolve, START_TIMEOUT_MS);
      void this.#firstRefresh.promise.then(() => {
        clearTimeout(limit);
        resolve();
      });
    });
    return this.#started;
  }

  /** Why the last discovery failed: told once, then forgotten. */
  takeProblem(): string | undefined {
    const problem = this.#problem;
    this.#problem = undefined;
    return problem;
  }

  isSetUp(stored: Variables | undefined): boolean {
    return isSetUp(this.#options.env, stored, this.#options.agentDir);
  }

  isFromEnvironment(name: string): boolean {
    return Boolean(this.#options.env[name]?.trim());
  }

  /**
   * The configuration of this moment.
   *
   * @param stored what `/login` stored, where the caller has it; otherwise what pi handed over last
   * @throws {ServerError} that names the wrong variable
   */
  config(stored: Variables = this.#stored): Config {
    return readConfig(this.#options.env, stored, this.#options.agentDir);
  }

  /** The server of this moment's configuration. */
  async server(stored?: Variables): Promise<ModelServer> {
    return this.#current.get(this.config(stored));
  }

  /** The same as long as it is in use: nothing is opened for it. */
  async openServer(stored?: Variables): Promise<ModelServer | undefined> {
    return this.#current.open(this.config(stored));
  }

  /** Aborted when the connections of now are closed. */
  get closing(): AbortSignal {
    return this.#current.closing;
  }

  /**
   * Reads the models from the server and keeps them.
   *
   * @returns what changed, a line each
   * @throws {ServerError}
   */
  async discover(
    stored: Variables | undefined,
    options: { signal?: AbortSignal | undefined; timeoutMs?: number } = {},
  ): Promise<{ models: readonly ServedModel[]; changes: string[] }> {
    const server = await this.server(stored);
    const before = restoredModels(this.#models, baseUrlOf(server.config));
    const heard = this.#corrections.length;
    const found = await server.discover(await this.learnt(server.config), options);
    this.#learnt.keepKind(server.config, server.kind);
    let models: readonly ServedModel[] = toServedModels(found, server.config);
    for (const { id, tokens } of this.#corrections.slice(heard))
      models = withWindow(models, id, tokens).models;
    this.#discovered = { key: keyOf(server.config), models: Promise.resolve(models) };
    const told = this.#told && restoredModels(this.#told, baseUrlOf(server.config));
    return { models, changes: changesBetween(before, models, told) };
  }

  /** What earlier discoveries learnt of the models of this configuration's server, by the id under which each runs. */
  learnt(config: Config): Promise<Map<string, LearntFacts>> {
    return this.#learnt.facts(this.#models, config);
  }

  /**
   * Hands a list that was just read to pi, which publishes and stores it.
   *
   * @param isTold whether the caller tells the user which windows changed
   */
  async publish(models: readonly ServedModel[], registry: Registry, isTold: boolean): Promise<void> {
    this.#found = { models, isTold };
    if (isTold) this.#told = models;
    try {
      await registry.refresh({ providers: [PROVIDER_ID], allowNetwork: true });
    } finally {
      this.#found = undefined;
    }
  }

  /** Takes over a list; tells the session when it is another than before. */
  #keep(models: readonly ServedModel[], origin: ModelsOrigin | undefined): void {
    const before = this.#models;
    this.#models = models;
    this.#origin = origin;
    if (origin !== undefined) this.#told ??= models;
    if (origin?.isLive) this.#problem = undefined;
    if (!isChanged(before, models)) return;
    this.#options.onChanged(this.#found?.isTold ? [] : windowChanges(before, models));
  }

  /** The model's real window, learnt from an overflow. */
  correctContextWindow(id: string, tokens: number): void {
    const { models, corrected } = withWindow(this.#models, id, tokens);
    if (corrected.length === 0) return;
    this.#corrections.push({ id, tokens });
    const correct = (server: ModelServer | undefined): void =>
      corrected.forEach((model) => void server?.known.correctContext(processOf(model), tokens));
    this.openServer().then(correct, () => {});
    // Not as it was read, nor as pi has stored it: the next refresh is to make up for that.
    this.#keep(models, this.#origin && { ...this.#origin, isLive: false });
    this.#learnt.keep(corrected);
  }

  /**
   * pi's refresh of the catalogue. Never throws: a server that cannot be used leaves the list as it was and is told
   * of once.
   *
   * Offline calls restore what is stored. Without it, the several calls of one start share one discovery of at most
   * three seconds, which no single call's signal ends, since pi aborts each call by the next.
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
      // The store does not know what turns have told of windows since.
      const isThere = this.#origin !== undefined && (this.#origin.url === address || address === undefined);
      if (restored.length > 0 && !isThere) {
        await context.publish({ update: () => this.#keep(restored, { url: address, isLive: false }) });
      }
      // With a wrong variable the stored models stay, so that the first turn can say what is wrong.
      if (config === undefined) return;
      if (context.allowNetwork) {
        const models =
          this.#found?.models ?? (await this.discover(stored, { signal: context.signal })).models;
        await this.#publish(context, models, config);
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
      const models = this.discover(stored, { timeoutMs: START_TIMEOUT_MS }).then(
        (found) => found.models,
        (error: unknown) => {
          this.#problem = sentenceOf(error);
          return undefined;
        },
      );
      this.#discovered = { key, models };
    }
    const models = this.#discovered?.key === key ? await this.#discovered.models : undefined;
    if (models !== undefined) return this.#publish(context, models, config);
    const fallback = fallbackModels(config);
    await context.publish({ update: () => this.#keep(fallback, undefined) });
  }

  async #publish(
    context: RefreshModelsContext,
    models: readonly ServedModel[],
    config: Config,
  ): Promise<void> {
    await context.publish({
      persist: { models: [...models], checkedAt: this.#options.now() },
      update: () => {
        this.#keep(models, { url: baseUrlOf(config), isLive: true });
        this.#learnt.keep(models);
      },
    });
  }

  /** What is remembered on this machine. */
  memory(): Promise<Memory> {
    return this.#learnt.memory();
  }

  /** Resolves when what was to be remembered is on disk: a process that prints an answer ends right after it. */
  remembered(): Promise<void> {
    return this.#learnt.written();
  }

  /** The command that changes the server at this moment, as the user typed it. */
  get changing(): string | undefined {
    return this.#commands.running;
  }

  /** @throws {ServerError} while a command changes the server */
  refuseWhileChanging(): void {
    this.#commands.refuseWhileRunning();
  }

  /** Runs a command that changes the server, as {@link OneAtATime.run}. */
  exclusively<T>(what: string, work: () => Promise<T>): Promise<T> {
    return this.#commands.run(what, work);
  }

  /** Closes every connection. Idempotent; a later use opens them again. */
  close(): Promise<void> {
    return this.#current.close();
  }
}
