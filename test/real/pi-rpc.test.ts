import { cp, writeFile } from "node:fs/promises";
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
import { eventually } from "../support/processes.ts";
import { realSuite } from "../support/programs.ts";
import { at, type Json, RpcPi, type RpcResponse } from "../support/rpc.ts";
import { type StandIn, startStandIn } from "../support/stand-in.ts";

let standIn: StandIn;
beforeAll(async () => {
  standIn = await startStandIn();
});
afterAll(() => standIn.stop());

/** A workplace whose agent folder knows the server's models; each test has a copy. */
let known: Workplace;
let version: PiVersion;
let place: Workplace;
let rpc: RpcPi | undefined;

async function prepare(ofSuite: PiVersion): Promise<void> {
  version = ofSuite;
  known = await makeWorkplace();
  await learn(known);
}

/** Has pi store the models that the server has now. */
async function learn({ agentDir }: Workplace): Promise<void> {
  const args = ["-e", EXTENSION, "--list-models"];
  const listed = await runPi({ version, agentDir, env: standIn.env, args, offline: false });
  for (const id of standIn.modelIds) expect(listed.stdout).toContain(id);
}

async function begin(): Promise<void> {
  place = await makeWorkplace();
}

async function end(): Promise<void> {
  await rpc?.close();
  rpc = undefined;
  await place.remove();
}

/** A session on `model`, in an agent folder that knows the server's models of before, unless the test had it learn others. */
async function session(model: string, settings: Json = {}, offline = true): Promise<RpcPi> {
  await cp(known.agentDir, place.agentDir, { recursive: true, force: false });
  await writeFile(join(place.agentDir, "settings.json"), JSON.stringify(settings));
  return start(["--model", `ai-server/${model}`], offline);
}

async function start(args: string[], offline: boolean, env = standIn.env): Promise<RpcPi> {
  const all = ["-e", EXTENSION, ...args];
  rpc = await RpcPi.start({ version, agentDir: place.agentDir, env, args: all, offline });
  return rpc;
}

for (const version of [NEWEST_PI, OLDER_PI]) {
  realSuite(await piProblem(version), `pi ${version} in RPC mode`, () => {
    beforeAll(() => prepare(version));
    afterAll(() => known.remove());
    beforeEach(begin);
    afterEach(end);

    test("the session's totals count every token once", async () => {
      const pi = await session("thinker");
      const usages: unknown[] = [];
      for (const prompt of ["sim: say One.", "sim: say Two.", "sim: say Three."]) {
        usages.push(at(lastAnswer(await pi.turn(prompt)), "usage"));
      }
      const total = (name: string) => usages.reduce<number>((sum, usage) => sum + Number(at(usage, name)), 0);
      const stats = await pi.send({ type: "get_session_stats" });
      expect(stats.data?.tokens).toEqual({
        input: total("input"),
        output: total("output"),
        cacheRead: total("cacheRead"),
        cacheWrite: 0,
        total: total("input") + total("output") + total("cacheRead"),
      });
      expect(total("cacheRead")).toBeGreaterThan(standIn.lastPromptTokens());
      const lastTokens = Number(at(usages.at(-1), "totalTokens"));
      expect(stats.data?.contextUsage).toMatchObject({ tokens: lastTokens, contextWindow: 65_536 });
    });

    test("abort in mid-stream closes the connection and keeps what came", async () => {
      const pi = await session("slow");
      const mark = pi.mark();
      await pi.send({ type: "prompt", message: "sim: tokens 2000" });
      await pi.waitFor((event) => textDeltas([event]).length > 0, 30_000, mark);
      await pi.waitFor(() => textDeltas(pi.since(mark)).length >= 10, 30_000, mark);
      expect((await pi.send({ type: "abort" })).success).toBe(true);
      await pi.waitFor((event) => event.type === "agent_settled", 10_000, mark);

      const message = lastAnswer(pi.since(mark));
      expect(at(message, "stopReason")).toBe("aborted");
      const received = textDeltas(pi.since(mark)).join("");
      expect(received).toMatch(/^ok( ok)+/);
      expect(at(message, "content")).toMatchObject([{ type: "text", text: received }]);
      const request = await eventually("the stand-in sees that the client has gone", () => {
        const last = standIn.chats().at(-1);
        return last?.disconnectedAt === undefined ? undefined : last;
      });
      expect(request.tokens).toBeLessThan(2000);
      expect(pi.since(mark).filter((event) => event.type === "auto_retry_start")).toEqual([]);
      // and the session goes on
      expect(textOf(lastAnswer(await pi.turn("sim: say Still here.")))).toBe("Still here.");
    });

    test("a model that repeats itself ends the turn, which is neither repeated nor compacted", async () => {
      const compaction = { enabled: true, reserveTokens: 2000, keepRecentTokens: 1000 };
      const pi = await session("thinker", { compaction });
      for (const prompt of ["sim: tokens 1500", "sim: tokens 1500"]) await pi.turn(prompt);
      const chats = standIn.chats().length;
      const events = await pi.turn(`sim: say ${"I look at it once more. ".repeat(1500)}`);
      const last = lastAnswer(events);
      expect(at(last, "stopReason")).toBe("error");
      expect(at(last, "errorMessage")).toMatch(
        /^The model repeats itself: it wrote "I look at it once more\." at least /,
      );
      expect(textOf(last)).toMatch(/^(I look at it once more\. )+/);
      expect(events.filter(({ type }) => /compact|retry/.test(String(type)))).toEqual([]);
      expect(standIn.chats().length).toBe(chats + 1);
      await eventually("the server stops", () => standIn.chats().at(-1)?.disconnectedAt);
      // The loop is not sent back, where the model would take it up again.
      expect(textOf(lastAnswer(await pi.turn("sim: say Still here.")))).toBe("Still here.");
      expect(standIn.lastChat().messages.filter(({ role }) => role === "assistant")).toHaveLength(2);
    });

    test("/ai-server-status notifies with a row for every model, and the model never sees it", async () => {
      const pi = await session("thinker");
      await pi.turn("sim: say Loaded.");
      const before = await pi.send({ type: "get_messages" });
      const [notice = ""] = notices(await pi.command("/ai-server-status"));
      for (const id of standIn.modelIds) expect(notice).toContain(id);
      expect(notice).toMatch(/thinker .*ready/);
      expect(notice).toMatch(/slow .*unloaded/);
      expect((await pi.send({ type: "get_messages" })).data).toEqual(before.data);
      await pi.turn("sim: say On.");
      expect(JSON.stringify(standIn.lastChat().messages)).not.toContain("unloaded");
    });
  });
}

realSuite(await piProblem(NEWEST_PI), `a session in RPC mode of pi ${NEWEST_PI}`, () => {
  beforeAll(() => prepare(NEWEST_PI));
  afterAll(() => known.remove());
  beforeEach(begin);
  afterEach(end);

  test("a prompt that does not fit is compacted and answered", async () => {
    const pi = await session("small", {
      compaction: {
        modelOverrides: { "ai-server/small": { reserveTokens: 1000, keepRecentTokens: 5000 } },
      },
    });
    // Together more than the window of 16384 tokens, each alone well within. pi, which counts four characters a
    // token, takes these texts for half as long as they are, so that only the server knows.
    await pi.turn(`sim: say Noted.\n${"a ".repeat(5000)}`);
    await pi.turn(`sim: say Noted too.\n${"b ".repeat(3000)}`);
    const turn = await pi.turn(`sim: say It fits now.\n${"c ".repeat(9000)}`, 90_000);

    expect(turn.find((event) => event.type === "compaction_start")).toMatchObject({ reason: "overflow" });
    const end = turn.find((event) => event.type === "compaction_end");
    expect(end).toMatchObject({ reason: "overflow", aborted: false, willRetry: true });
    expect(at(end, "result", "tokensBefore")).toBeGreaterThan(8_000);
    expect(textOf(lastAnswer(turn))).toBe("It fits now.");
    const sent = JSON.stringify(standIn.lastChat().messages);
    expect(sent).not.toContain("a a a a");
    expect(sent).toContain("b b b b");
    expect(sent).toContain("c c c c");
    expect(textOf(lastAnswer(await pi.turn("sim: say And on.")))).toBe("And on.");
  });

  describe("the window of a model that is loaded by a turn", () => {
    const withDeclared = (body: () => Promise<void>): Promise<void> =>
      standIn.withConfig(
        (yaml) => yaml.replace("context_length: 16384", "context_length: 131072"),
        async () => {
          await learn(place);
          await body();
        },
      );
    const windowOf = async (pi: RpcPi): Promise<unknown> =>
      at(await pi.send({ type: "get_state" }), "data", "model", "contextWindow");

    test("counts for the session after that turn, where compaction begins, and pi reports it once", async () => {
      await withDeclared(async () => {
        const pi = await session(
          "small",
          { compaction: { reserveTokens: 1000, keepRecentTokens: 2000 } },
          false,
        );
        expect(await windowOf(pi)).toBe(131_072);
        await pi.turn("sim: say Loaded.");
        await pi.waitFor(isNotice);
        expect(await windowOf(pi)).toBe(16_384);
        const left = 16_384 - standIn.lastPromptTokens();
        const turn = await pi.turn(`sim: say Nearly full.\n${"a ".repeat(left - 500)}`, 90_000);
        expect(turn.find((event) => event.type === "compaction_start")).toMatchObject({
          reason: "threshold",
        });
        await pi.command("/ai-server-refresh");
        const changes = notices(pi.events).filter((text) => text.includes("→"));
        expect(changes).toEqual(["small: context 128k → 16k"]);
      });
    });

    test("counts for the session at once where the first prompt does not fit", async () => {
      await withDeclared(async () => {
        const pi = await session("small", { retry: { enabled: false } });
        const turn = await pi.turn(`sim: say No.\n${"a ".repeat(20_000)}`);
        expect(at(lastAnswer(turn), "errorMessage")).toMatch(/16,384 tokens/);
        await pi.waitFor((event) => isNotice(event) && event.message === "small: context 128k → 16k");
        expect(await windowOf(pi)).toBe(16_384);
      });
    });
  });

  describe("a server that is away", () => {
    /** How long pi takes without the extension. */
    let bare: number;
    beforeAll(async () => {
      bare = await startTime({ version, agentDir: known.agentDir, env: standIn.env, args: [] });
    });

    test("delays no start beyond three seconds, and pi reports it once", async () => {
      const env = { ...standIn.env, AI_SERVER_CONNECT_TIMEOUT_MS: "3500" };
      await standIn.whileSilent(async (silent) => {
        const begun = performance.now();
        const pi = await start([], false, env);
        await pi.send({ type: "get_state" });
        // 3 s is the promise; the rest is for a machine that is busy with something else.
        expect(performance.now() - begun).toBeLessThan(bare + 3_000 + 2_000);
        await pi.waitFor(isNotice);
        // The background refresh connects once more than the start did, and fails too.
        const atStart = silent.connections();
        await eventually("the background refresh gives up", () =>
          silent.connections() > atStart && silent.open() === 0 ? true : undefined,
        );
        await pi.send({ type: "get_state" });
        expect(notices(pi.events)).toEqual([expect.stringMatching(/did not answer|timed out/)]);
      });
    });

    test("delays no start that knows the models from before", async () => {
      await standIn.whileSilent(async () => {
        const begun = performance.now();
        const state = await (await session("thinker", {}, false)).send({ type: "get_state" });
        // Less than the three seconds that a discovery may take: there is none.
        expect(performance.now() - begun).toBeLessThan(bare + 2_500);
        expect(at(state, "data", "model", "id")).toBe("thinker");
      });
    });

    test("fails a turn, and answers the next one as soon as it is back", async () => {
      let pi: RpcPi | undefined;
      await standIn.whileDown(async () => {
        pi = await session("thinker", { retry: { enabled: false } }, false);
        const failed = lastAnswer(await pi.turn("sim: say Into the void."));
        expect(at(failed, "stopReason")).toBe("error");
        expect(at(failed, "errorMessage")).toMatch(
          /refuses connections \(connection refused\)\. Caddy may be stopped/,
        );
      });
      expect(textOf(lastAnswer((await pi?.turn("sim: say Back again.")) ?? []))).toBe("Back again.");
    });

    test("gives its models with /ai-server-refresh where it was never seen before", async () => {
      let pi: RpcPi | undefined;
      await standIn.whileDown(async () => {
        pi = await start([], false);
        expect(ownModels(await pi.send({ type: "get_available_models" }))).toEqual([]);
      });
      await pi?.command("/ai-server-refresh");
      const found = await pi?.send({ type: "get_available_models" });
      expect(found && ownModels(found)).toEqual(standIn.modelIds);
    });
  });

  test("a model that repeats itself while it thinks is made to answer, and the user gets a notice", async () => {
    const pi = await session("thinker");
    const mark = pi.mark();
    const loop = "I look at it once more. ".repeat(3000);
    const events = await pi.turn(`sim: think ${loop}\nsim: say Done.`);
    expect(textOf(lastAnswer(events))).toBe("Done.");
    await pi.waitFor(({ type }) => type === "extension_ui_request", 10_000, mark);
    expect(notices(pi.since(mark))).toContainEqual(
      expect.stringMatching(
        /^The model repeated itself while it thought: it wrote "I look at it once more\."/,
      ),
    );
  });

  test("a tool call that comes as text runs nothing, and is reported once a session", async () => {
    const pi = await session("thinker");
    const mark = pi.mark();
    for (let turn = 0; turn < 2; turn += 1) {
      const events = await pi.turn('sim: say {"name": "bash", "arguments": {"command": "ls"}}');
      expect(events.filter(({ type }) => type === "tool_execution_start")).toEqual([]);
    }
    await pi.waitFor(({ type }) => type === "extension_ui_request", 10_000, mark);
    expect(notices(pi.since(mark)).filter((notice) => notice.includes("as text"))).toEqual([
      expect.stringMatching(/^The model wrote a tool call as text, so nothing was run: /),
    ]);
  });

  test("/ai-server-refresh says what changed, and the current session has the new window", async () => {
    const pi = await session("thinker");
    await standIn.withConfig(
      (yaml) =>
        yaml.replace("context_length: 65536", "context_length: 49152").replace("org/Größe:Q4", "org/Neu:Q4"),
      async () => {
        const [notice = ""] = notices(await pi.command("/ai-server-refresh"));
        expect(notice).toMatch(/thinker/);
        expect(notice).toMatch(/64k|65/);
        expect(notice).toMatch(/48k|49/);
        expect(notice).toContain("org/Neu:Q4");
        expect(notice).toContain("org/Größe:Q4");
        const state = await pi.send({ type: "get_state" });
        expect(at(state, "data", "model", "contextWindow")).toBe(49_152);
      },
    );
    await pi.command("/ai-server-refresh");
  });
});

async function startTime(options: Parameters<typeof RpcPi.start>[0]): Promise<number> {
  const begun = performance.now();
  const pi = await RpcPi.start(options);
  await pi.send({ type: "get_state" });
  const taken = performance.now() - begun;
  await pi.close();
  return taken;
}

function isNotice(event: Json): boolean {
  return event.type === "extension_ui_request" && event.method === "notify";
}

function notices(seen: Json[]): string[] {
  return seen.filter(isNotice).map((event) => String(event.message));
}

function textDeltas(seen: Json[]): unknown[] {
  return seen
    .filter((event) => at(event, "assistantMessageEvent", "type") === "text_delta")
    .map((event) => at(event, "assistantMessageEvent", "delta"));
}

/** The model's last finished message of a run. */
function lastAnswer(seen: Json[]): unknown {
  const ends = seen.filter((event) => event.type === "message_end").map((event) => event.message);
  return ends.findLast((message) => at(message, "role") === "assistant");
}

function textOf(message: unknown): unknown {
  const content = at(message, "content");
  const blocks: unknown[] = Array.isArray(content) ? content : [];
  return blocks.flatMap((block) => (at(block, "type") === "text" ? [at(block, "text")] : [])).join("");
}

function ownModels(response: RpcResponse): unknown[] {
  const models = response.data?.models;
  const all: unknown[] = Array.isArray(models) ? models : [];
  return all.filter((model) => at(model, "provider") === "ai-server").map((model) => at(model, "id"));
}
