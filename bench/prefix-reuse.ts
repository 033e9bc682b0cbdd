/** How much of a conversation a real llama-server has still read when the next turn comes. */
import { type Answer, LlamaPlace, type LlamaSession } from "../test/support/llama-pi.ts";
import { llamaServerProblem } from "../test/support/llama-server.ts";
import type { PiVersion } from "../test/support/pi.ts";
import { eventually } from "../test/support/processes.ts";
import { SCRIPTS } from "../test/support/tiny-model.ts";
import type { Figure, Measured } from "./figure.ts";

const VERSION = "1.6.0";
const TURNS = 12;
const TURNS_BESIDE = 6;
/** After this turn the session is loaded or opened again. */
const RELOADED_AFTER = 4;
const RESUMED_AFTER = 7;
const CONTINUED_AFTER = 9;
const WORDS_A_TURN = 300;
const WORDS_OF_OTHERS = 200;
/** So many that its conversation is more than twice as long as what another session begins with. */
const WORDS_OF_FIRST = 5000;
/** A slot that holds no more has been left to what parks a prompt that was read ahead. */
const PARKED_TOKENS = 64;

export const PREFIX_REUSE: Figure = {
  name: "prefixReuse",
  what: "least part of the last request's prompt that comes from a real llama-server's cache: 12 turns in real pi with thinking and tool calls on one slot, across /reload, /resume and a new process; on two slots with another session, of the same beginning, in between; on one slot with such a session that reads ahead (AI_SERVER_WARM=read) in between",
  limit: { least: 0.95 },
  margin: 0,
};

/** What is read of a conversation: its answers in the order of their requests. */
export type Conversation = readonly Answer[];

/**
 * For each answer but the first the part of the request before it that was not read again, from 0 to 1.
 *
 * @throws {Error} for less than two answers
 */
export function prefixShares(answers: Conversation): number[] {
  if (answers.length < 2) throw new Error("One request has no other before it");
  return answers.slice(1).map(({ cached }, at) => Math.min(1, cached / (answers[at]?.prompt ?? Number.NaN)));
}

function words(count: number): string {
  return Array.from({ length: count }, (_, at) => (at % 2 === 0 ? " read" : " the")).join("");
}

/** What is asked: two turns of three run a tool. */
function question(turn: number): string {
  const wish = turn % 3 === 0 ? "And what does that mean?" : `Please ${SCRIPTS.tool.cue}.`;
  return `${turn}. ${wish}${words(WORDS_A_TURN)}`;
}

/** Twelve turns of one session on one slot, which is loaded again, opened again and continued by another process. */
export async function talkOnOneSlot(version: PiVersion): Promise<Conversation> {
  const place = await LlamaPlace.start(["-np", "1"]);
  try {
    const answers: Answer[] = [];
    let session = await place.session(version);
    for (let turn = 1; turn <= TURNS; turn += 1) {
      answers.push(...(await session.turn(question(turn))));
      if (turn === RELOADED_AFTER) await session.reload();
      if (turn === RESUMED_AFTER) await session.resume();
      if (turn === CONTINUED_AFTER) {
        await session.close();
        session = await place.session(version, "--continue");
      }
    }
    return answers;
  } finally {
    await place.stop();
  }
}

/**
 * Six turns on two slots, and before each but the first a new session of another process, as a subagent's: with the
 * same tools and the same first words.
 */
export async function talkBesideOthers(version: PiVersion): Promise<Conversation> {
  const place = await LlamaPlace.start(["-np", "2"]);
  try {
    const session = await place.session(version);
    const answers = await session.turn(question(1));
    const other: LlamaSession = await place.session(version, "--no-session");
    for (let turn = 2; turn <= TURNS_BESIDE; turn += 1) {
      await other.newSession();
      await other.turn(`Review number ${turn}:${words(WORDS_OF_OTHERS)}`);
      answers.push(...(await session.turn(question(turn))));
    }
    return answers;
  } finally {
    await place.stop();
  }
}

/**
 * Six turns on the only slot, and before each but the first a new session of another process, with the same beginning,
 * which reads that ahead and then says nothing.
 */
export async function talkBesideReading(version: PiVersion): Promise<Conversation> {
  const place = await LlamaPlace.start(["-np", "1"], { AI_SERVER_WARM: "read" });
  try {
    const session = await place.session(version);
    const answers = await session.turn(`${question(1)}${words(WORDS_OF_FIRST)}`);
    const other: LlamaSession = await place.session(version, "--no-session");
    const isParked = async (): Promise<true | undefined> =>
      (await place.tokensHeld())?.every((tokens) => tokens <= PARKED_TOKENS) || undefined;
    for (let turn = 2; turn <= TURNS_BESIDE; turn += 1) {
      await eventually("the other session has read ahead", isParked);
      answers.push(...(await session.turn(question(turn))));
      await other.newSession();
    }
    return answers;
  } finally {
    await place.stop();
  }
}

/** Why there is nothing to measure on here, or undefined. */
export const prefixProblem = llamaServerProblem;

function told(answers: Conversation): string {
  return answers.map(({ prompt, cached }) => `${cached}/${prompt}`).join(" ");
}

/** @throws {Error} when a turn failed, or no tool was called */
export async function measurePrefixReuse(): Promise<Measured[]> {
  const alone = await talkOnOneSlot(VERSION);
  for (const kind of ["thinking", "toolCall", "text"])
    if (!alone.some(({ blocks }) => blocks.includes(kind))) throw new Error(`No answer has a ${kind} block`);
  const beside = await talkBesideOthers(VERSION);
  const reading = await talkBesideReading(VERSION);
  const talks = { "one slot": alone, "two slots": beside, "beside a session that reads ahead": reading };
  const least = Object.values(talks).map((answers) => Math.min(...prefixShares(answers)));
  const detail = Object.entries(talks).map(
    ([name, answers], at) => `${name} ${least[at]?.toFixed(3)}, cached of each prompt: ${told(answers)}`,
  );
  return [{ figure: PREFIX_REUSE, value: Math.min(...least), detail: detail.join("\n    ") }];
}
