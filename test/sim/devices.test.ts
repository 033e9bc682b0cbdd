import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readConfig } from "../../config.ts";
import { Http } from "../../server/http/http.ts";
import { writeDemoAuthority } from "../../sim/demo-ca.ts";
import { type Sim, startSim } from "../../sim/server.ts";

const CONFIG = `models:\n  one: { cmd: "llama-server --port \${PORT} -m /models/one.gguf" }\n`;

let dir: string;
let sim: Sim;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "sim-devices-"));
  await writeDemoAuthority(join(dir, "certs"), join(dir, "ca"));
  sim = await startSim({ dir, config: CONFIG, devicesDir: join(dir, "ca/devices") });
});
afterEach(async () => {
  await sim.close();
  rmSync(dir, { recursive: true });
});

const entry = (name: string): string =>
  readdirSync(join(dir, "ca/devices")).find((one) => one.startsWith(`${name}.`)) ?? "";

async function asLaptop(): Promise<unknown> {
  const http = new Http(readConfig({ AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir }, {}, dir));
  try {
    return await http.json("/running", { timeoutMs: 10_000 });
  } finally {
    await http.close();
  }
}

test("admits the devices on the list, and none that is taken off it", async () => {
  expect(await asLaptop()).toEqual({ running: [] });
  const name = entry("laptop");
  renameSync(join(dir, "ca/devices", name), join(dir, name));
  await expect(asLaptop()).rejects.toMatchObject({ name: "ServerError", status: undefined });
  renameSync(join(dir, name), join(dir, "ca/devices", name));
  expect(await asLaptop()).toEqual({ running: [] });
});

test("a session that is resumed does not let a device in that is off the list", async () => {
  const pem = (name: string): string => readFileSync(join(dir, "certs", name), "utf8");
  const options = {
    host: "127.0.0.1",
    port: sim.port,
    ca: pem("root-ca.pem"),
    cert: pem("client.pem"),
    key: pem("client-key.pem"),
  };
  const session = await new Promise<Buffer>((resolve, reject) => {
    const socket = connect(options);
    socket.once("session", (ticket: Buffer) => {
      socket.destroy();
      resolve(ticket);
    });
    socket.once("error", reject);
  });
  const resumed = (): Promise<string> =>
    new Promise((resolve) => {
      const socket = connect({ ...options, session });
      socket.on("error", () => {});
      socket.once("close", () => resolve("closed"));
      socket.write("GET /running HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
      socket.once("data", (piece) => resolve(String(piece).slice(0, 15)));
    });
  expect(await resumed()).toBe("HTTP/1.1 200 OK");
  expect(sim.handshakes.resumed).toBe(1);
  const name = entry("laptop");
  renameSync(join(dir, "ca/devices", name), join(dir, name));
  expect(await resumed()).toBe("closed");
});
