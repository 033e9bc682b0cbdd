/** The SSE bytes of one answer as pi's events. Does no I/O: pieces go in, events come out. */
import type { AssistantMessage, AssistantMessageEvent, StopReason } from "@earendil-works/pi-ai";
import { createParser, type EventSourceParser } from "eventsource-parser";
import { ServerError } from "../lib/errors.ts";
import type { JsonRecord } from "../lib/json.ts";
import * as json from "../lib/json.ts";
import { brokenStream, finishFault, streamFault } from "../server/http/answer-faults.ts";
import { type ErrorBody, errorText, isError, parseErrorBody, readError } from "../server/http/error-body.ts";
import {
  eventsIn,
  isBanner,
  isErrorEvent,
  isGoodEnd,
  isHeartbeat,
  isInWords,
  isLast,
  isNoise,
  isTrouble,
  nameOf,
  swapFailureIn,
} from "./answer-shapes.ts";
import { Blocks } from "./blocks.ts";
import { ChunkReader } from "./chunk-reader.ts";
import { UsageSoFar } from "./message.ts";
import { isErrorObject, StreamTail } from "./stream-tail.ts";

// pi's loader hands imported names out through a proxy, at a price for each use: copied once for what runs per token.
const { list, record } = json;

/** Characters of one event: a whole answer in one event stays below, an endless line does not. */
const MAX_EVENT_CHARACTERS = 64 * 1024 * 1024;

/**
 * Characters of an answer, about two million tokens: no window holds as much. What goes on beyond is a model or a
 * server that does not stop.
 */
const MAX_ANSWER_CHARACTERS = 8 * 1024 * 1024;

const CHARACTERS_PER_TOKEN = 4;

/** Characters of a loading banner that are kept: it goes on as long as the load does. */
const MAX_BANNER_CHARACTERS = 64 * 1024;

/** What the server says of its work besides content. */
export type Progress =
  /** `timeMs`: what the server has spent on the prompt. */
  | { kind: "prompt"; total: number; cached: number; processed: number; timeMs: number | undefined }
  | { kind: "banner"; text: string }
  /** The model's own first event, before what is in it. */
  | { kind: "answering" }
  | { kind: "generating" };

export interface DecoderOptions {
  /** The message that is built; its content, usage and stop reason are filled here. */
  message: AssistantMessage;
  emit: (event: AssistantMessageEvent) => void;
  onProgress?: (progress: Progress) => void;
}

/**
 * Builds one message out of the pieces of a chat/completions stream. Deltas of the same kind that come in one
 * network chunk become one event.
 *
 * Call `push` for every chunk, then `end` once. Faults of the stream are thrown from either; what came before stays
 * in the message.
 */
export class Decoder {
  readonly #message: AssistantMessage;
  readonly #blocks: Blocks;
  readonly #onProgress: (progress: Progress) => void;
  readonly #utf8 = new TextDecoder();
  readonly #parser: EventSourceParser;
  readonly #chunks = new ChunkReader();
  readonly #tail = new StreamTail();
  #banner = "";
  #said: string | undefined;
  #finishReason: string | undefined;
  #isAnswering = false;
  #isDone = false;
  #isSettled = false;
  #isFlushing = false;
  readonly #figures = new UsageSoFar();
  /** Parsed events of this chunk, where somebody wants to see them before they are decoded. */
  #collected: unknown[] | undefined;

  constructor(options: DecoderOptions) {
    this.#message = options.message;
    this.#blocks = new Blocks(options.message, options.emit);
    this.#onProgress = options.onProgress ?? (() => {});
    this.#parser = createParser({
      maxBufferSize: MAX_EVENT_CHARACTERS,
      onEvent: ({ data, event }) => this.#onData(data, event),
      onError: (error) => {
        if (error.type === "max-buffer-size-exceeded")
          throw brokenStream("an event of the stream has no end", error);
      },
    });
  }

  /** Whether any content, thinking or tool call came. */
  get hasContent(): boolean {
    return this.#message.content.length > 0;
  }

  /** Whether anything of the model's own came. */
  get isAnswering(): boolean {
    return this.#isAnswering;
  }

  /** Pieces of content, thinking and arguments that came. */
  get deltas(): number {
    return this.#blocks.deltas;
  }

  /** The last `timings` of llama-server's. */
  get timings(): JsonRecord | undefined {
    return this.#figures.timings;
  }

  /** Whether `[DONE]` came: nothing behind it counts. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Whether the server said that the answer is whole, though `[DONE]` may be missing. */
  get isFinished(): boolean {
    return this.#isDone || this.#finishReason !== undefined;
  }

  /** Whether the server said that the answer is whole, and what it took: nothing is missing but the stream's end. */
  get isSettled(): boolean {
    return this.#isDone || this.#isSettled;
  }

  /** Whether the answer has grown beyond any bound; nothing more of it is taken. */
  get isTooLong(): boolean {
    return this.#blocks.characters > MAX_ANSWER_CHARACTERS;
  }

  /** What the server wrote in place of an answer: an error event, bare text, or the banner's last words. */
  get said(): string | undefined {
    return this.#said ?? swapFailureIn(this.#banner);
  }

  /**
   * Decodes one chunk of the network.
   *
   * @throws {ServerError} for an error event, or an event that is not JSON
   */
  push(chunk: Uint8Array): void {
    this.#feed(this.#utf8.decode(chunk, { stream: true }));
    this.#blocks.flush();
  }

  /**
   * Decodes one chunk, and lets `observe` see each parsed event before it is decoded.
   *
   * @throws {ServerError} as `push`; what `observe` throws
   */
  async pushObserved(chunk: Uint8Array, observe: (event: unknown) => void | Promise<void>): Promise<void> {
    const events: unknown[] = [];
    this.#collected = events;
    let damage: { error: unknown } | undefined;
    try {
      this.#feed(this.#utf8.decode(chunk, { stream: true }));
    } catch (error) {
      // What came before the damage counts.
      damage = { error };
    }
    this.#collected = undefined;
    for (const event of events) {
      await observe(event);
      this.#onChunk(event);
    }
    if (damage) throw damage.error;
    this.#blocks.flush();
  }

  /** Takes an answer that came whole instead of as a stream. */
  pushWhole(answer: unknown): void {
    this.#onChunk(answer);
    this.#blocks.flush();
    this.#isDone = true;
  }

  #feed(piece: string): void {
    if (piece === "") return;
    this.#tail.add(piece);
    this.#parser.feed(piece);
    const { error } = this.#tail;
    if (error !== undefined) throw this.#fault(parseErrorBody(error));
  }

  /**
   * Ends the stream: closes the open blocks and fills usage and stop reason.
   *
   * @throws {ServerError} where the stream ended without saying so, with the server's own words if it left any
   */
  end(): void {
    if (!this.#isDone) {
      this.#isFlushing = true;
      this.#feed(this.#utf8.decode());
      this.#parser.feed("\n\n");
      this.#blocks.flush();
    }
    this.#checkEnd();
    const reason = this.#stopReason();
    this.#blocks.close(false);
    this.#settleUsage();
    this.#message.stopReason = reason;
  }

  /** @throws {ServerError} where something else than events says that the answer is not whole */
  #checkEnd(): void {
    if (this.isTooLong) return;
    if (this.#tail.hasErrorEvent) throw this.#fault(parseErrorBody(""));
    const bare = this.#tail.bareText();
    if (isErrorObject(bare)) throw this.#fault(parseErrorBody(bare));
    // What stands between the events beside `[DONE]` alone may be why the answer has no end of its own.
    if (this.#finishReason !== undefined || (this.#isDone && isNoise(bare))) return;
    // A server that answers whole, under the name of a stream.
    if (bare.startsWith("{") && !this.hasContent && this.#takeWhole(bare)) return;
    const said = bare || (swapFailureIn(this.#banner) ?? "");
    if (said !== "") throw this.#fault(parseErrorBody(said));
    throw brokenStream("the stream ended without its last event");
  }

  #takeWhole(bare: string): boolean {
    try {
      this.pushWhole(JSON.parse(bare));
      return this.hasContent;
    } catch (error) {
      if (error instanceof ServerError) throw error;
      return false;
    }
  }

  /** Closes the open blocks of a stream that failed or was aborted; what came stays as it is. */
  abandon(): void {
    this.#blocks.close(true);
    this.#settleUsage();
  }

  /** Fills the usage of the message from what came so far; also for a stream that was cut. */
  #settleUsage(): void {
    const { deltas, characters } = this.#blocks;
    const pieces = this.isTooLong ? Math.max(deltas, Math.ceil(characters / CHARACTERS_PER_TOKEN)) : deltas;
    Object.assign(this.#message.usage, this.#figures.with(pieces));
  }

  #onData(data: string, event: string | undefined): void {
    if (this.#isDone) return;
    const isOther = !data.startsWith("{");
    this.#isDone = isOther && isLast(data);
    if (this.#isDone) return;
    if (event !== undefined && isErrorEvent(event)) throw this.#fault(parseErrorBody(data));
    if (isOther && isHeartbeat(data, event)) return;
    let chunk: unknown;
    try {
      chunk = this.#chunks.read(data);
    } catch (error) {
      const events = eventsIn(data);
      if (events !== undefined) {
        for (const one of events) this.#onData(one, undefined);
        return;
      }
      // The end of a cut stream is not a message of its own.
      if (this.#isFlushing) return;
      if (isInWords(data)) throw this.#fault(parseErrorBody(data));
      throw brokenStream("an event of the stream is not JSON", error);
    }
    if (this.#collected) this.#collected.push(chunk);
    else this.#onChunk(chunk);
  }

  #onChunk(value: unknown): void {
    if (this.isTooLong) return;
    const chunk = record(value);
    if (chunk === undefined) {
      if (typeof value === "string" && isTrouble(value)) throw this.#fault(parseErrorBody(value));
      if (isError(value)) throw this.#fault(readError(value));
      return;
    }
    const choice = record(list(chunk.choices)[0]);
    const isUnusual =
      choice === undefined || chunk.object === "error" || Boolean(chunk.error ?? choice.error);
    if (isUnusual && isError(chunk)) throw this.#fault(readError(chunk));
    const delta = choice && (record(choice.delta) ?? record(choice.message));
    if (!this.#isAnswering) {
      if (isBanner(chunk, delta)) {
        this.#banner = `${this.#banner}${delta.reasoning_content}`.slice(-MAX_BANNER_CHARACTERS);
        this.#onProgress({ kind: "banner", text: this.#banner });
        return;
      }
      this.#isAnswering = true;
      this.#onProgress({ kind: "answering" });
    }
    this.#name(chunk);
    // Moonshot writes the usage into the choice.
    const isMeasured = this.#figures.note(chunk) || (choice !== undefined && this.#figures.note(choice));
    const progress = chunk.prompt_progress
      ? this.#figures.notePrompt(record(chunk.prompt_progress))
      : undefined;
    if (progress) this.#onProgress({ kind: "prompt", ...progress });
    if (choice?.finish_reason) this.#finish(choice.finish_reason);
    if (isMeasured && this.#finishReason !== undefined) this.#isSettled = true;
    if (delta === undefined) return;
    const wasEmpty = this.#blocks.deltas === 0;
    this.#blocks.add(delta);
    if (wasEmpty && this.#blocks.deltas > 0) this.#onProgress({ kind: "generating" });
  }

  /** Notes which server's answer it is, once. */
  #name({ id, model }: JsonRecord): void {
    const message = this.#message;
    if (message.responseId === undefined && typeof id === "string" && id !== "")
      message.responseId = nameOf(id);
    const isOther = message.responseModel === undefined && typeof model === "string" && model !== "";
    if (isOther && model !== message.model) message.responseModel = nameOf(model);
  }

  /** An end that is none of the good ones stays, whatever the server says later. */
  #finish(reason: unknown): void {
    if (this.#finishReason !== undefined && !isGoodEnd(this.#finishReason)) return;
    this.#finishReason = typeof reason === "string" ? reason : "of another type";
  }

  #fault(body: ErrorBody): ServerError {
    this.#said = errorText(body);
    return streamFault(body);
  }

  #stopReason(): Extract<StopReason, "stop" | "length" | "toolUse"> {
    const raw = this.#finishReason;
    const message = this.#message;
    if (this.isTooLong) {
      const limit = MAX_ANSWER_CHARACTERS.toLocaleString("en-US");
      message.errorMessage = `The answer was cut after ${limit} characters: the model did not come to an end.`;
      return "length";
    }
    if (raw !== undefined) Object.assign(message, { rawStopReason: nameOf(raw) });
    if (raw !== undefined && !isGoodEnd(raw)) throw finishFault(nameOf(raw));
    if (raw === "length") return "length";
    if (this.#blocks.hasCalls) return "toolUse";
    // A call that is announced and does not come is no answer.
    if (!this.hasContent && raw !== "stop" && raw !== "end")
      throw brokenStream("the stream ended without content");
    return "stop";
  }
}
