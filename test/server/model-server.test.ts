import { mkdtempSync, rmSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { logTail } from "../../server/kinds/llama-swap/log.ts";
import { ModelServer } from "../../server/model-server.ts";
import type { ModelFacts } from "../../server/models/models.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import { writeCertificates } from "../support/certificates.ts";
import { recordedBody } from "../support/recorded.ts";
import { clientOf, faultOf, httpsServer, kept, pair } from "../support/wire.ts";

const CMD = `llama-server --port \${PORT}`;
const CONFIG = `
models:
  a:
    cmd: ${CMD} -c 8192 -np 2 --vision
    aliases: [first]
  "org/b":
    cmd: ${CMD} -c 4096 --no-reasoning
  org:
    cmd: ${CMD} -c 2048
  "sp ace/ünï:Q4":
    cmd: ${CMD} -c 1024
  nomic-embed:
    cmd: ${CMD} --embedding
`;

let folder = "";
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "llama-swap-test-"));
  await writeCertificates(folder);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Clock {
  now: number;
}

async function swapFor(sim: Sim, clock?: Clock): Promise<ModelServer> {
  return kept(new ModelServer(clientOf(sim.url, sim.certsDir), () => clock?.now ?? Date.now()));
}

const startedSim = (): Promise<Sim> => kept(startSim({ config: CONFIG, speed: 100 }));

/** A server that answers by path; what is not in the table never gets an answer. */
async function scripted(
  answers: Record<string, unknown>,
  more: (request: IncomingMessage, response: ServerResponse) => void = () => {},
): Promise<{ swap: ModelServer; paths: string[] }> {
  const paths: string[] = [];
  const server = await kept(
    httpsServer(pair(folder), (request, response) => {
      const path = request.url ?? "";
      paths.push(path);
      const answer = answers[path];
      if (typeof answer === "number") response.writeHead(answer).end();
      else if (answer !== undefined) response.end(JSON.stringify(answer));
      else more(request, response);
    }),
  );
  const swap = await kept(new ModelServer(clientOf(server.url, folder)));
  return { swap, paths };
}

async function load(sim: Sim, id: string): Promise<void> {
  const swap = await swapFor(sim);
  const path = `/upstream/${encodeURIComponent(id)}/health`;
  expect(await swap.http.json(path, { timeoutMs: 10_000 })).toEqual({ status: "ok" });
}

const paths = (sim: Sim): string[] => sim.requests.map(({ path }) => path);
const contexts = (models: readonly ModelFacts[]): unknown[] =>
  models.map(({ id, state, context }) => [id, state, context.value, context.source]);

describe("discovery", () => {
  test("sends two requests and loads nothing", async () => {
    const sim = await startedSim();
    const models = await (await swapFor(sim)).discover(new Map());
    expect(contexts(models)).toEqual([
      ["a", "unloaded", 32_768, "default"],
      ["org", "unloaded", 32_768, "default"],
      ["org/b", "unloaded", 32_768, "default"],
      ["sp ace/ünï:Q4", "unloaded", 32_768, "default"],
    ]);
    expect(paths(sim).sort()).toEqual(["/running", "/v1/models"]);
    expect(sim.starts).toEqual({});
  });

  test("reads the facts of ready models, and of no others", async () => {
    const sim = await startedSim();
    await load(sim, "sp ace/ünï:Q4");
    sim.requests.length = 0;
    const models = await (await swapFor(sim)).discover(new Map());
    expect(contexts(models)).toEqual([
      ["a", "unloaded", 32_768, "default"],
      ["org", "unloaded", 32_768, "default"],
      ["org/b", "unloaded", 32_768, "default"],
      ["sp ace/ünï:Q4", "ready", 1024, "live"],
    ]);
    expect(models[3]).toMatchObject({
      vision: { value: false, source: "live" },
      thinking: { value: { kind: "switch" }, source: "live" },
    });
    // What runs is read once more before a model is asked: another server may answer the next request.
    expect(paths(sim).sort()).toEqual([
      "/running",
      "/running",
      "/upstream/sp%20ace%2F%C3%BCn%C3%AF%3AQ4/props",
      "/v1/models",
    ]);
    expect(sim.starts).toEqual({ "sp ace/ünï:Q4": 1 });
  });

  test.each(["starting", "stopping", "stopped", "sleepy", undefined])(
    "sends no request to a model that is %s",
    async (state) => {
      const { swap, paths } = await scripted({
        "/v1/models": { data: [{ id: "m" }] },
        "/running": { running: [{ model: "m", state }] },
      });
      expect(await swap.discover(new Map())).toHaveLength(1);
      expect(paths.sort()).toEqual(["/running", "/v1/models"]);
    },
  );

  test("lists a model that refuses its facts without live ones", async () => {
    const { swap } = await scripted({
      "/v1/models": { data: [{ id: "m" }] },
      "/running": { running: [{ model: "m", state: "ready", cmd: "x -c 5000" }] },
      "/upstream/m/props": 503,
    });
    expect(contexts(await swap.discover(new Map()))).toEqual([["m", "ready", 5000, "command line"]]);
  });

  test("lists a silent model without live facts, within the limit", async () => {
    const { swap, paths } = await scripted({
      "/v1/models": { data: [{ id: "m" }] },
      "/running": { running: [{ model: "m", state: "ready", cmd: "x -c 5000" }] },
    });
    const models = await swap.discover(new Map(), { timeoutMs: 400 });
    expect(contexts(models)).toEqual([["m", "ready", 5000, "command line"]]);
    expect(paths).toContain("/upstream/m/props");
    const late = new Promise<never>((_, reject) => setTimeout(reject, 8000, new Error("late")));
    expect(contexts(await Promise.race([swap.discover(new Map()), late]))).toEqual(contexts(models));
  });

  test.each([["/running"], ["/v1/models"]])("ends at the limit when %s does not answer", async (silent) => {
    const answers: Record<string, unknown> = { "/v1/models": { data: [] }, "/running": { running: [] } };
    delete answers[silent];
    const { swap } = await scripted(answers);
    const late = new Promise((resolve) => setTimeout(resolve, 5000, "late"));
    const fault = faultOf(swap.discover(new Map(), { timeoutMs: 400 })).then(({ message }) => message);
    expect(await Promise.race([fault, late])).toBe(
      `The server did not answer ${silent} within 1 s (timed out). It may be busy or stuck.`,
    );
  });

  /** Up to v227 the shortest id that begins the path won: asking org/slash-model loaded org. */
  test.each(["v170", "v217"] as const)(
    "sends no request to llama-swap %s that would load another model",
    async (version) => {
      const { swap, paths } = await scripted({
        "/v1/models": recordedBody(version, "045-v1-models-slash-loaded"),
        "/running": recordedBody(version, "044-running-slash"),
      });
      expect(await swap.discover(new Map())).not.toEqual([]);
      expect(await swap.isWorking("org/slash-model", AbortSignal.timeout(5000))).toBe(false);
      expect(paths.sort()).toEqual(["/running", "/running", "/v1/models"]);
    },
  );

  test("reads every ready model of newer versions", async () => {
    const { swap, paths } = await scripted({
      "/v1/models": recordedBody("head", "045-v1-models-slash-loaded"),
      "/running": recordedBody("head", "044-running-slash"),
      "/upstream/org%2Fslash-model/props": recordedBody("head", "046-upstream-props"),
    });
    const models = await swap.discover(new Map());
    expect(models.find(({ id }) => id === "org/slash-model")?.context).toEqual({
      value: 16_384,
      source: "live",
    });
    expect(paths).toHaveLength(4);
  });

  test("takes the list of a plain llama-server, which has no /running", async () => {
    const { swap, paths } = await scripted({
      "/v1/models": { data: [{ id: "/models/x.gguf", meta: { n_ctx: 4096 } }] },
      "/running": 404,
      "/props": { default_generation_settings: { n_ctx: 2048 } },
    });
    expect(contexts(await swap.discover(new Map()))).toEqual([["/models/x.gguf", "ready", 2048, "live"]]);
    // Once for the kind, once for what runs, once for the facts.
    expect(paths.toSorted()).toEqual(["/props", "/props", "/props", "/running", "/v1/models"]);
  });

  test.each([{}, [], null, { data: {} }, "text", { error: "no" }])(
    "rejects %j as a list of models",
    async (answer) => {
      const { swap } = await scripted({ "/v1/models": answer, "/running": { running: [] } });
      const { message, link } = await faultOf(swap.discover(new Map()));
      expect(message).toBe(
        "The server's answer to /v1/models is not a list of models. Check AI_SERVER_URL and AI_SERVER_MODELS_PATH.",
      );
      expect(link).toBe("server");
    },
  );

  test("has one limit for all of its requests together", async () => {
    let now = Date.now();
    const server = await kept(
      httpsServer(pair(folder), ({ url }, response) => {
        if (url === "/running") now += 2900;
        if (url === "/running") response.writeHead(404).end();
        if (url === "/v1/models") response.end(JSON.stringify({ data: [{ id: "m" }] }));
      }),
    );
    const swap = await kept(new ModelServer(clientOf(server.url, folder), () => now));
    const { message } = await faultOf(swap.discover(new Map(), { timeoutMs: 3000 }));
    expect(message).toContain("did not answer /props within 1 s");
  });

  test("uses the configured paths", async () => {
    const sim = await startedSim();
    const more = { AI_SERVER_MODELS_PATH: "/models", AI_SERVER_RUNNING_PATH: "/running?x=1" };
    const swap = await kept(new ModelServer(clientOf(sim.url, sim.certsDir, more)));
    expect(await swap.discover(new Map())).toHaveLength(4);
    expect(paths(sim).sort()).toEqual(["/models", "/running?x=1"]);
  });
});

describe("/running", () => {
  test("is read once for all callers within a second", async () => {
    const sim = await startedSim();
    const clock = { now: Date.now() };
    const swap = await swapFor(sim, clock);
    await Promise.all([swap.running(), swap.running(), swap.running()]);
    clock.now += 999;
    await swap.running();
    expect(sim.requests).toHaveLength(1);
    clock.now += 1;
    await swap.running();
    expect(sim.requests).toHaveLength(2);
  });

  test("continues for the others when one caller stops waiting", async () => {
    const sim = await startedSim();
    const swap = await swapFor(sim);
    const abort = new AbortController();
    const reason = new Error("enough");
    const [mine, other] = [swap.running(abort.signal), swap.running()];
    abort.abort(reason);
    await expect(mine).rejects.toBe(reason);
    expect(await other).toEqual([]);
    expect(sim.requests).toHaveLength(1);
  });

  test("is read again a second after it failed", async () => {
    const sim = await startedSim();
    const clock = { now: Date.now() };
    const swap = await swapFor(sim, clock);
    sim.failNext({ path: "/running", status: 503 });
    await expect(swap.running()).rejects.toThrow("HTTP 503");
    clock.now += 1000;
    expect(await swap.running()).toEqual([]);
  });
});

describe("the end of a log", () => {
  test("has the model's last lines without health checks, and does not wait for more", async () => {
    const sim = await startedSim();
    await load(sim, "sp ace/ünï:Q4");
    const lines = await (await swapFor(sim)).logTail("sp ace/ünï:Q4", 2);
    expect(lines).toHaveLength(2);
    expect(lines.join()).not.toContain("GET /health");
    expect(paths(sim).at(-1)).toBe("/logs/stream/sp%20ace%2F%C3%BCn%C3%AF%3AQ4");
  });

  test("of an unknown model is empty", async () => {
    const sim = await startedSim();
    expect(await (await swapFor(sim)).logTail("missing", 5)).toEqual([]);
  });

  test("of a model that never logged is empty, though not even headers come", async () => {
    const sim = await startedSim();
    expect(await logTail(await swapFor(sim), "a", 5, undefined, 500)).toEqual([]);
  });

  test("of a server that is gone is empty", async () => {
    const sim = await startedSim();
    const swap = await swapFor(sim);
    await sim.close();
    expect(await swap.logTail("a", 5)).toEqual([]);
  });

  test("of an endless log is cut in time and size, and keeps the last lines", async () => {
    let count = 0;
    let isOpen = true;
    const { swap } = await scripted({ "/running": { running: [] } }, (_, response) => {
      response.on("close", () => {
        isOpen = false;
      });
      const write = (): void => {
        if (response.destroyed) return;
        let text = "";
        for (let line = 0; line < 200; line++) text += `${"\t".repeat(50)}line ${count++}\n`;
        response.write(text);
        setTimeout(write, 1);
      };
      write();
    });
    const lines = await logTail(swap, "m", 3, undefined, 800);
    expect(lines).toHaveLength(3);
    for (const line of lines) expect(line).toMatch(/^line \d+$/);
    expect(Number(lines.at(-1)?.slice(5))).toBeGreaterThan(count / 2);
    await expect.poll(() => isOpen).toBe(false);
  });

  test("has no terminal control, no endless line and no empty one", async () => {
    const { swap } = await scripted({ "/running": { running: [] } }, (_, response) => {
      response.write(`\u001b[31mred\u001b[0m\n\r\n\u001b]0;t\u0007title\r\n${"x".repeat(100_000)}\n`);
    });
    const lines = await swap.logTail("m", 10);
    expect(lines.slice(0, 2)).toEqual(["red", "title"]);
    expect(lines).toHaveLength(3);
    expect(lines[2]?.length).toBeLessThan(1000);
  });

  test("ends with the turn that asked", async () => {
    const { swap } = await scripted({ "/running": { running: [] } }, (_, response) =>
      response.write("first\n"),
    );
    const abort = new AbortController();
    const tail = swap.logTail("m", 3, abort.signal);
    abort.abort();
    expect(await tail).toEqual([]);
  });
});

describe("a model at work, by its slots", () => {
  test.each([
    [[{ is_processing: false }, { is_processing: true }], true],
    [[{ is_processing: false }], false],
    [[], false],
    [{ is_processing: true }, false],
    [[null, 5, { is_processing: "yes" }], false],
    [501, false],
  ])("%j is %s", async (slots, works) => {
    const { swap } = await scripted({
      "/running": { running: [] },
      "/v1/models": { data: [] },
      "/upstream/m/slots": slots,
    });
    expect(await swap.isWorking("m", AbortSignal.timeout(5000))).toBe(works);
  });
});

describe("the slot for a conversation that begins", () => {
  const SLOTS = [
    { id: 0, is_processing: false, id_task: 7, n_prompt_tokens: 900 },
    { id: 1, is_processing: false },
  ];

  async function slotWhere(answers: Record<string, unknown>): Promise<number | undefined> {
    const { swap } = await scripted({ "/v1/models": { data: [] }, ...answers });
    return swap.slotFor("m", true, AbortSignal.timeout(5000));
  }

  test("is the one that loses least", async () => {
    const running = [{ model: "m", state: "ready" }];
    expect(await slotWhere({ "/running": { running }, "/upstream/m/slots": SLOTS })).toBe(1);
  });

  test.each([
    ["loads", [{ model: "m", state: "starting" }]],
    ["is not loaded", [{ model: "other", state: "ready" }]],
  ])("is not asked for where the model %s: that would load it", async (_, running) => {
    expect(await slotWhere({ "/running": { running }, "/upstream/m/slots": SLOTS })).toBeUndefined();
  });

  test("is the server's choice where the slots or the loaded models are unknown", async () => {
    const running = [{ model: "m", state: "ready" }];
    expect(await slotWhere({ "/running": { running }, "/upstream/m/slots": 501 })).toBeUndefined();
    expect(await slotWhere({ "/running": 500 })).toBeUndefined();
  });
});
