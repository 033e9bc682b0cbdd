import { createPrivateKey, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ConnectionOptions, connect } from "node:tls";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Certificate, issue, makeAuthority, writeCertificateSet } from "../../sim/certificates.ts";
import { type Sim, type SimOptions, startSim } from "../../sim/server.ts";
import { eventually } from "../support/sim-client.ts";

const DAY_MS = 86_400_000;

let dir: string;
let sim: Sim | undefined;
let lastSession: Buffer | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "certificates-test-"));
});

afterEach(async () => {
  await sim?.close();
  sim = undefined;
  rmSync(dir, { recursive: true });
});

/** Asks for /health over a bare TLS connection; rejects as the client sees it. */
function ask(port: number, client: ConnectionOptions, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, ca, servername: "localhost", ...client }, () => {
      socket.write("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    });
    socket.on("session", (session) => {
      lastSession = session;
    });
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk;
    });
    socket.on("end", () => resolve(text));
    socket.on("error", reject);
  });
}

async function start(options: SimOptions = {}): Promise<{ port: number; ca: string; client: Certificate }> {
  sim = await startSim({ config: "models: {}", dir, ...options });
  const pem = (name: string) => readFileSync(join(dir, "certs", name), "utf8");
  return {
    port: sim.port,
    ca: pem("root-ca.pem"),
    client: { cert: pem("client.pem"), key: pem("client-key.pem") },
  };
}

describe("a certificate", () => {
  test("is what was asked for, signed by its authority", async () => {
    const authority = await makeAuthority("Test CA");
    const ca = new X509Certificate(authority.cert);
    expect([ca.ca, ca.subject, ca.checkIssued(ca)]).toEqual([true, "CN=Test CA", true]);
    const notBefore = new Date("2020-01-02T03:04:05Z");
    const notAfter = new Date("2021-01-02T03:04:05Z");
    const names = ["example.test", "127.0.0.1", "::1"];
    const server = await issue(authority, { commonName: "x", names, usage: "server", notBefore, notAfter });
    const cert = new X509Certificate(server.cert);
    expect(cert.verify(ca.publicKey)).toBe(true);
    expect(cert.checkIssued(ca)).toBe(true);
    expect(cert.checkPrivateKey(createPrivateKey(server.key))).toBe(true);
    expect([cert.validFromDate, cert.validToDate]).toEqual([notBefore, notAfter]);
    expect(cert.subjectAltName).toBe("DNS:example.test, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1");
    expect(cert.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]);
    const client = await issue(authority, { commonName: "me", usage: "client" });
    expect(new X509Certificate(client.cert).keyUsage).toEqual(["1.3.6.1.5.5.7.3.2"]);
    expect(createPrivateKey(client.key).asymmetricKeyDetails).toEqual({ namedCurve: "prime256v1" });
  });

  test("set has keys that only their owner may read", async () => {
    await writeCertificateSet(dir);
    for (const name of ["client-key.pem", "server-key.pem"]) {
      expect(statSync(join(dir, name)).mode & 0o777, name).toBe(0o600);
    }
    const cert = new X509Certificate(readFileSync(join(dir, "client.pem")));
    expect(cert.checkPrivateKey(createPrivateKey(readFileSync(join(dir, "client-key.pem"))))).toBe(true);
  });
});

describe("the stand-in's mutual TLS", () => {
  test("lets in the client of its own CA, and resumes its session", async () => {
    const { port, ca, client } = await start();
    expect(await ask(port, client, ca)).toContain("200 OK");
    expect(sim?.handshakes).toEqual({ total: 1, resumed: 0, failed: 0 });
    const session = lastSession;
    expect(await ask(port, { ...client, ...(session ? { session } : {}) }, ca)).toContain("200 OK");
    expect(sim?.handshakes).toEqual({ total: 2, resumed: 1, failed: 0 });
  });

  // Without any certificate the client gets an alert; for a wrong one Node just closes, where Caddy sends one.
  test("keeps out a client with no certificate, or one of another CA", async () => {
    const { port, ca } = await start();
    await expect(ask(port, {}, ca)).rejects.toThrow(/certificate required/);
    const other = await issue(await makeAuthority("Other CA"), { commonName: "me", usage: "client" });
    expect(await ask(port, other, ca).catch(() => "")).toBe("");
    expect(sim?.requests).toEqual([]);
    await eventually(() => expect(sim?.handshakes).toEqual({ total: 0, resumed: 0, failed: 2 }));
  });

  test("keeps out an expired client", async () => {
    const authority = await makeAuthority("Test CA");
    const notAfter = new Date(Date.now() - DAY_MS);
    const notBefore = new Date(Date.now() - 2 * DAY_MS);
    const expired = await issue(authority, { commonName: "me", usage: "client", notBefore, notAfter });
    const { port, ca } = await start({ clientAuthority: authority.cert });
    expect(await ask(port, expired, ca).catch(() => "")).toBe("");
    const valid = await issue(authority, { commonName: "me", usage: "client" });
    expect(await ask(port, valid, ca)).toContain("200 OK");
  });

  test("can present an expired or foreign server certificate, and ask for none", async () => {
    const authority = await makeAuthority("Test CA");
    const request = { commonName: "localhost", names: ["elsewhere.test"], usage: "server" as const };
    const serverCertificate = await issue(authority, request);
    const { port, ca } = await start({ serverCertificate, tls: "server" });
    await expect(ask(port, {}, ca)).rejects.toThrow(/unable to verify/);
    await expect(ask(port, {}, authority.cert)).rejects.toThrow(/altnames/);
    expect(await ask(port, { servername: "elsewhere.test" }, authority.cert)).toContain("200 OK");
  });

  test("keeps its certificates over a restart in the same folder", async () => {
    const first = await start();
    await sim?.close();
    const second = await start();
    expect(second.ca).toBe(first.ca);
    expect(await ask(second.port, first.client, first.ca)).toContain("200 OK");
  });
});
