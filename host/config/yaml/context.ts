import { isMap, isScalar, type Node, type Scalar } from "yaml";
import { orFault, ServerError } from "../../../lib/errors.ts";
import { type ModelStart, startOfServer } from "../command/model-start.ts";
import { sizeIn } from "../command/programs.ts";
import { type ServerCommand, serverOf } from "../command/server-arguments.ts";
import { contextFlags, flagsNamed, lastSwitch } from "../command/server-flags.ts";
import { splitCommand } from "../command/words.ts";
import {
  CONTEXT_VARIABLE,
  type ContextSetting,
  type SetBy,
  type Slots,
  tokensOf,
} from "../context-setting.ts";
import { refusal, refusalBecause, refusalOfAlias, shown } from "../refusals.ts";
import { originOf, positionAt, sliceTraced, type TracedText } from "../traced-text.ts";
import {
  expand,
  type Found,
  lookUp,
  type Macro,
  type Model,
  macrosFor,
  ownKeys,
  readYamlConfig,
  scalarsOf,
  type YamlConfig,
} from "./config.ts";
import { textOfScalar } from "./scalar-source.ts";

/** The number that sets a model's context size. */
interface Figure {
  readonly name: string;
  readonly value: TracedText;
  /** The whole text in which it stands, macros expanded. */
  readonly text: TracedText;
  /** The scalar of `cmd` or of an entry of `env`. */
  readonly holder: "cmd" | "env";
  /** Whether that entry of `env` is the model's alone to change; for `cmd` see {@link Located}. */
  readonly isOwn: boolean;
}

export interface Located {
  readonly model: Model;
  readonly cmd: Found;
  readonly scalar: Scalar;
  readonly expanded: TracedText;
  readonly server: ServerCommand;
  readonly figure: Figure | undefined;
  readonly slots: Slots;
}

export function startOf(node: Node | null | undefined): number {
  return node?.range?.[0] ?? 0;
}

/**
 * The other names of a model, macros written out; llama-swap takes the keys of `setParamsByID` for aliases. A name with a
 * macro is there as it is written too.
 */
export function aliasesOf(config: YamlConfig, model: Model): string[] {
  const aliases = lookUp(config.anchors, model.mapping, "aliases")?.node;
  const filters = lookUp(config.anchors, model.mapping, "filters")?.node;
  const byId = isMap(filters) ? lookUp(config.anchors, filters, "setParamsByID")?.node : undefined;
  const keys = isMap(byId) ? byId.items.flatMap(({ key }) => (isScalar(key) ? [key] : [])) : [];
  const names = aliases ? scalarsOf(config.anchors, aliases).map(({ scalar }) => scalar) : [];
  const all = [...names, ...keys].flatMap((name) => [
    textOfScalar(name),
    expand(config, model, name, false)?.text ?? "",
  ]);
  return [...new Set(all)].filter((name) => name !== model.id);
}

/** The model of this id. @throws {ServerError} that names the alias's model or the nearest spelling */
export function modelOf(config: YamlConfig, id: string): Model {
  const model = config.models.get(id);
  if (model) return model;
  const holder = [...config.models.values()].find((other) => aliasesOf(config, other).includes(id));
  if (holder) throw refusalOfAlias(id, holder.id);
  const models = lookUp(config.anchors, config.root, "models");
  const key = isMap(models?.node) && ownKeys(models.node).find(({ name }) => name === id);
  if (key && isMap(models?.node)) {
    const value = lookUp(config.anchors, models.node, id)?.node;
    const isEmpty = !value || (isScalar(value) && value.value === null);
    const what = isEmpty ? "holds no settings" : "holds no mapping, which llama-swap requires for a model";
    throw refusal(positionAt(config.text, key.offset), `${shown(id)} ${what}`, "Give it a `cmd`.");
  }
  const near = [...config.models.keys()].find((other) => other.toLowerCase() === id.trim().toLowerCase());
  const hint = near ? ` There is ${shown(near)}.` : "";
  throw refusalBecause(
    `The configuration has no model ${shown(id)}.${hint} Ids are compared letter by letter.`,
  );
}

/** The variables that llama-swap sets for a model, in order, each with its text. */
export function environmentOf(config: YamlConfig, model: Model): { text: TracedText; isOwn: boolean }[] {
  const found = lookUp(config.anchors, model.mapping, "env");
  if (!found) return [];
  const isOwnList = model.isOwn && found.written === found.node;
  return scalarsOf(config.anchors, found.node).flatMap(({ scalar, isOwn }) => {
    const text = expand(config, model, scalar, false);
    return text ? [{ text, isOwn: isOwnList && isOwn }] : [];
  });
}

function variable(texts: readonly TracedText[], name: string): TracedText | undefined {
  const found = texts.findLast(({ text }) => text.startsWith(`${name}=`));
  return found && sliceTraced(found, name.length + 1);
}

function figureOf(
  server: ServerCommand,
  expanded: TracedText,
  environment: { text: TracedText; isOwn: boolean }[],
): Figure | undefined {
  const flag = contextFlags(server).at(-1);
  if (flag) return { name: flag.name, value: flag.value, text: expanded, holder: "cmd", isOwn: true };
  const given = variable(server.assignments, CONTEXT_VARIABLE);
  if (given) return { name: CONTEXT_VARIABLE, value: given, text: expanded, holder: "cmd", isOwn: true };
  const entry = environment.findLast(({ text }) => text.text.startsWith(`${CONTEXT_VARIABLE}=`));
  if (!entry || !server.inheritsEnvironment || server.program.kind === "other") return undefined;
  const value = sliceTraced(entry.text, CONTEXT_VARIABLE.length + 1);
  return { name: CONTEXT_VARIABLE, value, text: entry.text, holder: "env", isOwn: entry.isOwn };
}

function slotsOf(server: ServerCommand, environment: readonly TracedText[]): Slots {
  if (server.program.kind === "other") return { parallel: undefined, kvUnified: undefined };
  const variables = [...(server.inheritsEnvironment ? environment : []), ...server.assignments];
  const number = (flags: readonly string[], name: string): number | undefined => {
    const value = flagsNamed(server, flags).at(-1)?.value ?? variable(variables, name);
    return (value && tokensOf(value.text)) || undefined;
  };
  const flag = lastSwitch(server, ["--kv-unified", "-kvu", "--no-kv-unified", "-no-kvu"]);
  const set = variable(variables, "LLAMA_ARG_KV_UNIFIED")?.text;
  const kvUnified = flag ? !flag.includes("no") : set && /^(1|true|on|enabled)$/i.test(set);
  return {
    parallel: number(["--parallel", "-np"], "LLAMA_ARG_N_PARALLEL"),
    kvUnified: typeof kvUnified === "boolean" ? kvUnified : set === undefined ? undefined : false,
    perSlot: number(["--kv-unified-per-slot"], "LLAMA_ARG_KV_UNIFIED_PER_SLOT"),
  };
}

/**
 * Understands a model's command and finds the number that sets its context size.
 *
 * @param byHand a sentence that says what the user can do where it is not understood
 * @throws {ServerError} that names line and column
 */
export function locate(
  config: YamlConfig,
  model: Model,
  byHand = `Set the context size of ${shown(model.id)} by hand.`,
): Located {
  const cmd = lookUp(config.anchors, model.mapping, "cmd");
  const scalar = cmd?.node;
  if (!cmd || !isScalar(scalar) || typeof scalar.value !== "string" || scalar.value.trim() === "") {
    const wrong = ownKeys(model.mapping).find(
      ({ name }) => name !== "cmd" && name.trim().toLowerCase() === "cmd",
    );
    const at = positionAt(config.text, wrong?.offset ?? startOf(cmd?.written ?? model.key));
    const what = wrong
      ? `${shown(model.id)} has ${shown(wrong.name)}, which llama-swap ignores, and no \`cmd\``
      : `the \`cmd\` of ${shown(model.id)} is ${cmd ? "not text" : "missing"}`;
    throw refusal(at, what, "Write a `cmd: …` for it by hand.");
  }
  const at = positionAt(config.text, startOf(cmd.written ?? scalar));
  const expanded = expand(config, model, scalar, true);
  if (!expanded) throw refusal(at, "the text of this `cmd`, or of a macro in it, cannot be followed", byHand);
  const words = splitCommand(expanded);
  if (!words) throw refusal(at, "a quote is left open in this `cmd`", byHand);
  const server = serverOf(words);
  if (typeof server === "string") throw refusal(at, server, byHand);
  const environment = environmentOf(config, model);
  const figure = figureOf(server, expanded, environment);
  // A flag in the place of the number would be taken for the number, and lost.
  if (figure && /^(-\D.*|-?)$/s.test(figure.value.text)) {
    const last = (figure.value.traces[0] ?? figure.text.traces.at(-1))?.origin.start;
    throw refusal(
      last === undefined ? at : positionAt(config.text, last),
      `${figure.name} has no value`,
      byHand,
    );
  }
  const slots = slotsOf(
    server,
    environment.map(({ text }) => text),
  );
  return { model, cmd, scalar, expanded, server, figure, slots };
}

function originOfSize({ figure }: Located): ReturnType<typeof originOf> {
  return figure && originOf(figure.value);
}

/** The macro in which a figure is spelled, when it is spelled in one. */
export function macroOf(config: YamlConfig, located: Located): Macro | undefined {
  const origin = originOfSize(located);
  return origin && macrosFor(config, located.model).find((macro) => macro.scalar === origin.scalar);
}

/** A result of {@link locateAll}. */
type Understood = { readonly model: Model; readonly result: Located | ServerError };

function describe(config: YamlConfig, located: Located, all: readonly Understood[]): ContextSetting {
  const { figure, model, cmd } = located;
  const origin = originOfSize(located);
  const macro = macroOf(config, located);
  // Models share a size that comes from one scalar.
  const shared = all.filter(
    ({ model: other, result }) =>
      other !== model &&
      origin !== undefined &&
      !(result instanceof ServerError) &&
      originOfSize(result)?.scalar === origin.scalar,
  );
  const start =
    origin?.span.start ?? figure?.value.traces[0]?.origin.start ?? startOf(cmd.written ?? cmd.node);
  const setBy: SetBy = !figure
    ? "nothing"
    : macro
      ? `${macro.scope} macro`
      : figure.name === CONTEXT_VARIABLE
        ? "environment"
        : "flag";
  return {
    model: model.id,
    ...positionAt(config.text, start),
    tokens: figure && sizeIn(located.server.program, figure.value.text),
    setBy,
    name: macro?.name ?? figure?.name,
    sharedWith: shared.map((other) => other.model.id),
    slots: located.slots,
    program: located.server.program.kind === "llama-server" ? undefined : located.server.name,
    problem: undefined,
  };
}

/** Understands every model; those that cannot be understood with the error that says why. */
function locateAll(config: YamlConfig): Understood[] {
  return [...config.models.values()].map((model) => ({
    model,
    result: orFault(() => locate(config, model)),
  }));
}

/** One model's setting. @throws {ServerError} where it cannot be understood */
export function yamlSetting(config: YamlConfig, id: string): ContextSetting {
  const located = locate(config, modelOf(config, id));
  return describe(config, located, locateAll(config));
}

/** What llama-swap starts for a model. @throws {ServerError} where it cannot be understood */
export function yamlStart(text: string, id: string): ModelStart {
  const config = readYamlConfig(text);
  const model = modelOf(config, id);
  const environment = environmentOf(config, model).map((entry) => entry.text.text);
  return startOfServer(locate(config, model).server, environment);
}

/**
 * The settings of all models, in the file's order.
 *
 * @param mayLackModels whether an empty file, and one without a model, is read as having none
 */
export function yamlSettings(text: string, mayLackModels = false): ContextSetting[] {
  const config = readYamlConfig(text, mayLackModels);
  const all = locateAll(config);
  return all.map(({ model, result }) => {
    if (!(result instanceof ServerError)) return describe(config, result, all);
    return {
      model: model.id,
      ...positionAt(text, startOf(model.key)),
      tokens: undefined,
      setBy: "nothing",
      name: undefined,
      sharedWith: [],
      slots: { parallel: undefined, kvUnified: undefined },
      problem: result.message,
    };
  });
}
