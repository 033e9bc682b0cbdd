/** pi's hook on the body of a request, which lets other extensions change it. */
import type { SimpleStreamOptions } from "@earendil-works/pi-ai";

type Hook = NonNullable<SimpleStreamOptions["onPayload"]>;

/** pi hands it over with each turn and at no other time. */
export class PayloadHook {
  #last: { sessionId: string | undefined; onPayload: Hook | undefined } | undefined;

  /** @param options of a turn */
  keep({ sessionId, onPayload }: SimpleStreamOptions): void {
    this.#last = { sessionId, onPayload };
  }

  /** The hook of the last turn, if that was one of this session: of another one it is another agent's. */
  of(sessionId: string): { onPayload?: Hook } {
    const { onPayload } = this.#last?.sessionId === sessionId ? this.#last : {};
    return onPayload === undefined ? {} : { onPayload };
  }
}
