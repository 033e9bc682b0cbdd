import { isPlainValue } from "./names.ts";

/** Shown in place of a secret: always as long, so that it does not give away the secret's length. */
export const MASK = "••••";

/** `${name}` and `${env.NAME}`: a reference to a secret is no secret. */
const REFERENCE = /\$\{([\w.-]{1,80})\}/g;
const SHELL_VARIABLE = /^\$[A-Z_][A-Z0-9_]*$/;
const SCHEME = /^(?:Bearer|Basic|Token|Digest|ApiKey|Negotiate)[ \t]+/i;
/** The part of each line that is hidden: from its first letter to its end. */
const SHOWN = /\S(?:[^\r\n]|\r(?!\n|$))*/g;

/** What was found in one text. */
export class Findings {
  /** Macros, and anchors with their `&`, that are used in place of a secret: their own values are secrets. */
  readonly learned = new Set<string>();
  readonly #spans: { start: number; end: number }[] = [];

  /** Hides the value of a name, except references in it, the word `Bearer` and the like, and harmless values. */
  hideValue(text: string, start: number, end: number, name: string): void {
    const value = text.slice(start, end);
    if (isPlainValue(value.trim(), name) || SHELL_VARIABLE.test(value)) return;
    const scheme = /auth|bearer/i.test(name) ? (SCHEME.exec(value)?.[0].length ?? 0) : 0;
    let from = start + scheme;
    for (const match of value.slice(scheme).matchAll(REFERENCE)) {
      if (match[1] !== undefined) this.learned.add(match[1]);
      const at = start + scheme + match.index;
      this.hide(from, at);
      from = at + match[0].length;
    }
    this.hide(from, end);
  }

  /** Hides everything between two offsets in UTF-16 units; the end is not included. */
  hide(start: number, end: number): void {
    if (end > start) this.#spans.push({ start, end });
  }

  /** The text with a mask in each line of each hidden part. */
  masked(text: string): string {
    let result = "";
    let from = 0;
    for (let at = 0, all = this.#spans.sort((a, b) => a.start - b.start); at < all.length; ) {
      const start = Math.max(all[at]?.start ?? 0, from);
      let end = start;
      // Parts that touch get one mask.
      while (at < all.length && (all[at]?.start ?? 0) <= end) end = Math.max(end, all[at++]?.end ?? 0);
      result += text.slice(from, start) + text.slice(start, end).replace(SHOWN, MASK);
      from = end;
    }
    return result + text.slice(from);
  }
}
