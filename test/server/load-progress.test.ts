import { describe, expect, test } from "vitest";
import type { RequestInFlight } from "../../server/kinds/events.ts";
import { LoadWatch } from "../../server/load.ts";
import type { ModelState, RunningModel } from "../../server/models/models.ts";

const running = (states: Record<string, ModelState>): RunningModel[] =>
  Object.entries(states).map(([id, state]) => ({ id, state }));
const events = (states: Record<string, ModelState>) => new Map(Object.entries(states));
const requests = (...models: string[]): RequestInFlight[] =>
  models.map((model) => {
    const client = { agent: undefined, session: undefined, address: undefined };
    return { id: model, model, path: "/", elapsedMs: 1, client };
  });

describe("a load", () => {
  test("of an empty server begins with the request", () => {
    const watch = new LoadWatch("m", [], 1000);
    expect(watch.progress(4000)).toEqual({ kind: "loading", elapsedMs: 3000 });
    expect(watch.loadMs(4000)).toBe(3000);
  });

  test("waits for another, which stops, and begins when it starts", () => {
    const watch = new LoadWatch("m", running({ a: "ready" }), 1000);
    expect(watch.progress(1500)).toEqual({ kind: "waiting", blockedBy: "a", requests: undefined });
    watch.sawRequests(requests("a", "m", "a"));
    expect(watch.progress(1500)).toEqual({ kind: "waiting", blockedBy: "a", requests: 2 });
    watch.sawEvents(events({ a: "stopping", m: "unloaded" }), 2000);
    expect(watch.progress(2500)).toEqual({ kind: "stopping", model: "a" });
    watch.sawEvents(events({ a: "unloaded", m: "starting" }), 3000);
    expect(watch.progress(3700)).toEqual({ kind: "loading", elapsedMs: 700 });
    watch.sawEvents(events({ a: "unloaded", m: "ready" }), 4000);
    expect(watch.loadMs(4000)).toBe(1000);
  });

  test("waits for the one that is busiest", () => {
    const watch = new LoadWatch("m", running({ a: "ready", b: "ready", c: "starting" }), 0);
    watch.sawRequests(requests("b", "a", "b"));
    expect(watch.progress(1)).toEqual({ kind: "waiting", blockedBy: "b", requests: 2 });
  });

  test("counts no requests of a model that answers none", () => {
    const watch = new LoadWatch("m", running({ a: "ready" }), 0);
    watch.sawRequests([]);
    expect(watch.progress(1)).toMatchObject({ requests: 0 });
  });

  test("beside others that stay is one by its events, where /running hides it (up to v217)", () => {
    const watch = new LoadWatch("m", running({ a: "ready" }), 0);
    watch.sawEvents(events({ a: "ready", m: "starting" }), 500);
    watch.sawRunning(running({ a: "ready" }), 1500);
    expect(watch.progress(2500)).toEqual({ kind: "loading", elapsedMs: 2000 });
  });

  test("reads /running again when the events are lost", () => {
    const watch = new LoadWatch("m", [], 0);
    watch.sawEvents(events({ m: "starting" }), 500);
    watch.sawRequests(requests("a"));
    watch.lostEvents();
    watch.sawRunning(running({ a: "ready" }), 1500);
    expect(watch.progress(2500)).toEqual({ kind: "waiting", blockedBy: "a", requests: undefined });
  });

  test("keeps its beginning while /running cannot be had", () => {
    const watch = new LoadWatch("m", [], 1000);
    watch.sawRunning(undefined, 2000);
    expect(watch.progress(2500)).toBeUndefined();
    watch.sawRunning(running({ m: "starting" }), 3000);
    expect(watch.loadMs(3000)).toBe(2000);
  });

  test("that is ready before it has loaded (checkEndpoint none) continues", () => {
    const watch = new LoadWatch("m", [], 0);
    watch.sawRunning(running({ m: "ready" }), 1000);
    expect(watch.progress(1500)).toEqual({ kind: "loading", elapsedMs: 1500 });
  });
});

describe("how long a load took is not known", () => {
  test("where another client began it", () => {
    const watch = new LoadWatch("m", running({ m: "starting" }), 1000);
    expect(watch.progress(3000)).toEqual({ kind: "loading", elapsedMs: 2000 });
    expect(watch.loadMs(3000)).toBeUndefined();
  });

  test("where it was ready at the first look after the waiting", () => {
    const watch = new LoadWatch("m", running({ a: "ready" }), 1000);
    watch.sawRunning(running({ m: "ready" }), 6000);
    expect(watch.loadMs(6000)).toBeUndefined();
  });

  test("where the model was ready from the beginning", () => {
    const watch = new LoadWatch("m", running({ m: "ready" }), 1000);
    expect(watch.progress(3000)).toBeUndefined();
    expect(watch.loadMs(3000)).toBeUndefined();
  });
});

test("a model that was ready and is loaded again counts from there", () => {
  const watch = new LoadWatch("m", running({ m: "ready" }), 1000);
  watch.sawEvents(events({ m: "stopping" }), 1500);
  expect(watch.progress(1600)).toEqual({ kind: "stopping", model: "m" });
  watch.sawEvents(events({ m: "starting" }), 2000);
  expect(watch.loadMs(5000)).toBe(3000);
});

test("a load that was broken off counts from its new beginning", () => {
  const watch = new LoadWatch("m", [], 0);
  watch.restarted();
  watch.sawRunning(running({ m: "starting" }), 5000);
  expect(watch.loadMs(6000)).toBe(1000);
});
