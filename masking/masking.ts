/**
 * Hides secrets in what is shown: configs, command lines and logs. Names show where one stands (`apiKeys`,
 * `--api-key`, `HF_TOKEN`), and some are known by their shape (`sk-…`, `hf_…`, `Bearer …`). Too much may be hidden;
 * where a name is known, too little never.
 */
import { isSecretParameter } from "./names.ts";
import { findPlaces } from "./places.ts";
import { Findings, type TextKind } from "./values.ts";

export { isSecretName } from "./names.ts";
export { blankerOf, type OwnSecrets } from "./own-secrets.ts";
export type { TextKind };

/** Escaped line ends and tabs, within quotes: blanks of the same length, so that a word ends there. */
function withoutEscapes(text: string): string {
  return text.replace(/\\([\s\S])/g, (pair, letter: string) => (/[nrt]/.test(letter) ? "  " : pair));
}

/**
 * The lines with every secret in them as `••••`. As many lines come out as went in, so that a diff of the originals
 * can be shown with masked lines. Never throws, whatever the text.
 *
 * @param lines the whole text, without its line ends: what a line means may depend on the others
 * @param kind `yaml` for llama-swap's config, `ini` for a llama.cpp preset, `command` for a command line of one or
 *   more lines, `log` for all other text
 */
export function maskLines(lines: readonly string[], kind: TextKind): string[] {
  const text = lines.join("\n");
  const read = kind === "yaml" || kind === "log" ? withoutEscapes(text) : text;
  const found = new Findings();
  // Once more for each macro or anchor that was learned: its own value is a secret.
  for (let known = -1; known < found.learned.size; ) {
    known = found.learned.size;
    findPlaces(read, kind, found);
  }
  findShapes(read, found);
  const shown = found.masked(text).split("\n");
  let end = 0;
  return lines.map((line) => {
    const from = end;
    end += line.split("\n").length;
    return shown.slice(from, end).join("\n");
  });
}

/** The text with every secret in it as `••••`; as {@link maskLines}, with all line ends kept. */
export function maskText(text: string, kind: TextKind): string {
  return maskLines(text.split("\n"), kind).join("\n");
}

/**
 * Tokens known by their first letters. The lookbehind matches each word once, so that a long word is not tried at each
 * of its letters.
 */
const TOKENS =
  /(?<![A-Za-z0-9_-])(?:(?:sk|pk|rk|gsk)[-_][A-Za-z0-9_-]{6,}|hf_[A-Za-z0-9]{8,}|gh[pousr]_[A-Za-z0-9]{8,}|github_pat_\w{10,}|glpat-[\w-]{10,}|xox[abeprs]-[\w-]{10,}|nvapi-[\w-]{10,}|npm_[A-Za-z0-9]{30,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|eyJ[\w-]{6,}(?:\.[\w-]*){1,4}|eyJ[\w-]{30,})/g;
const BEARER = /(?<![\w-])bearer[ \t]+([\w.~+/=-]{8,})/gi;
const KEY_BLOCK = /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----/g;

/** Random text has a digit or a capital letter, or is long; `hf_transfer` and `sk-learn` are names. */
function isRandom(token: string): boolean {
  return /\d|[A-Z]/.test(token) || token.length >= 28;
}

function findKeyBlocks(text: string, found: Findings): void {
  const lastEnd = text.lastIndexOf("-----END");
  for (const match of text.matchAll(KEY_BLOCK)) {
    const start = match.index + match[0].length;
    const end = lastEnd < start ? -1 : text.indexOf("-----END", start);
    // A sentence that quotes the line.
    if (end < 0 && /^ (?:or|and|is|but|in)\b/.test(text.slice(start, start + 5))) continue;
    // Without an end, at most as far as a key can reach.
    found.hide(start, end < 0 ? Math.min(text.length, start + 16_384) : end);
  }
}

/** `https://user:password@host`: hides the password; for http also a lone user, which is often a token. */
function findUserInfo(text: string, found: Findings): void {
  for (let at = text.indexOf("://"); at >= 0; at = text.indexOf("://", at + 3)) {
    const start = at + 3;
    const authority = /[^\s/?#"'`<>]*/y;
    authority.lastIndex = start;
    const run = authority.exec(text)?.[0] ?? "";
    const end = start + run.lastIndexOf("@");
    if (end < start) continue;
    const colon = text.indexOf(":", start);
    if (colon >= start && colon < end) found.hideValue(text, colon + 1, end, "password");
    else if (/https?$/i.test(text.slice(Math.max(0, at - 5), at)))
      found.hideValue(text, start, end, "password");
  }
}

function findParameters(text: string, found: Findings): void {
  for (const match of text.matchAll(/[?&]([A-Za-z][\w.-]{0,63})=([^&\s"'`#<>]+)/g)) {
    const [whole, name = "", value = ""] = match;
    if (!isSecretParameter(name)) continue;
    const end = match.index + whole.length;
    found.hideValue(text, end - value.length, end, name);
  }
}

/** Finds secrets by their own look: known tokens, private keys, passwords and tokens in URLs. */
function findShapes(text: string, found: Findings): void {
  for (const match of text.matchAll(TOKENS))
    if (isRandom(match[0].slice(3))) found.hide(match.index, match.index + match[0].length);
  for (const match of text.matchAll(BEARER)) {
    const token = match[1] ?? "";
    const end = match.index + match[0].length;
    if (isRandom(token)) found.hide(end - token.length, end);
  }
  findKeyBlocks(text, found);
  findUserInfo(text, found);
  findParameters(text, found);
}
