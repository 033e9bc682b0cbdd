import { expect, test } from "vitest";
import {
  type Conversation,
  prefixShares,
  talkBesideOthers,
  talkBesideReading,
  talkOnOneSlot,
} from "../../bench/prefix-reuse.ts";
import { llamaServerProblem } from "../support/llama-server.ts";
import { NEWEST_PI, piProblem } from "../support/pi.ts";
import { realSuite } from "../support/programs.ts";

function expectReuse(answers: Conversation): void {
  const prompts = answers.map(({ prompt }) => prompt);
  expect(prompts).toEqual([...prompts].sort((a, b) => a - b));
  // So much longer than pi's own words and the tools that a cache of no more than these would not do.
  expect(prompts.at(-1)).toBeGreaterThan(1.5 * (prompts[0] ?? Number.NaN));
  expect(Math.min(...prefixShares(answers)), JSON.stringify(answers)).toBeGreaterThanOrEqual(0.95);
}

const problem = (await piProblem(NEWEST_PI)) ?? llamaServerProblem();
realSuite(problem, `the cache of a real llama-server under pi ${NEWEST_PI}`, () => {
  test("holds over twelve turns, a reload, a resume and another process", async () => {
    const answers = await talkOnOneSlot(NEWEST_PI);
    const kinds = answers.map(({ blocks }) => blocks.join(" "));
    // Two turns of three run a tool, which takes two requests.
    const [call, said] = ["thinking toolCall", "thinking text"];
    const three = [call, said, call, said, said];
    expect(kinds).toEqual([...three, ...three, ...three, ...three]);
    expectReuse(answers);
  });

  test("holds on two slots with another session, of the same beginning, before each turn", async () => {
    expectReuse(await talkBesideOthers(NEWEST_PI));
  });

  test("holds in the only slot, although a session of the same beginning reads ahead before each turn", async () => {
    const answers = await talkBesideReading(NEWEST_PI);
    expect(answers.length).toBeGreaterThanOrEqual(6);
    expect(Math.min(...prefixShares(answers)), JSON.stringify(answers)).toBeGreaterThanOrEqual(0.95);
  });
});
