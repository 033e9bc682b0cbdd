import { describe, expect, test } from "vitest";
import { MODELS, readConfig } from "../../config.ts";
import type { Thinking } from "../../lib/thinking.ts";
import {
  baseUrlOf,
  fallbackModels,
  isContextKnown,
  noToolsNotice,
  readRemembered,
  rememberedIn,
  restoredModels,
  runsAs,
  type ServedModel,
  toRemember,
  toServedModel,
  toServedModels,
  traitsOf,
} from "../../provider/pi-models.ts";
import type { ModelFacts, Source } from "../../server/models/models.ts";
import { facts as factsOf } from "../support/model-facts.ts";
import { PLAIN } from "../support/samples.ts";

const AT = { origin: "https://ai.example", basePath: "/llm" };
const ADDRESS = baseUrlOf(AT);

/** No field has the value that stands for nothing known. */
const facts = (more: Partial<ModelFacts> = {}): ModelFacts =>
  factsOf({
    id: "org/x:Q4 ü",
    name: "X",
    ttlSeconds: 5,
    runsAs: "org/x:Q4 ü",
    context: { value: 65_536, source: "live" },
    outputLimit: { value: 1000, source: "declared" },
    vision: { value: true, source: "declared" },
    keepsThinking: true,
    keptBy: "preserve_thinking",
    ...more,
  });

const served = (more: Partial<ModelFacts> = {}): ServedModel => toServedModel(facts(more), ADDRESS);

test("a model for pi has the server's spelling, its address, no cost, and the known facts", () => {
  expect(served()).toEqual({
    id: "org/x:Q4 ü",
    name: "X",
    api: "ai-server",
    provider: "ai-server",
    baseUrl: "https://ai.example/llm",
    reasoning: true,
    thinkingLevelMap: { minimal: null, low: null, high: null, xhigh: null, max: null },
    input: ["text", "image"],
    cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 },
    contextWindow: 65_536,
    maxTokens: 1000,
    aiServer: {
      runsAs: "org/x:Q4 ü",
      context: { value: 65_536, source: "live" },
      outputLimit: { value: 1000, source: "declared" },
      vision: { value: true, source: "declared" },
      thinking: { value: { kind: "switch" }, source: "live" },
      keepsThinking: true,
      keptBy: "preserve_thinking",
      tools: { value: true, source: "live" },
      needsAlternation: false,
      needsShortCallIds: false,
      refuted: {},
    },
  });
  expect(served({ vision: { value: false, source: "default" } }).input).toEqual(["text"]);
});

test.each<[Thinking, boolean, unknown]>([
  [{ kind: "none" }, false, undefined],
  [{ kind: "switch" }, true, { minimal: null, low: null, high: null, xhigh: null, max: null }],
  [{ kind: "always" }, true, { off: null, minimal: null, low: null, high: null, xhigh: null, max: null }],
  [{ kind: "budget" }, true, { xhigh: null, max: "max" }],
  [
    { kind: "effort", levels: ["low", "medium", "high"] },
    true,
    { off: null, minimal: null, xhigh: null, max: null },
  ],
  [
    { kind: "effort", levels: ["none", "max"] },
    true,
    { minimal: null, low: null, medium: null, high: null, xhigh: null, max: "max" },
  ],
  [
    { kind: "effort", levels: ["high", "max"], variable: "reasoning_effort", switch: "enable_thinking" },
    true,
    { minimal: null, low: null, medium: null, xhigh: null, max: "max" },
  ],
])("thinking %j: reasoning %s, levels %j", (value, reasoning, levels) => {
  const model = served({ thinking: { value, source: "declared" } });
  expect([model.reasoning, model.thinkingLevelMap]).toEqual([reasoning, levels]);
});

describe("the fallback list", () => {
  test("stands for the default server alone, its windows marked as unread", () => {
    const models = fallbackModels(readConfig({}, {}, "/agent"));
    expect(models.map(({ id, contextWindow }) => ({ id, contextWindow }))).toEqual([...MODELS]);
    for (const model of models) {
      expect(isContextKnown(model)).toBe(false);
      expect(model.maxTokens).toBe(Math.min(65_536, model.contextWindow / 2));
    }
    expect(fallbackModels(readConfig({ AI_SERVER_URL: "https://127.0.0.1:9" }, {}, "/agent"))).toEqual([]);
  });
});

describe("a stored catalogue", () => {
  const stored = (change: (model: Record<string, unknown>) => void): unknown => {
    const model = JSON.parse(JSON.stringify(served())) as Record<string, unknown>;
    change(model);
    return model;
  };
  const restored = (value: unknown): ServedModel[] => restoredModels([value], ADDRESS);

  test("comes back as it was", () => {
    expect(restored(stored(() => {}))).toEqual([served()]);
  });

  test("of another server, another protocol or none does not", () => {
    expect(restored(stored((model) => Object.assign(model, { baseUrl: "https://other.example" })))).toEqual(
      [],
    );
    expect(restored(stored((model) => Object.assign(model, { baseUrl: "https://ai.example" })))).toEqual([]);
    expect(restored(stored((model) => Object.assign(model, { api: "openai-completions" })))).toEqual([]);
    for (const value of [undefined, null, 5, "text", [], {}]) expect(restored(value)).toEqual([]);
  });

  const WRONG: unknown[] = [
    undefined,
    null,
    true,
    -1,
    0,
    1.5,
    "",
    "text",
    [],
    [5],
    {},
    { value: "x", source: "live" },
  ];
  const KEYS = [
    "id",
    "name",
    "reasoning",
    "input",
    "cost",
    "contextWindow",
    "maxTokens",
    "provider",
    "aiServer",
  ];
  const FACTS = [
    "runsAs",
    "context",
    "outputLimit",
    "vision",
    "thinking",
    "keepsThinking",
    "keptBy",
    "tools",
    "needsAlternation",
    "needsShortCallIds",
  ];
  const damages: [string, (model: Record<string, unknown>, wrong: unknown) => void][] = [
    ...KEYS.map((key): [string, (model: Record<string, unknown>, wrong: unknown) => void] => [
      key,
      (model, wrong) => Object.assign(model, { [key]: wrong }),
    ]),
    ...FACTS.map((key): [string, (model: Record<string, unknown>, wrong: unknown) => void] => [
      `aiServer.${key}`,
      (model, wrong) => Object.assign(model.aiServer as object, { [key]: wrong }),
    ]),
    ...["context", "outputLimit", "vision", "thinking", "tools"].map(
      (key): [string, (model: Record<string, unknown>, wrong: unknown) => void] => [
        `aiServer.${key}.value`,
        (model, wrong) =>
          Object.assign((model.aiServer as Record<string, object>)[key] ?? {}, { value: wrong }),
      ],
    ),
  ];

  test.each(damages)("with a damaged %s is left out or usable", (_, damage) => {
    for (const wrong of WRONG) {
      for (const model of restored(stored((value) => damage(value, wrong)))) {
        const { id, name, provider, cost, input, contextWindow, maxTokens, reasoning } = model;
        const what = JSON.stringify({ wrong, model });
        expect([typeof id, typeof name, provider, typeof reasoning], what).toEqual([
          "string",
          "string",
          "ai-server",
          "boolean",
        ]);
        expect(id.length * name.length, what).toBeGreaterThan(0);
        expect(Object.values(cost), what).toEqual([0, 0, 0, 0]);
        expect(input[0], what).toBe("text");
        expect(Number.isSafeInteger(contextWindow) && contextWindow > 0, what).toBe(true);
        expect(Number.isSafeInteger(maxTokens) && maxTokens > 0, what).toBe(true);
        const { context, outputLimit, vision } = model.aiServer;
        expect([context.value, typeof vision.value], what).toEqual([contextWindow, "boolean"]);
        expect(outputLimit.value, what).toBe(maxTokens);
        expect(["none", "switch", "effort", "budget", "always"], what).toContain(
          traitsOf(model).thinking.kind,
        );
        expect(() => toServedModel({ ...facts(), ...model.aiServer }, ADDRESS), what).not.toThrow();
      }
    }
  });

  test("cannot steer the terminal", () => {
    expect(restored(stored((model) => Object.assign(model, { id: "a\u001b[2J" })))).toEqual([]);
    const [model] = restored(stored((value) => Object.assign(value, { name: "a\u001b[2Jb" })));
    expect(model?.name).not.toMatch(/\p{Cc}/u);
  });
});

describe("what a request depends on", () => {
  test("is read from the model that pi hands back", () => {
    expect(traitsOf(served())).toEqual({
      ...PLAIN,
      thinking: { kind: "switch" },
      keepsThinking: true,
      keptBy: "preserve_thinking",
    });
    const strict = served({
      tools: { value: false, source: "live" },
      needsAlternation: true,
      needsShortCallIds: true,
    });
    expect(traitsOf(strict)).toMatchObject({
      takesTools: false,
      needsAlternation: true,
      needsShortCallIds: true,
    });
    expect(runsAs(served({ runsAs: "qwen" }))).toBe("qwen");
    expect(runsAs(served({ runsAs: undefined }))).toBeUndefined();
  });

  test("a model from the user's models.json does not think and runs under its own id", () => {
    const { aiServer: _, ...foreign } = served();
    expect(traitsOf(foreign)).toEqual(PLAIN);
    expect(runsAs(foreign)).toBe("org/x:Q4 ü");
    expect(isContextKnown(foreign)).toBe(false);
  });

  test.each([
    null,
    5,
    "x",
    [],
    { thinking: 5 },
    { thinking: { value: { kind: "effort" } } },
    { thinking: { value: { kind: "odd" } } },
  ])("damaged facts %j are none", (aiServer) => {
    const model = Object.assign(served(), { aiServer }) as ServedModel;
    expect(traitsOf(model)).toEqual(PLAIN);
    expect(isContextKnown(model)).toBe(false);
  });

  test("the window is known where it was read", () => {
    const known = (["live", "declared", "command line", "last seen", "default"] as const).map((source) =>
      isContextKnown(served({ context: { value: 1, source } })),
    );
    expect(known).toEqual([true, true, true, true, false]);
  });
});

test("facts are remembered by the id under which a model runs", () => {
  const peer = served({ id: "c", runsAs: undefined });
  const facts = rememberedIn([served(), served({ id: "b", runsAs: "a" }), peer]);
  expect([...facts.keys()]).toEqual(["org/x:Q4 ü", "a", "c"]);
  expect(facts.get("c")).toEqual(peer.aiServer);
});

test("a model that cannot be used is not offered", () => {
  const found = [facts(), facts({ id: "b", problem: "no model path" })];
  expect(toServedModels(found, AT).map(({ id }) => id)).toEqual(["org/x:Q4 ü"]);
});

describe("the facts worth remembering", () => {
  test("are those of the model itself and of its command line", () => {
    const { vision: _, ...live } = toRemember(served({ command: "d", refuted: { declared: 5 } }).aiServer);
    expect(live).toEqual({
      context: { value: 65_536, source: "live" },
      refuted: { declared: 5 },
      thinking: { value: { kind: "switch" }, source: "live" },
      keepsThinking: true,
      keptBy: "preserve_thinking",
      tools: { value: true, source: "live" },
      needsAlternation: false,
      needsShortCallIds: false,
      command: "d",
    });
    const context = { value: 1, source: "command line" } as const;
    expect(toRemember(served({ context }).aiServer).context).toEqual(context);
  });

  test.each(["declared", "config file", "last seen", "default"] as const)(
    "is nothing that is %s",
    (source) => {
      const facts = served({
        context: { value: 1, source },
        vision: { value: true, source },
        thinking: { value: { kind: "none" }, source },
        tools: { value: true, source },
      });
      expect(toRemember(facts.aiServer)).toEqual({});
    },
  );

  test("come back from a file as far as they are understood", () => {
    const known = toRemember(served({ command: "d", refuted: { commandLine: 7 } }).aiServer);
    const trainedContext = { value: 9, source: "live" };
    expect(readRemembered({ ...known, trainedContext, seenAt: 1 })).toEqual({ ...known, trainedContext });
    for (const wrong of [null, 5, "x", [], { value: "x", source: "live" }, { value: 5, source: "guess" }])
      expect(
        readRemembered({
          context: wrong,
          vision: wrong,
          thinking: wrong,
          trainedContext: wrong,
          command: [wrong],
        }),
      ).toEqual({});
  });
});

test("a notice names a model without tools, and no other", () => {
  const notice = (value: boolean, source: Source) => noToolsNotice(served({ tools: { value, source } }));
  expect(notice(false, "live")).toMatch(/^X has no tools, because its chat template/);
  expect(notice(false, "last seen")).toBe(notice(false, "live"));
  expect(notice(false, "declared")).toMatch(/^X has no tools, as the server's configuration declares/);
  expect(notice(true, "live")).toBeUndefined();
  expect(notice(true, "default")).toBeUndefined();
  const { aiServer: _, ...foreign } = served();
  expect(noToolsNotice(foreign)).toBeUndefined();
});
