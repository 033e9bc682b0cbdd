/** The SSE bytes of one answer as pi's events. Does no I/O: pieces go in, events come out. */
import type { AssistantMessage, AssistantMessageEvent, StopReason } from "@earendil-works/pi-ai";
import { createParser, type EventSourceParser } from "eventsource-parser";
import { Blocks } from "./blocks.ts";
import { ChunkReader } from "./chunk-reader.ts";
import { ServerError } from "./server/errors.ts";
import { streamFault } from "./server/faults.ts";
import type { JsonRecord } from "./server/json.ts";
import * as json from "./server/json.ts";
import { StreamTail } from "./stream-tail.ts";
import { usageOf } from "./usage.ts";

// pi's loader hands imported names out through a proxy, at a price for each use: copied once for what runs per token.
const { count, list, number, record, text } = json;

/** Characters of one event: a whole answer in one event stays below, an endless line does not. */
const MAX_EVENT_CHARACTERS = 64 * 1024 * 1024;

const SWAP_FAILED = /Unable to swap model err: (.+)/;

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
  #deltas = 0;
  #finishReason: string | undefined;
  #isAnswering = false;
  #isDone = false;
  #isFlushing = false;
  #usage: JsonRecord | undefined;
  #timings: JsonRecord | undefined;
  #promptTotal: { total: number; cached: number } | undefined;
  /** Parsed events of this chunk, where somebody wants to see them before they are decoded. */
  #collected: unknown[] | undefined;

  constructor(options: DecoderOptions) {
    this.#message = options.message;
    this.#blocks = new Blocks(options.message, options.emit);
    this.#onProgress = options.onProgress ?? (() => {});
    this.#parser = createParser({
      maxBufferSize: MAX_EVENT_CHARACTERS,
      onEvent: ({ data }) => this.#onData(data),
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
    return this.#deltas;
  }

  /** The last `timings` of llama-server's. */
  get timings(): JsonRecord | undefined {
    return this.#timings;
  }

  /** Whether `[DONE]` came: nothing behind it counts. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Whether the server said that the answer is whole, though `[DONE]` may be missing. */
  get isFinished(): boolean {
    return this.#isDone || this.#finishReason !== undefined;
  }

  /** What the server wrote in place of an answer: an error event, bare text, or the banner's last words. */
  get said(): string | undefined {
    return this.#said ?? this.#swapFailure;
  }

  /** llama-swap up to v217 tells a failed load in its banner, and ends or garbles the stream. */
  get #swapFailure(): string | undefined {
    return SWAP_FAILED.exec(this.#banner)?.[1];
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
    if (!this.#isDone && this.#finishReason === undefined) {
      const bare = this.#tail.bareText() || (this.#swapFailure ?? "");
      if (bare !== "") throw this.#saidFault(bare);
      throw brokenStream("the stream ended without its last event");
    }
    const reason = this.#stopReason();
    this.#blocks.close(false);
    this.#settleUsage();
    this.#message.stopReason = reason;
  }

  /** Closes the open blocks of a stream that failed or was aborted; what came stays as it is. */
  abandon(): void {
    this.#blocks.close(true);
    this.#settleUsage();
  }

  /** Fills the usage of the message from what came so far; also for a stream that was cut. */
  #settleUsage(): void {
    Object.assign(this.#message.usage, usageOf(this.#usage, this.#timings, this.#promptTotal, this.#deltas));
  }

  #onData(data: string): void {
    if (this.#isDone) return;
    if (data === "[DONE]" || data.trim() === "[DONE]") {
      this.#isDone = true;
      return;
    }
    let chunk: unknown;
    try {
      chunk = this.#chunks.read(data);
    } catch (error) {
      // The end of a cut stream is not a message of its own.
      if (this.#isFlushing) return;
      throw brokenStream("an event of the stream is not JSON", error);
    }
    if (this.#collected) this.#collected.push(chunk);
    else this.#onChunk(chunk);
  }

  #onChunk(value: unknown): void {
    const chunk = record(value);
    if (chunk === undefined) return;
    if (chunk.error !== undefined && chunk.error !== null) throw this.#saidFault(JSON.stringify(chunk));
    const choice = record(list(chunk.choices)[0]);
    const delta = choice && (record(choice.delta) ?? record(choice.message));
    if (!this.#isAnswering) {
      if (isBanner(chunk, delta)) {
        this.#banner += delta.reasoning_content;
        this.#onProgress({ kind: "banner", text: this.#banner });
        return;
      }
      this.#isAnswering = true;
      this.#onProgress({ kind: "answering" });
    }
    const message = this.#message;
    if (message.responseId === undefined && typeof chunk.id === "string" && chunk.id !== "") {
      message.responseId = chunk.id;
    }
    if (
      message.responseModel === undefined &&
      typeof chunk.model === "string" &&
      chunk.model !== message.model
    ) {
      if (chunk.model !== "") message.responseModel = chunk.model;
    }
    if (chunk.usage) this.#usage = record(chunk.usage) ?? this.#usage;
    if (chunk.timings) this.#timings = record(chunk.timings) ?? this.#timings;
    if (chunk.prompt_progress) this.#onPromptProgress(record(chunk.prompt_progress));

    if (typeof choice?.finish_reason === "string" && choice.finish_reason !== "") {
      this.#finishReason = choice.finish_reason;
    }
    if (delta) this.#onDelta(delta);
  }

  #saidFault(text: string): ServerError {
    this.#said = text;
    return streamFault(text);
  }

  #onDelta(delta: JsonRecord): void {
    // Servers that send both fields send the same text in both.
    const thinking = text(delta.reasoning_content) ?? text(delta.reasoning);
    if (thinking !== undefined) {
      this.#count();
      this.#blocks.append("thinking", thinking);
    }
    const content = typeof delta.content === "string" ? delta.content : textOfParts(delta.content);
    if (content !== "") {
      this.#count();
      this.#blocks.append("text", content);
    }
    if (delta.tool_calls) {
      for (const entry of list(delta.tool_calls)) {
        const call = record(entry);
        if (call === undefined) continue;
        this.#count();
        this.#blocks.appendCall(call);
      }
    }
  }

  #onPromptProgress(progress: JsonRecord | undefined): void {
    const total = count(progress?.total);
    const cached = count(progress?.cache) ?? 0;
    const processed = number(progress?.processed);
    if (total === undefined || processed === undefined) return;
    this.#promptTotal = { total, cached };
    this.#onProgress({ kind: "prompt", total, cached, processed, timeMs: number(progress?.time_ms) });
  }

  #count(): void {
    this.#deltas += 1;
    if (this.#deltas === 1) this.#onProgress({ kind: "generating" });
  }

  #stopReason(): Extract<StopReason, "stop" | "length" | "toolUse"> {
    const raw = this.#finishReason;
    if (raw !== undefined) Object.assign(this.#message, { rawStopReason: raw });
    if (raw === "content_filter") {
      throw new ServerError("The server withheld the rest of the answer (content filter).", {
        link: "model",
        remedy: "none",
      });
    }
    if (raw === "length") return "length";
    if (this.#blocks.hasCalls) return "toolUse";
    if (raw === undefined && !this.hasContent) throw brokenStream("the stream ended without content");
    return "stop";
  }
}

/** llama-swap's loading banner looks like thinking, but its chunks carry no id and no object. */
function isBanner(
  chunk: JsonRecord,
  delta: JsonRecord | undefined,
): delta is JsonRecord & { reasoning_content: string } {
  return (
    chunk.id === undefined &&
    chunk.object === undefined &&
    chunk.model === undefined &&
    typeof delta?.reasoning_content === "string" &&
    delta.content === undefined &&
    delta.tool_calls === undefined
  );
}

/** Some servers send content as a list of parts. */
function textOfParts(content: unknown): string {
  let joined = "";
  for (const part of list(content)) joined += text(record(part)?.text) ?? "";
  return joined;
}

/** The words make pi ask again: a broken stream may pass. */
export function brokenStream(what: string, cause?: unknown): ServerError {
  return new ServerError(
    `The answer broke off: ${what} (connection error). The server may have been restarted, or the model unloaded.`,
    {
      link: "stream",
      remedy: "retry",
      cause,
    },
  );
}
