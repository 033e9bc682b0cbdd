import { type Exchange, replyJson } from "../http.ts";
import type { Child } from "./child.ts";
import { type Handler, type Kind, type Surroundings, textIn } from "./kind.ts";
import { OpenAiModels, replyOpenAiError } from "./openai.ts";

/**
 * LM Studio: loads a model when a chat asks for it. Shapes: lmstudio-ai/docs, 1_developer/2_rest/{list,load,unload}.md
 * for `/api/v1`, and https://lmstudio.ai/docs/developer/rest/endpoints for `/api/v0`. It answers unknown
 * routes with 200 and an error, as several public clients have measured. The 404 for an unknown model is not
 * documented.
 */
export class LmStudio implements Kind {
  readonly routes: Readonly<Record<string, Handler>>;
  readonly open = [];
  readonly #models: OpenAiModels;
  readonly #around: Surroundings;

  /** @param isEarly before 0.4.0, which has no `/api/v1` */
  constructor(models: Readonly<Record<string, string>>, around: Surroundings, isEarly: boolean) {
    this.#around = around;
    this.#models = new OpenAiModels(models, around, {
      unknownModel: (id) => [404, { error: { message: `Model not found: ${id}`, code: "model_not_found" } }],
      overflow: (asked, window) =>
        `The number of tokens to keep from the initial prompt is greater than the context length (n_keep: ${asked} >= n_ctx: ${window}).`,
    });
    this.routes = {
      "GET /v1/models": (exchange) => this.#models.list(exchange, "organization_owner", () => ({})),
      "GET /api/v0/models": (exchange) =>
        replyJson(exchange, 200, { object: "list", data: this.#all().map(oldRecord) }),
      "POST /v1/chat/completions": (exchange) => this.#models.chat(exchange),
      ...(isEarly ? {} : this.#current()),
    };
  }

  readonly unknown: Kind["unknown"] = (exchange) => {
    const error = `Unexpected endpoint or method. (${exchange.method} ${exchange.path})`;
    replyJson(exchange, 200, { error });
  };

  readonly unauthorized: Kind["unauthorized"] = (exchange) =>
    replyOpenAiError(exchange, 401, "invalid_request_error", "Invalid API token");

  close(): Promise<void> {
    return this.#models.close();
  }

  #current(): Readonly<Record<string, Handler>> {
    return {
      "GET /api/v1/models": (exchange) => replyJson(exchange, 200, { models: this.#all().map(newRecord) }),
      "POST /api/v1/models/load": (exchange) => this.#load(exchange),
      "POST /api/v1/models/unload": (exchange) => this.#unload(exchange),
    };
  }

  #all(): Child[] {
    return [...this.#models.children.values()];
  }

  async #load(exchange: Exchange): Promise<void> {
    const id = textIn(exchange, "model");
    const child = this.#models.children.get(id);
    if (!child) return replyOpenAiError(exchange, 404, "model_not_found", `Model not found: ${id}`);
    const begun = this.#around.clock.now();
    if (!(await child.load(exchange.gone))) {
      if (!exchange.gone.aborted) {
        replyOpenAiError(exchange, 500, "model_load_failed", "Failed to load model");
      }
      return;
    }
    const load_time_seconds = (this.#around.clock.now() - begun) / 1000;
    replyJson(exchange, 200, { type: "llm", instance_id: id, load_time_seconds, status: "loaded" });
  }

  async #unload(exchange: Exchange): Promise<void> {
    const instance_id = textIn(exchange, "instance_id");
    const child = this.#models.children.get(instance_id);
    if (child?.state !== "loaded") {
      const message = `No loaded instance ${instance_id}`;
      return replyOpenAiError(exchange, 404, "model_not_found", message);
    }
    await child.stop();
    replyJson(exchange, 200, { instance_id });
  }
}

function oldRecord({ id, behaviour, state }: Child): object {
  const isLoaded = state === "loaded";
  return {
    id,
    object: "model",
    type: behaviour.args.includes("--embedding") ? "embeddings" : behaviour.vision ? "vlm" : "llm",
    publisher: "lmstudio-community",
    arch: "llama",
    compatibility_type: "gguf",
    quantization: "Q4_K_M",
    state: isLoaded ? "loaded" : "not-loaded",
    max_context_length: behaviour.trainContext,
    ...(isLoaded ? { loaded_context_length: behaviour.slotContext } : {}),
  };
}

function newRecord({ id, behaviour, state }: Child): object {
  const isEmbedding = behaviour.args.includes("--embedding");
  const instance = { id, config: { context_length: behaviour.slotContext } };
  return {
    type: isEmbedding ? "embedding" : "llm",
    publisher: "lmstudio-community",
    key: id,
    display_name: id,
    architecture: "llama",
    quantization: { name: "Q4_K_M", bits_per_weight: 4 },
    size_bytes: 4_920_000_000,
    params_string: "8B",
    loaded_instances: state === "loaded" ? [instance] : [],
    max_context_length: behaviour.trainContext,
    format: "gguf",
    ...(isEmbedding ? {} : { capabilities: { vision: behaviour.vision, trained_for_tool_use: true } }),
  };
}
