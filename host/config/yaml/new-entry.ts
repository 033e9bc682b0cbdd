/** Where a new model's block goes in llama-swap's YAML, and how its lines are written there. */
import { isAlias, isMap, isScalar, type Pair, type Scalar, type YAMLMap } from "yaml";
import { refusal } from "../refusals.ts";
import { isBlank, linesOf } from "../text-lines.ts";
import { applyEdits, type Edit, positionAt } from "../traced-text.ts";
import { lookUp, ownKeys, type YamlConfig } from "./config.ts";
import { firstWithComment, linesOfEntry } from "./entries.ts";
import { endOfLine, lineEndOf, rangeOf } from "./own-command.ts";
import type { ScalarCopy } from "./scalar-source.ts";

/** One setting of a new block: `name: head`, and the lines below it, which have their indentation already. */
export interface Setting extends ScalarCopy {
  readonly name: string;
}

/** One way to write a new model. */
export interface Place {
  readonly inFlow: boolean;
  /** What its settings begin with, where they have lines of their own. */
  readonly inner: string;
  /** The id with its settings. */
  block(id: string, settings: readonly Setting[]): string;
  /** What writes a block there. It is a part of one edit's text. */
  edits(block: string): Edit[];
}

/** A text with a new block, and where the block stands in it. */
export interface Placed {
  readonly text: string;
  readonly blockAt: number;
}

export function putBlock(text: string, place: Place, block: string): Placed {
  let moved = 0;
  for (const edit of place.edits(block)) {
    const at = edit.text.indexOf(block);
    if (at >= 0) return { text: applyEdits(text, place.edits(block)), blockAt: edit.start + moved + at };
    moved += edit.text.length - (edit.end - edit.start);
  }
  throw new RangeError("No edit holds the block.");
}

/** A key as it may stand in a block: in quotes unless every reader of YAML takes it for the same text. */
function keyOf(id: string): string {
  const isPlain = /^[A-Za-z][\w./+@:-]*$/.test(id) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(id);
  return isPlain && !id.endsWith(":") ? id : JSON.stringify(id);
}

/** How much deeper a block stands than its key. */
function stepBelow(text: string, pair: Pair): string | undefined {
  const { value } = pair;
  if (!isMap(value) || value.flow === true) return undefined;
  const [outer, inner] = [linesOfEntry(text, pair), linesOfEntry(text, value.items[0])];
  const step = outer && inner?.indent.startsWith(outer.indent) ? inner.indent.slice(outer.indent.length) : "";
  return step === "" ? undefined : step;
}

/** How much deeper each block of these stands, by the last one that shows it. */
function stepOf(text: string, map: YAMLMap): string {
  return map.items.map((pair) => stepBelow(text, pair)).findLast((step) => step !== undefined) ?? "  ";
}

interface Below {
  /** The start of a line, or the end of the text. */
  readonly at: number;
  readonly indent: string;
  readonly step: string;
  /** Lines before the block, as `models:`. */
  readonly head?: readonly string[];
  readonly others?: readonly Edit[];
}

/** On lines of its own, with a blank one before it or without. */
function onLines(text: string, { at, indent, step, head = [], others = [] }: Below, hasGap: boolean): Place {
  const lineEnd = lineEndOf(text);
  const inner = indent + step;
  const isEnded = at === 0 || text.charAt(at - 1) === "\n" || text.slice(0, at) === "\uFEFF";
  const before =
    (isEnded ? "" : lineEnd) + (hasGap ? lineEnd : "") + head.map((line) => line + lineEnd).join("");
  return {
    inFlow: false,
    inner,
    block: (id, settings) =>
      [
        `${indent}${keyOf(id)}:`,
        ...settings.flatMap(({ name, head: first, lines }) => [
          `${inner}${name}: ${first}`.trimEnd(),
          ...lines,
        ]),
      ].join(lineEnd),
    edits: (block) => [...others, { start: at, end: at, text: before + block + lineEnd }],
  };
}

/** After the last model of a block. */
function afterModels(text: string, models: YAMLMap): Place[] {
  const found = models.items.map((pair) => linesOfEntry(text, pair));
  const last = found.at(-1);
  if (!last) return [];
  const { lines } = last;
  const isApart = isBlank(lines[firstWithComment(last) - 1]);
  const hasGap = models.items.length === 1 || isApart;
  const below = { at: lines[last.last]?.end ?? text.length, indent: last.indent, step: stepOf(text, models) };
  return [onLines(text, below, hasGap), onLines(text, below, false)];
}

/** Below a `models:` without models; `{}` or `null` beside it goes. */
function belowEmpty(text: string, root: YAMLMap, pair: Pair): Place[] {
  const found = linesOfEntry(text, pair);
  const keyEnd = rangeOf(pair.key as Scalar).end;
  const colon = keyEnd + (/^[ \t]*:/.exec(text.slice(keyEnd))?.[0].length ?? 0);
  const end = rangeOf(pair.value as Scalar).end;
  const written = text.slice(colon, Math.max(colon, end));
  if (!found || written.includes("\n") || /[&!#]/.test(written)) return [];
  const step = stepOf(text, root);
  const others = written.trim() === "" ? [] : [{ start: colon, end, text: "" }];
  const at = found.lines[found.last]?.end ?? text.length;
  return [onLines(text, { at, indent: found.indent + step, step, others }, false)];
}

/** At the end of a file that has no `models:` yet. */
function atEnd(text: string, root: YAMLMap): Place[] {
  const lines = linesOf(text, "\n");
  const marker = lines.find(({ text: line }) => /^\.\.\.(\s|$)/.test(line));
  const at = marker?.start ?? text.length;
  const last = lines.findLast(({ end, text: line }) => end <= at && line.trim() !== "");
  const indent = (root.items[0] && linesOfEntry(text, root.items[0])?.indent) ?? "";
  const step = stepOf(text, root);
  const hasGap =
    last !== undefined && !isBlank(lines.findLast(({ end }) => end <= at)) && last.text.trim() !== "---";
  const below = { at, indent: indent + step, step, head: [`${indent}models:`] };
  return [onLines(text, below, hasGap), onLines(text, below, false)];
}

/** Inside `{}`, after the last entry; on a line of its own where that one is. */
function inBraces(text: string, map: YAMLMap, below?: string): Place {
  const last = map.items.at(-1);
  const isJson = isScalar(last?.key) && last.key.type === "QUOTE_DOUBLE";
  const key = (name: string): string =>
    isJson || !/^[A-Za-z][\w.-]*$/.test(name) ? JSON.stringify(name) : name;
  return {
    inFlow: true,
    inner: "",
    block: (id, settings) => {
      const plain = keyOf(id) === id ? key(id) : JSON.stringify(id);
      return `${plain}: {${settings.map(({ name, head }) => `${key(name)}: ${head}`).join(", ")}}`;
    },
    edits: (block) =>
      editsInBraces(text, map, last, below === undefined ? block : `${key(below)}: {${block}}`),
  };
}

function editsInBraces(text: string, map: YAMLMap, last: Pair | undefined, entry: string): Edit[] {
  const open = rangeOf(map).start + 1;
  if (!last) return [{ start: open, end: open, text: entry }];
  const end = rangeOf((last.value ?? last.key) as Scalar).end;
  const start = rangeOf(last.key as Scalar).start;
  const indent = text.slice(text.lastIndexOf("\n", start - 1) + 1, start);
  const comma = /^[ \t]*,/.exec(text.slice(end))?.[0].length;
  const rest = end + (comma ?? 0);
  const eol = endOfLine(text, rest);
  const lineEnd = lineEndOf(text);
  if (indent.trim() !== "") return [{ start: end, end, text: `, ${entry}` }];
  if (!/^[ \t]*(#.*)?\r?$/.test(text.slice(rest, eol)))
    return [{ start: end, end, text: `,${lineEnd}${indent}${entry}` }];
  const at = text.charAt(eol - 1) === "\r" ? eol - 1 : eol;
  if (comma !== undefined) return [{ start: at, end: at, text: `${lineEnd}${indent}${entry},` }];
  return [
    { start: end, end, text: "," },
    { start: at, end: at, text: `${lineEnd}${indent}${entry}` },
  ];
}

/**
 * All ways to write a new model, the most natural first.
 *
 * @throws {ServerError} that names the line, where the models are not written in the file's own `models:`
 */
export function placesFor(config: YamlConfig): Place[] {
  const { text, root, anchors } = config;
  const pair = root.items.find(({ key }) => isScalar(key) && key.value === "models");
  const value: unknown = pair?.value;
  if (isAlias(value) || (!pair && lookUp(anchors, root, "models"))) {
    const at = ownKeys(root).find(({ name }) => name === "models")?.offset ?? rangeOf(root).start;
    throw refusal(positionAt(text, at), "the models come from an anchor", "Write the new one by hand.");
  }
  if (!pair) return root.flow === true ? [inBraces(text, root, "models")] : atEnd(text, root);
  if (isMap(value) && value.items.length > 0) {
    return value.flow === true ? [inBraces(text, value)] : afterModels(text, value);
  }
  const inside = isMap(value) ? [inBraces(text, value)] : [];
  return root.flow === true ? inside : [...belowEmpty(text, root, pair), ...inside];
}
