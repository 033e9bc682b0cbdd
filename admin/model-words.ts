/** What is known of models, as a table, line by line and as data. Pure. */

import { shortTokens, spent } from "../lib/figures.ts";
import { cleanText } from "../lib/text.ts";
import { maskText } from "../masking/masking.ts";
import { readCommandLine } from "../server/models/command-line.ts";
import type { ModelDescription } from "../server/models/listed-model.ts";
import type { Fact, ModelFacts, ModelState, RunningModel } from "../server/models/models.ts";
import { type Cell, type Column, table } from "../ui/layout.ts";
import { PLAIN, type Style } from "../ui/result.ts";

const COLUMNS: readonly Column[] = [
  { title: "Model", priority: 0 },
  { title: "State", priority: 0 },
  { title: "Context", priority: 1 },
  { title: "From", priority: 4 },
  { title: "Unloads", priority: 3 },
  { title: "Vision", priority: 5 },
  { title: "Thinking", priority: 6 },
];

/** The column of the state. */
const STATE = 1;

const UNITS = ["B", "kB", "MB", "GB", "TB"] as const;

export const UNKNOWN = "–";

const COMMAND_LENGTH = 4000;

/** After how long without a request a model is unloaded. */
export function idleTime(ttlSeconds: number | undefined): string {
  if (ttlSeconds === undefined) return "";
  if (ttlSeconds <= 0) return "never";
  return ttlSeconds % 60 === 0 ? `${ttlSeconds / 60} min idle` : `${ttlSeconds} s idle`;
}

type StateFacts = Pick<ModelFacts, "state"> & Partial<Pick<ModelFacts, "problem" | "failure">>;

/** How the last process of a model ended, where that is why it is not loaded. */
function failureOf({ state, failure }: StateFacts): ModelFacts["failure"] {
  return state === "unloaded" ? failure : undefined;
}

/** The state, or why there is none. */
export function stateWords(model: ModelFacts): string {
  const { kind, state, problem } = model;
  if (problem !== undefined) return `[${problem}]`;
  if (failureOf(model) !== undefined) return "failed";
  if (kind === "peer" || kind === "selector") return kind;
  return state === "unknown" ? UNKNOWN : state;
}

/** Bytes as people say them, by 1000 as files are sold: `21.4 GB`. */
function bytesWords(bytes: number): string {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** power;
  return `${value < 100 && power > 0 ? value.toFixed(1) : Math.round(value)} ${UNITS[power]}`;
}

function thinkingWords({ thinking: { value } }: ModelFacts): string {
  switch (value.kind) {
    case "none":
      return "no";
    case "switch":
      return "on/off";
    case "effort": {
      const isOptional = value.switch !== undefined && !value.levels.includes("none");
      return (isOptional ? ["off", ...value.levels] : value.levels).join("/");
    }
    case "budget":
      return "budget";
    case "always":
      return "always";
  }
}

function row(model: ModelFacts): string[] {
  const { id, context, ttlSeconds, vision, thinking } = model;
  return [
    id,
    stateWords(model),
    known(context, shortTokens),
    known(context, () => context.source),
    idleTime(ttlSeconds) || UNKNOWN,
    known(vision, (value) => (value ? "yes" : "no")),
    known(thinking, () => thinkingWords(model)),
  ];
}

/** A row as it looks: the state by its colour, what is unknown in the background. */
function painted(row: readonly string[], model: StateFacts, style: Style): (Cell | string)[] {
  return row.map((text, at) => {
    if (text === UNKNOWN) return { text, paint: style.dim };
    return at === STATE ? { text, paint: statePaint(model, style) } : text;
  });
}

function statePaint(model: StateFacts, style: Style): Cell["paint"] {
  if (model.problem !== undefined || failureOf(model) !== undefined) return style.bad;
  if (model.state === "ready") return style.ok;
  return model.state === "starting" || model.state === "stopping" ? style.busy : style.dim;
}

function known<T>(fact: Fact<T>, words: (value: T) => string): string {
  return fact.source === "default" ? UNKNOWN : words(fact.value);
}

/** The state of a model that is loaded though pi does not offer it: hidden, or not for chatting. */
export function unofferedState(state: ModelState): string {
  return `${state === "unknown" ? UNKNOWN : state}, not in /model`;
}

/** A model known by its running process alone. */
function unofferedRow({ id, state, commandLine, ttlSeconds }: RunningModel): string[] {
  const context = commandLine === undefined ? undefined : readCommandLine(commandLine).context;
  const known = context === undefined ? [UNKNOWN, UNKNOWN] : [shortTokens(context), "command line"];
  return [id, unofferedState(state), ...known, idleTime(ttlSeconds) || UNKNOWN, UNKNOWN, UNKNOWN];
}

/**
 * The table of all models, its lines at most `width` columns wide.
 *
 * @param running the loaded models; those that pi does not offer come last
 */
export function statusTable(
  models: readonly ModelFacts[],
  width: number,
  running: readonly RunningModel[] = [],
  style = PLAIN,
): string[] {
  const rows = [
    ...models.map((model) => painted(row(model), model, style)),
    ...unoffered(models, running).map((model) => painted(unofferedRow(model), model, style)),
  ];
  const none = models.length === 0 ? ["The server offers no chat model."] : [];
  return [...none, ...(rows.length === 0 ? [] : table(COLUMNS, rows, width, style.dim))];
}

/** The loaded models that pi does not offer. */
function unoffered(models: readonly ModelFacts[], running: readonly RunningModel[]): RunningModel[] {
  const shown = new Set(models.flatMap(({ id, runsAs }) => [id, runsAs]));
  return running.filter(({ id }) => !shown.has(id));
}

function knownValue<T>(fact: Fact<T> | undefined): T | null {
  return fact === undefined || fact.source === "default" ? null : fact.value;
}

/** What is known of the models, for programs; null where nothing is. */
export function modelsData(
  models: readonly ModelFacts[],
  running: readonly RunningModel[] = [],
): Record<string, unknown>[] {
  const offered = models.map((model) => ({
    id: model.id,
    name: model.name,
    kind: model.kind,
    state: failureOf(model) === undefined ? model.state : "failed",
    problem: model.problem ?? null,
    offered: model.problem === undefined,
    context: knownValue(model.context),
    contextFrom: model.context.source === "default" ? null : model.context.source,
    output: knownValue(model.outputLimit),
    vision: knownValue(model.vision),
    thinking: knownValue(model.thinking) === null ? null : thinkingWords(model),
    tools: knownValue(model.tools),
    trained: knownValue(model.trainedContext),
    sizeBytes: knownValue(model.sizeBytes),
    quantization: knownValue(model.quantization),
    ttlSeconds: model.ttlSeconds ?? null,
  }));
  const others = unoffered(models, running).map(({ id, state, ttlSeconds = null }) => ({
    id,
    state,
    offered: false,
    ttlSeconds,
  }));
  return [...offered, ...others];
}

function from<T>(fact: Fact<T> | undefined, words: (value: T) => string): string {
  return fact === undefined || fact.source === "default" ? UNKNOWN : `${words(fact.value)} (${fact.source})`;
}

/** How a number of tokens is written: `131072` or `128k`. */
type TokenWords = (tokens: number) => string;

/** What else is known of one model: of its file, and of how long it stays. */
export function otherRows(model: ModelFacts, tokens: TokenWords = String): [string, string][] {
  const { trainedContext, sizeBytes, quantization, ttlSeconds } = model;
  return [
    ["Trained", from(trainedContext, (value) => `for ${tokens(value)} tokens`)],
    ["Size", from(sizeBytes, bytesWords)],
    ["Quantised", from(quantization, (value) => value)],
    // Only the server reports it, and only of what runs.
    ["Unloads", ttlSeconds === undefined ? UNKNOWN : `${idleTime(ttlSeconds)} (live)`],
  ];
}

/** Whether a row says something. */
export function isKnown([, words]: readonly [string, string]): boolean {
  return words !== UNKNOWN;
}

/** What its owner says of a model, and under which other ids it is found. */
export function descriptionRows({
  text,
  aliases,
}: Pick<ModelDescription, "text" | "aliases">): [string, string][] {
  const rows: [string, string][] = [
    ["About", text ?? ""],
    ["Aliases", aliases.join(", ")],
  ];
  return rows.filter(([, words]) => words !== "");
}

/** Where a model runs: on a peer, or at this address; of a selector, as which it may. */
export function placeRow(
  { peer, targets }: Pick<ModelDescription, "peer" | "targets">,
  runsAs: string | undefined,
  address: string,
): [string, string][] {
  if (targets.length > 0) return [["Chooses", `among ${targets.join(", ")}`]];
  const place = peer ?? (runsAs === undefined ? undefined : address);
  return place === undefined ? [] : [["Runs on", place]];
}

function endRow(model: ModelFacts): [string, string][] {
  const failure = failureOf(model);
  if (failure === undefined) return [];
  const code = failure.exitCode === undefined ? "an error" : `exit code ${failure.exitCode}`;
  return [["Ended", `with ${code}; see /ai-server-logs`]];
}

/** What is known of how one model answers, with where it is from: what, and what of it. */
export function detailRows(
  model: ModelFacts,
  lastLoadMs: number | undefined,
  tokens: TokenWords = String,
): [string, string][] {
  const { id, name, kind, runsAs, context, outputLimit, vision, thinking, tools } = model;
  const rows: [string, string][] = [
    ["State", stateWords(model)],
    ...endRow(model),
    ["Context", from(context, (value) => `${tokens(value)} tokens a request`)],
    ["Output", `${tokens(outputLimit.value)} tokens (${outputLimit.source})`],
    ["Vision", from(vision, (value) => (value ? "yes" : "no"))],
    ["Thinking", from(thinking, () => thinkingWords(model))],
    ["Tools", from(tools, (value) => (value ? "yes" : "no"))],
  ];
  if (name !== id) rows.unshift(["Name", name]);
  if (kind === "alias" && runsAs !== undefined) rows.unshift(["Alias of", runsAs]);
  if (lastLoadMs !== undefined) rows.push(["Loading", `takes about ${spent(lastLoadMs)}`]);
  return rows;
}

/** The command line with which a model runs, its secrets masked. */
export function commandRow(running: RunningModel | undefined): [string, string][] {
  if (running?.commandLine === undefined) return [];
  return [["Command", maskText(cleanText(running.commandLine, COMMAND_LENGTH), "command")]];
}

/** What is known of a model beside its facts. */
export interface Surroundings {
  readonly running: RunningModel | undefined;
  readonly lastLoadMs: number | undefined;
  readonly description: ModelDescription;
  /** Of the server. */
  readonly address: string;
}

/** All that is known of one model, a line or more each. */
export function modelDetails(
  model: ModelFacts,
  around: Surroundings,
  width: number,
  style = PLAIN,
): string[] {
  const { running, lastLoadMs, description, address } = around;
  const rows = [
    ...descriptionRows(description),
    ...detailRows(model, lastLoadMs),
    ...otherRows(model),
    ...placeRow(description, model.runsAs, address),
    ...commandRow(running),
  ];
  const widest = Math.max(...rows.map(([title]) => title.length));
  return [
    style.heading(model.id),
    ...rows.flatMap(([title, words]) => {
      const head = `  ${style.dim(title)}${" ".repeat(widest - title.length)}  `;
      const state = title === "State" ? statePaint(model, style)(words) : words;
      return style.hanging(head, words === UNKNOWN ? style.dim(words) : state, width);
    }),
  ];
}
