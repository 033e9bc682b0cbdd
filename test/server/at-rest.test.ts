import { describe, expect, test } from "vitest";
import { type Rest, restOf } from "../../server/at-rest.ts";
import { ModelServer } from "../../server/model-server.ts";
import { startSim } from "../../sim/server.ts";
import { byPath, type Canned, cannedServer, frame } from "../support/canned.ts";
import { startKind } from "../support/kinds.ts";
import { eventually } from "../support/sim-client.ts";
import { clientOf, kept } from "../support/wire.ts";

const NEVER = new AbortController().signal;
const NOW = Date.parse("2026-11-20T15:00:00Z");
const IDLE = [{ id: 0, is_processing: false }];
const BUSY = [{ id: 0, is_processing: true, id_task: 7, n_prompt_tokens: 900 }];
const USED = [{ id: 0, is_processing: false, id_task: 7, n_prompt_tokens: 900 }];

const run = (...models: [id: string, state: string][]): unknown => ({
  running: models.map(([model, state]) => ({ model, state, cmd: "llama-server" })),
});

/** A row of llama-swap's record that ended so many seconds ago. */
const answered = (model: string, secondsAgo: number): unknown => ({
  data: [{ id: 1, model, timestamp: new Date(NOW - 1000 * secondsAgo).toISOString() }],
});

const inFlight = (...models: string[]): string =>
  frame("inflight", {
    operation: "snapshot",
    requests: models.map((model, at) => ({ id: String(at), model, req_path: "/v1/chat/completions" })),
  });

interface Swap {
  running: unknown;
  /** The first frame of its events. */
  events?: string;
  /** By model. */
  activity?: Record<string, unknown>;
  answers?: Record<string, unknown>;
}

function swapWith({ running, events = inFlight(), activity = {}, answers = {} }: Swap): Promise<Canned> {
  return cannedServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "", "http://server");
    response.setHeader("date", new Date(NOW).toUTCString());
    if (pathname === "/api/events") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(events);
    } else if (pathname === "/api/metrics/activity") {
      const rows = activity[searchParams.get("model") ?? ""] ?? { data: [] };
      byPath({ [request.url ?? ""]: rows })(request, response);
    } else byPath({ "/running": running, ...answers })(request, response);
  });
}

const restIn = async (swap: ModelServer): Promise<Rest | undefined> => restOf(swap, "own", NEVER);

async function restWith(swap: Swap): Promise<string | undefined> {
  const rest = await restIn((await swapWith(swap)).swap);
  return rest && (rest.own?.state ?? "unloaded");
}

describe("llama-swap is at rest", () => {
  test.each<[string, Swap, string]>([
    ["with nothing loaded", { running: run() }, "unloaded"],
    ["with the model itself loaded", { running: run(["own", "ready"]) }, "ready"],
    ["while the model loads without a request for it", { running: run(["own", "starting"]) }, "starting"],
    ["with another model that has never answered", { running: run(["other", "ready"]) }, "unloaded"],
    [
      "with another model that answered five minutes ago",
      { running: run(["other", "ready"]), activity: { other: answered("other", 300) } },
      "unloaded",
    ],
  ])("%s", async (_, swap, state) => {
    expect(await restWith(swap)).toBe(state);
  });

  test.each<[string, Swap]>([
    [
      "with another model that answered within five minutes",
      { running: run(["other", "ready"]), activity: { other: answered("other", 299) } },
    ],
    [
      "with two others, where the second answered lately",
      {
        running: run(["first", "ready"], ["second", "ready"]),
        activity: { second: answered("second", 1) },
      },
    ],
    [
      "with another model whose record cannot be read",
      { running: run(["other", "ready"]), activity: { other: 404 } },
    ],
    [
      "with another model, where the record has more rows than are read",
      {
        running: run(["other", "ready"]),
        activity: { other: { data: Array.from({ length: 10 }, () => ({ model: "own" })) } },
      },
    ],
    [
      "with another model, where the record is not that model's",
      { running: run(["other", "ready"]), activity: { other: answered("own", 900) } },
    ],
    ["while another model loads", { running: run(["other", "starting"]) }],
    ["while another model is stopped", { running: run(["other", "stopping"]) }],
    ["while the model itself is stopped", { running: run(["own", "stopping"]) }],
    ["while it answers a request", { running: run(["own", "ready"]), events: inFlight("own") }],
    ["while a request waits for a model that is not loaded", { running: run(), events: inFlight("other") }],
  ])("not %s", async (_, swap) => {
    expect(await restWith(swap)).toBeUndefined();
  });

  test.each([
    ["beside a model that this pi alone has had read something", [5], true],
    ["not beside one that has answered before that", [5, 60], false],
    ["not beside one that has answered since", [1, 5], false],
  ])("%s", async (_, secondsAgo, isAtRest) => {
    const rows = secondsAgo.map((seconds) => (answered("other", seconds) as { data: unknown[] }).data[0]);
    const { swap } = await swapWith({
      running: run(["other", "ready"]),
      activity: { other: { data: rows } },
    });
    const useOf = () => ({ hasEnded: (ms: number) => ms === 5000, isAll: () => false });
    Object.assign(swap, { readAhead: { useOf } });
    expect((await restIn(swap)) !== undefined).toBe(isAtRest);
  });

  test("by its slots, where it lists no requests and answers for a ready model at once (v218)", async () => {
    const earlier = (slots: unknown, version = "v220"): Swap => ({
      running: run(["own", "ready"]),
      events: frame("inflight", { total: 0 }),
      answers: { "/upstream/own/slots": slots, "/api/version": { version } },
    });
    expect(await restWith(earlier(IDLE))).toBe("ready");
    expect(await restWith(earlier(BUSY))).toBeUndefined();
    expect(await restWith(earlier(IDLE, "v217"))).toBeUndefined();
    expect(await restWith(earlier(404))).toBeUndefined();
  });

  test("not where it does not show what is running", async () => {
    const answers = { "/v1/models": { data: [{ id: "own", owned_by: "llama-swap" }] }, "/running": 404 };
    expect(await restWith({ running: 404, answers })).toBeUndefined();
  });

  test("and a look loads nothing, and asks no loaded model", async () => {
    const running = run(["own", "ready"], ["other", "ready"]);
    const { swap, requests } = await swapWith({ running, activity: { other: answered("other", 900) } });
    expect(await restIn(swap)).toBeDefined();
    expect(requests.filter((request) => request.includes("/upstream/"))).toEqual([]);
    expect(requests.filter((request) => !request.startsWith("GET "))).toEqual([]);
  });
});

describe("llama.cpp's router is at rest", () => {
  async function routerWith(
    states: Record<string, string>,
    slots: Record<string, unknown> = {},
  ): Promise<string | undefined> {
    const data = Object.entries(states).map(([id, value]) => ({
      id,
      status: { value, args: ["llama-server", "--model", "x.gguf"] },
    }));
    const ofSlots = Object.entries(slots).map(([id, answer]) => [
      `/slots?model=${id}&autoload=false`,
      answer,
    ]);
    const answers = { "/running": 404, "/v1/models": { data }, ...Object.fromEntries(ofSlots) };
    const { swap } = await cannedServer(byPath(answers));
    const rest = await restIn(swap);
    return rest && (rest.own?.state ?? "unloaded");
  }

  test("with nothing loaded, with the idle model itself, and beside a model that has not been used", async () => {
    expect(await routerWith({ own: "unloaded" })).toBe("unloaded");
    expect(await routerWith({ own: "loaded" }, { own: USED })).toBe("ready");
    expect(await routerWith({ own: "unloaded", other: "loaded" }, { other: IDLE })).toBe("unloaded");
    expect(await routerWith({ own: "unloaded", other: "sleeping" })).toBe("unloaded");
  });

  test("not beside a model that has answered at some time: the router does not report when", async () => {
    expect(await routerWith({ own: "unloaded", other: "loaded" }, { other: USED })).toBeUndefined();
  });

  test("not while a model answers or loads, nor where the slots are not reported", async () => {
    expect(await routerWith({ own: "loaded" }, { own: BUSY })).toBeUndefined();
    expect(await routerWith({ own: "unloaded", other: "loading" })).toBeUndefined();
    expect(await routerWith({ own: "loaded" }, { own: 501 })).toBeUndefined();
  });
});

describe("one llama-server is at rest", () => {
  const serverWith = async (slots: unknown): Promise<Rest | undefined> => {
    const answers = {
      "/running": 404,
      "/v1/models": { data: [{ id: "own", object: "model" }] },
      "/props": { default_generation_settings: { n_ctx: 4096 } },
      "/slots": slots,
    };
    return restIn((await cannedServer(byPath(answers))).swap);
  };

  test("while its slots are idle, and not while one is busy or where they are not reported", async () => {
    expect((await serverWith(IDLE))?.own?.state).toBe("ready");
    expect(await serverWith(BUSY)).toBeUndefined();
    expect(await serverWith(501)).toBeUndefined();
  });
});

test.each(["ollama", "lm-studio", "vllm", "plain"] as const)(
  "a server of another kind is never at rest: %s",
  async (kind) => {
    const sim = await kept(startKind(kind, { models: { own: "--ctx-size 8192 --load 0.1" } }));
    const server = await kept(new ModelServer(clientOf(sim.url, sim.certsDir)));
    const models = await server.discover(new Map());
    expect(models.length).toBeGreaterThan(0);
    expect(await restOf(server, models[0]?.id ?? "", NEVER)).toBeUndefined();
  },
);

test("a stand-in of llama-swap is at rest before and after an answer, and not meanwhile", async () => {
  const cmd = `llama-server --port \${PORT} --token-rate 0.01 --no-reasoning --load 0.1`;
  const sim = await kept(startSim({ config: `models:\n  own: { cmd: "${cmd}" }\n`, speed: 20 }));
  const swap = await kept(new ModelServer(clientOf(sim.url, sim.certsDir)));
  expect(await restIn(swap)).toMatchObject({ own: undefined });
  const hangUp = new AbortController();
  const body = JSON.stringify({ model: "own", messages: [{ role: "user", content: "hi" }], stream: true });
  await swap.chat(body, {}, hangUp.signal);
  expect(await restIn(swap)).toBeUndefined();
  hangUp.abort();
  await eventually(async () => expect(await restIn(swap)).toMatchObject({ own: { state: "ready" } }));
});
