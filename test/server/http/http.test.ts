import { createSecureServer } from "node:http2";
import { getGlobalDispatcher } from "undici";
import { describe, expect, test } from "vitest";
import { readConfig } from "../../../config.ts";
import { ServerError } from "../../../lib/errors.ts";
import { Http, readText } from "../../../server/http/http.ts";
import { startSim } from "../../../sim/server.ts";
import { CONFIG, httpPlace } from "../../support/http-place.ts";
import { listen } from "../../support/network.ts";
import { faultOf, httpsServer, kept, pair, tlsServer, type WireServer } from "../../support/wire.ts";

const { folder, client, sim, simClient, get } = httpPlace();

/** Raw HTTP over TLS: what it got, request by request, and an answer for each by its number from 1 on. */
async function rawServer(
  answer: (nth: number) => string | { begin?: string; thenClose: true },
): Promise<WireServer & { heard: string[] }> {
  const heard: string[] = [];
  const server = await kept(
    tlsServer(pair(folder), (socket) => {
      socket.on("data", (bytes) => {
        heard.push(bytes.toString("latin1"));
        const reply = answer(heard.length);
        if (typeof reply === "string") socket.write(reply);
        else if (reply.begin === undefined) socket.destroy();
        else socket.write(reply.begin, () => socket.destroy());
      });
    }),
  );
  return { ...server, heard };
}

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

describe("a connection", () => {
  test("is kept: many requests, one handshake", async () => {
    const server = await sim();
    const http = await simClient(server);
    for (let round = 0; round < 12; round++) expect(await get(http)).toEqual({ running: [] });
    expect(server.handshakes).toEqual({ total: 1, resumed: 0, failed: 0 });
    expect(server.requests).toHaveLength(12);
  });

  test("is opened as often as requests run side by side", async () => {
    const server = await sim();
    const http = await simClient(server);
    await Promise.all(Array.from({ length: 5 }, () => get(http)));
    expect(server.handshakes.total).toBeLessThanOrEqual(5);
    expect(server.requests).toHaveLength(5);
  });

  test.each(["TLSv1.3", "TLSv1.2"] as const)(
    "resumes its %s session after the server closed it",
    async (version) => {
      const server = await kept(
        httpsServer(
          { ...pair(folder), requestCert: true, minVersion: version, maxVersion: version },
          (_, response) => response.end("{}"),
        ),
      );
      const http = await client(server);
      for (let round = 0; round < 3; round++) {
        await get(http);
        await get(http);
        server.dropConnections();
      }
      expect(server.handshakes).toMatchObject({ total: 3, resumed: 2 });
    },
  );

  test("speaks HTTP/1.1 also where the server would speak HTTP/2", async () => {
    const protocols: unknown[] = [];
    const server = createSecureServer({ ...pair(folder), allowHTTP1: true }, (request, response) => {
      protocols.push(request.httpVersion);
      response.end("{}");
    });
    const port = await listen(server);
    await kept({ close: async () => server.close() });
    await get(await client({ url: `https://127.0.0.1:${port}` }));
    expect(protocols).toEqual(["1.1"]);
  });

  test("presents the client certificate and trusts the given CA alone", async () => {
    const presented: unknown[] = [];
    const server = await kept(
      tlsServer({ ...pair(folder), requestCert: true }, (socket) => {
        presented.push(socket.getPeerCertificate().subject.CN);
        socket.once("data", () => socket.end(OK));
      }),
    );
    await get(await client(server));
    expect(presented).toEqual(["client"]);
    const other = await client(server, { AI_SERVER_CA: "other-ca.pem" });
    expect((await faultOf(get(other))).message).toMatch(/is not signed by the CA in/);
    expect(presented).toHaveLength(1);
  });

  test("touches no global dispatcher and heeds no proxy variable", async () => {
    const names = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    const before = getGlobalDispatcher();
    const server = await sim();
    for (const name of names) process.env[name] = "http://127.0.0.1:9";
    try {
      expect(await get(await simClient(server))).toEqual({ running: [] });
    } finally {
      for (const name of names) delete process.env[name];
    }
    expect(getGlobalDispatcher()).toBe(before);
  });
});

describe("a request", () => {
  test("carries no Authorization unless a key is set", async () => {
    const server = await sim();
    await get(await simClient(server));
    await get(await simClient(server, { AI_SERVER_API_KEY: "sk-1" }));
    expect(server.requests.map(({ headers }) => headers.authorization)).toEqual([undefined, "Bearer sk-1"]);
  });

  test("keeps the path of the address before its own", async () => {
    const paths: unknown[] = [];
    const server = await kept(
      httpsServer(pair(folder), (request, response) => {
        paths.push(request.url);
        response.end("{}");
      }),
    );
    await get(await client({ url: `${server.url}/llm/a%20b/` }), "/upstream/org%2Fx/props?y=1");
    expect(paths).toEqual(["/llm/a%20b/upstream/org%2Fx/props?y=1"]);
  });

  test("has a JSON body's type, and every header that is asked for", async () => {
    const server = await sim();
    const http = await simClient(server);
    const { status, headers, body } = await http.request({
      method: "POST",
      path: "/api/models/unload",
      body: "{}",
      headers: { "x-session-id": "s" },
    });
    expect(status).toBe(200);
    expect(headers["content-type"]).toContain("application/json");
    expect(JSON.parse(await readText(body, 1000))).toEqual({ msg: "ok" });
    expect(server.requests[0]).toMatchObject({
      method: "POST",
      body: "{}",
      headers: { "content-type": "application/json", "x-session-id": "s" },
    });
  });

  test("names the session, unless it names one itself or the session's id cannot stand in a header", async () => {
    const server = await kept(startSim({ config: CONFIG, tls: "none" }));
    let session: string | undefined = "mine";
    let answers = 0;
    const http = new Http(readConfig({ AI_SERVER_URL: server.url }, {}, "/nowhere"), Date.now, () => ({
      session,
      sawHeaders: () => {
        answers += 1;
      },
    }));
    const ask = async (headers: Record<string, string> = {}): Promise<void> => {
      const { body } = await http.request({ method: "GET", path: "/running", headers });
      await readText(body, 1000);
    };
    await ask();
    await ask({ "x-session-id": "other" });
    session = "a\r\nX-Evil: 1";
    await ask();
    session = undefined;
    await ask();
    expect(server.requests.map(({ headers }) => headers["x-session-id"])).toEqual([
      "mine",
      "other",
      undefined,
      undefined,
    ]);
    // The first and the last were of the session.
    expect(answers).toBe(2);
    await http.close();
  });

  test("with a line break in a header is not sent", async () => {
    const server = await sim();
    const http = await simClient(server);
    const evil = http.request({
      method: "GET",
      path: "/running",
      headers: { "x-session-id": "a\r\nX-Evil: 1" },
    });
    await expect(evil).rejects.toThrow(ServerError);
    expect(server.requests).toEqual([]);
    expect(await get(http)).toEqual({ running: [] });
  });

  test("uses plain HTTP to this machine, without any certificate", async () => {
    const server = await kept(startSim({ config: CONFIG, tls: "none" }));
    const http = await client(server, {}, "/nowhere");
    expect(await get(http)).toEqual({ running: [] });
    expect(await http.identity()).toBeUndefined();
  });
});

describe("a connection that the server closes when the next request comes", () => {
  test("is replaced and the request sent again once", async () => {
    const server = await rawServer((nth) => (nth === 2 ? { thenClose: true } : OK));
    const http = await client(server);
    await get(http, "/1");
    await get(http, "/2");
    expect(server.heard.map((text) => text.split(" ")[1])).toEqual(["/1", "/2", "/2"]);
    expect(server.handshakes.total).toBe(2);
  });

  test("a POST too", async () => {
    const server = await rawServer((nth) => (nth === 2 ? { thenClose: true } : OK));
    const http = await client(server);
    await get(http, "/1");
    const { status, body } = await http.request({ method: "POST", path: "/2", body: "{}" });
    expect([status, await readText(body, 10)]).toEqual([200, "{}"]);
    expect(server.heard).toHaveLength(3);
  });

  test("but not a second time", async () => {
    const server = await rawServer((nth) => (nth === 1 ? OK : { thenClose: true }));
    const http = await client(server);
    await get(http, "/1");
    const { message, link, remedy } = await faultOf(get(http, "/2"));
    expect(message).toBe(
      `127.0.0.1:${server.port} closed the connection before it answered (connection error). Caddy or the network ended it.`,
    );
    expect([link, remedy]).toEqual(["Caddy", "retry"]);
    expect(server.heard.map((text) => text.split(" ")[1])).toEqual(["/1", "/2", "/2"]);
  });

  test.each([
    ["the first bytes of a status line", "HTTP/1"],
    ["a status line", "HTTP/1.1 200 OK\r\n"],
    ["half of the headers", "HTTP/1.1 200 OK\r\nContent-Le"],
    ["an interim answer", "HTTP/1.1 102 Processing\r\n\r\n"],
  ])("not when %s came", async (_, begin) => {
    const server = await rawServer((nth) => (nth === 1 ? OK : { begin, thenClose: true }));
    const http = await client(server);
    await get(http, "/1");
    await expect(get(http, "/2")).rejects.toThrow(ServerError);
    expect(server.heard.map((text) => text.split(" ")[1])).toEqual(["/1", "/2"]);
  });

  test("not when the answer had begun", async () => {
    const begin = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{";
    const server = await rawServer((nth) => (nth === 1 ? OK : { begin, thenClose: true }));
    const http = await client(server);
    await get(http, "/1");
    await expect(get(http, "/2")).rejects.toThrow(ServerError);
    expect(server.heard).toHaveLength(2);
  });
});
