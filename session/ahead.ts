/** Has the server work for the session's next prompt while the user still types it. */
import { createHash } from "node:crypto";
import type {
  Api,
  Message,
  Model,
  SimpleStreamOptions,
  Tool,
  TranscriptContext,
} from "@earendil-works/pi-ai";
import type { ExtensionAPI, ExtensionContext } from "@earendil-works/pi-coding-agent";
import { PROVIDER_ID } from "../config.ts";
import { record } from "../lib/json.ts";
import { loadAhead, readAhead } from "../provider/ahead.ts";
import type { AiServer } from "../provider/ai-server.ts";

/** In the words of the footer. */
type Doing = "loading" | "reading ahead";

/** In the place of the user's prompt: only what comes before it is the same in the next request. */
const NO_PROMPT = "x";

/** Of the next request. */
interface Beginning {
  model: Model<Api>;
  context: TranscriptContext;
  options: SimpleStreamOptions;
  /** Differs where the beginning does. */
  digest: string;
}

interface AheadParts {
  pi: ExtensionAPI;
  ctx: ExtensionContext;
  aiServer: AiServer;
  /** Reads the models again, which a loaded one changes. */
  refresh(): Promise<void>;
  /** @param doing undefined: nothing any more */
  show(doing: Doing | undefined): void;
  ended: AbortSignal;
}

/** One piece of work at a time; a turn, and a command that changes the server, end it at once. */
export class Ahead {
  readonly #parts: AheadParts;
  #working: Promise<void> = Promise.resolve();
  /** The last piece of work that was asked for. */
  #latest: symbol | undefined;
  #stopped = new AbortController();
  #outdated = new AbortController();
  /** The digest of what was read or is being read, by the model's id. */
  readonly #read = new Map<string, string>();

  constructor(parts: AheadParts) {
    this.#parts = parts;
    const { activities } = parts.aiServer;
    const isNeeded = (): boolean => activities.front(undefined) !== undefined || parts.aiServer.isChanging;
    const ignore = activities.onChange(() => isNeeded() && this.stop());
    parts.ended.addEventListener("abort", ignore, { once: true });
  }

  /**
   * The session's model was chosen: loads it, and reads what turns begin with.
   *
   * @returns whether the server loads it; never rejects
   */
  chosen(): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    void this.#begin(async (signal) => {
      if (await this.#load(signal, () => resolve(true))) await this.#readBeginning(signal);
    }).finally(() => resolve(false));
    return promise;
  }

  /** What turns begin with may have changed: where it has, reads that. */
  async changed(): Promise<void> {
    const next = await this.#next().catch(() => undefined);
    if (next === undefined || this.#isRead(next)) return;
    await this.#begin((signal) => this.#readBeginning(signal));
  }

  /** Ends the work at once. The server goes on with a load. */
  stop(): void {
    this.#latest = undefined;
    this.#stopped.abort();
    this.#stopped = new AbortController();
  }

  /** Waits for the work before: to load another model meanwhile would interrupt its load. */
  #begin(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const own = Symbol();
    this.#latest = own;
    this.#outdated.abort();
    this.#outdated = new AbortController();
    this.#working = this.#working.then(async () => {
      const { ended, show } = this.#parts;
      if (this.#latest !== own) return;
      try {
        await work(AbortSignal.any([ended, this.#stopped.signal]));
      } catch {
        // The turn reports what is wrong.
      }
      if (!ended.aborted) show(undefined);
    });
    return this.#working;
  }

  get #model(): Model<Api> | undefined {
    const { model, modelRegistry } = this.#parts.ctx;
    if (model?.provider !== PROVIDER_ID) return undefined;
    // With the facts that were read since it was chosen.
    return modelRegistry.find(PROVIDER_ID, model.id) ?? model;
  }

  /** @returns whether the model is ready, and still the session's */
  async #load(signal: AbortSignal, onBegin: () => void): Promise<boolean> {
    const { aiServer, refresh, show } = this.#parts;
    const model = this.#model;
    if (model === undefined) return false;
    const begins = (): void => {
      onBegin();
      show("loading");
    };
    const state = await loadAhead(aiServer, model, { signal, onBegin: begins });
    if (state === "loaded") {
      this.#read.delete(model.id);
      await refresh();
    }
    return state !== undefined && !signal.aborted && this.#model?.id === model.id;
  }

  /** Once for each model and beginning. */
  async #readBeginning(signal: AbortSignal): Promise<void> {
    const { aiServer, show } = this.#parts;
    const next = await this.#next();
    if (next === undefined || this.#isRead(next) || signal.aborted) return;
    const { model, context, options, digest } = next;
    const begins = (): void => {
      this.#read.set(model.id, digest);
      show("reading ahead");
    };
    const isOver = AbortSignal.any([signal, this.#outdated.signal]);
    let isRead = false;
    try {
      isRead = await readAhead(aiServer, model, context, options, { signal: isOver, onBegin: begins });
    } finally {
      if (!isRead) this.#read.delete(model.id);
    }
  }

  #isRead({ model, digest }: Beginning): boolean {
    return this.#read.get(model.id) === digest;
  }

  /** What the next turn begins with; undefined where nothing is to be read. */
  async #next(): Promise<Beginning | undefined> {
    const { pi, ctx, aiServer } = this.#parts;
    const model = this.#model;
    if (model === undefined || aiServer.config().warm !== "read") return undefined;
    const context = await nextContext(pi, ctx);
    if (context === undefined) return undefined;
    const sessionId = ctx.sessionManager.getSessionId();
    const level = pi.getThinkingLevel();
    const depending = {
      ...(level === "off" ? {} : { reasoning: level }),
      ...thinkingBudgets(pi.getSettings()),
    };
    const options = { ...depending, sessionId, ...aiServer.payloadHook.option };
    return { model, context, options, digest: digestOf([context, depending]) };
  }
}

function digestOf(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex");
}

/** As pi's agent takes them from its settings for each request. */
function thinkingBudgets(settings: unknown): { thinkingBudgets?: Record<string, number> } {
  const budgets = record(record(settings)?.thinkingBudgets);
  return budgets === undefined ? {} : { thinkingBudgets: budgets as Record<string, number> };
}

/**
 * What pi will send with the next prompt, as far as it can be known before: other extensions may still change it when
 * the prompt comes.
 *
 * @returns undefined where pi would leave images out that the session has
 */
async function nextContext(
  pi: Pick<ExtensionAPI, "getActiveTools" | "getAllTools" | "getSettings">,
  ctx: Pick<ExtensionContext, "getSystemPrompt" | "sessionManager">,
): Promise<TranscriptContext | undefined> {
  const [{ convertToLlm }, { getCurrentSystemMessage, getSystemMessageText, normalizeContext }] =
    await Promise.all([import("@earendil-works/pi-coding-agent"), import("@earendil-works/pi-ai")]);
  const messages = convertToLlm(ctx.sessionManager.buildSessionProjection().messages);
  const blocksImages = record(record(pi.getSettings())?.images)?.blockImages === true;
  if (blocksImages && messages.some(hasImage)) return undefined;
  const prompt = ctx.getSystemPrompt();
  const recorded = getCurrentSystemMessage(messages);
  const isSame = recorded !== undefined && getSystemMessageText(recorded) === prompt;
  const head = isSame ? recorded : ({ role: "system", content: prompt, timestamp: 0 } as const);
  const toolsAdded = activeTools(pi, recorded?.toolsAdded ?? []);
  return normalizeContext({
    messages: [
      { ...head, toolsAdded },
      ...messages.filter(({ role }) => role !== "system"),
      { role: "user", content: NO_PROMPT, timestamp: 0 },
    ],
  });
}

function hasImage({ content }: Message): boolean {
  return Array.isArray(content) && content.some(({ type }) => type === "image");
}

/** The active tools: as the session has declared them, in that order, then those that are new. */
function activeTools(
  pi: Pick<ExtensionAPI, "getActiveTools" | "getAllTools">,
  declared: readonly Tool[],
): Tool[] {
  const active = pi.getActiveTools();
  const kept = declared.filter(({ name }) => active.includes(name));
  const all = new Map(pi.getAllTools().map((tool) => [tool.name, tool]));
  const added = active.filter((name) => !kept.some((tool) => tool.name === name));
  return [
    ...kept,
    ...added.flatMap((name) => {
      const tool = all.get(name);
      return tool ? [{ name, description: tool.description, parameters: tool.parameters }] : [];
    }),
  ];
}
