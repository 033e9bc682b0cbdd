/**
 * Finds each place where a secret follows its name, as `name: value`, `name = value`, `--name value`,
 * `NAME=value` or `"name": "value"`. It reads the raw text and no parsed document, so it
 * also works in comments, in invalid YAML, and in a command inside the quotes of another.
 */
import { isModelToken, isSecretMacro, isSecretName, programFlag, SUSPICIOUS } from "./names.ts";
import {
  blockEnd,
  type Findings,
  findClose,
  hideAll,
  hideScalar,
  LINE_END,
  lineEndAfter,
  matchAt,
  type Place,
  quoteAt,
  readWord,
  type TextKind,
  wordEnd,
} from "./values.ts";

const LEAD = 200;
const BLANKS = /[ \t]*/y;
const SCHEME = /(?:(Digest|Negotiate)|Bearer|Basic|Token|ApiKey)[ \t]+/iy;
/** `API key: X` as in logs: the words before `key`, and those between it and the value. */
const SPOKEN =
  /(?:^|[^\w.-])(?:api|access|account|admin|auth|encryption|license|master|private|secret|service|shared|signing)[ \t]{1,3}$/i;
const SAID =
  /(?:[ \t]{1,3}(?:configured|expected|found|given|got|is|of|provided|received|sent|set|supplied|to|used|value|was)\b){0,3}[ \t]*/iy;
/** No sentence continues like this: `is invalid` does, `is 4fG2xyz` does not. */
const RANDOM_WORD = /(?=\S{0,40}\d)\S{6}|\S{24}/y;
/** Words that follow a flag in a sentence about it. */
const PROSE = /(a|an|and|argument|as|flag|for|has|is|may|must|not|option|or|requires|the|to|was|with)\b/y;
/** A comment of three or more words is an explanation. */
const SENTENCE = /[A-Za-z]+(?:,?[ \t]+[A-Za-z]+){2,}[ \t]*(?:[.;,(\r\n]|$)/y;
const FLAG = /--[a-z][a-z-]*(?:[\s=]|$)|-[a-z]{1,3}(?:\s|$)/y;
const YAML_KEY = /(?:"(?:[^"\\\n]|\\.){1,80}"|'[^'\n]{1,80}'|[\w.${}-]{1,80}):(?:\s|$)/y;

/** Whether the name is its line's key, whose value extends to the end of the line. */
function isLineKey({ kind, lead, isFlag }: Place, sign: string): boolean {
  if (kind === "yaml" && sign === "=") return /^[\s#]*- ["']?$/.test(lead);
  const isKey = (kind === "yaml" && sign === ":") || (kind === "ini" && sign === "=");
  return isKey && !isFlag && /^[\s#;?\uFEFF-]*["']?$/.test(lead);
}

function isSpoken({ name, isFlag, lead }: Place): boolean {
  return !isFlag && /^keys?$/i.test(name) && SPOKEN.test(lead);
}

/** Where the value of a flag begins, perhaps on the next line; -1 for none. */
function afterFlag({ text, kind, lineEnd }: Place, at: number, isQuoted: boolean): number {
  if (isQuoted) {
    const gap = matchAt(/[\s,]{1,80}(?:- +)?/y, text, at);
    const from = at + gap.length;
    const isKey = !gap.includes(",") && matchAt(YAML_KEY, text, from) !== "";
    const isValue = kind === "yaml" ? !isKey : /["'\\]/.test(text.charAt(from));
    return gap !== "" && isValue && matchAt(/["']?--?[a-z]/y, text, from) === "" ? from : -1;
  }
  let from = at + matchAt(BLANKS, text, at).length;
  const gap = matchAt(LINE_END, text, from);
  if (gap !== "") {
    if (kind === "log" || kind === "ini") return -1;
    from += gap.length;
    // In a config the next line may be the next key.
    if (kind === "yaml" && !gap.trimStart().startsWith("\\") && matchAt(YAML_KEY, text, from) !== "")
      return -1;
  } else if (from === at || from >= lineEnd) return -1;
  if (matchAt(FLAG, text, from) !== "") return -1;
  return kind === "log" && matchAt(PROSE, text, from) !== "" ? -1 : from;
}

/** The sign after a name, where the value begins, and the quote around both; undefined where no value follows. */
function findSign(place: Place): { sign: string; at: number; quote: string } | undefined {
  const { text, kind, lead, end } = place;
  const around = /(?:\\?["']|'')$/.exec(lead)?.[0] ?? "";
  const isQuoted = around !== "" && text.startsWith(around, end);
  const nameEnd = isQuoted ? end + around.length : end;
  const quote = isQuoted ? "" : around;
  const value = (at: number): number => at + matchAt(BLANKS, text, at).length;
  // YAML's `? name` has its colon on the next line.
  const at =
    kind === "yaml" && lead.endsWith("? ") ? nameEnd + matchAt(/\s*/y, text, nameEnd).length : value(nameEnd);
  const sign = matchAt(/=>?(?!=)|:(?!:|\/\/)/y, text, at);
  if (sign !== "") {
    const isComparison =
      sign === "=" && kind === "command" && at === nameEnd && /\s/.test(text.charAt(at + 1));
    return isComparison ? undefined : { sign: sign.charAt(0), at: value(at + sign.length), quote };
  }
  if (isSpoken(place)) {
    const from = end + matchAt(SAID, text, end).length;
    if (/[:=]/.test(text.charAt(from))) return { sign: ":", at: value(from + 1), quote: "" };
    const isValue = quoteAt(place, from) !== "" || matchAt(RANDOM_WORD, text, from) !== "";
    return isValue ? { sign: " ", at: from, quote: "" } : undefined;
  }
  const from = place.isFlag ? afterFlag(place, nameEnd, isQuoted) : -1;
  return from < 0 ? undefined : { sign: " ", at: from, quote: "" };
}

/** Hides the value after a name. @returns where to go on */
function hideAfter(place: Place): number {
  const { text, kind, name, lead, lineStart, lineEnd, found, start, end, open } = place;
  const after = findSign(place);
  if (!after) return end;
  const { sign, quote, at } = after;
  const isComment = /(^|\s)[#;]/.test(lead);
  if (isComment && !/pass|pwd/i.test(name) && matchAt(SENTENCE, text, at) !== "") return at;
  if (quote !== "" && sign !== " " && !/(^|\s)-[a-z]*c\s+(\\?["']|'')$/.test(lead)) {
    const close = findClose(text, at, Math.min(text.length, kind === "log" ? lineEnd : at + 4000), quote);
    if (close >= 0) {
      const next = close + quote.length;
      const isJoined = /[^\s,;:|\]})"]/.test(text.charAt(next)) && sign !== " ";
      const outside = { ...place, open: open === quote ? "" : open };
      const stop = isJoined ? wordEnd(outside, next, lineEndAfter(text, next)) : close;
      found.hideValue(text, at, stop, name);
      return stop;
    }
  }
  const column = start - lineStart - quote.length;
  if (isLineKey(place, sign)) {
    if (kind === "ini") return hideScalar(place, at, lineEnd, false);
    const isEmpty = at >= lineEnd || text.charAt(at) === "\r";
    const isBlock = !isComment || isEmpty;
    const blockStop = isBlock ? blockEnd(text, lineEnd, column, isComment) : lineEnd;
    return hideAll(place, at, Math.max(blockStop, lineEndAfter(text, at)));
  }
  if (kind !== "command" && sign !== " " && /[[{]/.test(text.charAt(at)))
    return hideAll(place, at, kind === "yaml" && !isComment ? blockEnd(text, lineEnd, 0, false) : lineEnd);
  if (kind === "yaml" && sign === " " && /["'][ \t]*,/y.test(text.slice(end, end + 9)))
    return hideScalar(place, at, text.length, true);
  if (kind === "yaml" && sign !== " " && (sign === ":" ? /[[{,]\s*["']?$/ : /\[[^\]]*$/).test(lead))
    return hideScalar(place, at + matchAt(/\s*/y, text, at).length, text.length, true);
  const scheme = /auth|bearer/i.test(name) ? matchAt(SCHEME, text, at) : "";
  if (/^[dn]/i.test(scheme) || /cookie/i.test(name)) return hideScalar(place, at, lineEnd, false);
  const word = readWord(place, at + scheme.length);
  found.hideValue(text, word.start, word.end, name);
  return Math.max(word.next, end);
}

/** Hides the value of a `-u` or `-p` whose meaning depends on the program. @returns where to go on */
function hideOfProgram(place: Place, flag: { length: number; isUser: boolean }): number {
  const { text, start, found } = place;
  const at = start + flag.length;
  const from = text.charAt(at) === "=" ? at + 1 : at < place.end ? at : afterFlag(place, at, false);
  const { start: first, end, next } = readWord(place, from < 0 ? at : from);
  if (!flag.isUser) found.hideValue(text, first, end, "password");
  else {
    const colon = text.indexOf(":", first);
    // A token may be the user, with an empty password.
    if (colon === end - 1) found.hideValue(text, first, colon, "password");
    else if (colon >= first && colon < end) found.hideValue(text, colon + 1, end, "password");
  }
  return Math.max(next, place.end);
}

function isSecret(place: Place, isMacro: boolean): boolean {
  const { name, lead, isFlag, found, kind, text, end } = place;
  // Parameters of an address are known by their shape.
  if (/[?&]$/.test(lead)) return false;
  const isKey =
    kind === "yaml" && /^["']?[ \t]*:\s/.test(text.slice(end, end + 20)) && /(^|[\s{,"'])$/.test(lead);
  if (isKey && (found.learned.has(name) || (isMacro && isSecretMacro(name)))) return true;
  if (!isFlag && /^tokens?$/i.test(name) && isModelToken(/(\w+)[ \t]+$/.exec(lead)?.[1] ?? "")) return false;
  return isSecretName(name) || isSpoken(place);
}

/** Hides what follows an anchor whose alias stands in the place of a secret. @returns where to go on */
function hideAnchored(place: Place): number {
  const { text, lead, lineEnd } = place;
  const at = place.end + matchAt(BLANKS, text, place.end).length;
  if (/[[{,]\s*&$/.test(lead)) return hideScalar(place, at, text.length, true);
  return hideAll(place, at, blockEnd(text, lineEnd, matchAt(/ */y, text, place.lineStart).length, false));
}

/** The quote that is open after a stretch, when `open` was before it; a line that is not continued closes it. */
function openQuote(stretch: string, open: string): string {
  let quote = open;
  for (const [sign] of stretch.matchAll(/\\[\s\S]|[a-z]'(?=(?:d|ll|m|re|s|t|ve)\b)|["'\n]/gi)) {
    if (sign === "\n") quote = "";
    else if (quote === "") quote = sign.length === 1 ? sign : "";
    else if (sign.endsWith(quote) && (sign.length === 1 || quote === "'")) quote = "";
  }
  return quote;
}

/** Finds the values of secret names, line by line, and learns the macros and anchors that stand in their place. */
export function findPlaces(text: string, kind: TextKind, found: Findings): void {
  const names = /[\w.-]+/g;
  let [lineStart, lineEnd, scanned, macrosEnd] = [0, lineEndAfter(text, 0), 0, 0];
  let open = "";
  for (let match = names.exec(text); match; match = names.exec(text)) {
    const start = match.index;
    const end = start + match[0].length;
    const [word] = match;
    const isCandidate =
      SUSPICIOUS.test(word) || (word.startsWith("-") && /^(--(proxy-)?user|-[puU])/.test(word));
    if (!isCandidate && word !== "macros" && start >= macrosEnd && found.learned.size === 0) continue;
    if (start > lineEnd) {
      lineStart = text.lastIndexOf("\n", start) + 1;
      lineEnd = lineEndAfter(text, start);
    }
    const lead = text.slice(Math.max(lineStart, start - LEAD), start);
    const name = word.replace(/^-+/, "");
    const isFlag = name.length < word.length;
    const place: Place = { text, kind, found, name, isFlag, start, end, lineStart, lineEnd, lead, open: "" };
    const flag = isFlag ? programFlag(word, text.slice(Math.max(0, start - LEAD), start)) : undefined;
    if (name === "macros" && kind === "yaml" && start >= macrosEnd)
      macrosEnd = blockEnd(text, lineEnd, start - lineStart, false);
    const isAnchor = text.charAt(start - 1) === "&" && found.learned.has(`&${name}`);
    if (!flag && !isAnchor && !isSecret(place, start < macrosEnd)) continue;
    open = openQuote(text.slice(scanned, start + 1), open);
    scanned = start;
    const whole = { ...place, open };
    const next = flag ? hideOfProgram(whole, flag) : isAnchor ? hideAnchored(whole) : hideAfter(whole);
    names.lastIndex = Math.max(next, end);
  }
}
