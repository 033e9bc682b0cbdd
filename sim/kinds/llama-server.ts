import { readBehaviour } from "../flags.ts";
import type { Exchange } from "../http.ts";
import { invalidKey, LlamaError } from "../llama-replies.ts";
import { Child } from "./child.ts";
import type { Handler, Kind, Surroundings } from "./kind.ts";

/** Paths for which a sleeping llama-server loads its model again. */
const WAKING = ["/slots", "/chat/completions", "/v1/chat/completions"];

/**
 * One llama-server with one model, which it loads when it starts and cannot unload. It ignores which model a
 * request names, and answers everything with 503 until it is loaded.
 */
export class LlamaServer implements Kind {
  readonly routes: Readonly<Record<string, Handler>> = {};
  readonly unauthorized = invalidKey;
  readonly open = ["/health", "/v1/health"];
  readonly #child: Child;

  /** @param flags its command line, as in `sim/flags.ts`; listed under `--alias` */
  constructor(id: string, flags: string, around: Surroundings) {
    this.#child = new Child(id, readBehaviour(`llama-server --alias '${id}' ${flags}`), around, () => {});
    this.#child.start();
  }

  readonly unknown = async (exchange: Exchange): Promise<void> => {
    const [path = ""] = exchange.path.split("?");
    if (this.#child.process?.sleeping && WAKING.includes(path)) await this.#child.wake();
    if (this.#child.process?.loaded === false) {
      throw new LlamaError(503, "unavailable_error", "Loading model");
    }
    await this.#child.serve(exchange);
  };

  sleep(): void {
    this.#child.sleep();
  }

  close(): Promise<void> {
    return this.#child.stop();
  }
}
