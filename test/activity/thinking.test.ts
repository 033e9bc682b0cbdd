import { expect, test } from "vitest";
import { ThinkingActivity } from "../../activity/thinking.ts";
import { begun } from "../support/begun-turn.ts";

/** The thinking of a model whose server ends it, or does not. */
function thinking(ends = true) {
  const control = { on: true, ended: 0, isOn: () => control.on, end: () => ended() };
  const ended = async (): Promise<boolean> => {
    control.ended += 1;
    if (ends) control.on = false;
    return ends;
  };
  return control;
}

test("a turn that generates shows after three seconds that its thinking can be ended, and as long as it lasts", async () => {
  const { turn, lookAfter } = begun();
  const control = thinking();
  turn.generating(() => 1);
  turn.thinks(control);
  const shown = async (ms: number): Promise<unknown> =>
    ((await lookAfter(ms)) as { canAnswerNow?: boolean }).canAnswerNow;
  expect(await shown(2999)).toBeUndefined();
  expect(await shown(1)).toBe(true);
  control.on = false;
  expect(await shown(1)).toBeUndefined();
});

test("a turn of a server that cannot end it shows nothing", async () => {
  const { turn, lookAfter } = begun();
  turn.generating(() => 1);
  expect(await lookAfter(4000)).not.toHaveProperty("canAnswerNow");
  expect(await turn.answerNow()).toBeUndefined();
});

test("the thinking ends once, and a press while it ends asks for nothing more", async () => {
  const activity = new ThinkingActivity();
  const control = thinking();
  activity.begins(control, 0);
  const [first, second] = await Promise.all([activity.end(), activity.end()]);
  expect([first, second, control.ended]).toEqual([true, undefined, 1]);
  expect(activity.canAnswerNow(10_000)).toBe(false);
  expect(await activity.end()).toBeUndefined();
});

test("where the server did not end it, the user may try again", async () => {
  const activity = new ThinkingActivity();
  const control = thinking(false);
  activity.begins(control, 0);
  expect(await activity.end()).toBe(false);
  expect(activity.canAnswerNow(10_000)).toBe(true);
  expect(await activity.end()).toBe(false);
  expect(control.ended).toBe(2);
});

test("a second thinking in the same answer is one of its own", async () => {
  const activity = new ThinkingActivity();
  activity.begins(thinking(), 0);
  expect(await activity.end()).toBe(true);
  activity.begins(thinking(), 5000);
  expect([activity.canAnswerNow(7999), activity.canAnswerNow(8000)]).toEqual([false, true]);
  expect(await activity.end()).toBe(true);
});
