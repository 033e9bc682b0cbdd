/** The content of a message while it streams: balanced blocks, and one event per block and network chunk. */
import { randomUUID } from "node:crypto";
import type {
  AssistantMessage,
  AssistantMessageEvent,
  TextContent,
  ThinkingContent,
  ToolCall,
} from "@earendil-works/pi-ai";
import type { JsonRecord } from "../lib/json.ts";
import * as json from "../lib/json.ts";
import { textOfParts } from "./answer-shapes.ts";
import { type Loop, LoopGuard } from "./loop-guard.ts";
import { isTooDeep, ToolArguments } from "./tool-arguments.ts";

// Copied once, since each use of an imported name has its price in pi's loader.
const { list, number, record, text } = json;

/** Characters that a block counts besides its text. */
const BLOCK_CHARACTERS = 32;

/**
 * Pieces after which a text is read once. V8 keeps a concatenated text as its pieces, at ten times the memory, until a
 * character of it is read.
 */
const LOOSE_PIECES = 16_384;

interface OpenCall {
  block: ToolCall;
  /** As the server gave it. */
  id: string | undefined;
  index: number;
  contentIndex: number;
  arguments: ToolArguments;
}

export type Channel = "text" | "thinking";

/** Called, after its events, for each chunk that makes it sure that the open block repeats itself for ever. */
export type OnLoop = (loop: Loop, channel: Channel) => void;

/**
 * Fills a message's content and emits pi's events for it. Text and thinking blocks close when another block begins,
 * tool calls at the end, since servers may interleave several calls.
 */
export class Blocks {
  readonly #message: AssistantMessage;
  readonly #emit: (event: AssistantMessageEvent) => void;
  readonly #onLoop: OnLoop | undefined;
  readonly #calls: OpenCall[] = [];
  /** The last call of each index, and the first of each id: an answer may hold tens of thousands. */
  readonly #byIndex = new Map<number, OpenCall>();
  readonly #byId = new Map<string, OpenCall>();
  #open: { block: TextContent | ThinkingContent; channel: Channel; contentIndex: number } | undefined;
  /** Deltas without an event yet, of the call or else of the open block. */
  #pending = "";
  #pendingCall: OpenCall | undefined;
  #deltas = 0;
  #characters = 0;
  /** How many deltas there were when the text was last read. */
  #readAt = 0;
  /** Of the open block. */
  #guard: LoopGuard | undefined;
  #loop: Loop | undefined;

  /** @param onLoop undefined: nothing is watched */
  constructor(
    message: AssistantMessage,
    emit: (event: AssistantMessageEvent) => void,
    onLoop: OnLoop | undefined,
  ) {
    this.#message = message;
    this.#emit = emit;
    this.#onLoop = onLoop;
  }

  get hasCalls(): boolean {
    return this.#calls.length > 0;
  }

  /** Pieces of content, thinking and calls that came. */
  get deltas(): number {
    return this.#deltas;
  }

  /** Approximate characters of the content. */
  get characters(): number {
    return this.#characters;
  }

  /** Adds one `delta` of a choice, or the `message` of an answer that came whole; the events come with `flush`. */
  add(delta: JsonRecord): void {
    // Servers that send both fields send the same text in both.
    const thinking = text(delta.reasoning_content) ?? text(delta.reasoning) ?? text(delta.reasoning_text);
    if (thinking !== undefined) this.#append("thinking", thinking);
    const content = typeof delta.content === "string" ? delta.content : textOfParts(delta.content);
    if (content !== "") this.#append("text", content);
    else if (typeof delta.refusal === "string" && delta.refusal !== "") this.#append("text", delta.refusal);
    if (delta.tool_calls || delta.function_call) this.#appendCalls(delta);
  }

  #append(channel: Channel, delta: string): void {
    this.#deltas += 1;
    this.#characters += delta.length;
    if (this.#open?.channel !== channel) this.#begin(channel);
    this.#pending += delta;
  }

  /** Some servers send a call alone instead of a list, or under the name in OpenAI's first interface. */
  #appendCalls({ tool_calls: calls, function_call: definition }: JsonRecord): void {
    const alone = record(calls) ?? (calls || !record(definition) ? undefined : { function: definition });
    for (const entry of alone === undefined ? list(calls) : [alone]) {
      const call = record(entry);
      if (call !== undefined) this.#appendCall(call);
    }
  }

  #appendCall(call: JsonRecord): void {
    this.#deltas += 1;
    if (this.#open) this.#closeText();
    const definition = record(call.function) ?? call;
    const name = text(definition.name);
    const open = this.#findCall(call, name) ?? this.#beginCall(call, name);
    if (name !== undefined && name !== open.block.name) this.#rename(open, name);
    const delta = argumentsText(definition.arguments, open);
    if (delta === "") return;
    this.#characters += delta.length;
    if (this.#pendingCall !== open) this.flush();
    this.#pendingCall = open;
    this.#pending += delta;
  }

  /** A name may come late, or in pieces until the arguments begin. */
  #rename({ block, arguments: args }: OpenCall, name: string): void {
    this.flush();
    if (block.name !== "" && !args.isEmpty) return;
    block.name = name.startsWith(block.name) ? name : block.name + name;
    this.#characters += name.length;
  }

  /** Emits what was added since the last call, at the end of a chunk. @throws what `onLoop` throws */
  endChunk(): void {
    this.flush();
    const loop = this.#loop;
    if (loop === undefined || this.#open === undefined) return;
    this.#loop = undefined;
    this.#onLoop?.(loop, this.#open.channel);
  }

  /** Emits what was added since the last call. */
  flush(): void {
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
    this.#loop = this.#guard?.add(delta);
    if (block.type === "text") {
      block.text = this.#joined(block.text, delta);
      this.#emit({ type: "text_delta", contentIndex, delta, partial });
    } else {
      block.thinking = this.#joined(block.thinking, delta);
      this.#emit({ type: "thinking_delta", contentIndex, delta, partial });
    }
  }

  #joined(text: string, delta: string): string {
    const joined = text + delta;
    // The result goes into the count, since the compiler would drop a read without effect.
    if (this.#deltas - this.#readAt >= LOOSE_PIECES)
      this.#readAt = this.#deltas - (joined.charCodeAt(0) === 0 ? 1 : 0);
    return joined;
  }

  /**
   * Closes what is open.
   *
   * @param isCut whether the stream failed: calls then keep the arguments that could be read. Otherwise arguments
   *   that are no JSON object become an empty one, so that no tool runs on half of them.
   */
  close(isCut: boolean): void {
    this.#closeText();
    for (const { block, contentIndex, arguments: args } of this.#calls) {
      const finished = args.finish();
      if (finished.error === undefined || !isCut) block.arguments = finished.arguments;
      // pi shows the model this reason instead of running the tool.
      if (finished.error !== undefined && !isCut) block.argumentsError = finished.error;
      this.#emit({ type: "toolcall_end", contentIndex, toolCall: block, partial: this.#message });
    }
  }

  #begin(channel: Channel): void {
    this.#closeText();
    this.#characters += BLOCK_CHARACTERS;
    const block: TextContent | ThinkingContent =
      channel === "text"
        ? { type: "text", text: "" }
        : { type: "thinking", thinking: "", thinkingSignature: "reasoning_content" };
    const contentIndex = this.#message.content.push(block) - 1;
    this.#open = { block, channel, contentIndex };
    this.#guard = this.#onLoop && new LoopGuard();
    this.#emit({ type: `${channel}_start`, contentIndex, partial: this.#message });
  }

  #closeText(): void {
    this.flush();
    if (this.#open === undefined) return;
    const { block, contentIndex } = this.#open;
    this.#open = undefined;
    const partial = this.#message;
    if (block.type === "text") this.#emit({ type: "text_end", contentIndex, content: block.text, partial });
    else this.#emit({ type: "thinking_end", contentIndex, content: block.thinking, partial });
  }

  /**
   * The call that a delta continues: by index, by id, else the last one. A name under a new id begins another call,
   * since some servers give every call the index 0; but not while the same call is unfinished, since others give every
   * piece an id.
   */
  #findCall(call: JsonRecord, name: string | undefined): OpenCall | undefined {
    const id = text(call.id);
    const index = number(call.index);
    if (index !== undefined) {
      const found = this.#byIndex.get(index);
      if (found === undefined || name === undefined || id === undefined || id === found.id) return found;
      this.flush();
      return name === found.block.name && !found.arguments.isWhole ? found : undefined;
    }
    if (id !== undefined) return this.#byId.get(id);
    return name === undefined ? this.#calls.at(-1) : undefined;
  }

  #beginCall(call: JsonRecord, name: string | undefined): OpenCall {
    this.flush();
    const id = text(call.id);
    const block: ToolCall = {
      type: "toolCall",
      // A result would belong to both calls of one id.
      id: id === undefined || this.#byId.has(id) ? `call_${randomUUID().replaceAll("-", "")}` : id,
      name: name ?? "",
      arguments: {},
    };
    const contentIndex = this.#message.content.push(block) - 1;
    const index = number(call.index) ?? this.#calls.length;
    const open: OpenCall = { block, id, index, contentIndex, arguments: new ToolArguments() };
    this.#calls.push(open);
    this.#characters += block.id.length + block.name.length + BLOCK_CHARACTERS;
    this.#byIndex.set(index, open);
    this.#byId.set(block.id, open);
    this.#emit({ type: "toolcall_start", contentIndex, partial: this.#message });
    return open;
  }
}

/** Some servers send the arguments as JSON instead of as text. */
function argumentsText(given: unknown, open: OpenCall): string {
  if (typeof given === "string") return given;
  if (given === undefined || given === null) return "";
  if (!isTooDeep(given)) return JSON.stringify(given);
  open.arguments.refuse();
  return "";
}
