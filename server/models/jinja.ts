/**
 * As much of Jinja as shows which variables a chat template reads and which texts it holds. Pure. A template comes
 * over the network: of the library for it (@huggingface/jinja 0.5.11) the tokenizer takes minutes for one long run of
 * white space, and would hang pi.
 */

interface JinjaToken {
  kind: "name" | "text" | "sign";
  /** A text stands without its quotes, its escapes as written. */
  value: string;
}

export interface JinjaTag {
  /** Whether it prints (`{{ }}`) or is a statement (`{% %}`). */
  prints: boolean;
  tokens: readonly JinjaToken[];
}

export interface JinjaTemplate {
  tags: readonly JinjaTag[];
  /** What stands outside of tags and comments. */
  plain: string;
}

/** The longest public templates have about 20,000 characters. */
const MAX_LENGTH = 65_536;

/**
 * Takes a template apart, in one pass. What is not closed ends with the template; a template that is longer than
 * any real one is read as far as that.
 */
export function readJinja(source: string): JinjaTemplate {
  const template = source.slice(0, MAX_LENGTH);
  const tags: JinjaTag[] = [];
  const opening = /\{[%{#]/g;
  let plain = "";
  let at = 0;
  for (;;) {
    opening.lastIndex = at;
    const found = opening.exec(template);
    plain += template.slice(at, found?.index);
    if (found === null) return { tags, plain };
    const start = found.index + 2;
    if (found[0] === "{#") {
      const end = template.indexOf("#}", start);
      at = end < 0 ? template.length : end + 2;
      continue;
    }
    const prints = found[0] === "{{";
    const { tokens, end } = readTag(template, start, prints ? "}}" : "%}");
    tags.push({ prints, tokens });
    at = end;
  }
}

function readTag(template: string, start: number, close: string): { tokens: JinjaToken[]; end: number } {
  const tokens: JinjaToken[] = [];
  const name = /[A-Za-z_]\w*/y;
  // Two braces in a row close a tag only where no dictionary is open.
  let depth = 0;
  let at = start;
  while (at < template.length) {
    const character = template.charAt(at);
    if (depth === 0 && template.startsWith(close, at)) return { tokens, end: at + 2 };
    if (character === "'" || character === '"') {
      const end = closingQuote(template, at);
      tokens.push({ kind: "text", value: template.slice(at + 1, end) });
      at = end + 1;
      continue;
    }
    name.lastIndex = at;
    const word = name.exec(template)?.[0];
    if (word !== undefined) tokens.push({ kind: "name", value: word });
    const sign = template.startsWith("==", at) ? "==" : character;
    if (word === undefined && sign.trim() !== "") tokens.push({ kind: "sign", value: sign });
    if (sign === "{") depth += 1;
    if (sign === "}") depth = Math.max(0, depth - 1);
    at += (word ?? sign).length;
  }
  return { tokens, end: template.length };
}

function closingQuote(template: string, start: number): number {
  const quote = template.charAt(start);
  for (let at = start + 1; at < template.length; at += 1) {
    const character = template.charAt(at);
    if (character === quote) return at;
    if (character === "\\") at += 1;
  }
  return template.length;
}

/** Whether a tag reads a variable: an attribute, an argument's name and what is only assigned to are none. */
export function readsIn(tag: JinjaTag, variable: string): boolean {
  return tag.tokens.some(
    ({ kind, value }, at) =>
      kind === "name" &&
      value === variable &&
      tag.tokens[at - 1]?.value !== "." &&
      tag.tokens[at + 1]?.value !== "=",
  );
}

/** Whether a variable comes from the request: it is read before the template gives it a value of its own. */
export function takesVariable({ tags }: JinjaTemplate, variable: string): boolean {
  for (const tag of tags) {
    if (readsIn(tag, variable)) return true;
    if (assigns(tag, variable)) return false;
  }
  return false;
}

export function assigns({ tokens }: JinjaTag, variable: string): boolean {
  return tokens.some(
    ({ value }, at) => value === "set" && tokens[at + 1]?.value === variable && tokens[at + 2]?.value === "=",
  );
}

export function textsIn(tag: JinjaTag): string[] {
  return tag.tokens.flatMap(({ kind, value }) => (kind === "text" ? [value] : []));
}
