/** What is known of models, as a table and line by line. Pure. */
import { shortTokens } from "../catalog.ts";
import { maskText } from "../masking/masking.ts";
import { cleanText } from "../server/errors.ts";
import type { Fact, ModelFacts, RunningModel } from "../server/models.ts";
import { spent } from "../ui/duration.ts";
import { type Column, table } from "../ui/table.ts";

const COLUMNS: readonly Column[] = [
  { title: "Model", priority: 0 },
  { title: "State", priority: 0 },
  { title: "Context", priority: 1 },
  { title: "From", priority: 4 },
  { title: "Unloads", priority: 3 },
  { title: "Vision", priority: 5 },
  { title: "Thinking", priority: 6 },
];

/** Characters of a command line that are shown. */
const COMMAND_LENGTH = 4000;

/** After how long without a request a model is unloaded. */
export function idleTime(ttlSeconds: number | undefined): string {
  if (ttlSeconds === undefined) return "";
  if (ttlSeconds <= 0) return "never";
  return ttlSeconds % 60 === 0 ? `${ttlSeconds / 60} min idle` : `${ttlSeconds} s idle`;
}

/** The state, or why there is none. */
export function stateWords({ kind, state }: ModelFacts): string {
  return kind === "peer" || kind === "selector" ? kind : state;
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
    isKnown ? shortTokens(model.context.value) : "unknown",
    isKnown ? model.context.source : "",
    idleTime(model.ttlSeconds),
    known(model.vision, (value) => (value ? "yes" : "no")),
    known(model.thinking, () => thinkingWords(model)),
  ];
}

function known<T>(fact: Fact<T>, words: (value: T) => string): string {
  return fact.source === "default" ? "unknown" : words(fact.value);
}

/** The table of all models, its lines at most `width` columns wide. */
export function statusTable(models: readonly ModelFacts[], width: number): string {
  if (models.length === 0) return "The server offers no model that can be chatted with.";
  return table(COLUMNS, models.map(row), width).join("\n");
}

/** All that is known of one model, with where it is from: what, and what of it. */
export function detailRows(
  model: ModelFacts,
  running: RunningModel | undefined,
  lastLoadMs: number | undefined,
): [string, string][] {
  const { id, name, kind, runsAs, context, outputLimit, vision, thinking, tools, ttlSeconds } = model;
  const from = <T>(fact: Fact<T>, words: (value: T) => string): string =>
    fact.source === "default" ? "unknown" : `${words(fact.value)} (${fact.source})`;
  const rows: [string, string][] = [
    ["State", stateWords(model)],
    ["Context", from(context, (value) => `${value} tokens a request`)],
    ["Output", `${outputLimit.value} tokens (${outputLimit.source})`],
    ["Vision", from(vision, (value) => (value ? "yes" : "no"))],
    ["Thinking", from(thinking, () => thinkingWords(model))],
    ["Tools", from(tools, (value) => (value ? "yes" : "no"))],
  ];
  if (name !== id) rows.unshift(["Name", name]);
  if (kind === "alias" && runsAs !== undefined) rows.unshift(["Alias of", runsAs]);
  if (ttlSeconds !== undefined) rows.push(["Unloads", idleTime(ttlSeconds)]);
  if (lastLoadMs !== undefined) rows.push(["Loading", `takes about ${spent(lastLoadMs)}`]);
  return [...rows, ...commandRow(running)];
}

/** The command line with which a model runs, its secrets masked. */
export function commandRow(running: RunningModel | undefined): [string, string][] {
  if (running?.commandLine === undefined) return [];
  return [["Command", maskText(cleanText(running.commandLine, COMMAND_LENGTH), "command")]];
}

/** The same as lines. */
export function modelDetails(
  model: ModelFacts,
  running: RunningModel | undefined,
  lastLoadMs: number | undefined,
): string[] {
  const rows = detailRows(model, running, lastLoadMs);
  const width = Math.max(...rows.map(([title]) => title.length));
  return [
    model.id,
    ...rows.map(
      ([title, words]) => `  ${title.padEnd(width)}  ${words.replaceAll("\n", `\n  ${" ".repeat(width)}  `)}`,
    ),
  ];
}
