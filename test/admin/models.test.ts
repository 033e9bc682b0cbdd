import { describe, expect, test } from "vitest";
import { serverFor } from "../../admin/call.ts";
import {
  chosenModel,
  modelsNow,
  refreshModels,
  requiredModel,
  requireHere,
  trainedContext,
} from "../../admin/models.ts";
import { NO_DESCRIPTION } from "../../server/models/listed-model.ts";
import type { RunningModel } from "../../server/models/models.ts";
import { callOf } from "../support/calls.ts";
import { startPlace } from "../support/command-place.ts";
import { User } from "../support/command-user.ts";
import { facts } from "../support/model-facts.ts";

const MODELS = [
  facts({ id: "my model", runsAs: "my model" }),
  facts({ id: "short", kind: "alias", runsAs: "my model" }),
  facts({ id: "far", kind: "peer", runsAs: undefined }),
  facts({ id: "any", kind: "selector", runsAs: undefined }),
];
const RUNNING: RunningModel[] = [{ id: "unlisted", state: "ready" }];

const ALIASES = new Map([["mine", "my model"]]);

describe("the model that an argument names", () => {
  test.each([
    ["my model", "my model"],
    ["'my model'", "my model"],
    ["short ", "my model"],
    ["unlisted", "unlisted"],
    ["mine", "my model"],
    ["unl", "unlisted"],
  ])("%s runs as %s", (text, id) => {
    expect(chosenModel(text, MODELS, RUNNING, ALIASES)?.id).toBe(id);
  });

  test.each(["short 64k", "'my model' short", "my model my model"])("%s is one too many", (text) => {
    expect(() => chosenModel(text, MODELS, RUNNING, ALIASES)).toThrow(
      /^This command takes one model; ".*" after it/,
    );
  });

  test("is none without an argument, which may have to be", () => {
    expect(chosenModel("  ", MODELS, RUNNING, ALIASES)).toBeUndefined();
    expect(() => requiredModel("", MODELS, RUNNING, ALIASES)).toThrow(
      "Name a model. The server has my model, short, far, any.",
    );
    expect(() => requiredModel("", [...MODELS, ...MODELS], RUNNING, ALIASES)).toThrow(
      "Name a model. The server has my model, short, far, any, my model, ….",
    );
    expect(() => requiredModel("", [], [], ALIASES)).toThrow("Name a model. The server has none.");
    expect(requiredModel("short", MODELS, RUNNING, ALIASES).id).toBe("my model");
  });

  test("that is unknown is answered with the nearest", () => {
    expect(() => chosenModel("mi modle", MODELS, RUNNING, ALIASES)).toThrow(/No model "mi"/);
    expect(() => chosenModel("shrt", MODELS, RUNNING, ALIASES)).toThrow(
      'No model "shrt". Did you mean "short"?',
    );
  });

  const LISTED = {
    descriptions: new Map([
      ["far", { ...NO_DESCRIPTION, peer: "gpu2" }],
      ["any", { ...NO_DESCRIPTION, targets: ["a", "b"] }],
    ]),
  };

  test.each([
    [
      "far",
      "far runs on the peer gpu2, to which llama-swap forwards its requests: it cannot be loaded, unloaded or logged here.",
    ],
    ["any", "any chooses among a, b for each request: it cannot be loaded, unloaded or logged here."],
  ])("may not run here: %s", (id, sentence) => {
    const chosen = requiredModel(id, MODELS, RUNNING, ALIASES);
    expect(() => requireHere(chosen, LISTED)).toThrow(sentence);
  });

  test.each(["my model", "short", "unlisted"])("may run here: %s", (id) => {
    expect(() => requireHere(requiredModel(id, MODELS, RUNNING, ALIASES), LISTED)).not.toThrow();
  });
});

describe("the trained window", () => {
  test("comes from the running model, and is remembered for later", async () => {
    const place = await startPlace();
    await place.load("small");
    const call = callOf(place, new User("rpc"));
    const server = await serverFor(call);
    const running = (await server.runningNow(call.waiting.signal)) ?? [];
    expect(await trainedContext(call, server, "small", [])).toBeUndefined();
    expect(await trainedContext(call, server, "small", running)).toBe(131_072);
    await expect.poll(() => trainedContext(call, server, "small", [])).toBe(131_072);
    expect(await trainedContext(call, server, "other", running)).toBeUndefined();
    expect(place.sim.starts).toEqual({ small: 1 });
  });
});

test("reads the models of this moment, and hands them to pi only for a refresh", async () => {
  const place = await startPlace();
  const call = callOf(place, new User("rpc"));
  const models = await modelsNow(call, await serverFor(call));
  expect(models.map(({ id }) => id)).toEqual(["groesse", "org/Größe:Q4 x", "small"]);
  expect(place.aiServer.models).toEqual([]);
  const { changes } = await refreshModels(call);
  expect(changes).toEqual(["groesse: added", "org/Größe:Q4 x: added", "small: added"]);
  expect(place.aiServer.models.map(({ id }) => id)).toEqual(["groesse", "org/Größe:Q4 x", "small"]);
});
