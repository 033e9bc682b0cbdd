/** How much of each conversation is still read when a Caddy spreads several over two real llama-servers. */

import type { Policy } from "../test/support/balanced.ts";
import { type Answer, LlamaPlace } from "../test/support/llama-pi.ts";
import { llamaServerProblem } from "../test/support/llama-server.ts";
import { missingProgram } from "../test/support/programs.ts";
import { startTwoServers } from "../test/support/two-servers.ts";
import type { Figure, Measured } from "./figure.ts";
import { type Conversation, prefixShares } from "./prefix-reuse.ts";

const VERSION = "1.6.0";
const TURNS = 12;
const CONVERSATIONS = 4;
const WORDS_A_TURN = 100;

export const PREFIX_REUSE_TWO_SERVERS: Figure = {
  name: "prefixReuseTwoServers",
  what: "the same over 12 turns of four sessions at once, through a real Caddy that spreads them over two real llama-servers as documented",
  limit: { least: 0.95 },
  margin: 0,
};

/** Why it cannot be measured here, or undefined. */
export function twoServersProblem(): string | undefined {
  return llamaServerProblem() ?? missingProgram("caddy");
}

/**
 * Twelve turns of four sessions side by side. Their ids are such that the documented Caddy gives two to each server.
 *
 * @throws {Error} when a turn failed
 */
async function talkOnTwoServers(policy: Policy): Promise<Conversation[]> {
  const servers = await startTwoServers({ args: ["-np", "4"], policy });
  const place = await LlamaPlace.at(servers.caddy.env, servers.stop);
  try {
    return await talk(place, await servers.caddy.evenIds(CONVERSATIONS));
  } finally {
    await place.stop();
  }
}

async function talk(place: LlamaPlace, ids: readonly string[]): Promise<Conversation[]> {
  const talks = await Promise.all(
    ids.map(async (id) => ({
      session: await place.session(VERSION, "--session-id", id),
      answers: [] as Answer[],
    })),
  );
  for (let turn = 1; turn <= TURNS; turn += 1)
    await Promise.all(
      talks.map(async ({ session, answers }, at) => {
        answers.push(
          ...(await session.turn(`${at}.${turn}: and what of it?${" read the".repeat(WORDS_A_TURN / 2)}`)),
        );
      }),
    );
  return talks.map(({ answers }) => answers);
}

const leastOf = (conversations: readonly Conversation[]): number[] =>
  conversations.map((answers) => Math.min(...prefixShares(answers)));

/** @throws {Error} when a turn failed */
export async function measureTwoServers(): Promise<Measured[]> {
  const shares: number[][] = [];
  let detail = "";
  for (const policy of ["header x-session-id", "round_robin"] as const) {
    const conversations = await talkOnTwoServers(policy);
    const least = leastOf(conversations);
    shares.push(least);
    const all = conversations.flatMap(prefixShares);
    const mean = all.reduce((sum, share) => sum + share, 0) / all.length;
    const words = least.map((share) => share.toFixed(3)).join(" ");
    detail += `${detail === "" ? "" : "\n    "}${policy}: least of each session ${words}, mean ${mean.toFixed(3)}`;
  }
  return [{ figure: PREFIX_REUSE_TWO_SERVERS, value: Math.min(...(shares[0] ?? [])), detail }];
}
