import { describe, expect, test } from "vitest";
import { Activities } from "../../activity/activities.ts";
import type { TurnFigures } from "../../activity/turn-activity.ts";
import { begun } from "../support/begun-turn.ts";

describe("a load that turns have seen", () => {
  test("is reported once, while the turn runs or after its end, and of its model alone", () => {
    const activities = new Activities();
    const [first, second] = [begun().turn, begun().turn];
    activities.begin(first);
    activities.begin(second);
    first.loading(1000, undefined);
    expect(activities.takeLoad("m")).toBe(false);
    first.generating(() => 1);
    expect([activities.takeLoad("other"), activities.takeLoad("m"), activities.takeLoad("m")]).toEqual([
      false,
      true,
      false,
    ]);
    activities.end(first, undefined);
    expect(activities.takeLoad("m")).toBe(false);
    second.loading(1000, undefined);
    second.generating(() => 1);
    activities.end(second, undefined);
    expect([activities.takeLoad("m"), activities.takeLoad("m")]).toEqual([true, false]);
  });
});

describe("the turns under way", () => {
  const figures = (model: string): TurnFigures => ({
    model,
    endedAt: 0,
    loadMs: undefined,
    promptTokens: 10,
    cachedTokens: 0,
    promptPerSecond: undefined,
    tokens: 5,
    perSecond: undefined,
  });

  test("show the session's own in front, else the first, and count the others", () => {
    const activities = new Activities();
    const [one, two, own] = [begun().turn, begun().turn, begun({ sessionId: "s" }).turn];
    expect(activities.front("s")).toBeUndefined();
    activities.begin(one);
    activities.begin(two);
    expect(activities.front("s")).toEqual({ turn: one, others: 1 });
    activities.begin(own);
    expect(activities.front("s")).toEqual({ turn: own, others: 2 });
    expect(activities.front(undefined)).toEqual({ turn: one, others: 2 });
    activities.end(own, undefined);
    activities.end(one, undefined);
    expect(activities.front("s")).toEqual({ turn: two, others: 0 });
  });

  test("leave their figures, at most twenty, and none of a turn that failed", () => {
    const activities = new Activities();
    for (let number = 1; number <= 25; number += 1) {
      const { turn } = begun({ id: `m${number}` });
      activities.begin(turn);
      activities.end(turn, number % 5 === 0 ? undefined : figures(`m${number}`));
      // A second end is none.
      activities.end(turn, figures("twice"));
    }
    expect(activities.figures).toHaveLength(20);
    expect(activities.figures.at(-1)?.model).toBe("m24");
    expect([activities.hasAnswered("m24"), activities.hasAnswered("m25")]).toEqual([true, false]);
    for (let number = 0; number < 5; number += 1) {
      const { turn } = begun();
      activities.begin(turn);
      activities.end(turn, figures(`later${number}`));
    }
    expect(activities.figures).toHaveLength(20);
    expect(activities.figures[0]?.model).toBe("m7");
  });

  test("begin with what was seen in a model's place since the last answer", async () => {
    const activities = new Activities();
    expect(activities.seenInsteadOf("m")).toBeUndefined();
    activities.seeReady(["other", "third"]);
    expect([activities.seenInsteadOf("m"), activities.seenInsteadOf("third")]).toEqual(["other", undefined]);
    const { turn, lookAfter } = begun({ hasAnswered: true, blockedBy: activities.seenInsteadOf("m") });
    activities.begin(turn);
    turn.loading(1000, undefined);
    expect(await lookAfter(0)).toMatchObject({ again: { blockedBy: "other" } });
    activities.end(turn, figures("m"));
    expect(activities.seenInsteadOf("m")).toBeUndefined();
  });

  test("do not name a model that stays beside theirs", async () => {
    const activities = new Activities();
    activities.seeReady(["embed", "m"]);
    activities.seeReady(["embed"]);
    expect(activities.seenInsteadOf("m")).toBeUndefined();
    activities.seeReady(["embed", "other"]);
    expect(activities.seenInsteadOf("m")).toBe("other");
    // The server's record of requests names "other" as the last one that was asked.
    const alone = begun({ hasAnswered: true, beside: new Set(["embed", "other"]) });
    alone.turn.waiting({ blockedBy: "embed", position: undefined });
    alone.turn.loading(1000, "embed");
    expect(await alone.lookAfter(0)).toMatchObject({ again: { blockedBy: undefined } });
    const { turn, lookAfter } = begun({ hasAnswered: true, beside: new Set(["embed"]) });
    turn.loading(1000, "embed");
    expect(await lookAfter(0)).toMatchObject({ again: { blockedBy: "other" } });
  });

  test("reach a listener until it is removed, and one that throws harms no other", () => {
    const activities = new Activities();
    const heard: string[] = [];
    activities.onChange(() => {
      throw new Error("stale");
    });
    const stop = activities.onChange(() => heard.push("changed"));
    const { turn } = begun();
    activities.begin(turn);
    activities.end(turn, undefined);
    stop();
    activities.begin(turn);
    expect(heard).toEqual(["changed", "changed"]);
  });
});
