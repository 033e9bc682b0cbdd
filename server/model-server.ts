import type { Config } from "../config.ts";
import { routeFor } from "../config.ts";
import { cleanText, ServerError } from "./errors.ts";
import { abortable, Http, type HttpResponse } from "./http.ts";
import { count, flag, list, record } from "./json.ts";
import { mistakenFor, mistakenIn } from "./meant-model.ts";
import { descriptionsOf, type ModelDescription } from "./model-description.ts";
import {
  type LearntFacts,
  type LiveFacts,
  type ModelFacts,
  modelsOf,
  parseProps,
  parseRunning,
  type RunningModel,
} from "./models.ts";

/** Milliseconds for an answer that llama-swap gives without asking a model. */
const ANSWER_TIMEOUT_MS = 10_000;

/** `/running` is not asked more often than this: each request adds a line to llama-swap's log of 100 KiB. */
const RUNNING_INTERVAL_MS = 1000;

const LOG_IDLE_MS = 300;
const LOG_LIMIT_MS = 2000;
const LOG_BYTES = 128 * 1024;
const LOG_LINE_LENGTH = 400;

/** One llama-swap (or a single llama-server) behind one address. Reading never loads a model. */
export class ModelServer {
  readonly config: Config;
  readonly http: Http;
  readonly #now: () => number;
  #running: { at: number; answer: Promise<RunningModel[] | undefined> } | undefined;
  /** The list of models as last read. */
  #listed: readonly unknown[] | undefined;
  /** Fields of a request body that this server refused once. */
  readonly refusedFields = new Set<string>();

  constructor(config: Config, now: () => number = Date.now) {
    this.config = config;
    this.http = new Http(config, now);
    this.#now = now;
  }

  /**
   * What runs at this moment; all callers within a second share one request.
   *
   * @returns undefined where the server has no such route (a plain llama-server)
   * @throws {ServerError}
   */
  async running(signal?: AbortSignal, timeoutMs = ANSWER_TIMEOUT_MS): Promise<RunningModel[] | undefined> {
    const now = this.#now();
    if (this.#running === undefined || now - this.#running.at >= RUNNING_INTERVAL_MS) {
      // Shared by several turns: one caller's signal must not end it for the others.
      const answer = this.#askRunning(timeoutMs);
      this.#running = { at: now, answer };
      answer.catch(() => undefined);
    }
    return abortable(this.#running.answer, signal);
  }

  async #askRunning(timeoutMs: number): Promise<RunningModel[] | undefined> {
    try {
      return parseRunning(await this.http.json(this.config.runningPath, { timeoutMs }));
    } catch (error) {
      if (error instanceof ServerError && error.status === 404) return undefined;
      throw error;
    }
  }

  /**
   * Reads which models there are and what is known of each: the list, what runs, and the live facts of those that
   * are ready.
   *
   * @param timeoutMs for all of it; a model that is slow to tell loses its live facts
   * @throws {ServerError} where list or `/running` cannot be had; a model's own failure loses only its live facts
   */
  async discover(
    learnt: ReadonlyMap<string, LearntFacts>,
    options: { signal?: AbortSignal | undefined; timeoutMs?: number } = {},
  ): Promise<ModelFacts[]> {
    const { signal, timeoutMs = ANSWER_TIMEOUT_MS } = options;
    const end = this.#now() + timeoutMs;
    this.#running = undefined;
    const [models, running] = await Promise.all([
      this.http.json(this.config.modelsPath, { signal, timeoutMs }),
      this.running(signal, timeoutMs),
    ]);
    if (!Array.isArray(record(models)?.data)) {
      throw new ServerError(
        `The server's answer to ${this.config.modelsPath} is not a list of models. Check AI_SERVER_URL and AI_SERVER_MODELS_PATH.`,
        { link: "llama-swap", remedy: "none" },
      );
    }
    const ready = running?.filter((model) => model.state === "ready") ?? [];
    this.#listed = list(record(models)?.data);
    const limits = { signal, timeoutMs: Math.max(1, end - this.#now()) };
    const live = await Promise.all(
      ready.map(
        async ({ id }): Promise<[string, LiveFacts]> => [
          id,
          // A model that cannot tell loses only its live facts.
          parseProps(await this.#upstream(id, "props", limits).catch(() => undefined)),
        ],
      ),
    );
    signal?.throwIfAborted();
    return modelsOf({ models, running, live: new Map(live) }, learnt);
  }

  /** What the list, as last read, says of each model beside its facts. */
  get descriptions(): ReadonlyMap<string, ModelDescription> {
    return descriptionsOf(this.#listed ?? []);
  }

  /** Only for ids that `/running` shows as ready: any other would be loaded by it. */
  async #upstream(
    id: string,
    route: "props" | "slots" | "v1/models",
    limits: { signal?: AbortSignal | undefined; timeoutMs: number },
  ): Promise<unknown> {
    const other = this.#listed ? mistakenIn(this.#listed, id) : await mistakenFor(this, id, limits.signal);
    return other === undefined ? this.http.json(routeFor(`/upstream/<id>/${route}`, id), limits) : undefined;
  }

  /**
   * Whether a ready model works on a request, told by its slots. Unknown counts as no.
   *
   * @param id of a model that `/running` shows as ready
   */
  async isWorking(id: string, signal: AbortSignal): Promise<boolean> {
    const slots = await this.#upstream(id, "slots", { signal, timeoutMs: ANSWER_TIMEOUT_MS }).catch(
      () => undefined,
    );
    return list(slots).some((slot) => flag(record(slot)?.is_processing) === true);
  }

  /**
   * The window of a loaded model, and the one that it was trained for.
   *
   * @param id of a model that `/running` shows as ready
   * @throws {ServerError}
   */
  async liveContext(
    id: string,
    signal?: AbortSignal,
  ): Promise<{ tokens: number | undefined; trained: number | undefined }> {
    const limits = { signal, timeoutMs: ANSWER_TIMEOUT_MS };
    const [props, models] = await Promise.all([
      this.#upstream(id, "props", limits),
      this.#upstream(id, "v1/models", limits).catch(() => undefined),
    ]);
    const meta = record(record(list(record(models)?.data)[0])?.meta);
    return { tokens: parseProps(props).context, trained: count(meta?.n_ctx_train) };
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

  /**
   * The last lines of a model's log: where the reason of a failed start is. The stream has no end, so that it is
   * read until it pauses.
   *
   * @returns cleaned lines, none when the server has no such log; never throws
   */
  async logTail(id: string, lines: number, signal?: AbortSignal): Promise<string[]> {
    const ended = new AbortController();
    const stop = signal ? AbortSignal.any([signal, ended.signal]) : ended.signal;
    const limit = setTimeout(() => ended.abort(), LOG_LIMIT_MS);
    let idle: NodeJS.Timeout | undefined;
    const pieces: Buffer[] = [];
    try {
      const response = await this.http.request({
        method: "GET",
        path: `/logs/stream/${encodeURIComponent(id)}`,
        signal: stop,
      });
      if (response.status !== 200) {
        response.body.destroy();
        return [];
      }
      let size = 0;
      for await (const piece of response.body as AsyncIterable<Buffer>) {
        pieces.push(piece);
        size += piece.length;
        while (size > LOG_BYTES && pieces.length > 1) size -= pieces.shift()?.length ?? 0;
        clearTimeout(idle);
        idle = setTimeout(() => ended.abort(), LOG_IDLE_MS);
      }
    } catch {
      // Ended by one of the timers, or not to be had: what was read is what there is.
    } finally {
      clearTimeout(limit);
      clearTimeout(idle);
    }
    const text = cleanText(Buffer.concat(pieces).toString("utf8"), Number.POSITIVE_INFINITY);
    return text
      .split("\n")
      .map((line) => cleanText(line, LOG_LINE_LENGTH))
      .filter((line) => line !== "")
      .slice(-lines);
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
