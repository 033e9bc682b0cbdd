/** Loads on servers that answer as llama-swaps of other versions do, or worse. */
import { describe, expect, test } from "vitest";
import type { LoadState } from "../../activity/load-state.ts";
import { loadModel } from "../../server/load.ts";
import {
  type Answer,
  type Answering,
  byPath,
  type Canned,
  cannedServer,
  give,
  recordedAnswer,
} from "../support/canned.ts";
import { fastClock } from "../support/clock.ts";
import { eventually } from "../support/sim-client.ts";
import { faultOf } from "../support/wire.ts";

const clock = fastClock(200);
const OK: Answer = { status: 200, headers: {}, body: '{"status":"ok"}' };
const EMPTY_502: Answer = { status: 502, headers: {}, body: "" };
const LOG = "first\nsecond\n\u001b[31mout of memory\u001b[0m\n";

type State = "gone" | "ready" | "starting";

/** A server whose health route answers in this order, the last answer from then on, with these states beside it. */
function scriptedLoad(id: string, script: [Answer | "lost" | "silent", State][], log = LOG): Answering {
  let at = -1;
  return (request, response) => {
    const path = request.url ?? "";
    const state = script[Math.max(0, at)]?.[1];
    if (path === "/running") {
      const models = at < 0 || state === "gone" ? [] : [{ model: id, state }];
      response.end(JSON.stringify({ running: models }));
    } else if (path === `/upstream/${encodeURIComponent(id)}/health`) {
      at = Math.min(at + 1, script.length - 1);
      const answer = script[at]?.[0];
      if (answer === "lost") response.destroy();
      else if (answer !== "silent" && answer !== undefined) give(response, answer);
    } else if (path.startsWith("/logs/stream/")) response.end(log);
    else response.writeHead(404).end();
  };
}

interface Run extends Canned {
  reports: LoadState[];
  load(signal?: AbortSignal): ReturnType<typeof loadModel>;
  asked(): number;
}

async function on(
  answering: Answering,
  id = "m",
  env: Record<string, string> = {},
  recogniseMs?: number,
): Promise<Run> {
  const canned = await cannedServer(answering, env, recogniseMs);
  const reports: LoadState[] = [];
  const report = (progress: LoadState): void => {
    reports.push(progress);
  };
  const load = (signal = new AbortController().signal) =>
    loadModel(canned.swap, id, { report, signal, clock });
  const asked = (): number => canned.requests.filter((request) => request.includes("/upstream/")).length;
  return { ...canned, reports, load, asked };
}

describe("a failed load", () => {
  test.each([
    [
      "v170",
      "111-fail-exit-upstream",
      "unable to start process: upstream command exited prematurely but successfully",
    ],
    [
      "v217",
      "111-fail-exit-upstream",
      "unable to start process: upstream command exited prematurely but successfully",
    ],
    ["v217", "114-fail-missing-upstream", "unable to start process: start() failed for command"],
    ["head", "111-fail-exit-upstream", "unspecific error: upstream command exited prematurely"],
  ] as const)("of llama-swap %s (%s) says why", async (version, name, reason) => {
    const { load, asked } = await on(scriptedLoad("m", [[recordedAnswer(version, name), "gone"]]));
    const { message } = await faultOf(load());
    expect(message).toContain(`m could not be loaded: ${reason}`);
    expect(message).toMatch(
      /\nIts log ends with:\nfirst\nsecond\nout of memory\nMemory ran out: give the model a smaller context/,
    );
    expect(asked()).toBe(1);
  });

  test("of v218 to v250 names the reason", async () => {
    const body = '{"error":"health check timed out after 15s","src":"llama-swap"}';
    const { load } = await on(scriptedLoad("m", [[{ status: 500, headers: {}, body }, "gone"]], ""));
    expect((await faultOf(load())).message).toBe(
      "m could not be loaded: health check timed out after 15s\nhealthCheckTimeout in llama-swap's config is 15 s: raise it if the model needs longer to load.",
    );
  });

  test("a second time is final, though /running shows the model as ready", async () => {
    const failed = recordedAnswer("head", "111-fail-exit-upstream");
    const { load, asked } = await on(scriptedLoad("m", [[failed, "ready"]]));
    expect((await faultOf(load())).message).toContain("m could not be loaded: ");
    expect(asked()).toBe(2);
  });

  test("does not count while another client's load continues", async () => {
    const failed = recordedAnswer("head", "111-fail-exit-upstream");
    const { load, asked } = await on(
      scriptedLoad("m", [
        [failed, "starting"],
        [OK, "ready"],
      ]),
    );
    expect((await load()).wasLoaded).toBe(false);
    expect(asked()).toBe(2);
  });
});

describe("a load that fails while the model is shown as", () => {
  const failed = recordedAnswer("head", "111-fail-exit-upstream");

  test.each(["ready", "starting"] as const)("%s is repeated once, and then reported", async (state) => {
    const { load, asked } = await on(scriptedLoad("m", [[failed, state]]));
    expect((await faultOf(load())).message).toMatch(/^m could not be loaded: .*exited prematurely\n/);
    expect(asked()).toBe(2);
  });

  test("ready without a reason is repeated a few times at growing intervals", async () => {
    const { load, asked } = await on(scriptedLoad("m", [[EMPTY_502, "ready"]]));
    const { message } = await faultOf(load());
    expect(message).toMatch(/^m could not be loaded: llama-swap shows it as ready, but nothing answers/);
    expect(asked()).toBe(6);
  });

  test("ready, whose process ends again during the load, is repeated once", async () => {
    const loading: Answer = { status: 503, headers: {}, body: '{"error":{"message":"Loading model"}}' };
    const { load, asked } = await on(
      scriptedLoad("m", [
        [loading, "ready"],
        [EMPTY_502, "ready"],
        [loading, "ready"],
        [EMPTY_502, "ready"],
      ]),
    );
    expect((await faultOf(load())).message).toMatch(/^m could not be loaded: its process ended\n/);
    expect(asked()).toBe(4);
  });

  test("ready, and reports for long that it loads, continues", async () => {
    const loading: Answer = { status: 503, headers: {}, body: '{"error":{"message":"Loading model"}}' };
    const long: [Answer, State][] = Array.from({ length: 40 }, () => [loading, "ready"]);
    const { load, asked } = await on(scriptedLoad("m", [...long, [OK, "ready"]]));
    await load();
    expect(asked()).toBe(41);
  });
});

describe("an unknown id", () => {
  test.each(["v170", "v217", "head"] as const)("of llama-swap %s is reported", async (version) => {
    const answer =
      version === "head"
        ? recordedAnswer("head", "055-upstream-unknown")
        : recordedAnswer(version, "055-upstream-unknown");
    const { load, asked } = await on(scriptedLoad("m", [[answer, "gone"]]));
    expect((await faultOf(load())).message).toMatch(/^The server has no model m to load/);
    expect(asked()).toBe(1);
  });

  test("of a plain llama-server cannot be loaded", async () => {
    const props = { default_generation_settings: {} };
    const { load } = await on(byPath({ "/running": 404, "/v1/models": { data: [] }, "/props": props }));
    expect((await faultOf(load())).message).toMatch(
      /^This server is a single llama-server: its model is loaded/,
    );
  });
});

describe("an id that begins with another's", () => {
  const models = { data: [{ id: "org" }, { id: "org/m" }] };
  const at = (version: string) => ({
    "/v1/models": models,
    "/running": { running: [] },
    "/api/version": { version, commit: "x" },
  });

  test.each(["v227", "local_abc"])(
    "is not loaded on llama-swap %s, which would load the other",
    async (version) => {
      const { load, asked } = await on(byPath(at(version)), "org/m");
      expect((await faultOf(load())).message).toMatch(
        /^org\/m cannot be loaded by itself: llama-swap before v228 would load org instead\./,
      );
      expect(asked()).toBe(0);
    },
  );

  test.each([
    ["v228", models],
    ["local_abc", { data: models.data.map((entry) => ({ ...entry, status: { value: "unloaded" } })) }],
    ["v170", { data: [{ id: "or" }, { id: "org/m" }] }],
  ])("is loaded where no other can be meant (%s)", async (version, list) => {
    const load200 = scriptedLoad("org/m", [[OK, "ready"]]);
    const table = byPath({ ...at(version), "/v1/models": list });
    const { load, asked } = await on((request, response) => {
      const isTold = request.url === "/v1/models" || request.url === "/api/version";
      (isTold ? table : load200)(request, response);
    }, "org/m");
    await load();
    expect(asked()).toBe(1);
  });
});

describe("asking again", () => {
  test.each(["v170", "v217", "head"] as const)("after the 429 of llama-swap %s", async (version) => {
    const busy = recordedAnswer(version, "143-upstream-429");
    const { load, reports, asked } = await on(
      scriptedLoad("m", [
        [busy, "ready"],
        [busy, "ready"],
        [OK, "ready"],
      ]),
    );
    await load();
    expect(reports.filter(({ kind }) => kind === "busy")).toHaveLength(2);
    expect(asked()).toBe(3);
  });

  test("waits as long as Retry-After says", async () => {
    const busy = { status: 429, headers: { "retry-after": "30" }, body: "" };
    const { load } = await on(
      scriptedLoad("m", [
        [busy, "ready"],
        [OK, "ready"],
      ]),
    );
    const began = clock.now();
    await load();
    expect(clock.now() - began).toBeGreaterThanOrEqual(30_000);
  });

  test.each(["v170", "v217"] as const)("while llama-swap %s says ready too early", async (version) => {
    const loading = recordedAnswer(version, "150-check-none");
    const { load, asked } = await on(
      scriptedLoad("m", [
        [EMPTY_502, "ready"],
        [EMPTY_502, "ready"],
        [loading, "ready"],
        [loading, "ready"],
        [OK, "ready"],
      ]),
    );
    await load();
    expect(asked()).toBe(5);
  });

  test("after a lost connection, since the server continues the load", async () => {
    const { load, asked } = await on(
      scriptedLoad("m", [
        ["lost", "starting"],
        ["lost", "starting"],
        [OK, "ready"],
      ]),
    );
    await load();
    expect(asked()).toBeGreaterThanOrEqual(3);
  });

  test("ends: a connection that is always lost is a fault", async () => {
    const { load } = await on(scriptedLoad("m", [["lost", "starting"]]));
    const fault = await faultOf(load());
    expect(fault.message).not.toContain("was not loaded within");
    expect(fault.remedy).toBe("retry");
  });

  test("does not follow a 401, which is reported at once", async () => {
    const { load, asked } = await on(scriptedLoad("m", [[{ status: 401, headers: {}, body: "" }, "gone"]]));
    expect((await faultOf(load())).message).toContain("AI_SERVER_API_KEY");
    expect(asked()).toBe(1);
  });
});

describe("a model that has answered", () => {
  test("with 404 of its own is loaded: it has no such route", async () => {
    const answer = { status: 404, headers: {}, body: '{"detail":"Not Found"}' };
    const { load } = await on(scriptedLoad("m", [[answer, "ready"]]));
    expect((await load()).wasLoaded).toBe(false);
  });

  test("but is never shown as ready is reported as missing", async () => {
    const { load, asked } = await on(scriptedLoad("m", [[OK, "gone"]]));
    expect((await faultOf(load())).message).toMatch(/^m answered, but the server does not show it as loaded/);
    expect(asked()).toBe(1);
  });

  test("counts as loaded where the server lists no loaded models", async () => {
    const models = { data: [{ id: "m", owned_by: "llama-swap" }] };
    const { load } = await on(byPath({ "/running": 404, "/v1/models": models, "/upstream/m/health": OK }));
    expect(await load()).toEqual({ wasLoaded: false, loadMs: undefined });
  });
});

describe("a server that is silent", () => {
  test("is left after the limit, without a request under way", async () => {
    const { load, underWay } = await on(scriptedLoad("m", [["silent", "starting"]]), "m", {
      AI_SERVER_LOAD_TIMEOUT_MS: "60000",
    });
    expect((await faultOf(load())).message).toMatch(
      /^m was not loaded within 60 s \(timed out\): it has been loading for \d+ s/,
    );
    await eventually(() => expect(underWay()).toBe(0));
  });

  test("is left at once when the load is given up", async () => {
    const { load, requests, connections } = await on(() => {}, "m", {}, 1000);
    const abort = new AbortController();
    const reason = new Error("enough");
    const loading = load(abort.signal);
    await eventually(() => expect(requests).toEqual(["GET /running"]));
    abort.abort(reason);
    await expect(loading).rejects.toBe(reason);
    await eventually(() => expect(connections()).toBe(0));
  });

  test("while the log of a failed load is read, is left with the reason", async () => {
    const failed = scriptedLoad("m", [[recordedAnswer("head", "111-fail-exit-upstream"), "gone"]]);
    const { load, requests, underWay } = await on((request, response) => {
      if (!request.url?.startsWith("/logs/")) failed(request, response);
    });
    const abort = new AbortController();
    const reason = new Error("enough");
    const loading = load(abort.signal);
    await eventually(() => expect(requests.join()).toContain("/logs/"));
    abort.abort(reason);
    await expect(loading).rejects.toBe(reason);
    await eventually(() => expect(underWay()).toBe(0));
  });
});
