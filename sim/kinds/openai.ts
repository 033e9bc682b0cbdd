import { chat } from "../chat.ts";
import { type Behaviour, readBehaviour } from "../flags.ts";
import { type Exchange, replyJson } from "../http.ts";
import { LlamaError } from "../llama-replies.ts";
import { Child } from "./child.ts";
import { type Surroundings, textIn } from "./kind.ts";

/** OpenAI's form of an error. */
export function replyOpenAiError(exchange: Exchange, status: number, type: string, message: string): void {
  replyJson(exchange, status, { error: { message, type, param: null, code: null } });
}

/** A server's words for errors of a chat. */
export interface Wording {
  unknownModel(id: string): [status: number, body: unknown];
  overflow(asked: number, window: number): string;
}

/** The models of a server that speaks chat/completions and is not llama.cpp's. */
export class OpenAiModels {
  readonly children = new Map<string, Child>();
  readonly #wording: Wording;

  /** @param models flags by id, as in `sim/flags.ts` */
  constructor(models: Readonly<Record<string, string>>, around: Surroundings, wording: Wording) {
    this.#wording = wording;
    for (const [id, flags] of Object.entries(models)) {
      const behaviour = readBehaviour(`server --only-openai --alias '${id}' ${flags}`);
      this.children.set(id, new Child(id, behaviour, around, () => {}));
    }
  }

  startAll(): void {
    for (const child of this.children.values()) child.start();
  }

  async close(): Promise<void> {
    await Promise.all([...this.children.values()].map((child) => child.stop()));
  }

  /** `GET /v1/models` in OpenAI's form, with `more` of each model. */
  list(exchange: Exchange, ownedBy: string, more: (behaviour: Behaviour, id: string) => object): void {
    const created = Math.floor(Date.now() / 1000);
    const data = [...this.children].map(([id, { behaviour }]) => ({
      id,
      object: "model",
      created,
      owned_by: ownedBy,
      ...more(behaviour, id),
    }));
    replyJson(exchange, 200, { object: "list", data });
  }

  /** `POST /v1/chat/completions`: loads the model if necessary, and sends no byte until then. */
  async chat(exchange: Exchange): Promise<void> {
    const id = textIn(exchange, "model");
    const child = this.children.get(id);
    if (!child) return replyJson(exchange, ...this.#wording.unknownModel(id));
    if (!(await child.load(exchange.gone)) || !child.process) {
      if (exchange.gone.aborted) return;
      return replyOpenAiError(exchange, 500, "server_error", "Failed to load model");
    }
    child.busy++;
    try {
      await chat(exchange, child.process);
    } catch (error) {
      if (!(error instanceof LlamaError)) exchange.response.destroy();
      else this.#refuse(exchange, error);
    } finally {
      child.busy--;
    }
  }

  #refuse(exchange: Exchange, error: LlamaError): void {
    const { n_prompt_tokens, n_ctx } = error.extra;
    const isOverflow = n_prompt_tokens !== undefined && n_ctx !== undefined;
    const message = isOverflow ? this.#wording.overflow(n_prompt_tokens, n_ctx) : error.message;
    replyOpenAiError(exchange, error.status, "invalid_request_error", message);
  }
}
