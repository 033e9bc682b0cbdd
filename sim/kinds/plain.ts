import { reply } from "../http.ts";
import type { Handler, Kind, Surroundings } from "./kind.ts";
import { OpenAiModels, replyOpenAiError } from "./openai.ts";

const PAGE = '<!doctype html><html><body><div id="app"></div></body></html>';

/**
 * A server that has `/v1/models` and `/v1/chat/completions` and nothing else. Other routes answer 404 in
 * OpenAI's form, or the page of a web application with status 200.
 */
export class Plain implements Kind {
  readonly routes: Readonly<Record<string, Handler>>;
  readonly unknown: Kind["unknown"];
  readonly open = [];
  readonly #models: OpenAiModels;

  constructor(models: Readonly<Record<string, string>>, around: Surroundings, hasPage: boolean) {
    this.#models = new OpenAiModels(models, around, {
      unknownModel: (id) => [
        404,
        {
          error: {
            message: `The model '${id}' does not exist`,
            type: "invalid_request_error",
            param: null,
            code: "model_not_found",
          },
        },
      ],
      overflow: (asked, window) =>
        `This model's maximum context length is ${window} tokens. However, your messages resulted in ${asked} tokens. Please reduce the length of the messages.`,
    });
    this.#models.startAll();
    this.routes = {
      "GET /v1/models": (exchange) => this.#models.list(exchange, "organization", () => ({})),
      "POST /v1/chat/completions": (exchange) => this.#models.chat(exchange),
    };
    this.unknown = (exchange) => {
      if (hasPage) return reply(exchange, 200, { "Content-Type": "text/html; charset=utf-8" }, PAGE);
      const what = `${exchange.method} ${exchange.path.split("?")[0]}`;
      replyOpenAiError(exchange, 404, "invalid_request_error", `Invalid URL (${what})`);
    };
  }

  readonly unauthorized: Kind["unauthorized"] = (exchange) =>
    replyOpenAiError(exchange, 401, "invalid_request_error", "Incorrect API key provided.");

  close(): Promise<void> {
    return this.#models.close();
  }
}
