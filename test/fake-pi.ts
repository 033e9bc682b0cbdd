import type { ModelsStoreEntry, Provider, RefreshModelsContext } from "@earendil-works/pi-ai";
import type { ExtensionAPI, ExtensionContext } from "@earendil-works/pi-coding-agent";

type Handler = (event: unknown, ctx: unknown) => unknown;

/** As much of pi as an extension touches, with what it did to it. */
export class FakePi {
  readonly registered: Provider[] = [];
  readonly commands = new Map<string, { handler: (args: string, ctx: unknown) => Promise<void> }>();
  readonly notices: string[] = [];
  /** The catalogue as pi keeps it on disk. */
  store: ModelsStoreEntry | undefined;
  readonly #handlers = new Map<string, Handler>();
  #isOver = false;

  readonly api = {
    registerProvider: (provider: Provider) => this.registered.push(provider),
    registerCommand: (name: string, command: { handler: (args: string, ctx: unknown) => Promise<void> }) =>
      this.commands.set(name, command),
    on: (event: string, handler: Handler) => this.#handlers.set(event, handler),
  } as unknown as ExtensionAPI;

  get provider(): Provider {
    const provider = this.registered.at(-1);
    if (provider === undefined) throw new Error("no provider was registered");
    return provider;
  }

  /** What pi hands to handlers; touching it after `end()` throws, as pi's own does. */
  context(mode: ExtensionContext["mode"] = "rpc", model?: unknown): ExtensionContext {
    const parts: Record<string, unknown> = {
      mode,
      model,
      ui: {
        notify: (text: string) => this.notices.push(text),
        setWorkingMessage: () => {},
      },
      modelRegistry: {
        refresh: async () => {
          await this.refresh();
          await this.refresh({ allowNetwork: true });
        },
        getProviderAuth: async () => ({ env: {} }),
      },
    };
    const get = (_: object, name: string): unknown => {
      if (this.#isOver) throw new Error("This extension ctx is stale after session replacement or reload.");
      return parts[name];
    };
    return new Proxy({}, { get: get as ProxyHandler<object>["get"] & {} }) as unknown as ExtensionContext;
  }

  /** From now on every touch of a context throws. */
  end(): void {
    this.#isOver = true;
  }

  async refresh(options: Partial<RefreshModelsContext> = {}): Promise<void> {
    await this.provider.refreshModels?.({
      ...(this.store === undefined ? {} : { stored: structuredClone(this.store) }),
      allowNetwork: false,
      signal: new AbortController().signal,
      publish: async ({ persist, update }) => {
        if (persist) this.store = structuredClone(persist);
        update?.();
        return true;
      },
      ...options,
    });
  }

  async emit(
    event: string,
    ctx: unknown = this.context(),
    payload: unknown = { type: event, messages: [] },
  ): Promise<void> {
    const handler = this.#handlers.get(event);
    if (handler === undefined) throw new Error(`nobody listens to ${event}`);
    await handler(payload, ctx);
  }
}
