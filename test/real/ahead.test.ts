import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ActivityPlace } from "../support/activity-place.ts";
import { enter } from "../support/admin-terminal.ts";
import { LlamaPlace } from "../support/llama-pi.ts";
import { llamaServerProblem } from "../support/llama-server.ts";
import { EXTENSION, makeWorkplace, PI_VERSIONS, piProblem, runPi, type Workplace } from "../support/pi.ts";
import { eventually } from "../support/processes.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { RpcPi } from "../support/rpc.ts";
import { type StandIn, startStandIn } from "../support/stand-in.ts";

/** Another extension, with a tool of its own. */
const TOOL = `export default (pi) => pi.registerTool({
  name: "look_up",
  label: "Look up",
  description: "Looks a word up",
  promptSnippet: "Look a word up",
  parameters: { type: "object", properties: { word: { type: "string" } }, required: ["word"] },
  execute: async () => ({ content: [{ type: "text", text: "found" }], details: {} }),
});
`;

/** One that changes what is sent. */
const HOOK = `export default (pi) => pi.on("before_provider_request", ({ payload }) => ({
  ...payload,
  messages: [{ ...payload.messages[0], content: "Changed. " + payload.messages[0].content }, ...payload.messages.slice(1)],
}));
`;

interface Body {
  max_tokens: number;
  messages: { role: string; content: string }[];
  [field: string]: unknown;
}

/** What a request begins with: all but the prompt of the user, and how long the answer may be. */
function beginningOf({ max_tokens: _, id_slot: __, messages, ...body }: Body): string {
  return JSON.stringify({ ...body, messages: messages.slice(0, -1) });
}

for (const version of PI_VERSIONS) {
  realSuite((await piProblem(version)) ?? missingProgram("tmux"), `pi ${version} in the terminal`, () => {
    test("shows what the server does before the first prompt, and answers a prompt that comes meanwhile", async () => {
      const place = await ActivityPlace.open(version, { AI_SERVER_WARM: "read" });
      try {
        const terminal = await place.terminal("slow", [], /^slow loading$/m);
        await terminal.waitFor(/^slow reading ahead$/m);
        await enter(terminal, "sim: say Here it is.");
        await terminal.waitFor(/^ *Here it is\./m);
        const screen = await terminal.waitFor(/^slow ready · 64k$/m);
        expect(screen).not.toMatch(/reading ahead|is not loaded/);
        const chats = place.sim.requests.filter(({ path }) => path.endsWith("/chat/completions"));
        expect(chats.map(({ disconnectedAt }) => disconnectedAt !== undefined)).toEqual([true, false]);
      } finally {
        await place.close();
      }
    });
  });

  realSuite(await piProblem(version), `pi ${version} with AI_SERVER_WARM=read`, () => {
    let standIn: StandIn;
    let place: Workplace;
    let pi: RpcPi | undefined;
    beforeEach(async () => {
      [standIn, place] = await Promise.all([startStandIn(), makeWorkplace()]);
      await writeFile(join(place.folder, "AGENTS.md"), "Write short sentences.\n");
      await writeFile(join(place.folder, "tool.mjs"), TOOL);
      await writeFile(join(place.folder, "hook.mjs"), HOOK);
      const compaction = { reserveTokens: 1000, keepRecentTokens: 1 };
      await writeFile(join(place.agentDir, "settings.json"), JSON.stringify({ compaction }));
    });
    afterEach(async () => {
      await pi?.close();
      await Promise.all([standIn.stop(), place.remove()]);
    });

    const bodies = (): Body[] => standIn.chats().map(({ body }) => JSON.parse(body) as Body);
    const reads = (): Body[] => bodies().filter(({ max_tokens }) => max_tokens === 0);
    const begin = async (...args: string[]): Promise<RpcPi> => {
      pi = await RpcPi.start({
        version,
        agentDir: place.agentDir,
        env: { ...standIn.env, AI_SERVER_WARM: "read" },
        args: [
          "-e",
          EXTENSION,
          "-e",
          join(place.folder, "tool.mjs"),
          "--model",
          "ai-server/thinker",
          ...args,
        ],
        offline: false,
      });
      return pi;
    };
    const untilRead = (count: number): Promise<unknown> =>
      eventually(`${count} beginnings are read`, () => reads().length === count || undefined);

    /** Runs a turn, and expects what was read before it to be what it begins with. */
    const expectShared = async (session: RpcPi, text: string): Promise<void> => {
      const read = bodies().at(-1) as Body;
      await session.turn(text);
      const sent = bodies().at(-1) as Body;
      expect([read.messages.at(-1), sent.messages.at(-1)?.content]).toEqual([
        { role: "user", content: "x" },
        text,
      ]);
      expect(beginningOf(read)).toBe(beginningOf(sent));
    };

    test("reads what the first turn begins with: prompt, project, tools of other extensions, level", async () => {
      const session = await begin("--thinking", "high");
      await untilRead(1);
      const [read] = reads();
      const head = read?.messages[0]?.content ?? "";
      expect([/Write short sentences\./.test(head), /look_up/.test(head)]).toEqual([true, true]);
      expect(JSON.stringify(read?.tools)).toMatch(/"name":"bash".*"name":"look_up"/);
      expect(read?.chat_template_kwargs).toEqual({ enable_thinking: true });
      await expectShared(session, "sim: say Hello.");
    });

    test("reads the conversation of a session that goes on, and after a compaction its summary", async () => {
      const session = await begin();
      await untilRead(1);
      await session.turn("sim: think About it.\nsim: say One.");
      await session.turn("sim: tool bash echo two");
      const compacted = await session.send({ type: "compact" }, 60_000);
      expect(compacted.success, String(compacted.error)).toBe(true);
      await untilRead(2);
      expect(reads().at(-1)?.messages[1]?.content).toMatch(/was compacted into the following summary/);
      await expectShared(session, "sim: say Three.");
      await session.close();

      const next = await begin("--continue");
      await untilRead(3);
      expect(reads().at(-1)?.messages.length).toBeGreaterThan(3);
      await expectShared(next, "sim: say Four.");
    });

    test("loads and reads for a model that is chosen later", async () => {
      const session = await begin();
      await untilRead(1);
      await session.send({ type: "set_model", provider: "ai-server", modelId: "small" });
      await untilRead(2);
      expect([reads().at(-1)?.model, await standIn.running()]).toEqual(["small", ["small"]]);
      await expectShared(session, "sim: say Hello.");
    });

    test("sends what it reads through the hook of another extension, once a turn has shown it", async () => {
      const session = await begin("-e", join(place.folder, "hook.mjs"));
      await untilRead(1);
      await session.turn("sim: say One.");
      await session.turn("sim: say Two.");
      expect(bodies().at(-1)?.messages[0]?.content).toMatch(/^Changed\. /);
      expect((await session.send({ type: "compact" }, 60_000)).success).toBe(true);
      await untilRead(2);
      expect(reads().at(-1)?.messages[0]?.content).toMatch(/^Changed\. /);
      await expectShared(session, "sim: say Three.");
    });

    test("asks for nothing in print mode, where the prompt is there", async () => {
      const args = ["-e", EXTENSION, "--model", "ai-server/thinker", "-p", "sim: say Printed."];
      const env = { ...standIn.env, AI_SERVER_WARM: "read" };
      const { stdout } = await runPi({ version, agentDir: place.agentDir, env, args, offline: false });
      expect(stdout).toContain("Printed.");
      expect([bodies().length, reads().length]).toEqual([1, 0]);
      expect(standIn.requests.filter(({ path }) => path.startsWith("/upstream/"))).toEqual([]);
    });
  });

  realSuite(
    (await piProblem(version)) ?? llamaServerProblem(),
    `pi ${version} on a real llama-server`,
    () => {
      test.each([[["-np", "1"]], [[]]])(
        "with %j, finds in its first turn all that was read, but for the user's own words",
        async (args) => {
          const place = await LlamaPlace.start(args, { AI_SERVER_WARM: "read" });
          try {
            const session = await place.session(version);
            await eventually("the beginning is read", async () =>
              (await place.tokensHeld())?.find((tokens) => tokens > 0),
            );
            const [answer] = await session.turn("What is this?");
            expect(answer?.prompt).toBeGreaterThan(2000);
            expect((answer?.prompt ?? 0) - (answer?.cached ?? 0)).toBeLessThan(20);
          } finally {
            await place.stop();
          }
        },
      );
    },
  );
}
