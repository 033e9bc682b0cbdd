import { reply, replyJson } from "../http.ts";
import type { Handler, Kind, Surroundings } from "./kind.ts";
import { OpenAiModels } from "./openai.ts";

/**
 * vLLM: its models are loaded from the start. Shapes: `ModelCard` in vllm-project/vllm,
 * vllm/entrypoints/openai/protocol.py; `/version`, `/health` (an empty 200) and the key for `/v1` alone in its
 * api_server.py; what has no route is answered by FastAPI.
 */
export class Vllm implements Kind {
  readonly routes: Readonly<Record<string, Handler>>;
  readonly open = ["/health", "/version"];
  readonly #models: OpenAiModels;

  constructor(models: Readonly<Record<string, string>>, around: Surroundings) {
    this.#models = new OpenAiModels(models, around, {
      unknownModel: (id) => [
        404,
        {
          error: {
            message: `The model \`${id}\` does not exist.`,
            type: "NotFoundError",
            param: "model",
            code: 404,
          },
        },
      ],
      overflow: (asked, window) =>
        `This model's maximum context length is ${window} tokens. However, your request has ${asked} input tokens. Please reduce the length of the input messages.`,
    });
    this.#models.startAll();
    this.routes = {
      "GET /health": (exchange) => reply(exchange, 200, {}, undefined),
      "GET /version": (exchange) => replyJson(exchange, 200, { version: "0.11.0" }),
      "GET /v1/models": (exchange) =>
        this.#models.list(exchange, "vllm", ({ slotContext, modelPath }) => ({
          root: modelPath,
          parent: null,
          max_model_len: slotContext,
          permission: [{ id: "modelperm-1", object: "model_permission", allow_sampling: true }],
        })),
      "POST /v1/chat/completions": (exchange) => this.#models.chat(exchange),
    };
  }

  readonly unknown: Kind["unknown"] = (exchange) => replyJson(exchange, 404, { detail: "Not Found" });
  readonly unauthorized: Kind["unauthorized"] = (exchange) =>
    replyJson(exchange, 401, { error: "Unauthorized" });

  close(): Promise<void> {
    return this.#models.close();
  }
}
