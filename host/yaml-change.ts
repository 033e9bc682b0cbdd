import { isAlias, isScalar, type Scalar } from "yaml";
import { type ContextChange, type ContextSetting, shareOf, tokensOf } from "./context-setting.ts";
import { type Declared, declaredFigures } from "./declared-figures.ts";
import { ignoredBeside } from "./known-keys.ts";
import { endOfLine, lineEndOf, ownCommand, rangeOf } from "./own-command.ts";
import { placeOf, refusal, shown } from "./refusals.ts";
import { contextArgument } from "./server-flags.ts";
import { applyEdits, changedLines, type Edit, originOf, ownSpan, positionAt } from "./traced-text.ts";
import { lookUp, type Model, readYamlConfig, type YamlConfig } from "./yaml-config.ts";
import { type Located, locate, macroOf, modelOf, yamlSetting } from "./yaml-context.ts";
import { faultOf } from "./yaml-proof.ts";

/** One way to change the size, to be proven. */
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
    const behind = at + rest.trimEnd().length;
    return { start: behind, end: behind, text: `${lineEnd}${argument} \\` };
  }
  const continues = lines.slice(isBlock ? 1 : 0, -1).every((line) => line.trimEnd().endsWith("\\"));
  return { start: at, end: at, text: `${continues ? " \\" : ""}${lineEnd}${argument}` };
}

/** An argument behind the last one: it wins over all before it. */
function added(config: YamlConfig, located: Located, tokens: number): Edit[][] {
  const raw = located.server.addAfter?.raw;
  const at = raw && ownSpan({ text: raw.text.slice(-1), traces: raw.traces.slice(-1) })?.end;
  const known = located.server.isLlamaServer || located.figure?.holder === "cmd";
  if (at === undefined || !known) return [];
  const argument = contextArgument(located.server, tokens);
  const line = asLine(config, located, at, argument);
  return [...(line ? [[line]] : []), [{ start: at, end: at, text: ` ${argument}` }]];
}

/** The other models that run the very same `cmd`. */
function sharers(config: YamlConfig, located: Located): Model[] {
  return [...config.models.values()].filter(
    (other) =>
      other !== located.model &&
      other.mapping !== located.model.mapping &&
      lookUp(config.anchors, other.mapping, "cmd")?.node === located.scalar,
  );
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
    const note = `This \`cmd\` was also that of ${names}: the old one is written there, with the size it had.`;
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

/** A declared figure beside the change: how it follows, or what to say when it stays. */
interface Following {
  readonly edit: Edit | undefined;
  readonly note: string;
}

function editOf(config: YamlConfig, declared: Declared, digits: string): Edit | undefined {
  const span = ownSpan(declared.text);
  if (!declared.written || !span) return undefined;
  const isFromAlias = isAlias(declared.written);
  const edit = { ...(isFromAlias ? rangeOf(declared.written) : span), text: digits };
  const isQuoted = isScalar(declared.written) && declared.written.type !== "PLAIN";
  // In quotes a number that a macro stands for would become a text.
  const isReference = config.text.slice(span.start, span.end).includes("${");
  return isQuoted && isReference ? { ...rangeOf(declared.written), text: digits } : edit;
}

/** What becomes of the declared figures: those that held the old size, or one slot's share of it, follow. */
function follow(
  config: YamlConfig,
  located: Located,
  way: Way,
  old: number | undefined,
  tokens: number,
): Following[] {
  return declaredFigures(config, located.model).flatMap((declared) => {
    const held = tokensOf(declared.text.text);
    const isTotal = held !== undefined && held === old;
    const isShare = old !== undefined && held === shareOf(old, located.slots);
    const wanted = isTotal ? tokens : shareOf(tokens, located.slots);
    const followsMacro = way.macro && declared.text.traces.some((trace) => trace.scalar === way.macro);
    if (followsMacro || held === tokens) return [];
    const why = isTotal || isShare ? "is shared and stays" : "is another figure and stays";
    const note = `${declared.path} (${placeOf(declared.position)}) ${why} at ${shown(declared.text.text)}.`;
    return [{ edit: isTotal || isShare ? editOf(config, declared, String(wanted)) : undefined, note }];
  });
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

function unchanged(config: YamlConfig, before: ContextSetting, warnings: string[]): ContextChange {
  return { text: config.text, edits: [], lines: [], before, after: before, warnings };
}

function refuse(
  config: YamlConfig,
  located: Located,
  before: ContextSetting,
  fault: string | undefined,
): never {
  const { model, server } = located;
  if (!model.isOwn) {
    const what = `${shown(model.id)} takes over its whole block from elsewhere`;
    throw refusal(
      positionAt(config.text, rangeOf(model.key).start),
      what,
      "Write a block with a `cmd` of its own.",
    );
  }
  const others = sharers(config, located).map((other) => shown(other.id));
  if (others.length > 0) {
    const what = `the \`cmd\` of ${shown(model.id)} is also that of ${others.join(", ")}`;
    throw refusal(before, what, `Write a \`cmd\` of its own for ${shown(model.id)} by hand, then try again.`);
  }
  if (!server.isLlamaServer && !located.figure) {
    const what = `${shown(model.id)} starts ${shown(server.program)}, which is not known as llama-server, without --ctx-size`;
    throw refusal(before, what, "Write `--ctx-size` into its `cmd` by hand where that program takes it.");
  }
  if (server.isInScript && !located.figure) {
    const what = `${shown(model.id)} starts llama-server with arguments that only its shell knows`;
    throw refusal(before, what, "Write `--ctx-size` into that command by hand.");
  }
  if (server.isInScript && before.tokens === undefined) {
    const what = `the size of ${shown(model.id)} stands inside the string that it gives to a shell, and is not a plain number`;
    throw refusal(before, what, "Change it by hand.");
  }
  const what = `the size of ${shown(model.id)} cannot be changed alone${fault ? ` (${fault})` : ""}`;
  throw refusal(before, what, "Change it by hand.");
}

/** What ends a line to llama-swap's YAML reader (`is_break` of go-yaml v3), and to YAML 1.2 does not. */
const FOREIGN_LINE_END = /\r(?!\n)|[\u0085\u2028\u2029]/;

/** Where the two readers may see other lines, nothing that is found here proves anything about the server. */
function refuseForeignLineEnds(text: string): void {
  const found = FOREIGN_LINE_END.exec(text);
  if (!found) return;
  const code = found[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
  const what = `the character U+${code} ends a line for llama-swap, but not for every reader of YAML`;
  throw refusal(positionAt(text, found.index), what, "Replace it by a plain line end or a blank.");
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
  const before = yamlSetting(config, id);
  const warnings = ignoredBeside(config, model, located);
  if (before.tokens === tokens) return unchanged(config, before, warnings);
  let fault: string | undefined;
  for (const way of model.isOwn ? waysTo(config, located, tokens) : []) {
    const following = follow(config, located, way, before.tokens, tokens);
    const proven = prove(config, id, tokens, way, following);
    if (typeof proven === "string") {
      fault ??= proven;
      continue;
    }
    const after = applyEdits(text, proven.edits);
    return {
      text: after,
      edits: proven.edits,
      lines: changedLines(text, proven.edits),
      before,
      after: yamlSetting(readYamlConfig(after), id),
      warnings: [...proven.notes, ...warnings],
    };
  }
  return refuse(config, located, before, fault);
}

/** One model's setting in llama-swap's YAML. @throws {ServerError} where it cannot be understood */
export function findYaml(text: string, id: string): ContextSetting {
  return yamlSetting(readYamlConfig(text), id);
}
