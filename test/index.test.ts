import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Api, Model, ModelsStoreEntry, TranscriptContext } from "@earendil-works/pi-ai";
import type { EntryRenderer, ExtensionContext, Theme } from "@earendil-works/pi-coding-agent";
import type { AutocompleteProvider } from "@earendil-works/pi-tui";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import extension from "../index.ts";
import { type Sim, startSim } from "../sim/server.ts";
import { unchanged } from "./support/clock.ts";
import { FakePi } from "./support/fake-pi.ts";
import { freePort } from "./support/network.ts";
import { ownAgentDir, setEnv } from "./support/pi-variables.ts";
import { kept } from "./support/wire.ts";

const HINTS = { expanded: false, keyText: () => "", keyHint: () => "" };
const THEME = { fg: (_: string, text: string) => text, bold: (text: string) => text } as unknown as Theme;

const CONFIG = (ctx = 65_536): string => `
models:
  a:
    cmd: llama-server --port \${PORT} -c ${ctx}
    metadata: { context_length: ${ctx} }
`;

let agentDir = "";
beforeEach(() => {
  agentDir = ownAgentDir();
  setEnv({ PI_OFFLINE: undefined, AI_SERVER_URL: undefined });
});

async function sim(ctx?: number): Promise<Sim> {
  const server = await kept(startSim({ config: CONFIG(ctx), speed: 100 }));
  setEnv({ AI_SERVER_URL: server.url, AI_SERVER_CERTS_DIR: server.certsDir });
  return server;
}

async function load(store?: ModelsStoreEntry): Promise<FakePi> {
  const pi = new FakePi();
  pi.store = store;
  await extension(pi.api);
  onTestFinished(() => pi.emit("session_shutdown", undefined));
  return pi;
}

async function storeOf(): Promise<ModelsStoreEntry | undefined> {
  const pi = await load();
  await pi.refresh();
  await pi.emit("session_shutdown", undefined);
  return pi.store;
}

const windows = (pi: FakePi): number[] => pi.provider.getModels().map(({ contextWindow }) => contextWindow);

describe("the factory", () => {
  test("registers a provider and the commands, and sends no request", async () => {
    const server = await sim();
    const pi = await load();
    expect(pi.registered.map(({ id, name }) => [id, name])).toEqual([["ai-server", "AI Server"]]);
    expect([...pi.commands.keys()]).toEqual([
      "ai-server",
      "ai-server-status",
      "ai-server-refresh",
      "ai-server-load",
      "ai-server-unload",
      "ai-server-add",
      "ai-server-remove",
      "ai-server-ctx",
      "ai-server-preset",
      "ai-server-restart",
      "ai-server-rollback",
      "ai-server-logs",
      "ai-server-devices",
      "ai-server-doctor",
      "ai-server-last",
    ]);
    expect(pi.provider.getModels()).toEqual([]);
    await unchanged(() => [server.requests, server.handshakes.total]);
    expect([server.requests, server.handshakes.total]).toEqual([[], 0]);
  });

  test.each([
    { AI_SERVER_URL: "nonsense" },
    { AI_SERVER_TIMEOUT_MS: "soon" },
    { AI_SERVER_API_KEY: "a b" },
    { AI_SERVER_CERTS_DIR: "/nowhere" },
    { PI_CODING_AGENT_DIR: "/nowhere" },
    { PI_CODING_AGENT_DIR: "~/nowhere" },
  ])("does not throw with %j", async (variables) => {
    setEnv({ AI_SERVER_CA: "x", PI_OFFLINE: "1", ...variables });
    const pi = await load();
    await pi.refresh();
    await pi.emit("session_start");
    await pi.emit("session_shutdown");
  });
});

describe("a pi that lists models", () => {
  const listing = async (): Promise<FakePi> => {
    const before = process.argv;
    process.argv = [...before.slice(0, 2), "--list-models"];
    onTestFinished(() => {
      process.argv = before;
    });
    return load();
  };

  test("registers the stored ones, and a session that begins all the same has the provider", async () => {
    const server = await sim();
    const stored = JSON.stringify({ "ai-server": await storeOf() });
    writeFileSync(join(agentDir, "models-store.json"), stored);
    expect((await load()).registered).toHaveLength(1);
    server.requests.length = 0;
    const pi = await listing();
    expect([pi.marked, pi.registered, server.requests]).toEqual([["ai-server"], [], []]);
    await pi.emit("session_start");
    expect(pi.registered.map(({ id }) => id)).toEqual(["ai-server"]);
    await pi.refresh();
    expect(windows(pi)).toEqual([65_536]);
  });

  test("registers the provider where nothing is stored", async () => {
    await sim();
    const pi = await listing();
    await pi.refresh();
    expect(windows(pi)).toEqual([65_536]);
  });
});

test("an agent folder that is the home itself is found, as pi finds it", async () => {
  setEnv({ HOME: agentDir, PI_CODING_AGENT_DIR: "~", PI_OFFLINE: "1" });
  mkdirSync(join(agentDir, "certs"));
  writeFileSync(join(agentDir, "certs", "client.pem"), "");
  const pi = await load();
  await pi.refresh();
  const asked = pi.provider.auth.apiKey?.check?.({ signal: new AbortController().signal } as never);
  expect(await asked).toMatchObject({ type: "api_key" });
});

describe("a session", () => {
  test("with a stored catalogue refreshes in the background, and a changed model registers the provider again", async () => {
    const server = await sim();
    const store = await storeOf();
    server.requests.length = 0;
    const pi = await load(store);
    await pi.refresh();
    expect([windows(pi), server.requests.length]).toEqual([[65_536], 0]);
    writeFileSync(join(server.dir, "config.yaml"), CONFIG(131_072));
    await server.reload();
    await pi.emit("session_start");
    await expect.poll(() => windows(pi)).toEqual([131_072]);
    await expect.poll(() => pi.registered.length).toBe(2);
    expect(pi.registered[1]).toBe(pi.registered[0]);
    await expect.poll(() => pi.notices).toEqual(["a: context 64k → 128k"]);
  });

  test("whose models did not change registers nothing again", async () => {
    const server = await sim();
    const pi = await load(await storeOf());
    await pi.refresh();
    server.requests.length = 0;
    await pi.emit("session_start");
    await expect.poll(() => server.requests.length).toBe(2);
    await pi.emit("session_shutdown");
    await new Promise((resolve) => setImmediate(resolve));
    expect(pi.registered).toHaveLength(1);
  });

  test.each([
    ["stop", 2],
    ["error", 0],
    ["aborted", 0],
  ])(
    "asks for the loaded model's facts after a turn that ended with %s: %i requests",
    async (stopReason, asked) => {
      const server = await sim();
      const pi = await load(await storeOf());
      await pi.refresh();
      server.requests.length = 0;
      await pi.emit("session_start");
      // All that the session's start asks.
      await expect.poll(() => server.requests.length).toBe(2);
      server.requests.length = 0;
      const turn = { type: "agent_end", messages: [{ role: "assistant", stopReason }] };
      await pi.emit("agent_end", pi.context("rpc", { provider: "ai-server", id: "a" }), turn);
      await expect.poll(() => server.requests.length).toBe(asked);
      await unchanged(() => server.requests.length);
    },
  );

  test("is named in every request that it makes, so that a load balancer gives them to one server", async () => {
    const server = await sim();
    const pi = await load(await storeOf());
    await pi.refresh();
    server.requests.length = 0;
    await pi.emit("session_start");
    await expect.poll(() => server.requests.length).toBe(2);
    expect(server.requests.map(({ headers }) => headers["x-session-id"])).toEqual(["session", "session"]);
    await pi.emit("session_shutdown");
  });

  test("sends no request when PI_OFFLINE is set", async () => {
    const server = await sim();
    const store = await storeOf();
    server.requests.length = 0;
    setEnv({ PI_OFFLINE: "1" });
    const pi = await load(store);
    await pi.refresh();
    await pi.emit("session_start");
    await pi.emit("agent_end", pi.context("rpc", { provider: "ai-server", id: "a" }));
    await unchanged(() => server.requests.length);
    expect([windows(pi), server.requests]).toEqual([[65_536], []]);
  });

  test("gives one notice that the server is down", async () => {
    const server = await sim();
    const store = await storeOf();
    const port = await freePort();
    const url = `https://127.0.0.1:${port}`;
    setEnv({ AI_SERVER_URL: url });
    const models = (store?.models ?? []).map((model) => ({ ...model, baseUrl: url }));
    const pi = await load({ ...store, models });
    await pi.refresh();
    await pi.emit("session_start");
    const said = `AI Server: 127.0.0.1:${port} refuses connections (connection refused). Caddy may be stopped, or the port in AI_SERVER_URL is wrong.`;
    await expect.poll(() => pi.notices).toEqual([said]);
    await pi.emit("agent_end", pi.context("rpc", { provider: "ai-server", id: "a" }));
    await unchanged(() => pi.notices);
    expect(pi.notices).toEqual([said]);
    expect(windows(pi)).toEqual([65_536]);
    expect(server.starts).toEqual({});
  });

  test("gives a notice of a first start that failed", async () => {
    setEnv({ AI_SERVER_URL: "https://127.0.0.1:9", AI_SERVER_CERTS_DIR: agentDir });
    const pi = await load();
    await pi.refresh();
    await pi.emit("session_start");
    await expect.poll(() => pi.notices.length).toBe(1);
    expect(pi.notices[0]).toContain("The client certificate is missing");
  });

  test("warns once of a key that others can read", async () => {
    const server = await sim();
    chmodSync(join(server.certsDir, "client-key.pem"), 0o644);
    const pi = await load();
    await pi.refresh();
    await pi.emit("session_start");
    const turn = pi.context("rpc", { provider: "ai-server", id: "a" });
    await pi.emit("agent_end", turn);
    await pi.emit("agent_end", turn);
    await expect.poll(() => pi.notices.length).toBe(1);
    await unchanged(() => pi.notices);
    expect(pi.notices[0]).toContain("Run: chmod 600");
  });

  test("gives the same notices after a reload, which starts it before pi passes the login", async () => {
    const server = await sim(16_384);
    const store = await storeOf();
    chmodSync(join(server.certsDir, "client-key.pem"), 0o644);
    server.requests.length = 0;
    const pi = await load(store);
    const reload = { type: "session_start", reason: "reload" };
    await pi.emit("session_start", pi.context("rpc", store?.models[0]), reload);
    await pi.refresh();
    await expect.poll(() => pi.notices.length).toBe(2);
    expect(pi.notices[0]).toContain("Run: chmod 600");
    expect(pi.notices[1]).toContain('"ai-server/a"');
    expect(server.requests.map(({ path }) => path).sort()).toEqual(["/running", "/v1/models"]);
  });

  test("gives no notices after a reload where nothing is set up", async () => {
    const pi = await load();
    await pi.emit("session_start", pi.context("rpc"), { type: "session_start", reason: "reload" });
    await pi.refresh();
    await unchanged(() => [pi.notices, pi.registered.length]);
    expect([pi.notices, pi.registered.length]).toEqual([[], 1]);
  });

  test("gives one notice for a model whose window is too small", async () => {
    await sim(16_384);
    const pi = await load();
    await pi.refresh();
    const [model] = pi.provider.getModels();
    await pi.emit("session_start", pi.context("rpc", model));
    await expect.poll(() => pi.notices.length).toBe(1);
    await pi.emit("model_select", pi.context(), { model });
    await unchanged(() => pi.notices);
    expect(pi.notices[0]).toContain('"ai-server/a"');
  });

  test("gives one notice for a model that takes no tools", async () => {
    setEnv({ PI_OFFLINE: "1" });
    const pi = await load();
    const tools = { value: false, source: "live" };
    const model = (id: string) => ({ provider: "ai-server", id, name: id, aiServer: { tools } });
    await pi.emit("session_start");
    for (const id of ["a", "b", "a"]) await pi.emit("model_select", pi.context(), { model: model(id) });
    await expect.poll(() => pi.notices.length).toBe(2);
    expect(pi.notices.map((notice) => notice.slice(0, 17))).toEqual([
      "a has no tools, b",
      "b has no tools, b",
    ]);
  });

  test("gives no notices where nothing is set up", async () => {
    const pi = await load();
    await pi.refresh();
    await pi.emit("session_start");
    await pi.emit("agent_end", pi.context("rpc", { provider: "other", id: "x" }));
    await unchanged(() => [pi.notices, pi.registered.length]);
    expect([pi.notices, pi.registered.length]).toEqual([[], 1]);
  });
});

describe("the window of a model that a turn has loaded", () => {
  const UNDECLARED = (ctx: number): string => `
models:
  a: { cmd: "llama-server --port \${PORT} --load 3 --no-reasoning -c ${ctx}" }
`;

  /** A session on `a`, and a turn of it to its end. */
  async function started(ctx: number) {
    const server = await kept(startSim({ config: UNDECLARED(ctx), speed: 20 }));
    setEnv({ AI_SERVER_URL: server.url, AI_SERVER_CERTS_DIR: server.certsDir });
    const pi = await load();
    await pi.refresh({ allowNetwork: true });
    const [model] = pi.provider.getModels() as Model<Api>[];
    if (model === undefined) throw new Error("no model");
    await pi.emit("session_start", pi.context("rpc", model));
    const turn = async (text = "sim: say Hi."): Promise<string> => {
      const context = { messages: [{ role: "user", content: text, timestamp: 0 }] };
      const stream = pi.provider.streamSimple(model, context as unknown as TranscriptContext, {});
      const { stopReason } = await stream.result();
      const end = { type: "agent_end", messages: [{ role: "assistant", stopReason }] };
      await pi.emit("agent_end", pi.context("rpc", model), end);
      return stopReason;
    };
    const changes = (): string[] => pi.notices.filter((text) => text.startsWith("a: context"));
    return { server, pi, turn, changes };
  }

  test("is registered after that turn with one notice, also when it differs from the last load", async () => {
    const { server, pi, turn, changes } = await started(131_072);
    expect(await turn()).toBe("stop");
    await expect.poll(() => windows(pi)).toEqual([131_072]);
    expect(changes()).toEqual(["a: context 128k"]);
    writeFileSync(join(server.dir, "config.yaml"), UNDECLARED(65_536));
    await server.reload();
    server.setSpeed(1);
    server.requests.length = 0;
    const loading = turn();
    // Only a turn that sees its load reads the window again.
    await expect
      .poll(() => {
        const chat = server.requests.findIndex(({ path }) => path === "/v1/chat/completions");
        return server.requests
          .slice(chat < 0 ? Number.POSITIVE_INFINITY : chat)
          .some(({ path, finishedAt }) => path === "/running" && finishedAt !== undefined);
      })
      .toBe(true);
    server.setSpeed(20);
    expect(await loading).toBe("stop");
    await expect.poll(() => windows(pi)).toEqual([65_536]);
    const asked = server.requests.length;
    expect(await turn()).toBe("stop");
    await unchanged(() => server.requests.length);
    // Known facts are not read again.
    const paths = server.requests.slice(asked).map(({ path }) => path);
    expect(paths.filter((path) => /models|props/.test(path))).toEqual([]);
    expect(changes()).toEqual(["a: context 128k", "a: context 128k → 64k"]);
    expect(server.starts).toEqual({ a: 2 });
  });

  test("is registered at once where the prompt does not fit, with one notice", async () => {
    const { pi, turn, changes } = await started(4096);
    expect(await turn("sim: say Hi.\n".repeat(4000))).toBe("error");
    expect(windows(pi)).toEqual([4096]);
    await expect.poll(changes).toEqual(["a: context 4k"]);
    expect(await turn()).toBe("stop");
    // The next start is to know it too, and has nothing to report.
    await expect.poll(() => pi.store?.models).toMatchObject([{ contextWindow: 4096 }]);
    expect(changes()).toHaveLength(1);
  });
});

describe("a command", () => {
  test("receives its argument and its context", async () => {
    const server = await sim();
    const pi = await load();
    await pi.emit("session_start");
    await pi.commands.get("ai-server-load")?.handler("a", pi.context("rpc"));
    expect(pi.notices[0]).toMatch(/^a is loaded/);
    await pi.commands.get("ai-server-unload")?.handler("absent", pi.context("rpc"));
    expect(pi.notices[1]).toContain('No model "absent".');
    expect(server.starts).toEqual({ a: 1 });
  });

  test("runs before a session has begun too", async () => {
    await sim();
    const pi = await load();
    await pi.commands.get("ai-server-refresh")?.handler("", pi.context("rpc"));
    expect(pi.notices).toEqual(["1 change, 1 model now\na: added"]);
  });

  test("leaves in the terminal's session a key alone, whose result a later start does not draw", async () => {
    await sim();
    const pi = await load();
    const type = (argument: string): Promise<void> | undefined =>
      pi.commands.get("ai-server-load")?.handler(argument, pi.context("tui"));
    const drawn = (): (readonly string[] | undefined)[] =>
      pi.branch.map((entry) => {
        const renderer = pi.renderers.get(String(entry.customType));
        return renderer?.(entry as unknown as Parameters<EntryRenderer>[0], HINTS, THEME)?.render(80);
      });
    await type("nothing of the kind");
    await type("absent");
    const [one, two] = pi.branch;
    for (const entry of [one, two])
      expect(entry).toEqual({
        id: expect.any(String),
        type: "custom",
        customType: "ai_server_result",
        data: { key: expect.stringMatching(/^[0-9a-f-]{36}$/) },
      });
    expect(drawn()).toEqual([
      [expect.stringContaining('No model "nothing".')],
      [expect.stringContaining('No model "absent".')],
    ]);
    expect(pi.notices).toEqual([]);
    await extension(pi.api);
    expect(drawn()).toEqual([undefined, undefined]);
  });

  test("ends with the session", async () => {
    const server = await sim();
    server.setSpeed(0.01);
    const pi = await load();
    await pi.emit("session_start");
    const ctx = pi.context("rpc");
    const loading = pi.commands.get("ai-server-load")?.handler("a", ctx);
    await expect.poll(() => server.starts).toEqual({ a: 1 });
    pi.end();
    await pi.emit("session_shutdown", undefined);
    await loading;
    await expect.poll(() => server.connections).toBe(0);
    expect(pi.notices).toEqual([]);
  });
});

describe("completion in the terminal", () => {
  type Wrap = (current: AutocompleteProvider) => AutocompleteProvider;

  /** A context that takes completions of ours around pi's own, which has none. */
  function completing(pi: FakePi, mode: ExtensionContext["mode"]): { ctx: ExtensionContext; added: Wrap[] } {
    const added: Wrap[] = [];
    const ctx = pi.context(mode);
    const ui = { ...ctx.ui, addAutocompleteProvider: (wrap: Wrap) => added.push(wrap) };
    const get = (_: object, name: keyof ExtensionContext): unknown => (name === "ui" ? ui : ctx[name]);
    return { ctx: new Proxy({}, { get: get as never }) as unknown as ExtensionContext, added };
  }
  const OWN = { getSuggestions: async () => null } as unknown as AutocompleteProvider;

  test("offers the server's models after a command", async () => {
    await sim();
    const pi = await load();
    const { ctx, added } = completing(pi, "tui");
    await pi.emit("session_start", ctx);
    await expect.poll(() => added.length).toBe(1);
    const provider = added[0]?.(OWN);
    const line = "/ai-server-load ";
    const { signal } = new AbortController();
    await expect
      .poll(async () => (await provider?.getSuggestions([line], 0, line.length, { signal }))?.items)
      .toEqual([expect.objectContaining({ value: "a", description: "unloaded · 64k declared" })]);
  });

  test.each(["rpc", "print", "json"] as const)("is none in %s mode", async (mode) => {
    const server = await sim();
    const pi = await load();
    const { ctx, added } = completing(pi, mode);
    await pi.emit("session_start", ctx);
    await unchanged(() => [added.length, server.requests.length]);
    expect([added, server.requests]).toEqual([[], []]);
  });

  test("is not set up for a session that has ended meanwhile", async () => {
    await sim();
    const pi = await load();
    const { ctx, added } = completing(pi, "tui");
    const begun = pi.emit("session_start", ctx);
    await pi.emit("session_shutdown", undefined);
    await begun;
    await unchanged(() => added.length);
    expect(added).toEqual([]);
  });
});

describe("the end of a session", () => {
  test("may come more than once, and leaves no connection", async () => {
    const server = await sim();
    const pi = await load();
    await pi.emit("session_shutdown");
    await pi.refresh();
    await pi.emit("session_start");
    await expect.poll(() => server.connections).toBeGreaterThan(0);
    await Promise.all([pi.emit("session_shutdown"), pi.emit("session_shutdown")]);
    await pi.emit("session_shutdown");
    await expect.poll(() => server.connections).toBe(0);
    await pi.emit("session_start");
    await pi.refresh({ allowNetwork: true });
    expect(windows(pi)).toEqual([65_536]);
  });

  test.each([true, false])(
    "makes every later use of its context throw, without harm (shutdown event: %s)",
    async (isTold) => {
      const server = await sim();
      const store = await storeOf();
      const pi = await load(store);
      await pi.refresh();
      server.failNext({ path: "/v1/models", status: 503 });
      writeFileSync(join(server.dir, "config.yaml"), CONFIG(131_072));
      await server.reload();
      const turn = pi.context("tui", { provider: "ai-server", id: "a" });
      await pi.emit("session_start", turn);
      await pi.emit("agent_end", turn);
      pi.end();
      if (isTold) await pi.emit("session_shutdown", undefined);
      // An unhandled rejection fails the run.
      await unchanged(() => pi.notices, 500);
      expect(pi.notices).toEqual([]);
    },
  );
});

describe("a server that asks for no client certificate", () => {
  const open = async (): Promise<Sim> => {
    const server = await kept(startSim({ config: CONFIG(), speed: 100, tls: "server" }));
    setEnv({ AI_SERVER_URL: server.url, AI_SERVER_CERTS_DIR: server.certsDir });
    return server;
  };
  const looks = (server: Sim): number => server.requests.filter(({ path }) => path === "/health").length;

  test("is reported once a session", async () => {
    const server = await open();
    const pi = await load();
    await pi.refresh();
    await pi.emit("session_start");
    await expect
      .poll(() => pi.notices.filter((text) => text.includes("no client certificate")))
      .toHaveLength(1);
    const before = server.requests.length;
    await pi.emit("agent_end", pi.context("rpc", pi.provider.getModels()[0]));
    await expect.poll(() => server.requests.length).toBeGreaterThan(before);
    expect(looks(server)).toBe(1);
  });

  test("is not checked for a single answer in print mode", async () => {
    const server = await open();
    const printing = await load();
    await printing.refresh();
    await printing.emit("session_start", printing.context("print"));
    // What begins later has come to its look.
    const pi = await load();
    await pi.refresh();
    await pi.emit("session_start");
    await expect
      .poll(() => pi.notices.filter((text) => text.includes("no client certificate")))
      .toHaveLength(1);
    expect(looks(server)).toBe(1);
  });
});
