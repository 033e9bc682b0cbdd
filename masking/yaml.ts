import { isAlias, isMap, isPair, isScalar, isSeq, type Pair, parseAllDocuments, type Scalar } from "yaml";
import { findInCommand } from "./command.ts";
import { findInLines } from "./lines.ts";
import { isSecretMacro, isSecretName } from "./names.ts";
import { readScalar } from "./scalar.ts";
import { findShapes } from "./shapes.ts";
import { Findings, joined, type Span } from "./spans.ts";

/** A larger text is searched line by line alone: the parser would take seconds. */
const MAX_LENGTH = 262_144;

/** What the keys above a node say about it. */
interface Above {
  /** The secret name that holds for all below it. */
  readonly secret: string | undefined;
  readonly isMacros: boolean;
  readonly isList: boolean;
}

const TOP: Above = { secret: undefined, isMacros: false, isList: false };
const ASSIGNMENT = /^\s*([A-Za-z_][\w.-]*)=/;
const FLAG = /^--?[A-Za-z][\w.-]*$/;

/** Reads what a config says, with the help of its parser: every scalar in every style, anchors and macros. */
class YamlReader {
  readonly found = new Findings();
  /** The stretches of all scalars: what stands there is judged here and not by the look of its line. */
  readonly scalars: Span[] = [];
  readonly #text: string;
  readonly #anchors = new Map<string, unknown>();
  readonly #hidden = new Set<unknown>();
  /** Values by the name of their macro. */
  readonly #macros: { name: string; value: unknown }[] = [];

  constructor(text: string) {
    this.#text = text;
  }

  read(node: unknown, above: Above): void {
    if (isAlias(node)) {
      if (node.range) this.scalars.push({ start: node.range[0], end: node.range[1] });
      const target = this.#anchors.get(node.source);
      if (above.secret !== undefined) this.#hideAll(target, above.secret);
      else if (above.isList && isScalar(target)) this.#readScalar(target, above);
      return;
    }
    if ((isScalar(node) || isMap(node) || isSeq(node)) && node.anchor) this.#anchors.set(node.anchor, node);
    if (isScalar(node)) this.#readScalar(node, above);
    else if (isMap(node)) for (const pair of node.items) this.#readPair(pair, above);
    else if (isSeq(node)) this.#readList(node.items, above);
    else if (isPair(node)) this.#readPair(node, above);
  }

  /** Hides the values of the macros that stand for a secret, and of those that they refer to. */
  hideMacros(): void {
    for (let size = -1; size !== this.found.macros.size; ) {
      size = this.found.macros.size;
      for (const { name, value } of this.#macros)
        if (this.found.macros.has(name)) this.#hideAll(value, "secret");
    }
  }

  #readPair(pair: Pair, above: Above): void {
    const name = isScalar(pair.key) ? String(pair.key.value) : "";
    if (isScalar(pair.key) && pair.key.range)
      this.scalars.push({ start: pair.key.range[0], end: pair.key.range[1] });
    else this.read(pair.key, TOP);
    if (above.isMacros) this.#macros.push({ name, value: pair.value });
    const isSecret = above.isMacros ? isSecretMacro(name) : isSecretName(name);
    const secret = above.secret ?? (isSecret ? name : undefined);
    this.read(pair.value, { secret, isMacros: name === "macros", isList: false });
  }

  #readList(items: readonly unknown[], above: Above): void {
    let flag: string | undefined;
    for (const item of items) {
      const value = isScalar(item) && typeof item.value === "string" ? item.value : "";
      this.read(item, { secret: above.secret ?? flag, isMacros: above.isMacros, isList: true });
      flag = FLAG.test(value) && isSecretName(value) ? value : undefined;
    }
  }

  /** Hides every scalar below a node, and what its aliases stand for. */
  #hideAll(node: unknown, name: string): void {
    if (this.#hidden.has(node)) return;
    this.#hidden.add(node);
    if (isAlias(node)) this.#hideAll(this.#anchors.get(node.source), name);
    else if (isScalar(node)) this.#hideScalar(node, name);
    else if (isSeq(node)) for (const item of node.items) this.#hideAll(item, name);
    else if (isMap(node)) for (const pair of node.items) this.#hideAll(pair.value, name);
  }

  #hideScalar(scalar: Scalar, name: string): void {
    const read = readScalar(scalar, this.#text);
    if (!read || read.text === "") return;
    const { start, end } = read.place(0, read.text.length);
    this.found.hideValue(this.#text, start, end, name);
  }

  #readScalar(scalar: Scalar, above: Above): void {
    if (scalar.range) this.scalars.push({ start: scalar.range[0], end: scalar.range[1] });
    if (above.secret !== undefined) this.#hideScalar(scalar, above.secret);
    else if (typeof scalar.value === "string") this.#readText(scalar, above.isList);
  }

  /** A text may be a command, and in a list a variable with its value. */
  #readText(scalar: Scalar, isItem: boolean): void {
    const read = readScalar(scalar, this.#text);
    if (!read) return;
    const found = new Findings();
    const assignment = isItem ? ASSIGNMENT.exec(read.text) : null;
    if (assignment?.[1] !== undefined && isSecretName(assignment[1]))
      found.hideValue(read.text, assignment[0].length, read.text.length, assignment[1]);
    else {
      findInCommand(read.text, found);
      findInLines(read.text, "command", found);
    }
    findShapes(read.text, found);
    for (const { start, end } of found.spans) this.found.spans.push(read.place(start, end));
    for (const macro of found.macros) this.found.macros.add(macro);
  }
}

/** What the parser makes of a text; undefined where it gives up. */
function parsed(text: string): { reader: YamlReader; isSound: boolean } | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  const reader = new YamlReader(text);
  try {
    const documents = parseAllDocuments(text, {
      strict: false,
      uniqueKeys: false,
      logLevel: "silent",
      prettyErrors: false,
    });
    if (!Array.isArray(documents)) return undefined;
    for (const document of documents) reader.read(document.contents, TOP);
    reader.hideMacros();
    return { reader, isSound: documents.every((document) => document.errors.length === 0) };
  } catch {
    // Too deep for the parser, or for the reader above.
    return undefined;
  }
}

/** Those that begin outside all of the others. */
function outside(spans: readonly Span[], others: readonly Span[]): Span[] {
  const all = joined(others);
  let at = 0;
  return joined(spans).filter((span) => {
    while (at < all.length && (all[at]?.end ?? 0) <= span.start) at += 1;
    return span.start < (all[at]?.start ?? Number.POSITIVE_INFINITY);
  });
}

/**
 * Finds the secrets of a llama-swap config. What the parser understands is judged by keys, anchors, macros and
 * whole command lines; comments, and all of a text that is no YAML, by the look of each line. Never throws.
 */
export function findInYaml(text: string, found: Findings): void {
  const known = parsed(text);
  if (known) {
    found.spans.push(...joined(known.reader.found.spans));
    for (const macro of known.reader.found.macros) found.macros.add(macro);
  }
  const lines = new Findings();
  findInLines(text, "yaml", lines);
  const isSound = known?.isSound === true;
  if (!isSound) findInLines(text, "yaml", lines, new Set([...found.macros, ...lines.macros]));
  const spans = isSound ? outside(lines.spans, known.reader.scalars) : lines.spans;
  for (const span of spans) found.spans.push(span);
}
