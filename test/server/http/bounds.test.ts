import { once } from "node:events";
import type { RequestListener } from "node:http";
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { restoredModels, toServedModels } from "../../../provider/pi-models.ts";
import { readText } from "../../../server/http/http.ts";
import { ModelServer } from "../../../server/model-server.ts";
import { httpPlace } from "../../support/http-place.ts";
import { clientOf, faultOf, httpsServer, kept, pair } from "../../support/wire.ts";

const { folder, client, get } = httpPlace();

const KEY = "lab-7Fq2/Zx+9w";

const serving = async (answer: RequestListener, env = {}): Promise<ModelServer> => {
  const { url } = await kept(httpsServer(pair(folder), answer));
  return kept(new ModelServer(clientOf(url, folder, env)));
};

/** A llama-swap that lists this and runs that. */
const swap = (data: unknown[], running: unknown[] = []): Promise<ModelServer> =>
  serving(({ url }, response) => {
    response.end(JSON.stringify(url === "/running" ? { running } : url === "/v1/models" ? { data } : {}));
  });

describe("a list of models", () => {
  test("of 20,000 is cut, and the user is warned", async () => {
    const server = await swap(Array.from({ length: 20_000 }, (_, at) => ({ id: `m${at}`, object: "model" })));
    const found = await server.discover(new Map());
    expect(found.map(({ id }) => id)).toEqual(Array.from({ length: 1000 }, (_, at) => `m${at}`));
    expect(server.tooMany[0]).toBe(
      "The server lists 20000 models. The first 1000 are kept, and 19000 left out: list fewer in its configuration.",
    );
    const stored = toServedModels(found, server.config);
    expect(JSON.stringify(stored).length).toBeLessThan(2_000_000);
  });

  test("of 1,000 is kept whole, without a warning", async () => {
    const server = await swap(Array.from({ length: 1000 }, (_, at) => ({ id: `m${at}` })));
    expect(await server.discover(new Map())).toHaveLength(1000);
    expect(server.tooMany).toEqual([]);
  });

  test("that an earlier version has stored whole is cut when it is read", async () => {
    const [model] = toServedModels(await (await swap([{ id: "m" }])).discover(new Map()), {
      origin: "https://h",
      basePath: "",
    });
    const stored = Array.from({ length: 90_000 }, (_, at) => ({ ...model, id: `m${at}` }));
    expect(restoredModels(stored, "https://h")).toHaveLength(1000);
  });

  test("with half a letter in an id leaves that model out", async () => {
    const server = await serving(({ url }, response) =>
      response.end(
        url === "/running" ? '{"running":[]}' : '{"data":[{"id":"a\\ud83d"},{"id":"b\\ud83d\\ude00"}]}',
      ),
    );
    expect((await server.discover(new Map())).map(({ id }) => id)).toEqual(["b😀"]);
  });
});

describe("an answer that is compressed though none was asked for", () => {
  const body = JSON.stringify({ running: [] });
  test.each([
    ["gzip", gzipSync(body)],
    ["x-gzip", gzipSync(body)],
    ["deflate", deflateSync(body)],
    ["br", brotliCompressSync(body)],
    ["zstd", zstdCompressSync(body)],
    ["gzip, br", brotliCompressSync(gzipSync(body))],
    ["identity", Buffer.from(body)],
  ])("%s is unpacked", async (encoding, bytes) => {
    const { http } = await serving((_, response) => {
      response.writeHead(200, { "content-encoding": encoding });
      response.end(bytes);
    });
    expect(await get(http)).toEqual({ running: [] });
  });

  test("an error is unpacked too, and the key in it blanked", async () => {
    const { http } = await serving(
      (_, response) => {
        response.writeHead(400, { "content-encoding": "gzip" });
        response.end(gzipSync(JSON.stringify({ error: `no ${KEY}` })));
      },
      { AI_SERVER_API_KEY: KEY },
    );
    expect((await faultOf(get(http))).message).toBe(
      "The server refused the request (HTTP 400). It says: no ••••",
    );
  });

  test("what cannot be unpacked is reported as such, and not tried again", async () => {
    const { http, config } = await serving((_, response) => {
      response.writeHead(200, { "content-encoding": "gzip" });
      response.end("no gzip at all");
    });
    const { message, remedy } = await faultOf(get(http));
    const host = new URL(config.origin).host;
    expect([message, remedy]).toEqual([
      `An answer of ${host} is marked as compressed, but cannot be unpacked. Turn the compression off (encode in the Caddyfile), or update the proxy.`,
      "none",
    ]);
  });

  test("an unknown encoding is named", async () => {
    const { http } = await serving((_, response) => {
      response.writeHead(200, { "content-encoding": "compress" });
      response.end("x");
    });
    expect((await faultOf(get(http))).message).toBe(
      "The server's answer is compressed in a way that the request did not allow and cannot be read (content-encoding: compress). Turn the compression off (encode in the Caddyfile).",
    );
  });

  test("no more is unpacked than is read", async () => {
    const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
    const { http } = await serving((_, response) => {
      response.writeHead(200, { "content-encoding": "gzip" });
      response.end(bomb);
    });
    const before = process.memoryUsage().rss;
    const { body } = await http.request({ method: "GET", path: "/x" });
    expect((await readText(body, 1000)).length).toBe(1000);
    expect(process.memoryUsage().rss - before).toBeLessThan(32 * 1024 * 1024);
  });
});

test("the key is blanked in what an error says before anything is made of it", async () => {
  const { http } = await serving(
    ({ headers }, response) => {
      response.writeHead(400);
      response.end(
        JSON.stringify({ error: { message: `got ${headers.authorization}` } }).replaceAll("/", "\\/"),
      );
    },
    { AI_SERVER_API_KEY: KEY },
  );
  const { body, status } = await http.request({ method: "GET", path: "/x" });
  expect([status, JSON.parse(await readText(body, 1000))]).toEqual([
    400,
    { error: { message: "got Bearer ••••" } },
  ]);
});

test("an error that is not read does not keep its connection", async () => {
  let closed: Promise<unknown> = Promise.reject(new Error("no request came"));
  closed.catch(() => {});
  const server = await kept(
    httpsServer(pair(folder), (_, response) => {
      closed = once(response, "close");
      response.writeHead(400);
      response.write("x".repeat(1000));
    }),
  );
  const http = await client(server, { AI_SERVER_API_KEY: KEY });
  const { body } = await http.request({ method: "GET", path: "/x" });
  body.destroy();
  await closed;
  await http.close();
});

test("an error body that is nested 100,000 deep is a sentence", async () => {
  const deep = `{"error":${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}}`;
  const { http } = await serving((_, response) => {
    response.writeHead(500);
    response.end(deep);
  });
  expect((await faultOf(get(http))).message).toMatch(/^The server failed \(server error, HTTP 500\)/);
});
