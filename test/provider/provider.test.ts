import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ApiKeyCredential, AuthContext, Provider, TranscriptContext } from "@earendil-works/pi-ai";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { Activities } from "../../activity/activities.ts";
import { PLACEHOLDER_API_KEY, type Variables } from "../../config.ts";
import { AiServer } from "../../provider/ai-server.ts";
import { createProvider } from "../../provider/provider.ts";
import { startSim } from "../../sim/server.ts";
import { model } from "../support/samples.ts";
import { kept } from "../support/wire.ts";

let agentDir = "";
beforeEach(() => {
  const dir = mkdtempSync(join(tmpdir(), "provider-test-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  agentDir = dir;
});

function provider(env: Variables): { provider: Provider; aiServer: AiServer } {
  const aiServer = new AiServer({ env, agentDir, now: Date.now, onChanged: () => {}, startTimeoutMs: 50 });
  onTestFinished(() => aiServer.close());
  return { aiServer, provider: createProvider(aiServer, new Activities()) };
}

const ask = async (env: Variables, credential?: ApiKeyCredential) => {
  const { apiKey } = provider(env).provider.auth;
  const input = {
    ctx: {} as AuthContext,
    signal: new AbortController().signal,
    ...(credential === undefined ? {} : { credential }),
  };
  return { check: await apiKey?.check?.(input), resolved: await apiKey?.resolve(input) };
};

test("the provider has its names and everything that pi calls", () => {
  const made = provider({}).provider;
  expect([made.id, made.name]).toEqual(["ai-server", "AI Server"]);
  expect(made.getModels()).toEqual([]);
  for (const part of ["refreshModels", "stream", "streamSimple"] as const)
    expect(made[part]).toBeTypeOf("function");
});

describe("the provider's check", () => {
  test("fails where nothing is set up", async () => {
    expect(await ask({})).toEqual({ check: undefined, resolved: undefined });
  });

  test.each([
    { AI_SERVER_URL: "https://x" },
    { AI_SERVER_CA: "system" },
    { AI_SERVER_CERTS_DIR: "wrong\u0000" },
  ])("succeeds with %j, right or wrong", async (env) => {
    expect(await ask(env)).toEqual({
      check: { type: "api_key", source: "AI_SERVER_* or certificate files" },
      resolved: { auth: { apiKey: PLACEHOLDER_API_KEY }, source: "AI_SERVER_* or certificate files" },
    });
  });

  test("succeeds with a login, and passes on its variables", async () => {
    const env = { AI_SERVER_URL: "https://y" };
    expect(await ask({}, { type: "api_key", env })).toEqual({
      check: { type: "api_key", source: "/login" },
      resolved: { auth: { apiKey: PLACEHOLDER_API_KEY }, env, source: "/login" },
    });
    expect((await ask({}, { type: "api_key" })).resolved).toEqual({
      auth: { apiKey: PLACEHOLDER_API_KEY },
      source: "/login",
    });
  });
});

describe("a turn", () => {
  const CONFIG = `
models:
  a:
    cmd: llama-server --port \${PORT} --no-reasoning
`;
  const context = {
    messages: [{ role: "user", content: "sim: say hello", timestamp: 0 }],
  } as unknown as TranscriptContext;

  test("goes to the server and never carries the placeholder key", async () => {
    const server = await kept(startSim({ config: CONFIG, speed: 100 }));
    const made = provider({ AI_SERVER_URL: server.url, AI_SERVER_CERTS_DIR: server.certsDir });
    const { models } = await made.aiServer.discover(undefined);
    const [model] = models;
    if (model === undefined) throw new Error("no model");
    for (const stream of [made.provider.streamSimple, made.provider.stream]) {
      const answer = await stream(model, context, { apiKey: PLACEHOLDER_API_KEY }).result();
      expect([answer.stopReason, answer.content]).toMatchObject(["stop", [{ type: "text", text: "hello" }]]);
    }
    expect(server.requests.filter(({ method }) => method === "POST")).toHaveLength(2);
    for (const request of server.requests) {
      expect(JSON.stringify([request.headers, request.body, request.path])).not.toContain(
        PLACEHOLDER_API_KEY,
      );
      expect(request.headers.authorization).toBeUndefined();
    }
  });

  test("with a wrong variable ends with its sentence", async () => {
    const server = await kept(startSim({ config: CONFIG, speed: 100 }));
    const good = provider({ AI_SERVER_URL: server.url, AI_SERVER_CERTS_DIR: server.certsDir });
    const [model] = (await good.aiServer.discover(undefined)).models;
    if (model === undefined) throw new Error("no model");
    const wrong = provider({
      AI_SERVER_URL: server.url,
      AI_SERVER_CERTS_DIR: agentDir,
      AI_SERVER_RUNNING_PATH: "running",
    });
    const answer = await wrong.provider.streamSimple(model, context, {}).result();
    expect([answer.stopReason, answer.errorMessage]).toEqual([
      "error",
      'AI_SERVER_RUNNING_PATH is "running": it must begin with a slash and contain only ASCII characters, no spaces and no #.',
    ]);
  });

  test("that cannot even begin ends with what to do", async () => {
    const { aiServer } = provider({});
    const activities = new Activities();
    activities.begin = () => {
      throw new Error("broken");
    };
    const answer = await createProvider(aiServer, activities).streamSimple(model(), context, {}).result();
    expect([answer.stopReason, answer.errorMessage]).toEqual([
      "error",
      "The extension could not be loaded; run /reload, or install it again. (broken)",
    ]);
  });
});
