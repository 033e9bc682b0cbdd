/** The context figures that a model declares beside its command, and which of them follow a change of its size. */
import { isAlias, isMap, isScalar, type Node, type Scalar } from "yaml";
import { isTrainedLength } from "../../../lib/trained-length.ts";
import { namesContext, shareOf, tokensOf } from "../context-setting.ts";
import { placeOf, shown } from "../refusals.ts";
import { type Edit, ownSpan, type Position, positionAt, type TracedText } from "../traced-text.ts";
import { expand, type Found, lookUp, type Model, pairsOf, target, type YamlConfig } from "./config.ts";
import { type Located, startOf } from "./context.ts";
import { rangeOf } from "./own-command.ts";

/** A figure that a model declares beside its command. */
interface Declared {
  readonly path: string;
  readonly text: TracedText;
  /** What stands in the model's own block; undefined where the figure is taken over from elsewhere. */
  readonly written: Node | undefined;
  readonly position: Position;
  /** Whether it is what the model was trained for, which no setting changes. */
  readonly isTrained: boolean;
}

function declaredAt(
  config: YamlConfig,
  model: Model,
  path: string,
  found: Pick<Found, "node" | "written"> & { isTrained: boolean },
): Declared[] {
  const { node, isTrained } = found;
  const text = isScalar(node) ? expand(config, model, node, false) : undefined;
  if (!text) return [];
  const position = positionAt(config.text, startOf(found.written ?? node));
  return [{ path, text, written: found.written, position, isTrained }];
}

function declaredIn(config: YamlConfig, model: Model, path: string, map: Node, isOwn: boolean): Declared[] {
  const pairs = pairsOf(map);
  const entries = pairs.map(({ key, value }) => {
    const node = target(config.anchors, value);
    return [key, isScalar(node) ? node.value : node] as const;
  });
  return pairs.flatMap(({ key, value }) => {
    const node = target(config.anchors, value);
    const at = `${path}.${key}`;
    if (isMap(node)) return declaredIn(config, model, at, node, isOwn && node === value);
    if (!namesContext(key) || !node) return [];
    const isTrained = isTrainedLength(key, entries);
    return declaredAt(config, model, at, { node, written: isOwn ? value : undefined, isTrained });
  });
}

/** The context figures that a model declares: `capabilities.context`, and the like in `metadata`. */
function declaredFigures(config: YamlConfig, model: Model): Declared[] {
  const capabilities = lookUp(config.anchors, model.mapping, "capabilities");
  const metadata = lookUp(config.anchors, model.mapping, "metadata");
  const result: Declared[] = [];
  if (isMap(capabilities?.node)) {
    const context = lookUp(config.anchors, capabilities.node, "context");
    const isOwn = model.isOwn && capabilities.written === capabilities.node;
    if (context) {
      const figure = { node: context.node, written: isOwn ? context.written : undefined, isTrained: false };
      result.push(...declaredAt(config, model, "capabilities.context", figure));
    }
  }
  if (metadata) {
    const isOwn = model.isOwn && metadata.written === metadata.node;
    result.push(...declaredIn(config, model, "metadata", metadata.node, isOwn));
  }
  return result;
}

/** A declared figure beside the change: how it follows, or what to say when it stays. */
export interface Following {
  readonly edit: Edit | undefined;
  readonly note: string;
}

function editOf(config: YamlConfig, declared: Declared, digits: string): Edit | undefined {
  const span = ownSpan(declared.text);
  if (!declared.written || !span) return undefined;
  const isFromAlias = isAlias(declared.written);
  const edit = { ...(isFromAlias ? rangeOf(declared.written) : span), text: digits };
  const isQuoted = isScalar(declared.written) && declared.written.type !== "PLAIN";
  // In quotes the number of a macro would become a text.
  const isReference = config.text.slice(span.start, span.end).includes("${");
  return isQuoted && isReference ? { ...rangeOf(declared.written), text: digits } : edit;
}

/**
 * Those declared figures that held the old size, or one slot's share of it, follow; all others stay.
 *
 * @param macro the one that the change sets, if it does: figures that use it follow by themselves
 */
export function follow(
  config: YamlConfig,
  located: Located,
  macro: Scalar | undefined,
  { old, tokens }: { old: number | undefined; tokens: number },
): Following[] {
  return declaredFigures(config, located.model).flatMap((declared) => {
    const held = tokensOf(declared.text.text);
    const at = `${declared.path} (${placeOf(declared.position)})`;
    if (declared.isTrained) {
      const note = `${at} is what the model was trained for and stays at ${shown(declared.text.text)}.`;
      return [{ edit: undefined, note }];
    }
    const isTotal = held !== undefined && held === old;
    const isShare = old !== undefined && held === shareOf(old, located.slots);
    const wanted = isTotal ? tokens : shareOf(tokens, located.slots);
    const followsMacro = macro && declared.text.traces.some((trace) => trace.scalar === macro);
    if (followsMacro || held === tokens || (isShare && held === wanted)) return [];
    const why = isTotal || isShare ? "is shared and stays" : "is another figure and stays";
    const note = `${at} ${why} at ${shown(declared.text.text)}.`;
    return [{ edit: isTotal || isShare ? editOf(config, declared, String(wanted)) : undefined, note }];
  });
}
