import { describe, expect, test } from "vitest";
import type { LoadState } from "../../activity/load-state.ts";
import { httpProbe } from "../../admin/change.ts";
import type { ServerProbe } from "../../host/probe.ts";
import { ModelServer } from "../../server/model-server.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import { byPath, cannedServer } from "../support/canned.ts";
import { freePort } from "../support/network.ts";
import { clientOf, kept } from "../support/wire.ts";

const CONFIG = `
models:
  a: { cmd: "llama-server --port \${PORT} --load 1 -c 8192 -np 2" }
  b/c:d e: { cmd: "llama-server --port \${PORT} -c 4096" }
  bad: { cmd: "llama-server --port \${PORT} --load 60 --fail-after 1" }
`;
const NEVER = new AbortController().signal;

interface Probed {
  probe: ServerProbe;
  sim: Sim;
  progress: [string, LoadState["kind"]][];
  loads: [string, number][];
}

function probeOf(swap: ModelServer): Omit<Probed, "sim"> {
  const progress: Probed["progress"] = [];
  const loads: Probed["loads"] = [];
  const probe = httpProbe(swap, {
    onLoading: (id, { kind }) => progress.push([id, kind]),
    onLoaded: (id, loadMs) => loads.push([id, loadMs]),
  });
  return { probe, progress, loads };
}

async function started(): Promise<Probed> {
  const sim = await kept(startSim({ config: CONFIG, speed: 100 }));
  const swap = await kept(new ModelServer(clientOf(sim.url, sim.certsDir)));
  return { sim, ...probeOf(swap) };
}

describe("a change's view of llama-swap", () => {
  test("loads, and reports the time, the running models and the window", async () => {
    const { probe, sim, progress, loads } = await started();
    expect(await probe.running(NEVER)).toEqual([]);
    await probe.load("a", NEVER);
    expect(progress.at(-1)).toEqual(["a", "ready"]);
    expect(loads).toEqual([["a", expect.any(Number)]]);
    expect(await probe.running(NEVER)).toMatchObject([
      { id: "a", state: "ready", commandLine: expect.stringContaining("-c 8192 -np 2") },
    ]);
    expect(await probe.liveContext("a", NEVER)).toMatchObject({ tokens: 4096, trained: 131_072 });
    expect(sim.starts).toEqual({ a: 1 });
  });

  test("of a loaded model reports no time, but its window, whatever its id", async () => {
    const { probe, loads } = await started();
    await probe.load("b/c:d e", NEVER);
    await probe.load("b/c:d e", NEVER);
    expect(loads).toHaveLength(1);
    expect(await probe.liveContext("b/c:d e", NEVER)).toMatchObject({ tokens: 4096, trained: 131_072 });
  });

  test("is asked again each time", async () => {
    const { probe, sim } = await started();
    await probe.running(NEVER);
    await probe.running(NEVER);
    expect(sim.requests.map(({ path }) => path)).toEqual(["/running", "/running"]);
  });

  test("reports why a model does not load, its log, and llama-swap's own", async () => {
    const { probe } = await started();
    await expect(probe.load("bad", NEVER)).rejects.toMatchObject({
      link: "model",
      message: expect.stringMatching(/^bad could not be loaded.*(\n.*)*out of memory/),
    });
    expect((await probe.log("bad", NEVER)).join("\n")).toContain("cudaMalloc failed");
    const own = (await probe.log(undefined, NEVER)).join("\n");
    expect(own).toContain("llama-swap listening");
    // The looks of those who wait for the model would push the reason out.
    expect(own).not.toContain("/upstream/bad/health");
    expect((await probe.log("bad", NEVER)).length).toBeLessThanOrEqual(20);
  });

  test("ends at once with the signal, with its reason", async () => {
    const { probe, sim } = await started();
    sim.setSpeed(0.01);
    const end = new AbortController();
    const loading = probe.load("a", end.signal);
    await expect.poll(() => sim.starts).toEqual({ a: 1 });
    const reason = new Error("enough");
    end.abort(reason);
    await expect(loading).rejects.toBe(reason);
  });
});

describe("a change's view of a router", () => {
  const models = {
    data: [
      {
        id: "a",
        status: { value: "unloaded", args: ["llama-server", "--ctx-size", "4096", "--model", "/m/a b"] },
      },
    ],
  };

  test.each([
    [models, "reloaded"],
    [404, "not understood"],
  ])("can have its preset read again", async (answer, outcome) => {
    const table = { "/running": 404, "/v1/models": models, "/v1/models?reload=1": answer };
    const { swap } = await cannedServer(byPath(table));
    const probe = httpProbe(swap, { onLoading: () => {}, onLoaded: () => {} }, await swap.backend(NEVER));
    expect(await probe.reload?.(NEVER)).toBe(outcome);
    expect(await probe.startLine("a", NEVER)).toBe("llama-server --ctx-size 4096 --model '/m/a b'");
    expect(await probe.startLine("b", NEVER)).toBeUndefined();
  });

  test("is not that of llama-swap, or of a server of unknown kind", async () => {
    const { swap } = await cannedServer(byPath({}));
    const hooks = { onLoading: () => {}, onLoaded: () => {} };
    for (const backend of [await swap.backend(NEVER), undefined])
      expect(httpProbe(swap, hooks, backend).reload).toBeUndefined();
  });
});

describe("whether the server answers", () => {
  test("comes from /running, also on a server without it", async () => {
    expect(await (await started()).probe.answers(NEVER)).toBe(true);
    const { swap } = await cannedServer(byPath({}));
    expect(await probeOf(swap).probe.answers(NEVER)).toBe(true);
    expect(await probeOf(swap).probe.running(NEVER)).toEqual([]);
  });

  test.each([
    ["nothing listens", async () => `http://127.0.0.1:${await freePort()}`],
    ["Caddy has no server behind it", undefined],
  ])("is false where %s", async (_, url) => {
    if (url === undefined) {
      const { swap } = await cannedServer(byPath({ "/running": 502 }));
      expect(await probeOf(swap).probe.answers(NEVER)).toBe(false);
      return;
    }
    const swap = await kept(new ModelServer(clientOf(await url(), "/nowhere")));
    expect(await probeOf(swap).probe.answers(NEVER)).toBe(false);
  });

  test("is not given after the signal", async () => {
    const { probe } = await started();
    const reason = new Error("enough");
    await expect(probe.answers(AbortSignal.abort(reason))).rejects.toBe(reason);
  });
});
