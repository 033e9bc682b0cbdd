import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { PanelSource } from "../../admin/panel/source.ts";
import { readConfig, type Variables } from "../../config.ts";
import { judgeContext } from "../../host/probe.ts";
import { record } from "../../lib/json.ts";
import { ModelServer } from "../../server/model-server.ts";
import { parseProps } from "../../server/models/models.ts";
import { fastClock } from "../support/clock.ts";
import {
  type LlamaServer,
  llamaServerProblem,
  startLlamaServer,
  startRouter,
  TINY_ID,
  TINY_MODEL,
} from "../support/llama-server.ts";
import { EXTENSION, makeWorkplace, NEWEST_PI, piProblem, runPi, type Workplace } from "../support/pi.ts";
import { eventually } from "../support/processes.ts";
import { realSuite } from "../support/programs.ts";
import { at, parseJsonLines } from "../support/rpc.ts";
import { assistant, model, PLAIN, result, system, tool, transcript, user } from "../support/samples.ts";
import { SCRIPTS, THOUGHT, TRAINED_CONTEXT } from "../support/tiny-model.ts";
import { beginTurn, type TurnOptions, type TurnResult } from "../support/turns.ts";

const ANSWER = SCRIPTS.text.pieces.join("");
const TINY = model({ id: TINY_ID, contextWindow: TRAINED_CONTEXT });
const WITH_BASH = system("You may use tools.", {
  toolsAdded: [tool("bash", { command: { type: "string" } })],
});
const clock = { now: Date.now, sleep: (ms: number) => new Promise<void>((done) => setTimeout(done, ms)) };

/** About as many tokens as words. */
function words(count: number): string {
  return Array.from({ length: count }, (_, at) => (at % 2 === 0 ? "read" : " the")).join("");
}

/** Lends this extension's own client of a server to `use`; the tiny model may repeat itself. */
async function withClient<T>(
  server: LlamaServer,
  use: (client: ModelServer) => Promise<T>,
  env: Variables = { AI_SERVER_LOOP_GUARD: "off" },
): Promise<T> {
  const client = new ModelServer(readConfig({ AI_SERVER_URL: server.url, ...env }, {}, "/nowhere"));
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

function turn(server: LlamaServer, options: Omit<TurnOptions, "clock">): Promise<TurnResult> {
  return withClient(server, (client) => beginTurn(client, { clock, on: TINY, ...options }).ended);
}

async function slots(server: LlamaServer): Promise<{ isBusy: boolean; tokens: number }[]> {
  const answer = await withClient(server, (client) => client.http.json("/slots", { timeoutMs: 5_000 }));
  return (answer as unknown[]).map((slot) => ({
    isBusy: at(slot, "is_processing") === true,
    tokens: Number(at(slot, "n_prompt_tokens") ?? 0),
  }));
}

realSuite(llamaServerProblem(), "a turn on a real llama-server", () => {
  let server: LlamaServer;
  beforeAll(async () => {
    server = await startLlamaServer({ args: ["-np", "1", "--batch-size", "512"] });
  });
  afterAll(() => server.stop());

  test("streams thinking, then text, with the usage", async () => {
    const { seen, message } = await turn(server, { context: transcript(user("Hello")) });
    expect(message.stopReason).toBe("stop");
    expect(message.content).toEqual([
      { type: "thinking", thinking: THOUGHT.join("").trimStart(), thinkingSignature: "reasoning_content" },
      { type: "text", text: ANSWER },
    ]);
    expect([...new Set(seen.map(({ type }) => type))]).toEqual([
      "thinking_start",
      "thinking_delta",
      "thinking_end",
      "text_start",
      "text_delta",
      "text_end",
    ]);
    // The thought, its two marks, the empty line behind them, the answer, and the end.
    expect(message.usage.output).toBe(THOUGHT.length + 3 + SCRIPTS.text.pieces.length + 1);
  });

  test("the second turn takes the first one's prompt from the cache, and its answer where thinking is sent back", async () => {
    const question = user(`What is this? ${words(600)}`);
    const first = await turn(server, { context: transcript(question) });
    const prompt = first.message.usage.input + first.message.usage.cacheRead;
    expect(prompt).toBeGreaterThan(600);
    const second = transcript(question, { ...first.message, model: TINY.id }, user("And that?"));

    const traits = () => ({ ...PLAIN, keepsThinking: true });
    const kept = await turn(server, { context: second, parts: { traits } });
    expect(kept.message.usage.cacheRead).toBeGreaterThanOrEqual(prompt + first.message.usage.output - 1);
    expect(kept.message.usage.input).toBeLessThan(20);

    const left = await turn(server, { context: second });
    expect(left.message.usage.cacheRead).toBeGreaterThanOrEqual(prompt);
    expect(left.message.usage.cacheRead).toBeLessThan(prompt + first.message.usage.output - 1);
  });

  test("reports how far the prompt is, batch by batch, to its last token", async () => {
    const { activities, message } = await turn(server, { context: transcript(user(words(3_000))) });
    const told = activities.filter((activity) => activity.kind === "prompt");
    const { input, cacheRead } = message.usage;
    expect(told.length).toBeGreaterThan(3);
    for (const { total, cached } of told)
      expect({ total, cached }).toEqual({ total: input + cacheRead, cached: cacheRead });
    const processed = told.map((activity) => activity.processed);
    expect(processed).toEqual([...processed].sort((a, b) => a - b));
    expect(processed[0]).toBe(cacheRead);
    expect(processed.at(-1)).toBe(input + cacheRead);
  });

  test("without thinking there is none", async () => {
    const parts = { traits: () => ({ ...PLAIN, thinking: { kind: "switch" as const } }) };
    const { message } = await turn(server, { context: transcript(user("Hello")), parts });
    expect(message.content).toEqual([{ type: "text", text: ANSWER }]);
    const thinks = await turn(server, {
      context: transcript(user("Hello")),
      parts,
      options: { reasoning: "low" },
    });
    expect(thinks.message.content.map(({ type }) => type)).toEqual(["thinking", "text"]);
  });

  test("a tool call comes whole, and its result goes back", async () => {
    const asked = [WITH_BASH, user(`Please ${SCRIPTS.tool.cue}.`)];
    const { message } = await turn(server, { context: transcript(...asked) });
    expect(message.stopReason).toBe("toolUse");
    const call = message.content.find((block) => block.type === "toolCall");
    expect(call).toMatchObject({ name: "bash", arguments: { command: "echo tiny" } });

    const answered = [...asked, assistant(message.content), result(call?.id ?? "", "tiny")];
    const after = await turn(server, { context: transcript(...answered) });
    expect(after.message).toMatchObject({ stopReason: "stop" });
    expect(after.message.content.at(-1)).toEqual({ type: "text", text: ANSWER });
    expect(after.message.usage.cacheRead).toBeGreaterThan(message.usage.input - 10);
  });

  test("hanging up stops the model", async () => {
    const cut = new AbortController();
    await withClient(server, async (client) => {
      const { ended, events } = beginTurn(client, {
        clock,
        on: TINY,
        context: transcript(user(SCRIPTS.endless.cue)),
        options: { signal: cut.signal },
      });
      await eventually("the model speaks", () => events.includes("text_delta") || undefined);
      expect(await slots(server)).toMatchObject([{ isBusy: true }]);
      cut.abort();
      expect((await ended).message.stopReason).toBe("aborted");
    });
    const idle = await eventually("the model stops", async () => {
      const all = await slots(server);
      return all.every(({ isBusy }) => !isBusy) ? all : undefined;
    });
    // It would have gone on to the end of its context.
    expect(idle[0]?.tokens).toBeLessThan(TRAINED_CONTEXT - 1_000);
  });
});

realSuite(llamaServerProblem(), "a real llama-server's full context", () => {
  let server: LlamaServer;
  beforeAll(async () => {
    server = await startLlamaServer({ args: ["-np", "1", "-c", "4096"] });
  });
  afterAll(() => server.stop());

  test("a prompt that does not fit is worded for compaction, with the real window", async () => {
    const { message, windows, events } = await turn(server, { context: transcript(user(words(5_000))) });
    expect(events).toEqual(["error"]);
    expect(message.errorMessage).toMatch(/^context_length_exceeded: .* context \(4,096 tokens\)\.$/);
    expect(windows).toEqual([4_096]);
  });

  test("an answer that fills the context ends as too long, not as a fault", async () => {
    const { message } = await turn(server, { context: transcript(user(SCRIPTS.endless.cue)) });
    expect(message.stopReason).toBe("length");
    expect(message.usage.totalTokens).toBe(4_096);
  });
});

realSuite(llamaServerProblem(), "the context that a real llama-server gives", () => {
  test.each([
    { flags: "-c 4000", asked: 4_000, tokens: 4_096, kind: "as asked" },
    { flags: "-c 100", asked: 100, tokens: 256, kind: "as asked" },
    { flags: "-c 0", asked: 0, tokens: 32_768, kind: "as asked" },
    { flags: "-c 4096 -np 2", asked: 4_096, tokens: 2_048, kind: "as asked" },
    { flags: "-c 5000 -np 3", asked: 5_000, tokens: 1_792, kind: "as asked" },
    { flags: "-c 5000 -np 3 --kv-unified", asked: 5_000, tokens: 5_120, kind: "as asked" },
    { flags: "-c 40000 -np 2", asked: 40_000, tokens: 20_224, kind: "as asked" },
    { flags: "-c 80000 -np 2", asked: 80_000, tokens: 32_768, kind: "less" },
    { flags: "-c 1000000", asked: 1_000_000, tokens: 32_768, kind: "less" },
  ])("$flags is $tokens tokens for one request, $kind", async ({ flags, asked, tokens, kind }) => {
    const server = await startLlamaServer({ args: flags.split(" ") });
    try {
      const live = await withClient(server, async ({ http }) => {
        const props = await http.json("/props", { timeoutMs: 5_000 });
        const models = await http.json("/v1/models", { timeoutMs: 5_000 });
        const trained = at(models, "data", 0, "meta", "n_ctx_train");
        return { tokens: parseProps(props).context, trained: Number(trained) };
      });
      expect(live).toEqual({ tokens, trained: TRAINED_CONTEXT });
      const verdict = judgeContext(asked, `llama-server -m tiny.gguf ${flags}`, live);
      expect(verdict).toMatchObject({ kind, tokens, isFault: false });
      if (kind === "as asked") expect(verdict.expected).toBe(tokens);
      else expect(verdict.why).toMatch(/trained for 32768 tokens/);
    } finally {
      await server.stop();
    }
  });
});

realSuite(llamaServerProblem(), "a real llama.cpp router", () => {
  let server: LlamaServer;
  beforeAll(async () => {
    const preset = `version = 1
[small]
model = ${TINY_MODEL}
ctx-size = 2048

[large]
model = ${TINY_MODEL}
ctx-size = 8192

[dozy]
model = ${TINY_MODEL}
sleep-idle-seconds = 1

[broken]
model = ${join(tmpdir(), "no-such-model.gguf")}
`;
    server = await startRouter({ preset, args: [] });
  });
  afterAll(() => server.stop());

  async function states(): Promise<unknown> {
    const answer = await withClient(server, ({ http }) => http.json("/models", { timeoutMs: 5_000 }));
    const data = record(answer)?.data as unknown[];
    return Object.fromEntries(data.map((entry) => [at(entry, "id"), at(entry, "status", "value")]));
  }

  test("reading its models loads none; a turn loads its own, and the next one takes the place", async () => {
    const unloaded = { small: "unloaded", large: "unloaded", dozy: "unloaded", broken: "unloaded" };
    const found = await withClient(server, (client) => client.discover(new Map()));
    expect(found.map(({ id }) => id).sort()).toEqual(["broken", "dozy", "large", "small"]);
    expect(await states()).toEqual(unloaded);
    for (const id of ["small", "large"]) {
      const { message } = await turn(server, { on: model({ id }), context: transcript(user("Hello")) });
      expect(message.content.at(-1)).toEqual({ type: "text", text: ANSWER });
      expect(await states()).toEqual({ ...unloaded, [id]: "loaded" });
    }
  });

  test("a model has the same command line loaded and unloaded, whatever its port; loaded it reports its file", async () => {
    const small = (client: ModelServer) =>
      client.discover(new Map()).then((models) => models.find(({ id }) => id === "small"));
    await withClient(server, async (client) => {
      await turn(server, { on: model({ id: "large" }), context: transcript(user("Hello")) });
      const unloaded = await small(client);
      await turn(server, { on: model({ id: "small" }), context: transcript(user("Hello")) });
      const loaded = await small(client);
      expect([unloaded?.state, loaded?.state]).toEqual(["unloaded", "ready"]);
      expect([unloaded?.context.source, loaded?.context.source]).toEqual(["command line", "live"]);
      expect(unloaded?.context.value).toBe(loaded?.context.value);
      expect(unloaded?.command).toMatch(/^[0-9a-f]{64}$/);
      expect(loaded?.command).toBe(unloaded?.command);
      expect(loaded?.trainedContext?.value).toBe(TRAINED_CONTEXT);
      expect(loaded?.sizeBytes?.value).toBeGreaterThan(1000);
      expect(loaded?.quantization?.value).toBeTypeOf("string");
    });
  });

  /** What the panel knows, which asks more often than it does for a user. */
  async function followed(use: (source: PanelSource) => Promise<void>): Promise<void> {
    await withClient(server, async (client) => {
      const over = new AbortController();
      const parts = { server: client, remembered: () => new Map(), expectedLoadMs: async () => undefined };
      const source = new PanelSource({ ...parts, onChange: () => {}, clock: fastClock(20) });
      const following = source.follow(over.signal);
      await use(source);
      over.abort();
      await following;
    });
  }

  test("the panel knows what is in flight", async () => {
    const cut = new AbortController();
    await withClient(server, async (client) => {
      const options = { signal: cut.signal };
      const context = transcript(user(SCRIPTS.endless.cue));
      const { ended, events } = beginTurn(client, { clock, on: model({ id: "small" }), context, options });
      await eventually("the model speaks", () => events.includes("text_delta") || undefined);
      await followed(async (source) => {
        const models = () => source.state.requests?.map((request) => request.model);
        await eventually("the request is seen", () => models()?.includes("small") || undefined);
        cut.abort();
        await ended;
        await eventually("its end is seen", () => models()?.length === 0 || undefined);
      });
    });
  });

  test("the panel keeps no model awake", async () => {
    await turn(server, { on: model({ id: "dozy" }), context: transcript(user("Hello")) });
    await followed(async (source) => {
      await eventually("the panel has read", () => source.state.models.length > 0 || undefined);
      await eventually("the model sleeps", async () => {
        expect(source.state.requests ?? []).toEqual([]);
        return at(await states(), "dozy") === "sleeping" || undefined;
      });
    });
  });

  test("a model that cannot be loaded is a sentence", async () => {
    const broken = model({ id: "broken", name: "broken" });
    const { message } = await turn(server, { on: broken, context: transcript(user("Hello")) });
    expect(message.stopReason).toBe("error");
    expect(message.errorMessage).toBe("broken could not be loaded: model name=broken failed to load");
  });
});

const problem = (await piProblem(NEWEST_PI)) ?? llamaServerProblem();
realSuite(problem, `pi ${NEWEST_PI} on a real llama-server`, () => {
  let server: LlamaServer;
  let place: Workplace;
  beforeAll(async () => {
    server = await startLlamaServer({ args: [] });
  });
  afterAll(() => server.stop());
  beforeEach(async () => {
    place = await makeWorkplace();
    // As the extension advises for a window of this size, which it otherwise does on standard error.
    const room = { reserveTokens: 8_192, keepRecentTokens: 8_192 };
    const compaction = { modelOverrides: { [`ai-server/${TINY_ID}`]: room } };
    await writeFile(join(place.agentDir, "settings.json"), JSON.stringify({ compaction }));
  });
  afterEach(() => place.remove());

  function pi(...args: string[]) {
    const all = ["-e", EXTENSION, "--model", `ai-server/${TINY_ID}`, ...args];
    const env = { AI_SERVER_URL: server.url };
    return runPi({ version: NEWEST_PI, agentDir: place.agentDir, args: all, env, offline: false });
  }

  test("prints the answer", async () => {
    expect(await pi("-p", "Hello")).toEqual({ code: 0, stdout: `${ANSWER}\n`, stderr: "" });
  });

  test("runs the tool that the model calls, and gives it the output", async () => {
    const { code, stdout } = await pi("--mode", "json", `Please ${SCRIPTS.tool.cue}.`);
    expect(code).toBe(0);
    const events = parseJsonLines(stdout);
    expect(events.find(({ type }) => type === "tool_execution_end")).toMatchObject({
      toolName: "bash",
      isError: false,
      result: { content: [{ type: "text", text: expect.stringContaining("tiny") }] },
    });
    const messages = events.filter(({ type }) => type === "message_end").map(({ message }) => message);
    expect(at(messages.at(-1), "content")).toContainEqual({ type: "text", text: ANSWER });
    expect(at(messages.at(-1), "usage", "cacheRead")).toBeGreaterThan(500);
  });

  test("the status names the server, the model and its context", async () => {
    const { code, stdout } = await pi("-p", "/ai-server-status");
    expect(code).toBe(0);
    expect(stdout).toMatch(/ · llama-server \S+ · cannot load or unload on request\n/);
    expect(stdout).toMatch(/^tiny .* 32k /m);
  });
});
