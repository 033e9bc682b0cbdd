import { expect, test } from "vitest";
import { effectWords, restartedWords, stepWords } from "../../admin/change.ts";
import type { Config } from "../../config.ts";
import type { Planned, Progress, StepName } from "../../host/outcome.ts";
import type { UnitStatus } from "../../host/ssh/machine.ts";

const progress = (step: StepName, more: Partial<Progress> = {}): Progress => ({
  step,
  state: "begun",
  id: undefined,
  isGoingBack: false,
  ...more,
});

test.each<[Progress, string]>([
  [progress("read"), "Reading the config on the server"],
  [progress("status"), "Checking the unit"],
  [progress("write"), "Writing the config"],
  [progress("restart"), "Restarting my.service"],
  [progress("await reload"), "Waiting for llama-swap to reload the config"],
  [progress("reload"), "Asking the router to reread its config"],
  [progress("answer"), "Waiting for the server to answer again"],
  [progress("load", { id: "a b" }), "Loading a b"],
  [progress("verify", { id: "a" }), "Checking the context of a"],
  [progress("load again", { id: "b" }), "Loading b again"],
  [progress("restore", { isGoingBack: true }), "Restoring the previous config"],
  [progress("restart", { isGoingBack: true }), "Rolling back: Restarting my.service"],
  [progress("load again", { id: "b", isGoingBack: true }), "Rolling back: Loading b again"],
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
  [effectOf({}), "This restarts my.service, which unloads every model."],
  [
    effectOf({ hasRestartCommand: true }),
    "This restarts the server with AI_SERVER_RESTART_COMMAND, which unloads every model.",
  ],
  [
    effectOf({ hasRestartCommand: true }, "wrapper"),
    "This restarts the server with the wrapper's restart_command, which unloads every model.",
  ],
  [
    effectOf({ isBlind: true }),
    "This restarts my.service, which unloads every model. Its container mounts the config as a single file, so -watch-config never sees the new one.",
  ],
  [
    effectOf({ watchesConfig: true }),
    "llama-swap reloads the config by itself, which unloads every model. If it does not, this restarts my.service.",
  ],
  [
    effectOf({ watchesConfig: true, problem: "There is no unit." }),
    "llama-swap reloads the config by itself, which unloads every model.",
  ],
  [
    effectOf({ hasRestartCommand: true }, "direct", true),
    "The router rereads its preset and unloads only the models that change. An older router cannot reread it: then this restarts the server with AI_SERVER_RESTART_COMMAND, which unloads every model.",
  ],
])("the effect of a change: %s", (words, expected) => {
  expect(words).toBe(expected);
});

test.each([
  [{ hasRestartCommand: true }, " The server was restarted with AI_SERVER_RESTART_COMMAND."],
  [{}, ""],
  [{ hasRestartCommand: true, watchesConfig: true }, ""],
])("what was done by the restart of %j is said as %j", (unit, expected) => {
  const preview = { unit: { watchesConfig: false, hasRestartCommand: false, ...unit }, reloads: false };
  const config = { serviceUnit: "my.service", restartCommand: "docker restart x" } as Config;
  expect(restartedWords(preview as Planned, config)).toBe(expected);
});
