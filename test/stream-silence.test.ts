import { describe, expect, it } from "vitest";
import type { Variables } from "../config.ts";
import { remedyOf } from "../stream/pi-rules.ts";
import { FakeClock } from "./support/clock.ts";
import { chunk, DONE, events } from "./support/decoding.ts";
import { beginTurn, expectNothingLeft, FakeServer, type RunningTurn } from "./support/turns.ts";

const MINUTE = 60_000;
const HI = events(chunk({ content: "Hi" }));
const REST = events(chunk({}, "stop")) + DONE;

interface Silent {
  clock: FakeClock;
  server: FakeServer;
  turn: RunningTurn;
}

/** A turn whose first answer says nothing, or stops after `pieces`; a second one would be whole. */
async function silentTurn(
  state: FakeServer["state"],
  { pieces, env, options = {} }: { pieces?: string[]; env?: Variables; options?: object } = {},
): Promise<Silent> {
  const clock = new FakeClock();
  const server = new FakeServer(clock, env);
  server.state = state;
  server.answers.push(pieces ? { pieces, end: "never" } : { silent: true }, { pieces: [HI, REST] });
  const turn = beginTurn(server, { clock, options });
  await clock.advance(0);
  return { clock, server, turn };
}

async function endOf({
  clock,
  server,
  turn,
}: Silent): Promise<{ after: number; message: string; looks: number }> {
  const begun = clock.now();
  const { message } = await clock.until(turn.ended);
  await expectNothingLeft(server, clock, undefined);
  return {
    after: clock.now() - begun,
    message: message.errorMessage ?? message.stopReason,
    looks: server.looks,
  };
}

describe("a server that is silent", () => {
  it("is given up after AI_SERVER_TIMEOUT_MS when the ready model does not work on the request", async () => {
    const { after, message } = await endOf(await silentTurn("ready"));
    expect(after).toBe(5 * MINUTE);
    expect(message).toBe(
      "The server was silent for 300 s (timed out). The model is loaded but is not working on this request.",
    );
  });

  it.each<[string, FakeServer["state"], Partial<FakeServer>]>([
    ["the model starts", "starting", {}],
    ["the model stops", "stopping", {}],
    ["another model has to leave", "gone", { others: ["other"] }],
    ["a slot works", "ready", { working: true }],
  ])("is waited for while %s, up to AI_SERVER_LOAD_TIMEOUT_MS", async (_what, state, more) => {
    const silent = await silentTurn(state);
    Object.assign(silent.server, more);
    const { after, message, looks } = await endOf(silent);
    expect(after).toBeGreaterThanOrEqual(10 * MINUTE);
    expect(after).toBeLessThan(10.2 * MINUTE);
    expect(message).toContain("(timed out)");
    // At most one look a second, and after the first seconds far fewer.
    expect(looks).toBeLessThan(150);
    expect(looks).toBeGreaterThan(10);
  });

  it.each<[string, FakeServer["state"], string]>([
    ["does not answer /running either", new Error("down"), "Neither Caddy nor the model server answers."],
    [
      "has no /running",
      undefined,
      "It does not report what the model is doing; raise AI_SERVER_TIMEOUT_MS for longer prompts.",
    ],
  ])("that %s is given up at the first limit", async (_what, state, where) => {
    const { after, message } = await endOf(await silentTurn(state));
    expect(after).toBe(5 * MINUTE);
    expect(message).toBe(`The server was silent for 300 s (timed out). ${where}`);
  });

  it("that answers in time is not cut, and what it did before is reported", async () => {
    const silent = await silentTurn("starting");
    await silent.clock.advance(4 * MINUTE);
    silent.server.state = "gone";
    silent.server.others = ["big one"];
    await silent.clock.advance(5 * MINUTE);
    expect(silent.turn.events).toEqual([]);
    expect(silent.turn.activities).toContainEqual({ kind: "loading", elapsedMs: 1000 });
    expect(silent.turn.activities).toContainEqual({ kind: "waiting", blockedBy: "big one" });
    await endOf(silent);
  });

  it("does not claim that a model loads where its load was not seen", async () => {
    for (const state of [undefined, new Error("down"), "ready"] as const) {
      const silent = await silentTurn(state);
      await silent.clock.advance(MINUTE);
      expect(silent.turn.activities).toEqual([{ kind: "connecting" }]);
      await endOf(silent);
    }
  });
});

describe("a stream that falls silent", () => {
  it("is cut after AI_SERVER_TIMEOUT_MS without any byte, and keeps what came", async () => {
    const silent = await silentTurn("ready", { pieces: [HI], env: { AI_SERVER_TIMEOUT_MS: "20000" } });
    const { after, message } = await endOf(silent);
    expect(after).toBe(20_000);
    expect(message).toMatch(/^The server was silent for 20 s \(timed out\)\./);
    const { message: kept } = await silent.turn.ended;
    expect(kept).toMatchObject({ content: [{ type: "text", text: "Hi" }], usage: { output: 1 } });
    expect(silent.server.chats).toHaveLength(1);
  });

  it("is whole where the server had said that the answer is finished", async () => {
    const finished = HI + events(chunk({}, "stop"));
    const silent = await silentTurn("ready", { pieces: [finished], env: { AI_SERVER_TIMEOUT_MS: "20000" } });
    expect(await endOf(silent)).toMatchObject({ after: 5000, message: "stop" });
    expect(silent.server.chats).toHaveLength(1);
  });

  it("lives on while comments come", async () => {
    const silent = await silentTurn("ready", { pieces: [HI] });
    for (let minute = 0; minute < 60; minute += 4) {
      await silent.clock.advance(4 * MINUTE);
      silent.server.chats[0]?.stream.write(":\n\n");
    }
    silent.server.chats[0]?.stream.end(REST);
    expect(await endOf(silent)).toMatchObject({ message: "stop" });
  });

  it("lives on while each byte of an event comes", async () => {
    const silent = await silentTurn("ready");
    await endOf(silent);
    const dripping = await silentTurn("ready", { pieces: [] });
    for (const byte of HI + REST) {
      await dripping.clock.advance(4 * MINUTE);
      dripping.server.chats[0]?.stream.write(byte);
    }
    dripping.server.chats[0]?.stream.end();
    expect(await endOf(dripping)).toMatchObject({ message: "stop" });
  });

  it("asks nothing of the server while bytes come", async () => {
    const silent = await silentTurn("ready", { pieces: [HI] });
    for (let second = 0; second < 600; second += 1) {
      await silent.clock.advance(1000);
      silent.server.chats[0]?.stream.write(":\n\n");
    }
    expect(silent.server.looks).toBeLessThanOrEqual(1);
    silent.server.chats[0]?.stream.end(REST);
    await endOf(silent);
  });
});

describe("a request that the server does not have", () => {
  const gone = { isHeld: false, ahead: 0 };

  it("is sent again on a new connection within 30 s, and the user sees why", async () => {
    const silent = await silentTurn("ready");
    silent.server.held = gone;
    const { after, message } = await endOf(silent);
    expect(message).toBe("stop");
    expect(after).toBeLessThan(30_000);
    // Before the looks, and before the request.
    expect([silent.server.chats.length, silent.server.renewals]).toEqual([2, 2]);
    expect(silent.turn.activities).toContainEqual({
      kind: "retrying",
      why: "the connection is dead",
      delayMs: 1000,
    });
    expect(silent.server.chats[1]?.body).toEqual(silent.server.chats[0]?.body);
  });

  it("is sent again once where the server never lists it: then the long limit holds", async () => {
    const silent = await silentTurn("ready");
    silent.server.held = gone;
    silent.server.answers[0] = { silent: true };
    const { after, message } = await endOf(silent);
    expect(silent.server.chats).toHaveLength(2);
    expect(after).toBeGreaterThan(5 * MINUTE);
    expect(message).toMatch(/^The server was silent for 300 s \(timed out\)/);
  });

  it("is not sent again when content has come: pi decides by the sentence", async () => {
    const silent = await silentTurn("ready", { pieces: [HI] });
    Object.assign(silent.server, { state: "gone", held: gone });
    const { after, message } = await endOf(silent);
    expect(after).toBeLessThan(30_000);
    expect(silent.server.chats).toHaveLength(1);
    expect(message).toBe(
      "The answer broke off: the server does not have this request any more (connection error). The model was unloaded meanwhile, or the connection was lost.",
    );
    expect(remedyOf(message)).toBe("retry");
    expect(silent.turn.activities).toContainEqual({ kind: "quiet", why: "gone", silentMs: 5000 });
  });

  it("and had finished its answer is whole", async () => {
    const silent = await silentTurn("ready", { pieces: [HI + events(chunk({}, "stop"))] });
    silent.server.held = gone;
    expect((await endOf(silent)).message).toBe("stop");
  });
});

it("a connection whose other end confirms nothing any more is lost like any other, before content", async () => {
  const role = events(chunk({ role: "assistant", content: null }));
  const silent = await silentTurn("ready", { pieces: [role] });
  await silent.clock.advance(1000);
  // What the system reports when its probes stay without a reply.
  silent.server.chats[0]?.stream.destroy(Object.assign(new Error("read"), { code: "ETIMEDOUT" }));
  expect((await endOf(silent)).message).toBe("stop");
  expect(silent.server.chats).toHaveLength(2);
});

describe("llama-swap's banner", () => {
  const banner = (text: string): string => events({ choices: [{ delta: { reasoning_content: text } }] });

  it("is no answer, though an event of it comes in two pieces: the load is still seen", async () => {
    const whole = banner("Queue position: #1 .");
    const pieces = [whole.slice(0, 30), whole.slice(30)];
    const silent = await silentTurn("gone", { pieces });
    await silent.clock.advance(1000);
    silent.server.state = "starting";
    await silent.clock.advance(5000);
    expect(silent.turn.activities.at(-1)).toMatchObject({ kind: "loading" });
    silent.server.chats[0]?.stream.end(HI + REST);
    await endOf(silent);
  });

  it("is over with the model's first event, be it one that says nothing", async () => {
    const silent = await silentTurn("gone", { pieces: [banner("llama-swap loading model: x\n")] });
    await silent.clock.advance(100);
    expect(silent.turn.activities.at(-1)).toMatchObject({ kind: "loading" });
    silent.server.chats[0]?.stream.write(events(chunk({ role: "assistant", content: null })));
    await silent.clock.advance(0);
    expect(silent.turn.activities.at(-1)).toEqual({ kind: "connecting" });
    silent.server.chats[0]?.stream.end(HI + REST);
    await endOf(silent);
  });
});

describe("pi's timeoutMs", () => {
  it("does not cut, however short", async () => {
    const silent = await silentTurn("starting", { options: { timeoutMs: 1 } });
    await silent.clock.advance(9 * MINUTE);
    expect(silent.turn.events).toEqual([]);
    await endOf(silent);
  });
});

describe("a silence that ends the request", () => {
  it("is asked again as often as pi allows, before the first content", async () => {
    const silent = await silentTurn("ready", { options: { maxRetries: 1 } });
    const { message } = await endOf(silent);
    expect(message).toBe("stop");
    expect(silent.server.chats).toHaveLength(2);
  });
});
