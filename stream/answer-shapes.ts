/** How servers differ in their streams: names, ends, errors in words, llama-swap's banner. Pure. */
import type { JsonRecord } from "../lib/json.ts";
import * as json from "../lib/json.ts";
import { cleanText } from "../lib/text.ts";

// Copied once, since each use of an imported name has its price in pi's loader.
const { parsed, record, text } = json;

/** Characters of an id or a name that are kept with the message. */
const MAX_NAME_CHARACTERS = 200;

const GOOD_ENDS = new Set(["stop", "end", "length", "tool_calls", "function_call"]);

/** The name of an event that is an error, whatever its data. */
const ERROR_EVENT = /error|exception|fail|abort|cancel/i;

/** Words, or a dictionary as Python prints it, and no damaged JSON. */
const IN_WORDS = /^\s*(?:\{'|(?:\[[A-Z]+\]\W*)?[A-Za-z])/;
/** A proxy's error page. */
const PAGE = /^\s*<(?:!doctype|html|head|body)\b/i;
const TROUBLE = /error|exception|fail|exceed|abort|too (?:long|large|many)|invalid|denied/i;

/** Sent so that the connection does not look idle: nothing, or one of these words as name or data. */
const HEARTBEAT = /^\s*(?:ping|heart-?beat|keep-?alive|processing)?\s*$/i;

const LAST = /^\s*"?\[?DONE\]?"?\s*$/i;

/** Where another event begins within the data of one: inside JSON text no brace, bare quote and letter follow a brace. */
const NEXT_EVENT = /(?<=\})\s*(?:data:\s*)?(?=\{"\w|\[DONE\]\s*$)/;

/** Whether a finish_reason ends a whole answer; as in pi's own provider, an unknown one does not. */
export function isGoodEnd(reason: string): boolean {
  return GOOD_ENDS.has(reason);
}

/** Whether an event of this name is an error, whatever its data. */
export function isErrorEvent(name: string): boolean {
  return ERROR_EVENT.test(name);
}

/** Whether data is words, and not damaged JSON. */
export function isInWords(data: string): boolean {
  return IN_WORDS.test(data);
}

/** Whether data is the last of a stream, in any of its spellings. */
export function isLast(data: string): boolean {
  return LAST.test(data);
}

/** Whether an event only keeps the connection alive. */
export function isHeartbeat(data: string, event: string | undefined): boolean {
  return HEARTBEAT.test(data) || (event !== undefined && event !== "" && HEARTBEAT.test(event));
}

/** Whether bare lines mean nothing: heartbeats, and fields unknown to SSE. */
export function isNoise(lines: string): boolean {
  const isField = (line: string): boolean => /^[\w-]+:/.test(line) && !isTrouble(line);
  return lines.split("\n").every((line) => HEARTBEAT.test(line) || LAST.test(line) || isField(line));
}

/**
 * The events in data that is no JSON: some servers leave out the empty line between two, or write `data:` twice.
 *
 * @returns undefined where it does not consist of whole events
 */
export function eventsIn(data: string): string[] | undefined {
  const events = data.replace(/^\s*data:/, "").split(NEXT_EVENT);
  if (events.length === 1 && events[0] === data) return undefined;
  return events.every((event) => isLast(event) || record(parsed(event)) !== undefined) ? events : undefined;
}

/** Whether a text in place of an event speaks of a failure. */
export function isTrouble(said: string): boolean {
  return TROUBLE.test(said) || PAGE.test(said);
}

/** An id or name on one line, without control characters, and shortened. */
export function nameOf(name: string): string {
  return cleanText(name.slice(0, 2 * MAX_NAME_CHARACTERS), MAX_NAME_CHARACTERS)
    .replace(/\s+/g, " ")
    .toWellFormed();
}

/** llama-swap's loading banner looks like thinking, but its chunks carry no id and no object. */
export function isBanner(
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

const SWAP_FAILED = /Unable to swap model err: (.+)/;

/** Why a load failed: llama-swap up to v217 writes it into its banner, and ends or garbles the stream. */
export function swapFailureIn(banner: string): string | undefined {
  return SWAP_FAILED.exec(banner)?.[1];
}

/** Some servers send content as a part or a list of parts. */
export function textOfParts(content: unknown): string {
  let joined = "";
  for (const part of Array.isArray(content) ? content : [content]) joined += text(record(part)?.text) ?? "";
  return joined;
}
