/** A new model in llama-swap's YAML: a block of its own in the original text, after the pattern of another model or alone. */
import { isMap } from "yaml";
import { quoteWord } from "../command/other-model.ts";
import type { Addition, NewModel, OtherFile } from "../model-change.ts";
import { refusal, refusalBecause, shown } from "../refusals.ts";
import { applyEdits, positionAt } from "../traced-text.ts";
import { additionFault, type Written } from "./addition-proof.ts";
import { blockAfter, type NewFile } from "./block-after.ts";
import { lookUp, nodeAt, ownKeys, ROUTING_PLACES, readYamlConfig, type YamlConfig } from "./config.ts";
import { aliasesOf, locate, modelOf, yamlSetting } from "./context.ts";
import { maskVariables, VARIABLE } from "./document.ts";
import { type Place, placesFor, type Setting } from "./new-entry.ts";
import { OTHER_PATTERN, refuseForeignLineEnds } from "./refusals.ts";

/** @throws {ServerError} for an id that is none, or under which another model is asked for */
function requireFreeId(config: YamlConfig, id: string, others: readonly OtherFile[]): void {
  if (id === "" || id.trim() !== id || /[\p{Cc}\p{Zl}\p{Zp}]|\$\{/u.test(id)) {
    throw refusalBecause(`No model of llama-swap can have the id ${shown(id)}.`);
  }
  const configs = [
    { config, name: "" },
    ...others.map(({ name, text }) => ({ config: readYamlConfig(text, true), name })),
  ];
  for (const { config: one, name } of configs) {
    const where = name === "" ? "The configuration" : shown(name);
    if (one.models.has(id)) throw refusalBecause(`${where} has a model ${shown(id)} already.`);
    const holder = [...one.models.values()].find((model) => aliasesOf(one, model).includes(id));
    if (holder)
      throw refusalBecause(`${where} has the model ${shown(holder.id)} with the alias ${shown(id)} already.`);
    const selectors = lookUp(one.anchors, one.root, "selectors")?.node;
    if (isMap(selectors) && ownKeys(selectors).some((key) => key.name === id))
      throw refusalBecause(`${where} has a selector ${shown(id)} already.`);
  }
}

/** @throws {ServerError} for what no command can name */
function requirePath(path: string, what: string): void {
  if (/[\p{Cc}\p{Zl}\p{Zp}]|\$\{/u.test(path) || path.includes(VARIABLE))
    throw refusalBecause(`No command of llama-swap can name the ${what} ${shown(path)}.`);
}

/** @throws {ServerError} for a path that depends on where the server was started */
function requireFile(path: string | undefined, what: string): void {
  if (path === undefined) return;
  if (!path.startsWith("/"))
    throw refusalBecause(`The ${what} ${shown(path)} needs its whole path on the server.`);
  requirePath(path, what);
}

/** A command with nothing but what this model needs. */
function alone(place: Place, { id, program, file, mmproj, context }: NewFile, inQuotes: boolean): Written {
  const lines = [
    [program ?? "llama-server"],
    ["--port", "${PORT}"],
    ["--model", file],
    ...(mmproj === undefined ? [] : [["--mmproj", mmproj]]),
    ...(context === undefined ? [] : [["--ctx-size", String(context)]]),
  ];
  const spelled = lines.map((words) =>
    words.map((word) => (word === "${PORT}" ? word : quoteWord(word))).join(" "),
  );
  const body = spelled.map((line) => `${place.inner}  ${line}`);
  const isShort = place.inFlow || inQuotes;
  const cmd: Setting = isShort
    ? { name: "cmd", head: JSON.stringify(spelled.join(" ")), lines: [] }
    : { name: "cmd", head: "|", lines: body };
  const wanted = { id, words: lines.flat(), settings: new Map() };
  return { block: place.block(id, [cmd]), wanted, warnings: [] };
}

/** What llama-swap does with a model that nothing but its block knows. */
function groupNotes(config: YamlConfig): string[] {
  const has = (key: string): boolean =>
    ROUTING_PLACES.some((place) => isMap(nodeAt(config, [...place, key])));
  return [
    ...(has("groups") ? ["It is in none of the groups: llama-swap puts it into its default group."] : []),
    ...(has("matrix") ? ["It is in no set of the matrix: it only runs alone."] : []),
  ];
}

/** All ways to write the new model, the most natural first. */
function* waysFor(
  config: YamlConfig,
  model: NewFile,
): Generator<{ place: Place; written: Written | string }> {
  const from =
    model.from === undefined ? undefined : locate(config, modelOf(config, model.from), OTHER_PATTERN);
  for (const place of placesFor(config)) {
    for (const inQuotes of [false, true]) {
      const written = from ? blockAfter(config, place, from, model, inQuotes) : alone(place, model, inQuotes);
      yield { place, written };
    }
  }
}

/**
 * Plans a new model in llama-swap's YAML.
 *
 * @param others the other files of the same folder
 * @throws {ServerError} where its id is taken or cannot be one, or the pattern cannot be followed
 */
export function planYamlAddition(text: string, model: NewModel, others: readonly OtherFile[]): Addition {
  const { id, file, mmproj, program } = model;
  refuseForeignLineEnds(text);
  const config = readYamlConfig(text, true);
  requireFreeId(config, id, others);
  if (file === undefined) throw refusalBecause(`${shown(id)} needs the path of its file.`);
  requireFile(file, "file");
  requireFile(mmproj, "projector");
  requirePath(program ?? "", "program");
  let fault: string | undefined;
  for (const { place, written } of waysFor(config, { ...model, file })) {
    const why = typeof written === "string" ? written : faultOf(config, text, place, written);
    if (why === undefined && typeof written === "object") {
      const edits = place.edits(written.block);
      const setting = yamlSetting(readYamlConfig(applyEdits(config.text, edits)), id);
      return {
        text: applyEdits(text, edits),
        edits,
        setting,
        warnings: [...written.warnings, ...groupNotes(config)],
      };
    }
    fault ??= why;
  }
  const what = `${shown(id)} cannot be added alone${fault ? ` (${fault})` : ""}`;
  const byHand = model.from === undefined ? "Write its block by hand." : OTHER_PATTERN;
  throw refusal(positionAt(text, text.length), what, byHand);
}

function faultOf(
  config: YamlConfig,
  text: string,
  place: Place,
  { block, wanted }: Written,
): string | undefined {
  if (block.includes(VARIABLE)) return "a variable of the environment would have to be copied";
  const edits = place.edits(block);
  const masked = applyEdits(config.text, edits);
  if (config.text !== text && maskVariables(applyEdits(text, edits)) !== masked)
    return "the new text would differ";
  return additionFault(config, masked, wanted);
}
