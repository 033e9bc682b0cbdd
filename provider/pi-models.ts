/** The server's models as pi's models, and back. Pure. */
import type { Api, Model, ThinkingLevelMap } from "@earendil-works/pi-ai";
import { API, MODELS, PROVIDER_ID } from "../config/set-up.ts";
import type { Config } from "../config.ts";
import { count, flag, type JsonRecord, record, text } from "../lib/json.ts";
import { isKeepingVariable, restoredThinking, type Thinking } from "../lib/thinking.ts";
import type { ModelTraits } from "../messages.ts";
import type { CatalogFacts, Fact, ModelFacts, RememberedFacts, Source } from "../server/models/models.ts";
import { idOf, MAX_MODELS, nameOf } from "../server/models/names.ts";

/** A model of pi's that carries its facts, so that pi's own catalogue store keeps them too. */
export interface ServedModel extends Model<typeof API> {
  aiServer: CatalogFacts;
}

const FREE = { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 };
const NO_LEVELS: ThinkingLevelMap = { minimal: null, low: null, high: null, xhigh: null, max: null };
const LEVELS = ["minimal", "low", "medium", "high", "xhigh", "max"] as const;

/**
 * Which of pi's thinking levels a model has: null leaves one out of `/thinking`, and of the two above high pi offers
 * only those that have a name here.
 */
function levelsOf(thinking: Thinking): ThinkingLevelMap | undefined {
  switch (thinking.kind) {
    case "none":
      return undefined;
    case "switch":
      return NO_LEVELS;
    case "always":
      return { ...NO_LEVELS, off: null };
    case "budget":
      return { xhigh: null, max: "max" };
    case "effort": {
      const { levels } = thinking;
      const map: ThinkingLevelMap =
        levels.includes("none") || thinking.switch !== undefined ? {} : { off: null };
      for (const level of LEVELS) {
        if (!levels.includes(level)) map[level] = null;
        else if (level === "xhigh" || level === "max") map[level] = level;
      }
      return map;
    }
  }
}

/** The address in a model, which ties a stored catalogue to its server. */
export function baseUrlOf(config: Pick<Config, "origin" | "basePath">): string {
  return config.origin + config.basePath;
}

export type ServedFacts = CatalogFacts & Pick<ModelFacts, "id" | "name">;

/** The models of a discovery that pi is offered: all that can be used. */
export function toServedModels(
  found: readonly ModelFacts[],
  config: Pick<Config, "origin" | "basePath">,
): ServedModel[] {
  const baseUrl = baseUrlOf(config);
  return found.flatMap((facts) => (facts.problem === undefined ? [toServedModel(facts, baseUrl)] : []));
}

/** One model for pi. An unknown context is registered as a number too, since pi demands one; its source says so. */
export function toServedModel(facts: ServedFacts, baseUrl: string): ServedModel {
  const { id, name, runsAs, context, outputLimit, vision, thinking, keepsThinking, tools } = facts;
  const { keptBy, needsAlternation, needsShortCallIds, command, refuted } = facts;
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
      keptBy,
      tools,
      needsAlternation,
      needsShortCallIds,
      ...(command === undefined ? {} : { command }),
      ...(refuted === undefined ? {} : { refuted }),
    },
  };
}

/** The models of the default server, until it is first reached. */
export function fallbackModels(config: Config): ServedModel[] {
  if (!config.isDefaultUrl) return [];
  return MODELS.map(({ id, contextWindow }) => unreadModel(id, contextWindow, baseUrlOf(config)));
}

/** What a request takes for granted where nothing was read. */
const UNREAD = {
  keepsThinking: false,
  keptBy: undefined,
  tools: { value: true, source: "default" },
  needsAlternation: false,
  needsShortCallIds: false,
} as const;

/** A model known by its id alone: its server was never reached, or no longer lists it. */
export function unreadModel(id: string, contextWindow: number, baseUrl: string): ServedModel {
  const unread = { source: "default" } as const;
  return toServedModel(
    {
      id,
      name: id,
      runsAs: id,
      context: { value: contextWindow, ...unread },
      outputLimit: { value: Math.min(65_536, contextWindow / 2), ...unread },
      vision: { value: false, ...unread },
      thinking: { value: { kind: "none" }, ...unread },
      ...UNREAD,
    },
    baseUrl,
  );
}

/**
 * The models of a stored catalogue that are this server's, rebuilt from their facts. The store may come from another
 * version or server, so everything is checked.
 *
 * @param baseUrl undefined takes any server's
 */
export function restoredModels(stored: readonly unknown[], baseUrl: string | undefined): ServedModel[] {
  return stored.slice(0, MAX_MODELS).flatMap((value) => {
    const model = record(value);
    const storedUrl = text(model?.baseUrl);
    if (model?.api !== API || storedUrl === undefined) return [];
    if (baseUrl !== undefined && storedUrl !== baseUrl) return [];
    const facts = restoredFacts(model);
    return facts === undefined ? [] : [toServedModel(facts, storedUrl)];
  });
}

function restoredFacts(model: JsonRecord): ServedFacts | undefined {
  const known = record(model.aiServer) ?? {};
  const id = idOf(model.id);
  const { context, vision, thinking, ...rest } = readRemembered(known);
  const outputLimit = restoredFact(known.outputLimit, count);
  if (!(id && context && outputLimit && vision && thinking)) return undefined;
  return {
    id,
    name: nameOf(model.name) ?? id,
    runsAs: idOf(known.runsAs),
    context,
    outputLimit,
    vision,
    thinking,
    ...UNREAD,
    ...rest,
  };
}

export function readRemembered(stored: JsonRecord): RememberedFacts {
  const refuted = record(stored.refuted);
  const read = {
    context: restoredFact(stored.context, count),
    vision: restoredFact(stored.vision, flag),
    thinking: restoredFact(stored.thinking, restoredThinking),
    keepsThinking: flag(stored.keepsThinking),
    keptBy: isKeepingVariable(stored.keptBy) ? stored.keptBy : undefined,
    tools: restoredFact(stored.tools, flag),
    needsAlternation: flag(stored.needsAlternation),
    needsShortCallIds: flag(stored.needsShortCallIds),
    trainedContext: restoredFact(stored.trainedContext, count),
    sizeBytes: restoredFact(stored.sizeBytes, count),
    quantization: restoredFact(stored.quantization, nameOf),
    command: text(stored.command),
    refuted: refuted && { declared: count(refuted.declared), commandLine: count(refuted.commandLine) },
  };
  return Object.fromEntries(Object.entries(read).filter(([, value]) => value !== undefined));
}

/**
 * The facts worth remembering for the time when the server does not report them: those of the model itself and of its
 * command line. Declared ones are declared each time.
 */
export function toRemember(facts: CatalogFacts): RememberedFacts {
  const { context, vision, thinking, tools, command, refuted } = facts;
  const { keepsThinking, keptBy, needsAlternation, needsShortCallIds } = facts;
  const isLive = (fact: Fact<unknown>): boolean => fact.source === "live";
  const isRead = [context, vision, thinking, tools].some(isLive);
  return {
    ...(isLive(context) || context.source === "command line" ? { context, refuted: refuted ?? {} } : {}),
    ...(isLive(vision) ? { vision } : {}),
    ...(isLive(thinking) ? { thinking } : {}),
    ...(isLive(tools) ? { tools } : {}),
    ...(isRead ? { keepsThinking, keptBy, needsAlternation, needsShortCallIds } : {}),
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

/** The facts of a model that pi hands back; none in one from the user's own models.json. */
function factsOf(model: Model<Api>): Partial<CatalogFacts> {
  return "aiServer" in model ? ((record(model.aiServer) ?? {}) as Partial<CatalogFacts>) : {};
}

export function traitsOf(model: Model<Api>): ModelTraits {
  const { thinking, keepsThinking, keptBy, tools, needsAlternation, needsShortCallIds } = factsOf(model);
  return {
    thinking: restoredThinking(thinking?.value) ?? { kind: "none" },
    keepsThinking: flag(keepsThinking) ?? false,
    keptBy: isKeepingVariable(keptBy) ? keptBy : undefined,
    takesTools: flag(tools?.value) ?? true,
    needsAlternation: flag(needsAlternation) ?? false,
    needsShortCallIds: flag(needsShortCallIds) ?? false,
  };
}

/** The notice for a model that does not see tools; undefined for every other. */
export function noToolsNotice(model: Model<Api>): string | undefined {
  const { tools } = factsOf(model);
  if (flag(tools?.value) !== false) return undefined;
  return tools?.source === "declared"
    ? `${model.name} has no tools, as the server's configuration declares: it can only answer, not read, write or run anything.`
    : `${model.name} has no tools, because its chat template does not show them to the model: it can only answer, not read, write or run anything. Choose another model with /model, or another template with --chat-template-file.`;
}

/** The id under which the server lists the running model; undefined where it runs elsewhere. */
export function runsAs(model: Model<Api>): string | undefined {
  return "aiServer" in model ? text(factsOf(model).runsAs) : model.id;
}

/** Whether the window was read somewhere, and not only registered because pi demands a number. */
export function isContextKnown(model: Model<Api>): boolean {
  const source = factsOf(model).context?.source;
  return source !== undefined && source !== "default";
}

/** Facts by the id under which a model runs, for the next discovery. */
export function rememberedIn(models: readonly ServedModel[]): Map<string, RememberedFacts> {
  return new Map(models.map((model) => [processOf(model), model.aiServer]));
}

/** The id of the process that answers for a model; an alias shares it with its model. */
export function processOf({ id, aiServer }: ServedModel): string {
  return aiServer.runsAs ?? id;
}
