import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, onTestFinished, test } from "vitest";
import type { KindName } from "../../sim/kinds/server.ts";
import { unchanged } from "../support/clock.ts";
import { type KindStandIn, startKind } from "../support/kinds.ts";
import { Client, chunksOf, eventually, type Reply } from "../support/sim-client.ts";
import { parseEvents } from "./sse.ts";

const USER = [{ role: "user", content: "sim: say Hello there" }];
const STREAM = { messages: USER, stream: true, stream_options: { include_usage: true } };

async function start(
  kind: KindName,
  options: Parameters<typeof startKind>[1] = {},
): Promise<{ sim: KindStandIn; client: Client }> {
  const sim = await startKind(kind, { speed: 20, ...options });
  const client = new Client(sim);
  onTestFinished(async () => {
    await client.close();
    await sim.close();
  });
  return { sim, client };
}

const post = (client: Client, path: string, body: unknown): Promise<Reply> =>
  client.send(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });

async function json(reply: Promise<Reply>): Promise<Record<string, unknown>> {
  return JSON.parse((await reply).body);
}

function recorded(name: string): string {
  return readFileSync(new URL(`../fixtures/llama-server/${name}`, import.meta.url), "utf8");
}

describe("llama.cpp's router", () => {
  // The recorded preset, with what the stand-in needs to behave as the recorded machine did.
  const preset = recorded("router-presets.ini")
    .replace("[*]", "[*]\nthreads = 2\nn-ctx-train = 32768")
    .replace("[slow]", "[slow]\nload = 4")
    .replace("[missing]", "[missing]\nfail-after = 0.02\nload = 60")
    .replace("[garbage]", "[garbage]\nfail-after = 0.02\nload = 60");
  const statusOf = async (client: Client, id: string): Promise<unknown> => {
    const { data } = await json(client.send("/models"));
    return (data as { id: string; status: { value: string } }[]).find((model) => model.id === id)?.status;
  };
  const isLoaded = (client: Client, id: string): Promise<void> =>
    eventually(async () => expect(await statusOf(client, id)).toMatchObject({ value: "loaded" }));

  test("answers as the recorded one did, and loads nothing", async () => {
    const { sim, client } = await start("router", { preset });
    const gets: [string, string, number][] = [
      ["/health", "r01-health", 200],
      ["/props", "r01-props", 200],
      ["/props?model=slow&autoload=false", "r01-props-autoload-false", 400],
      ["/props?model=zzz", "r01-props-unknown", 400],
      ["/slots", "r01-slots", 400],
      ["/metrics", "r01-metrics", 400],
      ["/models/load", "r02-get-load", 404],
    ];
    for (const [path, name, status] of gets) {
      const reply = await client.send(path);
      expect([reply.status, JSON.parse(reply.body)], path).toEqual([
        status,
        JSON.parse(recorded(`${name}.json`)),
      ]);
    }
    const posts: [string, unknown, string, number][] = [
      ["/models/load", { model: "zzz" }, "r02-load-unknown", 404],
      ["/models/load", {}, "r02-load-nomodel", 404],
      ["/v1/models/load", { model: "alpha" }, "r02-v1-load", 404],
      ["/models/unload", { model: "zzz" }, "r02-unload-unknown", 400],
      ["/models/unload", { model: "slow" }, "r02-unload-notloaded", 400],
      ["/v1/chat/completions", { model: "zzz" }, "r03-chat-unknown", 400],
      ["/v1/chat/completions", STREAM, "r03-chat-nomodel", 400],
    ];
    for (const [path, body, name, status] of posts) {
      const reply = await post(client, path, body);
      expect([reply.status, JSON.parse(reply.body)], name).toEqual([
        status,
        JSON.parse(recorded(`${name}.json`)),
      ]);
    }
    expect(sim.starts).toEqual({});
  });

  test("lists its preset's models with the recorded keys", async () => {
    const { client } = await start("router", { preset });
    const { data } = JSON.parse(recorded("r01-models.json")) as { data: Record<string, unknown>[] };
    const mine = (await json(client.send("/models"))).data as Record<string, unknown>[];
    const fromPreset = data.filter((model) => model.source === "preset");
    expect(mine.map(({ id }) => id)).toEqual(fromPreset.map(({ id }) => id));
    for (const [index, model] of mine.entries()) {
      const theirs = fromPreset[index] ?? {};
      expect(Object.keys(model)).toEqual(Object.keys(theirs));
      for (const key of [
        "aliases",
        "tags",
        "owned_by",
        "architecture",
        "source",
        "can_remove",
        "context_length",
      ]) {
        expect(model[key], `${model.id}: ${key}`).toEqual(theirs[key]);
      }
      expect(Object.keys(Object(model.status))).toEqual(Object.keys(Object(theirs.status)));
    }
  });

  test("answers a load before the model is loaded, then reports its window and the recorded events", async () => {
    const { sim, client } = await start("router", { preset, speed: 1 });
    const events = client.send("/models/sse", { until: (text) => text.includes('"exit_code"') });
    await eventually(() => expect(sim.asked()).toEqual(["GET /models/sse"]));
    const first = await post(client, "/models/load", { model: "slow" });
    expect(first.body).toBe(recorded("r02-load-slow.json"));
    expect(await statusOf(client, "slow")).toMatchObject({ value: "loading" });
    const again = await post(client, "/models/load", { model: "slow" });
    expect([again.status, again.body]).toEqual([400, recorded("r02-load-slow-again.json")]);
    sim.setSpeed(100);
    await isLoaded(client, "slow");
    const models = (await json(client.send("/models"))).data as { id: string; meta: unknown }[];
    const theirs = JSON.parse(recorded("r02-models-loaded.json")).data as { id: string; meta: unknown }[];
    const metaOf = (list: typeof models) => Object(list.find(({ id }) => id === "slow")?.meta);
    expect(Object.keys(metaOf(models))).toEqual(Object.keys(metaOf(theirs)));
    expect(metaOf(models)).toMatchObject({ n_ctx: 4096, n_ctx_train: 32_768 });
    expect(await json(client.send("/props?model=slow&autoload=false"))).toMatchObject({
      default_generation_settings: { n_ctx: 4096 },
    });
    expect((await post(client, "/models/unload", { model: "slow" })).body).toBe(
      recorded("r02-unload-alpha.json"),
    );

    const shape = (text: string) =>
      parseEvents(text).map(({ event, data }) => [event, ...Object.keys(Object(data)), Object(data).status]);
    const mine = shape((await events).body);
    const recording = shape(recorded("r02-models-sse.sse")).slice(0, 5);
    expect(mine.filter((step, at) => String(step) !== String(mine[at - 1]))).toEqual(
      recording.filter((step, at) => String(step) !== String(recording[at - 1])),
    );
    expect(sim.starts).toEqual({ slow: 1 });
  });

  test("loads one model at a time: another one waits for the end of the running stream", async () => {
    const { client } = await start("router", { preset, speed: 5 });
    await post(client, "/models/load", { model: "alpha" });
    await isLoaded(client, "alpha");
    const order: string[] = [];
    const long = {
      ...STREAM,
      model: "alpha",
      messages: [{ role: "user", content: "sim: silent 2\nsim: say A" }],
    };
    const running = client.chat(long).then((reply) => order.push(`alpha ${reply.status}`));
    const waiting = client
      .chat({ ...STREAM, model: "st" })
      .then((reply) => order.push(`script-text ${reply.status}`));
    await Promise.all([running, waiting]);
    expect(order).toEqual(["alpha 200", "script-text 200"]);
    expect(await statusOf(client, "alpha")).toMatchObject({ value: "unloaded" });
    expect(await statusOf(client, "script-text")).toMatchObject({ value: "loaded" });
  });

  test("reports a failed load in the chat and in the list", async () => {
    const { sim, client } = await start("router", { preset });
    const chat = await client.chat({ ...STREAM, model: "garbage" });
    expect([chat.status, chat.body]).toEqual([500, recorded("r03-chat-garbage.json")]);
    expect(await statusOf(client, "garbage")).toMatchObject({
      value: "unloaded",
      exit_code: 1,
      failed: true,
    });
    const load = await post(client, "/models/load", { model: "garbage" });
    expect(load.body).toBe('{"success":true}');
    expect(sim.starts).toEqual({ garbage: 2 });
  });

  test("a section without a model never finishes loading and blocks the others until it is unloaded", async () => {
    const { client } = await start("router", { preset, speed: 100 });
    await post(client, "/models/load", { model: "placeholder" });
    expect(await statusOf(client, "placeholder")).toMatchObject({ value: "loading" });
    const answered: unknown[] = [];
    const blocked = client.chat({ ...STREAM, model: "alpha" });
    void blocked.then((reply) => answered.push(reply.status));
    // Ten simulated seconds: fifty times what the load would need.
    await unchanged(() => answered, 100);
    const other = await post(client, "/models/load", { model: "slow" });
    expect([other.status, JSON.parse(other.body).error.message]).toEqual([
      500,
      "model limit reached, try again later",
    ]);
    expect((await post(client, "/models/unload", { model: "placeholder" })).status).toBe(200);
    expect((await blocked).status).toBe(200);
    expect(await statusOf(client, "placeholder")).toMatchObject({ exit_code: 1, failed: true });
  });

  test("a reload reads the preset again and unloads only what changed", async () => {
    const { sim, client } = await start("router", { preset, maximum: 2 });
    for (const id of ["alpha", "script-tool"]) {
      await post(client, "/models/load", { model: id });
      await isLoaded(client, id);
    }
    writeFileSync(sim.presetPath, preset.replace("ctx-size = 2048", "ctx-size = 8192"));
    const list = await client.send("/models?reload=1");
    expect(list.status).toBe(200);
    expect(await statusOf(client, "alpha")).toMatchObject({
      value: "unloaded",
      args: expect.arrayContaining(["--ctx-size", "8192"]),
    });
    expect(await statusOf(client, "script-tool")).toMatchObject({ value: "loaded" });
    expect(sim.starts).toEqual({ alpha: 1, "script-tool": 1 });
  });

  test("a child that dies ends its stream with a bare line", async () => {
    const { client } = await start("router", { preset });
    const messages = [{ role: "user", content: "sim: say one two three\nsim: crash 2" }];
    const chat = await client.chat({ ...STREAM, messages, model: "alpha" });
    expect(chat.body.endsWith("proxy error: Failed to read connection")).toBe(true);
  });

  test("lists a sleeping model as such, and only a chat wakes it", async () => {
    const { sim, client } = await start("router", { preset });
    await client.chat({ ...STREAM, model: "alpha" });
    const events = client.send("/models/sse", { until: (text) => text.includes('"status":"loaded"') });
    await eventually(() => expect(sim.asked()).toContain("GET /models/sse"));
    sim.sleep("alpha");
    expect(await statusOf(client, "alpha")).toMatchObject({ value: "sleeping" });
    expect(await json(client.send("/props?model=alpha&autoload=false"))).toMatchObject({ is_sleeping: true });
    expect(sim.loads()).toBe(1);
    expect((await client.chat({ ...STREAM, model: "alpha" })).status).toBe(200);
    expect(sim.loads()).toBe(2);
    // As a real router reports it: no model_status, and no facts of the model after "loaded".
    const told = parseEvents((await events).body);
    expect(told.map(({ event, data }) => [event, Object(data).status])).toEqual([
      ["status_change", "sleeping"],
      ["status_change", "loading"],
      ["status_change", "loading"],
      ["status_change", "loaded"],
    ]);
    expect(told.at(-1)?.data).toEqual({ status: "loaded" });
  });
});

describe("one llama-server", () => {
  test("answers 503 during its load, then with the recorded keys, and has no routes for loading", async () => {
    const models = { tiny: "--ctx-size 4096 --load 300" };
    const { sim, client } = await start("llama-server", { models, speed: 1 });
    await eventually(async () => expect((await client.send("/health")).status).toBe(503));
    const loading = { error: { code: 503, message: "Loading model", type: "unavailable_error" } };
    for (const path of ["/v1/models", "/props", "/slots"]) {
      expect(await json(client.send(path))).toEqual(loading);
    }
    sim.setSpeed(1000);
    await eventually(async () => expect((await client.send("/health")).status).toBe(200));
    const { data } = await json(client.send("/v1/models"));
    const { data: theirs } = JSON.parse(recorded("s01-get-v1_models.json"));
    expect(data).toMatchObject([{ id: "tiny", owned_by: theirs[0].owned_by }]);
    for (const path of ["/models/sse", "/models/load", "/api/tags", "/running"]) {
      const reply = await client.send(path);
      expect([reply.status, JSON.parse(reply.body)]).toEqual([
        404,
        JSON.parse(recorded("s01-get-models_sse.json")),
      ]);
    }
    const chat = await client.chat({ ...STREAM, model: "whatever" });
    expect(chunksOf(chat.body).at(-1)).toMatchObject({ usage: { completion_tokens: expect.any(Number) } });
    expect(sim.starts).toEqual({ tiny: 1 });
  });

  test("answers what needs no model while it sleeps, and /slots wakes it", async () => {
    const { sim, client } = await start("llama-server");
    await eventually(async () => expect((await client.send("/health")).status).toBe(200));
    sim.sleep("small");
    expect(await json(client.send("/props"))).toMatchObject({ is_sleeping: true });
    expect((await client.send("/v1/models")).status).toBe(200);
    expect(sim.loads()).toBe(1);
    expect((await client.send("/slots")).status).toBe(200);
    expect(sim.loads()).toBe(2);
    expect(await json(client.send("/props"))).toMatchObject({ is_sleeping: false });
  });
});

test("vLLM reports its window in the list", async () => {
  const { sim, client } = await start("vllm");
  expect(await json(client.send("/v1/models"))).toMatchObject({
    data: [
      { id: "small", owned_by: "vllm", max_model_len: 8192 },
      { id: "thinker", max_model_len: 32_768 },
    ],
  });
  expect(await json(client.send("/version"))).toEqual({ version: expect.any(String) });
  expect((await client.send("/props")).body).toBe('{"detail":"Not Found"}');
  const missing = await client.chat({ ...STREAM, model: "other" });
  expect([missing.status, JSON.parse(missing.body).error.type]).toEqual([404, "NotFoundError"]);
  expect(sim.starts).toEqual({ small: 1, thinker: 1 });
});

test("Ollama loads, lists the loaded model with its window, and unloads", async () => {
  const { sim, client } = await start("ollama");
  expect(await json(client.send("/v1/models"))).toMatchObject({ data: [{ owned_by: "library" }, {}] });
  expect(await json(client.send("/api/ps"))).toEqual({ models: [] });
  expect(await json(post(client, "/api/show", { model: "thinker" }))).toMatchObject({
    capabilities: ["completion", "tools", "thinking"],
    model_info: { "llama.context_length": 131_072 },
  });
  expect((await post(client, "/api/show", { model: "no" })).status).toBe(404);
  expect(sim.loads()).toBe(0);
  expect(await json(post(client, "/api/generate", { model: "small" }))).toMatchObject({
    done_reason: "load",
  });
  expect(await json(client.send("/api/ps"))).toMatchObject({
    models: [{ name: "small", context_length: 8192 }],
  });
  const unload = post(client, "/api/generate", { model: "small", keep_alive: 0 });
  expect(await json(unload)).toMatchObject({ done_reason: "unload" });
  expect(await json(client.send("/api/ps"))).toEqual({ models: [] });
  expect((await client.send("/running")).status).toBe(404);
});

test("LM Studio lists states and windows, loads and unloads, and answers unknown paths with 200", async () => {
  const { sim, client } = await start("lm-studio");
  const states = async () =>
    ((await json(client.send("/api/v0/models"))).data as Record<string, unknown>[]).map((model) => [
      model.state,
      model.max_context_length,
      model.loaded_context_length,
    ]);
  expect(await states()).toEqual([
    ["not-loaded", 32_768, undefined],
    ["not-loaded", 131_072, undefined],
  ]);
  expect(await json(post(client, "/api/v1/models/load", { model: "small" }))).toMatchObject({
    instance_id: "small",
    status: "loaded",
  });
  expect((await states())[0]).toEqual(["loaded", 32_768, 8192]);
  const { models } = await json(client.send("/api/v1/models"));
  expect(models).toMatchObject([
    { loaded_instances: [{ id: "small", config: { context_length: 8192 } }] },
    {},
  ]);
  expect(await json(post(client, "/api/v1/models/unload", { instance_id: "small" }))).toEqual({
    instance_id: "small",
  });
  expect((await states())[0]?.[0]).toBe("not-loaded");
  const unknown = await client.send("/running");
  expect([unknown.status, unknown.body]).toEqual([
    200,
    '{"error":"Unexpected endpoint or method. (GET /running)"}',
  ]);
  expect(sim.starts).toEqual({ small: 1 });
});

test.each([
  ["plain", 404, /^\{"error":/],
  ["html", 200, /^<!doctype html>/],
] as const)("%s answers unknown paths with %d", async (kind, status, body) => {
  const { client } = await start(kind);
  for (const path of ["/props", "/running", "/api/version", "/slots"]) {
    const reply = await client.send(path);
    expect([reply.status, body.test(reply.body)], path).toEqual([status, true]);
  }
  expect((await client.send("/v1/models")).status).toBe(200);
});

test.each(["vllm", "ollama", "lm-studio", "plain", "html"] as const)(
  "%s streams a chat with usage and without llama.cpp's additions",
  async (kind) => {
    const { client } = await start(kind);
    const chat = await client.chat({
      ...STREAM,
      model: "small",
      return_progress: true,
      timings_per_token: true,
    });
    expect(chat.status).toBe(200);
    expect(chat.headers.server).toBeUndefined();
    const chunks = chunksOf(chat.body);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 2 } });
    expect(chat.body).not.toMatch(/timings|progress|system_fingerprint/);
  },
);

test.each(["router", "llama-server", "vllm", "lm-studio", "plain"] as const)(
  "%s refuses a wrong key with 401",
  async (kind) => {
    const { client } = await start(kind, { apiKeys: ["right"] });
    await eventually(async () => {
      const ask = (key: string) => client.send("/v1/models", { headers: { authorization: `Bearer ${key}` } });
      expect([(await ask("wrong")).status, (await ask("right")).status]).toEqual([401, 200]);
    });
  },
);
