import { afterEach, describe, expect, test } from "vitest";
import { readConfig } from "../../config.ts";
import { record } from "../../lib/json.ts";
import { loadAhead } from "../../provider/ahead.ts";
import { AiServer } from "../../provider/ai-server.ts";
import { restOf } from "../../server/at-rest.ts";
import { loadModel } from "../../server/load.ts";
import { ModelServer } from "../../server/model-server.ts";
import { readingBody } from "../../stream/body.ts";
import {
  type LlamaServer,
  llamaServerProblem,
  startLlamaServer,
  startRouter,
  TINY_ID,
  TINY_MODEL,
} from "../support/llama-server.ts";
import { eventually } from "../support/processes.ts";
import { realSuite } from "../support/programs.ts";
import { integer, RUNS, seeded } from "../support/random.ts";
import { assistant, model, PLAIN, system, tool, transcript, user } from "../support/samples.ts";
import { TRAINED_CONTEXT } from "../support/tiny-model.ts";
import { beginTurn } from "../support/turns.ts";

const TINY = model({ id: TINY_ID, contextWindow: TRAINED_CONTEXT });
const PARTS = { traits: () => PLAIN, runsAs: () => TINY_ID };
const NEVER = new AbortController().signal;
const clock = { now: Date.now, sleep: (ms: number) => new Promise<void>((done) => setTimeout(done, ms)) };

/** About as many tokens as words. */
function words(count: number, [first, second] = [" read", " the"]): string {
  return Array.from({ length: count }, (_, at) => (at % 2 === 0 ? first : second)).join("");
}

/** What every turn of a project begins with; other projects share its first tokens. */
function beginning(common: number, own: [string, string], size = 3000) {
  const text = `You are.${words(common)}|${words(size - common, own)}`;
  return system(text, { toolsAdded: [tool("bash", { command: { type: "string" } })] });
}

const OURS: [string, string] = [" file", " path"];
const THEIRS: [string, string] = [" edit", " code"];

/** A client of this server, as each pi process has one of its own. */
class Session {
  readonly client: ModelServer;
  readonly #messages: Parameters<typeof transcript>;

  constructor(server: LlamaServer, ...head: Parameters<typeof transcript>) {
    this.client = new ModelServer(
      readConfig({ AI_SERVER_URL: server.url, AI_SERVER_LOOP_GUARD: "off" }, {}, "/nowhere"),
    );
    this.#messages = head;
  }

  /** @returns tokens of the prompt, and how many of them were not read again */
  async turn(text: string): Promise<{ prompt: number; cached: number }> {
    this.#messages.push(user(text));
    const context = transcript(...this.#messages);
    const { message } = await beginTurn(this.client, { clock, on: TINY, context, parts: PARTS }).ended;
    expect(message.errorMessage).toBeUndefined();
    this.#messages.push(assistant("ok"));
    const { input, cacheRead } = message.usage;
    return { prompt: input + cacheRead, cached: cacheRead };
  }

  /**
   * @param commandLine of the model, where the server shows it
   * @returns whether what the next turn begins with was read
   */
  async readAhead({ commandLine, signal = NEVER }: { commandLine?: string; signal?: AbortSignal } = {}) {
    const context = transcript(...this.#messages, user("x"));
    const body = (await readingBody(PARTS, this.client, TINY, context, {})) ?? {};
    const served = { id: TINY_ID, ...(commandLine === undefined ? {} : { commandLine }) };
    return this.client.readAhead.read(
      served,
      body,
      () => false,
      signal,
      () => {},
    );
  }

  /** How many tokens of a prompt that is being read have been read. */
  async tokensRead(): Promise<number> {
    const slots = (await this.client.http.json("/slots", { timeoutMs: 10_000 })) as Record<string, unknown>[];
    const busy = slots.filter(({ is_processing }) => is_processing === true);
    return Math.max(0, ...busy.map(({ n_prompt_tokens_processed: read }) => Number(read)));
  }

  /** Whether every slot of the server is idle. */
  async isIdle(): Promise<boolean> {
    const backend = await this.client.backend();
    const slots = await backend.slots(TINY_ID, { timeoutMs: 10_000 });
    return slots?.every(({ isBusy }) => !isBusy) === true;
  }
}

realSuite(llamaServerProblem(), "reading ahead on a real llama-server", () => {
  let server: LlamaServer;
  const sessions: Session[] = [];
  const session = (...head: Parameters<typeof transcript>): Session => {
    const made = new Session(server, ...head);
    sessions.push(made);
    return made;
  };
  afterEach(async () => {
    await Promise.all(sessions.splice(0).map(({ client }) => client.close()));
    await server.stop();
  });

  test("overwrites no slot where the server keeps only the prompts in its slots", async () => {
    server = await startLlamaServer({ args: ["-np", "1", "--cache-ram", "0"] });
    const theirs = session(beginning(0, THEIRS));
    const { prompt } = await theirs.turn(words(9000, [" set", " of"]));
    const ours = session(beginning(0, OURS));
    expect(await ours.readAhead({ commandLine: "llama-server -np 1 --cache-ram 0" })).toBe(false);
    expect((await theirs.turn("And then?")).cached / prompt).toBeGreaterThanOrEqual(0.95);
  });

  test("a model that sleeps is woken", async () => {
    server = await startLlamaServer({ args: ["-np", "1", "--sleep-idle-seconds", "1"] });
    const url = { AI_SERVER_URL: server.url };
    const aiServer = new AiServer({ env: url, agentDir: "/nowhere", now: Date.now, onChanged: () => {} });
    try {
      const { http } = await aiServer.server();
      const isAsleep = async () =>
        record(await http.json("/props", { timeoutMs: 5_000 }))?.is_sleeping === true || undefined;
      await eventually("it sleeps", isAsleep);
      const work = { signal: NEVER, onBegin: () => {} };
      expect(await loadAhead(aiServer, TINY, work)).toBe("loaded");
      expect(await isAsleep()).toBeUndefined();
      expect(await loadAhead(aiServer, TINY, work)).toBe("ready");
    } finally {
      await aiServer.close();
    }
  });

  describe.each([
    ["the only slot", ["-np", "1"]],
    ["two slots", ["-np", "2"]],
    ["four slots of their own memory", ["-np", "4"]],
    ["four slots that share their memory, its default", []],
  ])("with %s", (_, args) => {
    test("leaves only the user's own words to read in the first turn", async () => {
      server = await startLlamaServer({ args });
      const ours = session(beginning(0, OURS));
      expect(await ours.readAhead()).toBe(true);
      const { prompt, cached } = await ours.turn("What is this?");
      expect(prompt).toBeGreaterThan(3000);
      expect(prompt - cached).toBeLessThan(20);
    });

    test("a second time, as after another thinking level, takes the same place", async () => {
      server = await startLlamaServer({ args });
      const ours = session(beginning(0, OURS));
      expect([await ours.readAhead(), await ours.readAhead()]).toEqual([true, true]);
      const { prompt, cached } = await ours.turn("What is this?");
      expect(prompt - cached).toBeLessThan(20);
    });

    test("ended by a turn, leaves that turn the batches that it has read", async () => {
      server = await startLlamaServer({ args: [...args, "--batch-size", "64", "--ubatch-size", "64"] });
      const ours = session(beginning(0, OURS, 20_000));
      const turnComes = new AbortController();
      const reading = ours.readAhead({ signal: turnComes.signal });
      await eventually(
        "some batches are read",
        async () => (await ours.tokensRead()) >= 256 || undefined,
        15_000,
        1,
      );
      turnComes.abort(new Error("a turn comes"));
      const [{ prompt, cached }] = await Promise.all([
        ours.turn("What is this?"),
        expect(reading).rejects.toThrow("a turn comes"),
      ]);
      expect(cached).toBeGreaterThanOrEqual(256);
      expect(cached).toBeLessThan(prompt - 20);
    });

    test("ended by a turn at any moment, lets that turn be answered, and keeps no slot busy", async () => {
      server = await startLlamaServer({ args: [...args, "--batch-size", "256"] });
      const values = seeded(11);
      for (let round = 0; round < 2 * RUNS; round += 1) {
        const head = beginning(0, [` ${round}`, " path"]);
        const ours = session(head);
        const turnComes = new AbortController();
        const reading = ours.readAhead({ signal: turnComes.signal });
        await new Promise((resolve) => setTimeout(resolve, integer(values, 0, 120)));
        turnComes.abort(new Error("a turn comes"));
        const turn = ours.turn("What is this?");
        const isWhole = await reading.catch((error: Error) => expect(error.message).toBe("a turn comes"));
        const { prompt, cached } = await turn;
        expect(prompt).toBeGreaterThan(3000);
        if (isWhole === true) expect(prompt - cached).toBeLessThan(20);
        expect(await ours.isIdle()).toBe(true);
        await ours.client.close();
      }
    });

    // How much of the beginning another session has too, and how long its conversation is.
    test.each([
      ["all of it, short", 3000, 300],
      ["all of it, long", 3000, 9000],
      ["most of it, short", 2400, 300],
      ["most of it, long", 2400, 9000],
      ["little of it, short", 400, 300],
      ["little of it, long", 400, 9000],
      ["nothing of it, long", 0, 9000],
    ])("leaves the conversation of another session its prefix: %s", async (_, common, length) => {
      server = await startLlamaServer({ args });
      const theirs = session(beginning(common, common === 3000 ? OURS : THEIRS));
      const { prompt } = await theirs.turn(words(length, [" set", " of"]));
      const ours = session(beginning(common, OURS));
      const isRead = await ours.readAhead();
      // In the only slot a short conversation would lose more than it keeps.
      expect(isRead).toBe(length === 9000 || args[1] !== "1");
      const theirNext = await theirs.turn("And then?");
      expect(theirNext.cached / prompt).toBeGreaterThanOrEqual(0.95);
    });

    test.each([
      ["all of it", 3000],
      ["most of it", 2400],
      ["nothing of it", 0],
    ])("is of use beside a conversation that begins with %s", async (_, common) => {
      server = await startLlamaServer({ args });
      const theirs = session(beginning(common, common === 3000 ? OURS : THEIRS));
      await theirs.turn(words(9000, [" set", " of"]));
      const ours = session(beginning(common, OURS));
      expect(await ours.readAhead()).toBe(true);
      const { prompt, cached } = await ours.turn("What is this?");
      expect(prompt - cached).toBeLessThan(20);
    });
  });
});

realSuite(llamaServerProblem(), "reading ahead on a real router", () => {
  test("is no use of the model: until its first turn, another model may take its place", async () => {
    const preset = `version = 1\n[a]\nmodel = ${TINY_MODEL}\nnp = 1\n[b]\nmodel = ${TINY_MODEL}\n`;
    const router = await startRouter({ preset, args: [] });
    const client = new ModelServer(readConfig({ AI_SERVER_URL: router.url }, {}, "/nowhere"));
    const on = model({ id: "a", contextWindow: TRAINED_CONTEXT });
    const parts = { traits: () => PLAIN, runsAs: () => "a" };
    try {
      expect(await restOf(client, "a", NEVER)).toMatchObject({ own: undefined });
      await loadModel(client, "a", { signal: NEVER, report: () => {} });
      expect(await restOf(client, "a", NEVER)).toMatchObject({ own: { id: "a", state: "ready" } });
      expect(await restOf(client, "b", NEVER)).toMatchObject({ own: undefined });

      const ahead = transcript(beginning(0, OURS), user("x"));
      const body = (await readingBody(parts, client, on, ahead, {})) ?? {};
      const backend = await client.backend();
      const tokens = await backend.promptTokens?.("a", JSON.stringify(body), { timeoutMs: 10_000 });
      expect(tokens).toBeGreaterThan(3000);
      expect(
        await client.readAhead.read(
          { id: "a" },
          body,
          () => false,
          NEVER,
          () => {},
        ),
      ).toBe(true);
      expect((await backend.slots("a", { timeoutMs: 10_000 }))?.[0]?.tokens).toBe(tokens);
      expect(await restOf(client, "b", NEVER)).toMatchObject({ own: undefined });

      const context = transcript(beginning(0, OURS), user("What is this?"));
      const { message } = await beginTurn(client, { clock, on, context, parts }).ended;
      expect(message.usage.input).toBeLessThan(20);
      expect(await restOf(client, "b", NEVER)).toBeUndefined();
    } finally {
      await client.close();
      await router.stop();
    }
  });

  test("its model that is not loaded is not loaded to count tokens", async () => {
    const preset = `version = 1\n[a]\nmodel = ${TINY_MODEL}\n`;
    const router = await startRouter({ preset, args: [] });
    const client = new ModelServer(readConfig({ AI_SERVER_URL: router.url }, {}, "/nowhere"));
    try {
      const backend = await client.backend();
      const request = JSON.stringify({ model: "a", messages: [{ role: "user", content: "Hi" }] });
      expect(await backend.promptTokens?.("a", request, { timeoutMs: 10_000 })).toBeUndefined();
      expect(await client.runningNow()).toEqual([]);
    } finally {
      await client.close();
      await router.stop();
    }
  });
});
