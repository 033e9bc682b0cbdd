/** What is known of each model, and from where. Pure: takes parsed answers, gives facts. */
import { type TemplateFacts, templateFacts } from "./chat-template.ts";
import { readCommandLine } from "./command-line.ts";
import { count, flag, record } from "./json.ts";
import type { ListedModel } from "./listed-model.ts";
import { declaredThinking, type KeepingVariable, type Thinking } from "./thinking.ts";

/** Where a fact was read, the most trusted first. */
export type Source = "live" | "declared" | "command line" | "last seen" | "default";

export interface Fact<T> {
  value: T;
  source: Source;
}

/** `unknown`: the server does not tell. llama-swap before v218 shows a starting model as unloaded. */
export type ModelState = "ready" | "starting" | "stopping" | "unloaded" | "unknown";

/** One model that is loaded, or on its way. */
export interface RunningModel {
  id: string;
  state: ModelState;
  commandLine: string | undefined;
  /** Idle seconds after which it is unloaded; 0 never. */
  ttlSeconds: number | undefined;
  /** Loaded, but its weights are not in memory: the next request brings them back. */
  isAsleep?: boolean;
}

/** What a loaded model says of itself in `/props`. */
export interface LiveFacts extends TemplateFacts {
  context: number | undefined;
  vision: boolean | undefined;
}

/** One model that can be chatted with. */
export interface ModelFacts {
  /** As the server spells it. */
  id: string;
  name: string;
  state: ModelState;
  ttlSeconds: number | undefined;
  /** A peer runs on another server, a selector chooses among models for each request. */
  kind: "model" | "alias" | "peer" | "selector";
  /** The id under which `/running` lists it; undefined for peers and selectors, which are never there. */
  runsAs: string | undefined;
  /** Why it cannot be used, in a few words; undefined where it can. */
  problem: string | undefined;
  /** Tokens of prompt and answer together that one request may use. */
  context: Fact<number>;
  /** Tokens that one answer may have. */
  outputLimit: Fact<number>;
  vision: Fact<boolean>;
  thinking: Fact<Thinking>;
  /** Whether earlier thinking is sent back, because the chat template reads it. */
  keepsThinking: boolean;
  /** The variable of the chat template that keeps the thinking of all earlier turns. */
  keptBy: KeepingVariable | undefined;
  /** Whether the model is shown the tools that a request brings. */
  tools: Fact<boolean>;
  /** Whether its chat template refuses two messages of the user with no answer between them. */
  needsAlternation: boolean;
  /** Whether its chat template refuses ids of tool calls that are not nine letters and digits. */
  needsShortCallIds: boolean;
}

/** Facts of an earlier start, as far as they are worth keeping. */
export type RememberedFacts = Pick<
  ModelFacts,
  | "runsAs"
  | "context"
  | "outputLimit"
  | "vision"
  | "thinking"
  | "keepsThinking"
  | "keptBy"
  | "tools"
  | "needsAlternation"
  | "needsShortCallIds"
>;

export const UNKNOWN_CONTEXT = 32_768;
const MAX_OUTPUT = 65_536;

/** Reads llama-server's `/props`. */
export function parseProps(answer: unknown): LiveFacts {
  const props = record(answer);
  return {
    context: count(record(props?.default_generation_settings)?.n_ctx),
    vision: flag(record(props?.modalities)?.vision),
    ...templateFacts(props),
  };
}

/** The first value that is known, with its source. */
function best<T>(fallback: T, ...candidates: [T | undefined, Source][]): Fact<T> {
  for (const [value, source] of candidates) if (value !== undefined) return { value, source };
  return { value: fallback, source: "default" };
}

function remembered<T>(fact: Fact<T> | undefined): [T | undefined, Source] {
  return [fact?.source === "default" ? undefined : fact?.value, "last seen"];
}

/** Everything that discovery read, not yet put together. */
export interface Discovery {
  listed: readonly ListedModel[];
  /** Undefined where the server does not tell. */
  running: readonly RunningModel[] | undefined;
  /** By id, only of models that were ready. */
  live: ReadonlyMap<string, LiveFacts>;
}

/**
 * Puts the answers together into one entry for each chat model, in the server's order.
 *
 * @param lastSeen facts of an earlier discovery by id, for what is not told now
 */
export function modelsOf(discovery: Discovery, lastSeen: ReadonlyMap<string, RememberedFacts>): ModelFacts[] {
  const running = new Map(discovery.running?.map((model) => [model.id, model]));
  return discovery.listed.flatMap((listed) => {
    const facts = factsOf(listed, running, discovery, lastSeen.get(listed.id));
    return facts === undefined ? [] : [facts];
  });
}

function factsOf(
  listed: ListedModel,
  running: ReadonlyMap<string, RunningModel>,
  discovery: Discovery,
  last: RememberedFacts | undefined,
): ModelFacts | undefined {
  if (!listed.isChat) return undefined;
  const { id, name, kind, runsAs, declared, problem } = listed;
  const runs = runsAs === undefined ? undefined : running.get(runsAs);
  const commandLine = runs?.commandLine ?? listed.commandLine;
  const command = commandLine === undefined ? undefined : readCommandLine(commandLine);
  if (command?.isChat === false) return undefined;
  const live = runsAs === undefined ? undefined : discovery.live.get(runsAs);

  const context = best<number>(
    UNKNOWN_CONTEXT,
    [live?.context, "live"],
    [declared.context, "declared"],
    [command?.context, "command line"],
    remembered(last?.context),
  );
  return {
    id,
    name,
    state: discovery.running === undefined || runsAs === undefined ? "unknown" : (runs?.state ?? "unloaded"),
    ttlSeconds: runs?.ttlSeconds,
    kind,
    runsAs,
    problem,
    context,
    outputLimit: best(Math.min(MAX_OUTPUT, Math.ceil(context.value / 2)), [declared.outputLimit, "declared"]),
    vision: best(false, [live?.vision, "live"], [declared.vision, "declared"], remembered(last?.vision)),
    thinking: best<Thinking>(
      { kind: "none" },
      [declaredThinking(declared.metadata, live?.thinking ?? last?.thinking.value), "declared"],
      [live?.thinking, "live"],
      remembered(last?.thinking),
    ),
    keepsThinking:
      flag(declared.metadata?.keeps_thinking) ?? live?.keepsThinking ?? last?.keepsThinking ?? false,
    keptBy: live === undefined ? last?.keptBy : live.keptBy,
    // What the server lists a model for is less than what its template was seen to do, its owner's word is more.
    tools: best(
      true,
      [flag(declared.metadata?.tools), "declared"],
      [live?.tools, "live"],
      [declared.tools, "declared"],
      remembered(last?.tools),
    ),
    needsAlternation: live?.needsAlternation ?? last?.needsAlternation ?? false,
    needsShortCallIds: live?.needsShortCallIds ?? last?.needsShortCallIds ?? false,
  };
}
