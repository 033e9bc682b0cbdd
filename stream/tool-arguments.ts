/**
 * The arguments of a tool call while they grow. Each piece is read once, so that the cost is linear in the length:
 * parsing the whole text again for every piece makes a call of 20,000 pieces take many seconds.
 */
import type { JsonObject, JsonValue } from "@earendil-works/pi-ai";

type Container = { [key: string]: JsonValue } | JsonValue[];
type Expect = "key" | "colon" | "value" | "comma";

interface Level {
  container: Container;
  key: string;
  expect: Expect;
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r", b: "\b", f: "\f" };
const PLAIN = /[^"\\]+/y;
const SPACE = /[\s]+/y;
const SCALAR = /[^\s,\]}"[{:]+/y;

/** No number or literal is longer; a longer one is not read again with each piece, its text is still kept. */
const LONGEST_SCALAR = 1024;

/** Levels of arguments that are taken: pi stores them by functions that call themselves for each, and so have an end. */
const MOST_LEVELS = 1024;
const TOO_DEEP = `The arguments are nested more than ${MOST_LEVELS} levels deep.`;

/** Of more keys, the preview is copied once for so many of them: a copy for each piece costs the square of their number. */
const FEW_KEYS = 64;
const KEYS_PER_COPY = 32;

/** Deeper levels are not followed any more; their text is still kept and parsed at the end. */
const MAX_DEPTH = 64;

/** Reads JSON text piece by piece; a lenient preview on the way, one strict parse at the end. */
export class PartialJson {
  #text = "";
  #root: JsonObject = {};
  readonly #levels: Level[] = [];
  /** Open string: its characters so far, undefined outside of strings. */
  #string: string | undefined;
  /** A number or literal, or an escape, that the last piece cut. */
  #rest = "";
  #ended = false;
  #isRefused = false;
  #preview: JsonObject = {};
  /** Keys of the root, and pieces that the preview does not show yet. */
  #keys = 0;
  #unseen = 0;

  /**
   * Reads the next piece.
   *
   * @returns what can be seen of the arguments so far: an object that is never changed, whose nested values are; of
   *   very many keys the last ones may be missing
   */
  append(piece: string): JsonObject {
    this.#text += piece;
    if (!this.#ended) this.#read(this.#rest + piece);
    this.#unseen += 1;
    if (this.#keys <= FEW_KEYS || this.#unseen * KEYS_PER_COPY >= this.#keys) {
      this.#unseen = 0;
      this.#preview = { ...this.#root };
    }
    return this.#preview;
  }

  /** Whether nothing came yet. */
  get isEmpty(): boolean {
    return this.#text === "";
  }

  /** Whether an object or a list came with its end. */
  get isWhole(): boolean {
    return this.#ended && this.#levels.length === 0;
  }

  /** Takes none of the arguments: they are nested too deep to be handed on. */
  refuse(): void {
    this.#isRefused = true;
    this.#ended = true;
  }

  /**
   * The finished arguments, strictly parsed.
   *
   * @returns the object; an empty one and the reason where the text is not a JSON object
   */
  finish(): { arguments: JsonObject; error?: string } {
    if (this.#isRefused) return { arguments: {}, error: TOO_DEEP };
    if (this.#text.trim() === "") return { arguments: {} };
    try {
      const value: unknown = JSON.parse(this.#text);
      if (isTooDeep(value)) return { arguments: {}, error: TOO_DEEP };
      if (typeof value === "object" && value !== null && !Array.isArray(value))
        return { arguments: value as JsonObject };
      return { arguments: {}, error: "The arguments are JSON, but not an object." };
    } catch (error) {
      return { arguments: {}, error: `The arguments are not valid JSON: ${(error as Error).message}` };
    }
  }

  #read(text: string): void {
    this.#rest = "";
    let at = 0;
    while (at < text.length && !this.#ended) {
      const next = this.#string === undefined ? this.#readToken(text, at) : this.#readString(text, at);
      if (next === at) {
        this.#rest = text.slice(at);
        break;
      }
      at = next;
    }
    if (this.#string !== undefined) this.#showString();
  }

  /** Reads on inside a string; returns where it stopped, `at` itself when an escape is cut. */
  #readString(text: string, at: number): number {
    PLAIN.lastIndex = at;
    if (PLAIN.test(text)) {
      this.#string += text.slice(at, PLAIN.lastIndex);
      return PLAIN.lastIndex;
    }
    if (text[at] === '"') {
      this.#closeString();
      return at + 1;
    }
    const escaped = text[at + 1];
    if (escaped === undefined) return at;
    if (escaped !== "u") {
      this.#string += ESCAPES[escaped] ?? escaped;
      return at + 2;
    }
    if (text.length < at + 6) return at;
    this.#string += String.fromCharCode(Number.parseInt(text.slice(at + 2, at + 6), 16) || 0xfffd);
    return at + 6;
  }

  #readToken(text: string, at: number): number {
    SPACE.lastIndex = at;
    if (SPACE.test(text)) return SPACE.lastIndex;
    const character = text[at] ?? "";
    const level = this.#levels.at(-1);
    switch (character) {
      case "{":
      case "[":
        this.#open(character === "{" ? {} : []);
        return at + 1;
      case "}":
      case "]":
        this.#levels.pop();
        this.#ended = this.#levels.length === 0;
        return at + 1;
      case ",":
        if (level) level.expect = Array.isArray(level.container) ? "value" : "key";
        return at + 1;
      case ":":
        if (level) level.expect = "value";
        return at + 1;
      case '"':
        this.#string = "";
        return at + 1;
      default:
        return this.#readScalar(text, at);
    }
  }

  /** A number or literal counts once something stands behind it. */
  #readScalar(text: string, at: number): number {
    SCALAR.lastIndex = at;
    if (!SCALAR.test(text)) return at + 1;
    const end = SCALAR.lastIndex;
    if (end === text.length) {
      this.#ended = end - at > LONGEST_SCALAR;
      return at;
    }
    try {
      this.#set(JSON.parse(text.slice(at, end)) as JsonValue);
    } catch {
      // Not JSON: the strict parse at the end tells.
    }
    return end;
  }

  #open(container: Container): void {
    if (this.#levels.length === 0) {
      if (!Array.isArray(container)) this.#root = container;
    } else {
      this.#set(container);
    }
    if (this.#levels.length >= MAX_DEPTH) this.#ended = true;
    this.#levels.push({ container, key: "", expect: Array.isArray(container) ? "value" : "key" });
  }

  #closeString(): void {
    const level = this.#levels.at(-1);
    if (level?.expect === "key") {
      level.key = this.#string ?? "";
      level.expect = "colon";
    } else {
      this.#showString();
      if (level) level.expect = "comma";
    }
    this.#string = undefined;
  }

  #showString(): void {
    const level = this.#levels.at(-1);
    if (level === undefined || level.expect === "key" || this.#string === undefined) return;
    // An item is added once, when its string begins; from then on it is the last one.
    if (Array.isArray(level.container)) {
      if (level.expect === "value") level.container.push(this.#string);
      else level.container[level.container.length - 1] = this.#string;
      level.expect = "comma";
    } else {
      this.#assign(level.container, level.key, this.#string);
    }
  }

  #set(value: JsonValue): void {
    const level = this.#levels.at(-1);
    if (level === undefined) return;
    if (Array.isArray(level.container)) level.container.push(value);
    else this.#assign(level.container, level.key, value);
    level.expect = "comma";
  }

  /** `__proto__` as a key must become a property and nothing else. */
  #assign(container: { [key: string]: JsonValue }, key: string, value: JsonValue): void {
    if (key === "__proto__") {
      Object.defineProperty(container, key, { value, enumerable: true, configurable: true, writable: true });
    } else container[key] = value;
    if (container === this.#root) this.#keys += 1;
  }
}

/** Whether a value is nested deeper than arguments may be; looks at each part once, without calling itself. */
export function isTooDeep(value: unknown): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > MOST_LEVELS) return true;
    level = level.flatMap((part) => (typeof part === "object" && part !== null ? Object.values(part) : []));
  }
  return false;
}
