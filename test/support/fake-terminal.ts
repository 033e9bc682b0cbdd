import type { Api, Model } from "@earendil-works/pi-ai";
import type { ExtensionContext } from "@earendil-works/pi-coding-agent";

/** What pi's terminal shows besides the conversation. */
export class FakeTerminal {
  /** Each working message that was set; undefined restores pi's own. */
  readonly messages: (string | undefined)[] = [];
  readonly widgets: (readonly string[] | undefined)[] = [];
  /** Each footer status that was set. */
  readonly statuses: (string | undefined)[] = [];
  readonly notices: string[] = [];
  /** pi's model; read at each access, as in pi's own context. */
  model: Partial<Model<Api>> | undefined;
  isIdle = true;
  refreshes = 0;
  #isOver = false;

  readonly ui = {
    theme: { fg: (_colour: string, text: string) => text },
    setWorkingMessage: (message?: string) => this.#live(() => this.messages.push(message)),
    setWidget: (_key: string, lines: readonly string[] | undefined) =>
      this.#live(() => this.widgets.push(lines)),
    setStatus: (_key: string, text: string | undefined) => this.#live(() => this.statuses.push(text)),
    notify: (text: string) => this.#live(() => this.notices.push(text)),
    addAutocompleteProvider: () => this.#live(() => undefined),
  } as unknown as ExtensionContext["ui"];

  /** The context for handlers; after `end` every access throws, as with pi's own. */
  context(mode: ExtensionContext["mode"] = "tui"): ExtensionContext {
    const terminal = this;
    return {
      get mode() {
        return terminal.#live(() => mode);
      },
      get ui() {
        return terminal.#live(() => terminal.ui);
      },
      get model() {
        return terminal.#live(() => terminal.model);
      },
      isIdle: () => terminal.#live(() => terminal.isIdle),
      sessionManager: { getSessionId: () => "session" },
      modelRegistry: {
        getProviderAuth: async () => undefined,
        refresh: async () => {
          terminal.refreshes += 1;
        },
      },
    } as unknown as ExtensionContext;
  }

  end(): void {
    this.#isOver = true;
  }

  #live<T>(touch: () => T): T {
    if (this.#isOver) throw new Error("This extension ctx is stale after session replacement or reload.");
    return touch();
  }
}
