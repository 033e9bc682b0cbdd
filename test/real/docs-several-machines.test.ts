/** The documented ways to several machines, on real programs of this one. */
import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { readConfig } from "../../config.ts";
import { REAL_CLOCK } from "../../lib/clock.ts";
import { readText } from "../../server/http/http.ts";
import { loadModel } from "../../server/load.ts";
import { ModelServer } from "../../server/model-server.ts";
import { startBalanced } from "../support/balanced.ts";
import { docsBlock, withOwn } from "../support/docs.ts";
import { LlamaPlace } from "../support/llama-pi.ts";
import {
  type LlamaServer,
  llamaServerProblem,
  rpcProblem,
  startLlamaServer,
  startRouter,
  startRpcServer,
  TINY_ID,
  TINY_MODEL,
} from "../support/llama-server.ts";
import { freePort } from "../support/network.ts";
import { NEWEST_PI, piProblem } from "../support/pi.ts";
import { eventually } from "../support/processes.ts";
import { isInstalled, missingProgram, realSuite } from "../support/programs.ts";
import { model, transcript, user } from "../support/samples.ts";
import { beginTurn, type RunningTurn } from "../support/turns.ts";
import { startTwoServers, type TwoServers } from "../support/two-servers.ts";

/** The versions of Caddy that the page names as tried. */
const CADDYS = [
  ["caddy", /^v?2\.6\./],
  ["caddy-current", /^v?2\.(1\d|[89])\./],
] as const;

const NEVER = new AbortController().signal;
const clock = { now: Date.now, sleep: REAL_CLOCK.sleep };

function problemOf(program: string, version: RegExp): string | undefined {
  const found = isInstalled(program) ? execFileSync(program, ["version"], { encoding: "utf8" }) : "none";
  return version.test(found) ? llamaServerProblem() : `${program} is ${found.trim()}; .ci/run fetches it`;
}

/** A client of a session, until the test has ended. */
function clientOf(env: Record<string, string>, session: string): ModelServer {
  const config = readConfig({ ...env, AI_SERVER_LOOP_GUARD: "off" }, {}, "/nowhere");
  const server = new ModelServer(config, Date.now, undefined, undefined, () => session);
  onTestFinished(() => server.close());
  return server;
}

function begin(server: ModelServer, text: string): RunningTurn {
  const options = { sessionId: server.several.session ?? "" };
  return beginTurn(server, { clock, on: model({ id: TINY_ID }), context: transcript(user(text)), options });
}

for (const [program, version] of CADDYS)
  realSuite(problemOf(program, version), `the documented load balancing, with ${program}`, () => {
    describe("before two llama-servers", () => {
      let two: TwoServers;
      beforeAll(async () => {
        two = await startTwoServers({ args: ["-np", "2"], program });
      });
      afterAll(() => two.stop());

      const answeredBy = async (headers: Record<string, string>): Promise<string> => {
        const { http } = clientOf(two.caddy.env, "asks");
        const { headers: given, body } = await http.request({ method: "GET", path: "/props", headers });
        await readText(body, 100_000);
        return given["x-upstream"] ?? "";
      };

      test("a session stays on one of them, which the status names; sessions spread over both", async () => {
        const [one = "", other = ""] = await two.caddy.evenIds(2);
        const names = new Set<string>();
        for (const session of [one, other, one, other, one, other])
          names.add(`${session} ${await answeredBy({ "x-session-id": session })}`);
        expect(names.size).toBe(2);
        const client = clientOf(two.caddy.env, one);
        await client.discover(new Map());
        await client.version(NEVER);
        expect([...names]).toContain(`${one} ${client.several.upstream}`);
        expect(client.several.isKnown).toBe(false);
      });

      test("a turn streams piece by piece, and ends on the server when its client leaves", async () => {
        const leaves = new AbortController();
        const server = clientOf(two.caddy.env, "streams");
        const turn = beginTurn(server, {
          clock,
          on: model({ id: TINY_ID }),
          context: transcript(user("count endlessly")),
          options: { sessionId: "streams", signal: leaves.signal },
        });
        const deltas = () => turn.events.filter((type) => type === "text_delta").length;
        await eventually("it streams", () => (deltas() > 20 ? true : undefined));
        leaves.abort();
        expect((await turn.ended).message.stopReason).toBe("aborted");
        await eventually("no slot is busy", async () => {
          const slots = (await server.http.json("/slots", { timeoutMs: 5000 })) as {
            is_processing: boolean;
          }[];
          return slots.some((slot) => slot.is_processing) ? undefined : true;
        });
      });
    });

    test("a server that is killed in the middle of an answer ends the turn; the next one goes on at the other", async () => {
      const two = await startTwoServers({ args: ["-np", "2"], program });
      onTestFinished(two.stop);
      const server = clientOf(two.caddy.env, "survives");
      const first = await begin(server, "Hello").ended;
      expect(first.message.stopReason).toBe("stop");
      const of = (name: string | undefined): LlamaServer | undefined =>
        two.servers.find(({ url }) => new URL(url).host === name);
      const before = server.several.upstream;
      const cut = begin(server, "count endlessly");
      await eventually("it answers", () => (cut.events.includes("text_delta") ? true : undefined));
      of(before)?.kill();
      const { message } = await cut.ended;
      expect([message.stopReason, message.errorMessage]).toEqual([
        "error",
        expect.stringMatching(/connection was lost|closed the connection|broke off/),
      ]);
      const next = await begin(server, "Hello again").ended;
      expect(next.message.stopReason).toBe("stop");
      expect(of(server.several.upstream)).toBeDefined();
      expect(server.several.upstream).not.toBe(before);
      expect(server.several.isKnown).toBe(false);
    }, 30_000);

    test("before two routers a load lands where the session's turns go", async () => {
      const preset = `[one]\nmodel = ${TINY_MODEL}\n\n[two]\nmodel = ${TINY_MODEL}\n`;
      const routers = await Promise.all([1, 2].map(() => startRouter({ preset, args: [] })));
      onTestFinished(async () => {
        await Promise.all(routers.map((router) => router.stop()));
      });
      const hosts = routers.map(({ url }) => new URL(url).host) as [string, string];
      const caddy = await startBalanced({ upstreams: hosts, program });
      onTestFinished(caddy.stop);
      const [mine = "", others = ""] = await caddy.evenIds(2);
      const server = clientOf(caddy.env, mine);
      await loadModel(server, "one", { report: () => {}, signal: NEVER });
      for (let n = 0; n < 3; n += 1)
        expect(await server.runningNow(NEVER, true)).toMatchObject([{ id: "one", state: "ready" }]);
      expect(await clientOf(caddy.env, others).runningNow()).toEqual([]);
      const turn = beginTurn(server, {
        clock,
        on: model({ id: "one" }),
        context: transcript(user("Hello")),
        options: { sessionId: mine },
      });
      expect((await turn.ended).message.stopReason).toBe("stop");
      expect(server.several.isKnown).toBe(false);
    }, 30_000);
  });

const problem = llamaServerProblem() ?? missingProgram("caddy") ?? (await piProblem(NEWEST_PI));
realSuite(problem, "two real llama-servers behind Caddy", () => {
  test("in turn: what differs between them is noticed, and said", async () => {
    const preset = `[one]\nmodel = ${TINY_MODEL}\n\n[two]\nmodel = ${TINY_MODEL}\n`;
    const routers = await Promise.all([1, 2].map(() => startRouter({ preset, args: [] })));
    onTestFinished(async () => {
      await Promise.all(routers.map((router) => router.stop()));
    });
    const upstreams = routers.map(({ url }) => new URL(url).host) as [string, string];
    const caddy = await startBalanced({ upstreams, policy: "round_robin" });
    onTestFinished(caddy.stop);
    const server = clientOf(caddy.env, "any");
    await loadModel(server, "one", { report: () => {}, signal: NEVER });
    await server.runningNow(NEVER, true);
    expect(server.several.warning).toMatch(
      new RegExp(`^Several servers answer at this address \\(${upstreams.toSorted().join(", ")}\\)`),
    );
    for (let n = 0; n < 5; n += 1)
      expect(await server.runningNow()).toMatchObject([{ id: "one", state: "ready" }]);
    expect(server.several.warning).toContain("one has nothing loaded, one has one loaded");
  }, 30_000);

  test(`pi ${NEWEST_PI} goes on at the other one when the conversation's server is killed`, async () => {
    const two = await startTwoServers({ args: ["-np", "2"] });
    const place = await LlamaPlace.at(two.caddy.env, two.stop);
    onTestFinished(() => place.stop());
    const session = await place.session(NEWEST_PI);
    const [first] = await session.turn("Hello");
    const [second] = await session.turn("And again");
    expect(second?.cached).toBeGreaterThan((first?.prompt ?? 0) * 0.95);
    for (const server of two.servers) {
      const slots = (await (await fetch(`${server.url}/slots`)).json()) as { id_task?: number }[];
      if (slots.some(({ id_task: task = -1 }) => task >= 0)) server.kill();
    }
    const [third] = await session.turn("And once more");
    expect(third?.prompt).toBeGreaterThan(second?.prompt ?? 0);
    expect(third?.cached).toBe(0);
  }, 60_000);
});

test("the documented load balancing limits no answer", () => {
  expect(docsBlock("several-machines.md", "balance")).not.toMatch(
    /read_timeout|response_header|flush_interval/,
  );
});

realSuite(rpcProblem(), "the documented RPC server", () => {
  /** The words of a documented command after its program, on this machine. */
  function argumentsOf(name: string, own: Record<string, string>): string[] {
    const [, ...words] = withOwn(docsBlock("several-machines.md", name), own).trim().split(" ");
    return words;
  }

  test("holds the model and computes for it, and takes llama-server with it when it ends", async () => {
    const port = await freePort();
    const helper = await startRpcServer(
      argumentsOf("rpc-server", { "192.168.2.4": "127.0.0.1", "50052": String(port) }),
      port,
    );
    onTestFinished(helper.stop);
    const args = argumentsOf("rpc", {
      "/home/ai-server/models/MiniMax-M2.7-IQ3_XXS-00001-of-00003.gguf": TINY_MODEL,
      "192.168.2.4:50052": `127.0.0.1:${port}`,
    });
    const server = await startLlamaServer({ args: [...args, "-lv", "4"] });
    onTestFinished(server.stop);
    const place = `RPC0\\[127\\.0\\.0\\.1:${port}\\]`;
    for (const what of ["model", "KV", "compute"])
      expect(server.log()).toMatch(new RegExp(`${place} +${what} buffer size = +[0-9.]+ MiB`));
    const client = clientOf({ AI_SERVER_URL: server.url }, "computes");
    expect((await begin(client, "Hello").ended).message.stopReason).toBe("stop");
    helper.kill();
    const body = JSON.stringify({ messages: [{ role: "user", content: "Hello again" }] });
    const request = { method: "POST", headers: { "content-type": "application/json" }, body };
    await expect(fetch(`${server.url}/v1/chat/completions`, request)).rejects.toThrow();
    await eventually("llama-server has ended", async () =>
      fetch(`${server.url}/health`).then(
        () => undefined,
        () => true,
      ),
    );
  }, 60_000);
});
