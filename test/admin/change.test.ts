import { expect, test } from "vitest";
import { effectWords, restartedWords, stepWords } from "../../admin/change.ts";
import type { Config } from "../../config.ts";
import type { Planned, Progress, StepName } from "../../host/outcome.ts";
import type { UnitStatus } from "../../host/ssh/machine.ts";

const progress = (step: StepName, more: Partial<Progress> = {}): Progress => ({
  step,
  state: "begun",
  id: undefined,
  elapsedMs: 0,
  isGoingBack: false,
  ...more,
});

test.each<[Progress, string]>([
  [progress("read"), "Reading the config on the server"],
  [progress("status"), "Asking for the state of the unit"],
  [progress("write"), "Writing the config"],
  [progress("restart"), "Restarting my.service"],
  [progress("await reload"), "Waiting for llama-swap to reload the config"],
  [progress("reload"), "Letting the router read the config again"],
  [progress("answer"), "Waiting for the server to answer again"],
  [progress("load", { id: "a b" }), "Loading a b"],
  [progress("verify", { id: "a" }), "Checking the context of a"],
  [progress("load again", { id: "b" }), "Loading b again"],
  [progress("restore", { isGoingBack: true }), "Putting the old config back"],
  [progress("restart", { isGoingBack: true }), "Going back: Restarting my.service"],
  [progress("load again", { id: "b", isGoingBack: true }), "Going back: Loading b again"],
])("%j is said as %s", (step, words) => {
  expect(stepWords(step, "my.service")).toBe(words);
});

const effectOf = (
  unit: Partial<UnitStatus>,
  sshMode: Config["sshMode"] = "direct",
  reloads = false,
): string =>
  effectWords(
    { unit: { watchesConfig: false, isBlind: false, hasRestartCommand: false, ...unit }, reloads } as Planned,
    // A wrapper runs its own command, whatever is set here.
    { serviceUnit: "my.service", restartCommand: "docker restart x", sshMode } as Config,
  );

test.each([
  [effectOf({}), "my.service is restarted, which unloads every model."],
  [
    effectOf({ hasRestartCommand: true }),
    "The server is restarted by AI_SERVER_RESTART_COMMAND, which unloads every model.",
  ],
  [
    effectOf({ hasRestartCommand: true }, "wrapper"),
    "The server is restarted by the wrapper's restart_command, which unloads every model.",
  ],
  [
    effectOf({ isBlind: true }),
    "my.service is restarted, which unloads every model. Its container has the config as one mounted file, so that -watch-config never sees the new one.",
  ],
  [
    effectOf({ watchesConfig: true }),
    "llama-swap reloads the config by itself, which unloads every model. Where no reload comes, my.service is restarted.",
  ],
  [
    effectOf({ watchesConfig: true, problem: "There is no unit." }),
    "llama-swap reloads the config by itself, which unloads every model.",
  ],
  [
    effectOf({ hasRestartCommand: true }, "direct", true),
    "The router reads its preset again, which unloads only the models that change. An old router cannot: then the server is restarted by AI_SERVER_RESTART_COMMAND, which unloads every model.",
  ],
])("the effect of a change: %s", (words, expected) => {
  expect(words).toBe(expected);
});

test.each([
  [{ hasRestartCommand: true }, " The server was restarted by AI_SERVER_RESTART_COMMAND."],
  [{}, ""],
  [{ hasRestartCommand: true, watchesConfig: true }, ""],
])("what was done by the restart of %j is said as %j", (unit, expected) => {
  const preview = { unit: { watchesConfig: false, hasRestartCommand: false, ...unit }, reloads: false };
  const config = { serviceUnit: "my.service", restartCommand: "docker restart x" } as Config;
  expect(restartedWords(preview as Planned, config)).toBe(expected);
});
