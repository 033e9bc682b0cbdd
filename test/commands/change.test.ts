import { expect, test } from "vitest";
import { stepWords } from "../../commands/change.ts";
import type { Progress, StepName } from "../../host/steps.ts";

const progress = (step: StepName, more: Partial<Progress> = {}): Progress => ({
  step,
  state: "begun",
  id: undefined,
  elapsedMs: 0,
  isGoingBack: false,
  ...more,
});

test.each<[Progress, string | undefined]>([
  [progress("read"), "Reading the config on the server"],
  [progress("plan"), undefined],
  [progress("status"), "Asking for the state of the unit"],
  [progress("write"), "Writing the config"],
  [progress("restart"), "Restarting my.service"],
  [progress("reload"), "Letting the router read the config again"],
  [progress("answer"), "Waiting for the server to answer again"],
  [progress("load", { id: "a b" }), "Loading a b"],
  [progress("verify", { id: "a" }), "Checking the context of a"],
  [progress("load again", { id: "b" }), "Loading b again"],
  [progress("restore", { isGoingBack: true }), "Putting the old config back"],
  [progress("restart", { isGoingBack: true }), "Going back: Restarting my.service"],
  [progress("plan", { isGoingBack: true }), undefined],
  [progress("load again", { id: "b", isGoingBack: true }), "Going back: Loading b again"],
])("%j is said as %s", (step, words) => {
  expect(stepWords(step, "my.service")).toBe(words);
});
