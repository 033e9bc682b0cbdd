/** What a new model's block takes over of the block of another model: how it is run, and nothing that describes it. */
import {
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  type Scalar,
  visit,
} from "yaml";
import { refusal, shown } from "../refusals.ts";
import { positionAt } from "../traced-text.ts";
import {
  expand,
  isMerge,
  keyText,
  lookUp,
  type Model,
  macrosFor,
  macrosUsedBy,
  ownKeys,
  referenceTo,
  scalarsOf,
  target,
  type YamlConfig,
} from "./config.ts";
import type { Located } from "./context.ts";
import { AS_PLAIN } from "./document.ts";
import { linesOfEntry } from "./entries.ts";
import type { Place, Setting } from "./new-entry.ts";
import { rangeOf } from "./own-command.ts";
import { OTHER_PATTERN } from "./refusals.ts";
import { copyScalar, type ScalarCopy } from "./scalar-source.ts";

/** How a model is run, beside its command and its macros. Its time to stay loaded is the user's habit, not the model's. */
const TAKEN_OVER = new Set(
  "env proxy checkEndpoint cmdStop ttl unloadTimeout concurrencyLimit timeouts sendLoadingState compat".split(
    " ",
  ),
);

/** Whether a new block has this setting of its pattern. @param port the pattern's own, which its `proxy` names */
export function isTakenOver(name: string, port: number | undefined): boolean {
  return TAKEN_OVER.has(name) && (name !== "proxy" || port === undefined);
}

/** Variables that say which model llama-server loads: a copy of them would load the old one. */
const MODEL_VARIABLE =
  /^(LLAMA_ARG_(MODEL|MODEL_URL|HF_REPO|HF_FILE|DOCKER_REPO|MMPROJ|MMPROJ_URL|ALIAS|CHAT_TEMPLATE|CHAT_TEMPLATE_FILE|SPEC_DRAFT_MODEL|MODEL_DRAFT|HFD_REPO))=/;

/** The settings of a new block, which still has the pattern's command, and what is not among them. */
export interface Pattern {
  readonly settings: readonly Setting[];
  /** The names of the pattern's settings that the new block lacks. */
  readonly notTaken: readonly string[];
  /** The port that the pattern alone may have. */
  readonly port: number | undefined;
}

function refuseAt(config: YamlConfig, node: Node, what: string): never {
  throw refusal(positionAt(config.text, rangeOf(node).start), what, OTHER_PATTERN);
}

/** The port of a proxy that is no other model's: llama-swap then gives the new one a port itself. */
function fixedPort(config: YamlConfig, model: Model): number | undefined {
  const proxy = lookUp(config.anchors, model.mapping, "proxy")?.node;
  const text = isScalar(proxy) ? expand(config, model, proxy, false)?.text : undefined;
  if (!proxy || text === undefined || /\$\{|^$/.test(text)) return undefined;
  const port = /^https?:\/\/(?:localhost|127\.0\.0\.1|\[::1\]|0\.0\.0\.0):(\d{1,5})\/?$/.exec(text)?.[1];
  return port === undefined
    ? refuseAt(config, proxy, `the \`proxy\` of ${shown(model.id)} is the address of that model alone`)
    : Number(port);
}

/** @throws {ServerError} where what stops the pattern would stop the same thing for the new model */
function refuseOwnStop(config: YamlConfig, model: Model): void {
  const stop = lookUp(config.anchors, model.mapping, "cmdStop")?.node;
  const text = isScalar(stop) ? String(stop.value ?? "") : "";
  if (!stop || text.trim() === "" || isOfEachModel(config, model, stop)) return;
  refuseAt(config, stop, `the \`cmdStop\` of ${shown(model.id)} stops that model alone`);
}

/** Whether a text has the process or the model's id in it by a reference, macros written out. */
function isOfEachModel(config: YamlConfig, model: Model, node: Node): boolean {
  const text = isScalar(node) ? expand(config, model, node, false) : undefined;
  return (
    text !== undefined &&
    (text.text.includes(referenceTo("PID")) || text.traces.some(({ scalar }) => scalar === model.key))
  );
}

/** @throws {ServerError} where the environment says which model is loaded */
function refuseModelVariables(config: YamlConfig, model: Model): void {
  const env = lookUp(config.anchors, model.mapping, "env")?.node;
  for (const { scalar } of env ? scalarsOf(config.anchors, env) : []) {
    const name = MODEL_VARIABLE.exec(expand(config, model, scalar, false)?.text ?? "")?.[1];
    if (name !== undefined)
      refuseAt(config, scalar, `the \`env\` of ${shown(model.id)} names its model in ${name}`);
  }
}

/** A value in one line, whatever it is and wherever it came from. */
function inOneLine(config: YamlConfig, node: Node): ScalarCopy {
  const plain: unknown = node.toJS(config.document, { ...AS_PLAIN, mapAsMap: false });
  return { head: JSON.stringify(plain), lines: [] };
}

function hasAnchorInside(node: Node): boolean {
  let found = false;
  visit(node, {
    Node(_, inner) {
      if (!isAlias(inner) && inner.anchor && inner !== node) found = true;
    },
  });
  return found;
}

/** A scalar as it is written, at another indentation. */
function scalarCopy(
  config: YamlConfig,
  scalar: Scalar,
  inner: string,
  inFlow: boolean,
): ScalarCopy | undefined {
  const { start, end } = rangeOf(scalar);
  return copyScalar(scalar, config.text.slice(start, end), `${inner}  `, inFlow);
}

/** A setting's value as the pattern has it: by its anchor, in its own lines, or in one line. */
function valueCopy(config: YamlConfig, pair: Pair, { inner, inFlow }: Place): ScalarCopy {
  const value = pair.value as Node;
  const anchor = isAlias(value) ? value.source : value.anchor;
  if (anchor !== undefined) return { head: `*${anchor}`, lines: [] };
  if (isScalar(value)) return scalarCopy(config, value, inner, inFlow) ?? inOneLine(config, value);
  const found = linesOfEntry(config.text, pair);
  if (inFlow || !found || hasAnchorInside(value) || (isCollection(value) && value.flow === true)) {
    return inOneLine(config, value);
  }
  const below = found.lines.slice(found.first + 1, found.last + 1).map(({ text }) => text.replace(/\r$/, ""));
  const isDeeper = below.every((line) => line.trim() === "" || line.startsWith(found.indent));
  return isDeeper
    ? {
        head: "",
        lines: below.map((line) => (line.trim() === "" ? line : inner + line.slice(found.indent.length))),
      }
    : inOneLine(config, value);
}

/** Those of the pattern's own macros that the new block uses, also through global ones. */
function macrosSetting(config: YamlConfig, model: Model, pair: Pair, used: string, place: Place): Setting[] {
  const value = target(config.anchors, pair.value);
  if (!value || !isMap(value)) return [];
  if (isAlias(pair.value) || value.anchor) return [{ name: "macros", ...valueCopy(config, pair, place) }];
  const texts = macrosFor(config, model).map(({ name, scalar }) => [name, String(scalar.value)] as const);
  const names = macrosUsedBy(used, new Map(texts));
  const inner = `${place.inner}  `;
  const kept = value.items
    .filter(({ key }) => names.has(keyText(key)))
    .map((item) => ({ name: keyText(item.key), ...valueCopy(config, item, { ...place, inner }) }));
  if (kept.length === 0) return [];
  if (place.inFlow) {
    const head = `{${kept.map(({ name, head: own }) => `${JSON.stringify(name)}: ${own}`).join(", ")}}`;
    return [{ name: "macros", head, lines: [] }];
  }
  const lines = kept.flatMap(({ name, head, lines: own }) => [`${inner}${name}: ${head}`, ...own]);
  return [{ name: "macros", head: "", lines }];
}

/** Whether all that a merge key takes over is what the new block may have. */
function isMergeable(config: YamlConfig, pair: Pair, isTaken: (name: string) => boolean): boolean {
  const value = target(config.anchors, pair.value);
  const sources = isSeq(value) ? value.items : [pair.value];
  return sources.every((source) => {
    const map = target(config.anchors, source);
    if (!isMap(map) || !isAlias(source)) return false;
    const isAllowed = (name: string): boolean => name === "cmd" || name === "macros" || isTaken(name);
    return map.items.every((item) =>
      isMerge(item) ? isMergeable(config, item, isTaken) : isAllowed(keyText(item.key)),
    );
  });
}

/** The command, written out where it came from an anchor or a merge key. */
function commandSetting(config: YamlConfig, { scalar }: Located, place: Place): Setting {
  const copy = scalarCopy(config, scalar, place.inner, place.inFlow);
  return { name: "cmd", ...(copy ?? { head: JSON.stringify(scalar.value), lines: [] }) };
}

/** What the pattern gets from merge keys that the new block cannot have as a whole. */
function mergedSettings(
  config: YamlConfig,
  { mapping }: Model,
  isTaken: (name: string) => boolean,
): Setting[] {
  return ["macros", ...TAKEN_OVER].flatMap((name): Setting[] => {
    const found = lookUp(config.anchors, mapping, name);
    const isMerged =
      found !== undefined && found.written === undefined && (name === "macros" || isTaken(name));
    return isMerged ? [{ name, ...inOneLine(config, found.node) }] : [];
  });
}

/**
 * The settings of a new block after the pattern of another model.
 *
 * @throws {ServerError} that names the line, where something of the pattern belongs to that model alone
 */
export function patternOf(config: YamlConfig, located: Located, place: Place): Pattern {
  const { model } = located;
  const port = fixedPort(config, model);
  refuseOwnStop(config, model);
  refuseModelVariables(config, model);
  const isTaken = (name: string): boolean => isTakenOver(name, port);
  const { items } = model.mapping;
  const merges = items.filter(isMerge);
  const isMerged = merges.every((pair) => isMergeable(config, pair, isTaken));
  const command = commandSetting(config, located, place);
  const plain = [...TAKEN_OVER].flatMap((name) => lookUp(config.anchors, model.mapping, name)?.node ?? []);
  const texts = [String(located.scalar.value), ...plain.map((node) => inOneLine(config, node).head)].join(
    "\n",
  );
  const settings = items.flatMap((pair): Setting[] => {
    const name = keyText(pair.key);
    if (isMerge(pair)) return isMerged ? [{ name, ...mergeCopy(config, pair) }] : [];
    if (name === "cmd") return [command];
    if (name === "macros") return macrosSetting(config, model, pair, texts, place);
    return isTaken(name) ? [{ name, ...valueCopy(config, pair, place) }] : [];
  });
  const names = ownKeys(model.mapping).map(({ name }) => name);
  const merged = isMerged ? [] : mergedSettings(config, model, isTaken);
  const last = names.includes("cmd") ? [] : [command];
  const notTaken = names.filter((name) => !/^(cmd|macros|proxy)$/.test(name) && !isTaken(name));
  return { settings: [...settings, ...merged, ...last], notTaken, port };
}

/** A merge key's value as it is written: aliases alone. */
function mergeCopy(config: YamlConfig, pair: Pair): ScalarCopy {
  const { start, end } = rangeOf(pair.value as Node);
  return { head: config.text.slice(start, end), lines: [] };
}
