import { afterEach, beforeEach, expect, test } from "vitest";
import { type Sim, startSim } from "../../sim/server.ts";
import { Client, chunksOf } from "../support/sim-client.ts";

const CONFIG = `
models:
  a: { cmd: "llama-server --port \${PORT}", aliases: [first] }
  b: { cmd: "llama-server --port \${PORT}" }
  hidden: { cmd: "llama-server --port \${PORT}", unlisted: true }
peers:
  other: { proxy: "http://127.0.0.1:1", models: [big, "org/huge"] }
selectors:
  fast: { strategy: loaded, targets: [a, b] }
`;

let sim: Sim;
let client: Client;

beforeEach(async () => {
  sim = await startSim({ config: CONFIG, speed: 20 });
  client = new Client(sim);
});

afterEach(async () => {
  await client.close();
  await sim.close();
});

const chat = (model: string) =>
  client.chat({ model, stream: true, messages: [{ role: "user", content: "Hi" }] });

test("peers and selectors are listed with their type, unlisted models are not", async () => {
  const { data } = JSON.parse((await client.send("/v1/models")).body);
  const told = data.map(({ id, meta }: { id: string; meta: { llamaswap: object } }) => [id, meta.llamaswap]);
  expect(told).toEqual([
    ["a", { aliases: ["first"], type: "model" }],
    ["b", { type: "model" }],
    ["fast", { strategy: "loaded", targets: ["a", "b"], type: "selector" }],
    ["other/big", { peerID: "other", type: "peer" }],
    ["other/org/huge", { peerID: "other", type: "peer" }],
  ]);
});

test("a chat with a peer's model is answered and loads nothing here", async () => {
  const answers = await Promise.all([chat("other/org/huge"), chat("other/org/huge")]);
  for (const { body } of answers) expect(chunksOf(body)[0]).toMatchObject({ model: "org/huge" });
  expect(sim.starts).toEqual({});
  expect(JSON.parse((await client.send("/running")).body)).toEqual({ running: [] });
});

test("a selector takes the target that is loaded, otherwise the first", async () => {
  await chat("fast");
  expect(sim.starts).toEqual({ a: 1 });
  await chat("b");
  await chat("fast");
  expect(sim.starts).toEqual({ a: 1, b: 1 });
});

test("a peer's model and a selector cannot be unloaded, and /upstream knows the first alone", async () => {
  for (const id of ["fast", "other/big"]) {
    const path = `/api/models/unload/${encodeURIComponent(id)}`;
    expect((await client.send(path, { method: "POST" })).status).toBe(404);
  }
  expect((await client.send("/upstream/fast/health")).status).toBe(404);
  expect((await client.send("/upstream/other%2Fbig/health")).status).toBe(200);
});
