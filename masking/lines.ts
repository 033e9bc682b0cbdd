import { isModelToken, isSecretName, isSecretParameter, SUSPICIOUS } from "./names.ts";
import type { Findings } from "./spans.ts";
import { bareEnd, findClose, quoteAt, quoteBefore, type Room, readItems, readValue } from "./values.ts";

/** What kind of text is shown. */
export type TextKind = "yaml" | "ini" | "command" | "log";

/** One name that may stand before a secret, and the line on which it stands. */
interface Place {
  readonly text: string;
  readonly kind: TextKind;
  /** With dashes before it. */
  readonly start: number;
  readonly end: number;
  readonly name: string;
  readonly isFlag: boolean;
  readonly lineStart: number;
  readonly lineEnd: number;
}

const NAME_UNIT = /[\w.-]/;
const MAX_NAME_LENGTH = 128;
const SCHEME = /^(?:(Digest|Negotiate)|Bearer|Basic|Token|ApiKey)[ \t]+/i;
/** `API key: X` and the like, as a log says it: the words before `key`, and those that may stand before the sign. */
const SPOKEN =
  /(?:^|[^\w.-])(?:api|access|account|admin|auth|encryption|license|master|private|secret|service|shared|signing)[ \t]{1,3}$/i;
const SAID =
  /^(?:[ \t]{1,3}(?:configured|expected|found|given|got|is|of|provided|received|sent|set|supplied|to|used|value|was)\b){1,3}/i;
/** What no sentence goes on with: `is invalid` does, `is 4fG2xyz` does not. */
const RANDOM_WORD = /^(?=\S*\d)\S{6,}|^\S{24,}/;
/** Line ends, lines that are comments, and what a list puts before its next item. */
const GAP = /^(?:[ \t\r]*(?:#[^\n]*)?\n)*[ \t]*(?:- +)?/;
/** Words of a sentence about a flag, which are not its value. */
const PROSE = /^(a|an|and|argument|as|flag|for|has|is|may|must|not|option|or|requires|the|to|was|with)\b/;

function skipBlanks(text: string, from: number, end: number): number {
  let at = from;
  while (at < end && /[ \t]/.test(text.charAt(at))) at += 1;
  return at;
}

function isSpoken(place: Place): boolean {
  return /^keys?$/i.test(place.name) && !place.isFlag && SPOKEN.test(before(place));
}

/** Where the words end that stand between a spoken name and its value: `API key provided: X`, `API key is 'X'`. */
function afterSaid(place: Place): number {
  return (
    place.end +
    (SAID.exec(place.text.slice(place.end, Math.min(place.lineEnd, place.end + 60)))?.[0].length ?? 0)
  );
}

/** The beginning of the line before a name, or the last part of it. */
function before(place: Place, length = 80): string {
  return place.text.slice(Math.max(place.lineStart, place.start - length), place.start);
}

/** Whether the name is the first of its line, so that its value takes the rest of it. */
function isLineKey(place: Place): boolean {
  const isShort = place.start - place.lineStart <= 200;
  return isShort && /^[\s#;?\uFEFF-]*["']?$/.test(before(place, 200)) && !place.isFlag;
}

/** Where the value of a flag begins that follows behind blanks, perhaps on the next line; -1 for none. */
function afterFlag(place: Place, at: number, isQuoted: boolean): number {
  const { text, kind, lineEnd } = place;
  if (isQuoted) {
    const gap = /^[\s,]{0,80}/.exec(text.slice(at, at + 80))?.[0].length ?? 0;
    return gap > 0 && quoteAt(text, at + gap) !== "" ? at + gap : -1;
  }
  let from = skipBlanks(text, at, lineEnd);
  const rest = text.slice(from, Math.min(lineEnd, from + 3)).trim();
  if (rest === "" || rest === "\\") {
    if (kind === "log" || kind === "ini" || lineEnd >= text.length) return -1;
    const gap = GAP.exec(text.slice(lineEnd, lineEnd + 400))?.[0].length ?? 0;
    from = lineEnd + gap;
    // In a config that may be the next key.
    const isKey = /^("[^"\n]{1,80}"|'[^'\n]{1,80}'|[\w.${}-]{1,80}):(\s|$)/.test(text.slice(from, from + 90));
    if (kind === "yaml" && rest === "" && isKey) return -1;
  } else if (from === at) return -1;
  if (/^(--[a-z][a-z-]*([\s=]|$)|-[a-z]{1,3}(\s|$))/.test(text.slice(from, from + 80))) return -1;
  return kind === "log" && PROSE.test(text.slice(from, from + 12)) ? -1 : from;
}

/** Where the value begins and how far it may reach; undefined where none follows the name. */
function findSign(place: Place): { at: number; quote: string; sign: string } | undefined {
  const { text, kind, lineEnd } = place;
  let quote = quoteBefore(text, place.start);
  const isQuoted = quote !== "" && text.startsWith(quote, place.end);
  const nameEnd = isQuoted ? place.end + quote.length : place.end;
  if (isQuoted) quote = "";
  const at = skipBlanks(text, nameEnd, lineEnd);
  const sign = text.charAt(at);
  const next = text.charAt(at + 1);
  if (sign === "=" && next !== "=") {
    const from = next === ">" ? at + 2 : at + 1;
    if (kind === "command" && at === nameEnd && /\s/.test(next)) return undefined;
    return { at: skipBlanks(text, from, lineEnd), quote, sign };
  }
  if (sign === ":" && next !== ":" && !text.startsWith("//", at + 1))
    return { at: skipBlanks(text, at + 1, lineEnd), quote, sign };
  if (isSpoken(place)) {
    const said = afterSaid(place);
    const from = skipBlanks(text, said, lineEnd);
    if (/[:=]/.test(text.charAt(from)))
      return { at: skipBlanks(text, from + 1, lineEnd), quote: "", sign: ":" };
    const isValue =
      quoteAt(text, from) !== "" || RANDOM_WORD.test(text.slice(from, Math.min(lineEnd, from + 200)));
    return isValue ? { at: from, quote: "", sign: " " } : undefined;
  }
  if (!place.isFlag) return undefined;
  const from = afterFlag(place, nameEnd, isQuoted);
  return from < 0 ? undefined : { at: from, quote, sign: " " };
}

function roomOf(place: Place, sign: string): Room {
  const { kind } = place;
  const lead = before(place);
  if (/[?&]$/.test(lead)) return "parameter";
  const isKey = (kind === "yaml" && sign === ":") || (kind === "ini" && sign === "=");
  if (isKey && isLineKey(place)) return "line";
  if (kind === "yaml" && sign === ":" && /[[{,]\s*["']?$/.test(lead)) return "flow";
  return kind === "log" ? "log" : "word";
}

/** Hides the values on the lines that belong to a key whose own line holds none. @returns where they end */
function hideBlock(place: Place, found: Findings): number {
  const { text, lineStart, lineEnd, name } = place;
  const indent = /^ */.exec(text.slice(lineStart, lineStart + 200))?.[0].length ?? 0;
  let end = lineEnd;
  while (end < text.length) {
    const start = end + 1;
    const next = text.indexOf("\n", start);
    const stop = next < 0 ? text.length : next;
    const line = text.slice(start, stop);
    const own = /^ */.exec(line)?.[0].length ?? 0;
    const isItem = /^ *(- |-$|[\]}])/.test(line) && own === indent;
    if (line.trim() !== "" && own <= indent && !isItem) break;
    const lead = /^\s*(# *(?=- ))?(- +)*([\w.-]{1,80}:\s+)?([&!][^\s]{0,80}\s+)*/.exec(line)?.[0].length ?? 0;
    if (/^\s*[[{]/.test(line)) {
      for (const item of readItems(text, start, stop).items)
        found.hideValue(text, item.start, item.end, name);
    } else if (lead < line.length && !/^\s*(#(?! *- )|[\]}])/.test(line)) {
      const value = readValue(text, start + lead, stop, "line");
      found.hideValue(text, value.start, value.end, name);
    }
    end = stop;
  }
  return end;
}

/** Hides what follows the sign behind a secret name. @returns the index at which to go on */
function hideFollowing(place: Place, found: Findings): number {
  const { text, kind, name } = place;
  const follows = findSign(place);
  if (!follows) return place.end;
  const { sign, quote } = follows;
  const room = roomOf(place, sign);
  let { at } = follows;
  const newline = text.indexOf("\n", at);
  const end = at <= place.lineEnd ? place.lineEnd : newline < 0 ? text.length : newline;
  if (room === "line" && kind === "yaml")
    at += /^([&!]\S{0,80}[ \t]+)*/.exec(text.slice(at, end))?.[0].length ?? 0;
  const isComment = before(place, 200).includes("#");
  const opens = room === "line" && kind === "yaml" && !isComment;
  if (opens && /^([|>][-+\d]{0,2}|[&!]\S{0,80})?[ \t\r]*(#.*)?$/.test(text.slice(at, end)))
    return hideBlock(place, found);
  if (/[[{]/.test(text.charAt(at)) && sign !== " ") {
    const { items, next, isOpen } = readItems(text, at, end);
    for (const item of items) found.hideValue(text, item.start, item.end, name);
    return isOpen && opens ? hideBlock(place, found) : next;
  }
  // An alias stands for a value elsewhere.
  if (kind === "yaml" && sign === ":" && /^\*[\w.-]+\s*([,}#]|$)/.test(text.slice(at, end))) return at;
  const isScript = quote !== "" && /(^|\s)-[a-z]*c\s+(\\?["']|'')$/.test(before(place, 20));
  const close = quote === "" || isScript ? -1 : findClose(text, at, end, quote);
  if (close >= 0) {
    found.hideValue(text, at, close, name);
    return close;
  }
  const scheme = /auth|bearer/i.test(name) ? SCHEME.exec(text.slice(at, Math.min(end, at + 40))) : null;
  const value =
    scheme?.[1] || /cookie/i.test(name)
      ? { start: at, end: bareEnd(text, at, end, "line"), next: end }
      : readValue(text, at + (scheme?.[0].length ?? 0), end, room);
  found.hideValue(text, value.start, value.end, name);
  return Math.max(value.next, place.end);
}

/** The whole name around a suspicious word, its dashes apart. */
function nameAround(text: string, at: number, length: number): { start: number; from: number; end: number } {
  let start = at;
  while (start > 0 && at - start < MAX_NAME_LENGTH && NAME_UNIT.test(text.charAt(start - 1))) start -= 1;
  let end = at + length;
  while (end - at < MAX_NAME_LENGTH && NAME_UNIT.test(text.charAt(end))) end += 1;
  let from = start;
  while (text.charAt(from) === "-") from += 1;
  return { start, from, end };
}

function isSecret(place: Place): boolean {
  const { name } = place;
  const lead = before(place);
  if (/[?&]$/.test(lead)) return isSecretParameter(name);
  if (/^tokens?$/i.test(name) && !place.isFlag && isModelToken(/(\w+)[ \t]+$/.exec(lead)?.[1] ?? ""))
    return false;
  return isSecretName(name) || isSpoken(place) || (place.isFlag && name === "hft");
}

/**
 * Finds the values behind secret names on any text, line by line: `name: value`, `name = value`, `--name value`,
 * `NAME=value` and `"name": "value"`, also in comments and in text that no parser accepts.
 *
 * @param macros names that count as secret keys too
 */
export function findInLines(
  text: string,
  kind: TextKind,
  found: Findings,
  macros: ReadonlySet<string> = new Set(),
): void {
  const words = [...macros].map((name) => name.replace(/[.-]/g, "\\$&"));
  const pattern = new RegExp([SUSPICIOUS.source, ...words].join("|"), "gi");
  let lineStart = 0;
  let lineEnd = -1;
  for (let match = pattern.exec(text); match; match = pattern.exec(text)) {
    while (lineEnd < match.index) {
      lineStart = lineEnd + 1;
      const next = text.indexOf("\n", lineStart);
      lineEnd = next < 0 ? text.length : next;
    }
    const { start, from, end } = nameAround(text, match.index, match[0].length);
    const name = text.slice(from, end);
    const isFlag = from > start;
    const place = { text, kind, start, end, name, isFlag, lineStart, lineEnd };
    pattern.lastIndex = Math.max(end, match.index + match[0].length);
    if (isSecret(place) || (macros.has(name) && isLineKey(place)))
      pattern.lastIndex = Math.max(hideFollowing(place, found), pattern.lastIndex);
  }
}
