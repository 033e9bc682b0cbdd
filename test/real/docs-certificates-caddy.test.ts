import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readConfig } from "../../config.ts";
import { Http } from "../../server/http/http.ts";
import { type Caddy, startCaddy } from "../support/caddy.ts";
import { docsBlock } from "../support/docs.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { type StandIn, startStandIn } from "../support/stand-in.ts";

const run = promisify(execFile);

/** Lines of the page for a server on this machine. */
const linesOf = (name: string): string =>
  docsBlock("certificates.md", name).replaceAll("ai.example.org", "localhost");

realSuite(missingProgram("caddy", "openssl"), "certificates made by the documented lines", () => {
  let folder: string;
  let standIn: StandIn;
  let caddy: Caddy;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "docs-certs-"));
    for (const name of ["authority", "client", "sign"]) {
      const script = join(folder, `${name}.sh`);
      await writeFile(script, linesOf(name));
      await run("sh", ["-e", script], { cwd: folder });
    }
    standIn = await startStandIn({ tls: "none" });
    caddy = await startCaddy({
      certificate: join(folder, "server.pem"),
      key: join(folder, "server-key.pem"),
      clientCa: join(folder, "root-ca.pem"),
      upstream: new URL(standIn.url).host,
    });
  });
  afterAll(async () => {
    await caddy?.stop();
    await standIn?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  test("let a client through Caddy, and warn of nothing", async () => {
    const env = { AI_SERVER_URL: caddy.url, AI_SERVER_CERTS_DIR: folder, AI_SERVER_SSH_HOST: "local" };
    const http = new Http(readConfig(env, {}, folder));
    try {
      expect(await http.json("/running", { timeoutMs: 10_000 })).toHaveProperty("running");
      expect((await http.identity())?.warnings).toEqual([]);
    } finally {
      await http.close();
    }
  });

  test("do not let a client through without them", async () => {
    const env = {
      AI_SERVER_URL: caddy.url,
      AI_SERVER_CERTS_DIR: folder,
      AI_SERVER_CLIENT_CERT: "server.pem",
      AI_SERVER_CLIENT_KEY: "server-key.pem",
      AI_SERVER_SSH_HOST: "local",
    };
    const http = new Http(readConfig(env, {}, folder));
    try {
      await expect(http.json("/running", { timeoutMs: 10_000 })).rejects.toThrow(
        "The server refused the client certificate",
      );
    } finally {
      await http.close();
    }
  });
});
