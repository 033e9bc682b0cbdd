import { sendBanner } from "./banner.ts";
import type { Clock } from "./clock.ts";
import { type Config, findModel, findModelInPath, type ModelConfig } from "./config.ts";
import type { EventHub } from "./events.ts";
import { type Exchange, redirect, reply, replyError, replyGoJson, replyText, SwapError } from "./http.ts";
import { listModels, listRunning, modelStatus } from "./listing.ts";
import type { Log } from "./log.ts";
import { Model } from "./model.ts";
import { Peers } from "./peers.ts";
import type { Monitor } from "./performance.ts";
import { decode, isStreaming, modelInBody, rawRest, renameModel } from "./request-parts.ts";
import { Scheduler } from "./scheduler.ts";
import { streamEvents, streamLog } from "./streams.ts";
import { ProcessGone } from "./upstream.ts";
import { answer } from "./upstream-answers.ts";

/** State that survives a reload of the config. */
export interface Surroundings {
  clock: Clock;
  hub: EventHub;
  monitor: Monitor;
  /** llama-swap's own log, all models' output, and the one that `/logs` shows. */
  proxyLog: Log;
  upstreamLog: Log;
  muxLog: Log;
  /** In addition to those of the config. */
  apiKeys: string[];
  started(id: string): void;
}

type Handler = (exchange: Exchange) => void | Promise<void>;
interface Route {
  GET?: Handler;
  POST?: Handler;
  any?: Handler;
  /** Answered without a key. */
  open?: true;
}

/** One llama-swap with one config: its routes, models and scheduler. A reload makes a new one. */
export class LlamaSwap {
  readonly #config: Config;
  readonly #around: Surroundings;
  readonly #models = new Map<string, Model>();
  readonly #scheduler: Scheduler;
  readonly #peers: Peers;
  /** Ends the event and log streams. */
  readonly #closing = new AbortController();

  constructor(config: Config, around: Surroundings) {
    this.#config = config;
    this.#around = around;
    const stateChanged = ({ id, state }: Model) => {
      const loaded = [...this.#models.values()].filter(({ state }) => state !== "stopped");
      around.monitor.note(loaded.map(({ behaviour }) => behaviour.gpuMb));
      if (state === "ready") around.proxyLog.line(`[INFO] <${id}> Health check passed`);
      this.tellStates();
    };
    const events = { stateChanged, started: around.started };
    for (const model of config.models.values()) {
      const timeout = config.healthCheckTimeout;
      this.#models.set(model.id, new Model(model, timeout, around.clock, around.upstreamLog, events));
    }
    this.#peers = new Peers(around.clock);
    this.#scheduler = new Scheduler(this.#models.values());
    void this.#preload();
  }

  /** Sends a `modelStatus` event, unless a newer config has taken over. */
  tellStates(): void {
    if (!this.#closing.signal.aborted)
      this.#around.hub.emit("modelStatus", modelStatus(this.#config, this.#models));
  }

  /** Ends the streams, fails the waiting requests, and kills the models with their requests. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#scheduler.close();
  }

  async handle(exchange: Exchange): Promise<void> {
    const [path = "/"] = exchange.path.split("?");
    if (exchange.method === "OPTIONS") return this.#preflight(exchange);
    if (path.includes("//")) {
      const clean = exchange.path.replace(path, path.replace(/\/+/g, "/"));
      return redirect(exchange, 307, "Temporary Redirect", clean);
    }
    try {
      const route = this.#route(path);
      if (!route) return replyText(exchange, 404, "404 page not found\n");
      const method = exchange.method === "HEAD" ? "GET" : exchange.method;
      const handler =
        route.any ?? (method === "GET" ? route.GET : method === "POST" ? route.POST : undefined);
      if (!handler) {
        exchange.response.setHeader("Allow", route.GET ? "GET, HEAD" : "POST");
        return replyText(exchange, 405, "Method Not Allowed\n");
      }
      if (!route.open) this.#authorize(exchange);
      await handler(exchange);
    } catch (error) {
      replyError(exchange, error);
    }
  }

  #route(path: string): Route | undefined {
    switch (path) {
      case "/":
        return { GET: (x) => redirect(x, 302, "Found", "/ui"), open: true };
      case "/health":
      case "/wol-health":
        return { GET: (x) => reply(x, 200, PLAIN, "OK"), open: true };
      case "/v1/models":
      case "/models":
        return { GET: (x) => replyGoJson(x, 200, listModels(this.#config, this.#models)) };
      case "/running":
        return { GET: (x) => replyGoJson(x, 200, listRunning(this.#models)) };
      case "/unload":
        return { GET: (x) => this.#unloadAll().then(() => reply(x, 200, PLAIN, "OK")) };
      case "/api/models/unload":
        return { POST: (x) => this.#unloadAll().then(() => replyGoJson(x, 200, { msg: "ok" })) };
      case "/api/version":
        return { GET: (x) => replyGoJson(x, 200, VERSION) };
      case "/api/events":
        return {
          GET: (x) =>
            streamEvents(x, this.#around, modelStatus(this.#config, this.#models), this.#closing.signal),
        };
      case "/api/metrics/activity":
        return { GET: (x) => replyGoJson(x, 200, this.#around.hub.activity.page(queryOf(x))) };
      case "/api/performance":
        return { GET: (x) => this.#showPerformance(x) };
      case "/logs":
        return { GET: (x) => this.#showLog(x) };
      case "/logs/stream":
        return { GET: (x) => streamLog(x, this.#around.muxLog, this.#closing.signal) };
      case "/upstream":
        return { GET: (x) => redirect(x, 302, "Found", "/ui/models"), open: true };
      case "/v1/chat/completions":
      case "/v/chat/completions":
        return { POST: (x) => this.#dispatch(x, modelInBody(x)) };
      case "/props":
        return { GET: (x) => this.#dispatch(x, queryOf(x).get("model") ?? "") };
    }
    if (path.startsWith("/upstream/")) return { any: (x) => this.#passThrough(x, path) };
    if (path.startsWith("/api/models/unload/")) return { POST: (x) => this.#unloadOne(x, path) };
    if (path.startsWith("/logs/stream/")) {
      return { GET: (x) => streamLog(x, this.#findLog(path), this.#closing.signal) };
    }
    return undefined;
  }

  #showPerformance(exchange: Exchange): void {
    const asked = queryOf(exchange).get("after");
    const after = asked === null ? Number.NEGATIVE_INFINITY : Date.parse(asked);
    if (Number.isNaN(after)) throw new SwapError(400, "invalid 'after' timestamp, use RFC3339 format");
    replyGoJson(exchange, 200, this.#around.monitor.since(after));
  }

  #showLog(exchange: Exchange): void {
    if (exchange.headers.accept?.includes("text/html")) redirect(exchange, 302, "Found", "/ui/");
    else reply(exchange, 200, { "Content-Type": "text/plain" }, this.#around.muxLog.history);
  }

  #findLog(path: string): Log | undefined {
    const name = decode(path.slice("/logs/stream/".length));
    if (name === "proxy") return this.#around.proxyLog;
    if (name === "upstream") return this.#around.upstreamLog;
    const found = findModelInPath(this.#config, `/${name}`);
    return found && this.#models.get(found[1].id)?.log;
  }

  #preflight(exchange: Exchange): void {
    const asked = exchange.headers["access-control-request-headers"];
    reply(
      exchange,
      204,
      {
        "Access-Control-Allow-Headers": asked ?? "Content-Type, Authorization, Accept, X-Requested-With",
        "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Max-Age": "86400",
      },
      undefined,
    );
  }

  /** Basic wins over Bearer, that over x-api-key, even where the first is wrong. */
  #authorize(exchange: Exchange): void {
    const keys = [...this.#config.apiKeys, ...this.#around.apiKeys];
    const [scheme = "", value = ""] = exchange.headers.authorization?.split(" ") ?? [];
    const basic = Buffer.from(value, "base64").toString().split(":")[1];
    const bearer = scheme.toLowerCase() === "bearer" ? value : undefined;
    const given = scheme.toLowerCase() === "basic" ? basic : (bearer ?? exchange.headers["x-api-key"]);
    if (keys.length === 0 || (typeof given === "string" && keys.includes(given))) return;
    const message = "unauthorized: invalid or missing API key";
    throw new SwapError(401, message, undefined, { "WWW-Authenticate": 'Basic realm="llama-swap"' });
  }

  async #preload(): Promise<void> {
    for (const id of this.#config.preload) {
      const model = this.#models.get(id);
      if (!model || this.#closing.signal.aborted) continue;
      this.#around.proxyLog.line(`[INFO] preloading model: ${id}`);
      const ticket = this.#scheduler.admit(model);
      await ticket.granted.catch(() => {
        this.#around.proxyLog.line(`[ERROR] failed to preload model ${id}: status 500`);
      });
      ticket.release();
    }
  }

  #unloadAll(): Promise<void> {
    return this.#scheduler.unload([...this.#models.values()]);
  }

  async #unloadOne(exchange: Exchange, path: string): Promise<void> {
    const found = findModel(this.#config, decode(path.slice("/api/models/unload/".length)));
    const model = found && this.#models.get(found.id);
    if (!model) throw new SwapError(404, "model not found");
    await this.#scheduler.unload([model]);
    reply(exchange, 200, PLAIN, "OK");
  }

  #dispatch(exchange: Exchange, asked: string): Promise<void> {
    if (asked === "") throw new SwapError(404, "no model id could be identified");
    const name = this.#choose(asked);
    const peer = this.#config.peers.get(name);
    if (peer) {
      this.#around.hub.track(exchange, exchange.path.split("?")[0] ?? "", peer.id);
      return this.#peers.serve(exchange, peer);
    }
    const config = findModel(this.#config, name);
    this.#around.hub.track(exchange, exchange.path.split("?")[0] ?? "", config?.id ?? name);
    if (!config) throw new SwapError(404, "no router for requested model");
    const body = config.useModelName === "" ? exchange.body : renameModel(exchange.body, config.useModelName);
    const path = exchange.path.replace(/^\/v\//, "/");
    return this.#serve({ ...exchange, body, path }, config, config.sendLoadingState);
  }

  /** A selector's target: one that is loaded, otherwise the first. */
  #choose(name: string): string {
    const targets = this.#config.selectors.get(name)?.targets;
    return targets?.find((id) => this.#models.get(id)?.state === "ready") ?? targets?.[0] ?? name;
  }

  async #passThrough(exchange: Exchange, path: string): Promise<void> {
    const decoded = decode(path.slice("/upstream".length));
    const query = exchange.path.slice(path.length);
    const peer = [...this.#config.peers.values()].find(({ id }) => decoded.startsWith(`/${id}/`));
    if (peer) return this.#peers.serve({ ...exchange, path: rawRest(path, peer.id) + query }, peer);
    const found = findModelInPath(this.#config, decoded);
    if (!found) throw new SwapError(404, "model not found");
    const [name, config, rest] = found;
    if (rest === "/" && !path.endsWith("/")) {
      const get = exchange.method === "GET" || exchange.method === "HEAD";
      const location = `/upstream/${name}/${query}`;
      return redirect(exchange, get ? 301 : 308, "Moved Permanently", location);
    }
    const ready = this.#models.get(config.id)?.state === "ready";
    if (!ready && this.#config.ignorePaths.some((pattern) => pattern.test(rest))) {
      throw new SwapError(409, `model ${config.id} is not loaded; path matches upstream.ignorePaths`);
    }
    if (rest === "/v1/chat/completions") this.#around.hub.track(exchange, rest, config.id);
    return this.#serve({ ...exchange, path: rawRest(path, name) + query }, config, false);
  }

  /** Waits for the model, with a banner if requested, and passes the request to its process. */
  async #serve(exchange: Exchange, config: ModelConfig, mayShowBanner: boolean): Promise<void> {
    const model = this.#models.get(config.id);
    if (!model) throw new SwapError(404, "no router for requested model");
    const { clock, proxyLog } = this.#around;
    const ticket = this.#scheduler.admit(model);
    const left = () => ticket.release();
    exchange.gone.addEventListener("abort", left, { once: true });
    const loading = new AbortController();
    const wantsBanner = mayShowBanner && model.state !== "ready" && isStreaming(exchange);
    const banner = wantsBanner
      ? sendBanner(exchange, model.id, clock, () => ticket.position(), loading.signal)
      : Promise.resolve();
    try {
      await ticket.granted.finally(() => {
        loading.abort();
        return banner;
      });
      exchange.gone.removeEventListener("abort", left);
      if (!model.process) throw new SwapError(503, `[${model.id}] process is not ready`);
      await answer(exchange, model.process);
    } catch (error) {
      if (!(error instanceof ProcessGone)) throw error;
      proxyLog.line(`[INFO] <${model.id}> recovered from upstream disconnection during streaming`);
      if (exchange.response.headersSent) exchange.response.end();
      else reply(exchange, 502, {}, undefined);
    } finally {
      model.lastUse = clock.now();
      ticket.release();
    }
  }
}

function queryOf({ path }: Exchange): URLSearchParams {
  return new URLSearchParams(path.split("?")[1]);
}

const PLAIN = { "Content-Type": "text/plain; charset=utf-8" };
const VERSION = { build_date: "2026-08-22T00:00:00Z", commit: "0bdb3720", version: "250" };
