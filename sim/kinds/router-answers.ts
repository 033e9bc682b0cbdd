import type { Clock } from "../clock.ts";
import type { Exchange } from "../http.ts";
import type { Child } from "./child.ts";
import type { Section } from "./preset.ts";

/** Between two reports of a load's progress. */
const PROGRESS_MS = 500;

/** `/props` of the router itself. */
export function propsOf(maximum: number): unknown {
  return {
    role: "router",
    max_instances: maximum,
    models_autoload: true,
    model_alias: "llama-server",
    model_path: "none",
    default_generation_settings: { params: null, n_ctx: 0 },
    ui_settings: {},
    build_info: "b11669-Debian",
    cors_proxy_enabled: false,
  };
}

/** One model in `/models`: `context_length` is the window it was trained for, `meta` is there while it is loaded. */
export function recordOf(section: Section, child: Child, source: "preset" | "cache") {
  return {
    id: section.id,
    aliases: section.aliases,
    tags: [],
    object: "model",
    owned_by: "llamacpp",
    created: Math.floor(Date.now() / 1000),
    status: {
      value: child.process?.sleeping ? "sleeping" : child.state,
      args: section.args,
      preset: section.text,
      ...(child.failed ? { exit_code: child.exitCode, failed: true } : {}),
    },
    architecture: architectureOf(section),
    source,
    can_remove: source === "cache",
    ...(isReadable(section) ? { context_length: section.behaviour.trainContext } : {}),
    ...(child.state === "loaded" ? { meta: metaOf(section) } : {}),
  };
}

/** The entry of a model that is being downloaded, or was a moment ago. */
export function downloadRecord(name: string, state: string) {
  return {
    id: name,
    aliases: [],
    tags: [],
    object: "model",
    owned_by: "llamacpp",
    created: Math.floor(Date.now() / 1000),
    status: {
      value: state,
      args: ["/usr/bin/llama-server", "--host", "127.0.0.1", "--port", "0", "--alias", name],
    },
    architecture: { input_modalities: ["text"], output_modalities: ["text"] },
    source: "cache",
    can_remove: true,
  };
}

/** A missing or broken file has no facts. */
function isReadable({ hasModel, behaviour }: Section): boolean {
  return hasModel && behaviour.failAfterMs === undefined;
}

function architectureOf({ behaviour }: Section): unknown {
  const inputs = behaviour.vision ? ["text", "image"] : ["text"];
  return { input_modalities: inputs, output_modalities: ["text"] };
}

function metaOf({ behaviour }: Section): unknown {
  return {
    vocab_type: 2,
    n_vocab: 302,
    n_ctx: behaviour.slotContext,
    n_ctx_train: behaviour.trainContext,
    n_embd: 64,
    n_params: 112_704,
    size: 450_816,
    ftype: "all F32",
  };
}

function infoOf(section: Section): unknown {
  return {
    id: section.id,
    aliases: [section.id],
    tags: [],
    object: "model",
    architecture: architectureOf(section),
    created: Math.floor(Date.now() / 1000),
    owned_by: "llamacpp",
    meta: metaOf(section),
  };
}

/** `/models/sse`: what happens to the models. */
export class RouterEvents {
  readonly #clock: Clock;
  readonly #listeners = new Set<(frame: string) => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** There is no initial snapshot: only later changes are sent. */
  stream(exchange: Exchange): void {
    const { response } = exchange;
    response.writeHead(200, {
      Server: "llama.cpp",
      "X-Accel-Buffering": "no",
      "Content-Type": "text/event-stream",
    });
    response.flushHeaders();
    const send = (frame: string) => {
      response.write(frame);
    };
    this.#listeners.add(send);
    response.once("close", () => this.#listeners.delete(send));
  }

  /** Reports a child's change. */
  send(section: Section, child: Child): void {
    const model = section.id;
    if (child.state === "loading") {
      if (!child.waking) this.#emit({ model, event: "model_status", data: { status: "loading" } });
      if (section.hasModel) void this.#tellProgress(section, child);
      return;
    }
    if (child.state === "loaded" && !child.process?.sleeping) this.#emitProgress(model, 1);
    this.#emit({ model, event: "status_change", data: this.#change(section, child) });
  }

  /** @param data none for an end */
  sendDownload(model: string, event: string, data?: unknown): void {
    this.#emit(data === undefined ? { model, event } : { model, event, data });
  }

  /** The preset was read again. */
  tellReload(): void {
    this.#emit({ model: "*", event: "models_reload" });
  }

  #change(section: Section, child: Child): unknown {
    if (child.state === "unloaded") return { status: "unloaded", exit_code: child.exitCode };
    if (child.process?.sleeping) return { status: "sleeping" };
    return child.waking ? { status: "loaded" } : { status: "loaded", info: infoOf(section) };
  }

  async #tellProgress(section: Section, child: Child): Promise<void> {
    const { process } = child;
    const begun = this.#clock.now();
    while (process?.alive && child.state === "loading") {
      const value = Math.min(0.99, (this.#clock.now() - begun) / Math.max(1, section.behaviour.loadMs));
      this.#emitProgress(section.id, value);
      await this.#clock.sleep(PROGRESS_MS, process.exited);
    }
  }

  #emitProgress(model: string, value: number): void {
    const progress = { stages: ["text_model"], current: "text_model", value };
    this.#emit({ model, event: "status_change", data: { status: "loading", progress } });
  }

  #emit(event: unknown): void {
    for (const send of this.#listeners) send(`data: ${JSON.stringify(event)}\n\n`);
  }
}
