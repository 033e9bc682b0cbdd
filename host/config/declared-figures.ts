import { isMap, isScalar, type Node } from "yaml";
import { isTrainedLength } from "../../lib/trained-length.ts";
import { namesContext } from "./context-setting.ts";
import { type Position, positionAt, type TracedText } from "./traced-text.ts";
import { expand, type Found, lookUp, type Model, pairsOf, target, type YamlConfig } from "./yaml/config.ts";
import { startOf } from "./yaml/context.ts";

/** A figure that a model declares beside its command. */
export interface Declared {
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
export function declaredFigures(config: YamlConfig, model: Model): Declared[] {
  const capabilities = lookUp(config.anchors, model.mapping, "capabilities");
  const metadata = lookUp(config.anchors, model.mapping, "metadata");
  const result: Declared[] = [];
  if (isMap(capabilities?.node)) {
    const context = lookUp(config.anchors, capabilities.node, "context");
    const isOwn = model.isOwn && capabilities.written === capabilities.node;
    if (context) {
      const written = isOwn ? context.written : undefined;
      result.push(
        ...declaredAt(config, model, "capabilities.context", {
          node: context.node,
          written,
          isTrained: false,
        }),
      );
    }
  }
  if (metadata) {
    const isOwn = model.isOwn && metadata.written === metadata.node;
    result.push(...declaredIn(config, model, "metadata", metadata.node, isOwn));
  }
  return result;
}
