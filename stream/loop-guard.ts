/** Notices that a model repeats itself for ever. Does no I/O. */
import { ServerError } from "../lib/errors.ts";
import { cleanText } from "../lib/text.ts";

/** Characters of the longest period: 200 tokens of prose are seldom longer. */
const LONGEST_PERIOD = 1000;

/** Repetitions that a loop has at least. */
const LEAST_TIMES = 20;

/**
 * Characters that a loop has at least. Of words, sentences alone repeat so long. Of anything else more is needed: rulers,
 * tables of zeros, equal lines of a log and source maps do it, too.
 */
const LEAST_OF_WORDS = 2000;
const LEAST_OF_OTHERS = 8000;

/** Characters between two looks. */
const STEP = 1000;

/** Characters at the end whose previous occurrence gives the period. */
const PROBE = 64;

const MOST_PARTS = Math.ceil((LEAST_TIMES * LONGEST_PERIOD) / STEP);

export interface Loop {
  /** What is repeated, once. */
  readonly period: string;
  readonly times: number;
}

/** Letters, spaces and the signs between sentences; no digits, brackets, slashes or signs of code and tables. */
const NOT_PROSE = /[^\p{L}\p{M}\s.,;:!?'’"“”…–—()*，。、！？；：「」『』-]/u;

/** Whether the text is made of words, as sentences are: those of Chinese and Japanese have no spaces between them. */
function isProse(period: string): boolean {
  if (NOT_PROSE.test(period)) return false;
  const letters = period.match(/\p{L}/gu)?.length ?? 0;
  return letters >= period.length * 0.6 && /\p{L}\s|\s\p{L}|[^\p{ASCII}]/u.test(period);
}

/** Watches one block of text as it grows. */
export class LoopGuard {
  /** The last parts of the text, each at least a step long: joining them all for each look would cost too much. */
  readonly #parts: string[] = [];
  #unseen = "";

  /** @returns the loop, where the text up to here ends in one; looks again after every thousand characters */
  add(text: string): Loop | undefined {
    this.#unseen += text;
    if (this.#unseen.length < STEP) return undefined;
    const end = (this.#parts.at(-1) ?? "") + this.#unseen;
    this.#parts.push(this.#unseen);
    this.#unseen = "";
    if (this.#parts.length > MOST_PARTS) this.#parts.shift();
    return periodAtEnd(end) === undefined ? undefined : loopAtEnd(this.#parts.join(""));
  }
}

/** @returns the length after which the end of the text comes before, if it is short enough for a loop */
function periodAtEnd(text: string): number | undefined {
  const end = text.slice(-LONGEST_PERIOD - PROBE);
  const length = end.length - PROBE - end.lastIndexOf(end.slice(-PROBE), end.length - PROBE - 1);
  return length > LONGEST_PERIOD ? undefined : length;
}

/** @returns the shortest period that the text repeats at its end, where that is a loop */
export function loopAtEnd(text: string): Loop | undefined {
  const length = text.length < LEAST_OF_WORDS ? undefined : periodAtEnd(text);
  if (length === undefined) return undefined;
  const period = text.slice(-length);
  const least = isProse(period) ? LEAST_OF_WORDS : LEAST_OF_OTHERS;
  const times = Math.max(LEAST_TIMES, Math.ceil(least / length));
  return text.endsWith(period.repeat(times)) ? { period, times } : undefined;
}

/** Characters of a period that are shown. */
const SHOWN = 60;

/** What is repeated, on one short line that begins where a sentence or a word does. */
function shown(period: string): string {
  const twice = period + period;
  const start = /[.!?。！？…\n]\s*(?=\S)/u.exec(twice) ?? /\s(?=\S)/u.exec(twice);
  const at = start === null ? 0 : (start.index + start[0].length) % period.length;
  const line = cleanText(twice.slice(at, at + period.length)).replace(/\s+/g, " ");
  return line === "" ? "blank space" : `"${cleanText(line, SHOWN)}"`;
}

/** For the user, where the thinking of such a model was ended and its turn goes on. */
export function loopNotice({ period, times }: Loop): string {
  return `The model repeated itself while it thought: it wrote ${shown(period)} at least ${times} times in a row, so its thinking was ended. AI_SERVER_LOOP_GUARD=off lets it go on.`;
}

/** The error that ends a turn of a model which repeats itself. */
export function loopFault({ period, times }: Loop, channel: "text" | "thinking"): ServerError {
  const what = channel === "text" ? "The model repeats itself" : "The model repeats itself while it thinks";
  const after =
    ` at least ${times} times in a row, so its answer was ended. Ask again; if it happens often, use the sampling ` +
    "settings that the maker of the model recommends. AI_SERVER_LOOP_GUARD=off lets such answers go on.";
  return new ServerError([`${what}: it wrote `, shown(period), after], { link: "model", what });
}
