/** A session stays on its model: pi's own runtime where the order of its refreshes counts, and else the fake pi. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type Api,
  type CredentialInfo,
  InMemoryCredentialStore,
  InMemoryModelsStore,
  type Model,
  type ModelsStoreEntry,
  type Provider,
  type TranscriptContext,
} from "@earendil-works/pi-ai";
import { type ExtensionAPI, ModelRuntime, type ProviderConfig } from "@earendil-works/pi-coding-agent";
import { beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import extension from "../index.ts";
import { startSim } from "../sim/server.ts";
import { FakePi } from "./support/fake-pi.ts";
import { ownAgentDir, setEnv } from "./support/pi-variables.ts";
import { model } from "./support/samples.ts";
import { kept } from "./support/wire.ts";

const URL = "https://127.0.0.1:9";

let agentDir = "";
beforeEach(() => {
  agentDir = ownAgentDir();
  setEnv({ PI_OFFLINE: "1", AI_SERVER_URL: URL });
});

/** A catalogue as pi stores it. */
function catalogue(ids: readonly string[], thinking: object = { kind: "none" }): ModelsStoreEntry {
  const live = (value: unknown) => ({ value, source: "live" });
  const facts = {
    context: live(65_536),
    outputLimit: live(8192),
    vision: live(false),
    thinking: live(thinking),
  };
  const aiServer = { ...facts, tools: live(true) };
  return { models: ids.map((id) => ({ ...model({ id, name: id, baseUrl: URL }), aiServer })), checkedAt: 1 };
}

const CLOUD = model({ id: "x", name: "x", provider: "cloud", api: "openai-completions" });
const USER = { type: "message", message: { role: "user", content: "Hi" } };
const ANSWER = { type: "message", message: { role: "assistant", provider: "ai-server", model: "a" } };

/** The extension in a pi that has come up on the cloud's model. */
async function cameUpElsewhere(entries: object[], store?: ModelsStoreEntry): Promise<FakePi> {
  const pi = new FakePi();
  pi.store = store;
  await extension(pi.api);
  onTestFinished(() => pi.emit("session_shutdown"));
  for (const entry of entries) pi.append(entry as Record<string, unknown>);
  await pi.refresh();
  pi.context("rpc", CLOUD);
  return pi;
}

const start = (pi: FakePi, reason = "startup"): Promise<void> =>
  pi.emit("session_start", pi.context("rpc"), { type: "session_start", reason });

const current = (pi: FakePi): string => `${pi.model?.provider}/${pi.model?.id}`;

const input = (pi: FakePi): Promise<unknown> =>
  pi.answerTo("input", pi.context("rpc"), { type: "input", text: "Hi", source: "rpc" });

async function turn(pi: FakePi): Promise<string | undefined> {
  const context = { messages: [{ role: "user", content: "Hi", timestamp: 0 }] };
  const stream = pi.provider.streamSimple(
    pi.model as Model<Api>,
    context as unknown as TranscriptContext,
    {},
  );
  return (await stream.result()).errorMessage;
}

describe("of overlapping refreshes, the one that pi waits for", () => {
  /** Lets the first reading of pi's credentials go on after the second has begun, and the second when it is let. */
  class OverlappingReads extends InMemoryCredentialStore {
    onFirst: (() => void) | undefined;
    readonly second = Promise.withResolvers<void>();
    readonly release = Promise.withResolvers<void>();
    override async list(): Promise<readonly CredentialInfo[]> {
      const { onFirst } = this;
      if (onFirst !== undefined) {
        this.onFirst = undefined;
        onFirst();
        await this.second.promise;
      } else {
        this.second.resolve();
        await this.release.promise;
      }
      return super.list();
    }
  }

  /**
   * pi's start: registers the provider, refreshes, and looks which models it may choose from. The refresh that the
   * registration itself brings comes while pi already looks at what is available.
   */
  async function started() {
    const credentials = new OverlappingReads();
    const modelsStore = new InMemoryModelsStore();
    await modelsStore.write("ai-server", catalogue(["a"]));
    const modelsPath = join(agentDir, "models.json");
    const runtime = await ModelRuntime.create({
      credentials,
      modelsPath,
      modelsStore,
      refreshOnCreate: false,
    });
    const registerProvider = (provider: Provider | string, config?: ProviderConfig): void => {
      if (typeof provider !== "string") runtime.registerNativeProvider(provider);
      else if (config !== undefined) runtime.registerProvider(provider, config);
    };
    const held = vi.spyOn(runtime, "refresh").mockResolvedValue({ aborted: false, errors: new Map() });
    await extension({ ...new FakePi().api, registerProvider } as unknown as ExtensionAPI);
    held.mockRestore();
    const late: Promise<unknown>[] = [];
    credentials.onFirst = () => late.push(runtime.refresh({ allowNetwork: false }));
    await runtime.refresh({ allowNetwork: false });
    return { runtime, credentials, late };
  }

  test("may find its result thrown away, and the session has its model all the same", async () => {
    const { runtime, credentials, late } = await started();
    const models = runtime.getAvailableSnapshot().map(({ provider, id }) => `${provider}/${id}`);
    const seen = [runtime.hasConfiguredAuth("ai-server"), runtime.getModel("ai-server", "a")?.id, models];
    credentials.release.resolve();
    await Promise.all(late);
    expect(seen).toEqual([true, "a", ["ai-server/a"]]);
    expect(runtime.hasConfiguredAuth("ai-server")).toBe(true);
    expect(runtime.getProvider("ai-server")?.name).toBe("AI Server");
  });

  test("offers no model of a server that is not set up", async () => {
    setEnv({ AI_SERVER_URL: undefined });
    const { runtime, credentials, late } = await started();
    credentials.release.resolve();
    await Promise.all(late);
    expect(runtime.hasConfiguredAuth("ai-server")).toBe(false);
  });
});

describe("what models.json says of the provider", () => {
  const own = (values: unknown): string => JSON.stringify({ providers: { "ai-server": values } });

  test.each([
    [undefined, ["ai-server"]],
    [JSON.stringify({ providers: { cloud: { models: [] } } }), ["ai-server"]],
    [own({ modelOverrides: { a: { maxTokens: 100 } } }), ["ai-server"]],
    // pi would not start: such a model takes its api and address from models that are not there yet.
    [own({ models: [{ id: "mine" }] }), []],
    [own({}), []],
    [`// ${own({ models: [{ id: "mine" }] })}`, []],
  ])("decides whether it is registered by name too: %s", async (text, marked) => {
    if (text !== undefined) writeFileSync(join(agentDir, "models.json"), text);
    const pi = await cameUpElsewhere([]);
    expect([pi.marked, pi.registered.length]).toEqual([marked, 1]);
    if (!text?.startsWith("{")) return;
    // With pi's own runtime, which throws where it would not start.
    const modelsPath = join(agentDir, "models.json");
    const runtime = await ModelRuntime.create({ modelsPath, refreshOnCreate: false });
    const name = (): void => runtime.registerProvider("ai-server", { apiKey: "k" });
    if (marked.length > 0) name();
    else expect(name).toThrow("ai-server");
  });
});

describe("a session of ours that comes up on another provider's model", () => {
  test("is on its own before the first prompt", async () => {
    const pi = await cameUpElsewhere([USER, ANSWER], catalogue(["a", "b"]));
    await start(pi);
    expect([current(pi), pi.model?.contextWindow]).toEqual(["ai-server/a", 65_536]);
    expect(pi.notices).toEqual(["AI Server: this session stays on ai-server/a."]);
    expect(await input(pi)).toBeUndefined();
  });

  test("keeps the thinking level that it had", async () => {
    const level = { type: "thinking_level_change", thinkingLevel: "high" };
    const pi = await cameUpElsewhere([level, USER, ANSWER], catalogue(["a"], { kind: "budget" }));
    pi.settings = { defaultThinkingLevel: "low" };
    pi.level = "off";
    await start(pi, "resume");
    expect([current(pi), pi.level]).toEqual(["ai-server/a", "high"]);
  });

  test("stays on a model that the server lists no longer, whose turn says what is wrong", async () => {
    const pi = await cameUpElsewhere([USER, ANSWER], catalogue(["b"]));
    await start(pi);
    expect(current(pi)).toBe("ai-server/a");
    expect(pi.notices[0]).toContain("stays on ai-server/a, although the server's list of models");
    expect(await turn(pi)).toContain("The client certificate is missing");
  });

  test("stays there where nothing is set up, and its turn says so", async () => {
    setEnv({ AI_SERVER_URL: undefined });
    const pi = await cameUpElsewhere([USER, ANSWER]);
    await start(pi);
    expect(current(pi)).toBe("ai-server/a");
    expect(pi.notices[0]).toContain("is not set up here. Run /login ai-server");
    expect(await turn(pi)).toContain("The AI server of this session is not set up here.");
    const asked = { ctx: {} as never, signal: new AbortController().signal };
    expect(await pi.provider.auth.apiKey?.check?.(asked)).toMatchObject({ type: "api_key" });
  });

  test("begins on the default of the settings", async () => {
    const pi = await cameUpElsewhere(
      [{ type: "model_change", provider: "cloud", modelId: "x" }],
      catalogue(["a"]),
    );
    pi.settings = { defaultProvider: "ai-server", defaultModel: "a" };
    await start(pi, "new");
    expect(current(pi)).toBe("ai-server/a");
  });

  test("sends nothing where pi does not take its model, until the user chooses one", async () => {
    const pi = await cameUpElsewhere([USER, ANSWER], catalogue(["a"]));
    pi.takesModels = false;
    await start(pi);
    expect(current(pi)).toBe("cloud/x");
    expect(await input(pi)).toEqual({ action: "handled" });
    // Once for the start, and once for the prompt.
    const held = "nothing was sent. This session belongs to ai-server/a";
    expect(pi.notices.filter((notice) => notice.includes(held))).toHaveLength(2);
    expect(await pi.answerTo("session_before_compact")).toEqual({ cancel: true });
    await pi.select(CLOUD);
    expect(await input(pi)).toBeUndefined();
    expect(await pi.answerTo("session_before_compact")).toBeUndefined();
  });

  test("is put back once pi has looked again whether the provider is available", async () => {
    const pi = await cameUpElsewhere([USER, ANSWER], catalogue(["a"]));
    pi.takesModels = false;
    const ctx = pi.context("rpc");
    (ctx.modelRegistry as { refresh: unknown }).refresh = async () => {
      pi.takesModels = true;
    };
    await pi.emit("session_start", ctx, { type: "session_start", reason: "startup" });
    expect([current(pi), await input(pi)]).toEqual(["ai-server/a", undefined]);
  });

  test("begins on no default that is none of the models to choose from", async () => {
    const pi = await cameUpElsewhere([], catalogue(["a"]));
    pi.available = [CLOUD];
    pi.settings = { defaultProvider: "ai-server", defaultModel: "a", enabledModels: ["*x*"] };
    await start(pi);
    expect([current(pi), pi.notices, await input(pi)]).toEqual(["cloud/x", [], undefined]);
  });

  test("stays on the model that the user chooses while the list is read", async () => {
    const pi = await cameUpElsewhere([USER, ANSWER]);
    const ctx = pi.context("rpc");
    (ctx.modelRegistry as { refresh: unknown }).refresh = () =>
      pi.select(model({ id: "y", provider: "cloud", api: "openai-completions" }));
    await pi.emit("session_start", ctx, { type: "session_start", reason: "startup" });
    expect([current(pi), pi.notices, await input(pi)]).toEqual(["cloud/y", [], undefined]);
  });

  test("holds a prompt that comes while it is being put back", async () => {
    const pi = await cameUpElsewhere([USER, ANSWER]);
    const listed = Promise.withResolvers<void>();
    const ctx = pi.context("rpc");
    (ctx.modelRegistry as { refresh: unknown }).refresh = () => listed.promise;
    const starting = pi.emit("session_start", ctx, { type: "session_start", reason: "startup" });
    let seen: string | undefined;
    const sent = input(pi).then(() => {
      seen = current(pi);
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(seen).toBeUndefined();
    listed.resolve();
    await Promise.all([starting, sent]);
    expect(seen).toBe("ai-server/a");
  });
});

describe("a model whose thinking is not known yet keeps the level that stands with it in the models to choose from", () => {
  const kept = (pi: FakePi): unknown[] =>
    pi.branch.filter(({ type }) => type === "custom").map(({ data }) => data);

  test.each([
    ["off" as const, []],
    ["high" as const, [{ model: "a", level: "high" }]],
  ])("%s, in a session that begins, and by Ctrl+P", async (thinkingLevel, waiting) => {
    const pi = await cameUpElsewhere([], catalogue(["b"]));
    pi.scopedModels = [{ model: model({ id: "a" }), thinkingLevel }];
    pi.settings = { defaultProvider: "ai-server", defaultModel: "a", defaultThinkingLevel: "low" };
    await start(pi);
    expect([current(pi), kept(pi)]).toEqual(["ai-server/a", waiting]);
    const cycled = { type: "model_select", model: pi.model, source: "cycle" };
    await pi.emit("model_select", pi.context("rpc"), cycled);
    expect(kept(pi)).toEqual([...waiting, ...waiting]);
  });
});

describe("a session stays as it is", () => {
  test.each([
    ["another provider's", [USER, { type: "message", message: { ...ANSWER.message, provider: "cloud" } }]],
    ["one that begins without a default", []],
  ])("%s", async (_, entries) => {
    const pi = await cameUpElsewhere(entries, catalogue(["a"]));
    await start(pi);
    expect([current(pi), pi.notices, await input(pi)]).toEqual(["cloud/x", [], undefined]);
  });

  test("on another extension's router, whose last answer was ours", async () => {
    const pi = await cameUpElsewhere([USER, ANSWER], catalogue(["a"]));
    pi.context("rpc", model({ id: "auto", provider: "router", api: "pi-virtual" }));
    await start(pi);
    expect(current(pi)).toBe("router/auto");
  });
});

describe("without any model, as before a login", () => {
  const CONFIG = "models:\n  a:\n    cmd: llama-server --port ${PORT} -c 4096 --no-reasoning\n";

  test("a list that is read selects its first one", async () => {
    const server = await kept(startSim({ config: CONFIG, speed: 100 }));
    setEnv({ AI_SERVER_URL: server.url, AI_SERVER_CERTS_DIR: server.certsDir });
    const pi = await cameUpElsewhere([]);
    pi.context("rpc", model({ id: "unknown", provider: "unknown", api: "unknown" }));
    await start(pi);
    await pi.refresh({ allowNetwork: true });
    await expect.poll(() => current(pi)).toBe("ai-server/a");
    await expect.poll(() => pi.notices).toContain("AI Server: a is selected.");
  });
});

test("a session names a misspelt variable once, also where nothing is set up", async () => {
  setEnv({ AI_SERVER_URL: undefined, AI_SERVER_ULR: "https://ai.example.org" });
  const pi = await cameUpElsewhere([]);
  await start(pi);
  const notice =
    "AI Server: AI_SERVER_ULR is set, but there is no such variable; did you mean AI_SERVER_URL?";
  await expect.poll(() => pi.notices).toEqual([notice]);
});

test("a mistyped command goes to no model, and stands in the editor again", async () => {
  const pi = await cameUpElsewhere([]);
  const ctx = pi.context("tui");
  await pi.emit("session_start", ctx, { type: "session_start", reason: "startup" });
  const typed = { type: "input", text: "/ai-server-statu", source: "interactive" };
  expect(await pi.answerTo("input", ctx, typed)).toEqual({ action: "handled" });
  expect(pi.notices.at(-1)).toContain("Did you mean /ai-server-status?");
  expect(pi.editor).toBe("/ai-server-statu");
  expect(await input(pi)).toBeUndefined();
  pi.templates.push("ai-server-notes");
  expect(await pi.answerTo("input", ctx, { ...typed, text: "/ai-server-notes" })).toBeUndefined();
});

test("the key that ends a model's thinking says so where no model thinks, and sends nothing", async () => {
  const pi = new FakePi();
  await extension(pi.api);
  onTestFinished(() => pi.emit("session_shutdown"));
  const press = (): Promise<void> | undefined => pi.shortcuts.get("alt+a")?.handler(pi.context("rpc"));
  // Before a session, and after it, there is nothing to say it in.
  await press();
  expect(pi.notices).toEqual([]);
  await start(pi);
  await press();
  expect(pi.notices).toEqual([
    "There is no thinking to end: no model of the AI server is thinking, or the server cannot end it.",
  ]);
});
