/** What the suites of the transport share: certificates, a stand-in, and clients for it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import type { Variables } from "../../config.ts";
import type { Http } from "../../server/http/http.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import { writeCertificates } from "./certificates.ts";
import { httpFor, kept } from "./wire.ts";

export const CONFIG = `
models:
  a:
    cmd: llama-server --port \${PORT}
`;

/** Certificates for the tests of one file, made before them and removed after; and what is made with them. */
export function httpPlace() {
  const folder = mkdtempSync(join(tmpdir(), "http-test-"));
  beforeAll(() => writeCertificates(folder));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const client = (server: { url: string }, more: Variables = {}, certs = folder): Promise<Http> =>
    httpFor(server, certs, more);
  const sim = (): Promise<Sim> => kept(startSim({ config: CONFIG, speed: 50 }));
  const simClient = (server: Sim, more: Variables = {}): Promise<Http> =>
    client(server, more, server.certsDir);
  const get = (http: Http, path = "/running"): Promise<unknown> => http.json(path, { timeoutMs: 10_000 });
  return { folder, client, sim, simClient, get };
}
