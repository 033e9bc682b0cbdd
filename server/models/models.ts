/** What is known of each model, and from where. Pure: takes parsed answers, gives facts. */

import type { ModelState } from "../../activity/load-state.ts";
import { count, flag, record } from "../../lib/json.ts";
import { declaredThinking, type KeepingVariable, type Thinking } from "../../lib/thinking.ts";
import { type TemplateFacts, templateFacts } from "./chat-template.ts";
import { commandDigest, readCommandLine } from "./command-line.ts";
import type { ListedModel } from "./listed-model.ts";
import { fileTypeOf } from "./names.ts";

/** Where a fact was read, the most trusted first. */
export type Source = "live" | "declared" | "command line" | "config file" | "last seen" | "default";

export interface Fact<T> {
  value: T;
  source: Source;
}

export type { ModelState };

/** One model that is loaded, or on its way. */
export interface RunningModel {
  id: string;
  state: ModelState;
  commandLine?: string | undefined;
  /** Idle seconds after which it is unloaded; 0 never. */
  ttlSeconds?: number | undefined;
  /** Loaded, but its weights are not in memory: the next request brings them back. */
  isAsleep?: boolean;
}

/** What a loaded model says of itself in `/props`. */
export interface LiveFacts extends TemplateFacts {
  context?: number | undefined;
  vision?: boolean | undefined;
  /** In the server's words: `Q8_0`, `all F32`. */
  quantization?: string | undefined;
}

/** One model that can be chatted with. */
export interface ModelFacts
  extends Pick<
    ListedModel,
    "id" | "name" | "kind" | "runsAs" | "problem" | "isFound" | "isDownloaded" | "failure"
  > {
  state: ModelState;
  ttlSeconds?: number | undefined;
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
  /** Tokens that it was trained for: never the window itself. */
  trainedContext: Fact<number> | undefined;
  sizeBytes: Fact<number> | undefined;
  quantization: Fact<string> | undefined;
  /** SHA-256 of the command line that it has, or had when these facts were read; undefined where none was seen. */
  command: string | undefined;
  /** Windows that the running model itself has shown to be wrong. */
  refuted: RefutedWindows;
}

/**
 * What other sources said of a window when the running model reported another one: as long as they say the same, they
 * are wrong. A declared window is often that of all slots together, and `--ctx-size` more than the model or the
 * memory gives.
 */
interface RefutedWindows {
  readonly declared?: number | undefined;
  readonly commandLine?: number | undefined;
}

/** Facts of an earlier start, as far as they are worth keeping. */
export type CatalogFacts = Pick<
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
> &
  Partial<Pick<ModelFacts, "command" | "refuted">>;

/** What earlier discoveries found of a model; what it showed under another command line does not count. */
export type RememberedFacts = Partial<
  CatalogFacts & Pick<ModelFacts, "trainedContext" | "sizeBytes" | "quantization">
>;

export const UNKNOWN_CONTEXT = 32_768;
const MAX_OUTPUT = 65_536;

/** Reads llama-server's `/props`. */
export function parseProps(answer: unknown): LiveFacts {
  const props = record(answer);
  return {
    context: count(record(props?.default_generation_settings)?.n_ctx),
    vision: flag(record(props?.modalities)?.vision),
    quantization: fileTypeOf(props?.model_ftype),
    ...templateFacts(props),
  };
}

type Candidate<T> = [T | undefined, Source];

/** The first value that is known, with its source. */
function firstKnown<T>(...candidates: Candidate<T>[]): Fact<T> | undefined {
  for (const [value, source] of candidates) if (value !== undefined) return { value, source };
  return undefined;
}

function best<T>(fallback: T, ...candidates: Candidate<T>[]): Fact<T> {
  return firstKnown(...candidates) ?? { value: fallback, source: "default" };
}

function remembered<T>(fact: Fact<T> | undefined): Candidate<T> {
  if (fact === undefined || fact.source === "default") return [undefined, "default"];
  return [fact.value, fact.source === "config file" ? "config file" : "last seen"];
}

/** A fact that the model said itself, now or at an earlier time. */
function saidItself<T>(fact: Fact<T> | undefined): Fact<T> | undefined {
  return fact?.source === "live" || fact?.source === "last seen" ? fact : undefined;
}

/** What was remembered, as far as it holds for the command line that the model has now. */
function stillValid(
  before: RememberedFacts | undefined,
  command: string | undefined,
): RememberedFacts | undefined {
  const isOther = command !== undefined && before?.command !== undefined && before.command !== command;
  return isOther ? undefined : before;
}

function unless(refuted: number | undefined, claimed: number | undefined): number | undefined {
  return claimed === refuted ? undefined : claimed;
}

/** Everything that discovery read, not yet put together. */
export interface Discovery {
  listed: readonly ListedModel[];
  /** Undefined where the server does not report it. */
  running: readonly RunningModel[] | undefined;
  /** By id, only of models that were ready. */
  live: ReadonlyMap<string, LiveFacts>;
}

/**
 * Puts the answers together into one entry for each chat model, in the server's order.
 *
 * @param before facts of earlier discoveries by the id under which a model runs, for what is not reported now
 */
export function modelsOf(discovery: Discovery, before: ReadonlyMap<string, RememberedFacts>): ModelFacts[] {
  const running = new Map(discovery.running?.map((model) => [model.id, model]));
  return discovery.listed.flatMap((listed) => factsOf(listed, running, discovery, before) ?? []);
}

/** The ids of the processes that are ready and answer for a chat model: no other is asked for its facts. */
export function processesOf(listed: readonly ListedModel[], running: readonly RunningModel[]): string[] {
  const chat = new Set(
    listed.flatMap(({ isChat, runsAs }) => (isChat && runsAs !== undefined ? [runsAs] : [])),
  );
  return running
    .filter(({ id, state }) => state === "ready" && chat.has(id))
    .filter(({ commandLine }) => commandLine === undefined || readCommandLine(commandLine).isChat)
    .map(({ id }) => id);
}

function factsOf(
  listed: ListedModel,
  running: ReadonlyMap<string, RunningModel>,
  discovery: Discovery,
  before: ReadonlyMap<string, RememberedFacts>,
): ModelFacts | undefined {
  if (!listed.isChat) return undefined;
  const { id, name, kind, runsAs, declared, problem, isFound, isDownloaded, failure } = listed;
  const runs = runsAs === undefined ? undefined : running.get(runsAs);
  const commandLine = runs?.commandLine ?? listed.commandLine;
  const command = commandLine === undefined ? undefined : readCommandLine(commandLine);
  if (command?.isChat === false) return undefined;
  const live = runsAs === undefined ? undefined : discovery.live.get(runsAs);

  const digest = commandLine === undefined ? undefined : commandDigest(commandLine);
  const last = stillValid(before.get(runsAs ?? id), digest);
  // The windows that the running model contradicts.
  const refuted =
    live?.context === undefined
      ? (last?.refuted ?? {})
      : {
          declared: unless(live.context, declared.context),
          commandLine: unless(live.context, command?.context),
        };
  const isSame = runs?.state === "ready" && digest !== undefined && last?.command === digest;
  const context = best<number>(
    UNKNOWN_CONTEXT,
    [live?.context, "live"],
    // What it said itself, when it ran with this very command line.
    isSame ? remembered(saidItself(last?.context)) : [undefined, "default"],
    [unless(refuted.declared, declared.context), "declared"],
    [unless(refuted.commandLine, command?.context), "command line"],
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
    ...(isFound === undefined ? {} : { isFound }),
    ...(isDownloaded === undefined ? {} : { isDownloaded }),
    failure,
    context,
    outputLimit: best(Math.min(MAX_OUTPUT, Math.ceil(context.value / 2)), [declared.outputLimit, "declared"]),
    vision: best(
      false,
      [live?.vision, "live"],
      [declared.vision, "declared"],
      [command?.vision, "command line"],
      remembered(last?.vision),
    ),
    thinking: best<Thinking>(
      { kind: "none" },
      [declaredThinking(declared.metadata, live?.thinking ?? last?.thinking?.value), "declared"],
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
    trainedContext: firstKnown([declared.trainedContext, "declared"], remembered(last?.trainedContext)),
    sizeBytes: firstKnown([declared.sizeBytes, "declared"], remembered(last?.sizeBytes)),
    quantization: firstKnown(
      [live?.quantization, "live"],
      [declared.quantization, "declared"],
      [command?.quantization, "command line"],
      remembered(last?.quantization),
    ),
    command: digest ?? last?.command,
    refuted,
  };
}
