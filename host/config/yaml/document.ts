/** llama-swap's YAML as a document: parsed, with its aliases followed. What it means is in `config.ts`. */
import {
  type Alias,
  type Document,
  isAlias,
  type Node,
  parseDocument,
  visit,
  type YAMLParseError,
} from "yaml";
import { sentenceOf } from "../../../lib/errors.ts";
import { cleanText } from "../../../lib/text.ts";
import { refusal } from "../refusals.ts";
import { positionAt } from "../traced-text.ts";

/**
 * How a document becomes plain values. An anchor may be used by a thousand models; what grows by aliases of aliases
 * passes that at once.
 */
export const AS_PLAIN = { mapAsMap: true, maxAliasCount: 1000 } as const;

export type Anchors = ReadonlyMap<Alias, Node>;

export interface YamlDocument {
  /** As it was read: of the same length as the file, but variables of the environment may be masked in it. */
  readonly text: string;
  readonly document: Document;
  readonly anchors: Anchors;
  /** The document as plain values, aliases and merge keys resolved; mappings are `Map`s. */
  readonly plain: unknown;
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

/** @throws {ServerError} that names line and column, where YAML itself is broken */
export function readYamlDocument(source: string): YamlDocument {
  const { document, text } = parseText(source);
  refuseErrors(text, document.errors);
  return { text, document, anchors: readAnchors(document, text), plain: plainOf(document) };
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
