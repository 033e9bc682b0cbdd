/** What is known of each model, and from where. Pure: takes parsed answers, gives facts. */
import { type TemplateFacts, templateFacts } from "./chat-template.ts";
import { readCommandLine } from "./command-line.ts";
import { count, flag, type JsonRecord, list, number, record, text, texts } from "./json.ts";
import { idOf, nameOf } from "./names.ts";
import { declaredThinking, type KeepingVariable, type Thinking } from "./thinking.ts";

/** Where a fact was read, the most trusted first. */
export type Source = "live" | "declared" | "command line" | "last seen" | "default";

export interface Fact<T> {
  value: T;
  source: Source;
}

/** `unknown`: the server does not tell. llama-swap before v218 shows a starting model as unloaded. */
export type ModelState = "ready" | "starting" | "stopping" | "unloaded" | "unknown";

/** One entry of `/running`. */
export interface RunningModel {
  id: string;
  state: ModelState;
  commandLine: string | undefined;
  /** Idle seconds after which it is unloaded; 0 never. */
  ttlSeconds: number | undefined;
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

/** Ids of models that cannot chat but are declared as nothing else. */
const NOT_CHAT = /(^|[^a-z0-9])(embed|embedding|embeddings|rerank|reranker|whisper|tts)([^a-z0-9]|$)/i;

const STATES: ReadonlyMap<unknown, ModelState> = new Map([
  ["ready", "ready"],
  ["starting", "starting"],
  ["stopping", "stopping"],
  // llama.cpp's router
  ["loaded", "ready"],
  ["loading", "starting"],
  ["sleeping", "ready"],
]);

/** Reads `/running` of any version: v185 and older tell only model and state. */
export function parseRunning(answer: unknown): RunningModel[] {
  return list(record(answer)?.running).flatMap((entry) => {
    const row = record(entry);
    const id = idOf(row?.model);
    if (row === undefined || id === undefined) return [];
    return [
      {
        id,
        state: STATES.get(row.state) ?? "unknown",
        commandLine: text(row.cmd),
        ttlSeconds: number(row.ttl),
      },
    ];
  });
}

/** Reads llama-server's `/props`. */
export function parseProps(answer: unknown): LiveFacts {
  const props = record(answer);
  return {
    context: count(record(props?.default_generation_settings)?.n_ctx),
    vision: flag(record(props?.modalities)?.vision),
    ...templateFacts(props),
  };
}

function declaredVision(entry: JsonRecord, metadata: JsonRecord | undefined): boolean | undefined {
  const inputs = texts(record(entry.architecture)?.input_modalities);
  if (inputs.length > 0) return inputs.includes("image");
  return flag(record(entry.capabilities)?.vision) ?? flag(metadata?.vision);
}

function isChatModel(id: string, entry: JsonRecord, metadata: JsonRecord | undefined): boolean {
  const declared = flag(metadata?.chat);
  if (declared !== undefined) return declared;
  const inputs = texts(record(entry.architecture)?.input_modalities);
  const outputs = texts(record(entry.architecture)?.output_modalities);
  if ([inputs, outputs].some((modalities) => modalities.length > 0 && !modalities.includes("text")))
    return false;
  const capabilities = record(entry.capabilities) ?? {};
  if (capabilities.reranker === true) return false;
  const otherTask = ["audio_transcriptions", "audio_speech", "image_generation", "image_to_image"].some(
    (task) => capabilities[task] === true,
  );
  if (otherTask && !outputs.includes("text")) return false;
  return outputs.includes("text") || !NOT_CHAT.test(id);
}

const KINDS: ReadonlyMap<unknown, ModelFacts["kind"]> = new Map([
  ["alias", "alias"],
  ["peer", "peer"],
  ["selector", "selector"],
  ["profile", "selector"],
]);

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
  /** Parsed answer of `/v1/models`. */
  models: unknown;
  /** Entries of `/running`; undefined where the server has no such route. */
  running: RunningModel[] | undefined;
  /** By id, only of models that were ready. */
  live: ReadonlyMap<string, LiveFacts>;
}

/**
 * Puts the answers together into one entry for each chat model, in the server's order. An entry without an id, or
 * with an id seen before, is left out.
 *
 * @param lastSeen facts of an earlier discovery by id, for what is not told now
 */
export function modelsOf(discovery: Discovery, lastSeen: ReadonlyMap<string, RememberedFacts>): ModelFacts[] {
  const running = new Map(discovery.running?.map((model) => [model.id, model]));
  const found = new Map<string, ModelFacts>();
  for (const value of list(record(discovery.models)?.data)) {
    const entry = record(value);
    const id = idOf(entry?.id);
    if (entry === undefined || id === undefined || found.has(id)) continue;
    const facts = factsOf(id, entry, running, discovery, lastSeen.get(id));
    if (facts) found.set(id, facts);
  }
  return [...found.values()];
}

function factsOf(
  id: string,
  entry: JsonRecord,
  running: ReadonlyMap<string, RunningModel>,
  discovery: Discovery,
  last: RememberedFacts | undefined,
): ModelFacts | undefined {
  const meta = record(entry.meta);
  const metadata = record(meta?.llamaswap);
  if (!isChatModel(id, entry, metadata)) return undefined;

  const kind = KINDS.get(metadata?.type) ?? "model";
  const runsAs = kind === "model" ? id : kind === "alias" ? (text(metadata?.modelID) ?? id) : undefined;
  const runs = runsAs === undefined ? undefined : running.get(runsAs);
  const command = runs?.commandLine === undefined ? undefined : readCommandLine(runs.commandLine);
  if (command?.isChat === false) return undefined;
  const live = runsAs === undefined ? undefined : discovery.live.get(runsAs);

  const context = best<number>(
    UNKNOWN_CONTEXT,
    [live?.context, "live"],
    [count(entry.context_length) ?? count(meta?.n_ctx) ?? count(metadata?.context_length), "declared"],
    [command?.context, "command line"],
    remembered(last?.context),
  );
  const declaredLimit = count(metadata?.max_output_tokens) ?? count(metadata?.max_tokens);
  return {
    id,
    name: nameOf(entry.name) ?? id,
    state: discovery.running === undefined || runsAs === undefined ? "unknown" : (runs?.state ?? "unloaded"),
    ttlSeconds: runs?.ttlSeconds,
    kind,
    runsAs,
    context,
    outputLimit: best(Math.min(MAX_OUTPUT, Math.ceil(context.value / 2)), [declaredLimit, "declared"]),
    vision: best(
      false,
      [live?.vision, "live"],
      [declaredVision(entry, metadata), "declared"],
      remembered(last?.vision),
    ),
    thinking: best<Thinking>(
      { kind: "none" },
      [declaredThinking(metadata, live?.thinking ?? last?.thinking.value), "declared"],
      [live?.thinking, "live"],
      remembered(last?.thinking),
    ),
    keepsThinking: flag(metadata?.keeps_thinking) ?? live?.keepsThinking ?? last?.keepsThinking ?? false,
    keptBy: live === undefined ? last?.keptBy : live.keptBy,
    // What the server lists a model for is less than what its template was seen to do, its owner's word is more.
    tools: best(
      true,
      [flag(metadata?.tools), "declared"],
      [live?.tools, "live"],
      [flag(record(entry.capabilities)?.function_calling), "declared"],
      remembered(last?.tools),
    ),
    needsAlternation: live?.needsAlternation ?? last?.needsAlternation ?? false,
    needsShortCallIds: live?.needsShortCallIds ?? last?.needsShortCallIds ?? false,
  };
}
