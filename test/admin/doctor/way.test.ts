import type { RequestListener } from "node:http";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Variables } from "../../../config.ts";
import type { Network } from "../../../server/http/reach.ts";
import { type SimOptions, startSim } from "../../../sim/server.ts";
import { CONFIG, httpPlace } from "../../support/http-place.ts";
import { freePort, silentServer } from "../../support/network.ts";
import { problems, type Way, wayOf } from "../../support/way-place.ts";
import { httpsServer, kept, ownServer, pair, tlsServer } from "../../support/wire.ts";

const { folder } = httpPlace();
const HOUR = 1 / 24;

function env(url: string, more: Variables = {}): Variables {
  return { AI_SERVER_URL: url, AI_SERVER_CERTS_DIR: folder, ...more };
}

/** The way to a stand-in of llama-swap. */
async function wayToSim(options: SimOptions, more: Variables = {}): Promise<Way> {
  const sim = await kept(startSim({ config: CONFIG, ...options }));
  return wayOf({ AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir, ...more });
}

/** The only link that fails, and the rest that is not tried for it. */
function endsAt(way: Way, check: string, seen: string): void {
  expect(problems(way)).toMatchObject([{ check, verdict: "fault" }]);
  expect(way.found[check]?.seen).toContain(seen);
  expect(way.outOfReach).toContain(seen);
  expect(way.list.at(-1)).toMatchObject({ check: "way", verdict: "unchecked" });
}

describe("DNS", () => {
  const unknown = Object.assign(new Error("getaddrinfo ENOTFOUND"), { code: "ENOTFOUND" });

  test("does not know the name", async () => {
    const lookup = (): Promise<never> => Promise.reject(unknown);
    const way = await wayOf(env("https://ai.invalid"), { network: { lookup } });
    endsAt(way, "dns", "The name ai.invalid does not exist in DNS.");
    expect(way.found.dns?.next).toContain("getent hosts ai.invalid");
  });

  test("is not asked for an address", async () => {
    const lookup = (): Promise<never> => Promise.reject(unknown);
    const sim = await kept(startSim({ config: CONFIG }));
    const certs = { AI_SERVER_CERTS_DIR: sim.certsDir };
    const way = await wayOf(env(sim.url, certs), { network: { lookup } });
    expect(way.found.dns).toMatchObject({ verdict: "ok", seen: "not needed: 127.0.0.1 is an address" });
    expect(problems(way)).toEqual([]);
  });

  test("does not answer", async () => {
    const lookup = (): Promise<never> => new Promise(() => {});
    const soon = { AI_SERVER_CONNECT_TIMEOUT_MS: "50" };
    const way = await wayOf(env("https://ai.invalid", soon), { network: { lookup } });
    endsAt(way, "dns", "The name ai.invalid could not be looked up");
  });

  test("is asked until the user stops", async () => {
    const stopped = new AbortController();
    const lookup = (): Promise<never> => {
      stopped.abort();
      return new Promise(() => {});
    };
    await expect(
      wayOf(env("https://ai.invalid"), { network: { lookup }, signal: stopped.signal }),
    ).rejects.toThrow(/abort/);
  });

  test("has the addresses of both families", async () => {
    const { found } = await twoFamilies(async () => 3);
    const seen = "localhost has 127.0.0.1 (IPv4) and 2001:db8::5 (IPv6)";
    expect(found.dns).toMatchObject({ verdict: "ok", seen });
  });

  test("has no IPv6 address", async () => {
    const sim = await kept(startSim({ config: CONFIG }));
    const certs = { AI_SERVER_CERTS_DIR: sim.certsDir };
    const lookup: Network["lookup"] = async () => [{ address: "127.0.0.1", family: 4 }];
    const way = await wayOf(env(`https://localhost:${sim.port}`, certs), { network: { lookup } });
    const seen = "localhost has 127.0.0.1 (IPv4) and no IPv6 address";
    expect(way.found.dns).toMatchObject({ verdict: "ok", seen });
    expect(problems(way)).toEqual([]);
  });
});

/** A name with an address of each family; the second one connects like this. */
async function twoFamilies(connect: Network["connect"], second = "2001:db8::5"): Promise<Way> {
  const sim = await kept(startSim({ config: CONFIG }));
  const certs = { AI_SERVER_CERTS_DIR: sim.certsDir, AI_SERVER_CONNECT_TIMEOUT_MS: "2000" };
  return wayOf(env(`https://localhost:${sim.port}`, certs), {
    network: {
      lookup: async () => [
        { address: "127.0.0.1", family: 4 },
        { address: second, family: 6 },
      ],
      connect: (address, ...rest) => (address === second ? connect(address, ...rest) : Promise.resolve(7)),
    },
  });
}

const failing = (code: string) => (): Promise<never> =>
  Promise.reject(Object.assign(new Error(code), { code }));

describe("TCP", () => {
  test("shows the time for each family", async () => {
    const way = await twoFamilies(async () => 12.4);
    const lines = way.list.filter(({ check }) => check === "tcp");
    const port = /port (\d+)/.exec(lines[0]?.seen ?? "")?.[1];
    expect(lines).toMatchObject([
      {
        subject: "TCP over IPv4",
        verdict: "ok",
        seen: `port ${port} accepts connections: 127.0.0.1 after 7 ms`,
      },
      { subject: "TCP over IPv6", seen: `port ${port} accepts connections: 2001:db8::5 after 12 ms` },
    ]);
  });

  test.each([
    ["refuses connections", failing("ECONNREFUSED")],
    ["cannot be connected to (EHOSTUNREACH)", failing("EHOSTUNREACH")],
    ["does not answer within 2 s", () => new Promise<never>(() => {})],
  ])("a published IPv6 address %s", async (words, connect) => {
    const way = await twoFamilies(connect);
    expect(problems(way)).toMatchObject([{ check: "tcp", subject: "TCP over IPv6", verdict: "warning" }]);
    expect(way.found.tcp?.seen).toContain(`2001:db8::5 is in DNS, but ${words}`);
    expect(way.found.tcp?.next).toContain("remove the AAAA record of localhost");
    expect(way.found.answer?.verdict).toBe("ok");
  });

  test("a laptop without IPv6 is not the server's fault", async () => {
    const way = await twoFamilies(failing("ENETUNREACH"));
    expect(problems(way)).toEqual([]);
    expect(way.found.tcp).toMatchObject({ verdict: "unchecked" });
  });

  test("localhost needs no IPv6", async () => {
    const way = await twoFamilies(failing("ECONNREFUSED"), "::1");
    expect(problems(way)).toEqual([]);
    expect(way.found.tcp).toMatchObject({ verdict: "ok", subject: "TCP over IPv6" });
  });

  test("the port is closed", async () => {
    const port = await freePort();
    const way = await wayOf(env(`https://127.0.0.1:${port}`));
    endsAt(way, "tcp", `127.0.0.1:${port} refuses connections`);
    expect(way.found.tcp?.next).toContain(`ss -ltn 'sport = :${port}'`);
  });

  test("no address answers, and each is named", async () => {
    const lookup: Network["lookup"] = async () => [
      { address: "192.0.2.1", family: 4 },
      { address: "2001:db8::5", family: 6 },
    ];
    const connect: Network["connect"] = (address) =>
      address === "192.0.2.1" ? new Promise(() => {}) : failing("ECONNREFUSED")();
    const soon = { AI_SERVER_CONNECT_TIMEOUT_MS: "50" };
    const way = await wayOf(env("https://ai.invalid", soon), { network: { lookup, connect } });
    endsAt(way, "tcp", "ai.invalid did not answer within 0.05 s");
    expect(way.found.tcp?.seen).toContain(
      "(192.0.2.1: does not answer within 1 s; 2001:db8::5: refuses connections)",
    );
  });
});

describe("TLS", () => {
  test("the server's certificate is of another CA", async () => {
    const way = await wayToSim({}, { AI_SERVER_CA: join(folder, "other-ca.pem") });
    endsAt(way, "tls", `is not signed by the CA in ${join(folder, "other-ca.pem")}`);
  });

  test("the server's certificate is for another name", async () => {
    const certificate = await ownServer(folder, ["other.example"], -1, 300)();
    const { url } = await kept(httpsServer(certificate, () => {}));
    const way = await wayOf(env(url, { AI_SERVER_CA: "own-ca.pem" }));
    endsAt(way, "tls", "The server certificate is not for 127.0.0.1.");
  });

  test("the port accepts connections, and says nothing", async () => {
    const silent = await silentServer();
    await kept({ close: () => silent.stop() });
    const soon = { AI_SERVER_CONNECT_TIMEOUT_MS: "200" };
    const way = await wayOf(env(`https://127.0.0.1:${silent.port}`, soon));
    endsAt(way, "tls", "did not answer the TLS handshake within 0.2 s");
  });

  test("this laptop's certificates are missing", async () => {
    const way = await wayToSim({}, { AI_SERVER_CLIENT_KEY: "absent.pem" });
    expect(problems(way)).toEqual([]);
    expect(way.found.tls).toMatchObject({
      verdict: "unchecked",
      seen: "the certificates of this laptop cannot be used",
    });
    expect(way.outOfReach).toContain("The client key is missing");
  });

  test.each([
    ["is renewed in time", -275, 90, "ok", /until \d{4}-\d\d-\d\d$/],
    ["has few days left", -351, 14, "warning", /, 13 days more$/],
    ["is one of Caddy's own, which live for hours", -2 * HOUR, 10 * HOUR, "ok", /until/],
    ["is one of Caddy's own, which was not renewed", -11 * HOUR, 1 * HOUR, "warning", /, 0 days more$/],
  ])("the server's certificate %s", async (_, from, to, verdict, seen) => {
    const certificate = await ownServer(folder, ["127.0.0.1"], from, to)();
    const { url } = await kept(httpsServer(certificate, (_, response) => response.end("{}")));
    const { found } = await wayOf(env(url, { AI_SERVER_CA: "own-ca.pem" }));
    expect(found["server-certificate-expiry"]).toMatchObject({ verdict });
    expect(found["server-certificate-expiry"]?.seen).toMatch(seen);
  });

  test.each([
    [{ maxVersion: "TLSv1.2" } as const, /^TLSv1\.2 after/, "the server offers HTTP/1.1"],
    [{ ALPNProtocols: ["h2", "http/1.1"] }, /^TLSv1\.3 after/, "the server offers HTTP/2 as well"],
  ])("with %j its version is shown", async (options, protocol, offer) => {
    const { url } = await kept(
      httpsServer({ ...pair(folder), ...options }, (_, response) => response.end("{}")),
    );
    const { found } = await wayOf(env(url));
    expect(found.tls?.seen).toMatch(protocol);
    expect(found["http-version"]).toMatchObject({ verdict: "ok", seen: `HTTP/1.1 is used; ${offer}` });
  });

  test("a server that names no version of HTTP", async () => {
    const answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    const { url } = await kept(
      tlsServer(pair(folder), (socket) => socket.on("data", () => socket.write(answer))),
    );
    const { found } = await wayOf(env(url));
    expect(found["http-version"]?.seen).toBe("HTTP/1.1 is used; the server names no version (ALPN)");
  });
});

/** The way to a server that demands a client certificate, or not, and answers everything so. */
async function wayToAnswer(answer: RequestListener, more: Variables = {}, options = {}): Promise<Way> {
  const { url } = await kept(httpsServer({ ...pair(folder), ...options }, answer));
  return wayOf(env(url, more));
}

const status =
  (code: number, body = ""): RequestListener =>
  (_, response) => {
    response.writeHead(code).end(body);
  };

const MUTUAL = { requestCert: true, rejectUnauthorized: true };

describe("the client certificate", () => {
  test("is not demanded", async () => {
    const way = await wayToSim({ tls: "server" });
    expect(problems(way)).toMatchObject([{ check: "client-certificate-demanded", verdict: "fault" }]);
    const { seen, next } = way.found["client-certificate-demanded"] ?? {};
    expect(seen).toMatch(/asks for no client certificate: anyone who can reach it can use it\.$/);
    expect(next).toContain("client_auth");
  });

  test("is not demanded, but an API key is", async () => {
    const way = await wayToSim({ tls: "server", apiKeys: ["lab-7Fq2"] }, { AI_SERVER_API_KEY: "lab-7Fq2" });
    expect(problems(way)).toMatchObject([{ check: "client-certificate-demanded", verdict: "warning" }]);
    expect(JSON.stringify(way.list)).not.toContain("lab-7Fq2");
  });

  test.each([302, 502])("may be demanded, where a request without one is answered with %d", async (code) => {
    const { found } = await wayToAnswer(status(code));
    expect(found["client-certificate-demanded"]).toMatchObject({
      verdict: "unchecked",
      seen: `a request without a certificate is answered with HTTP ${code}`,
    });
  });

  test.each(["TLSv1.3", "TLSv1.2"] as const)("is demanded with %s", async (maxVersion) => {
    const { found } = await wayToAnswer(status(200, "{}"), {}, { ...MUTUAL, maxVersion });
    const seen = "a request without one is refused";
    expect(found["client-certificate-demanded"]).toMatchObject({ verdict: "ok", seen });
    expect(found["client-certificate"]).toMatchObject({ verdict: "ok", seen: "this laptop's is admitted" });
  });

  test.each([
    [403, "Caddy denies access to this client (HTTP 403)."],
    [400, "The server refused the request (HTTP 400)."],
  ])("of this laptop is not admitted: %d", async (code, seen) => {
    endsAt(await wayToAnswer(status(code), {}, MUTUAL), "client-certificate", seen);
  });
});

describe("the answer", () => {
  test.each([
    [502, "the model server behind it does not (HTTP 502)"],
    [503, "The server is not available at the moment (HTTP 503)."],
    [421, "Caddy does not serve this name (HTTP 421)."],
    [302, "answers /v1/models with a redirect"],
  ])("comes from what stands before the model server: %d", async (code, seen) => {
    const way = await wayToAnswer(status(code), {}, MUTUAL);
    endsAt(way, "answer", seen);
    expect(way.found["client-certificate"]?.verdict).toBe("ok");
  });

  test("does not come: the connection is closed", async () => {
    const way = await wayToAnswer((request) => request.socket.destroy(), {}, MUTUAL);
    endsAt(way, "answer", "closed the connection before it answered");
  });
});

test("an API key that is missing is no fault of the way, and large requests are then not judged", async () => {
  const way = await wayToSim({ apiKeys: ["lab-7Fq2"] });
  expect(problems(way)).toEqual([]);
  expect(way.outOfReach).toBeUndefined();
  expect(way.found.stream).toMatchObject({ verdict: "unchecked" });
  expect(way.found.stream?.seen).toContain("The server demands an API key");
  expect(way.found["body-size"]).toMatchObject({ verdict: "unchecked" });
});
