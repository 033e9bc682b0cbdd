import { afterEach, describe, expect, test } from "vitest";
import { readConfig } from "../../config.ts";
import { ModelServer } from "../../server/model-server.ts";
import { readingBody } from "../../stream/body.ts";
import { type LlamaServer, llamaServerProblem, startLlamaServer, TINY_ID } from "../support/llama-server.ts";
import { realSuite } from "../support/programs.ts";
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

/** What every turn of a project begins with: about 3,000 tokens, of which others have the first ones too. */
function beginning(common: number, own: [string, string]) {
  const text = `You are.${words(common)}|${words(3000 - common, own)}`;
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
  async readAhead(commandLine?: string): Promise<boolean> {
    const context = transcript(...this.#messages, user("x"));
    const body = await readingBody(PARTS, this.client, TINY, context, {});
    const served = { id: TINY_ID, commandLine };
    return this.client.readAhead.read(
      served,
      body ?? {},
      () => false,
      NEVER,
      () => {},
    );
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

  test("takes nobody's place where the server keeps no prompt but those in its slots", async () => {
    server = await startLlamaServer({ args: ["-np", "1", "--cache-ram", "0"] });
    const theirs = session(beginning(0, THEIRS));
    const { prompt } = await theirs.turn(words(9000, [" set", " of"]));
    const ours = session(beginning(0, OURS));
    expect(await ours.readAhead("llama-server -m tiny.gguf -np 1 --cache-ram 0")).toBe(false);
    expect((await theirs.turn("And then?")).cached / prompt).toBeGreaterThanOrEqual(0.95);
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
