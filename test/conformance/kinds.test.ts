import { writeFileSync } from "node:fs";
import { describe, expect, onTestFinished, test } from "vitest";
import type { LoadState } from "../../activity/load-state.ts";
import { readConfig } from "../../config.ts";
import { ServerError } from "../../lib/errors.ts";
import { requestsInFlight } from "../../server/in-flight.ts";
import { loadModel, unloadModel } from "../../server/load.ts";
import { ModelServer } from "../../server/model-server.ts";
import { UNKNOWN_CONTEXT } from "../../server/models/models.ts";
import { fastClock } from "../support/clock.ts";
import { type KindStandIn, startKind } from "../support/kinds.ts";
import { eventually } from "../support/sim-client.ts";
import { drained } from "../support/wire.ts";
import { Desk } from "./desk.ts";
import { SITES, stand } from "./sites.ts";

const NEVER = new AbortController().signal;
const PRESET = `[*]
n-ctx-train = 131072
no-reasoning = true
load = 0.3
[large]
model = /models/large.gguf
ctx-size = 32768
[small]
model = /models/small.gguf
ctx-size = 8192
[broken]
model = /models/broken.gguf
fail-after = 0.2
[empty]
ctx-size = 4096
`;

type Started = [sim: KindStandIn, server: ModelServer];

async function start(...[kind, options]: Parameters<typeof startKind>): Promise<Started> {
  const sim = await startKind(kind, { speed: 10, ...options });
  const server = new ModelServer(readConfig(sim.env, {}, "/nowhere"));
  onTestFinished(async () => {
    await server.close();
    await sim.close();
  });
  return [sim, server];
}

const load = (server: ModelServer, id: string, report: (progress: LoadState) => void = () => {}) =>
  loadModel(server, id, { report, signal: NEVER, clock: fastClock(10) });

describe("llama.cpp's router", () => {
  const startRouter = (more: object = {}): Promise<Started> => start("router", { preset: PRESET, ...more });

  test("the client never takes the window that a model was trained for as the one it has", async () => {
    const [, server] = await startRouter();
    const windows = (await server.discover(new Map())).map(({ id, context }) => [id, context.value]);
    expect(windows).toEqual([
      ["broken", UNKNOWN_CONTEXT],
      ["empty", 4096],
      ["large", 32_768],
      ["small", 8192],
    ]);
  });

  test("a question about an unloaded model does not load it", async () => {
    const [sim, server] = await startRouter();
    const backend = await server.backend();
    const limits = { timeoutMs: 5000 };
    await expect(backend.live("small", limits)).rejects.toThrow(/not loaded/);
    await backend.slots("small", limits).catch(() => undefined);
    expect(sim.starts).toEqual({});
  });

  test("a section without a model is shown as such, not offered, and never loaded", async () => {
    const [sim, server] = await startRouter();
    const desk = new Desk(sim.env);
    await desk.refresh();
    expect(desk.aiServer.models.map(({ id }) => id)).toEqual(["broken", "large", "small"]);
    expect(await desk.type("/ai-server-status")).toMatch(/empty +\[no model path\]/);
    expect(await desk.offers("ai-server-load", "")).not.toContain("empty");
    await expect(load(server, "empty")).rejects.toThrow(/model path/);
    expect(await desk.type("/ai-server-load empty")).toMatch(/model path/);
    expect(sim.starts).toEqual({});
  });

  test("the user unloads such a section that loads for ever, and can load the others again", async () => {
    const [sim, server] = await startRouter();
    const { body } = await server.http.request({
      method: "POST",
      path: "/models/load",
      body: JSON.stringify({ model: "empty" }),
    });
    await drained(body);
    expect(await server.runningNow()).toMatchObject([{ id: "empty", state: "starting" }]);
    await expect(load(server, "small")).rejects.toThrow(/^small cannot be loaded: empty has no model path/);
    await unloadModel(server, "empty", NEVER, fastClock(10));
    await load(server, "small");
    expect(sim.starts).toEqual({ empty: 1, small: 1 });
  });

  test("a load that fails ends with a sentence, shows in the status, and can be tried again", async () => {
    const [sim, server] = await startRouter();
    const desk = new Desk(sim.env);
    for (const starts of [1, 2]) {
      await expect(load(server, "broken")).rejects.toThrow(/broken could not be loaded.*exit code 1/s);
      expect(sim.starts).toEqual({ broken: starts });
      expect(await desk.type("/ai-server-status")).toMatch(/broken +failed/);
      expect(await desk.type("/ai-server-status broken")).toContain("with exit code 1");
    }
  });

  test("a load reports its progress, and unloads the other model", async () => {
    const [sim, server] = await startRouter({ speed: 1, preset: PRESET.replace("load = 0.3", "load = 60") });
    const told: LoadState[] = [];
    const loading = load(server, "small", (progress) => told.push(progress));
    await eventually(() => expect(told.map(({ kind }) => kind)).toContain("loading"));
    sim.setSpeed(1000);
    await loading;
    expect(told.at(-1)).toEqual({ kind: "ready" });
    await load(server, "large");
    expect((await server.runningNow())?.map(({ id }) => id)).toEqual(["large"]);
  });

  test("the router reads its preset again, and unloads only the changed model", async () => {
    const [sim, server] = await startRouter({ maximum: 2 });
    await load(server, "small");
    await load(server, "large");
    writeFileSync(sim.presetPath, PRESET.replace("ctx-size = 8192", "ctx-size = 16384"));
    expect(await (await server.backend()).reloadConfig?.(NEVER)).toBe(true);
    expect((await server.runningNow())?.map(({ id }) => id)).toEqual(["large"]);
    await load(server, "small");
    expect((await server.liveContext("small")).tokens).toBe(16_384);
    expect(sim.starts).toEqual({ small: 2, large: 1 });
  });
});

describe.each(["router", "llama-server"] as const)("a %s whose model sleeps", (kind) => {
  test("the client reads it and the model sleeps on", async () => {
    const [sim, server] = await start(kind, kind === "router" ? { preset: PRESET } : {});
    if (kind === "router") await load(server, "small");
    else await eventually(() => server.discover(new Map()));
    sim.sleep("small");
    const before = sim.loads();
    expect(await server.runningNow()).toMatchObject([{ id: "small", state: "ready", isAsleep: true }]);
    const found = (await server.discover(new Map())).find(({ id }) => id === "small");
    expect(found).toMatchObject({ state: "ready", context: { value: 8192, source: "live" } });
    expect((await requestsInFlight(server, NEVER)).total).toBe(0);
    const desk = new Desk(sim.env);
    await desk.refresh();
    for (const line of ["/ai-server-status", "/ai-server-status small", "/ai-server-refresh"]) {
      await desk.type(line);
    }
    expect(sim.loads()).toBe(before);
  });
});

test("a llama-server that still loads says so, and the client recognises it afterwards", async () => {
  const [sim, server] = await start("llama-server", { speed: 1, models: { slow: "--load 600" } });
  const early: unknown = await server.discover(new Map()).catch((error: unknown) => error);
  expect(early).toBeInstanceOf(ServerError);
  expect((early as ServerError).message).toMatch(/load/i);
  sim.setSpeed(10_000);
  await eventually(async () => expect((await server.backend()).kind).toBe("llama-server"));
});

describe("llama-swap's peers and selectors", () => {
  const site = SITES[0];
  if (site === undefined) throw new Error("there is no site");

  test("the status names each kind, and no command loads or unloads them", async () => {
    const standing = await stand(site);
    const desk = new Desk(standing.env);
    await desk.refresh();
    const table = await desk.type("/ai-server-status");
    expect(table).toMatch(/other\/big +peer/);
    expect(table).toMatch(/fast +selector/);
    for (const command of ["load", "unload"]) {
      expect(await desk.type(`/ai-server-${command} other/big`)).toMatch(/another server|peer/i);
      expect(await desk.type(`/ai-server-${command} fast`)).toMatch(
        /chooses among small, large for each request/,
      );
    }
    expect(await standing.loads()).toBe(0);
  });
});
