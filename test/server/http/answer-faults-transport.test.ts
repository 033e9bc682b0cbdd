import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Config, readConfig, type Variables } from "../../../config.ts";
import { ServerError } from "../../../lib/errors.ts";
import { transportFault } from "../../../server/http/transport-faults.ts";
import { remedyOf } from "../../../stream/pi-rules.ts";
import { writeCertificates } from "../../support/certificates.ts";
import { freePort, silentServer } from "../../support/network.ts";
import {
  alertingServer,
  clientOf,
  firstFault,
  kept,
  ownServer,
  pair,
  serving,
  tcpServer,
} from "../../support/wire.ts";

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

describe("a server certificate", () => {
  const OWN = { AI_SERVER_CA: "own-ca.pem" };

  test("of another CA", async () => {
    const { url } = await serving(await server(["127.0.0.1"], -1, 1)());
    expect(await faultAt(url)).toEqual([
      "TLS",
      "none",
      `The certificate of 127.0.0.1 is not signed by the CA in ${folder}/root-ca.pem. Get the server's current CA file, or set AI_SERVER_CA=system if its certificate is a public one.`,
    ]);
  });

  test("of another CA, where Node's own roots are trusted", async () => {
    const { url } = await serving(pair(folder));
    expect(await faultAt(url, { AI_SERVER_CA: "system" })).toEqual([
      "TLS",
      "none",
      "The certificate of 127.0.0.1 is not signed by a public authority. If the server has a CA of its own, put its file at root-ca.pem and unset AI_SERVER_CA.",
    ]);
  });

  test("that has expired", async () => {
    const { url } = await serving(await server(["127.0.0.1"], -9, -1)());
    expect(await faultAt(url, OWN)).toEqual([
      "TLS",
      "none",
      "The server certificate of 127.0.0.1 has expired. Renew it on the Caddy host and reload Caddy.",
    ]);
  });

  test("that is not valid yet", async () => {
    const { url } = await serving(await server(["127.0.0.1"], 1, 9)());
    expect(await faultAt(url, OWN)).toEqual([
      "TLS",
      "none",
      "The server certificate of 127.0.0.1 is not valid yet. Check the clocks of this machine and of the Caddy host.",
    ]);
  });

  test.each([["other.example"], ["localhost"], ["127.0.0.2"]])("for %s only", async (host) => {
    const { url } = await serving(await server([host], -1, 1)());
    expect(await faultAt(url, OWN)).toEqual([
      "TLS",
      "none",
      "The server certificate is not for 127.0.0.1. Use the name that it was issued for in AI_SERVER_URL, or issue it with this name (subjectAltName).",
    ]);
  });
});

/** What a TLS alert says of the client: number of RFC 8446, and the sentence. */
describe("an alert", () => {
  const refused = () =>
    `The server refused the client certificate ${folder}/client.pem. It may have been revoked, come from another CA than the one Caddy trusts, or lack the client-auth usage.`;

  test.each([
    [42, "bad_certificate"],
    [43, "unsupported_certificate"],
    [44, "certificate_revoked"],
    [46, "certificate_unknown"],
    [48, "unknown_ca"],
    [49, "access_denied"],
    [51, "decrypt_error"],
  ])("%d, %s: another CA is suggested", async (alert) => {
    const { url } = await kept(alertingServer(alert));
    expect(await faultAt(url)).toEqual(["TLS", "none", refused()]);
  });

  test.each([
    [
      45,
      "TLS",
      () =>
        `The server says that the client certificate ${folder}/client.pem has expired. Compare the clocks, or issue a new one.`,
    ],
    [
      116,
      "TLS",
      () =>
        `The server demands a client certificate and did not get one. Check that ${folder}/client.pem is the client's and not the server's.`,
    ],
    [
      70,
      "TLS",
      () => "127.0.0.1 speaks only versions of TLS before 1.2, which are not safe. Update the server.",
    ],
    [
      80,
      "Caddy",
      () =>
        "Caddy has no certificate for 127.0.0.1. Check the site's name in the Caddyfile and AI_SERVER_URL.",
    ],
    [
      112,
      "Caddy",
      () =>
        "The server does not know the name 127.0.0.1. Check the site's name in the Caddyfile and AI_SERVER_URL.",
    ],
  ])("%d is something else", async (alert, link, sentence) => {
    const { url } = await kept(alertingServer(alert));
    expect(await faultAt(url)).toEqual([link, "none", sentence()]);
  });

  test.each([[40], [71]])(
    "%d: what they have in common is questioned before the certificate",
    async (alert) => {
      const { url } = await kept(alertingServer(alert));
      expect(await faultAt(url)).toEqual([
        "TLS",
        "none",
        `127.0.0.1 ended the handshake: it shares no cipher, key or signature with this client (which accepts no cipher without encryption or a certificate), or it refuses the client certificate ${folder}/client.pem. Check the server's certificate, the ciphers in the tls block of the Caddyfile, and the CA and usage of the client certificate.`,
      ]);
    },
  );

  test("that is unknown is no reason to try again", async () => {
    const { url, port } = await kept(alertingServer(47));
    const [link, remedy, sentence] = await faultAt(url);
    expect([link, remedy]).toEqual(["TLS", "none"]);
    expect(sentence).toMatch(new RegExp(`^The connection to 127\\.0\\.0\\.1:${port} could not be secured`));
  });
});

describe("a port", () => {
  test("where nothing listens", async () => {
    const port = await freePort();
    expect(await faultAt(`https://127.0.0.1:${port}`)).toEqual([
      "TCP",
      "retry",
      `127.0.0.1:${port} refuses connections (connection refused). Caddy may be stopped, or the port in AI_SERVER_URL is wrong.`,
    ]);
  });

  test.each([
    ["plain HTTP", "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"],
    ["ssh", "SSH-2.0-OpenSSH_9.2p1\r\n"],
  ])("that speaks %s", async (_, greeting) => {
    const { url, port } = await kept(tcpServer((socket) => socket.end(greeting)));
    expect(await faultAt(url)).toEqual([
      "TLS",
      "none",
      `127.0.0.1:${port} does not speak TLS. The port in AI_SERVER_URL may be the model server's own instead of Caddy's.`,
    ]);
  });

  test.each([
    ["at once", (socket: import("node:net").Socket) => socket.resetAndDestroy()],
    [
      "in the handshake",
      (socket: import("node:net").Socket) => socket.once("data", () => socket.resetAndDestroy()),
    ],
    ["politely", (socket: import("node:net").Socket) => socket.once("data", () => socket.end())],
  ])("that closes %s", async (_, close) => {
    const { url, port } = await kept(tcpServer(close));
    expect(await faultAt(url)).toEqual([
      "Caddy",
      "retry",
      `127.0.0.1:${port} closed the connection before it answered (connection error). Caddy or the network ended it.`,
    ]);
  });

  test("that takes connections and says nothing", async () => {
    const silent = await silentServer();
    try {
      expect(
        await faultAt(`https://127.0.0.1:${silent.port}`, { AI_SERVER_CONNECT_TIMEOUT_MS: "200" }),
      ).toEqual([
        "TLS",
        "retry",
        `127.0.0.1:${silent.port} accepts connections, but did not answer the TLS handshake within 0.2 s (connection timed out). Another program may listen at this port, or Caddy is stuck.`,
      ]);
    } finally {
      await silent.stop();
    }
  });

  test("that says nothing is not taken for a slow llama-swap when the request's own limit comes first", async () => {
    const silent = await silentServer();
    try {
      expect(await faultAt(`https://127.0.0.1:${silent.port}`, {}, 300)).toEqual([
        "TLS",
        "retry",
        `127.0.0.1:${silent.port} accepts connections, but did not answer the TLS handshake within 0.3 s (connection timed out). Another program may listen at this port, or Caddy is stuck.`,
      ]);
    } finally {
      await silent.stop();
    }
  });
});

describe("an error of the system", () => {
  const at = (url: string): Config => clientOf(url, "/certs");
  const coded = (code: string): Error => Object.assign(new Error("raw words"), { code });

  test("a name that does not exist", async () => {
    expect(await faultAt("https://no-such-host.invalid")).toEqual([
      "DNS",
      "none",
      "The name no-such-host.invalid does not exist in DNS. Check AI_SERVER_URL, and this machine's network.",
    ]);
  });

  test.each([
    [
      "EAI_AGAIN",
      "DNS",
      "The name ai.example could not be looked up (network error: DNS does not answer). Check this machine's network.",
    ],
    [
      "EHOSTUNREACH",
      "TCP",
      "ai.example:8443 is unreachable (network error). Check this machine's network or VPN.",
    ],
    [
      "ENETUNREACH",
      "TCP",
      "ai.example:8443 is unreachable (network error). Check this machine's network or VPN.",
    ],
    [
      "EADDRNOTAVAIL",
      "TCP",
      "ai.example:8443 is unreachable (network error). Check this machine's network or VPN.",
    ],
    [
      "ETIMEDOUT",
      "TCP",
      "ai.example:8443 does not answer (connection timed out). The machine may be off, or a firewall drops the packets.",
    ],
    [
      "EPIPE",
      "Caddy",
      "ai.example:8443 closed the connection before it answered (connection error). Caddy or the network ended it.",
    ],
    [
      "UND_ERR_SOCKET",
      "Caddy",
      "ai.example:8443 closed the connection before it answered (connection error). Caddy or the network ended it.",
    ],
    ["ESOMETHING", "TCP", "The connection to ai.example:8443 failed (connection error, ESOMETHING)."],
    ["", "TCP", "The connection to ai.example:8443 failed (connection error, unknown reason)."],
    ["toString", "TCP", "The connection to ai.example:8443 failed (connection error, toString)."],
  ])("%s", (code, link, message) => {
    const error = coded(code);
    const fault = transportFault(
      new TypeError("fetch failed", { cause: error }),
      at("https://ai.example:8443"),
    );
    expect(fault).toMatchObject({ link, remedy: "retry", message });
    expect(fault.message).not.toMatch(/raw words|fetch failed/);
  });

  test.each(["ERR_TLS_INVALID_PROTOCOL_VERSION", "ERR_SSL_BAD_SIGNATURE"])("%s", (code) => {
    expect(transportFault(coded(code), at("https://ai.example"))).toMatchObject({
      link: "TLS",
      remedy: "none",
      message: `The connection to ai.example could not be secured (${code}). Check the certificates on both sides, the tls block of the Caddyfile and what answers at this port.`,
    });
  });

  test("a connection that ends without TLS's goodbye is lost, and not insecure", () => {
    for (const code of ["ERR_SSL_UNEXPECTED_EOF_WHILE_READING", "ECONNRESET"])
      expect(transportFault(coded(code), at("https://ai.example"))).toMatchObject({
        link: "Caddy",
        remedy: "retry",
        message:
          "ai.example closed the connection before it answered (connection error). Caddy or the network ended it.",
      });
  });

  test("whatever was thrown becomes a sentence, and one of ours stays", () => {
    for (const thrown of [undefined, null, "text", 5, {}, new Error("x")]) {
      expect(transportFault(thrown, at("https://ai.example")).message).toMatch(
        /^The connection to ai\.example failed/,
      );
    }
    const own = new ServerError("Ours.", { link: "model", remedy: "none" });
    expect(transportFault(own, at("https://ai.example"))).toBe(own);
  });
});

describe("a proxy that is set and not used", () => {
  const HINT = (name: string): string =>
    ` ${name} is set, but not used: this extension connects to the server directly, which a network with a proxy may not allow.`;
  const said = (code: string, env: Variables): string => {
    const address = readConfig({ AI_SERVER_URL: "https://ai.example:8443", ...env }, {}, "/nowhere");
    const plain = readConfig({ AI_SERVER_URL: "https://ai.example:8443" }, {}, "/nowhere");
    const error = Object.assign(new Error("raw words"), { code });
    const [fault, without] = [transportFault(error, address), transportFault(error, plain)];
    expect([fault.link, fault.remedy, remedyOf(fault.message)]).toEqual([
      without.link,
      without.remedy,
      without.remedy,
    ]);
    return fault.message.slice(without.message.length);
  };

  test.each([["HTTPS_PROXY"], ["https_proxy"], ["ALL_PROXY"], ["all_proxy"]])("%s is named", (name) => {
    for (const code of [
      "ENOTFOUND",
      "EAI_AGAIN",
      "ECONNREFUSED",
      "ETIMEDOUT",
      "UND_ERR_CONNECT_TIMEOUT",
      "ECONNRESET",
    ])
      expect(said(code, { [name]: "http://user:secret@proxy:3128" })).toBe(HINT(name));
  });

  test("is not named where the certificate is at fault, nor by a variable for plain HTTP", () => {
    expect(said("CERT_HAS_EXPIRED", { HTTPS_PROXY: "http://proxy" })).toBe("");
    expect(said("ECONNREFUSED", { HTTP_PROXY: "http://proxy", http_proxy: "http://proxy" })).toBe("");
  });

  test.each([
    ["*", false],
    ["ai.example", false],
    [".example", false],
    ["other, ai.example:8443", false],
    ["*.example", false],
    ["ai.example:443", true],
    ["i.example", true],
    ["", true],
  ])("NO_PROXY=%j: %j", (list, isNamed) => {
    const env = { HTTPS_PROXY: "http://proxy", NO_PROXY: list };
    expect(said("ECONNREFUSED", env)).toBe(isNamed ? HINT("HTTPS_PROXY") : "");
  });

  test("is named in what a request really ends with", async () => {
    const port = await freePort();
    const [, , sentence] = await faultAt(`https://127.0.0.1:${port}`, { HTTPS_PROXY: "http://127.0.0.1:1" });
    expect(sentence).toMatch(/HTTPS_PROXY is set, but not used/);
  });
});
