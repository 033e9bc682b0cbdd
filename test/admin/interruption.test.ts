import { describe, expect, test } from "vitest";
import { serverFor } from "../../admin/call.ts";
import {
  DRAIN_WORDS,
  drainsRequests,
  interruptionOf,
  requestWords,
  sessionOf,
} from "../../admin/interruption.ts";
import type { InFlight, ModelRequests } from "../../server/in-flight.ts";
import { callOf } from "../support/calls.ts";
import { byPath, cannedServer } from "../support/canned.ts";
import { type Place, startPlace } from "../support/command-place.ts";
import { User } from "../support/command-user.ts";
import { drained } from "../support/wire.ts";

const NEVER = new AbortController().signal;

const flight = (total: number | undefined, models: ModelRequests[] = []): InFlight => ({
  source: "events",
  total,
  models,
});
const requests = (more: Partial<ModelRequests> = {}): ModelRequests => ({
  model: "m",
  total: 1,
  longestMs: undefined,
  clients: [],
  ...more,
});

describe("the requests that will be cut", () => {
  test.each<[InFlight, string]>([
    [flight(undefined), "The server does not report in-flight requests; any would be cut off."],
    [flight(0), "No requests in flight."],
    [flight(1, [requests()]), "In-flight requests that will be cut off: 1 on m."],
    [
      flight(3, [requests({ total: 2 }), requests({ model: "n" })]),
      "In-flight requests that will be cut off: 2 on m; 1 on n.",
    ],
    [
      flight(1, [
        requests({
          longestMs: 65_000,
          clients: [{ agent: "curl/8.5 (x86)", session: undefined, address: "10.0.0.7" }],
        }),
      ]),
      "In-flight requests that will be cut off: 1 on m (for 1 min 5 s, curl/8.5 at 10.0.0.7).",
    ],
    [
      flight(2, [
        requests({
          total: 2,
          clients: [
            { agent: "pi/1", session: "mine", address: "10.0.0.7" },
            { agent: undefined, session: "other", address: "10.0.0.8" },
          ],
        }),
      ]),
      "In-flight requests that will be cut off: 2 on m (this pi session, at 10.0.0.8).",
    ],
    [
      { ...flight(undefined), silent: ["m"] },
      "m did not answer in time and may be reading a prompt, which would be cut off.",
    ],
    [
      { ...flight(0), silent: ["m"] },
      "m did not answer in time and may be reading a prompt, which would be cut off.",
    ],
    [
      { ...flight(1, [requests({ model: "n" })]), silent: ["m"] },
      "In-flight requests that will be cut off: 1 on n. m did not answer in time and may be reading a prompt, which would be cut off.",
    ],
  ])("%j", (given, words) => {
    expect(requestWords(given, "mine")).toBe(words);
  });

  test.each<[InFlight, string]>([
    [flight(undefined), "The server does not report in-flight requests."],
    [flight(0), "No requests in flight."],
    [flight(1, [requests()]), "In-flight requests: 1 on m."],
    [{ ...flight(0), silent: ["m"] }, "m did not answer in time and may be reading a prompt."],
  ])("are not called cut by a restart that waits for them: %j", (given, words) => {
    expect(requestWords(given, "mine", false)).toBe(words);
  });

  test("are not called this session's where the session has no name", () => {
    const client = { agent: "pi/1", session: undefined, address: undefined };
    expect(requestWords(flight(1, [requests({ clients: [client] })]), undefined)).toContain("(pi/1)");
  });
});

describe("what a change interrupts", () => {
  async function stakes(place: Place, toLoad: string[], isRestart = false): Promise<string[]> {
    const call = callOf(place, new User("rpc"));
    const server = await serverFor(call);
    return interruptionOf(call, server, await server.runningNow(NEVER), toLoad, { isRestart });
  }

  test("without a loaded model is nothing, and asks for no requests", async () => {
    const place = await startPlace();
    expect(await stakes(place, [], true)).toEqual(["No model is loaded."]);
    expect(place.sim.requests.map(({ path }) => path)).toEqual(["/running"]);
  });

  test("where the server is down is not known", async () => {
    const place = await startPlace();
    const call = callOf(place, new User("rpc"));
    expect(await interruptionOf(call, await serverFor(call), undefined, ["small"])).toEqual([
      "The server is not answering.",
    ]);
  });

  test("names the loaded models, the requests of this session and the time of earlier loads", async () => {
    const place = await startPlace(`models:
  talker: { cmd: "llama-server --port \${PORT} --no-reasoning --token-rate 2" }
  other: { cmd: "llama-server --port \${PORT}" }
`);
    await place.load("talker");
    place.sim.setSpeed(1);
    await place.chat("talker", { "x-session-id": sessionOf(callOf(place, new User("rpc"))) ?? "" });
    const memory = await place.aiServer.remembered.memory();
    for (const [id, loadMs] of [
      ["talker", 20_000],
      ["other", 37_000],
    ] as const)
      await memory.rememberLoad(place.sim.url, id, loadMs);
    expect(await stakes(place, ["talker", "other"])).toEqual([
      "Will be unloaded: talker.",
      expect.stringMatching(
        /^In-flight requests that will be cut off: 1 on talker \(for \d s, this pi session\)\.$/,
      ),
      "It should take about 1 min.",
    ]);
    expect(await stakes(place, ["talker"], true)).toEqual([
      "Will be unloaded: talker.",
      expect.stringMatching(/^In-flight requests: 1 on talker \(for \d s, this pi session\)\.$/),
      "It should take about 23 s.",
      DRAIN_WORDS,
    ]);
  });

  test("does not name models that stay loaded, nor their requests", async () => {
    const place = await startPlace(`models:
  talker: { cmd: "llama-server --port \${PORT} --no-reasoning --token-rate 2" }
  other: { cmd: "llama-server --port \${PORT}" }
`);
    await place.load("talker");
    place.sim.setSpeed(1);
    await place.chat("talker", {});
    const call = callOf(place, new User("rpc"));
    const server = await serverFor(call);
    const [talker] = (await server.runningNow(NEVER)) ?? [];
    if (talker === undefined) throw new Error("Nothing runs");
    const lines = (...unloaded: string[]): Promise<string[]> =>
      interruptionOf(call, server, [{ ...talker, id: "other" }, talker], [], {
        isUnloaded: (id) => unloaded.includes(id),
      });
    expect(await lines()).toEqual(["Stays loaded if there is room: other, talker."]);
    expect(await lines("other")).toEqual([
      "Will be unloaded: other.",
      "Stays loaded if there is room: talker.",
      "No requests in flight on models that will be unloaded.",
    ]);
    expect((await lines("talker"))[2]).toMatch(/^In-flight requests that will be cut off: 1 on talker/);
  });

  test("shows the state of a model that is not ready, and that no load time is known", async () => {
    const place = await startPlace(`models:
  slow: { cmd: "llama-server --port \${PORT} --load 600" }
`);
    place.sim.setSpeed(1);
    const client = await place.client();
    const asked = client.http.request({ method: "GET", path: "/upstream/slow/health" });
    asked.then(({ body }) => drained(body)).catch(() => {});
    await expect.poll(() => place.loaded()).toEqual(["slow starting"]);
    const [loaded, , time] = await stakes(place, ["slow"]);
    expect(loaded).toBe("Will be unloaded: slow (starting).");
    expect(time).toBe("No load time recorded yet; a minute is typical.");
  });
});

const swapOf = async (version: string | undefined) =>
  (await cannedServer(byPath({ "/api/version": version === undefined ? 404 : { version } }))).swap;

test.each([
  ["v218", true],
  ["v250", true],
  ["local_0bdb3720", true],
  ["v217", false],
  [undefined, false],
])("whether a restart of llama-swap %s waits for its requests: %s", async (version, waits) => {
  expect(await drainsRequests(await swapOf(version), NEVER)).toBe(waits);
});

test("another server does not", async () => {
  const props = { default_generation_settings: {} };
  const { swap } = await cannedServer(
    byPath({ "/running": 404, "/v1/models": { data: [] }, "/props": props }),
  );
  expect(await drainsRequests(swap, NEVER)).toBe(false);
});
