import { isError } from "../server/http/error-body.ts";
import { isErrorEvent } from "./answer-shapes.ts";

/** Characters of such lines that are kept: errors are short. */
const MOST_CHARACTERS = 32 * 1024;

/** The same of a line of JSON: it may be an answer that comes whole, under the name of a stream. */
const MOST_OF_JSON = 4 * 1024 * 1024;

/** Enough of a line of data to know that it is one, and whether it is the last. */
const DATA_CHARACTERS = 16;

const DONE = /^\uFEFF?data: ?\[DONE\]/i;
const FIELD = /^\uFEFF?(?:data|event|id|retry)?(?::|$)/;
/** llama-server until September 2025 writes errors as a field of this name, and proxies as a line of text. */
const ERROR_LINE = /^\uFEFF?\s*(?:error|exception)\s*:\s?(.*)$/is;
const NAMES = ["data:", "event:", "id:", "retry:"];

/**
 * What is no SSE in a stream, or no event of it: errors are written so by llama-server, llama-swap and llama.cpp's
 * router. Each line is looked at once; of lines of data only the beginning is.
 */
export class StreamTail {
  /** The line whose end has not come yet, as far as it is needed. */
  #open = "";
  /** Characters of it that are kept. */
  #most = MOST_CHARACTERS;
  /** Inside a line of data, which is not kept. */
  #isData = false;
  #isOver = false;
  readonly #bare: string[] = [];
  #length = 0;
  #error: string | undefined;
  #hasErrorEvent = false;

  add(piece: string): void {
    const hasReturns = piece.includes("\r");
    let at = 0;
    while (at < piece.length && !this.#isOver) {
      const end = lineEnd(piece, at, hasReturns);
      if (end === -1) {
        this.#begin(piece, at);
        return;
      }
      if (this.#isData) this.#isData = false;
      else if (this.#open !== "" || (end > at && !isPlainData(piece, at))) {
        const line = this.#open + piece.slice(at, end);
        this.#line(line.slice(0, mostOf(line)));
        this.#open = "";
      }
      at = end + 1;
    }
  }

  /** The server's words in a line of its own that is an error, whatever comes after it; undefined where none came. */
  get error(): string | undefined {
    return this.#error;
  }

  /** Whether an event named as an error began: one without data is never dispatched. */
  get hasErrorEvent(): boolean {
    return this.#hasErrorEvent;
  }

  /** Lines that are no SSE. Empty where there are none. */
  bareText(): string {
    const rest =
      NAMES.some((name) => name.startsWith(this.#open)) || FIELD.test(this.#open) ? "" : this.#open;
    return [...this.#bare, rest].join("\n").trim();
  }

  #begin(piece: string, at: number): void {
    if (this.#isData) return;
    const { length } = this.#open;
    if (length > DATA_CHARACTERS) {
      // What it is has been seen: to look again would put the pieces together each time.
      if (length < this.#most) this.#open += piece.slice(at, at + this.#most - length);
      return;
    }
    const rest = this.#open + piece.slice(at);
    this.#isData = rest.length > DATA_CHARACTERS && rest.startsWith("data:");
    this.#most = mostOf(rest);
    this.#open = this.#isData ? "" : rest.slice(0, this.#most);
  }

  #line(line: string): void {
    this.#isOver = DONE.test(line);
    if (line.startsWith("event:") && isErrorEvent(line.slice("event:".length))) this.#hasErrorEvent = true;
    if (FIELD.test(line)) return;
    this.#error ||= ERROR_LINE.exec(line)?.[1] ?? (isErrorObject(line) ? line : this.#error);
    this.#bare.push(line);
    this.#length += line.length;
    while (this.#length > MOST_CHARACTERS && this.#bare.length > 1)
      this.#length -= this.#bare.shift()?.length ?? 0;
  }
}

function mostOf(line: string): number {
  return line.startsWith("{") ? MOST_OF_JSON : MOST_CHARACTERS;
}

/** Whether a text is JSON that is an error. */
export function isErrorObject(text: string): boolean {
  if (!/^\s*[[{]/.test(text)) return false;
  try {
    return isError(JSON.parse(text));
  } catch {
    return false;
  }
}

/**
 * Whether a line is `data: {…`, as nearly all are. By single characters: `startsWith` takes longer than all the rest
 * that is done for such a line.
 */
function isPlainData(piece: string, at: number): boolean {
  return (
    piece.charCodeAt(at) === 100 &&
    piece.charCodeAt(at + 1) === 97 &&
    piece.charCodeAt(at + 4) === 58 &&
    piece.charCodeAt(at + 6) === 123
  );
}

/** Where a line ends by any of SSE's line ends; -1 where the piece does not have its end. */
function lineEnd(piece: string, from: number, hasReturns: boolean): number {
  const feed = piece.indexOf("\n", from);
  if (!hasReturns) return feed;
  const back = piece.indexOf("\r", from);
  return back === -1 ? feed : feed === -1 ? back : Math.min(feed, back);
}
