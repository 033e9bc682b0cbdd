import { describe, expect, test } from "vitest";
import { commandDigest } from "../../../server/models/command-line.ts";
import { type CatalogFacts, parseProps, type RememberedFacts } from "../../../server/models/models.ts";
import { one, read } from "../../support/read-models.ts";

describe("what cannot chat is left out", () => {
  const isOffered = (id: string, entry: object = {}): boolean =>
    read({ data: [{ id, ...entry }] }).length > 0;

  test.each([
    "nomic-embed-text-v1.5",
    "Qwen3-Embedding-8B",
    "org/bge-reranker",
    "qwen3_rerank",
    "whisper-large-v3",
    "kokoro:TTS",
  ])("%s by its name", (id) => {
    expect(isOffered(id)).toBe(false);
    expect(isOffered(id, { meta: { llamaswap: { chat: true } } })).toBe(true);
  });

  test.each(["embedded-coder", "whisperer", "attsome", "preranked", "Qwen3-30B"])("but not %s", (id) => {
    expect(isOffered(id)).toBe(true);
    expect(isOffered(id, { meta: { llamaswap: { chat: false } } })).toBe(false);
  });

  const modalities = (input: string[], output: string[]): object => ({
    architecture: { input_modalities: input, output_modalities: output },
  });

  test.each([
    ["images", ["text"], ["image"], { image_generation: true }],
    ["edited images", ["image", "text"], ["image"], { image_to_image: true, vision: true }],
    ["speech", ["text"], ["audio"], { audio_speech: true }],
    ["transcripts", ["audio"], ["text"], { audio_transcriptions: true }],
    ["captions", ["image"], ["text"], { vision: true }],
    ["embeddings", ["text"], ["embedding"], {}],
    ["an order", ["text"], ["text"], { reranker: true }],
  ])("makers of %s by what they declare", (_, input, output, capabilities) => {
    expect(isOffered("m", { ...modalities(input, output), capabilities })).toBe(false);
  });

  test.each([
    ["an ear", ["text", "audio"], ["text"], { audio_transcriptions: true }],
    ["eyes", ["text", "image"], ["text"], { vision: true }],
    ["a voice", ["text"], ["text", "audio"], { audio_speech: true }],
    ["a brush", ["text"], ["text", "image"], { image_generation: true }],
  ])("but not a chat model with %s", (_, input, output, capabilities) => {
    expect(isOffered("m", { ...modalities(input, output), capabilities })).toBe(true);
  });

  test.each(["reranker", "audio_transcriptions", "audio_speech", "image_generation", "image_to_image"])(
    "a model declared only as %s",
    (task) => {
      expect(isOffered("m", { capabilities: { [task]: true } })).toBe(false);
      expect(isOffered("m", { capabilities: { [task]: false } })).toBe(true);
    },
  );

  test("a running model by its command line", () => {
    const running = { running: [{ model: "m", state: "ready", cmd: "llama-server --embedding -c 512" }] };
    expect(read({ data: [{ id: "m" }] }, { running })).toEqual([]);
  });
});

describe("what the file of a model shows", () => {
  const learnt = {
    trainedContext: { value: 9, source: "live" },
    sizeBytes: { value: 7, source: "live" },
    quantization: { value: "Q6_K", source: "live" },
  } as const;

  test("comes from the list, else from the last list; the running model itself reports its quantisation", () => {
    const last = { m: learnt };
    expect(one({}, { last })).toMatchObject({
      trainedContext: { value: 9, source: "last seen" },
      sizeBytes: { value: 7, source: "last seen" },
      quantization: { value: "Q6_K", source: "last seen" },
    });
    const running = {
      running: [{ model: "m", state: "ready", cmd: "llama-server -m x-Q4_0.gguf --mmproj y" }],
    };
    const { quantization, vision } = one({}, { last, running });
    expect(quantization).toEqual({ value: "Q4_0", source: "command line" });
    expect(vision).toEqual({ value: true, source: "command line" });
    const live = { m: parseProps({ model_ftype: "Q8_0\u001b[2J", modalities: { vision: false } }) };
    expect(one({}, { last, running, live })).toMatchObject({
      quantization: { value: expect.stringMatching(/^Q8_0/), source: "live" },
      vision: { value: false, source: "live" },
    });
    expect(one({}).sizeBytes).toBeUndefined();
  });
});

describe("what was learnt", () => {
  const CMD = "llama-server --port 5801 -c 8192";
  const state = (cmd: string) => ({ running: { running: [{ model: "m", state: "starting", cmd }] } });
  const learnt: RememberedFacts = {
    context: { value: 4096, source: "live" },
    vision: { value: true, source: "live" },
    thinking: { value: { kind: "switch" }, source: "live" },
    keepsThinking: true,
    command: commandDigest(CMD),
    refuted: { declared: 8000, commandLine: 8192 },
  };
  const facts = (entry: object, known: object = {}) => one(entry, { last: { m: learnt }, ...known });
  const declared = (context_length: number) => ({ context_length });

  test("holds while nothing runs, and under the same command line, whatever its port", () => {
    for (const known of [{}, state(CMD), state(CMD.replace("5801", "5802"))]) {
      const { context, vision, thinking, keepsThinking, command } = facts({}, known);
      expect([context, vision.source, thinking.source]).toEqual([
        { value: 4096, source: "last seen" },
        "last seen",
        "last seen",
      ]);
      expect([keepsThinking, command]).toEqual([true, learnt.command]);
    }
  });

  test("under another command line does not count", () => {
    const { context, vision, thinking, keepsThinking, command, refuted } = facts(
      declared(8000),
      state("x -c 9"),
    );
    expect(context).toEqual({ value: 8000, source: "declared" });
    expect([vision.source, thinking.source, keepsThinking]).toEqual(["default", "default", false]);
    expect([command, refuted]).toEqual([commandDigest("x -c 9"), {}]);
    expect(facts({}, state("x -c 9")).context).toEqual({ value: 9, source: "command line" });
  });

  test("stands against figures that the running model has refuted, as long as they are the same", () => {
    expect(facts(declared(8000)).context).toEqual({ value: 4096, source: "last seen" });
    expect(facts(declared(8000), state(CMD)).context).toEqual({ value: 4096, source: "last seen" });
    expect(facts(declared(8001)).context).toEqual({ value: 8001, source: "declared" });
    const live = { live: { m: { context: 8001 } }, ...state(CMD) };
    expect(facts(declared(8000), live)).toMatchObject({
      context: { value: 8001, source: "live" },
      refuted: { declared: 8000, commandLine: 8192 },
    });
    expect(facts(declared(8001), live).refuted).toEqual({ commandLine: 8192 });
  });

  test("out of the config file names that source", () => {
    const last = { m: { context: { value: 5, source: "config file" } } } as const;
    expect(one({}, { last }).context).toEqual({ value: 5, source: "config file" });
    expect(one(declared(6), { last }).context).toEqual({ value: 6, source: "declared" });
    expect(one({}, { last, ...state("x -c 9") }).context).toEqual({ value: 9, source: "command line" });
  });
});

describe("the context window", () => {
  const cmd = { running: [{ model: "m", state: "ready", cmd: "llama-server -c 4000" }] };
  const remembered: CatalogFacts = {
    runsAs: "m",
    context: { value: 5000, source: "live" },
    outputLimit: { value: 10, source: "declared" },
    vision: { value: true, source: "live" },
    thinking: { value: { kind: "switch" }, source: "live" },
    keepsThinking: true,
    keptBy: undefined,
    tools: { value: true, source: "live" },
    needsAlternation: false,
    needsShortCallIds: false,
  };

  test("comes from the best source that knows it", () => {
    const live = { m: { context: 1000 } };
    const last = { m: remembered };
    const meta = { n_ctx: 3000, llamaswap: { context_length: 3500 } };
    const entry = { context_length: 2000, meta };
    const sources = [
      one(entry, { running: cmd, live, last }),
      one(entry, { running: cmd, last }),
      one({ meta }, { running: cmd, last }),
      one({ meta: { llamaswap: { context_length: 3500 } } }, { running: cmd, last }),
      one({}, { running: cmd, last }),
      one({}, { last }),
      one({}),
    ].map(({ context }) => context);
    expect(sources).toEqual([
      { value: 1000, source: "live" },
      { value: 2000, source: "declared" },
      { value: 3000, source: "declared" },
      { value: 3500, source: "declared" },
      { value: 4000, source: "command line" },
      { value: 5000, source: "last seen" },
      { value: 32_768, source: "default" },
    ]);
  });

  test("last seen as unknown is still unknown", () => {
    const last = { m: { ...remembered, context: { value: 32_768, source: "default" } as const } };
    expect(one({}, { last }).context.source).toBe("default");
  });

  test.each([0, -1, 1.5, "4k", "", true, null, [], {}, Number.MAX_VALUE, "99999999999999999999"])(
    "declared as %j is not declared",
    (value) => {
      const entry = { context_length: value, meta: { n_ctx: value, llamaswap: { context_length: value } } };
      expect(one(entry).context).toEqual({ value: 32_768, source: "default" });
    },
  );
});

describe("the output limit", () => {
  const limit = (entry: object): unknown => one(entry).outputLimit;

  test.each([
    [200_000, 65_536],
    [131_072, 65_536],
    [131_070, 65_535],
    [4096, 2048],
    [1, 1],
  ])("for a window of %d is %d", (context_length, value) => {
    expect(limit({ context_length })).toEqual({ value, source: "default" });
  });

  test("is the declared one, if that is a number", () => {
    const declared = (llamaswap: object): unknown => limit({ context_length: 8192, meta: { llamaswap } });
    expect(declared({ max_output_tokens: 1000 })).toEqual({ value: 1000, source: "declared" });
    expect(declared({ max_tokens: "2000" })).toEqual({ value: 2000, source: "declared" });
    expect(declared({ max_output_tokens: "many", max_tokens: -5 })).toEqual({
      value: 4096,
      source: "default",
    });
  });
});

describe("vision", () => {
  test("live wins over declared, declared over last seen", () => {
    const declared = { architecture: { input_modalities: ["text", "image"] } };
    expect(one(declared, { live: { m: { vision: false } } }).vision).toEqual({
      value: false,
      source: "live",
    });
    expect(one(declared).vision).toEqual({ value: true, source: "declared" });
    expect(one({ capabilities: { vision: true } }).vision).toEqual({ value: true, source: "declared" });
    expect(one({ meta: { llamaswap: { vision: true } } }).vision).toEqual({
      value: true,
      source: "declared",
    });
    expect(one({ architecture: { input_modalities: ["text"] } }).vision).toEqual({
      value: false,
      source: "declared",
    });
  });

  test("live comes from props", () => {
    expect(parseProps({ modalities: { vision: true, audio: false } }).vision).toBe(true);
    expect(parseProps({ modalities: { vision: "yes" } }).vision).toBeUndefined();
    expect(parseProps({ model_ftype: "(guessed) all F32" }).quantization).toBe("all F32");
  });
});

const REMEMBERED: CatalogFacts = {
  runsAs: "m",
  context: { value: 5000, source: "live" },
  outputLimit: { value: 10, source: "declared" },
  vision: { value: true, source: "live" },
  thinking: { value: { kind: "none" }, source: "live" },
  keepsThinking: false,
  keptBy: undefined,
  tools: { value: true, source: "live" },
  needsAlternation: false,
  needsShortCallIds: false,
};
const WITHOUT: CatalogFacts = { ...REMEMBERED, tools: { value: false, source: "live" } };

const metadata = (llamaswap: object): object => ({ meta: { llamaswap } });

describe("thinking", () => {
  test.each([
    [{ thinking: true }, { kind: "switch" }],
    [{ reasoning: true }, { kind: "switch" }],
    [{ thinking: "switch" }, { kind: "switch" }],
    [{ thinking: false }, { kind: "none" }],
    [{ thinking: "none" }, { kind: "none" }],
    [{ thinking: "budget" }, { kind: "budget" }],
    [{ thinking: "always" }, { kind: "always" }],
    [{ thinking: "effort" }, { kind: "effort", levels: ["low", "medium", "high"] }],
    [{ thinking_levels: ["none", "high"] }, { kind: "effort", levels: ["none", "high"] }],
  ])("declared as %j", (llamaswap, value) => {
    expect(one({ meta: { llamaswap } }, { live: { m: { thinking: { kind: "none" } } } }).thinking).toEqual({
      value,
      source: "declared",
    });
  });

  test.each([{ thinking: "maybe" }, { thinking: 1 }, { thinking_levels: [] }, { thinking_levels: "high" }])(
    "declared as %j is not declared",
    (llamaswap) => {
      expect(one({ meta: { llamaswap } }).thinking).toEqual({ value: { kind: "none" }, source: "default" });
    },
  );

  test("of the chat template", () => {
    const chat_template = "{% if enable_thinking %}<think>{{ message.reasoning_content }}{% endif %}";
    expect(parseProps({ chat_template })).toMatchObject({
      thinking: { kind: "switch", variable: "enable_thinking" },
      keepsThinking: true,
      tools: undefined,
    });
  });

  test("declared uses the template's variable, now and when the model is not loaded", () => {
    const thinking = { kind: "switch", variable: "thinking" } as const;
    const entry = { meta: { llamaswap: { thinking: true } } };
    const expected = { value: thinking, source: "declared" };
    expect(one(entry, { live: { m: { thinking } } }).thinking).toEqual(expected);
    const last = { m: { ...REMEMBERED, thinking: { value: thinking, source: "live" } as const } };
    expect(one(entry, { last }).thinking).toEqual(expected);
  });
});

describe("tools", () => {
  const NO = { m: { tools: false } };
  test.each<[string, object, object, unknown]>([
    ["nothing", {}, {}, { value: true, source: "default" }],
    ["the template", {}, { live: NO }, { value: false, source: "live" }],
    ["the owner", metadata({ tools: true }), { live: NO }, { value: true, source: "declared" }],
    ["the owner", metadata({ tools: false }), {}, { value: false, source: "declared" }],
    ["the list", { capabilities: { function_calling: false } }, {}, { value: false, source: "declared" }],
    [
      "the list",
      { capabilities: { function_calling: true } },
      { live: NO },
      { value: false, source: "live" },
    ],
    ["no word of it in the list", { capabilities: { vision: true } }, {}, { value: true, source: "default" }],
    ["an earlier start", {}, { last: { m: WITHOUT } }, { value: false, source: "last seen" }],
  ])("come from %s", (_, entry, known, expected) => {
    expect(one(entry, known).tools).toEqual(expected);
  });
});

test("what a template refuses and keeps is known from it, now and later", () => {
  const strict = { needsAlternation: true, needsShortCallIds: true, keptBy: "drop_thinking" as const };
  expect(one({}, { live: { m: strict } })).toMatchObject(strict);
  expect(one({}, { last: { m: { ...REMEMBERED, ...strict } } })).toMatchObject(strict);
  expect(one({})).toMatchObject({ needsAlternation: false, needsShortCallIds: false, keptBy: undefined });
});
