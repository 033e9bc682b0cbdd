/** Drives the decoder by hand, and states what must hold for the events of any stream. */
import { readdirSync, readFileSync } from "node:fs";
import type { AssistantMessage, AssistantMessageEvent } from "@earendil-works/pi-ai";
import { expect } from "vitest";
import { ServerError } from "../../lib/errors.ts";
import { Decoder, type Progress } from "../../stream/decoder.ts";
import { assistant } from "./samples.ts";

const RECORDINGS = new URL("../fixtures/llama-server/", import.meta.url);

/** Every recorded stream, by its file's name. */
export function recordings(): [name: string, bytes: Buffer][] {
  const names = readdirSync(RECORDINGS).filter((name) => name.endsWith(".sse"));
  return names.sort().map((name) => [name, recording(name)]);
}

export function recording(name: string): Buffer {
  return readFileSync(new URL(name, RECORDINGS));
}

/** An event as it was when it came, without the message that grows behind it. */
export interface Seen {
  type: AssistantMessageEvent["type"];
  index: number;
  /** The delta, or what an end event says that the block holds. */
  text: string;
}

export interface Decoded {
  seen: Seen[];
  progress: Progress[];
  message: AssistantMessage;
  error: ServerError | undefined;
}

function noted(event: AssistantMessageEvent): Seen {
  const index = "contentIndex" in event ? event.contentIndex : -1;
  const text =
    "delta" in event
      ? event.delta
      : "content" in event
        ? event.content
        : "toolCall" in event
          ? JSON.stringify(event.toolCall)
          : "";
  return { type: event.type, index, text };
}

/** Decodes a stream that comes in these pieces and ends then. Only a `ServerError` may be thrown. */
export function decode(pieces: readonly (string | Uint8Array)[]): Decoded {
  const seen: Seen[] = [];
  const progress: Progress[] = [];
  const message = assistant([], { stopReason: "pending", model: "script" });
  const decoder = new Decoder({
    message,
    emit: (event) => seen.push(noted(event)),
    onProgress: (event) => progress.push({ ...event }),
  });
  try {
    for (const piece of pieces) decoder.push(typeof piece === "string" ? Buffer.from(piece) : piece);
    decoder.end();
    return { seen, progress, message, error: undefined };
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    decoder.abandon();
    return { seen, progress, message, error };
  }
}

/** The events with neighbouring deltas of one block put together: how they came in pieces does not count. */
export function merged(seen: readonly Seen[]): Seen[] {
  const all: Seen[] = [];
  for (const event of seen) {
    const last = all.at(-1);
    if (event.type.endsWith("_delta") && last?.type === event.type && last.index === event.index)
      last.text += event.text;
    else all.push({ ...event });
  }
  return all;
}

/** What must be the same however a stream was cut; made-up ids are taken out. */
export function outcome({ seen, message, error }: Decoded): string {
  const told = JSON.stringify([merged(seen), message, error?.message]);
  return told
    .replaceAll(/call_[0-9a-f]{32}/g, "call_made_up")
    .replaceAll(/call_made_up_?\d*/g, "call_made_up");
}

/** Every block has one start and one end, deltas stand between them and add up to what the block holds. */
export function expectBalanced(decoded: Pick<Decoded, "seen" | "message">): void {
  const problem = imbalance(decoded);
  // Asked for hundreds of thousands of streams: an assertion of its own for each event would take minutes.
  if (problem !== undefined) expect.fail(`${problem}: ${JSON.stringify(decoded.seen)}`);
}

function imbalance({ seen, message }: Pick<Decoded, "seen" | "message">): string | undefined {
  const open = new Map<number, { kind: string; text: string }>();
  let next = 0;
  for (const { type, index, text } of seen) {
    const [kind = "", step = ""] = type.split("_");
    const block = open.get(index);
    if (step === "start") {
      if (index !== next) return `block ${index} begins where ${next} is due`;
      next += 1;
      open.set(index, { kind, text: "" });
    } else if (block?.kind !== kind) return `${type} of block ${index}, which is not open`;
    else if (step === "delta") {
      if (text === "") return `empty delta of block ${index}`;
      block.text += text;
    } else {
      open.delete(index);
      const content = message.content[index];
      const held =
        content?.type === "text" ? content.text : content?.type === "thinking" ? content.thinking : text;
      const expected = content?.type === "toolCall" ? text : block.text;
      if (text !== expected || held !== expected) return `block ${index} does not hold its deltas`;
    }
  }
  if (open.size > 0) return `blocks ${[...open.keys()]} were left open`;
  return message.content.length === next
    ? undefined
    : `${message.content.length} blocks, ${next} of them begun`;
}

/** The lines of a stream: each value as one event, then `[DONE]` unless the last is left out. */
export function events(...chunks: unknown[]): string {
  return chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`).join("");
}

export const DONE = "data: [DONE]\n\n";

/** A chunk as llama-server writes it. */
export function chunk(delta: unknown, finish: string | null = null, more: object = {}): object {
  return {
    choices: [{ finish_reason: finish, index: 0, delta }],
    id: "chatcmpl-1",
    object: "chat.completion.chunk",
    model: "script",
    ...more,
  };
}
