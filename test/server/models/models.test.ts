import { describe, expect, test } from "vitest";
import { parseListed, parseRunning } from "../../../server/kinds/llama-swap/list.ts";
import { modelsOf, parseProps, UNKNOWN_CONTEXT } from "../../../server/models/models.ts";
import { ids, NO_LIVE, one, only, read } from "../../support/read-models.ts";
import { recordedBody } from "../../support/recorded.ts";

const RECORDED_IDS = [
  "caps",
  "check-none",
  "crash-later",
  "fail-exit",
  "fail-exit-loading-state",
  "fail-health",
  "fail-missing",
  "one-at-a-time",
  "org",
  "org/repo-GGUF:Q4_K_M",
  "org/slash-model",
  "plain-b",
  "renamed",
  "slow-loading-state",
  "slow-start",
  "sp ace/ünï",
];

describe.each(["v170", "v217", "head"] as const)("recorded from llama-swap %s", (version) => {
  const list = (name: string): unknown => recordedBody(version, name);

  test("every listed model is there under its own spelling, the unlisted one is not", () => {
    const models = read(list("004-v1-models"), { running: list("070-running-hidden") });
    expect(ids(models)).toEqual(RECORDED_IDS);
    expect(new Set(models.map(({ state }) => state))).toEqual(new Set(["unloaded"]));
    expect(new Set(models.map(({ kind }) => kind))).toEqual(new Set(["model"]));
    expect(models.map(({ runsAs }) => runsAs)).toEqual(RECORDED_IDS);
  });

  test("names are shown where given, ids otherwise", () => {
    const models = read(list("004-v1-models"));
    expect(only(models, "plain-b").name).toBe("Plain B");
    expect(only(models, "sp ace/ünï").name).toBe("sp ace/ünï");
  });

  test("a declared context is the model's, an undeclared one is marked as unknown", () => {
    const models = read(list("004-v1-models"));
    const caps = version === "head" ? 32_000 : 77;
    expect(only(models, "caps").context).toEqual({ value: caps, source: "declared" });
    expect(only(models, "org/repo-GGUF:Q4_K_M").context).toEqual({ value: 99, source: "declared" });
    expect(only(models, "plain-b").context).toEqual({ value: UNKNOWN_CONTEXT, source: "default" });
  });

  test("a loaded model is ready, and its command line shows the window, where the server reports it", () => {
    const models = read(list("045-v1-models-slash-loaded"), { running: list("044-running-slash") });
    const model = only(models, "org/slash-model");
    expect(model.state).toBe("ready");
    expect(model.context).toEqual(
      version === "v170"
        ? { value: UNKNOWN_CONTEXT, source: "default" }
        : { value: 16_384, source: "command line" },
    );
    expect(model.ttlSeconds).toBe(version === "v170" ? undefined : 0);
    expect(only(models, "org").state).toBe("unloaded");
  });

  test("a starting model shows as such where the version reports it", () => {
    const models = read(list("082-v1-models-starting"), { running: list("081-running-starting") });
    expect(only(models, "slow-start").state).toBe(version === "head" ? "starting" : "unloaded");
    const ready = read(list("082-v1-models-starting"), { running: list("084-running-ready") });
    expect(only(ready, "slow-start").state).toBe("ready");
  });
});

test("recorded from head: declared vision, and the ttl of a running model", () => {
  const models = read(recordedBody("head", "004-v1-models"), {
    running: recordedBody("head", "063-running-colon"),
  });
  expect(only(models, "caps").vision).toEqual({ value: true, source: "declared" });
  expect(only(models, "plain-b").vision).toEqual({ value: false, source: "default" });
  expect(only(models, "org/repo-GGUF:Q4_K_M")).toMatchObject({ ttlSeconds: 5, state: "ready" });
});

test("recorded props show the live window of a slot", () => {
  expect(parseProps(recordedBody("head", "046-upstream-props"))).toEqual({ ...NO_LIVE, context: 16_384 });
  expect(parseProps(recordedBody("v217", "046-upstream-props"))).toEqual(NO_LIVE);
});

describe("shapes of other versions", () => {
  test("v150 knows neither metadata nor more of a running model than its state", () => {
    const models = read(
      { object: "list", data: [{ id: "a", object: "model", created: 1, owned_by: "llama-swap" }] },
      { running: { running: [{ model: "a", state: "ready" }] } },
    );
    expect(only(models)).toEqual({
      command: undefined,
      refuted: {},
      id: "a",
      name: "a",
      state: "ready",
      ttlSeconds: undefined,
      kind: "model",
      runsAs: "a",
      context: { value: UNKNOWN_CONTEXT, source: "default" },
      outputLimit: { value: 16_384, source: "default" },
      vision: { value: false, source: "default" },
      thinking: { value: { kind: "none" }, source: "default" },
      keepsThinking: false,
      keptBy: undefined,
      tools: { value: true, source: "default" },
      needsAlternation: false,
      needsShortCallIds: false,
    });
  });

  test("v185 has metadata of the user's", () => {
    const model = one(
      { meta: { llamaswap: { context_length: "65536", thinking: true, vision: true } } },
      { running: { running: [{ model: "m", state: "ready" }] } },
    );
    expect(model.context).toEqual({ value: 65_536, source: "declared" });
    expect(model.thinking).toEqual({ value: { kind: "switch" }, source: "declared" });
    expect(model.vision).toEqual({ value: true, source: "declared" });
  });

  test("a length among other facts of the model's file is the trained window, not the configured one", () => {
    const cmd = "llama-server --port 1 -m g.gguf --ctx-size 24576";
    const llamaswap = { architecture: "gemma4", parameters: 4_650_000_000, context_length: 131_072 };
    const model = one(
      { meta: { llamaswap } },
      { running: { running: [{ model: "m", state: "starting", cmd }] } },
    );
    expect(model.context).toEqual({ value: 24_576, source: "command line" });
    expect(model.trainedContext).toEqual({ value: 131_072, source: "declared" });
  });

  test("v225 declares capabilities; context_length wins over what metadata says", () => {
    const model = one({
      architecture: { input_modalities: ["text", "image"], output_modalities: ["text"] },
      capabilities: { vision: true, function_calling: true },
      context_length: 40_000,
      meta: { llamaswap: { context_length: 1 } },
    });
    expect(model.context).toEqual({ value: 40_000, source: "declared" });
    expect(model.vision).toEqual({ value: true, source: "declared" });
  });

  test("v236 marks models as loaded whose state only /running shows", () => {
    const entry = { status: { value: "loaded" } };
    expect(one(entry, { running: { running: [{ model: "m", state: "stopping" }] } }).state).toBe("stopping");
  });

  test("v250 has meta.n_ctx", () => {
    expect(one({ meta: { llamaswap: { type: "model" }, n_ctx: 12_345 } }).context).toEqual({
      value: 12_345,
      source: "declared",
    });
  });

  test("a plain llama-server has no /running: states are unknown", () => {
    const models = read(
      {
        data: [{ id: "/models/x.gguf", architecture: { input_modalities: ["text"] }, meta: { n_ctx: 4096 } }],
      },
      { running: null },
    );
    expect(only(models)).toMatchObject({
      state: "unknown",
      context: { value: 4096, source: "declared" },
      vision: { value: false, source: "declared" },
    });
  });

  test("aliases are the model that they name", () => {
    const [alias] = read(
      { data: [{ id: "gpt-4o", meta: { llamaswap: { type: "alias", modelID: "qwen" } } }] },
      {
        running: { running: [{ model: "qwen", state: "ready", cmd: "x -c 8192", ttl: 300 }] },
        live: { qwen: { context: 4096 } },
      },
    );
    expect(alias).toMatchObject({
      id: "gpt-4o",
      kind: "alias",
      runsAs: "qwen",
      state: "ready",
      ttlSeconds: 300,
      context: { value: 4096, source: "live" },
    });
  });

  test("an alias of an id that would steer a terminal is its own model", () => {
    const meta = { llamaswap: { type: "alias", modelID: "\u001b[2Jqwen" } };
    expect(only(read({ data: [{ id: "gpt-4o", meta }] })).runsAs).toBe("gpt-4o");
  });

  test.each([
    ["peer", "peer", "ollama/llama3"],
    ["selector", "selector", "fast"],
    ["profile", "selector", "coding"],
  ])("a %s is offered, and nothing of this machine is claimed of it", (type, kind, id) => {
    const models = read(
      { data: [{ id, meta: { llamaswap: { type, peerID: "ollama", targets: ["a"] } } }] },
      {
        running: { running: [{ model: id, state: "ready", cmd: "x -c 8192", ttl: 3 }] },
        live: { [id]: { context: 1 } },
      },
    );
    expect(only(models)).toMatchObject({
      id,
      kind,
      state: "unknown",
      runsAs: undefined,
      ttlSeconds: undefined,
      context: { value: UNKNOWN_CONTEXT, source: "default" },
    });
  });

  test("an id that comes twice is offered once, one without an id never", () => {
    const models = read({
      data: [{ id: "a", name: "first" }, { id: "a" }, { id: "" }, { id: 5 }, {}, null, "a"],
    });
    expect(models.map(({ id, name }) => [id, name])).toEqual([["a", "first"]]);
  });
});

describe("text of the server's that would be shown", () => {
  const EVIL = "a\u001b[31mred\u001b]0;title\u0007\u009b2J\r\nb\u202e";

  test("a name has no terminal control, one line, and an end", () => {
    expect(one({ name: EVIL }).name).toBe("ared b");
    expect(one({ name: "x".repeat(10_000) }).name.length).toBeLessThan(200);
    expect(one({ name: "\u001b[31m\r\n" }).name).toBe("m");
    expect(one({ name: " ünï 模型 " }).name).toBe("ünï 模型");
  });

  test.each([EVIL, "a\nb", "a\u0000", "x".repeat(10_000)])(
    "a model with such an id is not offered (%#)",
    (id) => {
      expect(ids(read({ data: [{ id }, { id: "sp ace/ünï:Q4 模型" }] }))).toEqual(["sp ace/ünï:Q4 模型"]);
      expect(parseRunning({ running: [{ model: id, state: "ready" }] })).toEqual([]);
    },
  );

  test("a level of thinking that is no word is not one", () => {
    const declared = (thinking_levels: unknown): unknown =>
      one({ meta: { llamaswap: { thinking_levels } } }).thinking.value;
    expect(declared([EVIL, "high", "x".repeat(100), "", 5])).toEqual({ kind: "effort", levels: ["high"] });
    expect(declared([EVIL])).toEqual({ kind: "none" });
  });
});

describe("damaged answers", () => {
  const whole = {
    models: recordedBody("head", "045-v1-models-slash-loaded"),
    running: recordedBody("head", "044-running-slash"),
    props: {
      default_generation_settings: { n_ctx: 4096 },
      modalities: { vision: true },
      chat_template: "{% if enable_thinking %}{{ message.reasoning_content }}{% endif %}",
      chat_template_caps: { supports_tools: true, supports_reasoning_effort: false },
    },
  };
  const nested = (): unknown => {
    let value: unknown = "end";
    for (let depth = 0; depth < 2000; depth++) value = [value];
    return value;
  };
  const WRONG: unknown[] = [
    undefined,
    null,
    true,
    0,
    -1,
    1e308,
    Number.NaN,
    "",
    "text",
    "x".repeat(100_000),
    [],
    [[]],
    {},
    { a: {} },
    nested(),
  ];

  /** Every path to a value inside a JSON value. */
  function paths(value: unknown): string[][] {
    if (typeof value !== "object" || value === null) return [[]];
    const inner = Object.entries(value).flatMap(([key, entry]) => paths(entry).map((path) => [key, ...path]));
    return [[], ...inner];
  }

  /** The value with another one put at a path. */
  function replaced(value: unknown, [key, ...rest]: string[], by: unknown): unknown {
    if (key === undefined) return by;
    const entries = Object.entries(value as object).map(([name, entry]) => [
      name,
      name === key ? replaced(entry, rest, by) : entry,
    ]);
    return Array.isArray(value) ? entries.map(([, entry]) => entry) : Object.fromEntries(entries);
  }

  const allPaths = paths(whole);

  test("nothing in them makes reading throw, and what is offered stays usable", () => {
    let offered = 0;
    for (const path of allPaths) {
      for (const wrong of WRONG) {
        const { models, running, props } = (replaced(whole, path, wrong) ?? {}) as Partial<typeof whole>;
        const facts = modelsOf(
          {
            listed: parseListed(models),
            running: parseRunning(running),
            live: new Map([["org/slash-model", parseProps(props)]]),
          },
          new Map(),
        );
        for (const model of facts) {
          offered++;
          const usable =
            model.id !== "" &&
            model.name !== "" &&
            Number.isSafeInteger(model.context.value) &&
            model.context.value > 0 &&
            Number.isSafeInteger(model.outputLimit.value) &&
            model.outputLimit.value > 0;
          if (!usable) throw new Error(`${path.join(".")} = ${String(wrong)}: ${JSON.stringify(model)}`);
        }
      }
    }
    expect(allPaths.length).toBeGreaterThan(150);
    expect(offered).toBeGreaterThan(20_000);
  });

  test.each(["__proto__", "constructor", "toString", "hasOwnProperty"])(
    "%s is a word like any other",
    (word) => {
      const models = read(
        { data: [{ id: word, meta: { llamaswap: { type: word, thinking: word } } }] },
        { running: { running: [{ model: word, state: word }] } },
      );
      expect(only(models)).toMatchObject({ id: word, kind: "model", state: "unknown", runsAs: word });
    },
  );
});
