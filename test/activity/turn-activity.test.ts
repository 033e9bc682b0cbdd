import { describe, expect, test } from "vitest";
import { turnLine } from "../../activity/activity-line.ts";
import type { Activity, TurnActivity } from "../../activity/turn-activity.ts";
import { begun } from "../support/begun-turn.ts";
import { integer, pick, type Random, seeded } from "../support/random.ts";

const prompt = (processed: number, timeMs: number, cached = 0) => ({
  total: 1000,
  cached,
  processed,
  timeMs,
});

describe("a turn", () => {
  test("begins with nothing but its time", async () => {
    const { lookAfter, asked } = begun();
    expect(await lookAfter(1500)).toEqual({ kind: "connecting", elapsedMs: 1500 });
    expect(asked).toEqual([]);
  });

  test("that loads has its time from the request on, and what earlier loads took", async () => {
    const { turn, lookAfter, asked } = begun();
    turn.loading(1000, undefined);
    turn.loading(2000, undefined);
    expect(asked).toEqual([]);
    expect(await lookAfter(3000)).toEqual({
      kind: "loading",
      elapsedMs: 4000,
      expectedMs: 20_000,
      again: undefined,
    });
    expect(asked).toEqual(["load"]);
  });

  test("does not take a refusal in the midst of a load for its end", async () => {
    const { turn, lookAfter } = begun();
    turn.loading(1000, undefined);
    expect(await lookAfter(4000)).toMatchObject({ elapsedMs: 5000 });
    turn.retrying("the model loads", 1000);
    expect(await lookAfter(1000)).toEqual({ kind: "connecting", elapsedMs: 0 });
    turn.loading(1000, undefined);
    expect(await lookAfter(1000)).toMatchObject({ kind: "loading", elapsedMs: 7000 });
    turn.prompt(prompt(0, 0));
    expect(turn.loadMs).toBe(7000);
  });

  test("begins an interrupted load again", async () => {
    const { turn, lookAfter, clock } = begun();
    turn.loading(1000, undefined);
    expect(await lookAfter(4000)).toMatchObject({ elapsedMs: 5000 });
    turn.restarted();
    turn.retrying("the model was unloaded", 1000);
    clock.at += 2000;
    turn.loading(1000, undefined);
    expect(await lookAfter(1000)).toMatchObject({ kind: "loading", elapsedMs: 2000 });
    turn.prompt(prompt(0, 0));
    expect(turn.loadMs).toBe(2000);
  });

  test("counts no load that it has not seen to its end, and no waiting as one", async () => {
    const { turn, clock } = begun();
    turn.waiting({ blockedBy: "other", position: undefined });
    clock.at += 9000;
    turn.loading(9000, undefined);
    clock.at += 3000;
    expect(turn.loadMs).toBeUndefined();
    turn.connecting();
    clock.at += 5000;
    turn.generating(() => 1);
    expect(turn.loadMs).toBe(3000);
  });

  test("that waits asks for whom, every five seconds, and only while it is shown", async () => {
    const { turn, lookAfter, asked, clock } = begun();
    turn.waiting({ blockedBy: "other", position: undefined });
    clock.at += 60_000;
    expect(asked).toEqual([]);
    expect(await lookAfter(0)).toEqual({
      kind: "waiting",
      blockedBy: "other",
      position: undefined,
      requests: 1,
      elapsedMs: 60_000,
    });
    await lookAfter(4999);
    expect(asked).toHaveLength(1);
    expect(await lookAfter(1)).toMatchObject({ requests: 2 });
    turn.waiting({ blockedBy: "third", position: undefined });
    expect(turn.look()).toMatchObject({ blockedBy: "third", requests: undefined, elapsedMs: 65_000 });
  });

  test("says what took the model's place, where it has answered before", async () => {
    const { turn, lookAfter, asked } = begun({ hasAnswered: true });
    turn.waiting({ blockedBy: "third", position: 1 });
    turn.loading(2000, undefined);
    expect(await lookAfter(0)).toMatchObject({ again: { blockedBy: "third" } });
    expect(asked).toEqual(["load"]);
  });

  test("asks once what took the model's place, where no look has shown it", async () => {
    const { turn, lookAfter, asked } = begun({ hasAnswered: true });
    turn.loading(1000, undefined);
    expect(turn.look()).toMatchObject({ again: { blockedBy: undefined } });
    expect(await lookAfter(0)).toMatchObject({ again: { blockedBy: "other" } });
    expect(await lookAfter(5000)).toMatchObject({ again: { blockedBy: "other" } });
    expect(asked).toEqual(["load", "last used"]);
  });

  test("in a queue asks no question, and counts its wait there to no load", async () => {
    const { turn, lookAfter, asked } = begun();
    turn.loading(0, undefined);
    turn.waiting({ blockedBy: "other", position: 1 });
    expect(await lookAfter(8000)).toMatchObject({ kind: "waiting", position: 1, elapsedMs: 8000 });
    expect(asked).toEqual([]);
    turn.loading(9000, undefined);
    expect(await lookAfter(3000)).toMatchObject({ kind: "loading", elapsedMs: 3000 });
    turn.prompt(prompt(0, 0));
    expect(turn.loadMs).toBe(3000);
  });

  test("counts a load from the request on where only the banner named a place", async () => {
    const { turn, lookAfter, clock } = begun();
    clock.at += 300;
    turn.waiting({ blockedBy: undefined, position: 1 });
    clock.at += 2700;
    turn.loading(3000, undefined);
    expect(await lookAfter(1000)).toMatchObject({ kind: "loading", elapsedMs: 4000 });
    turn.prompt(prompt(0, 0));
    expect(turn.loadMs).toBe(4000);
  });

  test("counts a load from the moment at which no other model was in its way any more", async () => {
    const { turn, lookAfter, clock } = begun();
    clock.at += 9000;
    turn.waiting({ blockedBy: "other", position: 1 });
    clock.at += 1000;
    turn.waiting({ blockedBy: undefined, position: 1 });
    clock.at += 2000;
    turn.loading(12_000, undefined);
    expect(await lookAfter(0)).toMatchObject({ kind: "loading", elapsedMs: 3000 });
  });

  test("that has no slot has loaded, and waits for others of its own model", async () => {
    const { turn, lookAfter, asked } = begun();
    turn.loading(0, undefined);
    await lookAfter(4000);
    turn.waiting({ blockedBy: undefined, position: undefined, ahead: 2 });
    expect(await lookAfter(6000)).toEqual({
      kind: "waiting",
      blockedBy: undefined,
      position: undefined,
      ahead: 2,
      requests: undefined,
      elapsedMs: 6000,
    });
    expect([turn.loadMs, asked]).toEqual([4000, ["load"]]);
  });

  test("that waits for a restarting server names the command, and times the next load from its start", async () => {
    const { turn, lookAfter } = begun();
    turn.loading(0, undefined);
    turn.down(undefined);
    expect(await lookAfter(3000)).toEqual({ kind: "down", by: undefined, elapsedMs: 3000 });
    turn.down("/ai-server-restart");
    expect(await lookAfter(3000)).toEqual({ kind: "down", by: "/ai-server-restart", elapsedMs: 6000 });
    turn.connecting();
    turn.loading(1000, undefined);
    expect(await lookAfter(500)).toMatchObject({ kind: "loading", elapsedMs: 1500 });
  });

  test("that is refused counts down, and then waits for an answer", async () => {
    const { turn, lookAfter } = begun();
    turn.retrying("the server has too many requests", 3000);
    expect(await lookAfter(1000)).toEqual({
      kind: "retrying",
      why: "the server has too many requests",
      leftMs: 2000,
    });
    expect(await lookAfter(2500)).toEqual({ kind: "connecting", elapsedMs: 500 });
  });

  test("reads a prompt again after a retry, and where the server begins another", async () => {
    const { turn, lookAfter } = begun();
    turn.prompt(prompt(800, 1000));
    turn.prompt(prompt(100, 2000));
    expect(await lookAfter(0)).toMatchObject({ kind: "prompt", processed: 800 });
    turn.prompt({ ...prompt(50, 3000), total: 2000 });
    expect(await lookAfter(0)).toMatchObject({ kind: "prompt", total: 2000, processed: 50 });
    turn.retrying("the model's process ended", 1000);
    turn.prompt(prompt(100, 500));
    expect(await lookAfter(0)).toMatchObject({ kind: "prompt", processed: 100 });
  });

  test("generates at the rate of the last seconds, down to nothing when no token comes", async () => {
    const { turn, clock } = begun();
    let tokens = 1;
    turn.generating(() => tokens);
    const look = (ms: number, more: number): Activity => {
      clock.at += ms;
      tokens += more;
      return turn.look();
    };
    expect(look(0, 0)).toEqual({ kind: "generating", tokens: 1, perSecond: undefined });
    for (let tick = 0; tick < 40; tick += 1) look(250, 10);
    expect(look(250, 10)).toEqual({ kind: "generating", tokens: 411, perSecond: 40 });
    for (let tick = 0; tick < 20; tick += 1) look(250, 0);
    expect(look(250, 0)).toEqual({ kind: "generating", tokens: 411, perSecond: 0 });
  });
});

describe("an answer that is silent", () => {
  test("is shown as such from the last token on, with the reason, until the next one", async () => {
    const { turn, clock } = begun();
    let tokens = 7;
    turn.generating(() => tokens);
    const look = (ms: number): Activity => {
      clock.at += ms;
      return turn.look();
    };
    expect(look(5900)).toMatchObject({ kind: "generating" });
    expect(look(100)).toEqual({ kind: "silent", tokens: 7, why: undefined, elapsedMs: 6000 });
    turn.quiet("gone", 6000);
    expect(look(4000)).toEqual({ kind: "silent", tokens: 7, why: "gone", elapsedMs: 10_000 });
    tokens = 8;
    expect(look(250)).toMatchObject({ kind: "generating", tokens: 8 });
    expect(look(6000)).toEqual({ kind: "silent", tokens: 8, why: undefined, elapsedMs: 6000 });
  });

  test("before its first token, only where something is known to be wrong: a batch may take minutes", async () => {
    const { turn, lookAfter } = begun();
    turn.prompt(prompt(100, 1000));
    turn.quiet(undefined, 5000);
    expect(await lookAfter(60_000)).toMatchObject({ kind: "prompt" });
    turn.quiet("unreachable", 65_000);
    expect(await lookAfter(1000)).toEqual({
      kind: "silent",
      tokens: 0,
      why: "unreachable",
      elapsedMs: 66_000,
    });
    turn.prompt(prompt(200, 2000));
    expect(await lookAfter(0)).toMatchObject({ kind: "prompt" });
  });
});

/** What a server might report at any moment, and what is looked at in between. */
function randomReport(random: Random, turn: TurnActivity, tokens: { count: number }): void {
  const wild = [0, -1, 0.5, 1e9, Number.MAX_VALUE, Number.POSITIVE_INFINITY] as const;
  const figure = (): number => (random() < 0.1 ? pick(random, wild) : integer(random, 0, 5000));
  // The decoder lets only whole numbers through for these two.
  const tokenCount = (): number => (random() < 0.1 ? Number.MAX_SAFE_INTEGER : integer(random, 0, 5000));
  const name = (): string | undefined => pick(random, [undefined, "other", "third"]);
  const reports = [
    () => turn.connecting(),
    () => turn.waiting({ blockedBy: name(), position: pick(random, [undefined, 1, 12]) }),
    () => turn.loading(integer(random, 0, 5000), name()),
    () => turn.waiting({ blockedBy: undefined, position: undefined, ahead: integer(random, 1, 9) }),
    () => turn.retrying("because", integer(random, 0, 5000)),
    () => turn.quiet(pick(random, [undefined, "gone", "unreachable", "not held"]), integer(random, 0, 9000)),
    () => turn.down(pick(random, [undefined, "/ai-server-restart"])),
    () => {
      tokens.count = 0;
      turn.generating(() => tokens.count);
    },
    ...Array.from({ length: 8 }, () => () => {
      const timeMs = random() < 0.2 ? undefined : figure();
      turn.prompt({ total: tokenCount(), cached: tokenCount(), processed: figure(), timeMs });
    }),
    ...Array.from({ length: 8 }, () => () => {
      const [total, cached] = pick(random, [[4000, 0] as const, [4000, 900] as const]);
      turn.prompt({ total, cached, processed: integer(random, 0, 4500), timeMs: integer(random, 0, 60_000) });
    }),
  ] as const;
  pick(random, reports)();
}

/** What must hold for anything that is shown. */
function expectShowable(activity: Activity): void {
  for (const [name, value] of Object.entries(activity)) {
    if (typeof value !== "number") continue;
    expect(value, `${name} of ${JSON.stringify(activity)}`).toBeGreaterThanOrEqual(0);
    expect(value, `${name} of ${JSON.stringify(activity)}`).toBeLessThan(Number.POSITIVE_INFINITY);
  }
  const line = turnLine(activity, "M", 0);
  expect(line).not.toMatch(/NaN|Infinity|undefined|null|-\d|e\+/);
  const percent = /(\d+) %/.exec(line)?.[1];
  if (percent !== undefined) expect(Number(percent)).toBeLessThanOrEqual(100);
}

test.each(Array.from({ length: 60 }, (_, seed) => seed))(
  "whatever comes in whatever order, what is shown makes sense (seed %i)",
  async (seed) => {
    const random = seeded(seed);
    const { turn, clock } = begun({ hasAnswered: random() < 0.5 });
    const tokens = { count: 0 };
    let last: Extract<Activity, { kind: "prompt" }> | undefined;
    for (let step = 0; step < 300; step += 1) {
      if (random() < 0.5) randomReport(random, turn, tokens);
      clock.at += integer(random, 0, random() < 0.1 ? 30_000 : 400);
      tokens.count += integer(random, 0, 50);
      const activity = turn.look();
      expectShowable(activity);
      if (random() < 0.1) await Promise.resolve();
      if (activity.kind !== "prompt") {
        last = undefined;
        continue;
      }
      if (last?.total === activity.total && last.cached === activity.cached)
        expect(activity.processed).toBeGreaterThanOrEqual(last.processed);
      last = activity;
    }
  },
);
