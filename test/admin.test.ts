import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExtensionCommandContext } from "@earendil-works/pi-coding-agent";
import { visibleWidth } from "@earendil-works/pi-tui";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { type CommandName, faultReport, runCommand, statusTable } from "../admin.ts";
import { AiServer } from "../ai-server.ts";
import type { Variables } from "../config.ts";
import { type Link, ServerError } from "../server/errors.ts";
import type { ModelFacts } from "../server/models.ts";
import { type Sim, startSim } from "../sim/server.ts";
import { httpsServer, kept, pair } from "./server/wire.ts";
import { writeCertificates } from "./support/certificates.ts";
import { freePort } from "./support/network.ts";

const CONFIG = (ctx: number, second: string): string => `
models:
  a:
    cmd: llama-server --port \${PORT}
    metadata: { context_length: ${ctx} }
    ttl: 300
  ${second}:
    cmd: llama-server --port \${PORT}
`;

let folder = "";
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "admin-test-"));
  await writeCertificates(folder);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const sim = (): Promise<Sim> => kept(startSim({ config: CONFIG(32_768, "b"), speed: 100 }));

/** Runs a command at an RPC client, whose notices are what it shows. */
function commands(env: Variables): { run(name: CommandName): Promise<unknown[]>; aiServer: AiServer } {
  const aiServer = new AiServer({ env, agentDir: folder, now: Date.now, onChanged: () => {} });
  onTestFinished(() => aiServer.close());
  const run = async (name: CommandName): Promise<unknown[]> => {
    const notices: unknown[] = [];
    const ctx = {
      mode: "rpc",
      ui: { notify: (text: string, level: string) => notices.push([level, text]) },
      modelRegistry: {
        getProviderAuth: async () => ({ env: {} }),
        refresh: () =>
          aiServer.refresh({
            allowNetwork: true,
            signal: new AbortController().signal,
            publish: async ({ update }) => {
              update?.();
              return true;
            },
          }),
      },
    } as unknown as ExtensionCommandContext;
    await runCommand(name, aiServer, ctx);
    return notices;
  };
  return { run, aiServer };
}

const envOf = (server: Sim): Variables => ({
  AI_SERVER_URL: server.url,
  AI_SERVER_CERTS_DIR: server.certsDir,
});

function facts(more: Partial<ModelFacts> = {}): ModelFacts {
  return {
    id: "a",
    name: "A",
    state: "ready",
    ttlSeconds: 300,
    kind: "model",
    runsAs: "a",
    context: { value: 131_072, source: "live" },
    outputLimit: { value: 1, source: "default" },
    vision: { value: true, source: "live" },
    thinking: { value: { kind: "switch" }, source: "live" },
    keepsThinking: false,
    ...more,
  };
}

describe("the table of /ai-server-status", () => {
  test("claims nothing that was not read", () => {
    const models = [
      facts(),
      facts({
        id: "new",
        state: "unloaded",
        ttlSeconds: undefined,
        context: { value: 32_768, source: "default" },
        vision: { value: false, source: "default" },
        thinking: { value: { kind: "none" }, source: "default" },
      }),
      facts({
        id: "p/x",
        kind: "peer",
        state: "unknown",
        ttlSeconds: undefined,
        vision: { value: false, source: "declared" },
      }),
      facts({
        id: "s",
        ttlSeconds: 0,
        thinking: { value: { kind: "effort", levels: ["low", "high"] }, source: "declared" },
      }),
      facts({
        id: "t",
        state: "stopping",
        ttlSeconds: 90,
        thinking: { value: { kind: "none" }, source: "live" },
      }),
    ];
    expect(statusTable(models, 120).split("\n")).toEqual([
      "Model  State     Context  From  Unloads     Vision   Thinking",
      "a      ready     128k     live  5 min idle  yes      on/off",
      "new    unloaded  unknown                    unknown  unknown",
      "p/x    peer      128k     live              no       on/off",
      "s      ready     128k     live  never       yes      low/high",
      "t      stopping  128k     live  90 s idle   yes      no",
    ]);
  });

  test("fits every terminal from 20 columns on", () => {
    const models = [
      facts({ id: "模型/通义千问-Q4_K_M.gguf" }),
      facts({ id: "x".repeat(256) }),
      facts({ id: "👩‍💻" }),
    ];
    for (let width = 20; width <= 200; width++) {
      const lines = statusTable(models, width).split("\n");
      expect(lines).toHaveLength(4);
      for (const line of lines) expect(visibleWidth(line)).toBeLessThanOrEqual(width);
    }
  });

  test("without models says so", () => {
    expect(statusTable([], 80)).toBe("The server offers no model that can be chatted with.");
  });
});

describe("a fault names the link that fails:", () => {
  test.each<[Link, string]>([
    ["configuration", "configuration FAILS"],
    ["certificates", "configuration ok · certificates FAILS"],
    ["DNS", "configuration ok · certificates ok · DNS FAILS"],
    ["TCP", "configuration ok · certificates ok · DNS ok · TCP FAILS"],
    ["TLS", "configuration ok · certificates ok · DNS ok · TCP ok · TLS FAILS"],
    ["Caddy", "configuration ok · certificates ok · DNS ok · TCP ok · TLS ok · Caddy FAILS"],
    [
      "llama-swap",
      "configuration ok · certificates ok · DNS ok · TCP ok · TLS ok · Caddy ok · llama-swap FAILS",
    ],
    [
      "model",
      "configuration ok · certificates ok · DNS ok · TCP ok · TLS ok · Caddy ok · llama-swap ok · model FAILS",
    ],
  ])("%s", (link, way) => {
    expect(faultReport(new ServerError("Words.", { link, remedy: "none" }))).toBe(`${way}\nWords.`);
  });

  test("where there is no link there is the sentence alone", () => {
    expect(faultReport(new ServerError("Words.", { link: "stream", remedy: "none" }))).toBe("Words.");
    expect(faultReport(new Error("Words."))).toBe("Words.");
    expect(faultReport("Words.")).toBe("Words.");
  });
});

describe("/ai-server-status", () => {
  test("shows address and table, and loads nothing", async () => {
    const server = await sim();
    const [[level, text] = []] = (await commands(envOf(server)).run("ai-server-status")) as string[][];
    expect(level).toBe("info");
    expect(text?.split("\n")).toEqual([
      server.url,
      "Model  State     Context  From      Unloads  Vision   Thinking",
      "a      unloaded  32k      declared           unknown  unknown",
      "b      unloaded  unknown                     unknown  unknown",
    ]);
    expect(server.starts).toEqual({});
  });

  test.each([
    [{ AI_SERVER_TIMEOUT_MS: "soon" }, "configuration", /AI_SERVER_TIMEOUT_MS is "soon"/],
    [{ AI_SERVER_CLIENT_CERT: "none.pem" }, "certificates", /The client certificate is missing/],
    [{ AI_SERVER_URL: "https://no-such-host.invalid" }, "DNS", /does not exist in DNS/],
    [{ AI_SERVER_CA: "client.pem" }, "TLS", /is not signed by the CA/],
  ])("with %j says that %s fails", async (more, link, words) => {
    const server = await sim();
    const [[level, text] = []] = (await commands({ ...envOf(server), ...more }).run(
      "ai-server-status",
    )) as string[][];
    expect([level, text?.split("\n")[0]?.split(" · ").at(-1)]).toEqual(["error", `${link} FAILS`]);
    expect(text).toMatch(words);
  });

  test("with a closed port says that TCP fails, with an empty 502 that llama-swap does", async () => {
    const server = await sim();
    const dead = commands({ ...envOf(server), AI_SERVER_URL: `https://127.0.0.1:${await freePort()}` });
    expect(String((await dead.run("ai-server-status"))[0])).toContain("TCP FAILS");
    server.failNext({ path: "/v1/models", status: 502 });
    expect(String((await commands(envOf(server)).run("ai-server-status"))[0])).toContain("llama-swap FAILS");
  });
});

describe("/ai-server-refresh", () => {
  test("says what changed, and the models are those from then on", async () => {
    const server = await sim();
    const { run, aiServer } = commands(envOf(server));
    expect(await run("ai-server-refresh")).toEqual([["info", "a: added\nb: added"]]);
    expect(await run("ai-server-refresh")).toEqual([["info", "Nothing changed: 2 models."]]);
    writeFileSync(join(server.dir, "config.yaml"), CONFIG(131_072, "c"));
    await server.reload();
    expect(await run("ai-server-refresh")).toEqual([["info", "a: context 32k → 128k\nc: added\nb: gone"]]);
    expect(aiServer.models.map(({ id }) => id)).toEqual(["a", "c"]);
  });

  test("that fails leaves the models as they were", async () => {
    const server = await sim();
    const { run, aiServer } = commands(envOf(server));
    await run("ai-server-refresh");
    server.failNext({ path: "/v1/models", status: 503 });
    const [[level] = []] = (await run("ai-server-refresh")) as string[][];
    expect([level, aiServer.models.length]).toEqual(["error", 2]);
  });
});

describe("a server that sends terminal sequences", () => {
  const EVIL = "\u001b[2J\u001b]0;owned\u0007\u009b31m\r\n\u202e";
  const evil = (text: string): unknown => ({ error: { message: text, type: text }, src: text });

  test.each<[string, Record<string, unknown>, number]>([
    [
      "in ids, names and metadata",
      {
        "/v1/models": {
          data: [
            { id: `bad${EVIL}`, name: "x" },
            { id: "good", name: EVIL, meta: { llamaswap: { thinking_levels: [EVIL, "high"] } } },
            { id: "x".repeat(10_000) },
          ],
        },
        "/running": {
          running: [
            { model: `bad${EVIL}`, state: EVIL, cmd: EVIL },
            { model: "good", state: EVIL },
          ],
        },
      },
      200,
    ],
    ["in an error", { "/v1/models": evil(`no${EVIL}`.repeat(1000)), "/running": evil(EVIL) }, 403],
    ["in an error of text", { "/v1/models": `no${EVIL}`, "/running": EVIL }, 500],
  ])("%s reaches no terminal with them", async (_, answers, status) => {
    const server = await kept(
      httpsServer(pair(folder), (request, response) => {
        response.writeHead(status);
        response.end(JSON.stringify(answers[request.url ?? ""] ?? {}));
      }),
    );
    const { run, aiServer } = commands({ AI_SERVER_URL: server.url, AI_SERVER_CERTS_DIR: folder });
    const shown = [...(await run("ai-server-status")), ...(await run("ai-server-refresh"))].flat().join("\n");
    expect(shown).not.toMatch(/(?!\n)[\p{Cc}\p{Bidi_Control}]/u);
    expect(shown.length).toBeLessThan(3000);
    expect(JSON.stringify(aiServer.models)).not.toMatch(/\\u00|\\r|\\n|\u009b|\u202e/);
  });
});
