/**
 * The text of a stream as SSE events, and what it holds beside them: llama-server, llama-swap and llama.cpp's router
 * write errors as bare lines. `eventsource-parser` drops a bare line that comes in pieces, so it is fed whole lines.
 */
import { createParser, type EventSourceParser } from "eventsource-parser";
import { parsed } from "../lib/json.ts";
import { brokenStream } from "../server/http/answer-faults.ts";
import { isError } from "../server/http/error-body.ts";
import { isErrorEvent } from "./answer-shapes.ts";

/** Characters of one event: room for a whole answer in one event, an end for an endless line. */
const MAX_EVENT_CHARACTERS = 64 * 1024 * 1024;

/** Characters of bare lines that are kept: errors are short, but a line of JSON may be a whole answer. */
const MAX_BARE_CHARACTERS = 32 * 1024;
const MAX_JSON_CHARACTERS = 4 * 1024 * 1024;

/** llama-server until September 2025 writes errors as a field of this name, and proxies as a line of text. */
const ERROR_LINE = /^\uFEFF?\s*(?:error|exception)\s*:\s?(.*)$/is;
const DONE = /^data: ?\[DONE\]/im;
const NAMES = ["data:", "event:", "id:", "retry:"];

export class SseReader {
  readonly #parser: EventSourceParser;
  /** The line whose end has not come yet, in the pieces in which it came: joined once, so that its cost is linear. */
  #open: string[] = [];
  #openLength = 0;
  readonly #bare: string[] = [];
  #bareLength = 0;
  #error: string | undefined;
  #hasErrorEvent = false;
  #isOver = false;
  #isEnding = false;

  /** @param onEvent says whether the event was the last one: nothing after it counts */
  constructor(onEvent: (data: string, name: string | undefined) => boolean) {
    this.#parser = createParser({
      maxBufferSize: MAX_EVENT_CHARACTERS,
      onEvent: ({ data, event }) => {
        if (!this.#isOver) this.#isOver = onEvent(data, event);
      },
      onError: (error) => {
        if (error.type === "max-buffer-size-exceeded") throw endless(error);
        if (error.type === "unknown-field" && !this.#isOver) this.#addBare(error.line ?? "");
      },
    });
  }

  /** The server's words in a bare line that is an error; undefined where none came. */
  get error(): string | undefined {
    return this.#error;
  }

  /** Whether an event named as an error began; without data it is never dispatched. */
  get hasErrorEvent(): boolean {
    return this.#hasErrorEvent;
  }

  /** The lines that are no SSE; empty where there are none. */
  get bareText(): string {
    return this.#bare.join("\n").trim();
  }

  /** @throws {ServerError} for a line or an event without an end; what `onEvent` throws */
  read(piece: string): void {
    const hasReturns = piece.includes("\r");
    const feed = piece.lastIndexOf("\n");
    const end = 1 + (hasReturns ? Math.max(feed, piece.lastIndexOf("\r")) : feed);
    if (end === 0) {
      this.#keep(piece);
      return;
    }
    const last = end === piece.length ? piece : piece.slice(0, end);
    const lines = this.#open.length === 0 ? last : this.#open.join("") + last;
    this.#open = [];
    this.#openLength = 0;
    if (end < piece.length) this.#keep(piece.slice(end));
    if (hasReturns || lines.includes("\nevent:") || lines.startsWith("event:")) this.#readNames(lines);
    this.#parser.feed(lines);
  }

  /** Reads what came of the last line, and dispatches the last event though its empty line is missing. */
  end(): void {
    this.#isEnding = true;
    const rest = this.#open.join("");
    const isCutName = NAMES.some((name) => name.startsWith(rest));
    this.#parser.feed(isCutName ? "\n\n" : `${rest}\n\n`);
  }

  #keep(piece: string): void {
    this.#open.push(piece);
    this.#openLength += piece.length;
    if (this.#openLength > MAX_EVENT_CHARACTERS) throw endless();
  }

  #readNames(lines: string): void {
    if (this.#isOver) return;
    const [before = ""] = lines.split(DONE);
    const names = [...before.matchAll(/^event:(.*)/gm)].map(([, name = ""]) => name);
    if (names.some(isErrorEvent)) this.#hasErrorEvent = true;
  }

  #addBare(whole: string): void {
    const line = whole.slice(0, whole.startsWith("{") ? MAX_JSON_CHARACTERS : MAX_BARE_CHARACTERS);
    // Of a line that was cut nothing is certain.
    if (!this.#isEnding)
      this.#error ||= ERROR_LINE.exec(line)?.[1] ?? (isErrorObject(line) ? line : undefined);
    this.#bare.push(line);
    this.#bareLength += line.length;
    while (this.#bareLength > MAX_BARE_CHARACTERS && this.#bare.length > 1)
      this.#bareLength -= this.#bare.shift()?.length ?? 0;
  }
}

function endless(cause?: unknown): Error {
  return brokenStream("an event of the stream has no end", cause);
}

/** Whether a text is JSON that is an error. */
export function isErrorObject(text: string): boolean {
  return /^\s*[[{]/.test(text) && isError(parsed(text));
}
