import { isSecretName } from "./names.ts";
import { Findings } from "./spans.ts";

/** One word of a command line, as a shell would split it. */
interface Word {
  readonly start: number;
  readonly end: number;
  /** Without quotes and escapes. */
  readonly value: string;
  /** Where each unit of `value` stands in the text; undefined where it stands as it is. */
  readonly places: readonly number[] | undefined;
}

/** How deep a command may stand in the quotes of another, as in `sh -c "…"`. */
const MAX_DEPTH = 4;
const BLANK = /[ \t\r\n]/;
/** A flag, and not a secret that happens to begin with a dash. */
const FLAG = /^(--[a-z][a-z-]*(=.*)?|-[a-z]{1,3})$/s;
const SCRIPT_FLAG = /^-[a-z]*c$/;
const SCHEME = /^(bearer|basic|token|digest|apikey|negotiate)$/i;

/** Whether a backslash here continues the line; llama-swap takes it for a blank, even with blanks behind it. */
function continues(text: string, at: number): boolean {
  return text.charAt(at) === "\\" && /^[ \t\r]{0,64}(\n|$)/.test(text.slice(at + 1, at + 66));
}

/** The index behind blanks, continued lines and comment lines. */
function skipBlanks(text: string, from: number): number {
  let isLineStart = from === 0;
  for (let at = from; at < text.length; at += 1) {
    const char = text.charAt(at);
    if (char === "\n") isLineStart = true;
    else if (char === "#" && isLineStart) {
      const end = text.indexOf("\n", at);
      if (end < 0) return text.length;
      at = end;
    } else if (!BLANK.test(char) && !continues(text, at)) return at;
  }
  return text.length;
}

/**
 * Reads one word.
 *
 * @param literal quotes that never close further on, and stand for themselves; learned here, so that each is
 *   searched for once
 */
function readWord(text: string, start: number, literal: Set<string>): Word {
  const plain = /[^ \t\r\n"'\\]+(?=[ \t\r\n]|$)/y;
  plain.lastIndex = start;
  const whole = plain.exec(text)?.[0];
  if (whole !== undefined) return { start, end: start + whole.length, value: whole, places: undefined };
  const places: number[] = [];
  const units: string[] = [];
  let quote = "";
  let at = start;
  for (; at < text.length; at += 1) {
    const char = text.charAt(at);
    const next = text.charAt(at + 1);
    if (quote === "" && (BLANK.test(char) || continues(text, at))) break;
    if (char === "\\" && quote !== "'" && next !== "" && !/[\r\n]/.test(next)) {
      at += 1;
      places.push(at);
      units.push(next);
    } else if (quote === "" && /["']/.test(char) && !literal.has(char)) quote = char;
    else if (char === quote) quote = "";
    else {
      places.push(at);
      units.push(char);
    }
  }
  if (quote !== "") return readWord(text, start, literal.add(quote));
  return { start, end: at, value: units.join(""), places };
}

function wordsOf(text: string): Word[] {
  const words: Word[] = [];
  const literal = new Set<string>();
  for (let at = skipBlanks(text, 0); at < text.length; at = skipBlanks(text, at)) {
    const word = readWord(text, at, literal);
    words.push(word);
    at = word.end;
  }
  return words;
}

/** Hides what stands in this stretch, but not the quotes around all of it. */
function hideInner(text: string, start: number, end: number, name: string, found: Findings): void {
  const first = text.charAt(start);
  const isQuoted = /["']/.test(first) && end - start > 1 && text.charAt(end - 1) === first;
  if (isQuoted) found.hideValue(text, start + 1, end - 1, name);
  else found.hideValue(text, start, end, name);
}

/** Where a unit of a word's value stands in the text; undefined behind the last one. */
function placeOf(word: Word, index: number): number | undefined {
  if (word.places) return word.places[index];
  return index < word.value.length ? word.start + index : undefined;
}

/** The place in the text at which a word's own text goes on. */
function placeIn(text: string, word: Word, index: number): number {
  const place = placeOf(word, index);
  if (place === undefined) return word.end;
  // The quote before it belongs to it, unless the whole word is quoted.
  const before = place - 1;
  const isOpening = index > 0 && /["']/.test(text.charAt(before)) && (placeOf(word, index - 1) ?? 0) < before;
  return isOpening ? before : place;
}

/** A word that begins like `NAME=…`, `--flag=…`, `--env=NAME=…` or `Header: …`; what comes behind the name. */
function readAssignment(value: string): { name: string; at: number } | undefined {
  const name = /-{0,2}([A-Za-z_][\w.-]*)(=|:(?!\/\/))/y;
  for (let depth = 0; depth < 3; depth += 1) {
    const match = name.exec(value);
    if (!match) return undefined;
    const [, found = "", sign] = match;
    if (isSecretName(found)) {
      const blanks = sign === ":" ? (/^[ \t]*/.exec(value.slice(name.lastIndex))?.[0].length ?? 0) : 0;
      return { name: found, at: name.lastIndex + blanks };
    }
    if (sign === ":") return undefined;
  }
  return undefined;
}

/** Takes what was found in a word's own text over to the text around it. */
function addInner(word: Word, inner: Findings, found: Findings): void {
  for (const { start, end } of inner.spans) {
    const last = placeOf(word, end - 1);
    found.spans.push({
      start: placeOf(word, start) ?? word.start,
      end: last === undefined ? word.end : last + 1,
    });
  }
  for (const macro of inner.macros) found.macros.add(macro);
}

/** What the last words say about the next one. */
interface Expectation {
  /** The flag whose value comes next. */
  readonly name: string | undefined;
  readonly isScript: boolean;
}

function findInWord(
  text: string,
  word: Word,
  before: Expectation,
  found: Findings,
  depth: number,
): Expectation {
  const { value } = word;
  const isScript = SCRIPT_FLAG.test(value);
  if (before.name !== undefined && !FLAG.test(value)) {
    if (SCHEME.test(value) && /auth/i.test(before.name)) return before;
    hideInner(text, word.start, word.end, before.name, found);
    return { name: undefined, isScript };
  }
  const holdsMore = /\s/.test(value);
  const assignment = before.isScript && holdsMore ? undefined : readAssignment(value);
  if (assignment) {
    const { name, at } = assignment;
    if (at >= value.length) {
      const goesOn = value.startsWith("-") || value.endsWith(":");
      return { name: goesOn ? name : undefined, isScript };
    }
    const end = /^["']/.test(text.charAt(word.start))
      ? (placeOf(word, value.length - 1) ?? word.end) + 1
      : word.end;
    hideInner(text, placeIn(text, word, at), end, name, found);
    return { name: undefined, isScript };
  }
  if (holdsMore && depth < MAX_DEPTH) {
    const inner = new Findings();
    findInCommand(value, inner, depth + 1);
    addInner(word, inner, found);
  }
  const isFlag = /^--?[A-Za-z][\w.-]*$/.test(value) && isSecretName(value);
  return { name: isFlag ? value : undefined, isScript };
}

/**
 * Finds the values of secret flags, variables and headers in a command line, in any of the forms
 * `--api-key X`, `--api-key=X`, `HF_TOKEN=X`, `-e HF_TOKEN=X`, `-H "Authorization: Bearer X"`, also within the
 * script of a `sh -c` and over continued lines. Words are split as a shell does; a quote that never closes
 * stands for itself.
 */
export function findInCommand(text: string, found: Findings, depth = 0): void {
  let expected: Expectation = { name: undefined, isScript: false };
  for (const word of wordsOf(text)) expected = findInWord(text, word, expected, found, depth);
}
