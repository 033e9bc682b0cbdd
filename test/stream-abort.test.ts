import { getEventListeners } from "node:events";
import type { SimpleStreamOptions } from "@earendil-works/pi-ai";
import { describe, expect, it } from "vitest";
import { FakeClock } from "./support/clock.ts";
import { chunk, events } from "./support/decoding.ts";
import {
  type Answer,
  beginTurn,
  expectNothingLeft,
  FakeServer,
  lostConnection,
  type TurnOptions,
} from "./support/turns.ts";

const HALF: Answer = {
  pieces: [events(chunk({ reasoning_content: "Hm" }), chunk({ content: "Half" }))],
  end: "never",
};

/** A turn that is aborted after `milliseconds`. */
async function abortedTurn(
  answer: Answer,
  milliseconds: number,
  more: Pick<TurnOptions, "parts"> & { options?: SimpleStreamOptions } = {},
) {
  const clock = new FakeClock();
  const server = new FakeServer(clock);
  server.state = "starting";
  server.answers.push(answer);
  const stop = new AbortController();
  const turn = beginTurn(server, {
    clock,
    ...more,
    options: { maxRetries: 9, ...more.options, signal: stop.signal },
  });
  await clock.advance(milliseconds);
  const before = turn.events.length;
  stop.abort();
  const result = await clock.until(turn.ended);
  await expectNothingLeft(server, clock, stop.signal);
  expect(clock.sleeps.length).toBeLessThan(20);
  return { ...result, server, clock, before };
}

describe("an abort", () => {
  it.each<[string, Answer, number]>([
    ["while the server is awaited", { silent: true }, 0],
    ["while the model loads", { silent: true }, 30_000],
    ["behind the headers, before the first byte", { pieces: [], end: "never" }, 1],
    ["in a refusal that does not end", { status: 500, pieces: ["{"], end: "never" }, 1],
    ["while waiting to ask again", { status: 503 }, 500],
    ["while waiting after a lost connection", { fault: lostConnection() }, 500],
    ["while waiting for a Retry-After", { status: 429, headers: { "retry-after": "60" } }, 30_000],
  ])("%s ends the turn at once, without noise", async (_when, answer, after) => {
    const { message, server, activities, clock } = await abortedTurn(answer, after);
    expect(message).toMatchObject({
      stopReason: "aborted",
      errorMessage: "Request was aborted",
      content: [],
    });
    expect(server.chats).toHaveLength(1);
    const told = activities.length;
    await clock.advance(100_000);
    expect(activities).toHaveLength(told);
    expect(server.chats).toHaveLength(1);
  });

  it("in the middle of the stream keeps what came, closes the blocks and the connection", async () => {
    const { message, server, events: seen } = await abortedTurn(HALF, 1);
    expect(message).toMatchObject({
      stopReason: "aborted",
      content: [{ thinking: "Hm" }, { text: "Half" }],
      usage: { output: 2, totalTokens: 2 },
    });
    expect(seen.slice(-2)).toEqual(["text_end", "error"]);
    expect(server.chats[0]?.signal.aborted).toBe(true);
    expect(server.chats[0]?.stream.destroyed).toBe(true);
  });

  it("in the middle of a call keeps its arguments as far as they came", async () => {
    const call = chunk({
      tool_calls: [{ index: 0, id: "a", function: { name: "x", arguments: '{"path":"a/b' } }],
    });
    const { message } = await abortedTurn({ pieces: [events(call)], end: "never" }, 1);
    expect(message.content).toEqual([{ type: "toolCall", id: "a", name: "x", arguments: { path: "a/b" } }]);
  });

  it("before the turn asks nothing at all", async () => {
    const clock = new FakeClock();
    const server = new FakeServer(clock);
    const { message, events: seen } = await clock.until(
      beginTurn(server, { clock, options: { signal: AbortSignal.abort("not wanted") } }).ended,
    );
    expect(seen).toEqual(["error"]);
    expect(message.stopReason).toBe("aborted");
    expect(server.chats).toEqual([]);
  });

  it("in a hook ends the turn when the hook does", async () => {
    const stop = new AbortController();
    const clock = new FakeClock();
    const server = new FakeServer(clock);
    server.answers.push(HALF);
    const options = {
      signal: stop.signal,
      onPayload: async () => {
        stop.abort();
        await new Promise(setImmediate);
      },
    };
    const { message } = await clock.until(beginTurn(server, { clock, options }).ended);
    expect(message.stopReason).toBe("aborted");
    expect(server.chats).toEqual([]);
  });

  it("that comes with a fault is an abort", async () => {
    const stop = new AbortController();
    const clock = new FakeClock();
    const server = new FakeServer(clock);
    server.answers.push(HALF);
    const turn = beginTurn(server, { clock, options: { signal: stop.signal } });
    await clock.advance(0);
    server.chats[0]?.stream.write('data: {"error":{"message":"broken"}}\n\n');
    stop.abort();
    expect((await clock.until(turn.ended)).message.stopReason).toBe("aborted");
  });

  it("leaves no listener on a signal that many turns share", async () => {
    const stop = new AbortController();
    const clock = new FakeClock();
    const server = new FakeServer(clock);
    for (let turn = 0; turn < 20; turn += 1) {
      server.answers.push({ pieces: [events(chunk({ content: "Hi" }, "stop"))] });
      await clock.until(beginTurn(server, { clock, options: { signal: stop.signal } }).ended);
    }
    expect(getEventListeners(stop.signal, "abort")).toEqual([]);
    expect(clock.waiting).toBe(0);
  });
});
