import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ModelsStoreEntry } from "@earendil-works/pi-ai";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { AiServer } from "../../provider/ai-server.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import { unchanged } from "../support/clock.ts";
import { kept } from "../support/wire.ts";

const CONFIG = (size: string, more = ""): string => `
models:
  a:
    cmd: llama-server --port \${PORT} --load 0.2 --ctx-size ${size}
${more}  b:
    cmd: llama-server --port \${PORT} --ctx-size 4096
`;

let agentDir = "";
let sim: Sim;
beforeEach(async () => {
  const dir = mkdtempSync(join(tmpdir(), "remembered-test-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  agentDir = dir;
  sim = await kept(startSim({ config: CONFIG("131072 --parallel 4"), speed: 100 }));
});

const file = (): string => join(agentDir, "ai-server.json");

/** One pi, with a store of its own. */
function pi(store?: ModelsStoreEntry) {
  const env = { AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir };
  const aiServer = new AiServer({ env, agentDir, now: Date.now, onChanged: () => {} });
  onTestFinished(() => aiServer.close());
  /** What is registered of a model after the server was asked. */
  const look = async (id = "a"): Promise<unknown[]> => {
    await aiServer.refresh({
      ...(store === undefined ? {} : { stored: structuredClone(store) }),
      allowNetwork: true,
      signal: new AbortController().signal,
      publish: async ({ persist, update }) => {
        if (persist) store = structuredClone(persist);
        update?.();
        return true;
      },
    });
    const model = aiServer.models.find((one) => one.id === id);
    return [model?.contextWindow, model?.aiServer.context.source];
  };
  /** The same, once all that is remembered is on disk. */
  const refresh = async (id?: string): Promise<unknown[]> => {
    const told = await look(id);
    await aiServer.remembered.written();
    return told;
  };
  const ask = async (path: string, method: "GET" | "POST" = "GET"): Promise<void> => {
    const { body } = await (await aiServer.server()).http.request({ method, path });
    for await (const _ of body);
  };
  return { aiServer, look, refresh, ask };
}

const load = (one: ReturnType<typeof pi>, id: string): Promise<void> => one.ask(`/upstream/${id}/health`);
const unload = (one: ReturnType<typeof pi>): Promise<void> => one.ask("/api/models/unload", "POST");

async function configure(text: string): Promise<void> {
  writeFileSync(join(sim.dir, "config.yaml"), text);
  await sim.reload();
}

test("another pi knows the facts that one pi has read", async () => {
  const one = pi();
  await load(one, "a");
  expect(await one.refresh()).toEqual([32_768, "live"]);
  await unload(one);
  const other = pi();
  expect(await other.refresh()).toEqual([32_768, "last seen"]);
  expect(await other.refresh("b")).toEqual([32_768, "default"]);
  expect(readFileSync(file(), "utf8")).not.toContain("llama-server");
});

test("facts of another command line are forgotten by every pi", async () => {
  const [one, other] = [pi(), pi()];
  await load(one, "a");
  await one.refresh();
  expect(await other.refresh()).toEqual([32_768, "last seen"]);
  await configure(CONFIG("8192"));
  expect(await other.refresh()).toEqual([32_768, "last seen"]);
  await load(one, "a");
  await one.refresh();
  await unload(one);
  expect(await other.refresh()).toEqual([8192, "last seen"]);
});

test("a declared window that the running model has refuted does not come back when it is unloaded", async () => {
  await configure(CONFIG("131072 --parallel 4", "    metadata: { context_length: 131072 }\n"));
  const one = pi();
  expect(await one.refresh()).toEqual([131_072, "declared"]);
  await load(one, "a");
  expect(await one.refresh()).toEqual([32_768, "live"]);
  await unload(one);
  expect(await one.refresh()).toEqual([32_768, "last seen"]);
  expect(await pi().refresh()).toEqual([32_768, "last seen"]);
  await configure(CONFIG("131072 --parallel 4", "    metadata: { context_length: 65536 }\n"));
  expect(await one.refresh()).toEqual([65_536, "declared"]);
});

test("facts that were just read count before they are written", async () => {
  const one = pi();
  await load(one, "a");
  await one.refresh();
  await configure(CONFIG("131072 --parallel 2"));
  await load(one, "a");
  const memory = await one.aiServer.remembered.memory();
  const remember = memory.remember.bind(memory);
  const slow = Promise.withResolvers<void>();
  memory.remember = async (...facts) => {
    await slow.promise;
    await remember(...facts);
  };
  expect(await one.look()).toEqual([65_536, "live"]);
  await unload(one);
  let hasLooked = false;
  const looking = one.look().finally(() => {
    hasLooked = true;
  });
  await unchanged(() => hasLooked);
  slow.resolve();
  expect(await looking).toEqual([65_536, "last seen"]);
});

test("a window that an overflow revealed is remembered too", async () => {
  await configure(CONFIG("8192", "    metadata: { context_length: 131072 }\n"));
  const one = pi();
  await one.refresh();
  one.aiServer.correctContextWindow("a", 8192);
  await one.aiServer.remembered.written();
  expect(await one.refresh()).toEqual([8192, "last seen"]);
  expect(await pi().refresh()).toEqual([8192, "last seen"]);
});

test("known facts are not written again", async () => {
  const one = pi();
  await load(one, "a");
  await one.refresh();
  const before = statSync(file()).ino;
  await one.refresh();
  await pi().refresh();
  expect(statSync(file()).ino).toBe(before);
});

test("the kind of a server is a hint for the next pi, until the server answers", async () => {
  expect((await pi().aiServer.server()).lastKind).toBeUndefined();
  const one = pi();
  await (await one.aiServer.remembered.memory()).rememberKind(sim.url, "router");
  const server = await one.aiServer.server();
  expect([server.lastKind, server.hasConfigFile, server.canLoad]).toEqual(["router", true, undefined]);
  await one.refresh();
  expect([server.lastKind, server.canLoad]).toEqual(["llama-swap", true]);
  const other = await pi().aiServer.server();
  expect(other.lastKind).toBe("llama-swap");
  await (await one.aiServer.remembered.memory()).rememberKind(sim.url, "llama-server");
  const single = await pi().aiServer.server();
  expect([single.hasConfigFile, single.canLoad]).toEqual([false, false]);
  await (await one.aiServer.remembered.memory()).rememberKind(sim.url, "\u001b[2J");
  expect((await pi().aiServer.server()).lastKind).toBeUndefined();
});

test("where the agent folder cannot be written, pi's own catalogue still serves", async () => {
  agentDir = join(agentDir, "gone");
  const one = pi();
  await load(one, "a");
  expect(await one.refresh()).toEqual([32_768, "live"]);
  await unload(one);
  expect(await one.refresh()).toEqual([32_768, "last seen"]);
  await configure(CONFIG("4096"));
  await load(one, "a");
  expect(await one.refresh()).toEqual([4096, "live"]);
});

test("loads are remembered by address and model", async () => {
  const { remembered } = pi().aiServer;
  const config = { origin: "https://ai.example", basePath: "/x" };
  expect(await remembered.expectedLoadMs(config, "a")).toBeUndefined();
  for (const loadMs of [4000, 6000, 60_000]) await remembered.rememberLoad(config, "a", loadMs);
  expect(await remembered.expectedLoadMs(config, "a")).toBe(6000);
  expect(await remembered.expectedLoadMs(config, "b")).toBeUndefined();
  expect(await remembered.expectedLoadMs({ ...config, basePath: "" }, "a")).toBeUndefined();
});
