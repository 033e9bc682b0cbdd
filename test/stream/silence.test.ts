import { describe, expect, it } from "vitest";
import type { ServerError } from "../../lib/errors.ts";
import { RequestLost, type SilenceHooks, watchSilence } from "../../stream/silence.ts";
import type { SilentState } from "../../stream/waiting.ts";
import { FakeClock } from "../support/clock.ts";
import { FakeServer } from "../support/turns.ts";

function watched(env = {}, id: string | null = "thinker", bytes = 1000, suspendedMs = () => 0) {
  const clock = new FakeClock();
  const server = new FakeServer(clock, env);
  const states: [SilentState, number][] = [];
  const quiet: [SilentState, number][] = [];
  const ended: ServerError[] = [];
  const lost: boolean[] = [];
  const hooks: SilenceHooks = {
    clock: { now: () => clock.now() + suspendedMs(), sleep: clock.sleep },
    onState: (state, elapsedMs) => states.push([state, elapsedMs]),
    onQuiet: (state, silentMs) => quiet.push([state, silentMs]),
    onTimeout: (error) => {
      ended.push(error);
      lost.push(error instanceof RequestLost);
    },
  };
  const request = { requestedId: "thinker", session: "s", bytes, isResent: false };
  const silence = watchSilence(server, id ?? undefined, hooks, request);
  return { clock, server, states, quiet, ended, lost, silence };
}

describe("the watch over silence", () => {
  it("reports the state while nothing has come, at most once a second and less and less often", async () => {
    const { clock, server, states, silence } = watched();
    server.state = "starting";
    server.others = ["other"];
    await clock.advance(30_000);
    const moments = states.map(([, elapsed]) => elapsed);
    expect(states[0]).toEqual([{ own: "starting", blockedBy: "other" }, 1000]);
    const pauses = moments.slice(1).map((moment, at) => moment - (moments[at] ?? 0));
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(1000);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(5000);
    silence.stop();
  });

  it("names the model that is being stopped before one that stays", async () => {
    const { clock, server, states, silence } = watched();
    const entry = (id: string, state: "ready" | "stopping") => {
      return { id, state };
    };
    server.running = async () => [entry("embedding", "ready"), entry("other", "stopping")];
    await clock.advance(1000);
    expect(states[0]).toEqual([{ own: "gone", blockedBy: "other" }, 1000]);
    silence.stop();
  });

  it("keeps looking while bytes come that are no answer", async () => {
    const { clock, server, states, ended, silence } = watched({ AI_SERVER_TIMEOUT_MS: "10000" });
    server.state = "starting";
    for (let second = 0; second < 20; second += 1) {
      silence.heard();
      await clock.advance(1000);
    }
    expect(states.length).toBeGreaterThan(4);
    expect([server.looks, ended.length]).toEqual([states.length, 0]);
    silence.stop();
  });

  it("stops looking once the answer has begun, until it is silent for five seconds", async () => {
    const { clock, server, states, quiet, ended, silence } = watched({ AI_SERVER_TIMEOUT_MS: "60000" });
    await clock.advance(1500);
    silence.answered();
    for (let second = 0; second < 60; second += 1) {
      silence.heard();
      await clock.advance(1000);
    }
    expect([server.looks, states.length, quiet.length]).toEqual([1, 1, 0]);
    await clock.advance(58_000);
    expect([states.length, ended.length]).toEqual([1, 0]);
    expect(quiet[0]).toEqual([{ own: "ready", blockedBy: undefined }, 5000]);
    expect(quiet.length).toBeGreaterThan(8);
    expect(server.looks).toBe(1 + quiet.length);
    await clock.advance(2000);
    expect(ended.map(({ message }) => message)).toEqual([
      "The server was silent for 60 s (timed out). The model is loaded but is not working on this request.",
    ]);
  });

  it("ends nothing twice, and says nothing after it was stopped", async () => {
    const { clock, server, states, ended, silence } = watched();
    await clock.advance(301_000);
    await clock.advance(900_000);
    expect(ended).toHaveLength(1);
    silence.stop();

    const stopped = watched();
    let answer: (() => void) | undefined;
    stopped.server.running = () =>
      new Promise((_, reject) => {
        answer = () => reject(new Error("aborted"));
      });
    await stopped.clock.advance(1000);
    stopped.silence.stop();
    answer?.();
    await stopped.clock.advance(1_000_000);
    expect([stopped.states, stopped.ended, stopped.clock.waiting]).toEqual([[], [], 0]);
    expect([states.length > 0, server.looks > 0, clock.waiting]).toEqual([true, true, 0]);
  });

  it("asks nothing about a model that runs elsewhere", async () => {
    const { clock, server, ended } = watched({}, null);
    await clock.advance(300_000);
    expect([server.looks, ended.length]).toEqual([0, 1]);
  });

  it("waits on when the server begins to work only at the limit, and gives up when it stops working", async () => {
    const { clock, server, ended } = watched();
    server.working = true;
    await clock.advance(400_000);
    expect(ended).toEqual([]);
    server.working = false;
    await clock.advance(6000);
    expect(ended).toHaveLength(1);
  });

  it("holds the load limit where that is the shorter one", async () => {
    const { clock, server, ended } = watched({ AI_SERVER_LOAD_TIMEOUT_MS: "1000" });
    server.state = "starting";
    await clock.advance(300_000);
    expect(ended.map((error) => error.message)).toEqual([
      "The server was silent for 300 s (timed out). The model is still not loaded; see AI_SERVER_LOAD_TIMEOUT_MS.",
    ]);
  });
});

describe("a request that the server does not have", () => {
  const gone = { isHeld: false, ahead: 0 };

  it("is lost within 30 s, when that was seen twice, and connections are renewed before", async () => {
    const { clock, server, ended, lost } = watched();
    server.held = gone;
    await clock.advance(9000);
    expect([ended.length, server.renewals]).toEqual([0, 0]);
    await clock.advance(13_000);
    expect([lost, server.renewals]).toEqual([[true], 1]);
    expect(ended[0]).toMatchObject({
      link: "stream",
      remedy: "retry",
      message:
        "No answer came: the server does not have this request any more (connection error). The connection may have been lost by a suspend, a VPN or a router.",
    });
    expect(clock.waiting).toBe(0);
  });

  it("is lost whatever becomes of its model, and not while the server does not answer", async () => {
    for (const state of ["ready", "gone", "starting", "stopping"] as const) {
      const { clock, server, lost } = watched();
      Object.assign(server, { state, held: gone });
      await clock.advance(22_000);
      expect(lost).toEqual([true]);
    }
    const { clock, server, lost, silence } = watched();
    Object.assign(server, { state: new Error("down"), held: gone });
    await clock.advance(200_000);
    expect([lost, server.heardOf]).toEqual([[], 0]);
    silence.stop();
  });

  it("seen once is looked for again: it may only have been on its way", async () => {
    const { clock, server, ended, silence } = watched();
    server.held = gone;
    await clock.advance(14_000);
    expect(server.heardOf).toBeGreaterThan(1);
    server.held = { isHeld: true, ahead: 0 };
    await clock.advance(250_000);
    server.held = gone;
    silence.heard();
    await clock.advance(9000);
    expect(ended).toEqual([]);
    silence.stop();
  });

  it("after a suspend that was longer than every limit is lost, and not timed out", async () => {
    let suspendedMs = 0;
    const { clock, server, ended, lost } = watched({}, "thinker", 1000, () => suspendedMs);
    server.held = gone;
    await clock.advance(2000);
    suspendedMs = 3_600_000;
    await clock.advance(15_000);
    expect([ended.length, lost, server.heardOf]).toEqual([1, [true], 2]);
  });

  it("seen missing once ends as timed out where the server then does not answer", async () => {
    let suspendedMs = 0;
    const { clock, server, ended, lost } = watched({}, "thinker", 1000, () => suspendedMs);
    server.held = gone;
    await clock.advance(2000);
    suspendedMs = 3_600_000;
    await clock.advance(2000);
    server.state = new Error("down");
    await clock.advance(15_000);
    expect([ended.length, lost]).toEqual([1, [false]]);
  });

  it("may still be on its way over a slow line", async () => {
    const { clock, server, lost } = watched({}, "thinker", 2_000_000);
    server.held = gone;
    await clock.advance(49_000);
    expect(lost).toEqual([]);
    await clock.advance(15_000);
    expect(lost).toEqual([true]);
  });

  it("ends in the midst of an answer in a sentence of its own", async () => {
    const { clock, server, ended, quiet, silence } = watched();
    await clock.advance(500);
    silence.answered();
    silence.heard();
    Object.assign(server, { state: "gone", held: gone });
    await clock.advance(29_000);
    expect(ended.map(({ message }) => message)).toEqual([
      "The answer broke off: the server does not have this request any more (connection error). The model was unloaded meanwhile, or the connection was lost.",
    ]);
    expect(quiet.at(-1)?.[0]).toMatchObject({ own: "gone", isHeld: false });
  });
});

it("a request that is worked on is not cut before the load's limit, however silent", async () => {
  const { clock, server, ended } = watched();
  server.held = { isHeld: true, ahead: 0 };
  await clock.advance(599_000);
  expect(ended).toEqual([]);
  expect(server.heardOf).toBeLessThan(45);
  await clock.advance(6000);
  expect(ended).toHaveLength(1);
});

it("a load that had to wait is seen as it begins, where the server has events", async () => {
  const { clock, server, states, silence } = watched();
  server.state = "gone";
  server.others = ["other"];
  await clock.advance(1500);
  server.followed?.onModels?.(new Map([["thinker", "unloaded"]]));
  await clock.advance(100);
  server.followed?.onModels?.(new Map([["thinker", "starting"]]));
  server.followed?.onModels?.(new Map([["thinker", "starting"]]));
  expect(states.map(([{ own }, elapsedMs]) => [own, elapsedMs])).toEqual([
    ["gone", 1000],
    ["starting", 1600],
  ]);
  silence.stop();
});
