import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { EXTENSION, makeWorkplace, PI_VERSIONS, piProblem, runPi, type Workplace } from "../support/pi.ts";
import { realSuite } from "../support/programs.ts";
import { at, type Json, parseJsonLines } from "../support/rpc.ts";
import { type StandIn, startStandIn } from "../support/stand-in.ts";

let standIn: StandIn;
beforeAll(async () => {
  standIn = await startStandIn();
});
afterAll(() => standIn.stop());

for (const version of PI_VERSIONS) {
  realSuite(await piProblem(version), `pi ${version}`, () => {
    let place: Workplace;

    beforeEach(async () => {
      place = await makeWorkplace();
    });
    afterEach(() => place.remove());

    /** Runs pi with the extension; online, so that a fresh agent folder finds the models. */
    function pi(args: string[], options: { env?: Record<string, string>; offline?: boolean } = {}) {
      const { env = standIn.env, offline = false } = options;
      const all = ["-e", EXTENSION, ...args];
      return runPi({ version, agentDir: place.agentDir, args: all, env, offline });
    }

    /** One run in JSON mode: every line of its standard output is an event. */
    async function events(prompt: string, args: string[] = []): Promise<Json[]> {
      const { code, stdout, stderr } = await pi([
        "--mode",
        "json",
        "--model",
        "ai-server/thinker",
        ...args,
        prompt,
      ]);
      expect(stderr).toBe("");
      expect(code).toBe(0);
      return parseJsonLines(stdout);
    }

    describe("models", () => {
      test("the server's chat models are listed, with what is known of them", async () => {
        const { code, stdout, stderr } = await pi(["--list-models"]);
        expect(stderr).toBe("");
        expect(code).toBe(0);
        const rows = stdout.split("\n").filter((line) => line.startsWith("ai-server "));
        expect(rows.map((row) => row.split(/ +/)[1])).toEqual(standIn.modelIds);
        // provider, model, context, longest answer, thinking, images
        expect(rows.find((row) => row.includes(" thinker "))).toMatch(/ 65\.5K +32\.8K +yes +no/);
        expect(rows.find((row) => row.includes(" seer "))).toMatch(/ yes *$/);
        expect(stdout).not.toContain("bge-embedding");
      });

      test("once seen, they are listed without the server", async () => {
        const first = await pi(["--list-models"]);
        await standIn.whileDown(async () => {
          expect((await pi(["--list-models"])).stdout).toBe(first.stdout);
          expect((await pi(["--list-models"], { offline: true })).stdout).toBe(first.stdout);
        });
      });

      test("a server that was never seen gives no model, and no invented one", async () => {
        await standIn.whileDown(async () => {
          const { code, stdout } = await pi(["--list-models"]);
          expect(code).toBe(0);
          expect(stdout).not.toMatch(/^ai-server/m);
        });
      });
    });

    describe("print mode", () => {
      test("prints the answer and nothing else", async () => {
        const { code, stdout, stderr } = await pi([
          "-p",
          "--model",
          "ai-server/thinker",
          "sim: say The answer is 42.",
        ]);
        expect(stderr).toBe("");
        expect(stdout).toBe("The answer is 42.\n");
        expect(code).toBe(0);
      });

      test("an overflow that cannot be compacted is on standard error, and the code is 1", async () => {
        const { code, stdout, stderr } = await pi([
          "-p",
          "--model",
          "ai-server/small",
          "word ".repeat(20_000),
        ]);
        expect(stdout).toBe("");
        expect(stderr.trimEnd().split("\n").at(-1)).toMatch(
          /^context_length_exceeded: the conversation \([\d,]+ tokens\) no longer fits into the model's context \(16,384 tokens\)\.$/,
        );
        expect(code).toBe(1);
      });

      test("an id with slash, colon and umlaut goes to the server as it is spelled", async () => {
        const { stdout } = await pi(["-p", "--model", "ai-server/org/Größe:Q4", "sim: say Es geht."]);
        expect(stdout).toBe("Es geht.\n");
        expect(standIn.lastChat().model).toBe("org/Größe:Q4");
      });

      test("the placeholder key never goes over the wire", async () => {
        await pi(["-p", "--model", "ai-server/thinker", "Hello"]);
        expect(standIn.requests.length).toBeGreaterThan(0);
        for (const request of standIn.requests) {
          expect(request.headers).not.toHaveProperty("authorization");
          expect(JSON.stringify(request)).not.toContain("ai-server-mtls");
        }
      });
    });

    describe("JSON mode", () => {
      test("thinking and text come as blocks of their own, in order", async () => {
        const seen = await events("sim: think First I think.\nsim: say Then I speak.");
        const updates = seen
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
        const message = assistantMessages(seen).at(-1);
        expect(at(message, "content")).toMatchObject([
          { type: "thinking", thinking: "First I think." },
          { type: "text", text: "Then I speak." },
        ]);
        expect(at(message, "stopReason")).toBe("stop");
      });

      test("thinking is switched off at the server with --thinking off", async () => {
        const seen = await events("Hello", ["--thinking", "off"]);
        expect(standIn.lastChat()).toMatchObject({ chat_template_kwargs: { enable_thinking: false } });
        expect(JSON.stringify(seen)).not.toContain("thinking_start");
      });

      test("a tool call really runs, and its output is in the next request", async () => {
        await writeFile(join(place.folder, "secret.txt"), "swordfish-4711\n");
        const seen = await events(`sim: think I read it.\nsim: tool bash {"command":"tac secret.txt"}`);
        expect(seen.find((event) => event.type === "tool_execution_end")).toMatchObject({
          toolName: "bash",
          isError: false,
          result: { content: [{ type: "text", text: expect.stringContaining("swordfish-4711") }] },
        });
        const { messages } = standIn.lastChat();
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
        expect(at(assistantMessages(seen).at(-1), "content", 0, "text")).toBe("Done: swordfish-4711");
      });

      test("two calls in one answer both run, in order", async () => {
        await mkdir(join(place.folder, "sub"));
        const seen = await events(
          'sim: tool bash {"command":"echo one-1"}\nsim: tool bash {"command":"echo two-2"}',
        );
        const results = standIn.lastChat().messages.filter((message) => message.role === "tool");
        expect(results.map((message) => String(message.content).trim())).toEqual(["one-1", "two-2"]);
        expect(seen.filter((event) => event.type === "tool_execution_end")).toHaveLength(2);
      });

      test("an image goes along to a model that sees, and not to one that does not", async () => {
        const dot =
          "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
        await writeFile(join(place.folder, "dot.png"), Buffer.from(dot, "base64"));
        const ask = (model: string) =>
          pi(["-p", "--model", `ai-server/${model}`, "@dot.png", "What is this?"]);
        expect((await ask("seer")).stdout).toContain("with a picture");
        expect(JSON.stringify(standIn.lastChat().messages)).toContain("data:image/png;base64,");
        const blind = await ask("thinker");
        expect(blind.code).toBe(0);
        expect(JSON.stringify(standIn.lastChat().messages)).not.toContain("data:image/");
      });
    });

    describe("usage", () => {
      test("input is what was not cached, and the second turn reads the first from the cache", async () => {
        const first = at(assistantMessages(await events("sim: say One.")).at(-1), "usage");
        const promptOfFirst = standIn.lastPromptTokens();
        const second = at(assistantMessages(await events("sim: say Two.", ["--continue"])).at(-1), "usage");
        const promptOfSecond = standIn.lastPromptTokens();

        const sum = (usage: unknown) => Number(at(usage, "input")) + Number(at(usage, "cacheRead"));
        expect(sum(first)).toBe(promptOfFirst);
        expect(sum(second)).toBe(promptOfSecond);
        expect(Number(at(second, "cacheRead"))).toBeGreaterThan(promptOfFirst * 0.9);
        expect(Number(at(second, "input"))).toBeLessThan(promptOfFirst * 0.1);
        for (const usage of [first, second]) {
          expect(Number(at(usage, "output"))).toBeGreaterThan(0);
          expect(at(usage, "totalTokens")).toBe(sum(usage) + Number(at(usage, "output")));
          expect(at(usage, "cost", "total")).toBe(0);
        }
      });
    });
  });
}

/** The finished messages of the model, in order. */
function assistantMessages(seen: Json[]): unknown[] {
  return seen
    .filter((event) => event.type === "message_end")
    .map((event) => event.message)
    .filter((message) => at(message, "role") === "assistant");
}
