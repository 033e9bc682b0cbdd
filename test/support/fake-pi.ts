import type {
  Api,
  Message,
  Model,
  ModelsStoreEntry,
  ModelThinkingLevel,
  Provider,
  RefreshModelsContext,
  Tool,
} from "@earendil-works/pi-ai";
import { clampThinkingLevel } from "@earendil-works/pi-ai";
import type { EntryRenderer, ExtensionAPI, ExtensionContext } from "@earendil-works/pi-coding-agent";

type Handler = (event: unknown, ctx: unknown) => unknown;

/** A tool as pi lists it. */
export function toolOf(name: string): Tool {
  const parameters = { type: "object", properties: { text: { type: "string" } } };
  return { name, description: `Runs ${name}`, parameters } as unknown as Tool;
}

/** As much of pi as an extension touches, with what it did to it. */
export class FakePi {
  readonly registered: Provider[] = [];
  readonly commands = new Map<string, { handler: (args: string, ctx: unknown) => Promise<void> }>();
  readonly shortcuts = new Map<string, { handler: (ctx: unknown) => Promise<void> }>();
  readonly renderers = new Map<string, EntryRenderer>();
  readonly notices: string[] = [];
  /** What the footer has shown, one after the other. */
  readonly statuses: string[] = [];
  /** What the extension has put into the editor. */
  editor = "";
  /** Providers that were registered by name with a key, which pi takes for configured at once. */
  readonly marked: string[] = [];
  /** The catalogue as pi keeps it on disk. */
  store: ModelsStoreEntry | undefined;
  settings: Record<string, unknown> = {};
  /** The session's entries, in order. */
  readonly branch: Record<string, unknown>[] = [];
  level: ModelThinkingLevel = "medium";
  /** The models to choose from, as `--models` or the settings name them. */
  scopedModels: ExtensionContext["scopedModels"] = [];
  /** The models of all providers that are set up, as far as pi knows them at its start. */
  available: readonly Model<Api>[] = [];
  /** The names of the tools that pi offers. */
  tools: string[] = ["read", "bash"];
  /** pi's own prompt. */
  prompt = "You are pi.";
  /** What the session's branch comes to, as pi sends it. */
  messages: Message[] = [];
  /** The names of the user's prompt templates. */
  readonly templates: string[] = [];
  /** Whether pi takes the models that an extension selects. */
  takesModels = true;
  #model: Model<Api> | undefined;
  readonly #handlers = new Map<string, Handler>();
  #isOver = false;

  readonly api = {
    registerProvider: (provider: Provider | string) => {
      if (typeof provider === "string") {
        this.marked.push(provider);
        return;
      }
      this.registered.push(provider);
      this.#model = provider.getModels().find(({ id }) => this.#isCurrent(provider.id, id)) ?? this.#model;
    },
    getActiveTools: () => this.tools,
    getAllTools: () => ["read", "bash", "web"].map(toolOf),
    getCommands: () => [...this.commands.keys(), ...this.templates].map((name) => ({ name })),
    getSettings: () => this.settings,
    getThinkingLevel: () => this.level,
    setThinkingLevel: (level: ModelThinkingLevel) => this.choose(level),
    registerEntryRenderer: (customType: string, renderer: EntryRenderer) =>
      this.renderers.set(customType, renderer),
    appendEntry: (customType: string, data: unknown) => this.append({ type: "custom", customType, data }),
    setModel: async (model: Model<Api>) => {
      if (!this.takesModels) return false;
      await this.select(model);
      return true;
    },
    registerCommand: (name: string, command: { handler: (args: string, ctx: unknown) => Promise<void> }) =>
      this.commands.set(name, command),
    registerShortcut: (key: string, shortcut: { handler: (ctx: unknown) => Promise<void> }) =>
      this.shortcuts.set(key, shortcut),
    on: (event: string, handler: Handler) => this.#handlers.set(event, handler),
  } as unknown as ExtensionAPI;

  get provider(): Provider {
    const provider = this.registered.at(-1);
    if (provider === undefined) throw new Error("no provider was registered");
    return provider;
  }

  get model(): Model<Api> | undefined {
    return this.#model;
  }

  append(entry: Record<string, unknown>): void {
    this.branch.push({ id: `entry-${this.branch.length}`, ...entry });
  }

  /** Selects a model as pi does: records it, sets the level of the settings as far as the model has it, emits the event. */
  async select(model: Model<Api>): Promise<void> {
    this.#model = model;
    this.append({ type: "model_change", provider: model.provider, modelId: model.id });
    this.choose((this.settings.defaultThinkingLevel as ModelThinkingLevel | undefined) ?? this.level);
    const payload = { type: "model_select", model, source: "set" };
    if (this.#handlers.has("model_select")) await this.emit("model_select", this.context(), payload);
  }

  /** Sets a thinking level as pi does, as far as the model has it. */
  choose(wanted: ModelThinkingLevel): void {
    const level = this.#model === undefined ? wanted : clampThinkingLevel(this.#model, wanted);
    if (level === this.level) return;
    const payload = { type: "thinking_level_select", level, previousLevel: this.level };
    this.level = level;
    this.append({ type: "thinking_level_change", thinkingLevel: level });
    void this.emit("thinking_level_select", this.context(), payload);
  }

  #isCurrent(provider: string, id: string): boolean {
    return this.#model?.provider === provider && this.#model.id === id;
  }

  /** What pi hands to handlers; touching it after `end()` throws, as pi's own does. */
  context(mode: ExtensionContext["mode"] = "rpc", model?: unknown): ExtensionContext {
    if (model !== undefined) this.#model = model as Model<Api>;
    const parts: Record<string, unknown> = {
      mode,
      isIdle: () => true,
      scopedModels: this.scopedModels,
      getSystemPrompt: () => this.prompt,
      sessionManager: {
        getBranch: () => [...this.branch],
        getSessionId: () => "session",
        buildSessionProjection: () => ({ messages: this.messages }),
      },
      ui: {
        notify: (text: string) => this.notices.push(text),
        setWorkingMessage: () => {},
        setStatus: (_: string, text: string | undefined) => {
          if (text !== undefined && text !== this.statuses.at(-1)) this.statuses.push(text);
        },
        theme: { fg: (_: string, text: string) => text },
        setWidget: () => {},
        setEditorText: (text: string) => {
          this.editor = text;
        },
        addAutocompleteProvider: () => {},
      },
      modelRegistry: {
        getAvailable: () => this.available,
        find: (_: string, id: string) => this.provider.getModels().find((model) => model.id === id),
        refresh: async ({ allowNetwork }: { allowNetwork: boolean }) => {
          await this.refresh();
          if (allowNetwork) await this.refresh({ allowNetwork });
        },
        getProviderAuth: async () => ({ env: {} }),
      },
    };
    const get = (_: object, name: string): unknown => {
      if (this.#isOver) throw new Error("This extension ctx is stale after session replacement or reload.");
      return name === "model" ? this.#model : parts[name];
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

  async emit(event: string, ctx?: unknown, payload?: unknown): Promise<void> {
    await this.answerTo(event, ctx, payload);
  }

  /** What the extension's handler gives back. */
  async answerTo(
    event: string,
    ctx: unknown = this.context(),
    payload: unknown = { type: event, messages: [] },
  ): Promise<unknown> {
    const handler = this.#handlers.get(event);
    if (handler === undefined) throw new Error(`no handler for ${event}`);
    return await handler(payload, ctx);
  }
}
