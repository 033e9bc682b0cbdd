/** Which kind of server stands behind the address, told from answers that load nothing, and what such a kind can do. */
import type { LoadState } from "../../activity/load-state.ts";
import type { Clock } from "../../lib/clock.ts";
import { ServerError } from "../../lib/errors.ts";
import { list, record } from "../../lib/json.ts";
import { type Access, type Limits, optionalJson } from "../http/access.ts";
import type { FileFacts, ListedModel } from "../models/listed-model.ts";
import type { LiveFacts, RunningModel } from "../models/models.ts";
import type { EventHooks } from "./llama-swap/events.ts";
import type { LoadWatch } from "./load-progress.ts";
import type { ServerVersion } from "./version.ts";

export type BackendKind = "llama-swap" | "router" | "llama-server" | "other";

/** What a load in progress is told by, and told to. */
export interface LoadSteps {
  readonly watch: LoadWatch;
  report(progress: LoadState): void;
  readonly signal: AbortSignal;
  readonly clock: Clock;
}

/** A slot of llama-server: it serves one request at a time, and keeps that conversation's tokens for the next. */
export interface Slot {
  /** The number that `id_slot` of a request takes. */
  id: number;
  isBusy: boolean;
  /** Whether it has had a request since the server started. */
  isUsed: boolean;
  /** Tokens that it holds; undefined where an earlier llama-server does not report it. */
  tokens: number | undefined;
}

/**
 * One kind of server. What it cannot do it does not have: whoever offers something looks first. Nothing but `load`
 * loads a model.
 */
export interface Backend {
  readonly kind: BackendKind;
  /** As it stands in sentences: `llama-swap`, `llama.cpp's router`, `vLLM`. */
  readonly name: string;

  /**
   * The models, out of the answer of `/v1/models` and of what else such a server tells.
   *
   * @throws {ServerError}
   */
  listed(models: unknown, limits: Limits): Promise<ListedModel[]>;

  /**
   * What is loaded or on its way, asked now.
   *
   * @param models the answer of `/v1/models` where it was just read: some tell it there
   * @returns undefined where the server does not tell
   * @throws {ServerError}
   */
  running(limits: Limits, models?: unknown): Promise<RunningModel[] | undefined>;

  /** What a model tells of itself. Only for one that is ready. @throws {ServerError} */
  live(id: string, limits: Limits): Promise<LiveFacts | undefined>;

  /** What a ready model tells of its file; undefined where it does not tell. @throws {ServerError} */
  fileFacts(id: string, limits: Limits): Promise<FileFacts | undefined>;

  /** The slots of a ready model; undefined where it does not tell. @throws {ServerError} */
  slots(id: string, limits: Limits): Promise<Slot[] | undefined>;

  /** The release, as the server words it. @throws {ServerError} */
  version(signal: AbortSignal | undefined): Promise<ServerVersion>;

  /** Loads a model and resolves when it is ready. @throws {ServerError}; the signal's reason */
  load?(id: string, steps: LoadSteps): Promise<void>;

  /**
   * Asks for a model, or for all that are loaded, to be unloaded; it may take a moment until they are gone.
   *
   * @throws {ServerError}; the signal's reason
   */
  unload?(id: string | undefined, signal: AbortSignal): Promise<void>;

  /** Tells of changes as they happen, until the signal. Never throws. */
  follow?(hooks: EventHooks, signal: AbortSignal, clock: Clock): Promise<void>;

  /** The last lines of a model's log; none when it cannot be had. Never throws. */
  logTail?(id: string, lines: number, signal: AbortSignal | undefined): Promise<string[]>;

  /**
   * Has the configuration read again, without a restart.
   *
   * @returns whether the server understood
   * @throws {ServerError}
   */
  reloadConfig?(signal: AbortSignal): Promise<boolean>;
}

/** The way to the server, and of what kind it is. */
export interface ServerAccess extends Access {
  /** @throws {ServerError} where the server cannot be reached; the signal's reason */
  backend(signal?: AbortSignal): Promise<Backend>;
}

/** What was read to tell the kind, so that it is not asked again. */
export interface Recognised {
  kind: BackendKind;
  /** The answer of llama-swap's `/running`; undefined for every other kind. */
  running: unknown;
}

/**
 * Tells which kind of server this is: llama-swap has `/running`, llama.cpp's router tells a `status` with `args` of
 * each model and `role: "router"` in `/props`, one llama-server has `/props` without a role. Any other has a list of
 * models and nothing else in common.
 *
 * @param models gives the answer of `/v1/models`; asked only where `/running` has told nothing
 * @throws {ServerError} where the server cannot be reached
 */
export async function recognise(
  { config, http }: Access,
  limits: Limits,
  models: () => Promise<unknown>,
): Promise<Recognised> {
  const running = await optionalJson(http, config.runningPath, limits);
  if (Array.isArray(record(running)?.running)) return { kind: "llama-swap", running };
  const entries = list(record(await models())?.data).map(record);
  // With another AI_SERVER_RUNNING_PATH than the server has.
  if (entries.some((entry) => entry?.owned_by === "llama-swap"))
    return { kind: "llama-swap", running: undefined };
  if (entries.some((entry) => Array.isArray(record(entry?.status)?.args)))
    return { kind: "router", running: undefined };
  const props = record(await optionalJson(http, "/props", limits));
  if (props?.role === "router") return { kind: "router", running: undefined };
  const isLlamaServer = record(props?.default_generation_settings) !== undefined;
  return { kind: isLlamaServer ? "llama-server" : "other", running: undefined };
}

/** Whether such a server has a config file whose contexts can be changed. */
export function hasConfigFile(kind: BackendKind): boolean {
  return kind === "llama-swap" || kind === "router";
}

/** Why a kind of server neither loads nor unloads. */
export function cannotLoad({ kind, name }: Pick<Backend, "kind" | "name">): ServerError {
  const why =
    kind === "llama-server"
      ? "This server is one llama-server: its model is loaded for as long as it runs, so there is nothing to load or unload. /ai-server-restart restarts it."
      : `${name} does not load or unload models when asked over HTTP; it does so by itself, or when it starts.`;
  return new ServerError(why, { link: "server", remedy: "none" });
}
