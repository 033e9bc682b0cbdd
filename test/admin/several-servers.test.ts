/** The commands where a load balancer lets any of several servers answer. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { Activities } from "../../activity/activities.ts";
import { PanelSource } from "../../admin/panel/source.ts";
import { type CommandName, runCommand } from "../../admin.ts";
import { readConfig } from "../../config.ts";
import { AiServer } from "../../provider/ai-server.ts";
import { loadModel } from "../../server/load.ts";
import { ModelServer } from "../../server/model-server.ts";
import { type KindSim, startKindSim } from "../../sim/kinds/server.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import { type Alternating, startAlternating } from "../support/alternating.ts";
import { fastClock } from "../support/clock.ts";
import { contextOf } from "../support/command-place.ts";
import { keptBy, User } from "../support/command-user.ts";
import { kept } from "../support/wire.ts";

const CONFIG = `
models:
  big: { cmd: "llama-server --port \${PORT} -c 32768 --load 0.1" }
  small: { cmd: "llama-server --port \${PORT} -c 8192 --load 0.1" }
`;

const ADVICE = "Let the load balancer keep a session on one of them, as docs/several-machines.md shows.";

/** Someone at pi who administers what answers at an address. */
class Desk {
  readonly aiServer: AiServer;

  constructor(balancer: Alternating, session?: string) {
    const agentDir = mkdtempSync(join(tmpdir(), "several-"));
    const env = { AI_SERVER_URL: balancer.url };
    const options = session === undefined ? {} : { session: () => session };
    this.aiServer = new AiServer({ env, agentDir, now: Date.now, onChanged: () => {}, ...options });
    onTestFinished(async () => {
      await this.aiServer.close();
      rmSync(agentDir, { recursive: true });
    });
  }

  /** @returns what the command said */
  async type(line: string): Promise<string> {
    const user = new User("rpc");
    const [, name = "", argument = ""] = /^\/(\S+) ?(.*)$/.exec(line) ?? [];
    const ctx = contextOf(this.aiServer, user);
    await runCommand(name as CommandName, {
      aiServer: this.aiServer,
      activities: new Activities(),
      selectModel: async () => false,
      keepResult: keptBy(ctx),
      ctx,
      argument,
      ended: new AbortController().signal,
    });
    return user.told.join("\n");
  }

  /** Rows of the status, without what pads them. */
  async rows(): Promise<string[]> {
    const said = await this.type("/ai-server-status");
    return said.split("\n").flatMap((line) => (/^(big|small) /.test(line) ? [line.replace(/ +/g, " ")] : []));
  }
}

describe("two llama-swaps, each asked in turn", () => {
  let sims: [Sim, Sim];
  let balancer: Alternating;

  beforeEach(async () => {
    const start = () => kept(startSim({ config: CONFIG, tls: "none", speed: 50 }));
    sims = [await start(), await start()];
    balancer = await startAlternating(sims);
  });

  const loadOn = async (at: 0 | 1, id: string): Promise<void> => {
    await (await fetch(`${sims[at].url}/upstream/${id}/health`)).text();
  };
  const starts = (): unknown[] => sims.map((sim) => sim.starts);

  test("the status says what differs, the same each time, and loads nothing", async () => {
    await loadOn(0, "big");
    const desk = new Desk(balancer);
    const said: string[] = [];
    while (!said.at(-1)?.includes("Several servers") && said.length < 5)
      said.push(await desk.type("/ai-server-status"));
    const settled = said.at(-1) ?? "";
    expect(settled).toContain(
      `Several servers answer at this address: one has big loaded, one has nothing loaded. ${ADVICE}`,
    );
    expect(settled).toMatch(/\nbig +ready .*\nsmall +unloaded /);
    for (let n = 0; n < 6; n += 1) expect(await desk.type("/ai-server-status")).toBe(settled);
    expect(await desk.type("/ai-server-status big")).toContain("State      ready");
    expect(starts()).toEqual([{ big: 1 }, {}]);
  });

  test("a load says that the next request may reach another server, and an unload that one may still have it", async () => {
    await loadOn(0, "big");
    const desk = new Desk(balancer);
    for (let n = 0; n < 5; n += 1) await desk.type("/ai-server-status");
    expect(await desk.type("/ai-server-load small")).toMatch(
      /^small is loaded.*\n.*The next request may reach another server\. Several servers answer at this address: /s,
    );
    await loadOn(1, "big");
    expect(await desk.type("/ai-server-unload big")).toMatch(
      /several answer at this address, and another one may still have big loaded/,
    );
  });

  test("the panel says what differs, and a model that one has loaded stays loaded", async () => {
    await loadOn(0, "big");
    const { aiServer } = new Desk(balancer);
    const states: string[] = [];
    const ends = new AbortController();
    const source = new PanelSource({
      server: await aiServer.server(),
      remembered: () => new Map(),
      expectedLoadMs: async () => undefined,
      onChange: () => {
        const { models, warning } = source.state;
        if (warning !== undefined) states.push(`${models.find(({ id }) => id === "big")?.state}`);
      },
    });
    const following = source.follow(ends.signal);
    for (let n = 0; n < 12; n += 1) await source.refresh(ends.signal);
    expect(source.state.warning).toMatch(/^Several servers answer at this address: one has big loaded/);
    ends.abort();
    await following;
    // Until the models are read again, the last reading is of one server alone.
    const since = states.slice(states.indexOf("ready"));
    expect(since.length).toBeGreaterThan(3);
    expect(new Set(since)).toEqual(new Set(["ready"]));
    expect(starts()).toEqual([{ big: 1 }, {}]);
  });

  test("a session that the load balancer keeps on one server sees that one alone, by its name", async () => {
    balancer.choose = (_nth, session) => (session === "mine" ? 1 : 0);
    balancer.namesServers = true;
    await loadOn(0, "big");
    const desk = new Desk(balancer, "mine");
    const said = await desk.type("/ai-server-status");
    expect(said).toMatch(/· answered by server-2\n/);
    expect(said).not.toContain("Several servers");
    expect(await desk.rows()).toEqual([
      expect.stringMatching(/^big unloaded/),
      expect.stringMatching(/^small unloaded/),
    ]);
    expect(await desk.type("/ai-server-load small")).toMatch(/^small is loaded; it took [^\n]*\n[^\n]*$/);
    expect(starts()).toEqual([{ big: 1 }, { small: 1 }]);
    expect(new Set(balancer.asked.map((line) => line[0]))).toEqual(new Set(["2"]));
  });
});

test("a load by a router ends although many looks in a row are at another one", async () => {
  const start = (): Promise<KindSim> => kept(startKindSim("router", { tls: "none", speed: 50 }));
  const routers = [await start(), await start()] as const;
  const balancer = await startAlternating(routers);
  const server = await kept(new ModelServer(readConfig({ AI_SERVER_URL: balancer.url }, {}, "/nowhere")));
  const load = (id: string): Promise<unknown> =>
    loadModel(server, id, { report: () => {}, signal: new AbortController().signal, clock: fastClock(100) });
  balancer.choose = () => 0;
  await load("thinker");
  balancer.choose = (nth) => nth % 2;
  while (!server.several.isKnown) await server.runningNow(undefined, true);
  // The load goes to the first. Of what follows, the next ten go to the second.
  let since = Number.POSITIVE_INFINITY;
  balancer.choose = (nth) => {
    if (balancer.asked.at(-1)?.includes("POST /models/load") && since > nth) since = nth;
    return nth >= since && nth < since + 10 ? 1 : 0;
  };
  await load("small");
  expect(routers.map(({ starts }) => starts.small)).toEqual([1, undefined]);
  expect(balancer.asked.slice(since, since + 10).every((line) => line.startsWith("2 GET"))).toBe(true);
});
