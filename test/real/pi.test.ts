import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  EXTENSION,
  makeWorkplace,
  NEWEST_PI,
  OLDER_PI,
  type PiVersion,
  piProblem,
  runPi,
  type Workplace,
} from "../support/pi.ts";
import type { Finished } from "../support/processes.ts";
import { realSuite } from "../support/programs.ts";
import { at, type Json, parseJsonLines } from "../support/rpc.ts";
import { type ChatBody, type StandIn, startStandIn } from "../support/stand-in.ts";

let standIn: StandIn;
let place: Workplace;
beforeAll(async () => {
  standIn = await startStandIn();
});
afterAll(() => standIn.stop());

/** Runs pi with the extension; online, so that a fresh agent folder finds the models. */
function runWith(version: PiVersion, args: string[], offline = false): Promise<Finished> {
  const all = ["-e", EXTENSION, ...args];
  return runPi({ version, agentDir: place.agentDir, args: all, env: standIn.env, offline });
}

/** One run in JSON mode, where every line of standard output is an event: those of each prompt. */
async function eventsOf(version: PiVersion, prompts: string[], args: string[] = []): Promise<Json[][]> {
  const all = ["--mode", "json", "--model", "ai-server/thinker", ...args, ...prompts];
  const { code, stdout, stderr } = await runWith(version, all);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  const turns: Json[][] = [[]];
  for (const event of parseJsonLines(stdout)) {
    turns.at(-1)?.push(event);
    if (event.type === "agent_settled") turns.push([]);
  }
  expect(turns.pop()).toEqual([]);
  expect(turns).toHaveLength(prompts.length);
  return turns;
}

for (const version of [NEWEST_PI, OLDER_PI]) {
  realSuite(await piProblem(version), `pi ${version} in JSON mode`, () => {
    let [spoken, read, both]: Json[][] = [];
    let chats: ChatBody[] = [];

    beforeAll(async () => {
      place = await makeWorkplace();
      await writeFile(join(place.folder, "secret.txt"), "swordfish-4711\n");
      [spoken, read, both] = await eventsOf(version, [
        "sim: think First I think.\nsim: say Then I speak.",
        'sim: think I read it.\nsim: tool bash {"command":"tac secret.txt"}',
        'sim: tool bash {"command":"echo one-1"}\nsim: tool bash {"command":"echo two-2"}',
      ]);
      chats = standIn.chats().map(({ body }) => JSON.parse(body) as ChatBody);
    });
    afterAll(() => place.remove());

    test("sends thinking and text as blocks of their own, in order", () => {
      const updates = (spoken ?? [])
        .filter((event) => event.type === "message_update")
        .map((event) => event.assistantMessageEvent);
      const kinds = updates.map((update) => at(update, "type"));
      expect(kinds.filter((kind, index) => kind !== kinds[index - 1])).toEqual([
        "thinking_start",
        "thinking_delta",
        "thinking_end",
        "text_start",
        "text_delta",
        "text_end",
      ]);
      const joined = (type: string) =>
        updates
          .filter((update) => at(update, "type") === type)
          .map((update) => at(update, "delta"))
          .join("");
      expect(joined("thinking_delta")).toBe("First I think.");
      expect(joined("text_delta")).toBe("Then I speak.");
      const message = lastAnswer(spoken);
      expect(at(message, "content")).toMatchObject([
        { type: "thinking", thinking: "First I think." },
        { type: "text", text: "Then I speak." },
      ]);
      expect(at(message, "stopReason")).toBe("stop");
    });

    test("runs a tool call, and sends its output in the next request", () => {
      expect(read?.find((event) => event.type === "tool_execution_end")).toMatchObject({
        toolName: "bash",
        isError: false,
        result: { content: [{ type: "text", text: expect.stringContaining("swordfish-4711") }] },
      });
      // Two requests of the next prompt came later.
      const messages = chats.at(-3)?.messages ?? [];
      const call = messages.find((message) => message.tool_calls !== undefined);
      expect(call).toMatchObject({
        role: "assistant",
        tool_calls: [
          { type: "function", function: { name: "bash", arguments: '{"command":"tac secret.txt"}' } },
        ],
      });
      expect(messages.at(-1)).toMatchObject({
        role: "tool",
        tool_call_id: at(call, "tool_calls", 0, "id"),
        content: expect.stringContaining("swordfish-4711"),
      });
      expect(at(lastAnswer(read), "content", 0, "text")).toBe("Done: swordfish-4711");
    });

    test("runs the two calls of one answer, in order", () => {
      const results = chats.at(-1)?.messages.slice(-2) ?? [];
      expect(results.map(({ role, content }) => [role, String(content).trim()])).toEqual([
        ["tool", "one-1"],
        ["tool", "two-2"],
      ]);
      expect(both?.filter((event) => event.type === "tool_execution_end")).toHaveLength(2);
    });

    test("continues a session in another process, whose turn reads the first one from the cache", async () => {
      const first = at(lastAnswer(both), "usage");
      const promptOfFirst = standIn.lastPromptTokens();
      const [turn] = await eventsOf(version, ["sim: say Two."], ["--continue"]);
      const second = at(lastAnswer(turn), "usage");

      const sum = (usage: unknown) => Number(at(usage, "input")) + Number(at(usage, "cacheRead"));
      expect(sum(first)).toBe(promptOfFirst);
      expect(sum(second)).toBe(standIn.lastPromptTokens());
      expect(Number(at(second, "cacheRead"))).toBeGreaterThan(promptOfFirst * 0.9);
      expect(Number(at(second, "input"))).toBeLessThan(promptOfFirst * 0.1);
      for (const usage of [first, second]) {
        expect(Number(at(usage, "output"))).toBeGreaterThan(0);
        expect(at(usage, "totalTokens")).toBe(sum(usage) + Number(at(usage, "output")));
        expect(at(usage, "cost", "total")).toBe(0);
      }
    });
  });
}

realSuite(await piProblem(NEWEST_PI), `pi ${NEWEST_PI}`, () => {
  beforeEach(async () => {
    place = await makeWorkplace();
  });
  afterEach(() => place.remove());

  const pi = (...args: string[]): Promise<Finished> => runWith(NEWEST_PI, args);

  describe("models", () => {
    test("pi lists the server's chat models with what is known of them, later without the server too", async () => {
      const { code, stdout, stderr } = await pi("--list-models");
      expect(stderr).toBe("");
      expect(code).toBe(0);
      const rows = stdout.split("\n").filter((line) => line.startsWith("ai-server "));
      expect(rows.map((row) => row.split(/ +/)[1])).toEqual(standIn.modelIds);
      // provider, model, context, longest answer, thinking, images
      expect(rows.find((row) => row.includes(" thinker "))).toMatch(/ 65\.5K +32\.8K +yes +no/);
      expect(rows.find((row) => row.includes(" seer "))).toMatch(/ yes *$/);
      expect(stdout).not.toContain("bge-embedding");
      await standIn.whileDown(async () => {
        expect((await pi("--list-models")).stdout).toBe(stdout);
        expect((await runWith(NEWEST_PI, ["--list-models"], true)).stdout).toBe(stdout);
      });
    });

    test("a server that was never seen gives no model, and no invented one", async () => {
      await standIn.whileDown(async () => {
        const { code, stdout } = await pi("--list-models");
        expect(code).toBe(0);
        expect(stdout).not.toMatch(/^ai-server/m);
      });
    });
  });

  describe("print mode", () => {
    test("prints the answer and nothing else, and sends no placeholder key", async () => {
      const { code, stdout, stderr } = await pi(
        "-p",
        "--model",
        "ai-server/thinker",
        "sim: say The answer is 42.",
      );
      expect(stderr).toBe("");
      expect(stdout).toBe("The answer is 42.\n");
      expect(code).toBe(0);
      expect(standIn.requests.length).toBeGreaterThan(0);
      for (const request of standIn.requests) {
        expect(request.headers).not.toHaveProperty("authorization");
        expect(JSON.stringify(request)).not.toContain("ai-server-mtls");
      }
    });

    test("writes an overflow that cannot be compacted to standard error, and ends with code 1", async () => {
      const { code, stdout, stderr } = await pi("-p", "--model", "ai-server/small", "word ".repeat(20_000));
      expect(stdout).toBe("");
      expect(stderr.trimEnd().split("\n").at(-1)).toMatch(
        /^context_length_exceeded: the conversation \([\d,]+ tokens\) no longer fits into the model's context \(16,384 tokens\)\.$/,
      );
      expect(code).toBe(1);
    });

    test("writes what a model repeated to standard error, and ends with code 1", async () => {
      const prompt = `sim: say ${"I look at it once more. ".repeat(1500)}`;
      const printed = await pi("-p", "--model", "ai-server/thinker", prompt);
      expect(printed).toMatchObject({ code: 1, stdout: "" });
      expect(printed.stderr).toMatch(
        /^The model repeats itself: it wrote "I look at it once more\." at least \d+ times/,
      );
    });

    test("sends an id with slash, colon and umlaut as the server spells it", async () => {
      const { stdout } = await pi("-p", "--model", "ai-server/org/Größe:Q4", "sim: say Es geht.");
      expect(stdout).toBe("Es geht.\n");
      expect(standIn.lastChat().model).toBe("org/Größe:Q4");
    });

    test("sends an image to a model that sees, and not to one that does not", async () => {
      const dot =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
      await writeFile(join(place.folder, "dot.png"), Buffer.from(dot, "base64"));
      const ask = (model: string) => pi("-p", "--model", `ai-server/${model}`, "@dot.png", "What is this?");
      expect((await ask("seer")).stdout).toContain("with a picture");
      expect(JSON.stringify(standIn.lastChat().messages)).toContain("data:image/png;base64,");
      const blind = await ask("thinker");
      expect(blind.code).toBe(0);
      expect(JSON.stringify(standIn.lastChat().messages)).not.toContain("data:image/");
    });
  });

  test("--thinking off switches thinking off at the server", async () => {
    const seen = await eventsOf(NEWEST_PI, ["Hello"], ["--thinking", "off"]);
    expect(standIn.lastChat()).toMatchObject({ chat_template_kwargs: { enable_thinking: false } });
    expect(JSON.stringify(seen)).not.toContain("thinking_start");
  });
});

/** The model's last finished message. */
function lastAnswer(seen: Json[] | undefined): unknown {
  const ends = (seen ?? []).filter((event) => event.type === "message_end").map((event) => event.message);
  return ends.findLast((message) => at(message, "role") === "assistant");
}
