import { describe, expect, test } from "vitest";
import { type ModelsRead, type PanelModel, PanelStore } from "../../../admin/panel/state.ts";
import type { RequestInFlight } from "../../../server/kinds/events.ts";
import type { ModelFacts, ModelState, RunningModel } from "../../../server/models/models.ts";
import { facts as factsOf } from "../../support/model-facts.ts";

const NOW = 1_800_000_000_000;
const UNKNOWN_CLIENT = { agent: undefined, session: undefined, address: undefined };

const facts = (id: string, state: ModelState = "unloaded", more: Partial<ModelFacts> = {}): ModelFacts =>
  factsOf({
    id,
    name: id,
    state,
    ttlSeconds: undefined,
    runsAs: id,
    context: { value: 8192, source: state === "ready" ? "live" : "declared" },
    thinking: { value: { kind: "none" }, source: "live" },
    ...more,
  });

const runs = (id: string, state: ModelState = "ready", ttlSeconds = 300): RunningModel => ({
  id,
  state,
  commandLine: "llama-server",
  ttlSeconds,
});

const read = (models: ModelFacts[], running: RunningModel[] | undefined, more = {}): ModelsRead => ({
  models,
  running,
  descriptions: new Map(),
  expectedLoads: new Map(),
  asked: (running ?? []).filter(({ state }) => state === "ready").map(({ id }) => id),
  ...more,
});

const states = (of: Record<string, ModelState>): Map<string, ModelState> => new Map(Object.entries(of));

const request = (id: string, model: string, elapsedMs = 0): RequestInFlight => ({
  id,
  model,
  path: "/v1/chat/completions",
  elapsedMs,
  client: UNKNOWN_CLIENT,
});

function shown(store: PanelStore, id: string): PanelModel {
  const model = store.models.find((found) => found.id === id);
  if (model === undefined) throw new Error(`${id} is not shown`);
  return model;
}

/** With `a` ready since before, and no requests for it. */
function looked(): PanelStore {
  const store = new PanelStore();
  store.sawModels(read([facts("a", "ready"), facts("b")], [runs("a")]), store.events, NOW);
  store.sawStates(states({ a: "ready", b: "unloaded" }), NOW);
  store.sawRequests([], NOW);
  return store;
}

describe("states", () => {
  test("are as read until an event changes them", () => {
    const store = new PanelStore();
    store.sawStates(states({ a: "ready" }), NOW);
    expect(store).toMatchObject({ following: "reading", models: [], requests: undefined });
    store.sawModels(read([facts("a", "ready"), facts("b")], [runs("a")]), store.events, NOW);
    expect(store.models.map(({ id, state }) => [id, state])).toEqual([
      ["a", "ready"],
      ["b", "unloaded"],
    ]);
    store.sawStates(states({ a: "stopping", b: "starting" }), NOW);
    expect([shown(store, "a").state, shown(store, "b").state]).toEqual(["stopping", "starting"]);
    expect(shown(store, "b").facts?.state).toBe("starting");
  });

  test("an event during a reading of the models is newer than the reading", () => {
    const store = looked();
    const { events } = store;
    store.sawStates(states({ a: "unloaded", b: "starting" }), NOW);
    store.sawModels(read([facts("a", "ready"), facts("b")], [runs("a")]), events, NOW);
    expect([shown(store, "a").state, shown(store, "b").state]).toEqual(["unloaded", "starting"]);
  });

  test("of a model that becomes ready ask for a reading, once", () => {
    const store = looked();
    expect(store.sawStates(states({ a: "ready", b: "starting" }), NOW)).toBe(false);
    expect(store.sawStates(states({ a: "stopping", b: "ready" }), NOW)).toBe(true);
    expect(store.sawStates(states({ a: "unloaded", b: "ready" }), NOW)).toBe(false);
  });

  test("of a failed load ask for a reading, those of an unload do not", () => {
    const store = looked();
    expect(store.sawStates(states({ a: "ready", b: "starting" }), NOW)).toBe(false);
    expect(store.sawStates(states({ a: "ready", b: "unloaded" }), NOW)).toBe(true);
    expect(store.sawStates(states({ a: "unloaded", b: "unloaded" }), NOW)).toBe(false);
  });

  test("an event before the first reading asks for another one where that disagrees", () => {
    const store = new PanelStore();
    const { events } = store;
    expect(store.sawStates(states({ a: "ready" }), NOW)).toBe(false);
    expect(store.sawModels(read([facts("a", "ready")], [runs("a")]), events, NOW)).toBe(false);
    expect(store.sawModels(read([facts("a")], []), events, NOW)).toBe(true);
    expect(store.sawModels(read([facts("a")], []), store.events, NOW)).toBe(false);
  });

  test("turn live facts into last seen ones when the model is no longer ready", () => {
    const store = looked();
    expect(shown(store, "a").facts?.context).toEqual({ value: 8192, source: "live" });
    store.sawStates(states({ a: "unloaded", b: "unloaded" }), NOW);
    expect(shown(store, "a").facts).toMatchObject({
      context: { value: 8192, source: "last seen" },
      vision: { source: "last seen" },
    });
    expect(shown(store, "b").facts?.context.source).toBe("declared");
  });

  test("of an alias are those of its model, and of a peer its own", () => {
    const store = new PanelStore();
    const alias = facts("c", "unloaded", { kind: "alias", runsAs: "a" });
    const peer = facts("p", "unknown", { kind: "peer", runsAs: undefined });
    store.sawModels(read([facts("a"), alias, peer], []), store.events, NOW);
    store.sawStates(states({ a: "starting", p: "ready" }), NOW);
    expect([shown(store, "c").state, shown(store, "p").state]).toEqual(["starting", "unknown"]);
  });

  test("show a model that runs without being listed", () => {
    const store = looked();
    store.sawStates(states({ a: "ready", b: "unloaded", hidden: "ready", other: "unloaded" }), NOW);
    expect(store.models.map(({ id }) => id)).toEqual(["a", "b", "hidden"]);
    expect(shown(store, "hidden")).toMatchObject({ facts: undefined, runsAs: "hidden", state: "ready" });
  });

  test("of a server that reports only what runs", () => {
    const store = looked();
    expect(store.sawRunning([runs("b")], NOW)).toBe(true);
    expect([shown(store, "a").state, shown(store, "b").state]).toEqual(["unloaded", "ready"]);
    expect(store.sawRunning([], NOW)).toBe(false);
    expect(shown(store, "b").state).toBe("unloaded");
  });

  test("are unknown if the server does not report what runs", () => {
    const store = new PanelStore();
    store.sawModels(read([facts("a", "unknown")], undefined), store.events, NOW);
    expect(shown(store, "a").state).toBe("unknown");
  });
});

describe("a load", () => {
  test("that was seen to begin has a length", () => {
    const store = looked();
    store.sawModels(read([facts("b")], [], { expectedLoads: new Map([["b", 20_000]]) }), store.events, NOW);
    store.sawStates(states({ b: "starting" }), NOW + 5000);
    store.sawStates(states({ b: "starting" }), NOW + 9000);
    expect(shown(store, "b")).toMatchObject({
      loading: { since: NOW + 5000, isWhole: true },
      expectedLoadMs: 20_000,
    });
    store.sawStates(states({ b: "ready" }), NOW + 20_000);
    expect(shown(store, "b").loading).toBeUndefined();
    store.sawStates(states({ b: "starting" }), NOW + 60_000);
    expect(shown(store, "b").loading?.since).toBe(NOW + 60_000);
  });

  test("that was under way at the first look has none", () => {
    const store = new PanelStore();
    store.sawModels(read([facts("b", "starting")], [runs("b", "starting")]), store.events, NOW);
    expect(shown(store, "b").loading).toEqual({ since: NOW, isWhole: false });
  });

  test("that is polled has no known beginning", () => {
    const store = looked();
    store.sawRunning([runs("b", "starting")], NOW + 10_000);
    expect(shown(store, "b").loading).toEqual({ since: NOW + 10_000, isWhole: false });
  });

  test("that began while the events were lost has no known beginning, the next one has", () => {
    const store = looked();
    store.lostEvents();
    store.sawStates(states({ a: "unloaded", b: "starting" }), NOW + 9000);
    expect(shown(store, "b").loading).toEqual({ since: NOW + 9000, isWhole: false });
    store.sawStates(states({ a: "starting", b: "unloaded" }), NOW + 12_000);
    expect(shown(store, "a").loading).toEqual({ since: NOW + 12_000, isWhole: true });
  });

  test("ends when the model leaves the configuration", () => {
    const store = looked();
    store.sawStates(states({ a: "starting" }), NOW);
    store.sawStates(states({ b: "unloaded" }), NOW);
    store.sawStates(states({ a: "starting" }), NOW + 1000);
    expect(shown(store, "a").loading?.since).toBe(NOW + 1000);
  });
});

describe("the time to unload", () => {
  test("is unknown for a model that was not seen in use", () => {
    const store = new PanelStore();
    store.sawModels(read([facts("a", "ready")], [runs("a")], { asked: [] }), store.events, NOW);
    store.sawRequests([], NOW);
    expect(shown(store, "a").unloadsAt).toBeUndefined();
  });

  test("runs from the last use of the model, and reading it is one", () => {
    expect(shown(looked(), "a")).toMatchObject({ isInUse: false, unloadsAt: NOW + 300_000 });
  });

  test("stops during an answer, and starts again after it", () => {
    const store = looked();
    store.sawRequests([request("1", "a")], NOW + 10_000);
    expect(shown(store, "a")).toMatchObject({ isInUse: true, unloadsAt: undefined });
    store.sawRequests([], NOW + 20_000);
    expect(shown(store, "a")).toMatchObject({ isInUse: false, unloadsAt: NOW + 320_000 });
  });

  test.each([0, -1, undefined])("is none with a ttl of %s", (ttl) => {
    const store = looked();
    const running = { ...runs("a"), ttlSeconds: ttl };
    store.sawModels(read([facts("a", "ready")], [running]), store.events, NOW);
    expect(shown(store, "a").unloadsAt).toBeUndefined();
  });

  test("is not claimed where the server does not report requests", () => {
    const lost = looked();
    lost.lostEvents();
    expect(shown(lost, "a").unloadsAt).toBeUndefined();
    expect(lost).toMatchObject({ following: "lost", requests: undefined });
  });

  test("is none for an unloaded model", () => {
    const store = looked();
    store.sawStates(states({ a: "unloaded" }), NOW);
    expect(shown(store, "a").unloadsAt).toBeUndefined();
  });
});

describe("requests in flight", () => {
  test("keep their start, and change only when one comes or goes", () => {
    const store = looked();
    expect(store.sawRequests([request("1", "a", 3000)], NOW)).toBe(true);
    expect(store.sawRequests([request("1", "a", 4100)], NOW + 1000)).toBe(false);
    expect(store.requests).toEqual([{ id: "1", model: "a", since: NOW - 3000, client: UNKNOWN_CLIENT }]);
    expect(store.sawRequests([request("2", "a")], NOW + 2000)).toBe(true);
    expect(store.sawRequests([], NOW + 3000)).toBe(true);
  });
});

test("the last rates of a model are those that were measured last", () => {
  const store = looked();
  const answer = { promptTokens: 9, outputTokens: 9, promptRate: undefined, generationRate: undefined };
  store.answered = [
    { ...answer, model: "a", promptRate: 100, generationRate: 10 },
    { ...answer, model: "a", generationRate: 20 },
    { ...answer, model: "a" },
    { ...answer, model: "b", promptRate: 5 },
  ];
  expect(shown(store, "a").rates).toEqual({ prompt: 100, generation: 20 });
  expect(shown(store, "b").rates).toEqual({ prompt: 5, generation: undefined });
});
