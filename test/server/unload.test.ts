import { describe, expect, test } from "vitest";
import { loadModel, unloadModel } from "../../server/load.ts";
import { ModelServer } from "../../server/model-server.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import { type Answering, byPath, cannedServer, give, recordedAnswer } from "../support/canned.ts";
import { FakeClock, fastClock } from "../support/clock.ts";
import { eventually } from "../support/sim-client.ts";
import { clientOf, drained, faultOf, kept } from "../support/wire.ts";

const SPEED = 50;
const CMD = `llama-server --port \${PORT} --no-reasoning`;
const CONFIG = `
models:
  "org/m:Q4": { cmd: "${CMD} --stop-delay 5", aliases: [short] }
  slow: { cmd: "${CMD} --load 60" }
`;
const NEVER = new AbortController().signal;
const clock = fastClock(SPEED);

async function place(): Promise<{ sim: Sim; swap: ModelServer }> {
  const sim = await kept(startSim({ config: CONFIG, speed: SPEED }));
  return { sim, swap: await kept(new ModelServer(clientOf(sim.url, sim.certsDir))) };
}

const load = (swap: ModelServer, id: string) =>
  loadModel(swap, id, { report: () => {}, signal: NEVER, clock });

describe("unloading", () => {
  test.each(["org/m:Q4", "short", undefined])("%j is over when it is gone", async (id) => {
    const { swap, sim } = await place();
    await load(swap, "org/m:Q4");
    await unloadModel(swap, id, NEVER, clock);
    expect(await swap.runningNow(NEVER)).toEqual([]);
    expect(sim.requests.filter(({ method }) => method === "POST").map(({ path }) => path)).toEqual([
      id === undefined ? "/api/models/unload" : `/api/models/unload/${encodeURIComponent(id)}`,
    ]);
  });

  test("what is not loaded is no fault", async () => {
    const { swap } = await place();
    await unloadModel(swap, "slow", NEVER, clock);
    await unloadModel(swap, undefined, NEVER, clock);
  });

  test("what is loading ends the load", async () => {
    const { swap } = await place();
    const loading = swap.http.request({ method: "GET", path: "/upstream/slow/health" });
    await eventually(async () =>
      expect(await swap.runningNow(NEVER)).toMatchObject([{ id: "slow", state: "starting" }]),
    );
    await unloadModel(swap, "slow", NEVER, clock);
    expect(await swap.runningNow(NEVER)).toEqual([]);
    const { status, body } = await loading;
    expect([status, await drained(body)]).toEqual([500, expect.stringContaining("model unloaded")]);
  });

  test("by the paths that are configured", async () => {
    const env = { AI_SERVER_UNLOAD_PATH: "/x/<id>/off", AI_SERVER_UNLOAD_ALL_PATH: "/x/off" };
    const answers = { "/x/a%2Fb/off": {}, "/x/off": {}, "/running": { running: [] } };
    const { swap, requests } = await cannedServer(byPath(answers), env);
    await unloadModel(swap, "a/b", NEVER);
    await unloadModel(swap, undefined, NEVER);
    expect(requests).toEqual([
      "GET /running",
      "POST /x/a%2Fb/off",
      "GET /running",
      "POST /x/off",
      "GET /running",
    ]);
  });

  test("is believed where no route shows what runs", async () => {
    const { swap } = await cannedServer(byPath({ "/api/models/unload/m": "OK" }));
    await unloadModel(swap, "m", NEVER);
  });
});

describe("an unloading that fails", () => {
  test.each(["v170", "v217", "head"] as const)(
    "names an id that llama-swap %s does not know",
    async (version) => {
      const answer = recordedAnswer(version, "034-unload-unknown");
      const { swap } = await cannedServer(byPath({ "/api/models/unload/nope": answer }));
      const fault = await faultOf(unloadModel(swap, "nope", NEVER));
      expect(fault.message).toMatch(/^The server has no model nope that could be unloaded/);
      expect(fault.link).toBe("model");
    },
  );

  test.each(["", "404 page not found\n"])(
    "says that an old llama-swap cannot unload one (%j)",
    async (body) => {
      const answer = { status: 404, headers: {}, body };
      const { swap } = await cannedServer(byPath({ "/api/models/unload/m": answer }));
      const fault = await faultOf(unloadModel(swap, "m", NEVER));
      expect(fault.message).toMatch(/^This server cannot unload m alone: llama-swap can since v161\./);
    },
  );

  test("for all names the reason in the server's words", async () => {
    const { swap } = await cannedServer(byPath({ "/api/models/unload": 502 }));
    expect((await faultOf(unloadModel(swap, undefined, NEVER))).message).toContain("HTTP 502");
  });

  const stubborn =
    (...states: string[]): Answering =>
    (request, response) => {
      const state = states.length > 1 ? states.shift() : states[0];
      if (request.method === "POST") response.end("OK");
      else if (state === "gone") give(response, { status: 200, headers: {}, body: '{"running":[]}' });
      else
        response.end(
          JSON.stringify({
            running: [
              { model: "m", state },
              { model: "other", state: "ready" },
            ],
          }),
        );
    };

  test("reports that the model is loaded again", async () => {
    const { swap, requests } = await cannedServer(stubborn("ready", "POST", "stopping", "starting"));
    await swap.backend();
    const run = new FakeClock();
    const fault = await run.until(faultOfLater(unloadModel(swap, "m", NEVER, run)));
    expect(fault).toMatch(/^m was unloaded, but is loaded again/);
    expect(requests).toHaveLength(4);
  });

  test("does not mind the other models", async () => {
    const { swap } = await cannedServer(stubborn("POST", "stopping", "stopping", "gone"));
    await unloadModel(swap, "m", NEVER, fastClock(10));
  });

  test("because it does not stop, ends after a minute", async () => {
    const { swap } = await cannedServer(stubborn("stopping"));
    const fault = await faultOf(unloadModel(swap, "m", NEVER, fastClock(1000)));
    expect(fault.message).toMatch(/^m did not stop within 60 s \(timed out\)/);
  });

  /** Tells what runs, and never answers to an unloading. */
  const deaf: Answering = (request, response) => {
    if (request.method === "GET") response.end('{"running":[]}');
  };

  test("because the server does not answer, ends after a minute and leaves no request", async () => {
    const { swap, underWay } = await cannedServer(deaf);
    const fault = await faultOf(unloadModel(swap, undefined, NEVER, fastClock(1000)));
    expect(fault.message).toMatch(/^The loaded models did not stop within 60 s/);
    await eventually(() => expect(underWay()).toBe(0));
  });

  test("because it is given up, ends with the reason", async () => {
    const reason = new Error("enough");
    const { swap, requests, underWay } = await cannedServer(deaf);
    const abort = new AbortController();
    const unloading = unloadModel(swap, "m", abort.signal);
    await eventually(() => expect(requests).toHaveLength(2));
    abort.abort(reason);
    await expect(unloading).rejects.toBe(reason);
    await eventually(() => expect(underWay()).toBe(0));
    await expect(unloadModel(swap, "m", abort.signal)).rejects.toBe(reason);
    expect(requests).toHaveLength(2);
  });
});

const faultOfLater = async (work: Promise<unknown>): Promise<string> => (await faultOf(work)).message;
