import { expect, test } from "vitest";
import type { TurnReport, Waiting } from "../../activity/turn-activity.ts";
import type { SilentState } from "../../stream/waiting.ts";
import { quietReason, WaitingReport } from "../../stream/waiting.ts";

/** The reports, each as one text. */
function held() {
  const reports: string[] = [];
  const report = {
    connecting: () => reports.push("connecting"),
    waiting: ({ blockedBy: other, position, ahead }: Waiting) =>
      reports.push(ahead === undefined ? `waiting for ${other} at ${position}` : `waiting behind ${ahead}`),
    loading: (ms: number, instead?: string) => reports.push(`loading since ${ms} instead of ${instead}`),
  };
  const waiting = new WaitingReport((say) => say(report as unknown as TurnReport));
  waiting.asks();
  const state = (own: SilentState["own"], blockedBy?: string): void =>
    waiting.sawState({ own, blockedBy }, 5000);
  return { reports, waiting, state };
}

const BANNER = "━━━━━\nllama-swap loading model: x\n";

test("a banner without a place is a load", () => {
  const { reports, waiting } = held();
  waiting.sawBanner(BANNER, 100);
  waiting.sawBanner(`${BANNER}.. Queue position: #1`, 200);
  expect(reports).toEqual([
    "loading since 100 instead of undefined",
    "loading since 200 instead of undefined",
  ]);
});

test("a place in the queue holds until /running shows the load, whatever the banner still says", () => {
  const { reports, waiting, state } = held();
  const queued = `${BANNER}\nQueue position: #2 .`;
  waiting.sawBanner(queued, 100);
  state("gone", "other");
  waiting.sawBanner(`${queued}\nQueue position: #1 .`, 200);
  state("unreachable");
  state("starting", "other");
  waiting.sawBanner(`${queued}\nQueue position: #1 ..`, 6000);
  state("gone");
  expect(reports).toEqual([
    "waiting for undefined at 2",
    "waiting for other at 2",
    "waiting for other at 1",
    "loading since 5000 instead of other",
    "loading since 6000 instead of other",
    "waiting for undefined at 1",
  ]);
});

test("a model that is ready is held up no more", () => {
  const { reports, state } = held();
  state("ready");
  state("starting");
  state("ready");
  state("ready");
  expect(reports).toEqual(["loading since 5000 instead of undefined", "connecting"]);
});

test("a banner that is still being written when its model is ready no longer shows a load", () => {
  const { reports, waiting, state } = held();
  waiting.sawBanner(BANNER, 100);
  state("ready");
  waiting.sawBanner(`${BANNER}Done! (4.26s)`, 5100);
  expect(reports).toEqual(["loading since 100 instead of undefined", "connecting"]);
  // Another client had it unloaded before it was our turn.
  state("stopping");
  waiting.sawBanner(`${BANNER}.`, 6000);
  expect(reports.at(-1)).toBe("loading since 6000 instead of undefined");
});

test("the next request begins with nothing of the last one's", () => {
  const { reports, waiting, state } = held();
  waiting.sawBanner(`${BANNER}\nQueue position: #3 `, 100);
  state("starting", "other");
  waiting.asks();
  waiting.sawBanner(`${BANNER}\nQueue position: #1 `, 100);
  expect(reports.at(-1)).toBe("waiting for undefined at 1");
});

test("a ready model that answers others is waited for, as long as no slot has taken the request", () => {
  const { reports, waiting } = held();
  const ready = (ahead: number): void =>
    waiting.sawState({ own: "ready", blockedBy: undefined, ahead }, 5000);
  ready(2);
  ready(0);
  ready(1);
  waiting.begins();
  ready(1);
  expect(reports).toEqual(["waiting behind 2", "connecting", "waiting behind 1", "connecting"]);
});

test("the headers of a banner are no slot", () => {
  const { reports, waiting } = held();
  waiting.begins();
  waiting.sawBanner(BANNER, 100);
  waiting.sawState({ own: "ready", blockedBy: undefined, ahead: 1 }, 5000);
  expect(reports).toEqual(["loading since 100 instead of undefined", "waiting behind 1"]);
});

test.each<[Partial<SilentState>, string | undefined]>([
  [{ own: "gone" }, "gone"],
  [{ own: "ready" }, undefined],
  [{ own: "ready", isHeld: true }, undefined],
  [{ own: "ready", isHeld: false }, "not held"],
  [{ own: "unknown" }, undefined],
])("an answer is silent with %o because of %s", (state, why) => {
  expect(quietReason({ own: "ready", blockedBy: undefined, ...state })).toBe(why);
});
