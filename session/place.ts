/** Keeps one session on the model that it belongs to, with the thinking level that it had. */
import type { Api, Model, ModelThinkingLevel } from "@earendil-works/pi-ai";
import type {
  ExtensionAPI,
  ExtensionContext,
  ModelSelectEvent,
  SessionStartEvent,
} from "@earendil-works/pi-coding-agent";
import { PROVIDER_ID } from "../config.ts";
import type { AiServer } from "../provider/ai-server.ts";
import { baseUrlOf, type ServedModel, unreadModel } from "../provider/pi-models.ts";
import {
  askedLevel,
  type Branch,
  heldNotice,
  isContinued,
  isInScope,
  type MeantModel,
  meantModel,
  type Placed,
} from "./model.ts";
import { ThinkingLevel } from "./thinking-level.ts";

/** How long a start waits for the list of models, in milliseconds. */
const LIST_TIMEOUT_MS = 5000;

interface PlaceParts {
  pi: ExtensionAPI;
  ctx: ExtensionContext;
  aiServer: AiServer;
  /** The arguments that pi was started with. */
  args: readonly string[];
  /** Makes pi take the provider for configured at once. */
  register(): void;
  ended: AbortSignal;
}

/** The entry of the session's last choice of a model: while it is the same, the user has chosen no other. */
function lastChoice(branch: Branch): string | undefined {
  return branch.findLast(({ type }) => type === "model_change")?.id;
}

/** A substitute for a model that no list has. */
async function absentModel(aiServer: AiServer, id: string): Promise<ServedModel> {
  const { UNKNOWN_CONTEXT } = await import("../server/models/models.ts");
  let baseUrl = "";
  try {
    baseUrl = baseUrlOf(aiServer.config());
  } catch {
    // The turn says which variable is wrong.
  }
  return unreadModel(id, UNKNOWN_CONTEXT, baseUrl);
}

/** Touches pi's context only as long as the session lasts, or within a promise that may reject. */
export class SessionPlace {
  readonly #parts: PlaceParts;
  readonly #level: ThinkingLevel;
  /** The model that pi has not taken though the session belongs to it, and the choice that stands in its place. */
  #held: { id: string; choice: string | undefined } | undefined;
  #isSelecting = false;
  #placing: Promise<unknown> = Promise.resolve();

  constructor(parts: PlaceParts) {
    this.#parts = parts;
    this.#level = new ThinkingLevel(parts.pi);
  }

  /**
   * Puts the session on its model; a prompt that comes meanwhile waits for it. Never rejects.
   *
   * @returns undefined where there was nothing to do
   */
  begin(reason: SessionStartEvent["reason"]): Promise<Placed | undefined> {
    const placing = this.#begin(reason).catch(() => undefined);
    this.#placing = placing;
    return placing;
  }

  async #begin(reason: SessionStartEvent["reason"]): Promise<Placed | undefined> {
    const { pi, ctx, args, ended } = this.#parts;
    const branch = ctx.sessionManager.getBranch();
    const settings = pi.getSettings();
    const meant = meantModel({ reason, branch, settings, args });
    const placed = await this.#place(meant);
    if (ended.aborted) return undefined;
    const isPlaced = placed !== undefined && placed.state !== "refused";
    const asked = askedLevel(args, branch, this.#scopedLevel(ctx.model));
    const start = { model: ctx.model, branch, settings, asked, isPlaced };
    this.#level.begin({ ...start, isContinued: isContinued(branch) });
    return placed;
  }

  /**
   * Puts the session on the model that it is meant to be on, where pi has come up with another one: because the
   * provider was not available at that moment, the model is not listed, or nothing is set up here. The turn then says
   * what is wrong, and nothing is sent elsewhere. Where pi does not take the model, prompts are held back.
   *
   * @returns undefined where there was nothing to do
   */
  async #place(meant: MeantModel | undefined): Promise<Placed | undefined> {
    const { pi, ctx, aiServer, register } = this.#parts;
    // A router of another extension, which the user has chosen and which names models by itself.
    const isRouter = ctx.model?.api === "pi-virtual";
    if (meant === undefined || isRouter || ctx.model?.provider === PROVIDER_ID) return undefined;
    if (!(await isInScope(meant, ctx.modelRegistry.getAvailable()))) return undefined;
    const { id } = meant;
    this.#held = { id, choice: lastChoice(ctx.sessionManager.getBranch()) };
    const listed = await this.#listed(id);
    if (!this.#isStillHeld()) return undefined;
    aiServer.claim();
    const model = listed ?? (await absentModel(aiServer, id));
    register();
    const take = (): Promise<boolean> => pi.setModel(model).catch(() => false);
    // The second time pi has looked again whether the provider is available.
    const isTaken = (await take()) || (await this.#refresh().then(take));
    if (!isTaken) return { id, state: "refused" };
    this.#held = undefined;
    if (aiServer.isOnlyClaimed) return { id, state: "not set up" };
    return { id, state: listed === undefined ? "absent" : "listed" };
  }

  async #listed(id: string): Promise<ServedModel | undefined> {
    const { aiServer } = this.#parts;
    const find = (): ServedModel | undefined => aiServer.models.find((model) => model.id === id);
    if (find() === undefined) await this.#refresh();
    return find();
  }

  async #refresh(): Promise<void> {
    const { ctx, ended } = this.#parts;
    const signal = AbortSignal.any([ended, AbortSignal.timeout(LIST_TIMEOUT_MS)]);
    const refresh = ctx.modelRegistry.refresh({ providers: [PROVIDER_ID], allowNetwork: false, signal });
    await refresh.catch(() => {});
  }

  /** Why a prompt is held back: pi has not taken the session's model, and the user has chosen no other since. */
  async heldNotice(): Promise<string | undefined> {
    await this.#placing;
    return this.#isStillHeld() && this.#held ? heldNotice(this.#held.id) : undefined;
  }

  #isStillHeld(): boolean {
    if (this.#held === undefined) return false;
    const { model, sessionManager } = this.#parts.ctx;
    const isChosen = lastChoice(sessionManager.getBranch()) !== this.#held.choice;
    if (isChosen || model?.provider === PROVIDER_ID) this.#held = undefined;
    return this.#held !== undefined;
  }

  levelChanged(level: ModelThinkingLevel): void {
    this.#level.levelChanged(level, this.#parts.ctx.model);
  }

  modelChosen({ model, source }: Pick<ModelSelectEvent, "model" | "source">): void {
    const asked = source === "cycle" ? this.#scopedLevel(model) : undefined;
    this.#level.modelChosen(model, this.#parts.pi.getSettings(), asked);
  }

  /** The level that the user has given a model in the models to choose from. */
  #scopedLevel(of: Model<Api> | undefined): ModelThinkingLevel | undefined {
    const { scopedModels } = this.#parts.ctx;
    return scopedModels.find(({ model }) => model.provider === of?.provider && model.id === of.id)
      ?.thinkingLevel;
  }

  /**
   * Follows a changed list, once pi has it.
   *
   * @returns the id of the model that it selected, because pi had none
   */
  async modelsRead(): Promise<string | undefined> {
    this.#level.modelKnown(this.#parts.ctx.model);
    return this.#selectFirst();
  }

  /** Where pi has no model at all, as before a login, takes the default of the settings or the first one. */
  async #selectFirst(): Promise<string | undefined> {
    const { pi, ctx, aiServer, register } = this.#parts;
    const { models } = aiServer;
    const meant = meantModel({ reason: "new", branch: [], settings: pi.getSettings(), args: [] });
    const first = models.find(({ id }) => id === meant?.id) ?? models[0];
    // pi's own stand-in where it has no model.
    const isWithout = ctx.model?.provider === "unknown";
    if (first === undefined || !aiServer.isLive || !isWithout || this.#isSelecting) return undefined;
    this.#isSelecting = true;
    try {
      register();
      const isSelected = await pi.setModel(first);
      // pi ends a login with an error that it has no default model: the notice must come after it.
      await this.#refresh();
      return isSelected ? first.id : undefined;
    } finally {
      this.#isSelecting = false;
    }
  }
}
