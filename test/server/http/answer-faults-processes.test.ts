import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Variables } from "../../../config.ts";
import { writeCertificates } from "../../support/certificates.ts";
import { freePort } from "../../support/network.ts";
import { missingProgram, realSuite } from "../../support/programs.ts";
import { firstFault, ownServer, pair, serving } from "../../support/wire.ts";

let folder = "";

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "faults-test-"));
  await writeCertificates(folder);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const faultAt = (url: string, more: Variables = {}, timeoutMs = 10_000): Promise<string[]> =>
  firstFault(url, folder, more, timeoutMs);
const server = (names: string[], notBefore: number, notAfter: number) =>
  ownServer(folder, names, notBefore, notAfter);

realSuite(missingProgram("openssl"), "a server that verifies client certificates as OpenSSL does", () => {
  let child: ChildProcess | undefined;
  afterEach(async () => {
    const running = child;
    child = undefined;
    if (running?.exitCode !== null) return;
    const gone = new Promise((resolve) => running.once("exit", resolve));
    running.kill("SIGKILL");
    await gone;
  });

  async function opensslServer(...flags: string[]): Promise<string> {
    const port = await freePort();
    const file = (name: string): string => join(folder, name);
    const certificates = [
      "-cert",
      file("server.pem"),
      "-key",
      file("server-key.pem"),
      "-CAfile",
      file("root-ca.pem"),
    ];
    child = spawn(
      "openssl",
      [
        "s_server",
        "-accept",
        `127.0.0.1:${port}`,
        "-www",
        "-Verify",
        "3",
        "-verify_return_error",
        ...certificates,
        ...flags,
      ],
      { stdio: ["ignore", "pipe", "ignore"] },
    );
    const { stdout } = child;
    await new Promise<void>((resolve) => {
      stdout?.on("data", (text) => String(text).includes("ACCEPT") && resolve());
    });
    return `https://127.0.0.1:${port}`;
  }

  describe.each(["-tls1_3", "-tls1_2"])("%s", (version) => {
    test("takes the right one", async () => {
      const [link, , message] = await faultAt(await opensslServer(version));
      expect([link, message]).toEqual([
        "server",
        "The server's answer to /running is not JSON. Check that AI_SERVER_URL leads to the model server.",
      ]);
    });

    test("refuses one of another CA", async () => {
      const stranger = { AI_SERVER_CLIENT_CERT: "stranger.pem", AI_SERVER_CLIENT_KEY: "stranger-key.pem" };
      expect(await faultAt(await opensslServer(version), stranger)).toEqual([
        "TLS",
        "none",
        `The server refused the client certificate ${folder}/stranger.pem. It may have been revoked, come from another CA than the one Caddy trusts, or lack the client-auth usage.`,
      ]);
    });

    test("refuses a certificate for servers", async () => {
      const wrong = { AI_SERVER_CLIENT_CERT: "server.pem", AI_SERVER_CLIENT_KEY: "server-key.pem" };
      expect(await faultAt(await opensslServer(version), wrong)).toEqual([
        "TLS",
        "none",
        `The server refused the client certificate ${folder}/server.pem. It may have been revoked, come from another CA than the one Caddy trusts, or lack the client-auth usage.`,
      ]);
    });
  });

  test("of TLS 1.1 is not spoken to", async () => {
    const url = await opensslServer("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0");
    expect(await faultAt(url)).toEqual([
      "TLS",
      "none",
      "127.0.0.1 speaks only versions of TLS before 1.2, which are not safe. Update the server.",
    ]);
  });
});

/** In a process of their own, since Node reads these variables once, when it starts. It must also end by itself. */
describe("variables of Node's that would weaken the check", () => {
  /** What it says about each of these servers, and how it ended. */
  async function ask(
    env: Record<string, string>,
    asked: Record<string, string>[],
  ): Promise<{ said: string[]; code: unknown }> {
    const module = (path: string): string =>
      JSON.stringify(new URL(`../../../${path}`, import.meta.url).href);
    const script = `
      const { Http } = await import(${module("server/http/http.ts")});
      const { readConfig } = await import(${module("config.ts")});
      for (const variables of ${JSON.stringify(asked)}) {
        const http = new Http(readConfig({ ...process.env, ...variables }, {}, "/nowhere"));
        await http.json("/running", { timeoutMs: 60000 }).then(
          (answer) => console.log(JSON.stringify(answer)),
          (error) => console.log(error.message),
        );
        await http.close();
      }`;
    const file = join(folder, "ask.mjs");
    writeFileSync(file, script);
    const child = spawn(process.execPath, ["--no-warnings", file], {
      env: { PATH: process.env.PATH, AI_SERVER_CERTS_DIR: folder, ...env },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let said = "";
    child.stdout.on("data", (text) => {
      said += text;
    });
    const code = await new Promise((resolve) => child.once("close", resolve));
    return { said: said.trim().split("\n"), code };
  }

  const own = () => server(["127.0.0.1"], -1, 1)();

  test("NODE_TLS_REJECT_UNAUTHORIZED=0 does not switch it off", async () => {
    const { url } = await serving(await own());
    const named = await serving(await server(["other.example"], -1, 1)());
    const { said, code } = await ask({ NODE_TLS_REJECT_UNAUTHORIZED: "0" }, [
      { AI_SERVER_URL: url },
      { AI_SERVER_URL: named.url, AI_SERVER_CA: "own-ca.pem" },
    ]);
    expect(said).toEqual([
      expect.stringMatching(/is not signed by the CA in/),
      expect.stringMatching(/^The server certificate is not for 127\.0\.0\.1\./),
    ]);
    expect(code).toBe(0);
  });

  test("NODE_EXTRA_CA_CERTS adds no CA to the configured one, and no proxy variable leads elsewhere", async () => {
    const { url } = await serving(await own());
    const { url: right } = await serving(pair(folder));
    const dead = `http://127.0.0.1:${await freePort()}`;
    const names = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"];
    const proxies = Object.fromEntries(names.map((name) => [name, dead]));
    const extra = { NODE_EXTRA_CA_CERTS: join(folder, "own-ca.pem") };
    const { said, code } = await ask({ ...extra, ...proxies, NODE_USE_ENV_PROXY: "1" }, [
      { AI_SERVER_URL: url },
      { AI_SERVER_URL: url, AI_SERVER_CA: "system" },
      { AI_SERVER_URL: right },
    ]);
    expect(said).toEqual([expect.stringMatching(/is not signed by the CA in/), "{}", "{}"]);
    expect(code).toBe(0);
  });
});
