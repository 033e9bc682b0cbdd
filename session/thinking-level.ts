/** Brings back the thinking level that pi took away while a model was not known to think. */
import type { Api, Model, ModelThinkingLevel } from "@earendil-works/pi-ai";
import type { ExtensionAPI, ExtensionContext } from "@earendil-works/pi-coding-agent";
import { PROVIDER_ID } from "../config.ts";
import { record } from "../lib/json.ts";

type Branch = ReturnType<ExtensionContext["sessionManager"]["getBranch"]>;
type Pi = Pick<ExtensionAPI, "appendEntry" | "getThinkingLevel" | "setThinkingLevel">;

/** A session's own entry that carries a level which waits for its model; it holds no text of the user's. */
const ENTRY = "ai-server-thinking";

const LEVELS: readonly ModelThinkingLevel[] = ["off", "minimal", "low", "medium", "high", "xhigh", "max"];

/** pi's level where the user has set none (pi's defaults.js). */
const PI_DEFAULT: ModelThinkingLevel = "medium";

function levelOf(value: unknown): ModelThinkingLevel | undefined {
  return LEVELS.find((level) => level === value);
}

/** What the settings say for a model, in pi's order: its own level, else the one for all. */
function settled(model: Model<Api>, settings: unknown): ModelThinkingLevel | undefined {
  const { modelThinkingLevels, defaultThinkingLevel } = record(settings) ?? {};
  const own = record(modelThinkingLevels)?.[`${model.provider}/${model.id}`];
  return levelOf(own) ?? levelOf(defaultThinkingLevel);
}

/** The level that waits in a stored session; none once a level or model was chosen after it. */
function waitingIn(branch: Branch, id: string): ModelThinkingLevel | undefined {
  for (const entry of branch.toReversed()) {
    if (entry.type === "model_change" || entry.type === "thinking_level_change") return undefined;
    if (entry.type !== "custom" || entry.customType !== ENTRY) continue;
    const data = record(entry.data);
    return data?.model === id ? levelOf(data.level) : undefined;
  }
  return undefined;
}

/** Whether pi lets a session on this model have no level but off. */
function isWithoutLevels(model: Model<Api> | undefined): model is Model<Api> {
  return model?.provider === PROVIDER_ID && !model.reasoning;
}

/** Whether the model's thinking may still become known: it was read nowhere. */
function isUnread(model: Model<Api>): boolean {
  const facts = "aiServer" in model ? record(model.aiServer) : undefined;
  return record(facts?.thinking)?.source === "default";
}

/**
 * The thinking level of one session.
 *
 * pi sets the level to off for a model that is not registered as one that thinks, and stays there when the model
 * turns out to think. This keeps what the user had, gives it back then, and leaves an off that the user chose.
 */
export class ThinkingLevel {
  readonly #pi: Pi;
  /** The level that the session would have on a model with every level. */
  #wanted: ModelThinkingLevel = PI_DEFAULT;
  #hasBegun = false;
  #waiting: { id: string; level: ModelThinkingLevel } | undefined;

  constructor(pi: Pi) {
    this.#pi = pi;
  }

  /**
   * Begins with a session, on the model that it has now.
   *
   * @param branch the session's entries as pi found them
   * @param asked the level that the user asked for, on the command line or with the model
   * @param isPlaced whether this extension has just selected the model, so that pi's level is the settings'
   */
  begin(start: {
    model: Model<Api> | undefined;
    branch: Branch;
    settings: unknown;
    asked: string | undefined;
    isContinued: boolean;
    isPlaced: boolean;
  }): void {
    const { model, branch, settings, isContinued, isPlaced } = start;
    this.#hasBegun = true;
    this.#wanted = this.#pi.getThinkingLevel();
    if (model?.provider !== PROVIDER_ID) return;
    const recorded = branch.findLast((entry) => entry.type === "thinking_level_change");
    const stored = isContinued ? levelOf(recorded?.thinkingLevel) : undefined;
    const left = waitingIn(branch, model.id);
    const level = levelOf(start.asked) ?? left ?? stored ?? settled(model, settings) ?? PI_DEFAULT;
    if (isWithoutLevels(model)) {
      this.#wanted = level;
      this.#wait(model, isPlaced || left === undefined);
    } else if ((isPlaced || left !== undefined) && level !== this.#wanted) this.#pi.setThinkingLevel(level);
  }

  /** Follows pi's change of the level: an off on a model without levels is pi's own and not the user's. */
  levelChanged(level: ModelThinkingLevel, model: Model<Api> | undefined): void {
    if (level === "off" && isWithoutLevels(model)) return;
    this.#wanted = level;
    this.#waiting = undefined;
  }

  /**
   * Follows the choice of another model, for which pi takes the level of its settings.
   *
   * @param asked the level that was chosen together with the model
   */
  modelChosen(model: Model<Api>, settings: unknown, asked?: ModelThinkingLevel): void {
    if (!this.#hasBegun) return;
    this.#waiting = undefined;
    this.#wanted = asked ?? settled(model, settings) ?? this.#wanted;
    this.#wait(model, true);
  }

  /** Gives the level back once its model is known to think. */
  modelKnown(model: Model<Api> | undefined): void {
    const waiting = this.#waiting;
    if (waiting === undefined || model?.provider !== PROVIDER_ID || model.id !== waiting.id) return;
    if (!model.reasoning) return;
    this.#waiting = undefined;
    if (this.#pi.getThinkingLevel() === "off") this.#pi.setThinkingLevel(waiting.level);
  }

  #wait(model: Model<Api>, isToBeKept: boolean): void {
    if (!isWithoutLevels(model) || this.#wanted === "off") return;
    this.#waiting = { id: model.id, level: this.#wanted };
    // A later start would find an off that looks like the user's own.
    if (isToBeKept && isUnread(model)) this.#pi.appendEntry(ENTRY, { model: model.id, level: this.#wanted });
  }
}
