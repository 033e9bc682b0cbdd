/**
 * The safe edit of a size in llama-swap's YAML: the new digits are spliced into the original text, and the result is
 * proven in `proof.ts`. `yaml`'s own document edit writes the whole text again, with other line breaks and blanks.
 */
import { isAlias, type Scalar } from "yaml";
import { contextArgument } from "../command/server-flags.ts";
import { type ContextChange, type ContextSetting, tokensOf } from "../context-setting.ts";
import { shown } from "../refusals.ts";
import { applyEdits, type Edit, originOf, ownSpan } from "../traced-text.ts";
import { readYamlConfig, type YamlConfig } from "./config.ts";
import { type Located, locate, macroOf, modelOf, yamlSetting } from "./context.ts";
import { type Following, follow } from "./declared-figures.ts";
import { maskVariables, VARIABLE } from "./document.ts";
import { endOfLine, lineEndOf, ownCommand, rangeOf } from "./own-command.ts";
import { faultOf } from "./proof.ts";
import {
  ignoredBeside,
  refuse,
  refuseForeignLineEnds,
  refuseOtherEnvironment,
  refuseUnknownFlag,
  sharers,
} from "./refusals.ts";

interface Way {
  readonly edits: readonly Edit[];
  /** The macro's scalar that is changed, if one is. */
  readonly macro: Scalar | undefined;
  readonly notes: readonly string[];
}

/** The model's own macro holds the number, and may be changed if nothing else of the model uses it. */
function byMacro(config: YamlConfig, located: Located, digits: string): Edit[] | undefined {
  const macro = macroOf(config, located);
  const origin = located.figure && originOf(located.figure.value);
  if (!macro?.isOwn || macro.scope !== "model" || !origin) return undefined;
  if (!isAlias(macro.written)) return [{ ...origin.span, text: digits }];
  const isWhole = located.figure?.value.text === String(macro.scalar.value);
  return isWhole ? [{ ...rangeOf(macro.written), text: digits }] : undefined;
}

/** The number, or the macro in its place, is replaced where the command or the variable spells it. */
function inPlace(located: Located, digits: string): Edit[] | undefined {
  const { figure } = located;
  const span = figure && ownSpan(figure.value);
  if (!span || !figure.isOwn) return undefined;
  // A shell would still read what stands there: a variable, a substitution, a part of one.
  if (located.server.isInScript && tokensOf(figure.value.text) === undefined) return undefined;
  return [{ ...span, text: digits }];
}

/** An argument on a line of its own, as the lines before it are. */
function asLine(config: YamlConfig, located: Located, at: number, argument: string): Edit | undefined {
  const { text } = config;
  const { start, end } = rangeOf(located.scalar);
  const isQuoted = located.scalar.type === "QUOTE_DOUBLE" || located.scalar.type === "QUOTE_SINGLE";
  const lines = text
    .slice(start, end)
    .split("\n")
    .filter((line) => line.trim() !== "" && !/^\s*#/.test(line));
  const isBlock = located.scalar.type === "BLOCK_LITERAL" || located.scalar.type === "BLOCK_FOLDED";
  const lineStart = text.lastIndexOf("\n", at - 1) + 1;
  const rest = text.slice(at, endOfLine(text, at));
  if (isQuoted || located.server.isInScript || lines.length < (isBlock ? 3 : 2)) return undefined;
  if (!/^[ \t]*\\?[ \t]*\r?$/.test(rest)) return undefined;
  const indent = /^[ \t]*/.exec(text.slice(lineStart, at))?.[0] ?? "";
  const lineEnd = lineEndOf(text) + indent;
  if (rest.includes("\\")) {
    const after = at + rest.trimEnd().length;
    return { start: after, end: after, text: `${lineEnd}${argument} \\` };
  }
  const continues = lines.slice(isBlock ? 1 : 0, -1).every((line) => line.trimEnd().endsWith("\\"));
  return { start: at, end: at, text: `${continues ? " \\" : ""}${lineEnd}${argument}` };
}

/** An argument after the last one, which overrides all before it. */
function added(config: YamlConfig, located: Located, tokens: number): Edit[][] {
  const raw = located.server.addAfter?.raw;
  const at = raw && ownSpan({ text: raw.text.slice(-1), traces: raw.traces.slice(-1) })?.end;
  if (at === undefined || located.server.program.kind !== "llama-server") return [];
  const argument = contextArgument(located.server, tokens);
  const line = asLine(config, located, at, argument);
  return [...(line ? [[line]] : []), [{ start: at, end: at, text: ` ${argument}` }]];
}

/** Edits inside the command's scalar, made so that only this model has them. */
function forThisModel(config: YamlConfig, located: Located, edits: readonly Edit[]): Way[] {
  if (located.cmd.written !== located.scalar) {
    const own = ownCommand(config, located.model, edits);
    const from = located.cmd.anchor ? ` The one of the anchor &${located.cmd.anchor} stays as it is.` : "";
    const note = `${shown(located.model.id)} gets a \`cmd\` of its own.${from}`;
    return own ? [{ edits: own, macro: undefined, notes: [note] }] : [];
  }
  const others = sharers(config, located);
  const copies = others.map((other) => ownCommand(config, other, []));
  const ways: Way[] = [{ edits, macro: undefined, notes: [] }];
  if (others.length > 0 && copies.every((copy) => copy !== undefined)) {
    const names = others.map((other) => shown(other.id)).join(", ");
    const note = `This \`cmd\` was shared with ${names}: a copy of the old one is written there, with the size it had.`;
    ways.push({ edits: [...edits, ...copies.flat()], macro: undefined, notes: [note] });
  }
  return ways;
}

/** All ways to give the model this size, the most natural first. */
function waysTo(config: YamlConfig, located: Located, tokens: number): Way[] {
  const digits = String(tokens);
  const ways: Way[] = [];
  const macro = macroOf(config, located);
  const inMacro = byMacro(config, located, digits);
  if (inMacro) ways.push({ edits: inMacro, macro: macro?.scalar, notes: [] });
  const replaced = inPlace(located, digits);
  if (replaced && located.figure?.holder === "env")
    ways.push({ edits: replaced, macro: undefined, notes: [] });
  else if (replaced) ways.push(...forThisModel(config, located, replaced));
  for (const edits of added(config, located, tokens)) ways.push(...forThisModel(config, located, edits));
  return ways;
}

/**
 * Proves a way, with the declared figures that follow. A figure that others would get through an anchor is left out.
 *
 * @returns the proven edits and the notes, or the clause that speaks against this way
 */
function prove(
  config: YamlConfig,
  id: string,
  tokens: number,
  way: Way,
  following: readonly Following[],
): { edits: Edit[]; notes: string[] } | string {
  const faultWith = (edits: readonly Edit[]): string | undefined =>
    faultOf(config, applyEdits(config.text, edits), id, tokens);
  const all = following.flatMap(({ edit }) => edit ?? []);
  const staying = following.filter(({ edit }) => !edit).map(({ note }) => note);
  if (faultWith([...way.edits, ...all]) === undefined) {
    return { edits: [...way.edits, ...all], notes: [...way.notes, ...staying] };
  }
  const fault = faultWith(way.edits);
  if (fault !== undefined) return fault;
  const proven = [...way.edits];
  const notes = [...way.notes];
  for (const { edit, note } of following) {
    if (edit && faultWith([...proven, edit]) === undefined) proven.push(edit);
    else notes.push(note);
  }
  return { edits: proven, notes };
}

/** llama-server reads the number from the next word (seen on llama.cpp 0.7.0). */
function joinedNote({ figure, server }: Located): string[] {
  const isJoined = server.args.some(({ value }) => value.text.startsWith(`${figure?.name}=`));
  if (server.program.kind !== "llama-server" || figure?.holder !== "cmd" || !isJoined) return [];
  return [`llama-server does not start with "${figure.name}=…": it takes the number after a space.`];
}

/** A note for the model's own macro that holds the size and had to stay. */
function macroNote(config: YamlConfig, located: Located, fault: string): string {
  const macro = macroOf(config, located);
  return `The macro ${shown(macro?.name ?? "")} stays at ${shown(located.figure?.value.text ?? "")}: with it, ${fault}.`;
}

/** The first way that holds, with the whole new text; or the clause that speaks against the first one. */
function planned(
  config: YamlConfig,
  text: string,
  located: Located,
  wanted: { before: ContextSetting; tokens: number },
): { text: string; masked: string; edits: Edit[]; notes: string[] } | string | undefined {
  const { before, tokens } = wanted;
  let fault: string | undefined;
  const notes: string[] = [];
  for (const way of located.model.isOwn ? waysTo(config, located, tokens) : []) {
    const following = follow(config, located, way.macro, { old: before.tokens, tokens });
    const proven = prove(config, located.model.id, tokens, way, following);
    if (typeof proven === "string") {
      fault ??= proven;
      if (way.macro) notes.push(macroNote(config, located, proven));
      continue;
    }
    const { edits } = proven;
    const masked = applyEdits(config.text, edits);
    const after = applyEdits(text, edits);
    const isCopied = edits.some((edit) => edit.text.includes(VARIABLE));
    if (!isCopied && (config.text === text || maskVariables(after) === masked)) {
      return { text: after, masked, edits, notes: [...notes, ...proven.notes] };
    }
    fault ??= "a variable of the environment would have to be copied";
  }
  return fault;
}

/**
 * Plans the change of one model's context size in llama-swap's YAML.
 *
 * @throws {ServerError} where it cannot be done without touching anything else; names line and column
 */
export function planYaml(text: string, id: string, tokens: number): ContextChange {
  const config = readYamlConfig(text);
  const model = modelOf(config, id);
  refuseForeignLineEnds(text);
  const located = locate(config, model);
  refuseUnknownFlag(config, located);
  refuseOtherEnvironment(config, model);
  const before = yamlSetting(config, id);
  const warnings = [...joinedNote(located), ...ignoredBeside(config, model)];
  if (before.tokens === tokens) return { text, edits: [], before, after: before, warnings };
  const plan = planned(config, text, located, { before, tokens });
  if (typeof plan !== "object") return refuse(config, located, before, { fault: plan, tokens });
  return {
    text: plan.text,
    edits: plan.edits,
    before,
    after: yamlSetting(readYamlConfig(plan.masked), id),
    warnings: [...plan.notes, ...warnings],
  };
}

/** One model's setting in llama-swap's YAML. @throws {ServerError} where it cannot be understood */
export function findYaml(text: string, id: string): ContextSetting {
  return yamlSetting(readYamlConfig(text), id);
}
