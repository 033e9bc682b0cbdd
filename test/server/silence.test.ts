import { describe, expect, it } from "vitest";
import type { ServerError } from "../../server/errors.ts";
import { type SilentState, watchSilence } from "../../server/silence.ts";
import { FakeClock } from "../fake-clock.ts";
import { FakeServer } from "../turns.ts";

function watched(env = {}, id: string | null = "thinker") {
  const clock = new FakeClock();
  const server = new FakeServer(clock, env);
  const states: [SilentState, number][] = [];
  const ended: ServerError[] = [];
  const silence = watchSilence(server, id ?? undefined, {
    now: clock.now,
    sleep: clock.sleep,
    onState: (state, elapsedMs) => states.push([state, elapsedMs]),
    onTimeout: (error) => ended.push(error),
  });
  return { clock, server, states, ended, silence };
}

describe("the watch over silence", () => {
  it("tells the state while nothing has come, at most once a second and ever more seldom", async () => {
    const { clock, server, states, silence } = watched();
    server.state = "starting";
    server.others = ["other"];
    await clock.advance(30_000);
    const moments = states.map(([, elapsed]) => elapsed);
    expect(states[0]).toEqual([{ own: "starting", busy: "other" }, 1000]);
    const pauses = moments.slice(1).map((moment, at) => moment - (moments[at] ?? 0));
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(1000);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(5000);
    silence.stop();
  });

  it("names the model that is being stopped before one that stays", async () => {
    const { clock, server, states, silence } = watched();
    const entry = (id: string, state: "ready" | "stopping") => {
      return { id, state, commandLine: undefined, ttlSeconds: undefined };
    };
    server.running = async () => [entry("embedding", "ready"), entry("other", "stopping")];
    await clock.advance(1000);
    expect(states[0]).toEqual([{ own: "gone", busy: "other" }, 1000]);
    silence.stop();
  });

  it("goes on looking while bytes come that are no answer", async () => {
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

  it("looks no more once the answer has begun, until the silence is too long", async () => {
    const { clock, server, states, ended, silence } = watched({ AI_SERVER_TIMEOUT_MS: "60000" });
    await clock.advance(1500);
    silence.heard();
    silence.answered();
    await clock.advance(59_000);
    expect([server.looks, states.length, ended.length]).toEqual([1, 1, 0]);
    await clock.advance(2000);
    expect([server.looks, states.length, ended.length]).toEqual([2, 1, 1]);
    expect(ended[0]?.message).toMatch(/^The server was silent for 60 s \(timed out\)/);
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

  it("goes on when the server begins to work only at the limit, and gives up when it stops working", async () => {
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
