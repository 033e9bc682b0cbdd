/** The server's models as pi's models, and back. Pure. */
import type { Api, Model, ThinkingLevelMap } from "@earendil-works/pi-ai";
import { type Config, MODELS, PROVIDER_ID } from "./config.ts";
import type { ModelTraits } from "./messages.ts";
import { count, flag, type JsonRecord, list, record, text } from "./server/json.ts";
import type { Fact, LearntFacts, ModelFacts, RememberedFacts, Source, Thinking } from "./server/models.ts";
import { idOf, nameOf } from "./server/names.ts";

/** The name of this extension's protocol in pi; no other code of pi's knows it. */
export const API = "ai-server";

/** A model of pi's that carries what is known of it, so that pi's own catalogue store keeps that too. */
export interface ServedModel extends Model<typeof API> {
  aiServer: RememberedFacts;
}

const FREE = { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 };
const NO_LEVELS: ThinkingLevelMap = { minimal: null, low: null, high: null, xhigh: null, max: null };
const LEVELS = ["minimal", "low", "medium", "high", "xhigh", "max"] as const;

/** Which of pi's thinking levels a model has: null leaves one out of `/thinking`. */
function levelsOf(thinking: Thinking): ThinkingLevelMap | undefined {
  switch (thinking.kind) {
    case "none":
      return undefined;
    case "switch":
      return NO_LEVELS;
    case "always":
      return { ...NO_LEVELS, off: null };
    case "budget":
      return { xhigh: null, max: null };
    case "effort": {
      const map: ThinkingLevelMap = thinking.levels.includes("none") ? {} : { off: null };
      for (const level of LEVELS) if (!thinking.levels.includes(level)) map[level] = null;
      return map;
    }
  }
}

/** The address as it stands in a model, by which a stored catalogue is known to be this server's. */
export function baseUrlOf(config: Pick<Config, "origin" | "basePath">): string {
  return config.origin + config.basePath;
}

/** What a model of pi's is made of. */
type ServedFacts = RememberedFacts & Pick<ModelFacts, "id" | "name">;

/** One model for pi. An unknown context is registered as a number all the same; its source says so. */
export function toServedModel(facts: ServedFacts, config: Pick<Config, "origin" | "basePath">): ServedModel {
  return servedAt(baseUrlOf(config), facts);
}

/** The models of a discovery that pi is offered: all that can be used. */
export function toServedModels(
  found: readonly ModelFacts[],
  config: Pick<Config, "origin" | "basePath">,
): ServedModel[] {
  return found.flatMap((facts) => (facts.problem === undefined ? [toServedModel(facts, config)] : []));
}

function servedAt(baseUrl: string, facts: ServedFacts): ServedModel {
  const { id, name, runsAs, context, outputLimit, vision, thinking, keepsThinking, command, refuted } = facts;
  const levels = levelsOf(thinking.value);
  return {
    id,
    name,
    api: API,
    provider: PROVIDER_ID,
    baseUrl,
    reasoning: thinking.value.kind !== "none",
    ...(levels === undefined ? {} : { thinkingLevelMap: levels }),
    input: vision.value ? ["text", "image"] : ["text"],
    cost: FREE,
    contextWindow: context.value,
    maxTokens: outputLimit.value,
    aiServer: {
      runsAs,
      context,
      outputLimit,
      vision,
      thinking,
      keepsThinking,
      ...(command === undefined ? {} : { command }),
      ...(refuted === undefined ? {} : { refuted }),
    },
  };
}

/** The models that stand for the default server as long as it was never reached. */
export function fallbackModels(config: Config): ServedModel[] {
  if (!config.isDefaultUrl) return [];
  const unread = { source: "default" } as const;
  return MODELS.map(({ id, contextWindow }) =>
    toServedModel(
      {
        id,
        name: id,
        runsAs: id,
        context: { value: contextWindow, ...unread },
        outputLimit: { value: Math.min(65_536, contextWindow / 2), ...unread },
        vision: { value: false, ...unread },
        thinking: { value: { kind: "none" }, ...unread },
        keepsThinking: false,
      },
      config,
    ),
  );
}

/**
 * The models of a stored catalogue that are this server's, made anew from the facts in them. What stands in the
 * store came from an earlier version or another server: everything is checked.
 *
 * @param baseUrl undefined takes any server's
 */
export function restoredModels(stored: readonly unknown[], baseUrl: string | undefined): ServedModel[] {
  return stored.flatMap((value) => {
    const model = record(value);
    const storedUrl = text(model?.baseUrl);
    if (model?.api !== API || storedUrl === undefined) return [];
    if (baseUrl !== undefined && storedUrl !== baseUrl) return [];
    const facts = restoredFacts(model);
    return facts === undefined ? [] : [servedAt(storedUrl, facts)];
  });
}

function restoredFacts(model: JsonRecord): ServedFacts | undefined {
  const known = record(model.aiServer) ?? {};
  const id = idOf(model.id);
  const { context, vision, thinking, keepsThinking = false, ...rest } = readLearnt(known);
  const outputLimit = restoredFact(known.outputLimit, count);
  if (!(id && context && outputLimit && vision && thinking)) return undefined;
  const runsAs = idOf(known.runsAs);
  const name = nameOf(model.name) ?? id;
  return { id, name, runsAs, context, outputLimit, vision, thinking, keepsThinking, ...rest };
}

/** Facts out of a file, as far as they are understood. */
export function readLearnt(stored: JsonRecord): LearntFacts {
  const refuted = record(stored.refuted);
  const read = {
    context: restoredFact(stored.context, count),
    vision: restoredFact(stored.vision, flag),
    thinking: restoredFact(stored.thinking, (value) => (isThinking(value) ? value : undefined)),
    keepsThinking: flag(stored.keepsThinking),
    trainedContext: restoredFact(stored.trainedContext, count),
    sizeBytes: restoredFact(stored.sizeBytes, count),
    quantization: restoredFact(stored.quantization, nameOf),
    command: text(stored.command),
    refuted: refuted && { declared: count(refuted.declared), commandLine: count(refuted.commandLine) },
  };
  return Object.fromEntries(Object.entries(read).filter(([, value]) => value !== undefined));
}

/**
 * What is worth keeping of a model's facts for the time when nobody tells them: what it told itself, and what its
 * command line or the config file told. What is declared is declared each time.
 */
export function learntFrom({
  context,
  vision,
  thinking,
  keepsThinking,
  command,
  refuted,
}: RememberedFacts): LearntFacts {
  const isLive = (fact: Fact<unknown>): boolean => fact.source === "live";
  return {
    ...(isLive(context) || context.source === "command line" ? { context, refuted: refuted ?? {} } : {}),
    ...(isLive(vision) ? { vision } : {}),
    ...(isLive(thinking) ? { thinking, keepsThinking } : {}),
    ...(command === undefined ? {} : { command }),
  };
}

const SOURCES: readonly Source[] = [
  "live",
  "declared",
  "command line",
  "config file",
  "last seen",
  "default",
];

function restoredFact<T>(stored: unknown, read: (value: unknown) => T | undefined): Fact<T> | undefined {
  const fact = record(stored);
  const value = read(fact?.value);
  const source = SOURCES.find((known) => known === fact?.source);
  return value === undefined || source === undefined ? undefined : { value, source };
}

/** What is known of a model that pi hands back; a model made by somebody else's configuration knows nothing. */
function factsOf(model: Model<Api>): Partial<RememberedFacts> {
  return "aiServer" in model ? ((record(model.aiServer) ?? {}) as Partial<RememberedFacts>) : {};
}

function isThinking(value: unknown): value is Thinking {
  const thinking = record(value);
  if (thinking?.kind === "effort") return list(thinking.levels).length > 0;
  return ["none", "switch", "budget", "always"].includes(text(thinking?.kind) ?? "");
}

/** The traits that a request depends on. */
export function traitsOf(model: Model<Api>): ModelTraits {
  const { thinking, keepsThinking } = factsOf(model);
  return {
    thinking: isThinking(thinking?.value) ? thinking.value : { kind: "none" },
    keepsThinking: flag(keepsThinking) ?? false,
  };
}

/** The id under which the server lists the running model; undefined where it runs elsewhere. */
export function runsAs(model: Model<Api>): string | undefined {
  return "aiServer" in model ? text(factsOf(model).runsAs) : model.id;
}

/** Whether the window was read somewhere, or only registered because pi wants a number. */
export function isContextKnown(model: Model<Api>): boolean {
  const source = factsOf(model).context?.source;
  return source !== undefined && source !== "default";
}

/** Facts by the id under which a model runs, for the next discovery. */
export function rememberedFacts(models: readonly ServedModel[]): Map<string, LearntFacts> {
  return new Map(models.map((model) => [processOf(model), model.aiServer]));
}

/** The id of the process that answers for a model; an alias shares it with its model. */
export function processOf({ id, aiServer }: ServedModel): string {
  return aiServer.runsAs ?? id;
}

/** `32k`, `128k`, `1M`: tokens as short as people say them; round numbers by 1000, powers of two by 1024. */
export function shortTokens(tokens: number): string {
  if (tokens < 1000) return String(tokens);
  const unit = tokens % 1000 !== 0 && tokens % 1024 === 0 ? 1024 : 1000;
  const thousands = tokens / unit;
  return thousands >= unit ? `${round(thousands / unit)}M` : `${round(thousands)}k`;
}

function round(value: number): string {
  return String(value < 10 ? Math.round(value * 10) / 10 : Math.round(value));
}

/** What a refresh changed, one line each: added, gone, another context window. */
export function changesBetween(before: readonly ServedModel[], after: readonly ServedModel[]): string[] {
  const old = new Map(before.map((model) => [model.id, model]));
  const lines = after.flatMap((model) => {
    const was = old.get(model.id);
    return was === undefined ? [`${model.id}: added`] : windowChange(was, model);
  });
  const ids = new Set(after.map((model) => model.id));
  for (const model of before) if (!ids.has(model.id)) lines.push(`${model.id}: gone`);
  return lines;
}

function windowChange(was: ServedModel, model: ServedModel): string[] {
  const [before, after] = [was.contextWindow, model.contextWindow];
  if (before === after) return [];
  const short = [before, after].map(shortTokens);
  const [from, to] = short[0] === short[1] ? [before, after] : short;
  return [`${model.id}: context ${from} → ${to}`];
}

/** Models that have another window than before, a line each: `Qwen: context 32k → 128k`. */
export function windowChanges(before: readonly ServedModel[], after: readonly ServedModel[]): string[] {
  const old = new Map(before.map((model) => [model.id, model]));
  return after.flatMap((model) => {
    const was = old.get(model.id);
    return was === undefined ? [] : windowChange(was, model);
  });
}

/**
 * The models with the window that a running one told of itself.
 *
 * @param id of the model that was asked
 * @returns all of them, and those that are others now: it, and what shares its process
 */
export function withWindow(
  models: readonly ServedModel[],
  id: string,
  tokens: number,
): { models: readonly ServedModel[]; corrected: readonly ServedModel[] } {
  const asked = models.find((model) => model.id === id);
  const corrected = new Map<string, ServedModel>();
  if (asked === undefined || count(tokens) === undefined) return { models, corrected: [] };
  for (const model of models) {
    const { context, refuted } = model.aiServer;
    const isKnown = context.source === "live" && context.value === tokens;
    if (processOf(model) !== processOf(asked) || isKnown) continue;
    const wrong =
      context.source === "declared"
        ? { declared: context.value }
        : context.source === "command line"
          ? { commandLine: context.value }
          : {};
    corrected.set(model.id, {
      ...model,
      contextWindow: tokens,
      maxTokens: Math.min(model.maxTokens, Math.ceil(tokens / 2)),
      aiServer: {
        ...model.aiServer,
        context: { value: tokens, source: "live" },
        refuted: context.value === tokens ? (refuted ?? {}) : { ...refuted, ...wrong },
      },
    });
  }
  return {
    models: models.map((model) => corrected.get(model.id) ?? model),
    corrected: [...corrected.values()],
  };
}

/** Whether pi must be told again, because something that it copied into the session is another now. */
export function isChanged(before: readonly ServedModel[], after: readonly ServedModel[]): boolean {
  return JSON.stringify(before) !== JSON.stringify(after);
}
