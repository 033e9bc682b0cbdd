/** pi's hook on the body of a request, which lets other extensions change it. */
import type { SimpleStreamOptions } from "@earendil-works/pi-ai";

type Hook = NonNullable<SimpleStreamOptions["onPayload"]>;

/** pi hands it over with each turn and at no other time. */
export class PayloadHook {
  readonly #session: () => string | undefined;
  #last: { sessionId: string; onPayload: Hook } | undefined;

  /** @param session the id of pi's session */
  constructor(session: () => string | undefined) {
    this.#session = session;
  }

  /** @param options of a turn, of a compaction or of a subagent: those have other ids */
  keep({ sessionId, onPayload }: SimpleStreamOptions): void {
    if (sessionId !== undefined && sessionId === this.#session())
      this.#last = onPayload && { sessionId, onPayload };
  }

  /** The hook of the session's last turn, as an option. */
  get option(): { onPayload?: Hook } {
    const { sessionId, onPayload } = this.#last ?? {};
    return onPayload === undefined || sessionId !== this.#session() ? {} : { onPayload };
  }
}
