import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  parseDocument,
  type Scalar,
  visit,
  type YAMLMap,
  type YAMLParseError,
} from "yaml";
import { type ServerError, sentenceOf } from "../../../lib/errors.ts";
import { cleanText } from "../../../lib/text.ts";
import { withoutComments } from "../command/words.ts";
import { refusal, shown } from "../refusals.ts";
import { positionAt, replaceTraced, type TracedText } from "../traced-text.ts";
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

/**
 * How a document becomes plain values. An anchor may be used by a thousand models; what grows by aliases of aliases
 * passes that at once.
 */
export const AS_PLAIN = { mapAsMap: true, maxAliasCount: 1000 } as const;

/** Characters of a text with its macros expanded: Linux takes no longer argument. Macros may double one another. */
const MAX_EXPANDED = 131_072;

export type Anchors = ReadonlyMap<Alias, Node>;

/** llama-swap's configuration with the places of everything in it. */
export interface YamlConfig {
  /** As it was read: of the same length as the file, but variables of the environment may be masked in it. */
  readonly text: string;
  readonly document: Document;
  readonly anchors: Anchors;
  readonly models: ReadonlyMap<string, Model>;
  readonly macros: readonly Macro[];
  readonly root: YAMLMap;
  /** The document as plain values, aliases and merge keys resolved; mappings are `Map`s. */
  readonly plain: unknown;
}

export function referenceTo(name: string): string {
  return `\${${name}}`;
}

/** Whether a text stays short enough when a macro is put into it. */
export function staysShort(text: string, reference: string, by: string): boolean {
  const count = text.split(reference).length - 1;
  return count === 0 || text.length + count * by.length <= MAX_EXPANDED;
}

/** The name of a key as llama-swap reads it: a number keeps its digits. */
function keyText(key: unknown): string {
  if (!isScalar(key)) return "";
  return key.type === "PLAIN" && key.source !== undefined ? key.source : String(key.value);
}

function isMerge(pair: Pair): boolean {
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

/** Stands for each character of a variable's name: a private one, which no configuration has a use for. */
export const VARIABLE = "\uE000";

/**
 * The text with every `${env.NAME}` replaced by as many characters, so that each offset stays. llama-swap puts these
 * variables into the text before it reads the text as YAML (`substituteEnvMacros` in its `internal/config/macros.go`),
 * so that they may stand where YAML allows no brace.
 */
export function maskVariables(text: string): string {
  return text.replace(/\$\{env\.[A-Za-z_][A-Za-z0-9_]*\}/g, (name) => VARIABLE.repeat(name.length));
}

/** Parses a text, and where that fails the one in which variables of the environment are masked. */
function parseText(text: string): { document: Document; text: string } {
  const options = { merge: true, keepSourceTokens: true, prettyErrors: false } as const;
  const document = parseDocument(text, options);
  const masked = maskVariables(text);
  if (document.errors.length === 0 || masked === text) return { document, text };
  return { document: parseDocument(masked, options), text: masked };
}

/** @throws {ServerError} where YAML itself is broken, or the text holds more than llama-swap reads */
function refuseErrors(text: string, [error]: readonly YAMLParseError[]): void {
  if (error === undefined) return;
  const at = positionAt(text, error.pos[0]);
  if (error.code === "MULTIPLE_DOCS") {
    const what = "a second YAML document begins there, and llama-swap reads only the first";
    throw refusal(at, what, "Write all models into one document.");
  }
  const what = error.message.split("\n")[0]?.replace(/;? please use YAML\.\w+\(\)/, "") ?? "";
  throw refusal(at, `the YAML is broken there (${what})`, "Repair it by hand.");
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
 * @throws {ServerError} that names line and column, where YAML itself is broken or there is no `models:`
 */
export function readYamlConfig(source: string): YamlConfig {
  const { document, text } = parseText(source);
  refuseErrors(text, document.errors);
  const root = document.contents;
  if (!isMap(root)) {
    throw refusal({ line: 1, column: 1 }, "the file is not a YAML mapping", "It needs a `models:` section.");
  }
  const anchors = readAnchors(document, text);
  const plain = plainOf(document);
  const models = new Map<string, Model>();
  const found = lookUp(anchors, root, "models");
  if (!found || !isMap(found.node)) throw noModels({ text, root, anchors });
  readModels(anchors, found.node, found.written === found.node, models);
  const macros = readMacros(anchors, root, "global", true);
  return { text, document, anchors, root, models, macros, plain };
}

/** Follows every alias once, since each look of the library's own goes through the whole document. */
function readAnchors(document: Document, text: string): Anchors {
  const named = new Map<string, Node>();
  const anchors = new Map<Alias, Node>();
  visit(document, {
    Node(_, node, path) {
      if (!isAlias(node)) {
        if (node.anchor) named.set(node.anchor, node);
        return;
      }
      const found = named.get(node.source);
      const at = positionAt(text, node.range?.[0] ?? 0);
      const name = `the alias *${cleanText(node.source, 80)}`;
      if (!found) throw refusal(at, `${name} has no anchor before it`, "Repair it by hand.");
      if (path.includes(found))
        throw refusal(at, `${name} refers to a block that contains it`, "Repair it by hand.");
      anchors.set(node, found);
    },
  });
  return anchors;
}

/** Plain values of a document. @throws {ServerError} where its aliases or merge keys lead to far too much, or nowhere */
function plainOf(document: Document): unknown {
  try {
    return document.toJS(AS_PLAIN);
  } catch (error) {
    const what = sentenceOf(error).startsWith("Merge")
      ? "a merge key (`<<`) refers to something that is no mapping"
      : "the aliases expand without end";
    throw refusal({ line: 1, column: 1 }, what, "Repair it by hand.");
  }
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
