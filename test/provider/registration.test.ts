import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Provider } from "@earendil-works/pi-ai";
import type { ProviderConfig } from "@earendil-works/pi-coding-agent";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { DEFAULTS, PLACEHOLDER_API_KEY, type Variables } from "../../config.ts";
import { AiServer } from "../../provider/ai-server.ts";
import { toServedModels } from "../../provider/pi-models.ts";
import { createProvider } from "../../provider/provider.ts";
import { registerProvider, registerStoredModels } from "../../provider/registration.ts";
import { facts } from "../support/model-facts.ts";

const SET_UP = { AI_SERVER_URL: "https://x" };
const LOGIN = { "ai-server": { type: "api_key", env: SET_UP } };

let agentDir = "";
beforeEach(() => {
  const dir = mkdtempSync(join(tmpdir(), "registration-test-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  agentDir = dir;
});

/** One of pi's own files. */
function write(name: "auth" | "models" | "models-store", content: unknown): void {
  const text = typeof content === "string" ? content : JSON.stringify(content);
  writeFileSync(join(agentDir, `${name}.json`), text);
}

describe("the registration by name, which makes pi take the provider for configured at once", () => {
  /** What is registered: a name, or the provider. */
  const registered = (env: Variables): string[] => {
    const aiServer = new AiServer({ env, agentDir, now: Date.now, onChanged: () => {} });
    const all: string[] = [];
    const register = (given: Provider | string): void => {
      all.push(typeof given === "string" ? `name ${given}` : `provider ${given.id}`);
    };
    const own = createProvider(aiServer, aiServer.activities);
    registerProvider({ registerProvider: register }, own, aiServer, agentDir);
    return all;
  };
  const BOTH = ["name ai-server", "provider ai-server"];
  const ALONE = ["provider ai-server"];

  test.each([
    [SET_UP, BOTH],
    [{}, ALONE],
  ])("with %j is %j", (env, expected) => {
    expect(registered(env)).toEqual(expected);
  });

  test.each([
    [LOGIN, ALONE],
    [{ other: { type: "api_key", key: "ai-server" } }, BOTH],
    [{ "ai-server": null }, BOTH],
    ["ai-server", BOTH],
  ])("with the stored logins %j is %j", (logins, expected) => {
    write("auth", JSON.stringify(logins));
    expect(registered(SET_UP)).toEqual(expected);
  });

  test("is made where the stored logins cannot be read", () => {
    write("auth", '{"ai-server":');
    expect(registered(SET_UP)).toEqual(BOTH);
  });
});

describe("the registration of the stored models, for a list", () => {
  const MODELS = toServedModels([facts({ id: "a" }), facts({ id: "b" })], {
    origin: "https://x",
    basePath: "",
  });

  /** What is registered, or false. */
  const registered = (env: Variables = SET_UP): unknown => {
    const all: unknown[] = [];
    const register = (given: Provider | string, config?: ProviderConfig): void => {
      all.push([given, config]);
    };
    const isDone = registerStoredModels({ registerProvider: register }, env, agentDir);
    expect(all).toHaveLength(isDone ? 1 : 0);
    return isDone && all[0];
  };
  const ALL = ["ai-server", { apiKey: PLACEHOLDER_API_KEY, baseUrl: "https://x", models: MODELS }];
  const store = (models: unknown): void => write("models-store", { "ai-server": { models, checkedAt: 1 } });

  test("is one registration, by name", () => {
    store(MODELS);
    expect(registered()).toEqual(ALL);
  });

  test("leaves out what is no model of this server", () => {
    const wrong = [
      { baseUrl: "https://y" },
      { api: "openai-completions" },
      { id: "" },
      { name: undefined },
      { contextWindow: "large" },
      { maxTokens: 0 },
      { input: "text" },
    ];
    store([null, ...MODELS, ...wrong.map((change) => ({ ...MODELS[0], ...change }))]);
    expect(registered()).toEqual(ALL);
  });

  test("keeps to the user's own changes of these models", () => {
    store(MODELS);
    write("models", { providers: { "ai-server": { modelOverrides: { a: { name: "Mine" } } } } });
    expect(registered()).toEqual(ALL);
  });

  test("is left to the provider where nothing is set up", () => {
    const { AI_SERVER_URL } = DEFAULTS;
    store(toServedModels([facts()], { origin: AI_SERVER_URL, basePath: "" }));
    expect(registered({ AI_SERVER_URL })).not.toBe(false);
    expect(registered({})).toBe(false);
  });

  test.each([
    ["the models are another server's", { AI_SERVER_URL: "https://y" }],
    ["the address is wrong", { AI_SERVER_URL: "x" }],
  ])("is left to the provider where %s", (_, env) => {
    store(MODELS);
    expect(registered(env)).toBe(false);
  });

  test.each([
    ["nothing is stored", "models-store", {}],
    ["the store cannot be read", "models-store", '{"ai-server":'],
    ["no model is stored", "models-store", { "ai-server": { models: [] } }],
    ["the server comes from a stored login", "auth", LOGIN],
    ["the user adds models of this provider", "models", { providers: { "ai-server": { models: [] } } }],
    ["the user's models cannot be read", "models", '{"ai-server":'],
  ] as const)("is left to the provider where %s", (_, name, content) => {
    store(MODELS);
    write(name, content);
    expect(registered()).toBe(false);
  });
});
