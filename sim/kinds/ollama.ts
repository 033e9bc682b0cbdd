import { type Exchange, replyJson, replyText } from "../http.ts";
import type { Child } from "./child.ts";
import { bodyOf, type Handler, type Kind, notFoundAsText, type Surroundings, textIn } from "./kind.ts";
import { OpenAiModels } from "./openai.ts";

/**
 * Ollama: loads a model when a chat asks for it. Shapes: ollama/ollama, docs/api.md and api/types.go (there
 * `context_length` of `/api/ps`, the window in use, and `capabilities` of `/api/show`); for `/v1` its
 * docs/openai.md. It has no keys.
 */
export class Ollama implements Kind {
  readonly routes: Readonly<Record<string, Handler>>;
  readonly unknown = notFoundAsText;
  readonly open = [];
  readonly #models: OpenAiModels;

  constructor(models: Readonly<Record<string, string>>, around: Surroundings) {
    const spelled = Object.entries(models).map(([id, flags]) => [id, `--reasoning-key reasoning ${flags}`]);
    this.#models = new OpenAiModels(Object.fromEntries(spelled), around, {
      unknownModel: (id) => [
        404,
        { error: { message: `model '${id}' not found`, type: "not_found_error", param: null, code: null } },
      ],
      overflow: () => "input length exceeds the context length",
    });
    this.routes = {
      "GET /": (exchange) => replyText(exchange, 200, "Ollama is running"),
      "GET /api/version": (exchange) => replyJson(exchange, 200, { version: "0.12.6" }),
      "GET /api/tags": (exchange) => replyJson(exchange, 200, { models: this.#all().map(summaryOf) }),
      "GET /api/ps": (exchange) => replyJson(exchange, 200, { models: this.#running() }),
      "POST /api/show": (exchange) => this.#show(exchange),
      "POST /api/generate": (exchange) => this.#generate(exchange),
      "GET /v1/models": (exchange) => this.#models.list(exchange, "library", () => ({})),
      "POST /v1/chat/completions": (exchange) => this.#models.chat(exchange),
    };
  }

  readonly unauthorized: Kind["unauthorized"] = (exchange) =>
    replyJson(exchange, 401, { error: "unauthorized" });

  close(): Promise<void> {
    return this.#models.close();
  }

  #all(): Child[] {
    return [...this.#models.children.values()];
  }

  #running(): unknown[] {
    const loaded = this.#all().filter(({ state }) => state === "loaded");
    return loaded.map((child) => ({
      ...summaryOf(child),
      expires_at: new Date(Date.now() + 300_000).toISOString(),
      size_vram: SIZE,
      context_length: child.behaviour.slotContext,
    }));
  }

  #find(exchange: Exchange): Child | undefined {
    const name = textIn(exchange, "model");
    const child = this.#models.children.get(name);
    if (!child) replyJson(exchange, 404, { error: `model '${name}' not found` });
    return child;
  }

  #show(exchange: Exchange): void {
    const child = this.#find(exchange);
    if (!child) return;
    const { vision, reasoning, trainContext, contextSize } = child.behaviour;
    replyJson(exchange, 200, {
      modelfile: `FROM ${child.id}\nPARAMETER num_ctx ${contextSize}\n`,
      parameters: `num_ctx                        ${contextSize}`,
      template: "{{ .Prompt }}",
      details: DETAILS,
      model_info: {
        "general.architecture": "llama",
        "general.parameter_count": 8_030_261_248,
        "llama.context_length": trainContext,
      },
      capabilities: [
        "completion",
        "tools",
        ...(vision ? ["vision"] : []),
        ...(reasoning ? ["thinking"] : []),
      ],
      modified_at: MODIFIED,
    });
  }

  /** Without a prompt the model is loaded, or with `keep_alive: 0` unloaded; the answer follows when that is done. */
  async #generate(exchange: Exchange): Promise<void> {
    const child = this.#find(exchange);
    if (!child) return;
    const unloads = bodyOf(exchange).keep_alive === 0;
    if (unloads) await child.stop();
    else if (!(await child.load(exchange.gone))) {
      if (!exchange.gone.aborted) {
        replyJson(exchange, 500, { error: "llama runner process has terminated: exit status 2" });
      }
      return;
    }
    const done_reason = unloads ? "unload" : "load";
    const answer = { model: child.id, created_at: MODIFIED, response: "", done: true, done_reason };
    replyJson(exchange, 200, answer);
  }
}

const SIZE = 5_137_025_024;
const MODIFIED = "2026-06-04T14:38:31.83753Z";
const DETAILS = {
  parent_model: "",
  format: "gguf",
  family: "llama",
  families: ["llama"],
  parameter_size: "8.0B",
  quantization_level: "Q4_K_M",
};

function summaryOf({ id }: Child): object {
  return { name: id, model: id, modified_at: MODIFIED, size: SIZE, digest: "2ae6f6dd7a3d", details: DETAILS };
}
