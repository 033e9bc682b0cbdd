import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeCertificates } from "../support/certificates.ts";
import { docsBlock, withOwn } from "../support/docs.ts";
import { caddyPlace, runCaddy } from "../support/docs-caddy.ts";
import { DocsPlace } from "../support/docs-place.ts";
import { freePort, listen } from "../support/network.ts";
import { runOk } from "../support/processes.ts";
import { isInstalled, realSuite } from "../support/programs.ts";
import { type StandIn, startStandIn } from "../support/stand-in.ts";

/** The Caddys on which the pages say that a form was run. Debian 12 and 13 have the first. */
const CADDYS = [
  { program: "caddy", own: "caddyfile-2.6", version: /^v?2\.6\./ },
  { program: "caddy-current", own: "caddyfile", version: /^v?2\.(1\d|[89])\./ },
] as const;

const UPSTREAM = "192.168.2.3:8080";
const CERTS = "/etc/caddy/certs";

/** Why this Caddy is not the one that the page names; undefined when it is. */
function problemOf(program: string, version: RegExp): string | undefined {
  const found = isInstalled(program) ? execFileSync(program, ["version"], { encoding: "utf8" }).trim() : "";
  if (version.test(found)) return undefined;
  const source = program === "caddy" ? "caddy of Debian 12 or 13" : "caddy of trixie-backports";
  return `${program} ${found === "" ? "is not installed" : `is ${found}`}; wanted under this name: ${source}`;
}

interface Answer {
  status: number | undefined;
  pieces: string[];
}

for (const { program, own, version } of CADDYS) {
  const problem = problemOf(program, version);

  realSuite(problem, `the documented Caddyfile, with ${program}`, () => {
    let place: DocsPlace;
    let standIn: StandIn;
    let certs: string;

    beforeAll(async () => {
      place = new DocsPlace();
      certs = join(place.home, "certs");
      await writeCertificates(certs);
      standIn = await startStandIn({ tls: "none" });
    });
    afterAll(async () => {
      await standIn.stop();
      place.remove();
    });

    /** A documented file with this test's port, files and upstream. */
    function documented(name: string, port: number, upstream: string): string {
      const site = name === "caddyfile-chat" ? "chat.example.org" : "ai.example.org";
      return withOwn(docsBlock("caddy.md", name), {
        [`${site} {`]: `https://localhost:${port} {`,
        [CERTS]: certs,
        [UPSTREAM]: upstream,
      }).replace("guests-ca.pem", "root-ca.pem");
    }

    async function behind(
      name: string,
      upstream: string,
      body: (ask: ReturnType<typeof asking>) => Promise<void>,
    ) {
      const port = await freePort();
      const caddy = await runCaddy(program, documented(name, port, upstream), port);
      try {
        await body(asking(port));
      } finally {
        await caddy.stop();
      }
    }

    /** One request with the certificate `who`; rejects when the handshake does. */
    const asking =
      (port: number) =>
      (who: string, path: string, options: { body?: string; host?: string; signal?: AbortSignal } = {}) =>
        new Promise<Answer>((resolve, reject) => {
          const pem = (name: string) => readFileSync(join(certs, name));
          const { body, host = `localhost:${port}`, signal } = options;
          const request = httpsRequest(
            {
              host: "127.0.0.1",
              servername: "localhost",
              port,
              path,
              method: body === undefined ? "GET" : "POST",
              headers: { host, "content-type": "application/json" },
              ca: pem("root-ca.pem"),
              agent: false,
              ...(who === "stranger" ? {} : { cert: pem(`${who}.pem`), key: pem(`${who}-key.pem`) }),
              ...(signal ? { signal } : {}),
            },
            (response: IncomingMessage) => {
              const pieces: string[] = [];
              response.on("data", (piece: Buffer) => pieces.push(String(piece)));
              response.on("end", () => resolve({ status: response.statusCode, pieces }));
              response.on("error", reject);
            },
          );
          request.on("error", reject);
          request.end(body);
        });

    const upstreamOf = () => new URL(standIn.url).host;

    test("is valid", async () => {
      const { folder, file, env } = caddyPlace(documented(own, await freePort(), UPSTREAM));
      try {
        const line = withOwn(docsBlock("caddy.md", "validate"), { "/etc/caddy/Caddyfile": file });
        await runOk("sh", ["-c", line.replace(/^caddy /, `${program} `)], { env });
      } finally {
        rmSync(folder, { recursive: true });
      }
    });

    test.each([...new Set([own, "caddyfile-2.6", "caddyfile-public"])])(
      "%s sets no limit to an answer",
      async (name) => {
        const { folder, file, env } = caddyPlace(withOwn(docsBlock("caddy.md", name), { [CERTS]: certs }));
        try {
          const { stdout } = await runOk(program, ["adapt", "--config", file], { env });
          expect(stdout).toContain('"mode":"require_and_verify"');
          expect(stdout).toContain(`"dial":"${UPSTREAM}"`);
          expect(stdout).not.toMatch(/timeout|flush_interval|encode|max_size/);
        } finally {
          rmSync(folder, { recursive: true });
        }
      },
    );

    if (own === "caddyfile") {
      test("the older form is taken too, with a warning", async () => {
        const text = withOwn(docsBlock("caddy.md", "caddyfile-2.6"), { [CERTS]: certs });
        const { folder, file, env } = caddyPlace(text);
        try {
          const { stderr } = await runOk(program, ["adapt", "--config", file], { env });
          expect(stderr).toMatch(/trusted_ca_cert_file.*deprecated/);
        } finally {
          rmSync(folder, { recursive: true });
        }
      });
    }

    test("lets in only clients with a certificate of the CA", async () => {
      await behind(own, upstreamOf(), async (ask) => {
        for (const path of ["/v1/models", "/running", "/api/version"]) {
          expect((await ask("client", path)).status).toBe(200);
        }
        await expect(ask("stranger", "/v1/models")).rejects.toThrow();
        await expect(ask("expired", "/v1/models")).rejects.toThrow();
        await expect(ask("stranger", "/v1/models")).rejects.toThrow();
      });
    });

    test("answers to the name of the handshake and not to an address", async () => {
      await behind(own, upstreamOf(), async (ask) => {
        expect((await ask("client", "/v1/models", { host: "127.0.0.1" })).status).toBe(421);
      });
    });

    test("hands on a stream piece by piece", async () => {
      await behind(own, upstreamOf(), async (ask) => {
        const messages = [{ role: "user", content: "sim: tokens 60" }];
        const body = JSON.stringify({ model: "slow", stream: true, messages });
        const { pieces } = await ask("client", "/v1/chat/completions", { body });
        // Sixty tokens at sixty a second: a proxy that gathered them would hand over one or two pieces.
        expect(pieces.length).toBeGreaterThan(20);
        expect(pieces.join("")).toMatch(/data: \[DONE\]\s+$/);
      });
    });

    test("shows the server that the client has gone while nothing was answered yet", {
      timeout: 20_000,
    }, async () => {
      const gone = new AbortController();
      const server = createServer((_request, response) => {
        response.once("close", () => server.emit("left"));
        gone.abort();
      });
      const left = new Promise((resolve) => server.once("left", resolve));
      await behind(own, `127.0.0.1:${await listen(server)}`, async (ask) => {
        await expect(ask("client", "/v1/models", { signal: gone.signal })).rejects.toThrow(/abort/);
        await left;
      });
      await new Promise((resolve) => server.close(resolve));
    });

    test("the site for guests lets chat through and nothing that administers", async () => {
      await behind("caddyfile-chat", upstreamOf(), async (ask) => {
        const statuses = await Promise.all(
          ["/v1/models", "/running", "/api/version", "/upstream/slow/health", "/logs", "/ui/"].map(
            async (path) => (await ask("client", path)).status,
          ),
        );
        expect(statuses).toEqual([200, 200, 404, 404, 404, 404]);
      });
    });
  });
}

describe("the folders of docker compose", () => {
  test("are there for what it mounts", async () => {
    const place = new DocsPlace();
    try {
      await place.runOk(docsBlock("caddy.md", "compose-folders"));
      // Only this fails where they are missing.
      for (const folder of ["conf/certs", "certs"]) {
        expect(() => mkdirSync(join(place.home, folder))).toThrow("EEXIST");
      }
    } finally {
      place.remove();
    }
  });
});
