import { describe, expect, test } from "vitest";
import { requestsAhead, requestsInFlight, slotFor, slotWithLeast } from "../../server/in-flight.ts";
import { parseSlots } from "../../server/kinds/llama-cpp/list.ts";
import { ModelServer } from "../../server/model-server.ts";
import { startSim } from "../../sim/server.ts";
import { byPath, cannedServer, frame } from "../support/canned.ts";
import { eventually } from "../support/sim-client.ts";
import { clientOf, kept } from "../support/wire.ts";

const CMD = `llama-server --port \${PORT} --no-reasoning`;
const CONFIG = `
models:
  slow: { cmd: "${CMD} --token-rate 0.01 --parallel 2" }
  idle: { cmd: "${CMD}" }
`;
const UNKNOWN = { source: "unknown", total: undefined, models: [] };
const NEVER = new AbortController().signal;
/** A wait for events that bring nothing ends soon; the rest has time on a busy machine. */
const SOON = { wholeMs: 20_000, eventsMs: 200 };

/** A server whose events are these frames, and stay open. */
const eventServer = (frames: string[], answers: Record<string, unknown> = {}) =>
  cannedServer((request, response) => {
    if (request.url !== "/api/events") return byPath(answers)(request, response);
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const piece of frames) response.write(piece);
  });

const working = (...states: boolean[]): unknown => states.map((is_processing) => ({ is_processing }));

describe("requests in flight, read from the events", () => {
  test("carry their model, age and client, and the reading loads nothing", async () => {
    const sim = await kept(startSim({ config: CONFIG, speed: 20 }));
    const swap = await kept(new ModelServer(clientOf(sim.url, sim.certsDir)));
    expect(await requestsInFlight(swap, NEVER)).toEqual({ source: "events", total: 0, models: [] });
    const hangUp = new AbortController();
    const body = JSON.stringify({ model: "slow", messages: [{ role: "user", content: "hi" }], stream: true });
    const headers = { "user-agent": "pi/1", "x-session-id": "s-7" };
    await Promise.all([swap.chat(body, headers, hangUp.signal), swap.chat(body, headers, hangUp.signal)]);
    expect(await requestsInFlight(swap, NEVER)).toEqual({
      source: "events",
      total: 2,
      models: [
        {
          model: "slow",
          total: 2,
          longestMs: expect.any(Number),
          clients: [{ agent: "pi/1", session: "s-7", address: "127.0.0.1" }],
        },
      ],
    });
    hangUp.abort();
    await eventually(async () => expect((await requestsInFlight(swap, NEVER)).total).toBe(0));
    expect(sim.starts).toEqual({ slow: 1 });
    expect(sim.requests.map(({ path }) => path)).not.toContain("/upstream/slow/slots");
  });

  test("come at once, and keep no connection open", async () => {
    const { swap, connections } = await eventServer([frame("inflight", { operation: "snapshot" })]);
    const endless = { wholeMs: 1e9, eventsMs: 1e9 };
    expect((await requestsInFlight(swap, NEVER, endless)).total).toBe(0);
    // The remaining one served to recognise the server.
    await eventually(() => expect(connections()).toBe(1));
  });

  test("without a list, whose number was wrong up to v217, are read from the slots", async () => {
    const { swap } = await eventServer([frame("inflight", { total: 0 })], {
      "/running": { running: [{ model: "m", state: "ready" }] },
      "/upstream/m/slots": working(true, false, true),
    });
    await swap.backend();
    expect(await requestsInFlight(swap, NEVER, SOON)).toEqual({
      source: "slots",
      total: 2,
      models: [{ model: "m", total: 2, longestMs: undefined, clients: [] }],
    });
  });

  test("need no further request where llama-swap lists none", async () => {
    const { swap, requests } = await eventServer([frame("inflight", { operation: "snapshot" })]);
    expect(await requestsInFlight(swap, NEVER)).toEqual({ source: "events", total: 0, models: [] });
    expect(requests).toEqual(["GET /running", "GET /api/events"]);
  });

  test("that do not come in time are read from the slots", async () => {
    const { swap } = await eventServer([frame("modelStatus", [])], {
      "/running": { running: [{ model: "m", state: "ready" }] },
      "/upstream/m/slots": working(false),
    });
    await swap.backend();
    expect(await requestsInFlight(swap, NEVER, SOON)).toEqual({ source: "slots", total: 0, models: [] });
  });
});

describe("requests of a model that a turn waits for", () => {
  const ahead = async (version: unknown, frames: string[]) => {
    const { swap, requests } = await eventServer(frames, {
      "/api/version": version,
      "/running": { running: [{ model: "m", state: "ready" }] },
      "/upstream/m/slots": working(true),
    });
    await swap.backend();
    const { source, total } = await requestsAhead(swap, NEVER, SOON);
    return { source, total, isAsked: requests.includes("GET /upstream/m/slots") };
  };
  const number = [frame("inflight", { total: 1 })];

  test.each<[string, unknown]>([
    ["v217", { version: "v217" }],
    ["before v173", 404],
    ["built locally", { version: "local_0bdb3720" }],
  ])(
    "are not read from the slots of a llama-swap %s, which would load the model again for that",
    async (_which, version) => {
      expect(await ahead(version, number)).toEqual({ source: "unknown", total: undefined, isAsked: false });
    },
  );

  test("are read from the slots from v218 on, where the events do not list them", async () => {
    expect(await ahead({ version: "v218" }, number)).toEqual({ source: "slots", total: 1, isAsked: true });
    const events = [frame("inflight", { operation: "snapshot" })];
    expect(await ahead({ version: "v250" }, events)).toEqual({ source: "events", total: 0, isAsked: false });
  });
});

describe("requests in flight, read from the slots", () => {
  const inSlots = async (running: unknown, more: Record<string, unknown> = {}) => {
    const { swap, requests } = await cannedServer(byPath({ "/running": running, ...more }));
    return { answer: await requestsInFlight(swap, NEVER), requests };
  };
  const ready = (...ids: string[]) => ({ running: ids.map((model) => ({ model, state: "ready" })) });

  test("are counted for each ready model", async () => {
    const { answer } = await inSlots(ready("a", "b", "c"), {
      "/upstream/a/slots": working(true, true),
      "/upstream/b/slots": working(false),
      "/upstream/c/slots": 501,
    });
    expect(answer).toEqual({
      source: "slots",
      total: 2,
      models: [{ model: "a", total: 2, longestMs: undefined, clients: [] }],
    });
  });

  test.each([
    ["no slots", 501],
    ["an empty list", []],
    ["slots of another form", [{ id: 0, state: 1 }]],
    ["no list", { is_processing: true }],
  ])("are unknown, not none, with %s", async (_, slots) => {
    expect((await inSlots(ready("m"), { "/upstream/m/slots": slots })).answer).toEqual(UNKNOWN);
  });

  test("are unknown, and the model is named, if it does not answer in time", async () => {
    const { swap } = await cannedServer((request, response) => {
      if (request.url !== "/upstream/m/slots") byPath({ "/running": ready("m", "n") })(request, response);
    });
    await swap.backend();
    const limits = { wholeMs: 1000, eventsMs: 1000 };
    expect(await requestsInFlight(swap, NEVER, limits)).toEqual({ ...UNKNOWN, silent: ["m"] });
  });

  test("are empty where nothing is loaded", async () => {
    expect((await inSlots(ready())).answer).toEqual({ source: "slots", total: 0, models: [] });
  });

  test.each(["starting", "stopping", "sleepy"])(
    "are not read while a model is %s, which could load another again",
    async (state) => {
      const models = [
        { model: "m", state: "ready" },
        { model: "other", state },
      ];
      const { answer, requests } = await inSlots({ running: models });
      expect(answer).toEqual(UNKNOWN);
      expect(requests).toEqual(["GET /running", "GET /api/events", "GET /running"]);
    },
  );

  test("are not read for an id that an old llama-swap takes for another", async () => {
    const { answer, requests } = await inSlots(ready("org/m"), {
      "/v1/models": { data: [{ id: "org" }, { id: "org/m" }] },
    });
    expect(answer).toEqual(UNKNOWN);
    expect(requests.join()).not.toContain("/upstream");
  });

  test("of a plain llama-server come from its own slots", async () => {
    const { answer } = await inSlots(404, {
      "/v1/models": { data: [{ id: "m" }] },
      "/props": { default_generation_settings: {} },
      "/slots": working(true, false),
    });
    const models = [{ model: "m", total: 1, longestMs: undefined, clients: [] }];
    expect(answer).toEqual({ source: "slots", total: 1, models });
  });
});

describe("a server that does not answer", () => {
  test("leaves the requests unknown at the limit", async () => {
    const { swap, connections } = await cannedServer(() => {}, {}, 1000);
    // Others may share it, so it continues up to its own limit.
    const recognition = swap.backend().catch(() => "not recognised");
    const reading = requestsInFlight(swap, NEVER, { wholeMs: 200, eventsMs: 100 });
    expect(await Promise.race([reading, recognition])).toEqual(UNKNOWN);
    await eventually(() => expect(connections()).toBe(0));
  });

  test("is left at once when the signal is aborted", async () => {
    const { swap, requests, connections } = await cannedServer(() => {}, {}, 1000);
    const abort = new AbortController();
    const reason = new Error("enough");
    const asking = requestsInFlight(swap, abort.signal);
    await eventually(() => expect(requests).toHaveLength(1));
    abort.abort(reason);
    await expect(asking).rejects.toBe(reason);
    await eventually(() => expect(connections()).toBe(0));
    await expect(requestsInFlight(swap, abort.signal)).rejects.toBe(reason);
    expect(requests).toHaveLength(1);
  });
});

const fresh = (id: number) => ({ id, is_processing: false });
const used = (id: number, tokens: number, isBusy = false) => ({
  id,
  is_processing: isBusy,
  id_task: 5,
  n_prompt_tokens: tokens,
});

describe("the answer of /slots", () => {
  test("gives the tokens of each slot; one without a request holds none", () => {
    expect(parseSlots([fresh(0), used(1, 900), used(2, 30, true)])).toEqual([
      { id: 0, isBusy: false, isUsed: false, tokens: 0 },
      { id: 1, isBusy: false, isUsed: true, tokens: 900 },
      { id: 2, isBusy: true, isUsed: true, tokens: 30 },
    ]);
  });

  test("of an earlier llama-server leaves the tokens of used slots unknown", () => {
    const slots = [
      { id: 0, is_processing: false, id_task: -1 },
      { id: 1, is_processing: false, id_task: 0 },
    ];
    expect(parseSlots(slots)?.map(({ tokens }) => tokens)).toEqual([0, undefined]);
  });

  test.each([[[]], [{}], [null], ["slots"], [[null]], [[fresh(0), { id: 1 }]], [[{ is_processing: "yes" }]]])(
    "reads nothing from %j",
    (answer) => {
      expect(parseSlots(answer)).toBeUndefined();
    },
  );
});

describe("a new conversation", () => {
  test.each([
    ["takes an unused slot", [used(0, 900), fresh(1), fresh(2)], 1],
    ["takes the slot with the fewest tokens", [used(0, 900), used(1, 200), used(2, 100)], 2],
    ["avoids a busy slot", [used(0, 900), used(1, 100, true), used(2, 200)], 2],
    ["spares the fullest slot even if another is busy", [used(0, 900), used(1, 100, true)], undefined],
    ["spares the fullest slot when that is busy", [used(0, 900, true), used(1, 100)], 1],
    ["has no choice with one slot", [used(0, 900)], undefined],
    ["leaves the choice to the server where no slot was used", [fresh(0), fresh(1)], undefined],
    [
      "leaves the choice to the server where that empties idle slots",
      [used(0, 0), used(1, 900), fresh(2)],
      undefined,
    ],
    [
      "does not take a slot that starts working for an emptied one",
      [used(0, 0, true), used(1, 900), fresh(2)],
      2,
    ],
    [
      "leaves the choice to the server where the tokens are unknown",
      [{ id: 0, is_processing: false, id_task: 3 }, used(1, 900)],
      undefined,
    ],
  ])("%s", (_, answer, slot) => {
    expect(slotWithLeast(parseSlots(answer) ?? [])).toBe(slot);
  });
});

describe("the slot for a turn whose prompt was read ahead", () => {
  const slotOf = async (
    slots: unknown,
    asked: { isNew: boolean; read: { slot: number; tokens: number | undefined } | undefined },
  ): Promise<{ slot: number | undefined; requests: string[] }> => {
    const running = { running: [{ model: "m", state: "ready" }] };
    const { swap, requests } = await cannedServer(
      byPath({ "/running": running, "/upstream/m/slots": slots }),
    );
    return { slot: await slotFor(swap, "m", asked, NEVER), requests };
  };
  const held = (tokens: number, isBusy = false) => [
    { id: 0, is_processing: false, id_task: 1, n_prompt_tokens: 9000 },
    { id: 1, is_processing: isBusy, id_task: 2, n_prompt_tokens: tokens },
    { id: 2, is_processing: false },
  ];
  const read = { slot: 1, tokens: 600 };

  test("is where it is, for a new conversation and for one that goes on", async () => {
    expect((await slotOf(held(600), { isNew: true, read })).slot).toBe(1);
    expect((await slotOf(held(600), { isNew: false, read })).slot).toBe(1);
  });

  test("sends no request while the reading ends", async () => {
    const { slot, requests } = await slotOf(held(600), { isNew: true, read: { slot: 1, tokens: undefined } });
    expect([slot, requests]).toEqual([1, []]);
  });

  test("is another one where a conversation has taken the place", async () => {
    expect((await slotOf(held(700), { isNew: true, read })).slot).toBe(2);
    expect((await slotOf(held(700), { isNew: false, read })).slot).toBeUndefined();
    expect((await slotOf(held(600, true), { isNew: true, read })).slot).toBe(2);
  });

  test("is not asked for where nothing was read and the conversation goes on", async () => {
    const { slot, requests } = await slotOf(held(600), { isNew: false, read: undefined });
    expect([slot, requests]).toEqual([undefined, []]);
  });
});
