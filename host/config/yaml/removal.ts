/** A model taken out of llama-swap's YAML, with what names it elsewhere in the file, one proven step after another. */
import { isAlias, isMap, isScalar, type Pair, visit } from "yaml";
import { orFault, ServerError } from "../../../lib/errors.ts";
import type { OtherFile, Removal } from "../model-change.ts";
import { placeOf, refusal, refusalBecause, shown } from "../refusals.ts";
import { applyEdits, positionAt } from "../traced-text.ts";
import { isMerge, keyText, type Model, macrosUsedBy, readYamlConfig, type YamlConfig } from "./config.ts";
import { aliasesOf, modelOf } from "./context.ts";
import { maskVariables } from "./document.ts";
import { cutEntry } from "./entries.ts";
import { filesOf, textsIn } from "./model-files.ts";
import { type Gone, type Naming, namingsOf } from "./namings.ts";
import { rangeOf } from "./own-command.ts";
import { differences } from "./proof.ts";
import { refuseForeignLineEnds } from "./refusals.ts";
import { textOfScalar } from "./scalar-source.ts";

/** More places than any file names a model in: the steps must end. */
const MOST_STEPS = 1000;

/** The pair of a key that is written in the file's own mapping. */
function pairOf(config: YamlConfig, key: string): Pair | undefined {
  return config.root.items.find((pair) => keyText(pair.key) === key && !isMerge(pair));
}

/** The document without what is at a path, or with this text there. */
function afterStep(plain: unknown, [key, ...rest]: Naming["path"], becomes: string | undefined): unknown {
  if (key === undefined) return becomes;
  const isGone = rest.length === 0 && becomes === undefined;
  if (Array.isArray(plain)) {
    return plain.flatMap((item: unknown, at) => {
      if (at !== key) return [item];
      return isGone ? [] : [afterStep(item, rest, becomes)];
    });
  }
  const entries: [unknown, unknown][] = plain instanceof Map ? [...plain] : [];
  return new Map(
    entries.flatMap(([name, value]) => {
      if (String(name) !== String(key)) return [[name, value] as const];
      return isGone ? [] : [[name, afterStep(value, rest, becomes)] as const];
    }),
  );
}

/** The text after one step, by the first way that changes nothing else; or what speaks against the first one. */
function made(source: string, config: YamlConfig, step: Naming): { text: string } | { fault: string } {
  let fault: string | undefined;
  for (const edits of step.ways) {
    const text = applyEdits(source, edits);
    const why = stepFault(config, text, applyEdits(config.text, edits), step);
    if (why === undefined) return { text };
    fault ??= why;
  }
  return { fault: fault ?? "it is not on lines of its own" };
}

function stepFault(config: YamlConfig, text: string, masked: string, step: Naming): string | undefined {
  if (text !== masked && maskVariables(text) !== masked) return "the new text would differ";
  try {
    const [stray] = differences(
      afterStep(config.plain, step.path, step.becomes),
      readYamlConfig(text, true).plain,
    );
    return stray && `${stray.path.join(".")} would change too`;
  } catch {
    return "the new text would not be understood";
  }
}

/** The step that takes the block itself. */
function blockStep(config: YamlConfig, model: Model): Naming {
  const holder = pairOf(config, "models");
  const value: unknown = holder?.value;
  const at = isMap(value) ? value.items.findIndex(({ key }) => key === model.key) : -1;
  if (!holder || !isMap(value) || at < 0) {
    const what = `${shown(model.id)} comes from an anchor or a merge key`;
    throw refusal(positionAt(config.text, rangeOf(model.key).start), what, "Remove it by hand.");
  }
  return { sentence: "", path: ["models", model.id], ways: cutEntry(config.text, holder, value, at) };
}

/** @throws {ServerError} where something else in the file uses an anchor that the block defines */
function refuseUsedAnchors(config: YamlConfig, { id, key, mapping, isOwn }: Model): void {
  const [start, end] = [rangeOf(key).start, isOwn ? rangeOf(mapping).end : rangeOf(key).end];
  visit(config.document, {
    Alias(_, alias) {
      const node = config.anchors.get(alias);
      const [at, defined] = [rangeOf(alias).start, node ? rangeOf(node).start : -1];
      if (defined < start || defined >= end || (at >= start && at < end)) return;
      const what = `the alias *${alias.source} uses what the block of ${shown(id)} defines (${placeOf(positionAt(config.text, defined))})`;
      throw refusal(positionAt(config.text, at), what, "Write it out there by hand, then try again.");
    },
  });
}

function macroTexts(config: YamlConfig): Map<string, string> {
  return new Map(config.macros.map(({ name, scalar }) => [name, textOfScalar(scalar)]));
}

/** The macros for all models that this model alone uses, the last first: none uses one after it. */
function ownMacros(config: YamlConfig, model: Model, others: readonly OtherFile[]): string[] {
  const macros = macroTexts(config);
  const rest = new Map(config.plain instanceof Map ? config.plain : []);
  const models: unknown = rest.get("models");
  rest.set(
    "models",
    new Map([...(models instanceof Map ? models : [])].filter(([id]) => String(id) !== model.id)),
  );
  rest.delete("macros");
  const used = macrosUsedBy(
    textsIn(model.mapping.toJS(config.document, { mapAsMap: true })).join("\n"),
    macros,
  );
  const elsewhere = macrosUsedBy([...textsIn(rest), ...others.map(({ text }) => text)].join("\n"), macros);
  const free = [...macros.keys()].filter((name) => used.has(name) && !elsewhere.has(name));
  // A macro that is kept may use it.
  const kept = [...macros].filter(([name]) => !free.includes(name)).map(([, text]) => text);
  const needed = macrosUsedBy(kept.join("\n"), macros);
  return free.filter((name) => !needed.has(name)).reverse();
}

function macroStep(config: YamlConfig, name: string): Naming | undefined {
  const holder = pairOf(config, "macros");
  const value: unknown = holder?.value;
  const at = isMap(value) ? value.items.findIndex(({ key }) => keyText(key) === name) : -1;
  if (!holder || !isMap(value) || at < 0) return undefined;
  const item: unknown = value.items[at]?.value;
  // An anchor there may be used anywhere.
  if (isAlias(item) || (isScalar(item) && item.anchor !== undefined)) return undefined;
  return {
    sentence: `The macro ${shown(name)} is removed: no other model uses it.`,
    path: ["macros", name],
    ways: cutEntry(config.text, holder, value, at),
  };
}

/** @throws {ServerError} where another file of the folder names the model: a change is one file's */
function refuseOthers(gone: Gone, others: readonly OtherFile[]): void {
  for (const { name, text } of others) {
    const [first] = namesIn(name, text, gone);
    if (!first) continue;
    const at = placeOf(positionAt(text, first.ways[0]?.find((edit) => edit.end > edit.start)?.start ?? 0));
    throw refusalBecause(
      `${shown(name)} names ${shown(gone.id)} too (${first.path.join(".")}, ${at}). Remove the model there by hand, then try again.`,
    );
  }
}

/** The places of another file that name the model. @throws {ServerError} that names the file too */
function namesIn(name: string, text: string, gone: Gone): Naming[] {
  const namings = orFault(() => [...namingsOf(readYamlConfig(text, true), gone)]);
  if (namings instanceof ServerError) throw refusalBecause(`In ${shown(name)}: ${namings.message}`);
  return namings;
}

/**
 * Plans to take a model out of llama-swap's YAML.
 *
 * @param others the other files of the same folder
 * @throws {ServerError} that names the line where something else needs the model
 */
export function planYamlRemoval(source: string, id: string, others: readonly OtherFile[]): Removal {
  refuseForeignLineEnds(source);
  const first = readYamlConfig(source);
  const model = modelOf(first, id);
  const gone: Gone = { id, names: [id, ...aliasesOf(first, model)] };
  blockStep(first, model);
  refuseUsedAnchors(first, model);
  // Each place is looked at before anything is changed: a refusal then names a line of the file as it is.
  Array.from(namingsOf(first, gone));
  refuseOthers(gone, others);
  const macros = ownMacros(first, model, others);
  const alsoChanged: string[] = [];
  let text = source;
  const take = (config: YamlConfig, step: Naming): void => {
    const result = made(text, config, step);
    if ("fault" in result) {
      const at = positionAt(source, rangeOf(model.key).start);
      const what = `${shown(id)} cannot be removed alone (${result.fault})`;
      throw refusal(at, what, "Remove it by hand.");
    }
    text = result.text;
    if (step.sentence !== "") alsoChanged.push(step.sentence);
  };
  for (let count = 0; count < MOST_STEPS; count += 1) {
    const config = readYamlConfig(text);
    const [step] = namingsOf(config, gone);
    if (!step) break;
    take(config, step);
  }
  const named = readYamlConfig(text);
  take(named, blockStep(named, modelOf(named, id)));
  for (const name of macros) {
    const rest = readYamlConfig(text, true);
    const step = macroStep(rest, name);
    if (step) take(rest, step);
  }
  const { files, notes } = filesOf(first, model, readYamlConfig(text, true), others);
  return { text, alsoChanged: [...new Set(alsoChanged)], notes, files };
}
