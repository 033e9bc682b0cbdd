import { readFileSync } from "node:fs";
import type { Exchange } from "../http.ts";
import { fileNotFound, invalidKey, LlamaError, replyLlamaJson } from "../llama-replies.ts";
import { ProcessGone } from "../upstream.ts";
import { Child } from "./child.ts";
import type { Handler, Kind, Surroundings } from "./kind.ts";
import { textIn } from "./kind.ts";
import { readPreset, type Section } from "./preset.ts";
import { downloadRecord, propsOf, RouterEvents, recordOf } from "./router-answers.ts";
import { RouterDownloads } from "./router-downloads.ts";

interface Entry {
  section: Section;
  child: Child;
}

const INVALID = "invalid_request_error";

/**
 * llama.cpp's router: a llama-server started without a model, which starts one for each model of its preset file,
 * `--models-max 1` at a time. As recorded of build 11669.
 */
export class Router implements Kind {
  readonly routes: Readonly<Record<string, Handler>>;
  readonly unknown = fileNotFound;
  readonly unauthorized = invalidKey;
  readonly open = ["/health", "/v1/health"];
  readonly #presetPath: string;
  readonly #around: Surroundings;
  readonly #maximum: number;
  readonly #entries = new Map<string, Entry>();
  readonly #events: RouterEvents;
  readonly #downloads: RouterDownloads;
  /** Loads begin one after another: each may have to wait for another model to go. */
  #turn: Promise<void> = Promise.resolve();

  /**
   * @param maximum how many models may be loaded at a time
   * @param hub where models are downloaded from
   */
  constructor(presetPath: string, maximum: number, around: Surroundings, hub: string | undefined) {
    this.#presetPath = presetPath;
    this.#maximum = maximum;
    this.#around = around;
    this.#events = new RouterEvents(around.clock);
    this.#downloads = new RouterDownloads(hub, around.clock, this.#events);
    for (const section of this.#sections().values()) this.#add(section);
    const health: Handler = (exchange) => replyLlamaJson(exchange, 200, { status: "ok" });
    const models: Handler = (exchange, query) => this.#list(exchange, query.has("reload"));
    const byQuery: Handler = (exchange, query) =>
      this.#forward(exchange, query.get("model") ?? "", query.get("autoload") !== "false");
    const chat: Handler = (exchange) => this.#forward(exchange, modelOf(exchange), true);
    this.routes = {
      "GET /health": health,
      "GET /v1/health": health,
      "GET /models": models,
      "GET /v1/models": models,
      "GET /props": (exchange, query) =>
        query.get("model") ? byQuery(exchange, query) : replyLlamaJson(exchange, 200, propsOf(maximum)),
      "GET /slots": byQuery,
      "GET /metrics": byQuery,
      "POST /models/load": (exchange) => this.#load(exchange),
      "POST /models/unload": (exchange) => this.#unload(exchange),
      "POST /models": (exchange) => this.#download(exchange),
      "DELETE /models": (exchange, query) => this.#delete(exchange, query.get("model") ?? ""),
      "GET /models/sse": (exchange) => this.#events.stream(exchange),
      "POST /v1/chat/completions": chat,
      "POST /chat/completions": chat,
      "POST /v1/chat/completions/control": chat,
    };
  }

  sleep(id: string): void {
    this.#find(id)?.child.sleep();
  }

  async close(): Promise<void> {
    await this.#downloads.close();
    await Promise.all([...this.#entries.values()].map(({ child }) => child.stop()));
  }

  #add(section: Section): void {
    const { behaviour, hasModel } = section;
    const loads = { ...behaviour, neverHealthy: behaviour.neverHealthy || !hasModel };
    const child = new Child(section.id, loads, this.#around, (changed) =>
      this.#events.send(section, changed),
    );
    this.#entries.set(section.id, { section, child });
  }

  #find(name: string): Entry | undefined {
    const all = [...this.#entries.values()];
    return this.#entries.get(name) ?? all.find(({ section }) => section.aliases.includes(name));
  }

  async #list(exchange: Exchange, reload: boolean): Promise<void> {
    if (this.#downloads.settle() || reload) await this.#reload();
    const own = this.#presetIds();
    const data = [
      ...[...this.#entries.values()].map(({ section, child }) =>
        recordOf(section, child, own.has(section.id) ? "preset" : "cache"),
      ),
      ...this.#downloads.running.map(([name, state]) => downloadRecord(name, state)),
    ];
    replyLlamaJson(exchange, 200, { data: data.sort((a, b) => (a.id < b.id ? -1 : 1)), object: "list" });
  }

  #presetIds(): Set<string> {
    return new Set(readPreset(readFileSync(this.#presetPath, "utf8")).keys());
  }

  /** Those of the preset, and one for each model in the cache, on which a section of its name puts its settings. */
  #sections(): Map<string, Section> {
    const cached = [...this.#downloads.cached].map((id) => `\n[${id}]\nhf-repo = ${id}\n`);
    return readPreset(readFileSync(this.#presetPath, "utf8") + cached.join(""));
  }

  /** Reads the preset file again; only models whose section changed are unloaded. */
  async #reload(): Promise<void> {
    const sections = this.#sections();
    for (const [id, { section, child }] of [...this.#entries]) {
      const now = sections.get(id);
      if (now && now.text === section.text && now.aliases.join() === section.aliases.join()) continue;
      await child.stop();
      this.#entries.delete(id);
    }
    for (const section of sections.values()) if (!this.#entries.has(section.id)) this.#add(section);
    this.#events.tellReload();
  }

  async #load(exchange: Exchange): Promise<void> {
    const found = this.#find(modelOf(exchange));
    if (!found) return fileNotFound(exchange);
    if (found.child.state !== "unloaded") throw new LlamaError(400, INVALID, "model is already running");
    const active = this.#active();
    if (active.length >= this.#maximum && active.every(({ child }) => child.state === "loading")) {
      throw new LlamaError(500, "server_error", "model limit reached, try again later");
    }
    await this.#start(found.child);
    replyLlamaJson(exchange, 200, { success: true });
  }

  #download(exchange: Exchange): void {
    this.#downloads.begin(modelOf(exchange), (name) => this.#find(name) !== undefined);
    replyLlamaJson(exchange, 200, { success: true });
  }

  async #delete(exchange: Exchange, name: string): Promise<void> {
    if (name === "") throw new LlamaError(400, INVALID, "model must be a non-empty string");
    const isStopped = await this.#downloads.stop(name);
    const child = this.#entries.get(name)?.child;
    if (!isStopped && child === undefined)
      throw new LlamaError(500, "server_error", `model name=${name} is not found`);
    if (child !== undefined && this.#presetIds().has(name))
      throw new LlamaError(500, "server_error", `model name=${name} is not removable (not from cache)`);
    await child?.stop();
    this.#entries.delete(name);
    this.#downloads.cached.delete(name);
    this.#events.sendDownload(name, "model_remove");
    replyLlamaJson(exchange, 200, { success: true });
  }

  async #unload(exchange: Exchange): Promise<void> {
    if (await this.#downloads.stop(modelOf(exchange)))
      return replyLlamaJson(exchange, 200, { success: true });
    const found = this.#find(modelOf(exchange));
    if (!found) throw new LlamaError(400, INVALID, "model is not found");
    if (found.child.state === "unloaded") throw new LlamaError(400, INVALID, "model is not running");
    void found.child.stop();
    replyLlamaJson(exchange, 200, { success: true });
  }

  #active(): Entry[] {
    return [...this.#entries.values()].filter(({ child }) => child.state !== "unloaded");
  }

  #start(child: Child): Promise<void> {
    const turn = this.#turn.then(async () => {
      if (child.state !== "unloaded") return;
      await this.#makeRoom();
      child.start();
    });
    this.#turn = turn;
    return turn;
  }

  /** Unloads the least recently used model, once it has loaded and answered its requests. */
  async #makeRoom(): Promise<void> {
    for (;;) {
      const active = this.#active();
      const [oldest] = active.sort((a, b) => a.child.lastUse - b.child.lastUse);
      if (active.length < this.#maximum || !oldest) return;
      const { child } = oldest;
      if (child.state === "loading" || child.busy > 0) await child.changed();
      else await child.stop();
    }
  }

  async #forward(exchange: Exchange, name: string, autoload: boolean): Promise<void> {
    if (name === "") throw new LlamaError(400, INVALID, "model name is missing from the request");
    const found = this.#find(name);
    if (!found) throw new LlamaError(400, INVALID, `model '${name}' not found`);
    const { child } = found;
    if (!autoload && child.state !== "loaded") throw new LlamaError(400, INVALID, "model is not loaded");
    if (!(await this.#whenLoaded(child, exchange.gone))) return;
    const [path = ""] = exchange.path.split("?");
    if (child.process?.sleeping && path !== "/props") await child.wake();
    try {
      await child.serve(exchange);
    } catch (error) {
      if (!(error instanceof ProcessGone)) throw error;
      if (!exchange.response.headersSent) {
        throw new LlamaError(500, "server_error", "proxy error: Could not establish connection");
      }
      exchange.response.end("proxy error: Failed to read connection");
    }
  }

  /** @returns false when the client has left meanwhile. @throws {LlamaError} when the load fails */
  async #whenLoaded(child: Child, gone: AbortSignal): Promise<boolean> {
    const left = new Promise<void>((resolve) => gone.addEventListener("abort", () => resolve()));
    while (child.state !== "loaded" && !gone.aborted) {
      if (child.state === "unloaded") await Promise.race([this.#start(child), left]);
      while (child.state === "loading" && !gone.aborted) await Promise.race([child.changed(), left]);
      if (child.state === "unloaded" && child.failed) {
        throw new LlamaError(500, "server_error", `model name=${child.id} failed to load`);
      }
    }
    return !gone.aborted;
  }
}

function modelOf(exchange: Exchange): string {
  if (exchange.body === "" || !isJson(exchange.body)) {
    throw new LlamaError(400, INVALID, "[json.exception.parse_error.101] parse error at line 1, column 1");
  }
  return textIn(exchange, "model");
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
