import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { PanelSource } from "../../admin/panel/source.ts";
import type { CommandName } from "../../admin.ts";
import { readConfig } from "../../config.ts";
import extension from "../../index.ts";
import { ServerError } from "../../lib/errors.ts";
import { requestsInFlight } from "../../server/in-flight.ts";
import { loadModel, unloadModel } from "../../server/load.ts";
import { ModelServer } from "../../server/model-server.ts";
import { fastClock } from "../support/clock.ts";
import { FakePi } from "../support/fake-pi.ts";
import { model, transcript, user } from "../support/samples.ts";
import { eventually } from "../support/sim-client.ts";
import { beginTurn, type TurnResult } from "../support/turns.ts";
import { Desk } from "./desk.ts";
import { type Site, type Standing, stand } from "./sites.ts";

const clock = { now: Date.now, sleep: (ms: number) => new Promise<void>((done) => setTimeout(done, ms)) };
const NEVER = new AbortController().signal;

function clientOf({ env }: Standing, more: Record<string, string> = {}): ModelServer {
  const server = new ModelServer(readConfig({ ...env, ...more }, {}, "/nowhere"));
  onTestFinished(() => server.close());
  return server;
}

/** A client of a server whose model, where it loads one when it starts, is there. */
async function open(site: Site, options: Parameters<typeof stand>[1] = {}): Promise<[Standing, ModelServer]> {
  const standing = await stand(site, options);
  const server = clientOf(standing, options.apiKeys === undefined ? {} : { AI_SERVER_API_KEY: "right" });
  await eventually(() => server.discover(new Map()));
  return [standing, server];
}

type Opener = () => Promise<[Standing, ModelServer]>;

/** One server for all tests of a suite: they load nothing and change nothing, and assert that. */
function untouched(site: Site): Opener {
  let standing: Promise<Standing> | undefined;
  afterAll(async () => (await standing)?.close());
  return async () => {
    standing ??= site.start({ speed: 10 });
    const there = await standing;
    const server = clientOf(there);
    await eventually(() => server.discover(new Map()));
    return [there, server];
  };
}

function turn(server: ModelServer, id: string, text = "Hello", signal?: AbortSignal): Promise<TurnResult> {
  const on = model({ id, name: id });
  const options = signal === undefined ? {} : { signal };
  return beginTurn(server, { clock, on, context: transcript(user(text)), options }).ended;
}

function load(server: ModelServer, id: string, signal = NEVER) {
  return loadModel(server, id, { report: () => {}, signal, clock: fastClock(10) });
}

/** The sentence with which `work` ends. */
async function sentenceOf(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.then(
    () => new Error("it ended well"),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ServerError);
  return (error as ServerError).message;
}

async function factsOf(server: ModelServer, id: string) {
  const found = (await server.discover(new Map())).find((facts) => facts.id === id);
  if (found === undefined) throw new Error(`${id} is not there`);
  const { state, context } = found;
  return { state, context: [context.value, context.source] };
}

/** Everything that has to be true of this extension before this kind of server. */
export function conforms(site: Site): void {
  describe(site.title, () => {
    describe("while nothing is loaded by request", () => {
      const openUntouched = untouched(site);
      tellsWhatItIs(site, openUntouched);
      loadsNothingUnasked(site, openUntouched);
    });
    chats(site);
    loadsAndUnloads(site);
    failsInWords(site);
  });
}

function tellsWhatItIs(site: Site, openUntouched: Opener): void {
  test("the client recognises it, and lists its models", async () => {
    const [, server] = await openUntouched();
    const backend = await server.backend();
    expect([backend.kind, backend.name]).toEqual([site.kind, site.name]);
    expect([backend.load !== undefined, backend.unload !== undefined]).toEqual([site.canLoad, site.canLoad]);
    const ids = (await server.discover(new Map())).map(({ id }) => id);
    if (site.ids.length > 0) expect(ids).toEqual(site.ids);
    expect(await factsOf(server, site.id)).toEqual(site.first);
  });
}

function loadsNothingUnasked(site: Site, openUntouched: Opener): void {
  test("the client reads, shows, completes and watches it without a load", async () => {
    const [standing, server] = await openUntouched();
    const desk = new Desk(standing.env);
    await desk.refresh();
    expect(desk.aiServer.models.map(({ id }) => id)).toContain(site.id);
    const table = await desk.type("/ai-server-status");
    expect(table).toContain(site.id);
    expect(table).toMatch(site.version);
    expect(await desk.type(`/ai-server-status ${site.id}`)).toContain(site.id);
    expect(table.includes("cannot load or unload on request")).toBe(!site.canLoad);
    expect(await desk.type("/ai-server-refresh")).toMatch(/Nothing changed: \d+ models?\./);
    for (const name of ["status", "load", "unload", "ctx", "logs"] as const) {
      await desk.offers(`ai-server-${name}`, "");
    }
    await watch(server, site.id);
    expect((await requestsInFlight(server, NEVER)).models).toEqual([]);
    if (site.first.state === "ready") expect(await server.isWorking(site.id, NEVER)).toBe(false);
    expect(await standing.loads()).toBe(site.loadsAtStart);
    if (site.first.state === "unloaded") expect((await server.runningNow()) ?? []).toEqual([]);
  });

  test.each(["before the first reading", "with the catalogue read"])(
    "completion leaves out what it cannot do, %s",
    async (when) => {
      const desk = new Desk((await openUntouched())[0].env);
      if (when === "with the catalogue read") await desk.refresh();
      const offers = async (name: CommandName) =>
        (await desk.offers(name, site.id)).map((item) => item.trim());
      expect((await offers("ai-server-load")).includes(site.id)).toBe(site.canLoad);
      expect((await offers("ai-server-unload")).includes(site.id)).toBe(site.canLoad);
      const hasConfig = site.kind === "llama-swap" || site.kind === "router";
      expect((await offers("ai-server-ctx")).includes(site.id)).toBe(hasConfig);
      expect(await offers("ai-server-status")).toContain(site.id);
    },
  );

  test("an idle session loads nothing", async () => {
    const [standing] = await openUntouched();
    await idleSession(standing.env);
    expect(await standing.loads()).toBe(site.loadsAtStart);
  });

  test("the signal ends a reading", async () => {
    const [, server] = await openUntouched();
    const end = new AbortController();
    end.abort(new Error("enough"));
    await expect(server.discover(new Map(), { signal: end.signal })).rejects.toThrow("enough");
  });

  if (site.canLoad) return;
  test("a request to load or unload is refused with a sentence", async () => {
    const [standing, server] = await openUntouched();
    const before = await standing.loads();
    expect(await sentenceOf(load(server, site.id))).toMatch(/load/);
    expect(await sentenceOf(unloadModel(server, site.id, NEVER))).toMatch(/unload/);
    const desk = new Desk(standing.env);
    for (const command of ["load", "unload"]) {
      const told = await desk.type(`/ai-server-${command} ${site.id}`);
      expect(told).toMatch(/nothing to load or unload|does not load or unload|is not loaded/);
    }
    expect(await standing.loads()).toBe(before);
  });
}

/** A session of the whole extension in which the user asks nothing. */
async function idleSession(env: Record<string, string>): Promise<void> {
  const agentDir = mkdtempSync(join(tmpdir(), "conformance-agent-"));
  const variables = { ...env, PI_CODING_AGENT_DIR: agentDir };
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
  try {
    const pi = new FakePi();
    await extension(pi.api);
    await pi.emit("session_start");
    await pi.refresh({ allowNetwork: true });
    expect(pi.provider.getModels().length).toBeGreaterThan(0);
    await pi.emit("session_shutdown");
  } finally {
    vi.unstubAllEnvs();
    rmSync(agentDir, { recursive: true, force: true });
  }
}

/** Looks at the panel's state until the model is in it. */
async function watch(server: ModelServer, id: string): Promise<void> {
  const over = new AbortController();
  const source = new PanelSource({
    server,
    remembered: () => new Map(),
    expectedLoadMs: async () => undefined,
    onChange: () => {},
  });
  const following = source.follow(over.signal);
  await eventually(() => {
    expect(source.state.models.map((found) => found.id)).toContain(id);
    expect(source.state.version).toBeDefined();
  });
  over.abort();
  await following;
}

function chats(site: Site): void {
  test("a first chat is answered with its usage, and the client reads the window afterwards", async () => {
    const [standing, server] = await open(site);
    const before = await standing.loads();
    const { message } = await turn(server, site.id);
    expect([message.stopReason, message.errorMessage]).toEqual(["stop", undefined]);
    expect(message.usage.output).toBeGreaterThan(0);
    expect(message.usage.input + message.usage.cacheRead).toBeGreaterThan(0);
    expect(await standing.loads()).toBe(before + (site.loadsAtStart === 0 ? 1 : 0));
    expect(await factsOf(server, site.id)).toEqual(site.after);
  });

  const { endless } = site;
  if (endless === undefined) return;
  test("the client sees a request under way where the server reports it, and the signal ends the request", async () => {
    const [, server] = await open(site, { speed: 5 });
    const end = new AbortController();
    const running = turn(server, site.id, endless, end.signal);
    await eventually(async () => {
      const seen = await requestsInFlight(server, NEVER);
      expect([seen.source, seen.total]).toEqual([site.sees, site.sees === "unknown" ? undefined : 1]);
      if (site.sees !== "unknown") expect(seen.models).toMatchObject([{ model: site.id, total: 1 }]);
    });
    const began = Date.now();
    end.abort();
    expect((await running).message.stopReason).toBe("aborted");
    expect(Date.now() - began).toBeLessThan(1000);
    if (site.sees === "unknown") return;
    await eventually(async () => expect((await requestsInFlight(server, NEVER)).total).toBe(0));
  });
}

function loadsAndUnloads(site: Site): void {
  if (!site.canLoad) return;
  test("the user loads a model, sees its window, and unloads it", async () => {
    const [standing, server] = await open(site);
    const desk = new Desk(standing.env);
    await desk.refresh();
    const [tokens, source] = site.after.context;
    expect(await desk.type(`/ai-server-load ${site.id}`)).toContain(`${site.id} is loaded`);
    expect(await standing.loads()).toBe(1);
    expect((await server.runningNow())?.map(({ id }) => id)).toEqual([site.id]);
    expect((await server.liveContext(site.id).catch(() => undefined))?.tokens).toBe(
      source === "live" ? tokens : undefined,
    );
    expect(await factsOf(server, site.id)).toEqual(site.after);
    const again = await desk.type(`/ai-server-load ${site.id}`);
    expect(again).toContain("is already loaded");
    expect(await standing.loads()).toBe(1);
    await desk.type(`/ai-server-unload ${site.id}`);
    expect(await server.runningNow()).toEqual([]);
    expect((await factsOf(server, site.id)).state).toBe(site.first.state);
  });

  test("a load of an unknown id is refused, and the signal ends the wait for a load", async () => {
    const [standing, server] = await open(site, { speed: 1 });
    expect(await sentenceOf(load(server, "no-such-model"))).toContain("no-such-model");
    expect(await standing.loads()).toBe(0);
    if (!site.isSlowToLoad) return;
    const end = new AbortController();
    const loading = load(server, site.id, end.signal);
    await eventually(async () => expect(await standing.loads()).toBe(1));
    end.abort(new Error("enough"));
    await expect(loading).rejects.toThrow("enough");
  });
}

function failsInWords(site: Site): void {
  test("every reading says so when the server is down", async () => {
    const [standing, server] = await open(site);
    const fresh = clientOf(standing);
    await standing.stop();
    expect(await sentenceOf(server.discover(new Map()))).toMatch(/127\.0\.0\.1/);
    expect(await sentenceOf(fresh.backend())).toMatch(/127\.0\.0\.1/);
    expect(await sentenceOf(load(fresh, site.id))).toMatch(/127\.0\.0\.1/);
    expect(await server.isWorking(site.id, NEVER)).toBe(false);
    expect((await requestsInFlight(server, NEVER)).total).toBeUndefined();
    const desk = new Desk(standing.env);
    expect(await desk.type("/ai-server-status")).toMatch(/FAILS/);
    expect(await desk.offers("ai-server-load", "")).toEqual([]);
  });

  if (!site.hasKeys) return;
  test("the server takes the right key, and the client names a wrong one", async () => {
    const [standing] = await open(site, { apiKeys: ["right"] });
    const wrong = clientOf(standing, { AI_SERVER_API_KEY: "wrong" });
    const asked = [() => wrong.discover(new Map()), () => wrong.backend(), () => load(wrong, site.id)];
    for (const ask of asked) expect(await sentenceOf(ask())).toMatch(/API[ _]KEY|401/i);
    const { message } = await turn(wrong, site.id);
    expect([message.stopReason, message.errorMessage]).toEqual(["error", expect.stringMatching(/key|401/i)]);
  });
}
