import { describe, expect, onTestFinished, test } from "vitest";
import { Activities } from "../../activity/activities.ts";
import { TurnActivity } from "../../activity/turn-activity.ts";
import { Indicator, type IndicatorSettings } from "../../session/indicator.ts";
import { FakeTimer } from "../support/clock.ts";
import { FakeTerminal } from "../support/fake-terminal.ts";

const ACTIVITY: IndicatorSettings = { mode: "activity", quotes: [], onHeldUp: () => {} };

/** A session whose agent runs on a model of ours. */
function open(settings: IndicatorSettings = ACTIVITY) {
  const terminal = new FakeTerminal();
  const activities = new Activities();
  const timer = new FakeTimer();
  const indicator = new Indicator(terminal.ui, activities, settings, "session", timer);
  onTestFinished(() => indicator.close());
  indicator.isOurs = true;
  indicator.isAgentRunning = true;
  indicator.turnStarts();
  const begin = (sessionId = "session"): TurnActivity => {
    const subject = { id: "m", name: "M", sessionId, hasAnswered: false };
    const nothing = async (): Promise<undefined> => undefined;
    const none = { expectedLoadMs: nothing, requestsOf: nothing, lastUsed: nothing };
    const turn = new TurnActivity(subject, none, timer.now);
    activities.begin(turn);
    return turn;
  };
  terminal.messages.length = 0;
  return { terminal, activities, timer, indicator, begin };
}

describe("the working line", () => {
  test("says what the turn does, and is empty when it is over", () => {
    const { terminal, activities, timer, begin } = open();
    const turn = begin();
    expect(terminal.messages).toEqual(["Waiting for the server"]);
    turn.loading(3000, undefined);
    timer.advance(250);
    activities.end(turn, undefined);
    expect(terminal.messages).toEqual(["Waiting for the server", "Loading M · 3 s", ""]);
    expect([terminal.widgets, timer.left]).toEqual([[], 0]);
  });

  test("is not set while nothing changes, and at most ten times a second", () => {
    const { terminal, timer, begin, activities } = open();
    const turn = begin();
    let tokens = 0;
    turn.generating(() => tokens);
    for (let ms = 0; ms < 10_000; ms += 10) {
      tokens += 1;
      timer.advance(10);
    }
    expect(terminal.messages.length).toBeGreaterThan(30);
    expect(terminal.messages.length).toBeLessThanOrEqual(41);
    turn.prompt({ total: 1000, cached: 0, processed: 500, timeMs: undefined });
    timer.advance(10_000);
    const shown = terminal.messages.length;
    timer.advance(60_000);
    expect(terminal.messages).toHaveLength(shown);
    // Others that come and go are no reason to be quicker.
    for (let ms = 0; ms < 1000; ms += 10) {
      activities.end(begin("other"), undefined);
      timer.advance(10);
    }
    expect(terminal.messages.length - shown).toBeLessThanOrEqual(10);
  });

  test("counts the seconds of an answer that is silent, with the reason once it is known", () => {
    const { terminal, timer, begin } = open();
    const turn = begin();
    turn.generating(() => 345);
    timer.advance(5750);
    expect(terminal.messages.at(-1)).toBe("0.0 tok/s · 345 tokens");
    timer.advance(250);
    expect(terminal.messages.at(-1)).toBe("No answer for 6 s · 345 tokens");
    turn.quiet("stopping", 6000);
    timer.advance(1000);
    expect(terminal.messages.at(-1)).toBe("No answer for 7 s: the server is stopping M · 345 tokens");
  });

  test("shows the session's own turn, and how many others there are", () => {
    const { terminal, begin, timer, activities } = open();
    const other = begin("other");
    const own = begin();
    own.generating(() => 7);
    timer.advance(250);
    expect(terminal.messages.at(-1)).toBe("7 tokens · and 1 more");
    activities.end(own, undefined);
    timer.advance(250);
    expect(terminal.messages.at(-1)).toBe("Waiting for the server");
    activities.end(other, undefined);
    expect([terminal.messages.at(-1), timer.left]).toEqual(["", 0]);
  });

  test("is set again for each turn of pi's agent", () => {
    const { terminal, begin, indicator } = open();
    begin().generating(() => 1);
    terminal.messages.length = 0;
    indicator.turnStarts();
    expect(terminal.messages).toEqual(["", "1 token"]);
  });

  test("is pi's own while another provider's model is used, and after the end", () => {
    const { terminal, begin, indicator, timer } = open();
    begin();
    terminal.messages.length = 0;
    indicator.isOurs = false;
    expect(terminal.messages).toEqual([undefined]);
    indicator.turnStarts();
    timer.advance(5000);
    expect(terminal.messages).toEqual([undefined]);
    indicator.isOurs = true;
    indicator.close();
    indicator.close();
    expect(terminal.messages).toEqual([undefined, "", undefined]);
    expect(timer.left).toBe(0);
  });
});

test("onHeldUp is called only while the turn in front waits for its model", () => {
  let told = 0;
  const { begin, timer } = open({
    ...ACTIVITY,
    onHeldUp: () => {
      told += 1;
    },
  });
  const turn = begin();
  timer.advance(2000);
  expect(told).toBe(0);
  turn.waiting({ blockedBy: "other", position: undefined });
  timer.advance(500);
  turn.loading(0, undefined);
  timer.advance(500);
  expect(told).toBe(4);
  turn.generating(() => 1);
  timer.advance(2000);
  expect(told).toBe(4);
});

describe("the widget", () => {
  test("shows the activity while pi compacts, outside and inside its agent's run", () => {
    const { terminal, indicator, begin, activities, timer } = open();
    for (const isRunning of [false, true]) {
      indicator.isAgentRunning = isRunning;
      indicator.isCompacting = true;
      const turn = begin();
      turn.prompt({ total: 1000, cached: 0, processed: 500, timeMs: undefined });
      timer.advance(250);
      expect(terminal.widgets.at(-1)).toEqual(["Reading prompt · 50 % of 1k"]);
      activities.end(turn, undefined);
      expect(terminal.widgets.at(-1)).toBeUndefined();
      indicator.isCompacting = false;
    }
    expect(terminal.messages.filter(Boolean)).toEqual([]);
  });

  test("gives way to the working line when the agent's turn begins, with or without an end of the compaction", () => {
    const { terminal, indicator, begin, timer, activities } = open();
    indicator.isCompacting = true;
    const summary = begin();
    activities.end(summary, undefined);
    terminal.widgets.length = 0;
    indicator.turnStarts();
    begin().generating(() => 3);
    timer.advance(250);
    expect(terminal.messages.at(-1)).toBe("3 tokens");
    expect(terminal.widgets).toEqual([]);
  });

  test("shows what a subagent does on our model while pi uses another provider's", () => {
    const { terminal, indicator, begin, activities } = open();
    indicator.isOurs = false;
    terminal.messages.length = 0;
    const turn = begin("other");
    expect(terminal.widgets).toEqual([["Waiting for the server"]]);
    activities.end(turn, undefined);
    expect([terminal.widgets.at(-1), terminal.messages]).toEqual([undefined, []]);
  });
});

test("a quote stays for a turn, followed by its time and the activity", () => {
  const { terminal, begin, timer, activities } = open({
    ...ACTIVITY,
    mode: "quotes",
    quotes: ["Panta rhei"],
  });
  const turn = begin();
  turn.generating(() => 4);
  timer.advance(2000);
  expect(terminal.messages.at(-1)).toBe("⚙ Panta rhei · 2 s · 0.0 tok/s · 4 tokens");
  activities.end(turn, undefined);
  timer.advance(100);
  begin();
  expect(terminal.messages.at(-1)).toBe("⚙ Panta rhei · 0 s · Waiting for the server");
});

test("a context that has ended throws nothing, and stops the clock", () => {
  const { terminal, begin, timer, indicator, activities } = open();
  const turn = begin();
  terminal.end();
  turn.generating(() => 1);
  timer.advance(250);
  expect(timer.left).toBe(0);
  activities.end(turn, undefined);
  indicator.close();
});
