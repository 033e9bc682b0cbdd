import { describe, expect, test } from "vitest";
import { loadModel, unloadModel } from "../../../server/load.ts";
import { byPath, cannedServer } from "../../support/canned.ts";
import { fastClock } from "../../support/clock.ts";
import { faultOf } from "../../support/wire.ts";

const NEVER = new AbortController().signal;
const LIST = { data: [{ id: "qwen3:8b", owned_by: "library" }] };

const QWEN = {
  name: "qwen3:8b",
  digest: "d1",
  size: 5_200_000_000,
  details: { quantization_level: "Q4_K_M" },
};
const SHOWN = {
  parameters: 'stop "<|im_end|>"\nnum_ctx                        16384\ntemperature 0.6',
  details: { family: "qwen3" },
  model_info: { "general.architecture": "qwen3", "qwen3.context_length": 40_960 },
  capabilities: ["completion", "tools", "thinking"],
};

/** An Ollama whose `/api/show` answers by model. */
async function ollama(tags: unknown[], shown: Record<string, unknown>, more: Record<string, unknown> = {}) {
  const posted: [string, unknown][] = [];
  const running: { models: unknown[] } = { models: [] };
  const { swap, requests } = await cannedServer((request, response) => {
    if (request.method !== "POST") {
      const answers = {
        "/running": 404,
        "/v1/models": LIST,
        "/api/tags": { models: tags },
        "/api/ps": running,
      };
      return byPath({ ...answers, ...more })(request, response);
    }
    let body = "";
    request.on("data", (piece) => {
      body += piece;
    });
    request.on("end", () => {
      const asked = JSON.parse(body);
      posted.push([request.url ?? "", asked]);
      if (request.url === "/api/show") {
        const answer = shown[asked.model];
        if (answer === undefined) response.writeHead(404).end("{}");
        else response.end(JSON.stringify(answer));
        return;
      }
      running.models = asked.keep_alive === 0 ? [] : [{ name: asked.model, context_length: 8192 }];
      response.end(JSON.stringify({ done: true }));
    });
  });
  return { swap, requests, posted, running };
}

describe("Ollama", () => {
  test("shows size, quantisation, window, vision and thinking of each model, and loads nothing", async () => {
    const { swap, posted } = await ollama([QWEN], { "qwen3:8b": SHOWN });
    const [model] = await swap.discover(new Map());
    expect(model).toMatchObject({
      id: "qwen3:8b",
      state: "unloaded",
      context: { value: 16_384, source: "declared" },
      vision: { value: false, source: "declared" },
      thinking: { value: { kind: "effort", levels: ["none", "medium"] }, source: "declared" },
    });
    expect(posted.map(([path]) => path)).toEqual(["/api/show"]);
  });

  test("shows the window of a loaded model", async () => {
    const { swap, running } = await ollama([QWEN], { "qwen3:8b": SHOWN });
    running.models = [{ name: "qwen3:8b", context_length: 4096 }];
    const [model] = await swap.discover(new Map());
    expect(model).toMatchObject({ state: "ready", context: { value: 4096, source: "live" } });
    expect(await swap.liveContext("qwen3:8b")).toMatchObject({ tokens: 4096, trained: 40_960 });
  });

  test("the trained window is none that is set", async () => {
    const { swap } = await ollama([QWEN], { "qwen3:8b": { ...SHOWN, parameters: "num_ctx many" } });
    expect((await swap.discover(new Map()))[0]?.context.source).toBe("default");
  });

  test("is asked for a model's details once, until the model is another", async () => {
    const tag = { ...QWEN };
    const { swap, posted } = await ollama([tag], { "qwen3:8b": SHOWN });
    await swap.discover(new Map());
    await swap.discover(new Map());
    expect(posted).toHaveLength(1);
    tag.digest = "d2";
    await swap.discover(new Map());
    expect(posted).toHaveLength(2);
  });

  test("reads the details again when a model has become another", async () => {
    const tag = { ...QWEN };
    const shown: Record<string, unknown> = { "qwen3:8b": SHOWN };
    const { swap } = await ollama([tag], shown);
    await swap.discover(new Map());
    tag.digest = "d2";
    shown["qwen3:8b"] = { ...SHOWN, model_info: { "qwen3.context_length": 262_144 } };
    await swap.discover(new Map());
    expect(await swap.liveContext("qwen3:8b")).toMatchObject({ trained: 262_144 });
    tag.digest = "d3";
    delete shown["qwen3:8b"];
    await swap.discover(new Map());
    expect(await swap.liveContext("qwen3:8b")).toMatchObject({ trained: undefined });
  });

  test("leaves out what cannot chat, and keeps a model without details", async () => {
    const tags = [QWEN, { name: "bge-m3:latest" }, { name: "odd" }, null, { name: "" }, { size: 3 }];
    const { swap } = await ollama(tags, { "bge-m3:latest": { capabilities: ["embedding"] } });
    expect((await swap.discover(new Map())).map(({ id }) => id)).toEqual(["qwen3:8b", "odd"]);
  });

  test("gpt-oss has levels and no off", async () => {
    const shown = { ...SHOWN, details: { family: "gptoss" } };
    const { swap } = await ollama([QWEN], { "qwen3:8b": shown });
    expect((await swap.discover(new Map()))[0]?.thinking.value).toEqual({
      kind: "effort",
      levels: ["low", "medium", "high"],
    });
  });

  test("loads by a request without a prompt, and unloads by one that keeps nothing", async () => {
    const { swap, posted } = await ollama([QWEN], { "qwen3:8b": SHOWN });
    const clock = fastClock(50);
    await loadModel(swap, "qwen3:8b", { report: () => {}, signal: NEVER, clock });
    expect((await swap.runningNow())?.map(({ id }) => id)).toEqual(["qwen3:8b"]);
    await unloadModel(swap, undefined, NEVER, clock);
    expect(posted).toEqual([
      ["/api/generate", { model: "qwen3:8b", stream: false }],
      ["/api/generate", { model: "qwen3:8b", stream: false, keep_alive: 0 }],
    ]);
    expect(await swap.runningNow()).toEqual([]);
  });

  test("that refuses is quoted", async () => {
    const { swap } = await cannedServer((request, response) => {
      const answers = {
        "/running": 404,
        "/v1/models": LIST,
        "/api/tags": { models: [QWEN] },
        "/api/ps": { models: [] },
      };
      if (request.method === "POST") response.writeHead(404).end('{"error":"model \'x\' not found"}');
      else byPath(answers)(request, response);
    });
    const loading = loadModel(swap, "x", { report: () => {}, signal: NEVER, clock: fastClock(50) });
    expect((await faultOf(loading)).message).toContain("model 'x' not found");
  });
});
