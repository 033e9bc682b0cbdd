/** Which models can be made to end their thinking and answer now. */
import { DETAIL_TIMEOUT_MS } from "./http/access.ts";
import type { ServerAccess, ThinkingEnd } from "./kinds/backend.ts";

/** Of no answer: a server that can end thinking says that there is none, and does nothing. */
const NO_ANSWER = "chatcmpl-none";

/** Of one server. */
export class ThinkingControl {
  readonly #server: ServerAccess;
  readonly #can = new Map<string, Promise<boolean>>();

  constructor(server: ServerAccess) {
    this.#server = server;
  }

  /** Whether the thinking of a model that is answering can be ended; asked once, and remembered. Never throws. */
  async can(id: string, signal: AbortSignal): Promise<boolean> {
    let can = this.#can.get(id);
    if (can === undefined) {
      can = this.#ask(id, NO_ANSWER, signal).then((end) => end !== "unsupported");
      this.#can.set(id, can);
      can.catch(() => this.#can.delete(id));
    }
    return can.catch(() => false);
  }

  /** @param answer its id in the stream. @returns whether the server has ended its thinking. Never throws */
  async end(id: string, answer: string, signal: AbortSignal): Promise<boolean> {
    return this.#ask(id, answer, signal).then(
      (end) => end === "ended",
      () => false,
    );
  }

  async #ask(id: string, answer: string, signal: AbortSignal): Promise<ThinkingEnd> {
    const limited = AbortSignal.any([signal, AbortSignal.timeout(DETAIL_TIMEOUT_MS)]);
    const backend = await this.#server.backend(limited);
    return (await backend.endThinking?.(id, answer, limited)) ?? "unsupported";
  }
}
