/** The SSE bytes of one answer as pi's events. Does no I/O: pieces go in, events come out. */
import type { AssistantMessage, AssistantMessageEvent, StopReason } from "@earendil-works/pi-ai";
import type { PromptProgress } from "../activity/rates.ts";
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
import { Blocks, type OnLoop } from "./blocks.ts";
import { ChunkReader } from "./chunk-reader.ts";
import { UsageSoFar } from "./message.ts";
import { isErrorObject, SseReader } from "./sse-reader.ts";

// pi's loader hands imported names out through a proxy, at a price for each use: copied once for what runs per token.
const { list, record } = json;

/** Characters of an answer, about two million tokens and more than any window: beyond it a model does not stop. */
const MAX_ANSWER_CHARACTERS = 8 * 1024 * 1024;

const CHARACTERS_PER_TOKEN = 4;

/** Characters of a loading banner that are kept: it grows as long as the load lasts. */
const MAX_BANNER_CHARACTERS = 64 * 1024;

/** What a stream reports besides content. */
export type Progress =
  | ({ kind: "prompt" } & PromptProgress)
  | { kind: "banner"; text: string }
  /** The model's own first event, before its content. */
  | { kind: "answering" }
  | { kind: "generating" };

export interface DecoderOptions {
  /** Its content, usage and stop reason are filled. */
  message: AssistantMessage;
  emit: (event: AssistantMessageEvent) => void;
  onProgress?: (progress: Progress) => void;
  /** Undefined lets a model repeat itself. */
  onLoop?: OnLoop | undefined;
}

/** The events of one chunk, and the fault that ended it: what came before the fault counts. */
interface Parsed {
  events: unknown[];
  fault?: unknown;
}

/**
 * Builds one message from the pieces of a chat/completions stream. Deltas of the same kind in one chunk of the
 * network become one event.
 *
 * Call `push` for every chunk, then `end` once. Both throw the faults of the stream; what came before them stays in
 * the message.
 */
export class Decoder {
  readonly #message: AssistantMessage;
  readonly #blocks: Blocks;
  readonly #onProgress: (progress: Progress) => void;
  readonly #utf8 = new TextDecoder();
  readonly #sse = new SseReader((data, event) => this.#onData(data, event));
  readonly #chunks = new ChunkReader();
  readonly #figures = new UsageSoFar();
  /** Events that are parsed and not decoded yet. */
  #events: unknown[] = [];
  #banner = "";
  #said: string | undefined;
  #finishReason: string | undefined;
  #isAnswering = false;
  #isDone = false;
  #isSettled = false;
  #isEnding = false;

  constructor(options: DecoderOptions) {
    this.#message = options.message;
    this.#blocks = new Blocks(options.message, options.emit, options.onLoop);
    this.#onProgress = options.onProgress ?? (() => {});
  }

  /** Whether any content, thinking or tool call came. */
  get hasContent(): boolean {
    return this.#message.content.length > 0;
  }

  /** Whether the model itself has sent an event. */
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

  /** Whether `[DONE]` came: nothing after it counts. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Whether the answer is whole, though `[DONE]` may be missing. */
  get isFinished(): boolean {
    return this.#isDone || this.#finishReason !== undefined;
  }

  /** Whether the answer is whole and its usage known: only the end of the stream is missing. */
  get isSettled(): boolean {
    return this.#isDone || this.#isSettled;
  }

  /** Whether the answer exceeds the limit; the rest of it is dropped. */
  get isTooLong(): boolean {
    return this.#blocks.characters > MAX_ANSWER_CHARACTERS;
  }

  /** The server's words in place of an answer: an error event, bare text, or the end of the banner. */
  get said(): string | undefined {
    return this.#said ?? swapFailureIn(this.#banner);
  }

  /**
   * Decodes one chunk of the network.
   *
   * @throws {ServerError} for an error event, or an event that is not JSON; what `onLoop` throws
   */
  push(chunk: Uint8Array): void {
    const parsed = this.#parse(() => this.#sse.read(this.#utf8.decode(chunk, { stream: true })));
    for (const event of parsed.events) this.#onChunk(event);
    this.#finishChunk(parsed);
  }

  /**
   * Decodes one chunk, and lets `observe` see each parsed event first.
   *
   * @throws {ServerError} as `push`; what `observe` throws
   */
  async pushObserved(chunk: Uint8Array, observe: (event: unknown) => void | Promise<void>): Promise<void> {
    const parsed = this.#parse(() => this.#sse.read(this.#utf8.decode(chunk, { stream: true })));
    for (const event of parsed.events) {
      await observe(event);
      this.#onChunk(event);
    }
    this.#finishChunk(parsed);
  }

  /** Takes an answer that came whole instead of as a stream. */
  pushWhole(answer: unknown): void {
    this.#onChunk(answer);
    this.#blocks.flush();
    this.#isDone = true;
  }

  #parse(read: () => void): Parsed {
    this.#events = [];
    try {
      read();
    } catch (fault) {
      return { events: this.#events, fault };
    }
    const { error } = this.#sse;
    return {
      events: this.#events,
      fault: error === undefined ? undefined : this.#fault(parseErrorBody(error)),
    };
  }

  #finishChunk({ fault }: Parsed): void {
    if (fault !== undefined) throw fault;
    // With its last event there is nothing to end.
    if (this.isFinished) this.#blocks.flush();
    else this.#blocks.endChunk();
  }

  /**
   * Ends the stream: closes the open blocks and fills usage and stop reason.
   *
   * @throws {ServerError} where the stream ended without saying so, in the server's own words if it left any
   */
  end(): void {
    if (!this.#isDone) {
      this.#isEnding = true;
      const parsed = this.#parse(() => {
        this.#sse.read(this.#utf8.decode());
        this.#sse.end();
      });
      for (const event of parsed.events) this.#onChunk(event);
      this.#finishChunk(parsed);
    }
    this.#checkEnd();
    const reason = this.#stopReason();
    this.#blocks.close(false);
    this.#settleUsage();
    this.#message.stopReason = reason;
  }

  /** @throws {ServerError} where anything but the events says that the answer is not whole */
  #checkEnd(): void {
    if (this.isTooLong) return;
    if (this.#sse.hasErrorEvent) throw this.#fault(parseErrorBody(""));
    const bare = this.#sse.bareText;
    if (isErrorObject(bare)) throw this.#fault(parseErrorBody(bare));
    // With `[DONE]` alone, bare lines may be the reason for the missing finish_reason.
    if (this.#finishReason !== undefined || (this.#isDone && isNoise(bare))) return;
    // Some servers send a whole answer with the type of a stream.
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

  /** Closes the open blocks of a stream that failed or was aborted; their content stays. */
  abandon(): void {
    this.#blocks.close(true);
    this.#settleUsage();
  }

  /** Fills the usage of the message, also for a stream that was cut. */
  #settleUsage(): void {
    const { deltas, characters } = this.#blocks;
    const pieces = this.isTooLong ? Math.max(deltas, Math.ceil(characters / CHARACTERS_PER_TOKEN)) : deltas;
    Object.assign(this.#message.usage, this.#figures.with(pieces));
  }

  /** @returns whether it was the last event */
  #onData(data: string, event: string | undefined): boolean {
    const isOther = !data.startsWith("{");
    if (isOther && isLast(data)) {
      this.#isDone = true;
      return true;
    }
    if (event !== undefined && isErrorEvent(event)) throw this.#fault(parseErrorBody(data));
    if (isOther && isHeartbeat(data, event)) return false;
    try {
      this.#events.push(this.#chunks.read(data));
      return false;
    } catch (error) {
      const events = eventsIn(data);
      if (events !== undefined) return events.some((one) => this.#onData(one, undefined));
      // The end of a cut stream is not a message of its own.
      if (this.#isEnding) return false;
      if (isInWords(data)) throw this.#fault(parseErrorBody(data));
      throw brokenStream("an event of the stream is not JSON", error);
    }
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

  /** Keeps the first names that the server gives the answer and itself. */
  #name({ id, model }: JsonRecord): void {
    const message = this.#message;
    if (message.responseId === undefined && typeof id === "string" && id !== "")
      message.responseId = nameOf(id);
    const isOther = message.responseModel === undefined && typeof model === "string" && model !== "";
    if (isOther && model !== message.model) message.responseModel = nameOf(model);
  }

  /** A bad end stays, even if a good one follows. */
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
      message.errorMessage = `The answer was cut after ${limit} characters: the model did not stop.`;
      return "length";
    }
    if (raw !== undefined) Object.assign(message, { rawStopReason: nameOf(raw) });
    if (raw !== undefined && !isGoodEnd(raw)) throw finishFault(nameOf(raw));
    if (raw === "length") return "length";
    if (this.#blocks.hasCalls) return "toolUse";
    // An announced call that does not come is no answer.
    if (!this.hasContent && raw !== "stop" && raw !== "end")
      throw brokenStream("the stream ended without content");
    return "stop";
  }
}
