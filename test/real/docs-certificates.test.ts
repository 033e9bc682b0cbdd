import { copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readConfig } from "../../config.ts";
import { Http } from "../../server/http/http.ts";
import { startSim } from "../../sim/server.ts";
import { docsBlock, withOwn } from "../support/docs.ts";
import { runCaddy } from "../support/docs-caddy.ts";
import { DocsPlace } from "../support/docs-place.ts";
import { freePort } from "../support/network.ts";
import { isInstalled, missingProgram, realSuite } from "../support/programs.ts";

const CONFIG = `models:\n  one: { cmd: "llama-server --port \${PORT} -m /models/one.gguf" }\n`;

/** Which lines of the two pages belong to which Caddy. */
const CADDYS = [
  {
    program: "caddy",
    file: "caddyfile-2.6",
    line: "trusted_ca_cert_file /etc/caddy/certs/root-ca.pem",
    devices: "devices-2.6",
  },
  {
    program: "caddy-current",
    file: "caddyfile",
    line: "trust_pool file /etc/caddy/certs/root-ca.pem",
    devices: "devices",
  },
] as const;

/** Lines of the page for a server on this machine. */
const lines = (name: string): string =>
  docsBlock("certificates.md", name).replaceAll("ai.example.org", "localhost");

realSuite(
  missingProgram("caddy", "openssl", "curl"),
  "certificates made, renewed and lost as documented",
  () => {
    let place: DocsPlace;
    let ca: string;
    let laptop: string;
    let certs: string;

    const pem = (folder: string, name: string): string => readFileSync(join(folder, name), "utf8");

    /** Runs lines of the page in a folder. */
    async function inFolder(folder: string, name: string, text = lines(name)): Promise<string> {
      place.folder = folder;
      return (await place.runOk(text)).stdout;
    }

    /** The stand-in with the server's certificate, while `body` asks it. */
    async function served(
      body: (url: string) => Promise<void>,
      options: { server?: string; clients?: string } = {},
    ): Promise<void> {
      const { server = ca, clients = pem(ca, "root-ca.pem") } = options;
      const sim = await startSim({
        config: CONFIG,
        serverCertificate: { cert: pem(server, "server.pem"), key: pem(server, "server-key.pem") },
        clientAuthority: clients,
      });
      try {
        await body(sim.url.replace("127.0.0.1", "localhost"));
      } finally {
        await sim.close();
      }
    }

    /** What the extension gets with the certificates in a folder. */
    async function asks(url: string, folder = certs): Promise<{ answer: unknown; warnings: string[] }> {
      const http = new Http(
        readConfig({ AI_SERVER_URL: url, AI_SERVER_CERTS_DIR: folder }, {}, folder, place.home),
      );
      try {
        const answer = await http.json("/running", { timeoutMs: 10_000 });
        return { answer, warnings: (await http.identity())?.warnings ?? [] };
      } finally {
        await http.close();
      }
    }

    const REFUSED = /The server refused the client certificate/;

    beforeAll(async () => {
      place = new DocsPlace();
      ca = place.enter("ca");
      laptop = place.enter("laptop");
      certs = join(place.home, ".pi/agent/certs");
      await inFolder(ca, "authority");
      await inFolder(laptop, "client");
      copyFileSync(join(laptop, "client.csr"), join(ca, "client.csr"));
      await inFolder(ca, "sign");
      for (const name of ["client.pem", "root-ca.pem"]) copyFileSync(join(ca, name), join(laptop, name));
      await inFolder(laptop, "place");
    });
    afterAll(() => place.remove());

    test("keys and the folder are for their owner alone, and the client's key was never at the CA", () => {
      const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);
      for (const name of ["client.pem", "client-key.pem", "root-ca.pem"]) {
        expect(mode(join(certs, name))).toBe("600");
      }
      expect(mode(certs)).toBe("700");
      for (const name of ["ca-key.pem", "server-key.pem"]) expect(mode(join(ca, name))).toBe("600");
      expect(() => pem(ca, "client-key.pem")).toThrow("ENOENT");
    });

    test("let the extension in, without a warning", async () => {
      await served(async (url) => {
        expect(await asks(url)).toEqual({ answer: { running: [] }, warnings: [] });
      });
    });

    test("pass their own checks, and fail them where they should", async () => {
      expect(await inFolder(ca, "check")).toBe("server.pem: OK\nclient.pem: OK\n");
      const [first = "", second = ""] = (await inFolder(laptop, "pair")).split(
        /(?<=-----END PUBLIC KEY-----\n)/,
      );
      expect(first).toMatch(/^-----BEGIN PUBLIC KEY-----/);
      expect(second).toBe(first);
      const swapped = withOwn(lines("check"), { "sslclient client.pem": "sslclient server.pem" });
      place.folder = ca;
      expect((await place.run(swapped)).code).not.toBe(0);
    });

    test("go the whole way with curl", async () => {
      await served(async (url) => {
        const text = withOwn(lines("curl"), { "https://localhost": url });
        expect(JSON.parse(await inFolder(place.home, "curl", text))).toEqual({ running: [] });
        const without = text.replace("--cert client.pem --key client-key.pem ", "");
        expect((await place.run(without)).code).not.toBe(0);
      });
    });

    test("can have a passphrase on the CA's key", async () => {
      const asked = lines("authority")
        .replace("-nodes -days 3650", "-passout pass:secret -days 3650")
        .replace("-CAkey ca-key.pem", "-CAkey ca-key.pem -passin pass:secret");
      const folder = place.enter("locked");
      await inFolder(folder, "authority", asked);
      expect(pem(folder, "ca-key.pem")).toMatch(/^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
      expect(pem(folder, "server.pem")).toMatch(/^-----BEGIN CERTIFICATE-----/);
    });

    test("last as long as the page says", async () => {
      const shown = await inFolder(laptop, "dates");
      expect(shown).toContain("Certificate will not expire");
      const end = Date.parse(/notAfter=(.*)/.exec(shown)?.[1] ?? "");
      expect((end - Date.now()) / 86_400_000).toBeCloseTo(825, 0);
      const late = lines("dates").replace("2592000", String(826 * 86_400));
      expect((await place.run(late)).code).toBe(1);
    });

    test("a renewed client certificate belongs to the same key", async () => {
      const before = pem(certs, "client.pem");
      await inFolder(laptop, "renew-client");
      copyFileSync(join(laptop, "client.csr"), join(ca, "client.csr"));
      await inFolder(ca, "sign");
      copyFileSync(join(ca, "client.pem"), join(certs, "client.pem"));
      expect(pem(certs, "client.pem")).not.toBe(before);
      await served(async (url) => expect((await asks(url)).answer).toEqual({ running: [] }));
    });

    test("a renewed server certificate is trusted as before", async () => {
      const before = pem(ca, "server.pem");
      await inFolder(ca, "renew-server");
      expect(pem(ca, "server.pem")).not.toBe(before);
      await served(async (url) => expect((await asks(url)).answer).toEqual({ running: [] }));
    });

    test("with both CAs in one file, old and new certificates work until all are new", async () => {
      const folder = place.enter("both");
      for (const name of ["old", "new"]) mkdirSync(join(folder, name));
      await inFolder(join(folder, "new"), "authority");
      copyFileSync(join(ca, "root-ca.pem"), join(folder, "old/root-ca.pem"));
      await inFolder(folder, "both");
      const both = pem(folder, "root-ca.pem");
      for (const name of ["client.pem", "client-key.pem"])
        copyFileSync(join(certs, name), join(folder, name));
      for (const server of [ca, join(folder, "new")]) {
        await served(async (url) => expect((await asks(url, folder)).answer).toEqual({ running: [] }), {
          server,
          clients: both,
        });
      }
      await served(
        async (url) => {
          await expect(asks(url)).rejects.toThrow("is not signed by the CA in");
        },
        { server: join(folder, "new"), clients: both },
      );
    });

    /** A real Caddy that lets in the clients of these CAs, while `body` asks through it. */
    async function throughCaddy(
      { program, file, line }: (typeof CADDYS)[number],
      trusted: string,
      body: (url: string) => Promise<void>,
    ): Promise<void> {
      const standIn = await startSim({ config: CONFIG, tls: "none" });
      const port = await freePort();
      const text = withOwn(docsBlock("caddy.md", file), { [line]: trusted.trim() })
        .replace("ai.example.org {", `https://localhost:${port} {`)
        .replaceAll("/etc/caddy/certs", ca)
        .replace("192.168.2.3:8080", new URL(standIn.url).host);
      const caddy = await runCaddy(program, text, port);
      try {
        await body(`https://localhost:${port}`);
      } finally {
        await caddy.stop();
        await standIn.close();
      }
    }

    test.each(CADDYS.filter(({ program }) => isInstalled(program)))(
      "with one CA for each device, one of them can be shut out ($program)",
      async (caddy) => {
        const folder = place.enter(`devices-${caddy.program}`);
        await inFolder(folder, "device");
        for (const device of ["laptop", "phone"]) {
          const own = join(folder, device);
          await inFolder(own, "client");
          await inFolder(own, "sign", withOwn(lines("sign"), { "root-ca.pem": "ca.pem" }));
          writeFileSync(join(own, "root-ca.pem"), pem(ca, "root-ca.pem"));
          copyFileSync(join(own, "ca.pem"), join(ca, `${device}-ca.pem`));
        }
        const [ours, lost] = [join(folder, "laptop"), join(folder, "phone")];
        const both = docsBlock("certificates.md", caddy.devices);
        await throughCaddy(caddy, both, async (url) => {
          expect((await asks(url, ours)).answer).toEqual({ running: [] });
          expect((await asks(url, lost)).answer).toEqual({ running: [] });
          await expect(asks(url)).rejects.toThrow(REFUSED);
        });
        const one = both.replace(/(\n\t*trusted_ca_cert_file)? \S*phone-ca\.pem/, "");
        expect(one).not.toContain("phone");
        await throughCaddy(caddy, one, async (url) => {
          expect((await asks(url, ours)).answer).toEqual({ running: [] });
          await expect(asks(url, lost)).rejects.toThrow(REFUSED);
        });
      },
    );
  },
);
