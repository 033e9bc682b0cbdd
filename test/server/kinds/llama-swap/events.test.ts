import { writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { EventHooks, RequestInFlight } from "../../../../server/kinds/events.ts";
import { followEvents, readEvents } from "../../../../server/kinds/llama-swap/events.ts";
import { ModelServer } from "../../../../server/model-server.ts";
import type { ModelState } from "../../../../server/models/models.ts";
import { type Sim, startSim } from "../../../../sim/server.ts";
import { cannedServer, frame } from "../../../support/canned.ts";
import { FakeClock, fastClock } from "../../../support/clock.ts";
import { eventually } from "../../../support/sim-client.ts";
import { clientOf, faultOf, kept } from "../../../support/wire.ts";

const CMD = `llama-server --port \${PORT} --no-reasoning`;
const CONFIG = `
models:
  slow: { cmd: "${CMD} --token-rate 20" }
  hidden: { cmd: "${CMD} --load 2", unlisted: true }
`;
const STREAM = { "content-type": "text/event-stream" };

async function follow(sim: Sim, hooks: EventHooks, speed: number): Promise<AbortController> {
  const swap = await kept(new ModelServer(clientOf(sim.url, sim.certsDir)));
  const abort = new AbortController();
  const following = followEvents(swap, hooks, abort.signal, fastClock(speed));
  await kept({ close: async () => [abort.abort(), await following] });
  return abort;
}

describe("following a llama-swap", () => {
  test("reports what its models do, a request in flight and its client", async () => {
    const sim = await kept(startSim({ config: CONFIG, speed: 20 }));
    const states: (ModelState | undefined)[] = [];
    const listed: (readonly RequestInFlight[])[] = [];
    await follow(
      sim,
      {
        onModels: (models) => states.push(models.get("slow")),
        onRequests: (requests) => listed.push(requests),
      },
      20,
    );
    await eventually(() => expect(listed).toEqual([[]]));
    const swap = await kept(new ModelServer(clientOf(sim.url, sim.certsDir)));
    const body = JSON.stringify({ model: "slow", messages: [{ role: "user", content: "hi" }], stream: true });
    const hangUp = new AbortController();
    const chat = await swap.chat(body, { "user-agent": "pi/1", "x-session-id": "s-7" }, hangUp.signal);
    expect(chat.status).toBe(200);
    await eventually(() =>
      expect(listed.at(-1)).toMatchObject([
        { model: "slow", path: "/v1/chat/completions", client: { agent: "pi/1", session: "s-7" } },
      ]),
    );
    hangUp.abort();
    await eventually(() => expect(listed.at(-1)).toEqual([]));
    expect(states).toContain("starting");
    expect(states.at(-1)).toBe("ready");
  });

  test("connects again when a reload ends the stream, and reports the new configuration", async () => {
    const sim = await kept(startSim({ config: CONFIG, speed: 20 }));
    const models: string[][] = [];
    let lost = 0;
    await follow(
      sim,
      { onModels: (states) => models.push([...states.keys()]), onLost: () => (lost += 1) },
      20,
    );
    await eventually(() => expect(models).toHaveLength(1));
    writeFileSync(join(sim.dir, "config.yaml"), CONFIG.replace("slow:", "new:"));
    await sim.reload();
    await eventually(() => expect(models.at(-1)).toEqual(["hidden", "new"]));
    expect(lost).toBe(1);
    expect(sim.requests.filter(({ path }) => path === "/api/events")).toHaveLength(2);
  });

  test("ends with the signal, and leaves no connection", async () => {
    const sim = await kept(startSim({ config: CONFIG, speed: 20 }));
    let isReported = false;
    const hooks = { onRequests: () => (isReported = true) };
    const abort = await follow(sim, hooks, 20);
    await eventually(() => expect(isReported).toBe(true));
    expect(sim.connections).toBe(1);
    abort.abort();
    await eventually(() => expect(sim.connections).toBe(0));
  });

  test("a hook that throws ends nothing", async () => {
    const sim = await kept(startSim({ config: CONFIG, speed: 20 }));
    let calls = 0;
    const fail = (): never => {
      calls += 1;
      throw new Error("no screen");
    };
    await follow(sim, { onModels: fail, onRequests: fail, onLost: fail }, 20);
    await eventually(() => expect(calls).toBe(2));
    await sim.reload();
    await eventually(() => expect(calls).toBeGreaterThanOrEqual(5));
  });
});

describe("a server without events", () => {
  test.each([
    ["404", (response: ServerResponse) => response.writeHead(404).end()],
    [
      "a web page",
      (response: ServerResponse) => response.writeHead(200, { "content-type": "text/html" }).end("<p>"),
    ],
  ])("that answers with %s is reported once, and not asked again", async (_, answer) => {
    const { swap, requests } = await cannedServer((_request, response) => answer(response));
    let unsupported = 0;
    let lost = 0;
    const hooks = { onUnsupported: () => (unsupported += 1), onLost: () => (lost += 1) };
    await followEvents(swap, hooks, AbortSignal.timeout(5000), new FakeClock());
    expect([unsupported, lost]).toEqual([1, 0]);
    expect(requests).toEqual(["GET /api/events"]);
  });

  test("that refuses is asked again, ever more seldom, until the signal", async () => {
    const { swap, requests } = await cannedServer((_, response) => response.writeHead(503).end("loading"));
    const clock = new FakeClock();
    const abort = new AbortController();
    let lost = 0;
    const following = followEvents(swap, { onLost: () => (lost += 1) }, abort.signal, clock);
    for (const pause of [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
      await eventually(() => expect(clock.waiting).toBe(1));
      expect(clock.sleeps.at(-1)).toBe(pause);
      await clock.advance(pause);
    }
    await eventually(() => expect(clock.waiting).toBe(1));
    abort.abort();
    await following;
    expect(clock.waiting).toBe(0);
    expect(requests).toHaveLength(9);
    expect(lost).toBe(9);
  });

  test("that is gone is asked again", async () => {
    const swap = await kept(new ModelServer(clientOf("http://127.0.0.1:9", "/nowhere")));
    const clock = new FakeClock();
    const abort = new AbortController();
    const following = followEvents(swap, {}, abort.signal, clock);
    await eventually(() => expect(clock.waiting).toBe(1));
    abort.abort();
    await following;
    expect(clock.sleeps).toEqual([500]);
  });
});

describe("one connection", () => {
  test("that lasted is followed by the next after the shortest pause", async () => {
    let count = 0;
    let open: ServerResponse | undefined;
    const { swap } = await cannedServer((_, response) => {
      count += 1;
      if (count < 3) response.writeHead(503).end();
      else {
        open = response.writeHead(200, STREAM);
        open.write(frame("inflight", { requests: [{ id: "1", model: "m" }] }));
      }
    });
    const clock = new FakeClock();
    const abort = new AbortController();
    const totals: number[] = [];
    const hooks = { onRequests: ({ length }: readonly RequestInFlight[]) => totals.push(length) };
    const following = followEvents(swap, hooks, abort.signal, clock);
    for (const pause of [500, 1000]) {
      await eventually(() => expect(clock.waiting).toBe(1));
      await clock.advance(pause);
    }
    await eventually(() => expect(totals).toEqual([1]));
    await clock.advance(10_000);
    open?.end();
    await eventually(() => expect(clock.waiting).toBe(1));
    abort.abort();
    await following;
    expect(clock.sleeps).toEqual([500, 1000, 500]);
  });

  test("whose frame has no end is closed", async () => {
    const { swap, connections } = await cannedServer((_, response) => {
      response.writeHead(200, STREAM);
      const write = (): void => {
        if (!response.destroyed) response.write("data:".padEnd(64 * 1024, "x"), () => setImmediate(write));
      };
      write();
    });
    await expect(readEvents(swap, {}, AbortSignal.timeout(5000))).rejects.toThrow("max buffer size");
    await eventually(() => expect(connections()).toBe(0));
  });

  test("reads times by the server's clock", async () => {
    const date = new Date(Date.now() + 3_600_000);
    const request = { id: "1", model: "m", timestamp: new Date(date.getTime() - 20_000).toISOString() };
    const { swap } = await cannedServer((_, response) => {
      response.writeHead(200, { ...STREAM, date: date.toUTCString() });
      response.end(frame("inflight", { requests: [request] }));
    });
    const listed: (readonly RequestInFlight[])[] = [];
    const targets = { onRequests: (requests: readonly RequestInFlight[]) => listed.push(requests) };
    expect(await readEvents(swap, targets, AbortSignal.timeout(5000))).toBe("ended");
    const elapsed = listed[0]?.[0]?.elapsedMs ?? 0;
    expect(Math.abs(elapsed - 20_000)).toBeLessThan(1500);
  });

  test("that is refused names the reason", async () => {
    const { swap } = await cannedServer((_, response) => response.writeHead(401).end());
    const fault = await faultOf(readEvents(swap, {}, AbortSignal.timeout(5000)));
    expect(fault.message).toContain("AI_SERVER_API_KEY");
  });
});
