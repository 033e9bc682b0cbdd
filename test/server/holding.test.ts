import { describe, expect, test } from "vitest";
import { holdingOf, type OwnRequest } from "../../server/holding.ts";
import { byPath, cannedServer, frame } from "../support/canned.ts";

const NEVER = new AbortController().signal;
const OURS: OwnRequest = { runsAs: "m", requestedId: "alias", session: "s", bytes: 100, elapsedMs: 20_000 };
const UNKNOWN = { isHeld: undefined, ahead: undefined };

const running = (...states: [id: string, state: string, cmd?: string][]): unknown => ({
  running: states.map(([model, state, cmd]) => ({ model, state, ...(cmd === undefined ? {} : { cmd }) })),
});
const working = (...states: boolean[]): unknown => states.map((is_processing) => ({ is_processing }));

describe("llama-swap's list of requests", () => {
  /** @param listed what differs from a request of ours */
  const inList = async (...listed: Record<string, unknown>[]) => {
    const requests = listed.map((entry, at) => ({
      id: String(at),
      model: "m",
      req_path: "/v1/chat/completions",
      req_headers: { "Content-Length": "100", "X-Session-Id": "s", "User-Agent": "pi" },
      elapsed_ms: 20_000,
      ...entry,
    }));
    const { swap, requests: asked } = await cannedServer((request, response) => {
      if (request.url !== "/api/events") return byPath({})(request, response);
      response.writeHead(200, { "content-type": "text/event-stream" });
      const list = requests.length === 0 ? {} : { requests };
      response.write(frame("inflight", { operation: "snapshot", ...list }));
    });
    const holding = await holdingOf(swap, OURS, NEVER);
    expect(asked).toEqual(["GET /running", "GET /api/events"]);
    return holding;
  };

  test.each<[string, Record<string, unknown>[], { isHeld: boolean; ahead: number }]>([
    ["nothing", [], { isHeld: false, ahead: 0 }],
    ["ours", [{}], { isHeld: true, ahead: 0 }],
    ["ours under another id", [{ model: "elsewhere" }], { isHeld: true, ahead: 0 }],
    [
      "ours, which a profile pins to another model, and so is of another size",
      [{ model: "pinned", req_headers: { "Content-Length": "97", "X-Session-Id": "s" } }],
      { isHeld: true, ahead: 0 },
    ],
    [
      "one for another model, whose session is not listed",
      [{ model: "other", req_headers: { "Content-Length": "97" } }],
      { isHeld: false, ahead: 0 },
    ],
    ["ours, later on its way", [{ elapsed_ms: 15_000 }], { isHeld: true, ahead: 0 }],
    ["one that began before", [{ elapsed_ms: 26_000 }], { isHeld: false, ahead: 1 }],
    ["one of another session", [{ req_headers: { "X-Session-Id": "t" } }], { isHeld: false, ahead: 1 }],
    ["one of another size", [{ req_headers: { "Content-Length": "99" } }], { isHeld: false, ahead: 1 }],
    ["one that is no chat", [{ req_path: "/v1/embeddings" }], { isHeld: false, ahead: 1 }],
    ["ours and two others", [{}, { elapsed_ms: 60_000 }, { elapsed_ms: 70_000 }], { isHeld: true, ahead: 2 }],
    ["ours or another's alike", [{}, {}], { isHeld: true, ahead: 1 }],
  ])("with %s", async (_what, listed, holding) => {
    expect(await inList(...listed)).toEqual(holding);
  });

  test("before v240, without headers, counts each of the model that is young enough as ours", async () => {
    const entry = { req_headers: undefined, elapsed_ms: undefined, timestamp: undefined };
    expect(await inList(entry)).toEqual({ isHeld: true, ahead: 0 });
    expect(await inList({ ...entry, model: "other" })).toEqual({ isHeld: false, ahead: 0 });
  });
});

describe("a llama-swap without such a list", () => {
  const asked = async (version: string, answers: Record<string, unknown>) => {
    const { swap, requests } = await cannedServer(byPath({ "/api/version": { version }, ...answers }));
    const holding = await holdingOf(swap, OURS, NEVER);
    return { ...holding, upstream: requests.filter((request) => request.includes("/upstream/")) };
  };
  const slots = "/upstream/m/slots";

  test.each<[string, Record<string, unknown>, { isHeld: unknown; ahead: unknown; upstream?: string[] }]>([
    [
      "idle slots",
      { "/running": running(["m", "ready"]), [slots]: working(false, false) },
      { isHeld: false, ahead: 0, upstream: [`GET ${slots}`] },
    ],
    [
      "a busy slot, maybe with ours",
      { "/running": running(["m", "ready"]), [slots]: working(true, false) },
      { isHeld: undefined, ahead: 1, upstream: [`GET ${slots}`] },
    ],
    [
      "no slots",
      { "/running": running(["m", "ready"]), [slots]: 501 },
      { ...UNKNOWN, upstream: [`GET ${slots}`] },
    ],
    [
      "a model that a question would wake",
      {
        "/running": running(["m", "ready", "llama-server --sleep-idle-seconds 60"]),
        [slots]: working(false),
      },
      UNKNOWN,
    ],
    ["the model starting", { "/running": running(["m", "starting"]) }, UNKNOWN],
    ["nothing loaded", { "/running": running() }, { isHeld: false, ahead: 0 }],
    ["another model loaded, which is not asked", { "/running": running(["other", "ready"]) }, UNKNOWN],
  ])("from v218 on, with %s", async (_what, answers, holding) => {
    expect(await asked("v230", answers)).toEqual({ upstream: [], ...holding });
  });

  test("before v218 is asked nothing: it shows no model that starts, and may load one for a question", async () => {
    const answers = { "/running": running(["m", "ready"]), [slots]: working(false) };
    for (const version of ["v217", "local_0bdb3720"])
      expect(await asked(version, answers)).toEqual({ ...UNKNOWN, upstream: [] });
    expect(await asked("v217", { "/running": running() })).toEqual({ ...UNKNOWN, upstream: [] });
  });
});

describe("llama.cpp", () => {
  const routed = async (models: [id: string, value: string][], slots: Record<string, unknown>) => {
    const data = models.map(([id, value]) => ({ id, status: { value, args: ["llama-server"] } }));
    const answers = Object.entries(slots).map(([id, answer]) => [
      `/slots?model=${id}&autoload=false`,
      answer,
    ]);
    const { swap } = await cannedServer(
      byPath({ "/running": 404, "/v1/models": { data }, ...Object.fromEntries(answers) }),
    );
    return holdingOf(swap, OURS, NEVER);
  };

  test.each<[string, [string, string][], Record<string, unknown>, unknown]>([
    ["idle", [["m", "loaded"]], { m: working(false) }, { isHeld: false, ahead: 0 }],
    ["busy", [["m", "loaded"]], { m: working(true) }, { isHeld: undefined, ahead: 1 }],
    ["loading", [["m", "loading"]], {}, UNKNOWN],
    ["asleep", [["m", "sleeping"]], { m: working(false) }, UNKNOWN],
    ["unloaded", [["m", "unloaded"]], {}, { isHeld: false, ahead: 0 }],
    [
      "unloaded beside an idle one",
      [
        ["m", "unloaded"],
        ["o", "loaded"],
      ],
      { o: working(false) },
      { isHeld: false, ahead: 0 },
    ],
    [
      "unloaded beside a busy one",
      [
        ["m", "unloaded"],
        ["o", "loaded"],
      ],
      { o: working(true) },
      UNKNOWN,
    ],
    [
      "unloaded beside one that loads",
      [
        ["m", "unloaded"],
        ["o", "loading"],
      ],
      {},
      UNKNOWN,
    ],
  ])("the router, its model %s", async (_what, models, slots, holding) => {
    expect(await routed(models, slots)).toEqual(holding);
  });

  test("one llama-server shows it by its slots, and nothing while it loads or sleeps", async () => {
    const own = async (slots: unknown, props: object = {}, list: unknown = { data: [{ id: "m" }] }) => {
      let answers: Record<string, unknown> = {
        "/running": 404,
        "/v1/models": { data: [{ id: "m" }] },
        "/props": { default_generation_settings: {}, ...props },
        "/slots": slots,
      };
      const { swap } = await cannedServer((request, response) => byPath(answers)(request, response));
      await swap.backend();
      answers = { ...answers, "/v1/models": list };
      return holdingOf(swap, OURS, NEVER);
    };
    expect(await own(working(false))).toEqual({ isHeld: false, ahead: 0 });
    expect(await own(working(true, true))).toEqual({ isHeld: undefined, ahead: 2 });
    expect(await own(working(false), { is_sleeping: true })).toEqual(UNKNOWN);
    expect(await own(working(false), {}, 503)).toEqual(UNKNOWN);
  });
});

test("Ollama shows nothing: what loads is not in its list", async () => {
  const answers = {
    "/running": 404,
    "/v1/models": { data: [{ id: "m" }] },
    "/api/tags": { models: [{ name: "m" }] },
    "/api/ps": { models: [] },
  };
  const { swap } = await cannedServer(byPath(answers));
  expect(await swap.running()).toEqual([]);
  expect(await holdingOf(swap, OURS, NEVER)).toEqual(UNKNOWN);
});

test("another server, or one that does not answer, shows nothing", async () => {
  const { swap } = await cannedServer(byPath({ "/running": 404, "/v1/models": { data: [{ id: "m" }] } }));
  expect(await holdingOf(swap, OURS, NEVER)).toEqual(UNKNOWN);
  const { swap: away } = await cannedServer((request) => request.socket.destroy());
  expect(await holdingOf(away, OURS, NEVER)).toEqual(UNKNOWN);
});

test("a request of another conversation than the server is asked for may be on another server", async () => {
  const answers = { "/running": running(), "/api/version": { version: "v230" } };
  const holding = async (session: string | undefined): Promise<unknown> => {
    const { swap } = await cannedServer(byPath(answers), {}, undefined, () => session);
    return holdingOf(swap, OURS, NEVER);
  };
  expect(await holding("another")).toEqual(UNKNOWN);
  expect(await holding("s")).toEqual({ isHeld: false, ahead: 0 });
  expect(await holding(undefined)).toEqual({ isHeld: false, ahead: 0 });
});
