/** Where llama-swap's YAML names a model beside its block, and how each of these places can do without it. */
import { isAlias, isMap, isPair, isScalar, isSeq, type Node, type Pair, type Scalar } from "yaml";
import { refusal, shown } from "../refusals.ts";
import { type Edit, positionAt } from "../traced-text.ts";
import { isMerge, keyText, nodeAt, ROUTING_PLACES, referenceTo, target, type YamlConfig } from "./config.ts";
import { type Collection, cutEntry } from "./entries.ts";
import { withoutModel } from "./matrix-sets.ts";
import { rangeOf } from "./own-command.ts";
import { textOfScalar, traceScalar } from "./scalar-source.ts";

/** One place that names the model, and the change that makes it do without. */
export interface Naming {
  /** What changes there, as a sentence. */
  readonly sentence: string;
  /** The keys and indices that lead to what goes, or to the text that becomes `becomes`. */
  readonly path: readonly (string | number)[];
  readonly becomes?: string;
  /** All ways to write it, the most natural first. */
  readonly ways: readonly (readonly Edit[])[];
}

/** The model that goes: its id, and the names under which it may be asked for too. */
export interface Gone {
  readonly id: string;
  readonly names: readonly string[];
}

/** A collection that stands in the file itself, and the pair whose value it is. */
interface Holder {
  readonly pair: Pair;
  readonly collection: Collection;
  readonly path: readonly string[];
}

/** A text with the macros written out that hold everywhere. */
function plainText(config: YamlConfig, node: unknown): string | undefined {
  const scalar = target(config.anchors, node);
  if (!isScalar(scalar)) return undefined;
  let text = textOfScalar(scalar);
  for (const macro of [...config.macros].reverse())
    text = text.replaceAll(referenceTo(macro.name), () => textOfScalar(macro.scalar));
  return text;
}

function refuseAt(config: YamlConfig, node: unknown, what: string, byHand: string): never {
  const start =
    isScalar(node) || isMap(node) || isSeq(node) || isAlias(node) ? rangeOf(node as Node).start : 0;
  throw refusal(positionAt(config.text, start), what, byHand);
}

/** The pair of a key that stands in a mapping itself. */
function ownPair(map: unknown, key: string): Pair | undefined {
  return isMap(map) ? map.items.find((pair) => keyText(pair.key) === key && !isMerge(pair)) : undefined;
}

/**
 * The mapping or list at a path, where it is written there.
 *
 * @returns undefined where there is none; one that an anchor or a merge key puts there has `isOwn` false
 */
function holderAt(config: YamlConfig, path: readonly string[]): (Holder & { isOwn: boolean }) | undefined {
  const collection = nodeAt(config, path);
  if (!isMap(collection) && !isSeq(collection)) return undefined;
  let above: unknown = config.root;
  let pair: Pair | undefined;
  for (const key of path) {
    pair = ownPair(above, key);
    above = pair?.value;
  }
  return { pair: pair ?? ({} as Pair), collection, path, isOwn: above === collection };
}

/** The keys below a path. */
function keysBelow(config: YamlConfig, path: readonly string[]): string[] {
  const map = nodeAt(config, path);
  return isMap(map) ? map.items.filter((pair) => !isMerge(pair)).map(({ key }) => keyText(key)) : [];
}

const AT_HAND = "Remove the model there by hand, then try again.";

/** A place inside a sentence, and what happens there. */
interface Words {
  readonly place: string;
  readonly sentence: string;
}

/** The entries of a list or mapping that name the model: as an item, or by their key. */
function* entriesAt(
  config: YamlConfig,
  path: readonly string[],
  { id, names }: Gone,
  { place, sentence }: Words,
): Generator<Naming> {
  const holder = holderAt(config, path);
  if (!holder) return;
  const { collection } = holder;
  const isList = isSeq(collection);
  for (const [at, item] of collection.items.entries()) {
    const pair = isPair(item) && !isList ? item : undefined;
    const named = pair ? pair.key : item;
    const text = plainText(config, named) ?? "";
    // Spaces count around a key, but not around an item.
    if (!names.includes(isList ? text.trim() : text) || (pair && isMerge(pair))) continue;
    const elsewhere = `${place} names ${shown(id)} in a ${isList ? "list" : "block"} that is used elsewhere too`;
    if (!holder.isOwn) refuseAt(config, named, elsewhere, AT_HAND);
    const ways = cutEntry(config.text, holder.pair, collection, at);
    yield { sentence, path: [...path, pair ? keyText(pair.key) : at], ways };
  }
}

/** The variables of a matrix that mean the model. */
function variablesFor(config: YamlConfig, path: readonly string[], id: string): string[] {
  const vars = nodeAt(config, [...path, "vars"]);
  if (!isMap(vars)) return [];
  return vars.items.filter(({ value }) => plainText(config, value) === id).map(({ key }) => keyText(key));
}

/** The sets of a matrix: an alternative may go, or a set of this model alone; all else would change other sets. */
function* inSets(
  config: YamlConfig,
  path: readonly string[],
  id: string,
  names: readonly string[],
): Generator<Naming> {
  const setsPath = [...path, "sets"];
  const holder = holderAt(config, setsPath);
  if (!holder || !isMap(holder.collection)) return;
  const { collection } = holder;
  const texts = collection.items.map(({ value }) => plainText(config, value) ?? "");
  for (const [at, pair] of collection.items.entries()) {
    const text = texts[at] ?? "";
    const set = keyText(pair.key);
    const place = `the set ${shown(set)} of the matrix`;
    const result = withoutModel(text, names);
    if (result === "unchanged") continue;
    const isReferred = texts.some((other) =>
      new RegExp(`\\+${escaped(set)}(?![\\p{L}\\p{N}_.-])`, "u").test(other),
    );
    const value = pair.value;
    if (result === "empty" && !isReferred && collection.items.length > 1 && holder.isOwn) {
      const ways = cutEntry(config.text, holder.pair, collection, at);
      const sentence = `The set ${shown(set)} of the matrix is removed: it contains only this model.`;
      yield { sentence, path: [...setsPath, set], ways };
      continue;
    }
    const edits =
      typeof result === "object" && isScalar(value) && holder.isOwn
        ? editsIn(config, value, result)
        : undefined;
    if (!edits || typeof result !== "object")
      refuseAt(
        config,
        value,
        `${place} needs ${shown(id)}`,
        "Write the set without this model by hand, then try again.",
      );
    yield {
      sentence: `It leaves ${place}.`,
      path: [...setsPath, set],
      becomes: text.slice(0, result.start) + text.slice(result.end),
      ways: [edits],
    };
  }
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** What takes this stretch of a text out of its scalar; undefined where the text is not written there as it is. */
function editsIn(
  config: YamlConfig,
  scalar: Scalar,
  { start, end }: { start: number; end: number },
): Edit[] | undefined {
  const traced = traceScalar(scalar, config.text);
  const [first, last] = [traced?.traces[start], traced?.traces[end - 1]];
  if (!traced || !first || !last || traced.text !== plainText(config, scalar)) return undefined;
  return [{ start: first.own.start, end: last.own.end, text: "" }];
}

const COSTS: Words = {
  place: "the evict_costs of the matrix",
  sentence: "Its cost in the matrix is removed.",
};
const VARIABLES: Words = {
  place: "the vars of the matrix",
  sentence: "Its variable in the matrix is removed.",
};

/** A matrix with its variables, costs and sets. */
function* inMatrix(config: YamlConfig, path: readonly string[], id: string): Generator<Naming> {
  const variables = variablesFor(config, path, id);
  // A variable that is called as a model comes before the model.
  const isHidden = keysBelow(config, [...path, "vars"]).includes(id) && !variables.includes(id);
  const names = isHidden ? variables : [...variables, id];
  yield* inSets(config, path, id, names);
  yield* entriesAt(config, [...path, "evict_costs"], { id, names }, COSTS);
  yield* entriesAt(config, [...path, "vars"], { id, names: variables }, VARIABLES);
}

/** Selectors: one of several targets may go, but not the one that a `pin` leads to. */
function* inSelectors(config: YamlConfig, gone: Gone): Generator<Naming> {
  for (const selector of keysBelow(config, ["selectors"])) {
    const path = ["selectors", selector];
    const targets = nodeAt(config, [...path, "targets"]);
    const place = `the selector ${shown(selector)}`;
    const items = isSeq(targets) ? targets.items : [];
    const named = items.filter((item) => gone.names.includes(plainText(config, item) ?? ""));
    const [first] = named;
    if (first === undefined) continue;
    const isPin = plainText(config, nodeAt(config, [...path, "strategy"])) === "pin" && first === items[0];
    if (isPin || named.length === items.length)
      refuseAt(
        config,
        first,
        `${place} leads to ${shown(gone.id)}`,
        "Give it another target by hand, then try again.",
      );
    yield* entriesAt(config, [...path, "targets"], gone, {
      place,
      sentence: `It is no longer a target of ${place}.`,
    });
  }
}

/** @throws {ServerError} where a pin leads to the model: what it should lead to, only the user knows */
function refusePins(config: YamlConfig, { id, names }: Gone): void {
  for (const profile of keysBelow(config, ["profiles"])) {
    const pins = nodeAt(config, ["profiles", profile, "pins"]);
    for (const pair of isMap(pins) ? pins.items : []) {
      if (!names.includes(plainText(config, pair.value) ?? "")) continue;
      const what = `the profile ${shown(profile)} leads ${shown(keyText(pair.key))} to ${shown(id)}`;
      refuseAt(config, pair.value, what, "Point it to another model by hand, then try again.");
    }
  }
}

/**
 * The places that name a model beside its block.
 *
 * @throws {ServerError} that names the line of one that cannot do without it
 */
export function* namingsOf(config: YamlConfig, gone: Gone): Generator<Naming> {
  refusePins(config, gone);
  yield* inSelectors(config, gone);
  for (const routing of ROUTING_PLACES) {
    for (const group of keysBelow(config, [...routing, "groups"])) {
      const place = `the group ${shown(group)}`;
      const words = { place, sentence: `It leaves ${place}.` };
      yield* entriesAt(config, [...routing, "groups", group, "members"], gone, words);
    }
    yield* inMatrix(config, [...routing, "matrix"], gone.id);
  }
  const priority = {
    place: "the priority of the scheduler",
    sentence: "Its priority in the scheduler is removed.",
  };
  yield* entriesAt(config, ["routing", "scheduler", "settings", "fifo", "priority"], gone, priority);
  const preload = {
    place: "the preload at the start",
    sentence: "It is no longer loaded when the server starts.",
  };
  yield* entriesAt(config, ["hooks", "on_startup", "preload"], gone, preload);
}
