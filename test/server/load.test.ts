/** Loads on the stand-in, over mutual TLS. Time passes faster there and here by the same factor. */
import { afterEach, describe, expect, test } from "vitest";
import type { LoadState } from "../../activity/load-state.ts";
import type { Clock } from "../../lib/clock.ts";
import { type Loaded, loadModel } from "../../server/load.ts";
import { ModelServer } from "../../server/model-server.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import { FakeClock, fastClock } from "../support/clock.ts";
import { eventually } from "../support/sim-client.ts";
import { clientOf, drained, faultOf, kept } from "../support/wire.ts";

const SPEED = 20;
const CMD = `llama-server --port \${PORT} --no-reasoning`;
const CONFIG = `
healthCheckTimeout: 15
models:
  quick: { cmd: "${CMD}" }
  slow: { cmd: "${CMD} --load 8" }
  answers: { cmd: "${CMD} --token-rate 0.02 --stop-delay 4 --parallel 2" }
  fails: { cmd: "${CMD} --load 9 --fail-after 1" }
  missing: { cmd: "/nonexistent/llama-server --port \${PORT}" }
  hangs: { cmd: "${CMD} --never-healthy" }
  unchecked: { cmd: "${CMD} --load 4", checkEndpoint: none }
  dies: { cmd: "${CMD} --load 4 --fail-after 1", checkEndpoint: none }
  single: { cmd: "${CMD} --token-rate 0.02", concurrencyLimit: 1 }
  "org/sp ace:Q4": { cmd: "${CMD} --load 2" }
`;

interface Run {
  reports: LoadState[];
  kinds(): string[];
  loading: Promise<Loaded>;
  abort: AbortController;
}

let sim: Sim | undefined;
afterEach(() => {
  sim = undefined;
});

async function begin(
  id: string,
  env: Record<string, string> = {},
  clock: Clock = fastClock(SPEED),
): Promise<Run & { sim: Sim; swap: ModelServer }> {
  sim ??= await kept(startSim({ config: CONFIG, speed: SPEED }));
  const on = sim;
  const swap = await kept(new ModelServer(clientOf(on.url, on.certsDir, env)));
  const reports: LoadState[] = [];
  const abort = new AbortController();
  const report = (progress: LoadState): void => {
    reports.push(progress);
  };
  const loading = loadModel(swap, id, { report, signal: abort.signal, clock });
  loading.catch(() => {});
  await kept({ close: async () => [abort.abort(), await loading.catch(() => {})] });
  const kinds = (): string[] =>
    reports.map(({ kind }) => kind).filter((kind, at, all) => kind !== all[at - 1]);
  return { reports, kinds, loading, abort, sim: on, swap };
}

/** Keeps `answers` at work until the returned function is called. */
async function chat(id = "answers"): Promise<() => void> {
  sim ??= await kept(startSim({ config: CONFIG, speed: SPEED }));
  const swap = await kept(new ModelServer(clientOf(sim.url, sim.certsDir)));
  const body = JSON.stringify({ model: id, messages: [{ role: "user", content: "hi" }], stream: true });
  const hangUp = new AbortController();
  expect((await swap.chat(body, {}, hangUp.signal)).status).toBe(200);
  return () => hangUp.abort();
}

const elapsed = (reports: LoadState[]): number[] =>
  reports.flatMap((report) => (report.kind === "loading" ? [report.elapsedMs] : []));

const states = async (swap: ModelServer): Promise<unknown> =>
  (await swap.runningNow(AbortSignal.timeout(5000)))?.map(({ id, state }) => [id, state]);

describe("a model is loaded", () => {
  test("with progress, and the server shows it as ready at the end", async () => {
    const run = await begin("slow");
    const { wasLoaded, loadMs } = await run.loading;
    expect(wasLoaded).toBe(false);
    expect(loadMs).toBeGreaterThan(7000);
    expect(run.kinds()).toEqual(["loading", "ready"]);
    const counts = elapsed(run.reports);
    // Sixteen on a quiet machine.
    expect(counts.length).toBeGreaterThan(2);
    expect(counts).toEqual([...counts].sort((a, b) => a - b));
    expect(await states(run.swap)).toEqual([["slow", "ready"]]);
    const looks = run.sim.requests.filter(({ path }) => path === "/running").length;
    expect(looks).toBeLessThan(10);
  });

  test("once, and is found loaded the next time", async () => {
    await (await begin("quick")).loading;
    // No time passes, so that what is done besides after a while is not done.
    const run = await begin("quick", {}, new FakeClock());
    expect(await run.loading).toEqual({ wasLoaded: true, loadMs: undefined });
    expect(run.reports).toEqual([{ kind: "ready" }]);
    expect(run.sim.requests.filter(({ path }) => path === "/api/events")).toHaveLength(1);
    expect(run.sim.starts).toEqual({ quick: 1 });
  });

  test("with any characters in its id", async () => {
    const run = await begin("org/sp ace:Q4");
    expect((await run.loading).wasLoaded).toBe(false);
    expect(run.sim.requests.map(({ path }) => path)).toContain("/upstream/org%2Fsp%20ace%3AQ4/health");
  });

  test("by the configured path", async () => {
    const run = await begin("quick", { AI_SERVER_UPSTREAM_HEALTH_PATH: "/upstream/<id>/v1/models" });
    await run.loading;
    expect(run.sim.requests.map(({ path }) => path)).toContain("/upstream/quick/v1/models");
  });

  test("after another model has finished its answer", async () => {
    const finish = await chat();
    const run = await begin("quick");
    await eventually(() =>
      expect(run.reports.at(-1)).toEqual({ kind: "waiting", blockedBy: "answers", requests: 1 }),
    );
    finish();
    const { loadMs } = await run.loading;
    expect(run.kinds().slice(0, 2)).toEqual(["waiting", "stopping"]);
    expect(run.reports).toContainEqual({ kind: "stopping", model: "answers" });
    expect(run.kinds().at(-1)).toBe("ready");
    // Neither the waiting nor the four seconds of stopping are the load's.
    expect(loadMs).toBeLessThan(3500);
    expect(run.sim.starts).toEqual({ answers: 1, quick: 1 });
  });

  test("though llama-swap shows it as ready too early (checkEndpoint none)", async () => {
    const run = await begin("unchecked");
    const { loadMs } = await run.loading;
    expect(loadMs).toBeGreaterThan(3500);
    const asked = run.sim.requests.filter(({ path }) => path === "/upstream/unchecked/health");
    expect(asked.length).toBeGreaterThan(1);
    expect([502, 503]).toContain(asked[0]?.status);
    expect(asked.at(-1)?.status).toBe(200);
    expect(run.kinds()).toEqual(["loading", "ready"]);
    expect(run.sim.starts).toEqual({ unchecked: 1 });
  });

  test("once its number of requests is below its limit", async () => {
    const finish = await chat("single");
    const run = await begin("single");
    await eventually(() => expect(run.kinds()).toEqual(["busy"]));
    finish();
    expect((await run.loading).wasLoaded).toBe(true);
    const asked = run.sim.requests.filter(({ path }) => path === "/upstream/single/health");
    expect(asked[0]?.status).toBe(429);
    expect(asked.at(-1)?.status).toBe(200);
  });

  test("again after a reload of the configuration interrupts the load", async () => {
    const run = await begin("slow");
    await eventually(() => expect(run.sim.starts).toEqual({ slow: 1 }));
    await eventually(() => expect(elapsed(run.reports).at(-1)).toBeGreaterThan(2000));
    await run.sim.reload();
    const { loadMs } = await run.loading;
    expect(loadMs).toBeGreaterThan(7000);
    // Counted from its new beginning.
    const counts = elapsed(run.reports);
    expect(counts.some((count, at) => count < (counts[at - 1] ?? 0))).toBe(true);
    expect(run.sim.starts).toEqual({ slow: 2 });
  });
});

describe("a load that fails", () => {
  test("names the reason, with the end of the model's log", async () => {
    const fault = await faultOf((await begin("fails")).loading);
    expect(fault.message).toMatch(
      /^fails could not be loaded: unspecific error: upstream command exited prematurely\nIts log ends with:\n/,
    );
    expect(fault.message).toContain("cudaMalloc failed: out of memory");
    expect(fault.message.split("\n").at(-2)).toContain("failed to load model");
    expect(fault.message.split("\n").at(-1)).toMatch(/^Memory ran out: .*\/ai-server-ctx fails <size>/);
    expect([fault.link, fault.remedy]).toEqual(["model", "none"]);
  });

  test("without a log says what llama-swap says", async () => {
    const fault = await faultOf((await begin("missing")).loading);
    expect(fault.message).toMatch(/^missing could not be loaded: unspecific error: failed to start command/);
    expect(fault.message).not.toContain("log ends");
  });

  test("because it never gets healthy", async () => {
    const fault = await faultOf((await begin("hangs")).loading);
    expect(fault.message).toContain(
      "hangs could not be loaded: unspecific error: health check timed out after 15s",
    );
  });

  test("because its process ends unwatched (checkEndpoint none), twice", async () => {
    const run = await begin("dies");
    const fault = await faultOf(run.loading);
    expect(fault.message).toMatch(/^dies could not be loaded: its process ended\nIts log ends with:\n/);
    expect(run.sim.starts).toEqual({ dies: 2 });
  });

  test("because another client unloads it, twice", async () => {
    const run = await begin("slow");
    for (const starts of [1, 2]) {
      await eventually(() => expect(run.sim.starts).toEqual({ slow: starts }));
      const { body } = await run.swap.http.request({ method: "POST", path: "/api/models/unload/slow" });
      await drained(body);
    }
    const fault = await faultOf(run.loading);
    expect(fault.message).toMatch(/^slow was unloaded while it was loading, twice/);
    expect(run.sim.starts).toEqual({ slow: 2 });
  });

  test("because there is no such model", async () => {
    const run = await begin("absent");
    expect((await faultOf(run.loading)).message).toMatch(/^The server has no model absent to load/);
    expect(run.sim.starts).toEqual({});
  });
});

describe("a load that takes too long", () => {
  test("ends with its state", async () => {
    const fault = await faultOf((await begin("slow", { AI_SERVER_LOAD_TIMEOUT_MS: "3000" })).loading);
    expect(fault.message).toMatch(
      /^slow was not loaded within 3 s \(timed out\): it has been loading for \d+ s, and the server continues to load it\./,
    );
    expect(fault.remedy).toBe("retry");
  });

  test("ends with the model that it waits for", async () => {
    await chat();
    const fault = await faultOf((await begin("quick", { AI_SERVER_LOAD_TIMEOUT_MS: "12000" })).loading);
    expect(fault.message).toContain(
      "quick was not loaded within 12 s (timed out): answers must unload first and is still answering 1 request",
    );
  });
});

describe("a load that is given up", () => {
  const REASON = new Error("enough");

  test.each(["loading", "waiting", "stopping"] as const)(
    "while it is %s ends at once, and keeps no connection",
    async (stage) => {
      const finish = stage === "loading" ? () => {} : await chat();
      const run = await begin("slow");
      if (stage === "stopping") {
        await eventually(() => expect(run.kinds()).toContain("waiting"));
        finish();
      }
      if (stage === "loading") await eventually(() => expect(run.sim.starts).toEqual({ slow: 1 }));
      await eventually(() => expect(run.kinds()).toContain(stage));
      run.abort.abort(REASON);
      await expect(run.loading).rejects.toBe(REASON);
      const count = run.reports.length;
      finish();
      await eventually(() => expect(run.sim.connections).toBeLessThanOrEqual(1));
      await run.swap.close();
      await eventually(() => expect(run.sim.connections).toBe(0));
      expect(run.reports).toHaveLength(count);
      // llama-swap finishes a load whose client has gone.
      if (stage === "loading") {
        const other = await kept(new ModelServer(clientOf(run.sim.url, run.sim.certsDir)));
        await eventually(async () => expect(await states(other)).toEqual([["slow", "ready"]]));
      }
    },
  );

  test("before it began sends no request", async () => {
    const { swap, sim } = await begin("quick");
    sim.requests.length = 0;
    const options = { report: () => {}, signal: AbortSignal.abort(REASON) };
    await expect(loadModel(swap, "slow", options)).rejects.toBe(REASON);
    expect(sim.requests.filter(({ path }) => path.includes("slow"))).toEqual([]);
  });
});
