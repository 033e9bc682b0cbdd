import type { ServerResponse } from "node:http";
import { describe, expect, test } from "vitest";
import { followLog } from "../../../../server/kinds/llama-swap/log.ts";
import { type Canned, cannedServer } from "../../../support/canned.ts";
import { FakeClock, settled } from "../../../support/clock.ts";
import { faultOf } from "../../../support/wire.ts";

const NEVER = new AbortController().signal;

/** A server with a log, whose streams the test writes. */
async function logServer(): Promise<Canned & { streams: ServerResponse[] }> {
  const streams: ServerResponse[] = [];
  const canned = await cannedServer((_, response) => {
    response.writeHead(200, { "content-type": "text/plain" });
    streams.push(response);
  });
  return { ...canned, streams };
}

describe("a log that is followed", () => {
  test("comes as whole lines, cleaned, whatever the pieces", async () => {
    const { swap, requests, streams } = await logServer();
    const end = new AbortController();
    const lines: string[] = [];
    const over = followLog(swap, "org/Größe:Q4 x", (more) => lines.push(...more), end.signal);
    await expect.poll(() => streams.length).toBe(1);
    const bytes = Buffer.from("one\n\u001b[31mtwo €\u0007\r\nthr");
    for (const byte of bytes) streams[0]?.write(Buffer.of(byte));
    await expect.poll(() => lines).toEqual(["one", "two €"]);
    streams[0]?.write("ee\n\nfour");
    await expect.poll(() => lines).toEqual(["one", "two €", "three", ""]);
    end.abort();
    await over;
    expect(requests).toEqual(["GET /logs/stream/org%2FGr%C3%B6%C3%9Fe%3AQ4%20x?no-history"]);
  });

  test("is bounded, a line without an end too", async () => {
    const { swap, streams } = await logServer();
    const end = new AbortController();
    const lines: string[] = [];
    const over = followLog(swap, "m", (more) => lines.push(...more), end.signal);
    await expect.poll(() => streams.length).toBe(1);
    streams[0]?.write("the beginning of a line");
    for (let at = 0; at < 100; at++) streams[0]?.write("x".repeat(10_000));
    streams[0]?.write("\nnext\n");
    await expect.poll(() => lines.length).toBe(2);
    expect([lines[0]?.length, lines[1]]).toEqual([expect.any(Number), "next"]);
    expect(lines[0]?.length).toBeLessThan(20_000);
    expect(lines[0]).not.toContain("beginning");
    end.abort();
    await over;
  });

  test.each([
    ["ends, as with a reload", (stream: ServerResponse) => stream.end("last\n")],
    ["breaks off", (stream: ServerResponse) => stream.destroy()],
  ])("is opened again when it %s, after two seconds", async (_, ending) => {
    const { swap, streams } = await logServer();
    const clock = new FakeClock();
    const end = new AbortController();
    const lines: string[] = [];
    const over = followLog(swap, "m", (more) => lines.push(...more), end.signal, clock);
    over.catch(() => {});
    await expect.poll(() => streams.length).toBe(1);
    streams[0]?.write("first\n");
    await expect.poll(() => lines).toContain("first");
    if (streams[0]) ending(streams[0]);
    await expect.poll(() => clock.waiting).toBe(1);
    await clock.advance(1999);
    expect(streams).toHaveLength(1);
    await clock.advance(1);
    await expect.poll(() => streams.length).toBe(2);
    streams[1]?.write("again\n");
    await expect.poll(() => lines.at(-1)).toBe("again");
    end.abort();
    await over;
  });

  test("ends at once with the signal, also while it waits, and keeps no connection", async () => {
    const { swap, streams, connections } = await logServer();
    const clock = new FakeClock();
    const end = new AbortController();
    const over = followLog(swap, "m", () => {}, end.signal, clock);
    await expect.poll(() => streams.length).toBe(1);
    streams[0]?.end();
    await expect.poll(() => clock.waiting).toBe(1);
    end.abort();
    await over;
    await settled();
    expect(clock.waiting).toBe(0);
    const open = new AbortController();
    const second = followLog(swap, "m", () => {}, open.signal, clock);
    await expect.poll(() => streams.length).toBe(2);
    open.abort();
    await second;
    await expect.poll(() => connections()).toBe(0);
  });
});

test.each([
  [400, "invalid logger. Use 'proxy', 'upstream' or a model's ID", /^The server has no such log/],
  [404, "404 page not found", /^The server has no such log/],
  [401, "unauthorized: invalid or missing API key", /API key|key/],
  [503, "", /./],
])("%d is a sentence", async (status, body, words) => {
  const { swap } = await cannedServer((_, response) => response.writeHead(status).end(body));
  const fault = await faultOf(followLog(swap, "m", () => {}, NEVER, new FakeClock()));
  expect(fault.message).toMatch(words);
  expect(fault.status).toBe(status);
});
