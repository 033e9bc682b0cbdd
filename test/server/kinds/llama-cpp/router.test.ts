import { readFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { describe, expect, test } from "vitest";
import type { LoadState } from "../../../../activity/load-state.ts";
import { loadModel, unloadModel } from "../../../../server/load.ts";
import type { ModelServer } from "../../../../server/model-server.ts";
import type { ModelState } from "../../../../server/models/models.ts";
import { byPath, cannedServer } from "../../../support/canned.ts";
import { fastClock } from "../../../support/clock.ts";
import { llamaServerBody } from "../../../support/recorded.ts";
import { eventually } from "../../../support/sim-client.ts";
import { faultOf } from "../../../support/wire.ts";

const NEVER = new AbortController().signal;
const EVENTS = readFileSync(new URL("../../../fixtures/llama-server/r02-models-sse.sse", import.meta.url));

interface Model {
  value: string;
  failed?: boolean;
  exit_code?: number;
  args?: string[];
}

/** A router whose models do what a test decides. */
async function router(states: Record<string, Model>, more: Record<string, unknown> = {}) {
  const posted: [string, unknown][] = [];
  let events: ServerResponse | undefined;
  const hooks = {
    onLoad: (_id: string): { status: number; body: unknown } => ({ status: 200, body: { success: true } }),
  };
  const list = () => ({
    data: Object.entries(states).map(([id, { args = ["s", "--model", "x"], ...status }]) => ({
      id,
      status: { args, ...status },
      context_length: 32_768,
    })),
  });
  const { swap, requests } = await cannedServer((request, response) => {
    const path = request.url ?? "";
    if (request.method === "POST") {
      let body = "";
      request.on("data", (piece) => {
        body += piece;
      });
      request.on("end", () => {
        const { model } = JSON.parse(body);
        posted.push([path, model]);
        const answer =
          path === "/models/load" ? hooks.onLoad(model) : { status: 200, body: { success: true } };
        response.writeHead(answer.status).end(JSON.stringify(answer.body));
      });
    } else if (path === "/v1/models" || path === "/v1/models?reload=1") response.end(JSON.stringify(list()));
    else if (path === "/models/sse") {
      response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
      events = response;
    } else byPath({ "/running": 404, ...more })(request, response);
  });
  return {
    swap,
    requests,
    posted,
    states,
    hooks,
    send: (bytes: Uint8Array | string) => events?.write(bytes),
    hasFollower: () => events !== undefined,
  };
}

function load(swap: ModelServer, id: string, said: LoadState[] = []) {
  return loadModel(swap, id, {
    report: (progress) => said.push(progress),
    signal: NEVER,
    clock: fastClock(100),
  });
}

describe("loading by the router", () => {
  test("ends when the list shows it as loaded, not when the router has answered", async () => {
    const place = await router({ a: { value: "unloaded" } });
    place.hooks.onLoad = () => {
      place.states.a = { value: "loading" };
      setTimeout(() => {
        place.states.a = { value: "loaded" };
      }, 50);
      return { status: 200, body: { success: true } };
    };
    const loaded = await load(place.swap, "a");
    expect(loaded.wasLoaded).toBe(false);
    expect(loaded.loadMs).toBeGreaterThan(0);
    expect(place.posted).toEqual([["/models/load", "a"]]);
  });

  test("reports the stages that the router reports", async () => {
    const place = await router({ "script-text": { value: "unloaded" } });
    place.hooks.onLoad = (id) => {
      place.states[id] = { value: "loading" };
      return { status: 200, body: { success: true } };
    };
    const said: LoadState[] = [];
    const loading = load(place.swap, "script-text", said);
    await eventually(() => expect(place.hasFollower()).toBe(true));
    const upTo = EVENTS.indexOf('"value":1.0', EVENTS.indexOf("script-text"));
    for (const byte of EVENTS.subarray(0, EVENTS.indexOf("\n\n", upTo) + 2))
      place.send(new Uint8Array([byte]));
    await eventually(() =>
      expect(said).toContainEqual(
        expect.objectContaining({ kind: "loading", stage: { name: "text_model", share: 1 } }),
      ),
    );
    place.states["script-text"] = { value: "loaded" };
    await loading;
  });

  test("waits for a load that another client has begun", async () => {
    const place = await router({ a: { value: "loading" } });
    place.hooks.onLoad = () => {
      setTimeout(() => {
        place.states.a = { value: "loaded" };
      }, 30);
      return { status: 400, body: { error: { code: 400, message: "model is already running" } } };
    };
    expect(await load(place.swap, "a")).toMatchObject({ wasLoaded: false, loadMs: undefined });
  });

  test("that fails names its exit code, and where to look", async () => {
    const place = await router({ a: { value: "unloaded" } });
    place.hooks.onLoad = () => {
      place.states.a = { value: "unloaded", failed: true, exit_code: 1 };
      return { status: 200, body: { success: true } };
    };
    const { message, link } = await faultOf(load(place.swap, "a"));
    expect(message).toBe(
      "a could not be loaded: its process ended with exit code 1. The router does not say why; its log does: /ai-server-logs",
    );
    expect(link).toBe("model");
  });

  test("of a section without a model is refused before it blocks the router", async () => {
    const place = await router({ a: { value: "unloaded", args: ["s", "--ctx-size", "9"] } });
    expect((await faultOf(load(place.swap, "a"))).message).toMatch(/^a has no model path:/);
    expect(place.posted).toEqual([]);
  });

  test.each([
    [
      "that it does not know",
      { status: 404, body: { error: { message: "File Not Found" } } },
      /^The server has no model a to load/,
    ],
    ["with an error of its own", { status: 500, body: { error: { message: "boom" } } }, /boom/],
  ])("%s is a sentence", async (_, answer, words) => {
    const place = await router({ a: { value: "unloaded" } });
    place.hooks.onLoad = () => answer;
    expect((await faultOf(load(place.swap, "a"))).message).toMatch(words);
  });

  test("waits while another model loads, for which there is room alone", async () => {
    const place = await router({ a: { value: "unloaded" }, b: { value: "loading" } });
    place.hooks.onLoad = () => {
      if (place.states.b?.value === "loading") {
        setTimeout(() => {
          place.states.b = { value: "loaded" };
        }, 30);
        return { status: 500, body: { error: { message: "model limit reached, try again later" } } };
      }
      place.states.b = { value: "unloaded" };
      place.states.a = { value: "loaded" };
      return { status: 200, body: { success: true } };
    };
    const said: LoadState[] = [];
    await load(place.swap, "a", said);
    expect(said).toContainEqual({ kind: "waiting", blockedBy: "b", requests: undefined });
    expect(place.posted.length).toBeGreaterThan(1);
  });

  test("that waits for a section without a model, which loads for ever, names that section", async () => {
    const place = await router({
      a: { value: "unloaded" },
      odd: { value: "loading", args: ["s", "-c", "1"] },
    });
    place.hooks.onLoad = () => ({ status: 500, body: { error: { message: "model limit reached" } } });
    expect((await faultOf(load(place.swap, "a"))).message).toBe(
      "a cannot be loaded: odd has no model path, so it loads forever and blocks the router. /ai-server-unload odd frees the router.",
    );
  });

  test("of one that is unloaded again does not wait for ever", async () => {
    const place = await router({ a: { value: "unloaded" } });
    expect((await faultOf(load(place.swap, "a"))).message).toMatch(/another client has unloaded it/);
  });
});

describe("unloading by the router", () => {
  test("of all is of each that runs", async () => {
    const place = await router({
      a: { value: "loaded" },
      b: { value: "sleeping" },
      c: { value: "unloaded" },
    });
    const unloading = unloadModel(place.swap, undefined, NEVER, fastClock(100));
    await eventually(() => expect(place.posted).toHaveLength(2));
    for (const id of ["a", "b"]) place.states[id] = { value: "unloaded" };
    await unloading;
    expect(place.posted).toEqual([
      ["/models/unload", "a"],
      ["/models/unload", "b"],
    ]);
  });

  test.each(["loaded", "loading"])(
    "of one that is shown as %s while it stops waits for its end",
    async (value) => {
      const place = await router({ a: { value } });
      const lists = () => place.requests.filter((request) => request === "GET /v1/models").length;
      await place.swap.backend();
      const before = lists();
      const unloading = unloadModel(place.swap, "a", NEVER, fastClock(100));
      await Promise.race([unloading, eventually(() => expect(lists()).toBeGreaterThan(before + 3))]);
      place.states.a = { value: "unloaded" };
      await unloading;
    },
  );
});

describe("reading a router", () => {
  test("names the model whose process has failed", async () => {
    const place = await router({
      a: { value: "unloaded", failed: true, exit_code: 1 },
      b: { value: "unloaded" },
    });
    expect(await place.swap.discover(new Map())).toMatchObject([
      { id: "a", state: "unloaded", failure: { exitCode: 1 } },
      { id: "b", state: "unloaded", failure: undefined },
    ]);
  });

  test("asks a loaded model alone, and never so that it would be loaded", async () => {
    const place = await router(
      { "org/a b": { value: "loaded", args: ["s", "-m", "x", "-c", "8192"] }, b: { value: "loading" } },
      { "/props?model=org%2Fa%20b&autoload=false": llamaServerBody("s01-get-props") },
    );
    const models = await place.swap.discover(new Map());
    expect(models.map(({ id, state, context }) => [id, state, context])).toEqual([
      ["org/a b", "ready", { value: 4096, source: "live" }],
      ["b", "starting", { value: 32_768, source: "default" }],
    ]);
    expect(place.requests.toSorted()).toEqual([
      "GET /props?model=org%2Fa%20b&autoload=false",
      "GET /running",
      "GET /v1/models",
    ]);
  });

  test("reports that it can reload its preset", async () => {
    const place = await router({ a: { value: "unloaded" } });
    const backend = await place.swap.backend();
    expect(await backend.reloadConfig?.(NEVER)).toBe(true);
    expect(place.requests).toContain("GET /v1/models?reload=1");
  });

  test("follows its states, beginning with the present ones", async () => {
    const place = await router({ slow: { value: "unloaded" }, alpha: { value: "loaded" } });
    const end = new AbortController();
    const seen: ReadonlyMap<string, ModelState>[] = [];
    const following = place.swap.follow({ onModels: (states) => seen.push(states) }, end.signal);
    await eventually(() => expect(seen).toHaveLength(1));
    expect(Object.fromEntries(seen[0] ?? [])).toEqual({ slow: "unloaded", alpha: "ready" });
    place.send(EVENTS.subarray(0, EVENTS.indexOf('"exit_code"')));
    await eventually(() => expect(seen.at(-1)?.get("slow")).toBe("ready"));
    expect(seen.map((states) => states.get("slow"))).toEqual([
      "unloaded",
      "starting",
      "starting",
      "starting",
      "ready",
    ]);
    end.abort();
    await following;
  });

  test("skips malformed frames", async () => {
    const place = await router({ a: { value: "unloaded" } });
    const end = new AbortController();
    const seen: ReadonlyMap<string, ModelState>[] = [];
    const following = place.swap.follow({ onModels: (states) => seen.push(states) }, end.signal);
    await eventually(() => expect(place.hasFollower()).toBe(true));
    const frames = [
      "no json",
      "null",
      "[]",
      '{"model":3}',
      '{"model":"a","data":7}',
      '{"model":"a","data":{"status":"odd"}}',
    ];
    for (const data of frames) place.send(`data: ${data}\n\n`);
    place.send('data: {"model":"a","data":{"status":"loaded"}}\n\n');
    await eventually(() => expect(seen.at(-1)?.get("a")).toBe("ready"));
    expect(seen).toHaveLength(2);
    end.abort();
    await following;
  });
});
