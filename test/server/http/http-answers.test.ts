import { setTimeout as setTimeoutPromise } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Http } from "../../../server/http/http.ts";
import { httpPlace } from "../../support/http-place.ts";
import { silentServer } from "../../support/network.ts";
import { faultOf, httpsServer, kept, pair, type WireServer } from "../../support/wire.ts";

const { folder, client, sim, simClient, get } = httpPlace();

describe("an answer", () => {
  const answering = async (
    status: number,
    body: string,
    headers: Record<string, string> = {},
  ): Promise<Http> =>
    client(
      await kept(
        httpsServer(pair(folder), (_, response) => {
          response.writeHead(status, headers);
          response.end(body);
        }),
      ),
    );

  test.each([301, 302, 303, 307, 308])("with the redirect %d is not followed", async (status) => {
    const paths: unknown[] = [];
    const server = await kept(
      httpsServer(pair(folder), (request, response) => {
        paths.push(request.url);
        response.writeHead(status, { location: "/elsewhere" });
        response.end();
      }),
    );
    const { message, link } = await faultOf(get(await client(server)));
    expect(message).toBe(
      "The server answers /running with a redirect, which this extension does not follow. Set AI_SERVER_URL to its target.",
    );
    expect([link, paths]).toEqual(["Caddy", ["/running"]]);
  });

  test.each(["<!doctype html><title>Caddy</title>", "", "{", "nul"])(
    "that is %j is not JSON",
    async (body) => {
      const { message, link } = await faultOf(get(await answering(200, body)));
      expect(message).toBe(
        "The server's answer to /running is not JSON. Check that AI_SERVER_URL leads to the model server.",
      );
      expect(link).toBe("server");
    },
  );

  test("of a failure that is all angle brackets is read once, not once for each", async () => {
    const http = await answering(500, "<".repeat(100_000));
    const begun = performance.now();
    expect((await faultOf(get(http))).message).toContain("HTTP 500");
    expect(performance.now() - begun).toBeLessThan(5000);
  });

  test.each([
    [401, "server", "The server demands an API key, and the one in AI_SERVER_API_KEY is missing or wrong."],
    [403, "Caddy", "Caddy denies access to this client (HTTP 403)."],
    [
      404,
      "server",
      "The server does not know /running (HTTP 404). Check AI_SERVER_URL and its path, and that Caddy passes this route on.",
    ],
    [
      502,
      "server",
      "Caddy answers, but the model server behind it does not (HTTP 502). It may be stopped or restarting.",
    ],
  ])("with the status %d", async (status, link, message) => {
    expect(await faultOf(get(await answering(status, "")))).toMatchObject({ link, message, status });
  });

  test("is quoted without terminal control", async () => {
    const body = JSON.stringify({ error: { message: "\u001b[31mno\u001b]0;x\u0007\nlines" } });
    const { message } = await faultOf(get(await answering(403, body)));
    expect(message).toBe("Caddy denies access to this client (HTTP 403). It says: no\nlines");
  });

  test("without an end is read to a bound, and its connection closed", async () => {
    let written = 0;
    let closed = (): void => {};
    const isClosed = new Promise<void>((resolve) => {
      closed = resolve;
    });
    const server = await kept(
      httpsServer(pair(folder), (_, response) => {
        const piece = `"${"x".repeat(65_534)}`;
        response.on("close", closed);
        const write = (): void => {
          while (!response.destroyed && written < 1e9) {
            written += piece.length;
            if (!response.write(piece)) break;
          }
        };
        response.on("drain", write);
        write();
      }),
    );
    expect((await faultOf(get(await client(server)))).message).toContain("is not JSON");
    await isClosed;
    expect(written).toBeLessThan(64 * 1024 * 1024);
  });

  test("in thousands of pieces comes whole, and in far fewer where it is for a terminal", async () => {
    const pieces = Array.from({ length: 4000 }, (_, at) => `data: ${at}\n\n`);
    const server = await kept(
      httpsServer(pair(folder), (_, response) => {
        const [...rest] = pieces;
        const write = (): void => {
          const piece = rest.shift();
          if (piece === undefined) response.end();
          else response.write(piece, write);
        };
        write();
      }),
    );
    const http = await client(server);
    const { body } = await http.request({ method: "GET", path: "/", isPaced: true });
    const reads: Uint8Array[] = [];
    for await (const read of body) reads.push(read);
    expect(Buffer.concat(reads).toString()).toBe(pieces.join(""));
    expect(reads.length).toBeLessThan(pieces.length / 2);
  });

  test("that never comes ends the wait with a sentence about llama-swap", async () => {
    const server = await kept(httpsServer(pair(folder), () => {}));
    const http = await client(server);
    const { message, link, remedy } = await faultOf(http.json("/running", { timeoutMs: 300 }));
    expect(message).toBe(
      "The server did not answer /running within 1 s (timed out). It may be busy or stuck.",
    );
    expect([link, remedy]).toEqual(["server", "retry"]);
  });

  test("whose body stops ends the wait too", async () => {
    const server = await kept(httpsServer(pair(folder), (_, response) => response.write("{")));
    const http = await client(server);
    expect((await faultOf(http.json("/running", { timeoutMs: 300 }))).message).toContain("timed out");
  });
});

describe("abort", () => {
  const hanging = (): Promise<WireServer> =>
    kept(
      httpsServer(pair(folder), (request, response) => {
        if (request.url === "/body") response.write("{");
        if (request.url === "/ok") response.end("{}");
      }),
    );

  test.each(["/none", "/body"])("ends the wait for %s with the signal's reason", async (path) => {
    const http = await client(await hanging());
    const reason = new Error("enough");
    const abort = new AbortController();
    const answer = http.json(path, { signal: abort.signal, timeoutMs: 10_000 });
    setTimeout(() => abort.abort(reason), 50);
    await expect(answer).rejects.toBe(reason);
    expect(await get(http, "/ok")).toEqual({});
  });

  test("ends the wait while the connection is still being made", async () => {
    const silent = await silentServer();
    onTestFinished(() => silent.stop());
    const http = await client({ url: `https://127.0.0.1:${silent.port}` });
    const reason = new Error("enough");
    const abort = new AbortController();
    const answer = http.request({ method: "GET", path: "/running", signal: abort.signal });
    await expect.poll(() => silent.connections()).toBe(1);
    abort.abort(reason);
    const first = await Promise.race([
      answer.catch((error: unknown) => error),
      setTimeoutPromise(5000, "late"),
    ]);
    expect(first).toBe(reason);
  });

  test("before the request sends nothing", async () => {
    const server = await sim();
    const http = await simClient(server);
    const reason = new Error("never");
    await expect(
      http.json("/running", { signal: AbortSignal.abort(reason), timeoutMs: 10_000 }),
    ).rejects.toBe(reason);
    expect(server.requests).toEqual([]);
  });
});

describe("close", () => {
  test("may be called before, after and twice, and the next request opens again", async () => {
    const server = await sim();
    const http = await simClient(server);
    await http.close();
    await get(http);
    await Promise.all([http.close(), http.close()]);
    await http.close();
    expect(await get(http)).toEqual({ running: [] });
    expect(server.handshakes.total).toBe(2);
  });

  test("ends running requests, with a sentence", async () => {
    const server = await kept(httpsServer(pair(folder), () => {}));
    const http = await client(server);
    const answer = faultOf(get(http));
    await expect.poll(() => server.handshakes.total).toBe(1);
    await http.close();
    expect((await answer).message).toMatch(/^The connection to 127\.0\.0\.1:\d+ failed/);
  });

  test("leaves a request that came meanwhile its connection", async () => {
    const server = await sim();
    const http = await simClient(server);
    await get(http);
    const closing = http.close();
    const answer = get(http);
    await closing;
    expect(await answer).toEqual({ running: [] });
    await http.close();
    await expect.poll(() => server.connections).toBe(0);
  });
});

describe("retire", () => {
  test("leaves no connection open, not even of a request that comes after it", async () => {
    const server = await sim();
    const http = await simClient(server);
    await get(http);
    await http.retire();
    await expect.poll(() => server.connections).toBe(0);
    expect(await get(http)).toEqual({ running: [] });
    await expect.poll(() => server.connections).toBe(0);
  });
});
