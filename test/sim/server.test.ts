import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent, request } from "undici";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Sim, type SimOptions, startSim } from "../../sim/server.ts";
import { Client, eventually } from "../support/sim-client.ts";

const CONFIG = `models: { a: { cmd: "llama-server --port \${PORT}", aliases: [other] }, b: { cmd: "x \${PORT}" } }`;

let dir: string;
const cleanups: (() => Promise<unknown> | unknown)[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "server-test-"));
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  rmSync(dir, { recursive: true });
});

async function start(options: SimOptions = {}): Promise<{ sim: Sim; client: Client }> {
  const sim = await startSim({ dir, config: CONFIG, speed: 20, ...options });
  const client = new Client(sim);
  cleanups.push(
    () => sim.close(),
    () => client.close(),
  );
  return { sim, client };
}

describe("the stand-in in-process", () => {
  test("removes the folder that it made itself, and no other", async () => {
    const own = await startSim({ config: CONFIG });
    expect(existsSync(own.dir)).toBe(true);
    await own.close();
    expect(existsSync(own.dir)).toBe(false);
    const { sim } = await start();
    expect(sim.dir).toBe(dir);
    await sim.close();
    expect(existsSync(join(dir, "config.yaml"))).toBe(true);
  });

  test("counts requests, handshakes, connections and starts", async () => {
    const { sim, client } = await start();
    const chat = await client.chat({ model: "other", messages: [{ role: "user", content: "Hi" }] });
    expect(chat.status).toBe(200);
    await client.send("/health", { headers: { "x-mine": "1" } });
    expect(sim.requests).toMatchObject([
      { method: "POST", path: "/v1/chat/completions", status: 200, finishedAt: expect.any(Number) },
      { method: "GET", path: "/health", headers: { "x-mine": "1" }, body: "" },
    ]);
    expect(JSON.parse(sim.requests[0]?.body ?? "").model).toBe("other");
    expect(sim.starts).toEqual({ a: 1 });
    expect(sim.connections).toBeGreaterThan(0);
    sim.dropConnections();
    // Soon: the client itself closes an idle connection after some seconds.
    await eventually(() => expect(sim.connections).toBe(0), 2000);
    const { total } = sim.handshakes;
    await client.send("/health");
    expect(sim.handshakes).toMatchObject({ total: total + 1, failed: 0 });
  });

  test("fails the next request that fits, and that one alone", async () => {
    const { sim, client } = await start();
    const headers = { "retry-after": "2" };
    sim.failNext({ path: "/running", status: 503, body: "later", headers, contentType: "text/plain" });
    expect((await client.send("/health")).status).toBe(200);
    const failed = await client.send("/running");
    expect(failed).toMatchObject({ status: 503, body: "later" });
    expect(failed.headers).toMatchObject({ "retry-after": "2", "content-type": "text/plain" });
    expect((await client.send("/running")).status).toBe(200);
    sim.failNext({});
    await expect(client.send("/running")).rejects.toThrow();
    expect((await client.send("/running")).status).toBe(200);
  });

  test("announces its keep-alive time only if configured to, and keeps to it", async () => {
    const silent = await start();
    expect((await silent.client.send("/health")).headers).not.toHaveProperty("keep-alive");
    await silent.sim.close();
    const { sim, client } = await start({ keepAliveHint: true, keepAliveTimeoutMs: 1000 });
    expect((await client.send("/health")).headers["keep-alive"]).toBe("timeout=1");
    await eventually(() => expect(sim.connections).toBe(0));
  });

  test("demands an API key where the config or the options have one", async () => {
    const { client } = await start({ apiKeys: ["secret"] });
    const ask = (headers: Record<string, string>) => client.send("/running", { headers });
    expect((await client.send("/health")).status).toBe(200);
    const refused = await ask({});
    expect(refused.status).toBe(401);
    expect(refused.headers["www-authenticate"]).toBe('Basic realm="llama-swap"');
    expect(JSON.parse(refused.body)).toEqual({
      src: "llama-swap",
      error: {
        message: "unauthorized: invalid or missing API key",
        type: "authentication_error",
        param: null,
        code: "unauthorized",
      },
    });
    expect((await ask({ authorization: "bearer secret" })).status).toBe(200);
    expect((await ask({ authorization: `Basic ${btoa("any:secret")}` })).status).toBe(200);
    expect((await ask({ "x-api-key": "secret" })).status).toBe(200);
    expect((await ask({ authorization: "Bearer wrong", "x-api-key": "secret" })).status).toBe(401);
  });

  test("speaks plain HTTP behind a proxy", async () => {
    const sim = await startSim({ dir, config: CONFIG, tls: "none" });
    cleanups.push(() => sim.close());
    const agent = new Agent();
    cleanups.push(() => agent.close());
    const { statusCode, body } = await request(`${sim.url}/health`, { dispatcher: agent });
    expect([sim.url.startsWith("http://127.0.0.1:"), statusCode, await body.text()]).toEqual([
      true,
      200,
      "OK",
    ]);
  });
});

describe("a reload", () => {
  test("unloads everything, ends the streams and takes up the new file", async () => {
    const { sim, client } = await start();
    await client.send("/upstream/a/health");
    const events = client.send("/api/events");
    await eventually(() => expect(sim.requests.at(-1)?.path).toBe("/api/events"));
    const config = 'hooks: { on_startup: { preload: [c] } }\nmodels: { c: { cmd: "x $' + '{PORT}" } }';
    writeFileSync(join(dir, "config.yaml"), config);
    await sim.reload();
    expect((await events).status).toBe(200);
    const listed = JSON.parse((await client.send("/v1/models")).body);
    expect(listed.data.map(({ id }: { id: string }) => id)).toEqual(["c"]);
    await eventually(() => expect(sim.starts).toEqual({ a: 1, c: 1 }));
  });

  test("with a bad config changes nothing", async () => {
    const { sim, client } = await start();
    await client.send("/upstream/a/health");
    writeFileSync(join(dir, "config.yaml"), "models: [");
    await sim.reload();
    expect(sim.log).toContain("[WARN] failed to reload config: yaml: ");
    expect((await client.send("/running")).body).toContain('"model":"a","state":"ready"');
  });
});

describe("the stand-in as a program", () => {
  const program = new URL("../../sim/main.ts", import.meta.url).pathname;

  function run() {
    const child = spawn(process.execPath, [program, "--dir", dir], { stdio: ["ignore", "pipe", "pipe"] });
    cleanups.push(() => child.kill("SIGKILL"));
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => {
      stdout += chunk;
    });
    child.stderr.on("data", (chunk) => {
      stderr += chunk;
    });
    return { child, output: () => ({ stdout, stderr }) };
  }

  test("says where it listens, reloads on SIGHUP and stops on SIGTERM", async () => {
    writeFileSync(join(dir, "config.yaml"), CONFIG);
    const { child, output } = run();
    const url = await eventually(() => {
      const { stdout } = output();
      expect(stdout).toMatch(/^listening on https:\/\/127\.0\.0\.1:\d+\n$/);
      return stdout.trim().split(" ")[2] ?? "";
    });
    const client = new Client({ url, certsDir: join(dir, "certs") });
    cleanups.push(() => client.close());
    const ids = async () =>
      JSON.parse((await client.send("/v1/models")).body).data.map(({ id }: { id: string }) => id);
    expect(await ids()).toEqual(["a", "b"]);
    writeFileSync(join(dir, "config.yaml"), CONFIG.replaceAll("other", "another").replace("a:", "z:"));
    child.kill("SIGHUP");
    await eventually(async () => expect(await ids()).toEqual(["b", "z"]));
    child.kill("SIGTERM");
    expect(await once(child, "exit")).toEqual([0, null]);
  });

  test("ends with llama-swap's line for a config that cannot be used", async () => {
    writeFileSync(join(dir, "config.yaml"), "models: { a: { cmd: x } }");
    const { child, output } = run();
    expect(await once(child, "exit")).toEqual([1, null]);
    const { stdout, stderr } = output();
    expect(stdout).toBe("");
    expect(stderr).toMatch(
      /^\d{4}\/\d\d\/\d\d \S+ ERROR failed to load config .*error="model a: proxy uses .*\n$/,
    );
  });
});
