/** What is known of models, as a table and line by line. Pure. */

import { shortTokens, spent } from "../lib/figures.ts";
import { cleanText } from "../lib/text.ts";
import { maskText } from "../masking/masking.ts";
import { readCommandLine } from "../server/models/command-line.ts";
import type { ModelDescription } from "../server/models/listed-model.ts";
import type { Fact, ModelFacts, ModelState, RunningModel } from "../server/models/models.ts";
import { type Column, table } from "../ui/layout.ts";

const COLUMNS: readonly Column[] = [
  { title: "Model", priority: 0 },
  { title: "State", priority: 0 },
  { title: "Context", priority: 1 },
  { title: "From", priority: 4 },
  { title: "Unloads", priority: 3 },
  { title: "Vision", priority: 5 },
  { title: "Thinking", priority: 6 },
];

const UNITS = ["B", "kB", "MB", "GB", "TB"] as const;

const UNKNOWN = "unknown";

const COMMAND_LENGTH = 4000;

/** After how long without a request a model is unloaded. */
export function idleTime(ttlSeconds: number | undefined): string {
  if (ttlSeconds === undefined) return "";
  if (ttlSeconds <= 0) return "never";
  return ttlSeconds % 60 === 0 ? `${ttlSeconds / 60} min idle` : `${ttlSeconds} s idle`;
}

/** The state, or why there is none. */
export function stateWords({ kind, state, problem, failure }: ModelFacts): string {
  if (problem !== undefined) return `[${problem}]`;
  if (failure !== undefined && state === "unloaded") return "failed";
  return kind === "peer" || kind === "selector" ? kind : state;
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
  const isKnown = model.context.source !== "default";
  return [
    model.id,
    stateWords(model),
    isKnown ? shortTokens(model.context.value) : UNKNOWN,
    isKnown ? model.context.source : "",
    idleTime(model.ttlSeconds),
    known(model.vision, (value) => (value ? "yes" : "no")),
    known(model.thinking, () => thinkingWords(model)),
  ];
}

function known<T>(fact: Fact<T>, words: (value: T) => string): string {
  return fact.source === "default" ? UNKNOWN : words(fact.value);
}

/** The state of a model that is loaded though pi does not offer it: hidden, or not for chatting. */
export function unofferedState(state: ModelState): string {
  return `${state}, not in /model`;
}

/** A model known by its running process alone. */
function unofferedRow({ id, state, commandLine, ttlSeconds }: RunningModel): string[] {
  const context = commandLine === undefined ? undefined : readCommandLine(commandLine).context;
  const known = context === undefined ? [UNKNOWN, ""] : [shortTokens(context), "command line"];
  return [id, unofferedState(state), ...known, idleTime(ttlSeconds), "", ""];
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
): string {
  const shown = new Set(models.flatMap(({ id, runsAs }) => [id, runsAs]));
  const rows = [...models.map(row), ...running.filter(({ id }) => !shown.has(id)).map(unofferedRow)];
  const none = models.length === 0 ? ["The server offers no chat model."] : [];
  return [...none, ...(rows.length === 0 ? [] : table(COLUMNS, rows, width))].join("\n");
}

function from<T>(fact: Fact<T> | undefined, words: (value: T) => string): string {
  return fact === undefined || fact.source === "default" ? UNKNOWN : `${words(fact.value)} (${fact.source})`;
}

/** What else is known of one model: of its file, and of how long it stays. */
export function otherRows(model: ModelFacts): [string, string][] {
  const { trainedContext, sizeBytes, quantization, ttlSeconds } = model;
  return [
    ["Trained", from(trainedContext, (value) => `for ${value} tokens`)],
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

/** How the process of a model has ended that is not loaded. */
function endRow({ state, failure }: ModelFacts): [string, string][] {
  if (failure === undefined || state !== "unloaded") return [];
  const code = failure.exitCode === undefined ? "an error" : `exit code ${failure.exitCode}`;
  return [["Ended", `with ${code}; see /ai-server-logs`]];
}

/** What is known of how one model answers, with where it is from: what, and what of it. */
export function detailRows(model: ModelFacts, lastLoadMs: number | undefined): [string, string][] {
  const { id, name, kind, runsAs, context, outputLimit, vision, thinking, tools } = model;
  const rows: [string, string][] = [
    ["State", stateWords(model)],
    ...endRow(model),
    ["Context", from(context, (value) => `${value} tokens a request`)],
    ["Output", `${outputLimit.value} tokens (${outputLimit.source})`],
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

export function modelDetails(model: ModelFacts, around: Surroundings): string[] {
  const { running, lastLoadMs, description, address } = around;
  const rows = [
    ...descriptionRows(description),
    ...detailRows(model, lastLoadMs),
    ...otherRows(model),
    ...placeRow(description, model.runsAs, address),
    ...commandRow(running),
  ];
  const width = Math.max(...rows.map(([title]) => title.length));
  return [
    model.id,
    ...rows.map(
      ([title, words]) => `  ${title.padEnd(width)}  ${words.replaceAll("\n", `\n  ${" ".repeat(width)}  `)}`,
    ),
  ];
}
