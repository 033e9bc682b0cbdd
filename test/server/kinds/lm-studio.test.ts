import { describe, expect, test } from "vitest";
import { loadModel, unloadModel } from "../../../server/load.ts";
import { byPath, cannedServer } from "../../support/canned.ts";
import { fastClock } from "../../support/clock.ts";
import { faultOf } from "../../support/wire.ts";

const NEVER = new AbortController().signal;
const LIST = { data: [{ id: "qwen/qwen3-8b", owned_by: "organization_owner" }] };
const OTHERS = { "/running": 404, "/props": 404, "/api/tags": 404, "/v1/models": LIST };

const QWEN = {
  key: "qwen/qwen3-8b",
  type: "llm",
  display_name: "Qwen3 8B",
  size_bytes: 4_700_000_000,
  quantization: { name: "Q4_K_M", bits_per_weight: 4 },
  max_context_length: 40_960,
  capabilities: { vision: true, trained_for_tool_use: true },
  loaded_instances: [] as unknown[],
};
const UNTRAINED = { key: "plain", type: "llm", capabilities: { trained_for_tool_use: false } };
const INSTANCES = [{ id: "i-1", config: { context_length: 8192 } }, { id: "i-2" }, null, {}];
const EMBEDDING = { key: "nomic", type: "embedding", loaded_instances: [] };

async function studio() {
  const models = [{ ...QWEN }, EMBEDDING];
  const posted: [string, unknown][] = [];
  const { swap } = await cannedServer((request, response) => {
    if (request.method !== "POST")
      return byPath({ ...OTHERS, "/api/v1/models": { models } })(request, response);
    let body = "";
    request.on("data", (piece) => {
      body += piece;
    });
    request.on("end", () => {
      posted.push([request.url ?? "", JSON.parse(body)]);
      const isLoad = request.url?.endsWith("/load");
      models[0] = {
        ...QWEN,
        loaded_instances: isLoad ? INSTANCES : [],
      };
      response.end("{}");
    });
  });
  return { swap, posted };
}

describe("LM Studio", () => {
  test("gives tools to models that were not trained for them too", async () => {
    const answers = { ...OTHERS, "/api/v1/models": { models: [QWEN, UNTRAINED] } };
    const { swap } = await cannedServer(byPath(answers));
    expect((await swap.discover(new Map())).map(({ tools }) => tools)).toEqual([
      { value: true, source: "declared" },
      { value: true, source: "default" },
    ]);
  });

  test("lists its models without those that embed, and takes no trained window for the configured one", async () => {
    const { swap } = await studio();
    expect(await swap.discover(new Map())).toMatchObject([
      {
        id: "qwen/qwen3-8b",
        name: "Qwen3 8B",
        state: "unloaded",
        context: { source: "default" },
        vision: { value: true, source: "declared" },
      },
    ]);
  });

  test("loads by the model, unloads by the instance, and shows the window between", async () => {
    const { swap, posted } = await studio();
    const clock = fastClock(50);
    await loadModel(swap, "qwen/qwen3-8b", { report: () => {}, signal: NEVER, clock });
    expect(await swap.liveContext("qwen/qwen3-8b")).toMatchObject({ tokens: 8192, trained: 40_960 });
    await unloadModel(swap, "qwen/qwen3-8b", NEVER, clock);
    expect(posted).toEqual([
      ["/api/v1/models/load", { model: "qwen/qwen3-8b" }],
      ["/api/v1/models/unload", { instance_id: "i-1" }],
      ["/api/v1/models/unload", { instance_id: "i-2" }],
    ]);
    expect(await swap.runningNow()).toEqual([]);
  });

  test("does not load a model twice, which would make a second instance of it", async () => {
    const { swap, posted } = await studio();
    const load = () =>
      loadModel(swap, "qwen/qwen3-8b", { report: () => {}, signal: NEVER, clock: fastClock(50) });
    expect(await load()).toMatchObject({ wasLoaded: false });
    expect(await load()).toMatchObject({ wasLoaded: true });
    expect(posted).toEqual([["/api/v1/models/load", { model: "qwen/qwen3-8b" }]]);
  });

  test("before 0.4.0 shows what is loaded, and loads nothing", async () => {
    const data = [
      { id: "a", type: "vlm", state: "loaded", max_context_length: 32_768, loaded_context_length: 4096 },
      { id: "b", type: "llm", state: "not-loaded", quantization: "Q8_0" },
      { id: "c", type: "embeddings", state: "not-loaded" },
      { id: 5 },
    ];
    const { swap } = await cannedServer(
      byPath({ ...OTHERS, "/api/v1/models": 404, "/api/v0/models": { data } }),
    );
    expect(await swap.discover(new Map())).toMatchObject([
      { id: "a", state: "ready", context: { value: 4096, source: "live" }, vision: { value: true } },
      { id: "b", state: "unloaded", context: { source: "default" }, vision: { value: false } },
    ]);
    const loading = loadModel(swap, "b", { report: () => {}, signal: NEVER, clock: fastClock(50) });
    expect((await faultOf(loading)).message).toMatch(/^LM Studio does not load or unload models when asked/);
  });

  test("that has no model yet is recognised", async () => {
    const answers = { ...OTHERS, "/v1/models": { data: [] }, "/api/v1/models": { models: [] } };
    const { swap } = await cannedServer(byPath(answers));
    const { name, load } = await swap.backend();
    expect([name, load !== undefined]).toEqual(["LM Studio", true]);
  });

  test("is not recognised in a server that answers every path with an error and 200", async () => {
    const odd = { error: "Unexpected endpoint or method." };
    const { swap } = await cannedServer(byPath({ ...OTHERS, "/api/v1/models": odd, "/api/v0/models": odd }));
    expect((await swap.backend()).name).toBe("The server");
  });
});
