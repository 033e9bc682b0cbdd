import type { ServerResponse } from "node:http";
import { describe, expect, test } from "vitest";
import { PanelSource } from "../../../admin/panel/source.ts";
import type { PanelModel, PanelState } from "../../../admin/panel/state.ts";
import { ModelServer } from "../../../server/model-server.ts";
import { type Sim, startSim } from "../../../sim/server.ts";
import { cannedServer, frame } from "../../support/canned.ts";
import { FakeClock, fastClock } from "../../support/clock.ts";
import { eventually } from "../../support/sim-client.ts";
import { clientOf, drained, kept } from "../../support/wire.ts";

const CMD = `llama-server --port \${PORT} --no-reasoning`;
const CONFIG = `
models:
  a: { cmd: "${CMD} -c 4096", description: For all, ttl: 600 }
  slow: { cmd: "${CMD} --load 4 --token-rate 20" }
`;
const SPEED = 20;

interface Followed {
  source: PanelSource;
  changes(): number;
  abort: AbortController;
  following: Promise<void>;
}

async function follow(server: ModelServer, clock = fastClock(SPEED)): Promise<Followed> {
  let changes = 0;
  const abort = new AbortController();
  const source = new PanelSource({
    server,
    remembered: () => new Map(),
    expectedLoadMs: async (id) => (id === "slow" ? 4000 : undefined),
    onChange: () => {
      changes += 1;
    },
    clock,
  });
  const following = source.follow(abort.signal);
  await kept({ close: async () => [abort.abort(), await following] });
  return { source, changes: () => changes, abort, following };
}

const clientFor = (sim: Sim): Promise<ModelServer> => kept(new ModelServer(clientOf(sim.url, sim.certsDir)));

function modelIn({ models }: PanelState, id: string): PanelModel {
  const model = models.find((found) => found.id === id);
  if (model === undefined) throw new Error(`${id} is not there`);
  return model;
}

const asked = (sim: Sim, path: string): number =>
  sim.requests.filter((request) => request.path.startsWith(path)).length;

async function load(sim: Sim, id: string): Promise<void> {
  const { body } = await (await clientFor(sim)).http.request({
    method: "GET",
    path: `/upstream/${id}/health`,
  });
  await drained(body);
}

describe("following a llama-swap", () => {
  test("reads everything about the server, and loads nothing", async () => {
    const sim = await kept(startSim({ config: CONFIG, speed: SPEED }));
    const { source } = await follow(await clientFor(sim));
    await eventually(() => {
      const { state } = source;
      expect(state).toMatchObject({
        following: "live",
        problem: undefined,
        version: { name: "llama-swap" },
        requests: [],
        answered: [],
      });
      expect(state.certificateEnds?.getTime()).toBeGreaterThan(Date.now());
      expect(state.performance?.gpus).toHaveLength(1);
      expect(modelIn(state, "a")).toMatchObject({ state: "unloaded", description: { text: "For all" } });
      expect(modelIn(state, "slow").expectedLoadMs).toBe(4000);
    });
    expect(sim.starts).toEqual({});
    expect(asked(sim, "/upstream/")).toBe(0);
  });

  test("sees what another client loads, and reads its live context once it is ready", async () => {
    const sim = await kept(startSim({ config: CONFIG, speed: SPEED }));
    const { source } = await follow(await clientFor(sim));
    await eventually(() => expect(source.state.requests).toBeDefined());
    const loading = load(sim, "slow");
    await eventually(() =>
      expect(modelIn(source.state, "slow")).toMatchObject({ state: "starting", loading: { isWhole: true } }),
    );
    await loading;
    await eventually(() =>
      expect(modelIn(source.state, "slow")).toMatchObject({
        state: "ready",
        facts: { context: { source: "live" } },
        running: { id: "slow" },
      }),
    );
    expect(asked(sim, "/v1/models")).toBe(2);
  });

  test("asks a ready model only once, so that it unloads in time", async () => {
    const sim = await kept(startSim({ config: CONFIG, speed: SPEED }));
    await load(sim, "a");
    const clock = new FakeClock();
    const { source } = await follow(await clientFor(sim), clock);
    await eventually(() => expect(modelIn(source.state, "a").unloadsAt).toBeDefined());
    await eventually(() => expect(clock.waiting).toBeGreaterThan(1));
    for (let minute = 0; minute < 5; minute++) await clock.advance(60_000);
    expect(asked(sim, "/upstream/a/props")).toBe(1);
    // All of them as it was opened: four of the first reading, which looks for a second server, and one of the next.
    expect(asked(sim, "/running")).toBeLessThanOrEqual(5);
  });

  test("shows whose request is in flight, and its rates afterwards", async () => {
    const sim = await kept(startSim({ config: CONFIG, speed: SPEED }));
    const { source } = await follow(await clientFor(sim));
    await eventually(() => expect(source.state.answered).toEqual([]));
    const body = JSON.stringify({
      model: "a",
      messages: [{ role: "user", content: "sim: tokens 30" }],
      stream: true,
    });
    const chat = await (await clientFor(sim)).chat(body, { "user-agent": "pi/1" }, AbortSignal.timeout(9000));
    await eventually(() =>
      expect(source.state.requests).toMatchObject([{ model: "a", client: { agent: "pi/1" } }]),
    );
    await drained(chat.body);
    await eventually(() => expect(source.state.requests).toEqual([]));
    await eventually(() => expect(modelIn(source.state, "a").rates.generation).toBeGreaterThan(0));
    expect(asked(sim, "/api/metrics/activity")).toBe(2);
  });

  test("comes back after a reload, and reads the new configuration", async () => {
    const sim = await kept(startSim({ config: CONFIG, speed: SPEED }));
    const { source } = await follow(await clientFor(sim));
    await eventually(() => expect(source.state.following).toBe("live"));
    await load(sim, "a");
    // A question to the model on its way would load it again.
    await eventually(() => expect(modelIn(source.state, "a").facts?.context.source).toBe("live"));
    await sim.reload();
    await eventually(() => {
      expect(source.state.following).toBe("live");
      expect(modelIn(source.state, "a").state).toBe("unloaded");
    });
  });

  test("redraws nothing during a request", async () => {
    const sim = await kept(startSim({ config: CONFIG, speed: SPEED }));
    await load(sim, "slow");
    const { source, changes } = await follow(await clientFor(sim), new FakeClock() as never);
    await eventually(() => expect(source.state.answered).toBeDefined());
    const hangUp = new AbortController();
    const body = JSON.stringify({
      model: "slow",
      messages: [{ role: "user", content: "sim: tokens 4000" }],
      stream: true,
    });
    const chat = await (await clientFor(sim)).chat(body, {}, hangUp.signal);
    void drained(chat.body).catch(() => {});
    await eventually(() => expect(source.state.requests).toHaveLength(1));
    const before = changes();
    const told = sim.requests.at(-1);
    // The stand-in reports four times a second how much was written.
    await eventually(() => expect(told?.tokens).toBeGreaterThan(300));
    expect(changes()).toBe(before);
    hangUp.abort();
  });

  test("ends with the signal, and leaves no request and no timer", async () => {
    const sim = await kept(startSim({ config: CONFIG, speed: SPEED }));
    const clock = new FakeClock();
    const server = await clientFor(sim);
    const { source, abort, following } = await follow(server, clock);
    await eventually(() => expect(source.state.answered).toBeDefined());
    abort.abort();
    await following;
    expect(clock.waiting).toBe(0);
    await eventually(() => expect(sim.requests.filter(({ status }) => status === undefined)).toEqual([]));
    await server.close();
    await eventually(() => expect(sim.connections).toBe(0));
  });
});

test("a source whose signal has aborted asks nothing", async () => {
  const { swap, requests } = await cannedServer((_, response) => response.end());
  const source = new PanelSource({
    server: swap,
    remembered: () => new Map(),
    expectedLoadMs: async () => undefined,
    onChange: () => {},
  });
  await source.follow(AbortSignal.abort());
  expect(requests).toEqual([]);
});

describe("a server without events", () => {
  const MODELS = { data: [{ id: "a" }, { id: "b" }] };
  const running = (...ids: string[]): object => ({
    running: ids.map((model) => ({ model, state: "ready", cmd: "llama-server", ttl: 60 })),
  });

  function answering(answers: Record<string, unknown>): Parameters<typeof cannedServer>[0] {
    return (request, response) => {
      const answer = answers[request.url?.split("?")[0] ?? ""];
      if (answer === undefined) response.writeHead(404).end();
      else response.end(JSON.stringify(answer));
    };
  }

  test("is polled every ten seconds for what runs, and a model is asked only once it is ready", async () => {
    const answers: Record<string, unknown> = { "/v1/models": MODELS, "/running": running("a") };
    const { swap, requests } = await cannedServer(answering(answers));
    const clock = new FakeClock();
    const { source } = await follow(swap, clock);
    await eventually(() => expect(source.state.following).toBe("polling"));
    await eventually(() => expect(source.state.models).toHaveLength(2));
    await eventually(() => expect(clock.sleeps).toContain(10_000));
    const props = (): number => requests.filter((request) => request.endsWith("/props")).length;
    const first = props();
    for (let turn = 0; turn < 4; turn++) {
      const before = requests.length;
      await clock.advance(10_000);
      await eventually(() => expect(requests.length).toBeGreaterThan(before));
      await eventually(() => expect(clock.waiting).toBeGreaterThan(0));
    }
    expect(props()).toBe(first);
    answers["/running"] = running("b");
    await clock.advance(10_000);
    await eventually(() => expect(modelIn(source.state, "b").state).toBe("ready"));
    await eventually(() => expect(requests).toContain("GET /upstream/b/props"));
    expect(modelIn(source.state, "a").state).toBe("unloaded");
  });

  test("is not polled without /running, until a refresh", async () => {
    const { swap, requests } = await cannedServer(answering({ "/v1/models": MODELS }));
    const clock = new FakeClock();
    const { source } = await follow(swap, clock);
    await eventually(() => expect(clock.sleeps).toContain(10_000));
    await clock.advance(10_000);
    await eventually(() => expect(source.state.following).toBe("still"));
    const before = requests.length;
    await clock.advance(600_000);
    expect(requests).toHaveLength(before);
    await source.refresh(new AbortController().signal);
    expect(requests.length).toBeGreaterThan(before);
  });
});

describe("following llama.cpp's router", () => {
  /** With one loaded model, whose slots are as `slots` says. */
  async function router(flags: readonly string[], status = "loaded") {
    const now = { slots: [false, false] as readonly boolean[] | "busy" };
    const args = ["llama-server", "--model", "/m.gguf", ...flags];
    const models = { data: [{ id: "m", status: { value: status, args } }] };
    const { swap, requests } = await cannedServer((request, response) => {
      const { url } = request;
      if (url === "/v1/models") response.end(JSON.stringify(models));
      else if (url !== "/slots?model=m&autoload=false") response.writeHead(404).end();
      else if (now.slots !== "busy")
        response.end(JSON.stringify(now.slots.map((is_processing, id) => ({ id, is_processing }))));
    });
    return { now, requests, ...(await follow(swap, fastClock(100))) };
  }

  test("shows the requests in the slots, and keeps them while the model is too busy to answer", async () => {
    const { source, now, requests } = await router([]);
    await eventually(() => expect(source.state.requests).toEqual([]));
    now.slots = [false, true];
    await eventually(() => expect(source.state.requests).toMatchObject([{ model: "m" }]));
    expect(modelIn(source.state, "m").isInUse).toBe(true);
    now.slots = "busy";
    const before = requests.length;
    await eventually(() => expect(requests.slice(before).join()).toContain("/slots"));
    expect(source.state.requests).toHaveLength(1);
    expect(requests.join()).not.toContain("/models/load");
  });

  test.each([
    ["that would go to sleep", "loaded", undefined],
    ["that sleeps", "sleeping", []],
  ])("asks no slots of a model %s", async (_, status, told) => {
    const { source, requests, changes } = await router(["--sleep-idle-seconds", "60"], status);
    await eventually(() => expect(source.state.following).toBe("polling"));
    const before = changes();
    await eventually(() => expect(changes()).toBeGreaterThan(before + 3));
    await eventually(() =>
      expect(source.state).toMatchObject({ requests: told, isAskingRequests: told !== undefined }),
    );
    expect(requests.join()).not.toContain("/slots");
  });
});

describe("a server that", () => {
  test("does not answer is shown as a problem until it does", async () => {
    let isUp = false;
    const answer = (response: ServerResponse, url = ""): void => {
      if (!isUp) response.writeHead(503).end("starting");
      else if (url === "/api/events") {
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.write(frame("modelStatus", [{ id: "a", state: "stopped" }]));
      } else if (url === "/v1/models") response.end('{"data":[{"id":"a"}]}');
      else if (url === "/running") response.end('{"running":[]}');
      else response.writeHead(404).end();
    };
    const { swap } = await cannedServer((request, response) => answer(response, request.url));
    const { source } = await follow(swap);
    await eventually(() => expect(source.state.problem).toMatchObject({ status: 503 }));
    expect(source.state.following).toBe("lost");
    isUp = true;
    await eventually(() => expect(source.state).toMatchObject({ following: "live", problem: undefined }));
    expect(source.state.models.map(({ id }) => id)).toEqual(["a"]);
  });

  test("has no measurements of our clock's last ten minutes is asked for all of them", async () => {
    const stat = { timestamp: "2001-01-01T00:00:00Z", mem_used_mb: 1, mem_total_mb: 2 };
    const { swap, requests } = await cannedServer((request, response) => {
      const url = request.url ?? "";
      if (url.startsWith("/api/performance?")) response.end('{"sys_stats":[]}');
      else if (url === "/api/performance") response.end(JSON.stringify({ sys_stats: [stat] }));
      else response.writeHead(404).end();
    });
    const { source } = await follow(swap, fastClock(1000));
    await eventually(() => expect(source.state.performance?.host?.readings).toHaveLength(1));
    await eventually(() =>
      expect(requests.at(-1)).toBe("GET /api/performance?after=2001-01-01T00%3A00%3A00.000Z"),
    );
  });
});
