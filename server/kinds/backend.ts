/** The kinds of server: what each can do, and how to recognise one from answers that load nothing. */
import type { LoadState } from "../../activity/load-state.ts";
import type { Clock } from "../../lib/clock.ts";
import { ServerError } from "../../lib/errors.ts";
import { record, records } from "../../lib/json.ts";
import { type Access, DETAIL_TIMEOUT_MS, type Limits, optionalJson } from "../http/access.ts";
import type { FileFacts, ListedModel } from "../models/listed-model.ts";
import type { LiveFacts, RunningModel } from "../models/models.ts";
import { nameOf } from "../models/names.ts";
import type { EventHooks } from "./events.ts";
import { parseRunning } from "./llama-swap/list.ts";

export type BackendKind = "llama-swap" | "router" | "llama-server" | "other";

/** How a load in progress is watched, reported and ended. */
export interface LoadSteps {
  readonly watch: {
    /** @param running undefined where `/running` cannot be read */
    sawRunning(running: readonly RunningModel[] | undefined, now: number): void;
    /** The load was interrupted and begins again. */
    restarted(): void;
  };
  report(progress: LoadState): void;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** Whether the load ends when another client's request interrupts it, since no turn waits for it. */
  readonly givesWay: boolean;
}

/** Bytes of the files that a download has begun; both 0 until the first has. */
export interface DownloadProgress {
  doneBytes: number;
  totalBytes: number;
}

/** How a download by the server is watched. */
export interface DownloadSteps {
  report(progress: DownloadProgress): void;
  /** Ends the watching alone: the download belongs to the server, and continues. */
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

/** What this pi has had a model do without asking it for an answer. */
export interface OwnUse {
  /** Whether something of it ended so many milliseconds ago. */
  hasEnded(agoMs: number): boolean;
  /** Whether a slot with so many tokens holds nothing else. */
  isAll(tokens: number): boolean;
}

export interface ServerVersion {
  /** The program: `llama-swap`, `llama-server`. */
  name: string;
  /** As the server words it (`v250`, `217`, `local_0bdb3720`, `b6123-abcdef`), on one line of at most 100 characters. */
  version: string | undefined;
}

/** `not thinking`: the server can do it, and has no such answer, or one that does not think. */
export type ThinkingEnd = "ended" | "not thinking" | "unsupported";

/**
 * One kind of server. It lacks the optional methods for what it cannot do, so callers check first. Only `load` loads a
 * model.
 */
export interface Backend {
  readonly kind: BackendKind;
  /** As in sentences: `llama-swap`, `llama.cpp's router`, `vLLM`. */
  readonly name: string;

  /**
   * The models, from the answer of `/v1/models` and the server's own routes.
   *
   * @throws {ServerError}
   */
  listed(models: unknown, limits: Limits): Promise<ListedModel[]>;

  /**
   * The models that are loaded or loading, read now.
   *
   * @param models the answer of `/v1/models` where it was just read: some servers report it there
   * @returns undefined where the server does not report it
   * @throws {ServerError}
   */
  running(limits: Limits, models?: unknown): Promise<RunningModel[] | undefined>;

  /** The facts that a ready model reports. @throws {ServerError} */
  live(id: string, limits: Limits): Promise<LiveFacts | undefined>;

  /** The facts that a ready model reports of its file; undefined where it has none. @throws {ServerError} */
  fileFacts(id: string, limits: Limits): Promise<FileFacts | undefined>;

  /** The slots of a ready model; undefined where it does not report them. @throws {ServerError} */
  slots(id: string, limits: Limits): Promise<Slot[] | undefined>;

  /**
   * How long ago a loaded model ended its last answer, in milliseconds; infinite where it has given none since it was
   * loaded. Starts no idle time again.
   *
   * @returns undefined where the server does not report it
   * @throws {ServerError}; the signal's reason
   */
  sinceAnswer?(id: string, own: OwnUse, signal: AbortSignal): Promise<number | undefined>;

  /**
   * How many tokens the prompt of a chat request has, counted by its model, which is ready: the request would load it.
   *
   * @param request the body of a chat/completions request, as JSON
   * @returns undefined where the server does not count them
   * @throws {ServerError}
   */
  promptTokens?(id: string, request: string, limits: Limits): Promise<number | undefined>;

  /** The release, as the server words it. @throws {ServerError} */
  version(signal: AbortSignal | undefined): Promise<ServerVersion>;

  /** Loads a model and resolves when it is ready. @throws {ServerError}; the signal's reason */
  load?(id: string, steps: LoadSteps): Promise<void>;

  /**
   * Requests to unload one model, or all; they may take a moment to stop.
   *
   * @throws {ServerError}; the signal's reason
   */
  unload?(id: string | undefined, signal: AbortSignal): Promise<void>;

  /**
   * Makes the server download a model from Hugging Face itself, or watches a download of it that already runs, and
   * resolves when the server lists the model; at once where it does already.
   *
   * @param name `owner/repository:quantisation`
   * @returns the id under which the server lists the model
   * @throws {ServerError}; the signal's reason
   */
  download?(name: string, steps: DownloadSteps): Promise<string>;

  /** The names of the models that the server is downloading now, as `download` takes them. @throws {ServerError} */
  downloads?(limits: Limits): Promise<string[]>;

  /**
   * Ends a download, which removes what has arrived of the files that are not whole. One that has ended already counts as
   * done.
   *
   * @throws {ServerError}; the signal's reason
   */
  cancelDownload?(name: string, signal: AbortSignal): Promise<void>;

  /**
   * Deletes a model that the server has downloaded itself, with its files; unloads it first.
   *
   * @param id of a model of its list that `isDownloaded`
   * @throws {ServerError}; the signal's reason
   */
  deleteModel?(id: string, signal: AbortSignal): Promise<void>;

  /**
   * Ends the thinking of an answer that is being written.
   *
   * @param id of its model, which is loaded: the request would load it
   * @param answer its id in the stream
   * @throws {ServerError}; the signal's reason
   */
  endThinking?(id: string, answer: string, signal: AbortSignal): Promise<ThinkingEnd>;

  /** Reports changes as they happen, until the signal. Never throws. */
  follow?(hooks: EventHooks, signal: AbortSignal, clock: Clock): Promise<void>;

  /** The last lines of a model's log; none where it cannot be read. Never throws. */
  logTail?(id: string, lines: number, signal: AbortSignal | undefined): Promise<string[]>;

  /**
   * Makes the server read its configuration again, without a restart.
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

/** The kind, and the answer that showed it, which need not be read again. */
export interface Recognised {
  kind: BackendKind;
  /** From llama-swap's `/running`; undefined for every other kind. */
  running: RunningModel[] | undefined;
}

/**
 * Recognises the kind of server: llama-swap has `/running`; llama.cpp's router lists a `status` with `args` for each model
 * and has `role: "router"` in `/props`; one llama-server has `/props` without a role. Others share only a list of models.
 *
 * @param models reads `/v1/models`; called only where `/running` does not decide
 * @throws {ServerError} where the server cannot be reached
 */
export async function recognise(
  { config, http }: Access,
  limits: Limits,
  models: () => Promise<unknown>,
): Promise<Recognised> {
  const running = await optionalJson(http, config.runningPath, limits);
  if (Array.isArray(record(running)?.running)) return { kind: "llama-swap", running: parseRunning(running) };
  const entries = records(record(await models())?.data);
  const is = (kind: BackendKind): Recognised => ({ kind, running: undefined });
  // With another AI_SERVER_RUNNING_PATH than the server has.
  if (entries.some((entry) => entry.owned_by === "llama-swap")) return is("llama-swap");
  if (entries.some((entry) => Array.isArray(record(entry.status)?.args))) return is("router");
  const props = record(await optionalJson(http, "/props", limits));
  if (props?.role === "router") return is("router");
  return is(record(props?.default_generation_settings) === undefined ? "other" : "llama-server");
}

/**
 * The version that a route reports under a name.
 *
 * @throws {ServerError} where the server cannot be reached; the signal's reason
 */
export async function versionAt(
  { http }: Access,
  path: string,
  name: string,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const limits = { signal, timeoutMs: DETAIL_TIMEOUT_MS };
  return nameOf(record(await optionalJson(http, path, limits))?.[name]);
}

/** llama-swap's version, which it reports since v173. @throws {ServerError}; the signal's reason */
export function swapVersion(access: Access, signal: AbortSignal | undefined): Promise<string | undefined> {
  return versionAt(access, "/api/version", "version", signal);
}

/** The number of a llama-swap release; undefined for other builds. */
export function releaseOf(version: string | undefined): number | undefined {
  const digits = /^v?(\d{1,6})$/.exec(version ?? "")?.[1];
  // A build without a version calls itself 0.
  return Number(digits) || undefined;
}

/** Whether such a server has a config file with context windows to change. */
export function hasConfigFile(kind: BackendKind): boolean {
  return kind === "llama-swap" || kind === "router";
}

/** The error of a kind of server that neither loads nor unloads. */
export function cannotLoad({ kind, name }: Pick<Backend, "kind" | "name">): ServerError {
  const why =
    kind === "llama-server"
      ? "This server is a single llama-server: its model is loaded for as long as it runs, so there is nothing to load or unload. /ai-server-restart restarts it."
      : `${name} does not load or unload models when asked over HTTP; it does so by itself, or when it starts.`;
  return new ServerError(why, { link: "server", remedy: "none" });
}
