/**
 * The arguments of a tool call while they grow: pi's own streaming parser shows them, and one strict parse at the end
 * decides. Compared with a parser of our own on 1,000 random objects and every recording: the same at the end.
 */
import type { JsonObject } from "@earendil-works/pi-ai";
import { StreamingJsonParser } from "@earendil-works/pi-ai";

/** pi stores arguments with functions that recurse into each level, so deeper ones would exhaust its stack. */
const MOST_LEVELS = 1024;
const TOO_DEEP = `The arguments are nested more than ${MOST_LEVELS} levels deep.`;

/** Deeper levels are missing from the preview. */
const MOST_SHOWN_LEVELS = 64;

/** Each preview copies all keys. Beyond this many there is one for every so many pieces, at a tenth of the cost. */
const FEW_KEYS = 64;
const KEYS_PER_COPY = 32;

export class ToolArguments {
  #text = "";
  readonly #parser = new StreamingJsonParser();
  readonly #nesting = new Nesting();
  #preview: JsonObject = {};
  #keys = 0;
  /** Pieces that the preview does not show yet. */
  #unseen = 0;
  #isRefused = false;

  /**
   * Reads the next piece.
   *
   * @returns what can be seen of the arguments so far, never changed later; of very many keys the last may be missing
   */
  append(piece: string): JsonObject {
    this.#text += piece;
    this.#nesting.read(piece);
    if (this.#nesting.deepest > MOST_SHOWN_LEVELS) return this.#preview;
    for (const { kind, path } of this.#parser.append(piece))
      if (kind === "set" && path.length === 1) this.#keys += 1;
    this.#unseen += 1;
    if (this.#keys > FEW_KEYS && this.#unseen * KEYS_PER_COPY < this.#keys) return this.#preview;
    this.#unseen = 0;
    const shown = this.#parser.snapshot();
    if (isObject(shown)) this.#preview = shown;
    return this.#preview;
  }

  /** Whether nothing came yet. */
  get isEmpty(): boolean {
    return this.#text === "";
  }

  /** Whether an object or a list has come to its end. */
  get isWhole(): boolean {
    return this.#nesting.deepest > 0 && this.#nesting.depth === 0;
  }

  /** Drops the arguments: they are nested too deep to be handed on. */
  refuse(): void {
    this.#isRefused = true;
  }

  /** @returns the parsed object; an empty one and the reason where the text is not a JSON object */
  finish(): { arguments: JsonObject; error?: string } {
    if (this.#isRefused) return { arguments: {}, error: TOO_DEEP };
    if (this.#text.trim() === "") return { arguments: {} };
    try {
      const value: unknown = JSON.parse(this.#text);
      if (isTooDeep(value)) return { arguments: {}, error: TOO_DEEP };
      if (isObject(value)) return { arguments: value };
      return { arguments: {}, error: "The arguments are JSON, but not an object." };
    } catch (error) {
      return { arguments: {}, error: `The arguments are not valid JSON: ${(error as Error).message}` };
    }
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** How deep the brackets of a JSON text go, read piece by piece. */
class Nesting {
  depth = 0;
  deepest = 0;
  #isString = false;
  #isEscaped = false;

  read(piece: string): void {
    for (let at = 0; at < piece.length; at += 1) {
      const character = piece[at];
      if (this.#isEscaped) this.#isEscaped = false;
      else if (this.#isString && character === "\\") this.#isEscaped = true;
      else if (character === '"') this.#isString = !this.#isString;
      else if (this.#isString) continue;
      else if (character === "{" || character === "[") this.depth += 1;
      else if (character === "}" || character === "]") this.depth -= 1;
      if (this.depth > this.deepest) this.deepest = this.depth;
    }
  }
}

/** Whether a value is nested deeper than arguments may be. Looks at each part once, without recursion. */
export function isTooDeep(value: unknown): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > MOST_LEVELS) return true;
    level = level.flatMap((part) => (typeof part === "object" && part !== null ? Object.values(part) : []));
  }
  return false;
}
