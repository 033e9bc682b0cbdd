/** The SSE bytes of one answer as pi's events. Does no I/O: pieces go in, events come out. */
import { randomUUID } from "node:crypto";
import type {
  AssistantMessage,
  AssistantMessageEvent,
  StopReason,
  TextContent,
  ThinkingContent,
  ToolCall,
  Usage,
} from "@earendil-works/pi-ai";
import { createParser, type EventSourceParser } from "eventsource-parser";
import { PartialJson } from "./partial-json.ts";
import { ServerError } from "./server/errors.ts";
import { streamFault } from "./server/faults.ts";
import { count, type JsonRecord, list, number, record, text } from "./server/json.ts";

/** Characters of one event: a whole answer in one event stays below, an endless line does not. */
const MAX_EVENT_CHARACTERS = 64 * 1024 * 1024;

/** Characters of the stream's end that are kept, for errors which the server writes there without `data:`. */
const TAIL_CHARACTERS = 32 * 1024;

/** What the server says of its work besides content. */
export type Progress =
  | { kind: "prompt"; total: number; cached: number; processed: number }
  | { kind: "banner"; text: string }
  | { kind: "generating" };

interface OpenCall {
  block: ToolCall;
  index: number;
  contentIndex: number;
  arguments: PartialJson;
}

type Channel = "text" | "thinking";

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
  readonly #emit: (event: AssistantMessageEvent) => void;
  readonly #onProgress: (progress: Progress) => void;
  readonly #utf8 = new TextDecoder();
  readonly #parser: EventSourceParser;
  readonly #calls: OpenCall[] = [];
  #open: { block: TextContent | ThinkingContent; channel: Channel; contentIndex: number } | undefined;
  /** Deltas of this chunk that no event was emitted for yet. */
  #pending = "";
  #pendingCall: OpenCall | undefined;
  #tail: string[] = [];
  #tailLength = 0;
  #banner = "";
  #deltas = 0;
  #finishReason: string | undefined;
  #isDone = false;
  #isFlushing = false;
  #usage: JsonRecord | undefined;
  #timings: JsonRecord | undefined;
  #promptTotal: { total: number; cached: number } | undefined;
  /** Parsed events of this chunk, where somebody wants to see them before they are decoded. */
  #collected: unknown[] | undefined;

  constructor(options: DecoderOptions) {
    this.#message = options.message;
    this.#emit = options.emit;
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

  /** Whether `[DONE]` came: nothing behind it counts. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** llama-swap's loading banner, as far as it came. */
  get banner(): string {
    return this.#banner;
  }

  /**
   * Decodes one chunk of the network.
   *
   * @throws {ServerError} for an error event, or an event that is not JSON
   */
  push(chunk: Uint8Array): void {
    this.#feed(this.#utf8.decode(chunk, { stream: true }));
    this.#flush();
  }

  /**
   * Decodes one chunk, and lets `observe` see each parsed event before it is decoded.
   *
   * @throws {ServerError} as `push`; what `observe` throws
   */
  async pushObserved(chunk: Uint8Array, observe: (event: unknown) => void | Promise<void>): Promise<void> {
    this.#collected = [];
    this.#feed(this.#utf8.decode(chunk, { stream: true }));
    const events = this.#collected;
    this.#collected = undefined;
    for (const event of events) {
      await observe(event);
      this.#onChunk(event);
    }
    this.#flush();
  }

  /** Takes an answer that came whole instead of as a stream. */
  pushWhole(answer: unknown): void {
    this.#onChunk(answer);
    this.#flush();
    this.#isDone = true;
  }

  #feed(piece: string): void {
    if (piece === "") return;
    this.#tail.push(piece);
    this.#tailLength += piece.length;
    while (this.#tailLength > TAIL_CHARACTERS && this.#tail.length > 1) {
      this.#tailLength -= this.#tail.shift()?.length ?? 0;
    }
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
      this.#flush();
    }
    if (!this.#isDone && this.#finishReason === undefined) {
      const bare = this.#bareText();
      if (bare !== "") throw streamFault(bare);
      throw brokenStream("the stream ended without its last event");
    }
    this.#closeText();
    this.#closeCalls();
    const reason = this.#stopReason();
    this.#settleUsage();
    this.#message.stopReason = reason;
  }

  /** Closes the open blocks of a stream that failed or was aborted; what came stays as it is. */
  abandon(): void {
    this.#closeText();
    for (const { block, contentIndex, arguments: args } of this.#calls) {
      const finished = args.finish();
      if (finished.error === undefined) block.arguments = finished.arguments;
      this.#emit({ type: "toolcall_end", contentIndex, toolCall: block, partial: this.#message });
    }
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
      chunk = JSON.parse(data);
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
    if (chunk.error !== undefined && chunk.error !== null) throw streamFault(JSON.stringify(chunk));
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

    const choice = record(list(chunk.choices)[0]);
    if (choice === undefined) return;
    if (typeof choice.finish_reason === "string" && choice.finish_reason !== "") {
      this.#finishReason = choice.finish_reason;
    }
    const delta = record(choice.delta) ?? record(choice.message);
    if (delta === undefined) return;
    // llama-swap's loading banner looks like thinking, but its chunks carry no id and no object.
    if (
      chunk.id === undefined &&
      chunk.object === undefined &&
      chunk.model === undefined &&
      isBanner(delta)
    ) {
      this.#banner += delta.reasoning_content;
      this.#onProgress({ kind: "banner", text: this.#banner });
      return;
    }
    this.#onDelta(delta);
  }

  #onDelta(delta: JsonRecord): void {
    // Servers that send both fields send the same text in both.
    const thinking = text(delta.reasoning_content) ?? text(delta.reasoning);
    if (thinking !== undefined) this.#append("thinking", thinking);
    const content = typeof delta.content === "string" ? delta.content : textOfParts(delta.content);
    if (content !== "") this.#append("text", content);
    if (delta.tool_calls) for (const call of list(delta.tool_calls)) this.#onToolCall(record(call));
  }

  #onPromptProgress(progress: JsonRecord | undefined): void {
    const total = number(progress?.total);
    const cached = number(progress?.cache) ?? 0;
    const processed = number(progress?.processed);
    if (total === undefined || processed === undefined) return;
    this.#promptTotal = { total, cached };
    this.#onProgress({ kind: "prompt", total, cached, processed });
  }

  #append(channel: Channel, delta: string): void {
    this.#count();
    if (this.#open?.channel !== channel || this.#pendingCall) this.#begin(channel);
    this.#pending += delta;
  }

  #count(): void {
    this.#deltas += 1;
    if (this.#deltas === 1) this.#onProgress({ kind: "generating" });
  }

  #begin(channel: Channel): void {
    this.#closeText();
    const block: TextContent | ThinkingContent =
      channel === "text"
        ? { type: "text", text: "" }
        : { type: "thinking", thinking: "", thinkingSignature: "reasoning_content" };
    const contentIndex = this.#message.content.push(block) - 1;
    this.#open = { block, channel, contentIndex };
    this.#emit({ type: `${channel}_start`, contentIndex, partial: this.#message });
  }

  /** Emits what this chunk brought for the open block or call. */
  #flush(): void {
    const delta = this.#pending;
    if (delta === "") return;
    this.#pending = "";
    const partial = this.#message;
    if (this.#pendingCall) {
      const { block, contentIndex, arguments: args } = this.#pendingCall;
      this.#pendingCall = undefined;
      block.arguments = args.append(delta);
      this.#emit({ type: "toolcall_delta", contentIndex, delta, partial });
      return;
    }
    if (this.#open === undefined) return;
    const { block, contentIndex } = this.#open;
    if (block.type === "text") {
      block.text += delta;
      this.#emit({ type: "text_delta", contentIndex, delta, partial });
    } else {
      block.thinking += delta;
      this.#emit({ type: "thinking_delta", contentIndex, delta, partial });
    }
  }

  #closeText(): void {
    this.#flush();
    if (this.#open === undefined) return;
    const { block, contentIndex } = this.#open;
    this.#open = undefined;
    const partial = this.#message;
    if (block.type === "text") this.#emit({ type: "text_end", contentIndex, content: block.text, partial });
    else this.#emit({ type: "thinking_end", contentIndex, content: block.thinking, partial });
  }

  #onToolCall(call: JsonRecord | undefined): void {
    if (call === undefined) return;
    this.#count();
    this.#closeText();
    const definition = record(call.function) ?? {};
    const name = text(definition.name);
    const open = this.#findCall(call, name) ?? this.#beginCall(call, name);
    if (open.block.name === "" && name !== undefined) open.block.name = name;
    const given = definition.arguments;
    const delta = typeof given === "string" ? given : given == null ? "" : JSON.stringify(given);
    if (delta === "") return;
    if (this.#pendingCall !== open) this.#flush();
    this.#pendingCall = open;
    this.#pending += delta;
  }

  /**
   * Which call a delta continues: by index, by id, else the last one. A second name under a new id begins another
   * call: some servers give every call the index 0, others give none.
   */
  #findCall(call: JsonRecord, name: string | undefined): OpenCall | undefined {
    const id = text(call.id);
    const index = number(call.index);
    if (id !== undefined) {
      const byId = this.#calls.find((open) => open.block.id === id);
      if (byId) return byId;
    }
    if (index !== undefined) {
      const byIndex = this.#calls.findLast((open) => open.index === index);
      const isAnother = id !== undefined && name !== undefined && byIndex !== undefined;
      return isAnother ? undefined : byIndex;
    }
    return id === undefined && name === undefined ? this.#calls.at(-1) : undefined;
  }

  #beginCall(call: JsonRecord, name: string | undefined): OpenCall {
    this.#flush();
    const block: ToolCall = {
      type: "toolCall",
      id: text(call.id) ?? `call_${randomUUID().replaceAll("-", "")}`,
      name: name ?? "",
      arguments: {},
    };
    const contentIndex = this.#message.content.push(block) - 1;
    const index = number(call.index) ?? this.#calls.length;
    const open: OpenCall = { block, index, contentIndex, arguments: new PartialJson() };
    this.#calls.push(open);
    this.#emit({ type: "toolcall_start", contentIndex, partial: this.#message });
    return open;
  }

  #closeCalls(): void {
    for (const { block, contentIndex, arguments: args } of this.#calls) {
      const finished = args.finish();
      block.arguments = finished.arguments;
      // pi from 1.5 on shows the model this reason instead of running the tool; earlier versions know no such field.
      if (finished.error !== undefined) Object.assign(block, { argumentsError: finished.error });
      this.#emit({ type: "toolcall_end", contentIndex, toolCall: block, partial: this.#message });
    }
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
    if (this.#calls.length > 0) return "toolUse";
    if (raw === undefined && !this.hasContent) throw brokenStream("the stream ended without content");
    return "stop";
  }

  /** Lines at the end of the stream that are no SSE: llama-swap and llama.cpp's router write errors so. */
  #bareText(): string {
    const lines = this.#tail.join("").split(/\r\n|\n|\r/);
    // The first line may have lost its beginning.
    if (this.#tailLength > TAIL_CHARACTERS) lines.shift();
    return lines
      .filter(
        (line) =>
          line.trim() !== "" &&
          !/^\uFEFF?(data|event|id|retry)?:/.test(line) &&
          !/^(d|da|dat|data)$/.test(line),
      )
      .join("\n")
      .trim();
  }
}

function isBanner(delta: JsonRecord): delta is JsonRecord & { reasoning_content: string } {
  return (
    typeof delta.reasoning_content === "string" &&
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
function brokenStream(what: string, cause?: unknown): ServerError {
  return new ServerError(
    `The answer broke off: ${what} (connection error). The server or Caddy may have been restarted.`,
    {
      link: "stream",
      remedy: "retry",
      cause,
    },
  );
}

/**
 * pi adds input, output and cached tokens, llama.cpp counts the cached ones within the prompt: they are taken out,
 * so that nothing counts twice.
 *
 * @param usage the `usage` object of chat/completions
 * @param timings llama-server's timings, for streams without usage: `prompt_n` leaves the cached tokens out
 * @param prompt from the prompt's progress, for a stream that was cut
 * @param deltas content events that came: about one token each
 */
function usageOf(
  usage: JsonRecord | undefined,
  timings: JsonRecord | undefined,
  prompt: { total: number; cached: number } | undefined,
  deltas: number,
): Pick<Usage, "input" | "output" | "cacheRead" | "totalTokens"> & { reasoning?: number } {
  const details = record(usage?.prompt_tokens_details);
  const cached = count(details?.cached_tokens) ?? count(timings?.cache_n) ?? prompt?.cached ?? 0;
  const fromTimings =
    timings === undefined ? undefined : (number(timings.prompt_n) ?? 0) + (number(timings.cache_n) ?? 0);
  const total = Math.max(count(usage?.prompt_tokens) ?? fromTimings ?? prompt?.total ?? 0, cached);
  const output = count(usage?.completion_tokens) ?? count(timings?.predicted_n) ?? deltas;
  const reasoning = count(record(usage?.completion_tokens_details)?.reasoning_tokens);
  return {
    input: total - cached,
    output,
    cacheRead: cached,
    totalTokens: total + output,
    ...(reasoning === undefined ? {} : { reasoning }),
  };
}
