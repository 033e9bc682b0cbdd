import {
  type Alias,
  isAlias,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  type Scalar,
  YAMLMap,
} from "yaml";
import type { ServerError } from "../../../lib/errors.ts";
import { withoutComments } from "../command/words.ts";
import { refusal, shown } from "../refusals.ts";
import { positionAt, replaceTraced, type TracedText } from "../traced-text.ts";
import { type Anchors, readYamlDocument, type YamlDocument } from "./document.ts";
import { traceScalar } from "./scalar-source.ts";

/** A named text that llama-swap puts in the place of `${name}`. */
export interface Macro {
  readonly name: string;
  readonly scalar: Scalar;
  /** What stands in the file: the scalar, or an alias of it. */
  readonly written: Scalar | Alias;
  readonly scope: "model" | "global";
  /** Whether it stands in the mapping itself, and that mapping is used nowhere else. */
  readonly isOwn: boolean;
}

export interface Model {
  readonly id: string;
  readonly key: Scalar;
  readonly mapping: YAMLMap;
  /** Whether `mapping` is written below the model's id, rather than taken over by an alias or a merge key. */
  readonly isOwn: boolean;
}

/** A value of a mapping, and the way to it. */
export interface Found {
  readonly node: Node;
  /** What stands in the model's own mapping: the node, an alias of it, or undefined for a merge key's. */
  readonly written: Node | undefined;
  /** The name of the anchor through which it came. */
  readonly anchor: string | undefined;
}

/** Characters of a text with its macros expanded: Linux takes no longer argument. Macros may double one another. */
const MAX_EXPANDED = 131_072;

/** llama-swap's configuration with the places of everything in it. */
export interface YamlConfig extends YamlDocument {
  readonly models: ReadonlyMap<string, Model>;
  readonly macros: readonly Macro[];
  readonly root: YAMLMap;
}

export function referenceTo(name: string): string {
  return `\${${name}}`;
}

function referencesIn(text: string): string[] {
  return [...text.matchAll(/\$\{([\w-]+)\}/g)].map((match) => match[1] ?? "");
}

/** The names of the macros that a text uses, also through other macros. @param macros the text of each by its name */
export function macrosUsedBy(text: string, macros: ReadonlyMap<string, string>): Set<string> {
  const used = new Set<string>();
  const queue = referencesIn(text);
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    if (used.has(name)) continue;
    used.add(name);
    queue.push(...referencesIn(macros.get(name) ?? ""));
  }
  return used;
}

/** Whether a text stays short enough when a macro is put into it. */
export function staysShort(text: string, reference: string, by: string): boolean {
  const count = text.split(reference).length - 1;
  return count === 0 || text.length + count * by.length <= MAX_EXPANDED;
}

/** The name of a key as llama-swap reads it: a number keeps its digits. */
export function keyText(key: unknown): string {
  if (!isScalar(key)) return "";
  return key.type === "PLAIN" && key.source !== undefined ? key.source : String(key.value);
}

/** Whether a pair takes over the settings of other mappings. */
export function isMerge(pair: Pair): boolean {
  return keyText(pair.key) === "<<" && isScalar(pair.key) && pair.key.type === "PLAIN";
}

/** The node itself, or the node of an alias. */
export function target(anchors: Anchors, value: unknown): Node | undefined {
  if (isAlias(value)) return anchors.get(value);
  return isNode(value) ? value : undefined;
}

/** The mappings that a mapping takes over by `<<`, with the anchors' names; the first one wins. */
function mergedMaps(anchors: Anchors, mapping: YAMLMap): { map: YAMLMap; anchor: string | undefined }[] {
  return mapping.items.filter(isMerge).flatMap((pair) => {
    const value = target(anchors, pair.value);
    const sources: unknown[] = isSeq(value) ? value.items : [pair.value];
    return sources.flatMap((source) => {
      const map = target(anchors, source);
      return isMap(map) ? [{ map, anchor: isAlias(source) ? source.source : undefined }] : [];
    });
  });
}

/**
 * A value of a mapping: its own, else one that it takes over by a merge key.
 *
 * @param depth how many merge keys were followed; a chain without end gives undefined
 */
export function lookUp(anchors: Anchors, mapping: YAMLMap, key: string, depth = 0): Found | undefined {
  const own = mapping.items.find((pair) => keyText(pair.key) === key && !isMerge(pair));
  if (own) {
    const node = target(anchors, own.value);
    const anchor = isAlias(own.value) ? own.value.source : node?.anchor;
    return node && isNode(own.value) ? { node, written: own.value, anchor } : undefined;
  }
  if (depth > 20) return undefined;
  for (const { map, anchor } of mergedMaps(anchors, mapping)) {
    const found = lookUp(anchors, map, key, depth + 1);
    if (found) return { node: found.node, written: undefined, anchor: anchor ?? found.anchor };
  }
  return undefined;
}

/** Where the rules stand that say which models may run together: llama-swap reads one of the two places. */
export const ROUTING_PLACES: readonly (readonly string[])[] = [[], ["routing", "router", "settings"]];

/** The value at a path of keys from the top of the file; a merge key on the way is followed. */
export function nodeAt(
  { anchors, root }: Pick<YamlConfig, "anchors" | "root">,
  path: readonly string[],
): Node | undefined {
  let node: Node | undefined = root;
  for (const key of path) node = isMap(node) ? lookUp(anchors, node, key)?.node : undefined;
  return node;
}

/** The keys that stand in a mapping itself, with the offset of each. */
export function ownKeys(mapping: YAMLMap): { name: string; offset: number }[] {
  return mapping.items
    .filter((pair) => !isMerge(pair))
    .flatMap(({ key }) => (isScalar(key) ? [{ name: keyText(key), offset: key.range?.[0] ?? 0 }] : []));
}

function readMacros(anchors: Anchors, holder: YAMLMap, scope: Macro["scope"], holderIsOwn: boolean): Macro[] {
  const found = lookUp(anchors, holder, "macros");
  if (!found || !isMap(found.node)) return [];
  const isOwn = holderIsOwn && found.written === found.node;
  return found.node.items.flatMap((pair): Macro[] => {
    const written: unknown = pair.value;
    const scalar = target(anchors, written);
    if (!isScalar(scalar) || !(isScalar(written) || isAlias(written))) return [];
    return [{ name: keyText(pair.key), scalar, written, scope, isOwn }];
  });
}

function readModels(anchors: Anchors, models: YAMLMap, isOwn: boolean, into: Map<string, Model>): void {
  for (const pair of models.items) {
    const mapping = target(anchors, pair.value);
    const id = keyText(pair.key);
    if (isMerge(pair) || !isScalar(pair.key) || !isMap(mapping) || into.has(id)) continue;
    into.set(id, { id, key: pair.key, mapping, isOwn: isOwn && mapping === pair.value });
  }
  for (const { map } of mergedMaps(anchors, models)) readModels(anchors, map, false, into);
}

/** The error for a file that has no mapping of models. */
function noModels(config: Pick<YamlConfig, "text" | "root" | "anchors">): ServerError {
  const { text, root, anchors } = config;
  const key = ownKeys(root).find(({ name }) => name.trim().toLowerCase() === "models");
  const at = positionAt(text, key?.offset ?? root.range?.[0] ?? 0);
  const byHand = "Write the models below `models:`.";
  if (key === undefined) return refusal(at, "the file has no `models:` section", byHand);
  if (key.name !== "models") {
    return refusal(at, `the key is spelled ${shown(key.name)}, and llama-swap ignores it`, byHand);
  }
  const value = lookUp(anchors, root, "models")?.node;
  if (!value || (isScalar(value) && value.value === null)) return refusal(at, "`models:` is empty", byHand);
  const what = `\`models:\` holds ${isSeq(value) ? "a list" : "a single value"}, and llama-swap accepts only a mapping there`;
  return refusal(at, what, "Write each model below it as `id:` with its settings.");
}

/**
 * Reads llama-swap's YAML.
 *
 * @param mayLackModels whether an empty file, and one without a model, is read as having none
 * @throws {ServerError} that names line and column, where YAML itself is broken or there is no `models:`
 */
export function readYamlConfig(source: string, mayLackModels = false): YamlConfig {
  const read = readYamlDocument(source);
  const { text, document, anchors } = read;
  const isEmpty = mayLackModels && isNothing(document.contents);
  const root: unknown = isEmpty ? new YAMLMap() : document.contents;
  if (!isMap(root)) {
    throw refusal({ line: 1, column: 1 }, "the file is not a YAML mapping", "It needs a `models:` section.");
  }
  const models = new Map<string, Model>();
  const found = lookUp(anchors, root, "models");
  if (found && isMap(found.node)) readModels(anchors, found.node, found.written === found.node, models);
  else if (!mayLackModels || !isWithoutModels(root, found)) throw noModels({ text, root, anchors });
  return { ...read, root, models, macros: readMacros(anchors, root, "global", true) };
}

/** An empty document, or one that holds `null`. */
function isNothing(node: unknown): boolean {
  return node === null || (isScalar(node) && node.value === null);
}

/** Whether a mapping has no `models`, in no spelling, or an empty one. */
function isWithoutModels(root: YAMLMap, models: Found | undefined): boolean {
  const isOther = ({ name }: { name: string }): boolean =>
    name !== "models" && name.trim().toLowerCase() === "models";
  return models ? isNothing(models.node) : !ownKeys(root).some(isOther);
}

/**
 * The macros that hold for a model, in llama-swap's order: its own ones replace global ones of the same name where
 * those stand (`mergeModelMacros` in its `internal/config/macros.go`).
 */
export function macrosFor(config: YamlConfig, model: Model): Macro[] {
  const merged = [...config.macros];
  for (const own of readMacros(config.anchors, model.mapping, "model", model.isOwn)) {
    const at = merged.findIndex((macro) => macro.name === own.name);
    if (at >= 0) merged[at] = own;
    else merged.push(own);
  }
  return merged;
}

/**
 * The text of a scalar as llama-swap reads it for a model: macros expanded from the last to the first, so that one
 * may only use those before it.
 *
 * @param isCommand for `cmd`: its comment lines go before macros are expanded
 * @returns undefined where value and source of a scalar do not match, or the text becomes longer than any command
 */
export function expand(
  config: YamlConfig,
  model: Model,
  scalar: Scalar,
  isCommand: boolean,
): TracedText | undefined {
  const raw = traceScalar(scalar, config.text);
  if (!raw) return undefined;
  let expanded = isCommand ? withoutComments(raw) : raw;
  for (const macro of macrosFor(config, model).reverse()) {
    const reference = referenceTo(macro.name);
    if (!expanded.text.includes(reference)) continue;
    const value = traceScalar(macro.scalar, config.text);
    if (!value || !staysShort(expanded.text, reference, value.text)) return undefined;
    expanded = replaceTraced(expanded, reference, value);
  }
  if (!staysShort(expanded.text, referenceTo("MODEL_ID"), model.id)) return undefined;
  const span = { start: model.key.range?.[0] ?? 0, end: model.key.range?.[1] ?? 0 };
  const trace = { own: span, origin: span, scalar: model.key };
  const id = { text: model.id, traces: Array.from({ length: model.id.length }, () => trace) };
  return replaceTraced(expanded, referenceTo("MODEL_ID"), id);
}

/** The scalars of a list, with what stands in the file for each. */
export function scalarsOf(anchors: Anchors, list: Node): { scalar: Scalar; isOwn: boolean }[] {
  if (!isSeq(list)) return [];
  return list.items.flatMap((item) => {
    const scalar = target(anchors, item);
    return isScalar(scalar) ? [{ scalar, isOwn: scalar === item }] : [];
  });
}

/** Pairs whose value is a scalar or leads to one, for walking through metadata. */
export function pairsOf(node: Node): { key: string; value: Node }[] {
  if (!isMap(node)) return [];
  return node.items.flatMap((pair) =>
    isPair(pair) && isNode(pair.value) && !isMerge(pair)
      ? [{ key: keyText(pair.key), value: pair.value }]
      : [],
  );
}
