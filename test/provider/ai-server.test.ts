import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Credential, ModelsStoreEntry, RefreshModelsContext } from "@earendil-works/pi-ai";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { MODELS, type Variables } from "../../config.ts";
import { AiServer } from "../../provider/ai-server.ts";
import type { ServedModel } from "../../provider/pi-models.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import { freePort, silentServer } from "../support/network.ts";
import { kept } from "../support/wire.ts";

const CONFIG = (ctx = 8192): string => `
models:
  a:
    cmd: llama-server --port \${PORT}
    metadata: { context_length: ${ctx} }
  b:
    cmd: llama-server --port \${PORT}
`;

let agentDir = "";
beforeEach(() => {
  const dir = mkdtempSync(join(tmpdir(), "ai-server-test-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  agentDir = dir;
});

const sim = (): Promise<Sim> => kept(startSim({ config: CONFIG(), speed: 100 }));
const envOf = (server: Sim): Variables => ({
  AI_SERVER_URL: server.url,
  AI_SERVER_CERTS_DIR: server.certsDir,
});

interface Fake {
  aiServer: AiServer;
  /** How many changes the session was notified of. */
  changes: () => number;
  /** The windows in each of these notifications. */
  windows: () => readonly (readonly string[])[];
  /** What pi's store holds. */
  stored: () => ModelsStoreEntry | undefined;
  refresh(options?: Partial<RefreshModelsContext>): Promise<void>;
}

/** pi's side of a refresh: a store, and publications that count only for the newest call. */
function fake(env: Variables, stored?: ModelsStoreEntry, startTimeoutMs?: number): Fake {
  const told: (readonly string[])[] = [];
  let store = stored;
  const onChanged = (windows: readonly string[]): void => void told.push(windows);
  const limit = startTimeoutMs === undefined ? {} : { startTimeoutMs };
  const aiServer = new AiServer({ env, agentDir, now: Date.now, onChanged, ...limit });
  onTestFinished(() => aiServer.close());
  const refresh = (options: Partial<RefreshModelsContext> = {}): Promise<void> => {
    const signal = options.signal ?? new AbortController().signal;
    return aiServer.refresh({
      ...(store === undefined ? {} : { stored: structuredClone(store) }),
      allowNetwork: false,
      signal,
      publish: async ({ persist, update }) => {
        if (signal.aborted) return false;
        if (persist) store = structuredClone(persist);
        update?.();
        return true;
      },
      ...options,
    });
  };
  return { aiServer, changes: () => told.length, windows: () => told, stored: () => store, refresh };
}

const ids = (models: readonly { id: string }[]): string[] => models.map(({ id }) => id);
const withKey = (env: Record<string, string>): Credential => ({ type: "api_key", env });

/** What a first start on this server stores. */
async function storedBy(server: Sim): Promise<ModelsStoreEntry> {
  const first = fake(envOf(server));
  await first.refresh();
  const stored = first.stored();
  if (stored === undefined) throw new Error("nothing stored");
  server.requests.length = 0;
  return stored;
}

describe("a start without a stored catalogue", () => {
  test("reads, publishes and stores the models", async () => {
    const server = await sim();
    const { aiServer, refresh, stored, changes } = fake(envOf(server));
    await refresh();
    expect(ids(aiServer.models)).toEqual(["a", "b"]);
    expect(stored()?.models).toEqual(aiServer.models);
    expect([aiServer.isLive, changes(), aiServer.takeProblem()]).toEqual([true, 1, undefined]);
    expect(server.starts).toEqual({});
  });

  test("reads the models once, though each of its calls aborts the last", async () => {
    const server = await sim();
    const { aiServer, refresh } = fake(envOf(server));
    const aborts = [new AbortController(), new AbortController()];
    const calls = aborts.map(({ signal }) => refresh({ signal }));
    for (const abort of aborts) abort.abort(new Error("newer"));
    await Promise.all([...calls, refresh(), refresh()]);
    expect(ids(aiServer.models)).toEqual(["a", "b"]);
    expect(server.requests.map(({ path }) => path).sort()).toEqual(["/running", "/v1/models"]);
    await refresh();
    expect(server.requests).toHaveLength(2);
  });

  test("sends no request when PI_OFFLINE is set", async () => {
    const server = await sim();
    for (const PI_OFFLINE of ["1", "true", "YES"]) {
      const { aiServer, refresh, stored } = fake({ ...envOf(server), PI_OFFLINE });
      await refresh();
      expect([aiServer.models, stored(), aiServer.takeProblem()]).toEqual([[], undefined, undefined]);
    }
    expect(server.requests).toEqual([]);
    const { aiServer, refresh } = fake({ ...envOf(server), PI_OFFLINE: "0" });
    await refresh();
    expect(ids(aiServer.models)).toEqual(["a", "b"]);
  });

  test("offers the fallback list for the default server alone, and does not store it", async () => {
    const { aiServer, refresh, stored } = fake({ AI_SERVER_CERTS_DIR: agentDir, PI_OFFLINE: "1" });
    await refresh();
    expect(ids(aiServer.models)).toEqual(MODELS.map(({ id }) => id));
    expect([stored(), aiServer.isLive]).toEqual([undefined, false]);
  });

  test("does nothing where nothing is set up", async () => {
    const { aiServer, refresh, stored, changes } = fake({});
    await refresh();
    await refresh({ allowNetwork: true });
    expect([aiServer.models, stored(), changes(), aiServer.takeProblem()]).toEqual([
      [],
      undefined,
      0,
      undefined,
    ]);
  });

  test.each([
    ["refuses", undefined, async () => `https://127.0.0.1:${await freePort()}`, /refuses connections/],
    [
      "is silent",
      500,
      async () => {
        const silent = await silentServer();
        onTestFinished(() => silent.stop());
        return `https://127.0.0.1:${silent.port}`;
      },
      /did not answer the TLS handshake within 0\.\d+ s/,
    ],
  ])(
    "waits no longer than its limit for a server that %s, and says so once",
    async (_, limitMs, address, words) => {
      const server = await sim();
      const url = await address();
      const { aiServer, refresh } = fake({ ...envOf(server), AI_SERVER_URL: url }, undefined, limitMs);
      await Promise.all([refresh(), refresh()]);
      expect(aiServer.models).toEqual([]);
      expect(aiServer.takeProblem()).toMatch(words);
      expect(aiServer.takeProblem()).toBeUndefined();
    },
  );

  test("does not offer the models of another login's server", async () => {
    const [first, second] = [await sim(), await sim()];
    writeFileSync(join(second.dir, "config.yaml"), CONFIG().replace("  b:", "  c:"));
    await second.reload();
    const { aiServer, refresh, stored } = fake({});
    const at = (server: Sim): Credential =>
      withKey({ AI_SERVER_URL: server.url, AI_SERVER_CERTS_DIR: server.certsDir });
    await refresh({ credential: at(first) });
    expect(ids(aiServer.models)).toEqual(["a", "b"]);
    await refresh({ credential: at(second) });
    expect(ids(aiServer.models)).toEqual(["a", "c"]);
    expect(aiServer.models[0]?.baseUrl).toBe(second.url);
    expect(stored()?.models.map(({ baseUrl }) => baseUrl)).toEqual([second.url, second.url]);
  });

  test("reads the models again after a failed start and a login that repairs it", async () => {
    const server = await sim();
    const { aiServer, refresh } = fake({ AI_SERVER_CERTS_DIR: server.certsDir });
    await refresh({ credential: withKey({ AI_SERVER_URL: `https://127.0.0.1:${await freePort()}` }) });
    expect(aiServer.models).toEqual([]);
    await refresh({ credential: withKey({ AI_SERVER_URL: server.url }) });
    expect(ids(aiServer.models)).toEqual(["a", "b"]);
  });
});

describe("a start with a stored catalogue", () => {
  test("publishes it without a request", async () => {
    const server = await sim();
    const stored = await storedBy(server);
    const { aiServer, refresh, changes } = fake(envOf(server), stored);
    await refresh();
    await refresh();
    expect(aiServer.models).toEqual(stored.models);
    expect([aiServer.isLive, changes()]).toEqual([false, 1]);
    expect(server.requests).toEqual([]);
  });

  test("does not use the catalogue of another server", async () => {
    const [server, other] = [await sim(), await sim()];
    const stored = await storedBy(other);
    const { aiServer, refresh } = fake({ ...envOf(server), PI_OFFLINE: "1" }, stored);
    await refresh();
    expect(aiServer.models).toEqual([]);
  });

  test("refreshes it over the network, and reports only a change", async () => {
    const server = await sim();
    const stored = await storedBy(server);
    const { aiServer, refresh, changes } = fake(envOf(server), stored);
    await refresh();
    await refresh({ allowNetwork: true });
    expect([aiServer.isLive, changes()]).toEqual([true, 1]);
    writeFileSync(join(server.dir, "config.yaml"), CONFIG(131_072));
    await server.reload();
    await refresh({ allowNetwork: true });
    expect([aiServer.models[0]?.contextWindow, changes()]).toEqual([131_072, 2]);
  });

  test("keeps it when the server does not answer, and says so", async () => {
    const server = await sim();
    const stored = await storedBy(server);
    const { aiServer, refresh } = fake(envOf(server), stored);
    server.failNext({ path: "/v1/models" });
    server.failNext({ path: "/v1/models" });
    await refresh();
    await refresh({ allowNetwork: true });
    expect(ids(aiServer.models)).toEqual(["a", "b"]);
    expect(aiServer.takeProblem()).toBeTypeOf("string");
  });

  test("keeps what was read when a later offline call brings the old list", async () => {
    const server = await sim();
    const stored = await storedBy(server);
    const { aiServer, refresh } = fake(envOf(server), stored);
    writeFileSync(join(server.dir, "config.yaml"), CONFIG(131_072));
    await server.reload();
    await refresh({ allowNetwork: true });
    await refresh({ stored });
    expect(aiServer.models[0]?.contextWindow).toBe(131_072);
  });
});

describe("a refresh", () => {
  test("that pi aborts reports no problem", async () => {
    const server = await sim();
    const { aiServer, refresh } = fake(envOf(server));
    const abort = new AbortController();
    const call = refresh({ allowNetwork: true, signal: abort.signal });
    abort.abort(new Error("newer"));
    await call;
    expect(aiServer.takeProblem()).toBeUndefined();
  });

  test.each([
    ["AI_SERVER_TIMEOUT_MS", "soon"],
    ["AI_SERVER_URL", "nonsense"],
    ["AI_SERVER_API_KEY", "a b"],
  ])("with a wrong %s never throws, and names it", async (name, value) => {
    const { aiServer, refresh } = fake({ AI_SERVER_CERTS_DIR: agentDir, [name]: value });
    await refresh();
    expect(aiServer.takeProblem()).toContain(name);
    await refresh({ allowNetwork: true });
    expect(aiServer.takeProblem()).toContain(name);
    expect(() => aiServer.config()).toThrow(name);
  });

  test.each([undefined, null, [], "x", [{}], [null]])(
    "with the store holding %j never throws",
    async (models) => {
      const server = await sim();
      const { refresh, aiServer } = fake(envOf(server));
      await refresh({ stored: { models } as unknown as ModelsStoreEntry });
      expect(ids(aiServer.models)).toEqual(["a", "b"]);
    },
  );

  test("whose publication fails never throws", async () => {
    const server = await sim();
    const { aiServer, refresh } = fake(envOf(server));
    await refresh({ publish: () => Promise.reject(new Error("disk full")) });
    expect(aiServer.takeProblem()).toBe("disk full");
  });

  test("that succeeds forgets the earlier problem", async () => {
    const server = await sim();
    const { aiServer, refresh } = fake(envOf(server));
    server.failNext({ path: "/v1/models", status: 503 });
    await refresh({ allowNetwork: true });
    await refresh({ allowNetwork: true });
    expect(aiServer.takeProblem()).toBeUndefined();
  });
});

describe("the window that an overflow reveals", () => {
  test("becomes the model's window, and is reported", async () => {
    const server = await sim();
    const { aiServer, refresh, changes } = fake(envOf(server));
    await refresh();
    aiServer.correctContextWindow("a", 4096);
    const [model] = aiServer.models;
    expect([model?.contextWindow, model?.maxTokens]).toEqual([4096, 2048]);
    expect(model?.aiServer.context).toEqual({ value: 4096, source: "live" });
    expect(changes()).toBe(2);
    aiServer.correctContextWindow("a", 4096);
    aiServer.correctContextWindow("unknown", 1);
    expect(changes()).toBe(2);
  });

  test("outlives pi's next reading of its store, which follows each registration", async () => {
    const server = await sim();
    const stored = await storedBy(server);
    const { aiServer, refresh, windows } = fake({ ...envOf(server), PI_OFFLINE: "1" }, stored);
    await refresh();
    aiServer.correctContextWindow("a", 4096);
    await refresh();
    expect(aiServer.models[0]?.contextWindow).toBe(4096);
    expect(windows()).toEqual([[], ["a: context 8k → 4k"]]);
  });

  test("is not undone by a reading that began before it", async () => {
    const server = await sim();
    const { aiServer, refresh, windows } = fake(envOf(server));
    await refresh();
    const reader = await aiServer.server();
    const discover = reader.discover.bind(reader);
    reader.discover = async (...parameters) => {
      const found = await discover(...parameters);
      aiServer.correctContextWindow("a", 4096);
      return found;
    };
    await refresh({ allowNetwork: true });
    expect(aiServer.models[0]?.contextWindow).toBe(4096);
    expect(windows().slice(1)).toEqual([["a: context 8k → 4k"]]);
  });

  test.each([0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])("is ignored if it is %d", async (tokens) => {
    const server = await sim();
    const { aiServer, refresh } = fake(envOf(server));
    await refresh();
    const before = aiServer.models as readonly ServedModel[];
    aiServer.correctContextWindow("a", tokens);
    expect(aiServer.models).toEqual(before);
  });
});

describe("a changed window", () => {
  test("is reported with the change, unless its command reports it", async () => {
    const server = await sim();
    const { aiServer, refresh, windows } = fake(envOf(server));
    await refresh();
    expect(windows()).toEqual([[]]);
    const registry = { refresh };
    for (const [size, isTold] of [
      [16_384, false],
      [32_768, true],
    ] as const) {
      writeFileSync(join(server.dir, "config.yaml"), CONFIG(size));
      await server.reload();
      await aiServer.publish((await aiServer.discover(undefined)).models, registry, isTold);
    }
    expect(windows()).toEqual([[], ["a: context 8k → 16k"], []]);
    aiServer.correctContextWindow("a", 4096);
    expect(windows().at(-1)).toEqual(["a: context 32k → 4k"]);
  });
});

describe("what a refresh reports", () => {
  test("includes changes that were read in the background since the last report, once", async () => {
    const server = await sim();
    const { aiServer, refresh } = fake(envOf(server));
    await refresh();
    writeFileSync(
      join(server.dir, "config.yaml"),
      CONFIG(8192).replace("models:", `models:\n  c:\n    cmd: llama-server --port \${PORT}`),
    );
    await server.reload();
    await refresh({ allowNetwork: true });
    const { models, changes } = await aiServer.discover(undefined);
    expect(changes).toEqual(["c: added"]);
    await aiServer.publish(models, { refresh }, true);
    expect((await aiServer.discover(undefined)).changes).toEqual([]);
  });
});

describe("the connection", () => {
  test("is replaced when the configuration changes, and only then", async () => {
    const server = await sim();
    const { aiServer } = fake(envOf(server));
    const first = await aiServer.server({});
    expect(await aiServer.server({})).toBe(first);
    expect(await aiServer.server()).toBe(first);
    const second = await aiServer.server({ AI_SERVER_TIMEOUT_MS: "5" });
    expect(second).not.toBe(first);
    // Without its own, a caller gets what pi handed over last, not what another caller tried.
    expect((await aiServer.server()).config.timeoutMs).toBe(first.config.timeoutMs);
  });

  test("can be closed repeatedly, and opens again", async () => {
    const server = await sim();
    const { aiServer } = fake(envOf(server));
    await aiServer.close();
    await aiServer.discover(undefined);
    await Promise.all([aiServer.close(), aiServer.close()]);
    await expect.poll(() => server.connections).toBe(0);
    expect((await aiServer.discover(undefined)).models).toHaveLength(2);
  });

  test("reports what a discovery has changed", async () => {
    const server = await sim();
    const { aiServer, refresh } = fake(envOf(server));
    expect((await aiServer.discover(undefined)).changes).toEqual(["a: added", "b: added"]);
    await refresh();
    expect((await aiServer.discover(undefined)).changes).toEqual([]);
  });
});

describe("what is remembered", () => {
  test("lies in one file of the agent folder, which the first entry creates", async () => {
    const { aiServer } = fake({});
    const path = join(agentDir, "ai-server.json");
    const memory = await aiServer.remembered.memory();
    expect([await aiServer.remembered.memory(), existsSync(path)]).toEqual([memory, false]);
    await memory.rememberLoad("https://one", "a", 5);
    expect(existsSync(path)).toBe(true);
    expect(await (await fake({}).aiServer.remembered.memory()).expectedLoadMs("https://one", "a")).toBe(5);
  });
});

describe("a command that changes the server", () => {
  test("runs alone, and the refusal of a second command names it", async () => {
    const { aiServer } = fake({});
    const end = Promise.withResolvers<string>();
    const first = aiServer.exclusively("/ai-server-ctx a 4096", () => end.promise, true);
    let hasRun = false;
    const second = aiServer.exclusively("/ai-server-restart", async () => {
      hasRun = true;
    });
    await expect(second).rejects.toThrow(
      "/ai-server-ctx a 4096 is still running. Wait until it ends; nothing was done.",
    );
    expect([hasRun, aiServer.restarting]).toEqual([false, "/ai-server-ctx a 4096"]);
    end.resolve("done");
    expect(await first).toBe("done");
    expect(await aiServer.exclusively("/ai-server-restart", async () => "next")).toBe("next");
  });

  test("lets the next one run after it fails", async () => {
    const { aiServer } = fake({});
    await expect(aiServer.exclusively("one", () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    const thrown = aiServer.exclusively("two", () => {
      throw new Error("at once");
    });
    await expect(thrown).rejects.toThrow("at once");
    expect(await aiServer.exclusively("three", async () => 3)).toBe(3);
  });
});
