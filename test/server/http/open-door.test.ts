import type { RequestListener } from "node:http";
import { describe, expect, test } from "vitest";
import { ModelServer } from "../../../server/model-server.ts";
import { startSim } from "../../../sim/server.ts";
import { CONFIG, httpPlace } from "../../support/http-place.ts";
import { clientOf, httpsServer, kept, pair, tlsServer } from "../../support/wire.ts";

const { folder } = httpPlace();
const never = new AbortController().signal;

interface Seen {
  server: ModelServer;
  /** Path and headers of every request. */
  asked: [string | undefined, Record<string, unknown>][];
}

async function doorOf(answer: RequestListener, env = {}, options = {}): Promise<Seen> {
  const asked: Seen["asked"] = [];
  const { url } = await kept(
    httpsServer({ ...pair(folder), ...options }, (request, response) => {
      asked.push([request.url, request.headers]);
      answer(request, response);
    }),
  );
  return { server: await kept(new ModelServer(clientOf(url, folder, env))), asked };
}

const status =
  (code: number): RequestListener =>
  (_, response) => {
    response.writeHead(code);
    response.end();
  };

const open = ({ server }: Seen, who = "anyone who can reach it can use it"): string[] => [
  `${server.config.origin} asks for no client certificate: ${who}. Demand one with client_auth in the tls block of the Caddyfile, as docs/caddy.md shows.`,
];

describe("a server that asks for no client certificate is reported", () => {
  test.each([[200], [204], [404], [405]])("where it answers %d", async (code) => {
    const seen = await doorOf(status(code));
    expect(await seen.server.openDoor.warnings(never)).toEqual(open(seen));
  });

  test("also where it speaks TLS 1.2 alone", async () => {
    const seen = await doorOf(status(200), {}, { maxVersion: "TLSv1.2" });
    expect(await seen.server.openDoor.warnings(never)).toEqual(open(seen));
  });

  test.each([
    ["which it demands", 401, {}],
    ["which is set here", 200, { AI_SERVER_API_KEY: "lab-7Fq2" }],
  ])("with its API key, %s", async (_, code, env) => {
    const seen = await doorOf(status(code), env);
    expect(await seen.server.openDoor.warnings(never)).toEqual(
      open(seen, "only its API key keeps others out"),
    );
  });

  test("after one request, which carries no key and loads nothing, however often it is asked for", async () => {
    const seen = await doorOf(status(200), { AI_SERVER_API_KEY: "lab-7Fq2" });
    const { openDoor } = seen.server;
    await Promise.all([openDoor.warnings(never), openDoor.warnings(never)]);
    await openDoor.warnings(never);
    expect(seen.asked.map(([path]) => path)).toEqual(["/health"]);
    expect(seen.asked[0]?.[1].authorization).toBeUndefined();
  });

  test("below the path of AI_SERVER_URL", async () => {
    const seen = await doorOf(status(200));
    const below = await kept(new ModelServer({ ...seen.server.config, basePath: "/llm" }));
    await below.openDoor.warnings(never);
    expect(seen.asked.map(([path]) => path)).toEqual(["/llm/health"]);
  });

  test("by the stand-in, where nothing is loaded by it", async () => {
    const sim = await kept(startSim({ config: CONFIG, tls: "server" }));
    const server = await kept(new ModelServer(clientOf(sim.url, sim.certsDir)));
    expect(await server.openDoor.warnings(never)).toHaveLength(1);
    expect(await server.running()).toEqual([]);
  });
});

describe("a door that is shut, or that gives no answer, is not reported", () => {
  test("mutual TLS", async () => {
    const sim = await kept(startSim({ config: CONFIG }));
    const server = await kept(new ModelServer(clientOf(sim.url, sim.certsDir)));
    expect(await server.openDoor.warnings(never)).toEqual([]);
    expect(sim.requests).toEqual([]);
  });

  test("plain HTTP", async () => {
    const sim = await kept(startSim({ config: CONFIG, tls: "none" }));
    const server = await kept(new ModelServer(clientOf(sim.url, folder)));
    expect(await server.openDoor.warnings(never)).toEqual([]);
    expect(sim.requests).toEqual([]);
  });

  test.each([
    ["that it does not let in after the handshake", 403],
    ["nginx, which says so with 400", 400],
    ["another sign-in", 302],
    ["another name", 421],
    ["a proxy whose server is stopped", 502],
  ])("%s: %d", async (_, code) => {
    const { server } = await doorOf(status(code));
    expect(await server.openDoor.warnings(never)).toEqual([]);
  });

  test("one that says nothing, when the session ends; it is looked at again in the next", async () => {
    let ended = new AbortController();
    let looks = 0;
    const silent = tlsServer(pair(folder), () => {
      looks += 1;
      ended.abort();
    });
    const { url } = await kept(silent);
    const server = await kept(new ModelServer(clientOf(url, folder)));
    expect(await server.openDoor.warnings(ended.signal)).toEqual([]);
    ended = new AbortController();
    expect([await server.openDoor.warnings(ended.signal), looks]).toEqual([[], 2]);
  });
});
