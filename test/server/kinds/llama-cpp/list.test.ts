import { describe, expect, test } from "vitest";
import {
  parseOwnModel,
  parseRouterModels,
  parseRouterRunning,
} from "../../../../server/kinds/llama-cpp/list.ts";
import { llamaServerBody } from "../../../support/recorded.ts";

describe("the router's list", () => {
  const models = parseRouterModels(llamaServerBody("r02-models-loaded"));
  const of = (id: string) => models.find((model) => model.id === id);

  test("is every section and file, each under its id", () => {
    expect(models.map(({ id }) => id)).toEqual([
      "alpha",
      "garbage",
      "missing",
      "placeholder",
      "script-text",
      "script-tool",
      "slow",
      "tiny-a",
      "tiny-b",
    ]);
  });

  test("shows the trained window, and never takes it for the configured one", () => {
    const { context, trainedContext } = of("alpha")?.declared ?? {};
    expect([context, trainedContext]).toEqual([undefined, 32_768]);
    expect(of("alpha")?.commandLine).toContain("--ctx-size 2048");
  });

  test("shows size and quantisation of a loaded model", () => {
    expect(of("slow")?.declared).toMatchObject({ sizeBytes: 417_192_960, quantization: "all F32" });
  });

  test("shows aliases", () => {
    expect(of("script-text")?.description.aliases).toEqual(["hello", "st"]);
  });

  test("marks the models that the router has found itself: those of its folder that no section names", () => {
    expect(models.filter(({ isFound }) => isFound).map(({ id }) => id)).toEqual(["tiny-a", "tiny-b"]);
    const found = (source: unknown) => parseRouterModels({ data: [{ id: "x", source }] })[0]?.isFound;
    expect([found("cache"), found("models_dir"), found("preset"), found(undefined)]).toEqual([
      true,
      true,
      undefined,
      undefined,
    ]);
  });

  test("a section without a model is marked as unusable", () => {
    expect(
      models.filter(({ problem }) => problem !== undefined).map(({ id, problem }) => [id, problem]),
    ).toEqual([["placeholder", "no model path"]]);
  });

  test.each([
    "-m",
    "--model",
    "-hf",
    "-hfr",
    "--hf-repo",
    "-mu",
    "--model-url",
    "-dr",
    "--docker-repo",
    "--gpt-oss-20b-default",
  ])("%s brings a model", (flag) => {
    const entry = { id: "x", status: { value: "unloaded", args: ["llama-server", flag, "y"] } };
    expect(parseRouterModels({ data: [entry] })[0]?.problem).toBeUndefined();
  });

  test("an argument with a space stays one", () => {
    const entry = { id: "x", status: { value: "loaded", args: ["s", "-m", "/a b.gguf", "it's"] } };
    expect(parseRouterRunning({ data: [entry] })[0]?.commandLine).toBe(`s -m '/a b.gguf' 'it'"'"'s'`);
  });

  test.each([null, 5, [], {}, { data: 7 }, { data: [null, { id: 3 }, { id: "" }, "x"] }])(
    "%j is no model",
    (answer) => {
      expect([parseRouterModels(answer), parseRouterRunning(answer), parseOwnModel(answer)]).toEqual([
        [],
        [],
        [],
      ]);
    },
  );

  test("of wrong types is read as far as it goes", () => {
    const entry = { id: "x", aliases: 3, meta: [], status: { value: 1, args: "no" }, context_length: "long" };
    expect(parseRouterModels({ data: [entry, entry] })).toMatchObject([
      { id: "x", commandLine: undefined, problem: undefined, declared: { trainedContext: undefined } },
    ]);
    expect(parseRouterRunning({ data: [entry] })).toEqual([]);
  });
});

describe("what the router runs", () => {
  test("lists the loaded models", () => {
    expect(parseRouterRunning(llamaServerBody("r02-models-loaded"))).toMatchObject([
      { id: "slow", state: "ready", isAsleep: false, commandLine: expect.stringContaining("--alias slow") },
    ]);
  });

  test("lists a model that is loading too", () => {
    expect(parseRouterRunning(llamaServerBody("r03-models-after-placeholder"))).toMatchObject([
      { id: "placeholder", state: "starting" },
    ]);
  });

  test.each(["downloading", "downloaded"])("is nothing that is %s", (value) => {
    expect(parseRouterRunning({ data: [{ id: "x", status: { value } }] })).toEqual([]);
  });

  test.each([
    ["sleeping", "ready", true],
    ["dreaming", "unknown", false],
  ])("%s is %s", (value, state, isAsleep) => {
    expect(parseRouterRunning({ data: [{ id: "x", status: { value } }] })).toMatchObject([
      { state, isAsleep },
    ]);
  });
});

test("the list shows how a process has failed", () => {
  const models = parseRouterModels(llamaServerBody("r03-models-after-placeholder"));
  const failures = models.flatMap(({ id, failure }) => (failure === undefined ? [] : [[id, failure]]));
  expect(failures).toEqual([
    ["garbage", { exitCode: 1 }],
    ["missing", { exitCode: 1 }],
  ]);
  const odd = { id: "x", status: { value: "unloaded", failed: true, exit_code: "none" } };
  expect(parseRouterModels({ data: [odd] })[0]?.failure).toEqual({ exitCode: undefined });
});

test("one llama-server lists its one model, with its other names", () => {
  const listed = parseOwnModel(llamaServerBody("s02-get-v1_models-alias"));
  expect(listed).toMatchObject([
    {
      id: "tiny-a",
      runsAs: "tiny-a",
      isChat: true,
      declared: { trainedContext: 32_768, sizeBytes: 450_816, vision: false },
      description: { aliases: ["tiny-alias"] },
    },
  ]);
  expect(listed[0]?.declared.context).toBeUndefined();
  expect(parseOwnModel(llamaServerBody("s01-get-v1_models"))[0]?.description.aliases).toEqual([]);
});
