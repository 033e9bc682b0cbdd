import { isAlias, isCollection, isScalar, type Node } from "yaml";
import { applyEdits, type Edit, type Span } from "../traced-text.ts";
import { lookUp, type Model, type YamlConfig } from "./config.ts";
import { copyScalar, type ScalarCopy } from "./scalar-source.ts";

/** The stretch of a node, without the blanks and comments after it. */
export function rangeOf(node: Node): Span {
  return { start: node.range?.[0] ?? 0, end: node.range?.[1] ?? 0 };
}

export function lineEndOf(text: string): string {
  return text.includes("\r\n") ? "\r\n" : "\n";
}

/** The offset of the line end at or after an offset; the text's end without one. */
export function endOfLine(text: string, offset: number): number {
  const at = text.indexOf("\n", offset);
  return at < 0 ? text.length : at;
}

/** What stands before an offset on its line, when that is only blanks. */
function indentAt(text: string, offset: number): string | undefined {
  const before = text.slice(text.lastIndexOf("\n", offset - 1) + 1, offset).replace(/^\uFEFF/, "");
  return /^ *$/.test(before) ? before : undefined;
}

/** The edits that write a copied scalar at a place where so far something else, or nothing, stands. */
function placeCopy(config: YamlConfig, place: Span, before: string, copy: ScalarCopy): Edit[] {
  const head = { ...place, text: before + copy.head };
  if (copy.lines.length === 0) return [head];
  const lineEnd = lineEndOf(config.text);
  const at = endOfLine(config.text, place.end);
  const isLast = at === config.text.length;
  const body = copy.lines.map((line) => line.replace(/\r$/, "")).join(lineEnd);
  const start = isLast ? at : at + 1;
  return [head, { start, end: start, text: isLast ? lineEnd + body : body + lineEnd }];
}

/**
 * Gives a model a `cmd` of its own in the place of one that it shares, with these edits in it.
 *
 * @param edits inside the shared scalar
 */
export function ownCommand(config: YamlConfig, model: Model, edits: readonly Edit[]): Edit[] | undefined {
  const { text, anchors } = config;
  const cmd = lookUp(anchors, model.mapping, "cmd");
  const scalar = cmd?.node;
  if (!cmd || !isScalar(scalar) || !model.isOwn || cmd.written === scalar) return undefined;
  const { start, end } = rangeOf(scalar);
  const written = applyEdits(
    text.slice(start, end),
    edits.map((edit) => ({ ...edit, start: edit.start - start, end: edit.end - start })),
  );
  const pair = model.mapping.items.find(({ key, value }) =>
    cmd.written ? value === cmd.written : isScalar(key) && key.source === "<<",
  );
  const key = isScalar(pair?.key) ? pair.key : undefined;
  const value = pair?.value;
  if (!key || (!isCollection(value) && !isAlias(value))) return undefined;
  const inFlow = model.mapping.flow === true;
  const indent = indentAt(text, rangeOf(key).start);
  if (!inFlow && indent === undefined) return undefined;
  const copy = copyScalar(scalar, written, `${indent ?? ""}  `, inFlow);
  if (!copy) return undefined;
  if (isAlias(value) && cmd.written) return placeCopy(config, rangeOf(value), "", copy);
  if (inFlow) {
    const at = rangeOf(value).end;
    return [{ start: at, end: at, text: `, cmd: ${copy.head}` }];
  }
  const lineEnd = lineEndOf(text);
  const at = endOfLine(text, rangeOf(value).end);
  const isLast = at === text.length;
  const lines = [`${indent}cmd: ${copy.head}`, ...copy.lines].join(lineEnd);
  return isLast
    ? [{ start: at, end: at, text: lineEnd + lines }]
    : [{ start: at + 1, end: at + 1, text: lines + lineEnd }];
}
