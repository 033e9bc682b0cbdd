import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { readText } from "../../../server/http/http.ts";
import { startSim } from "../../../sim/server.ts";
import { byPath, cannedServer } from "../../support/canned.ts";
import { eventually } from "../../support/sim-client.ts";
import { httpFor, kept } from "../../support/wire.ts";

const LIMITS = { timeoutMs: 5000 };

describe("connections that are renewed", () => {
  test("are new for every request from then on, while the old ones end what they carry", async () => {
    let finish = (): void => {};
    const { swap, connections, requests } = await cannedServer((request, response) => {
      if (request.url !== "/stream") return byPath({ "/a": {} })(request, response);
      response.write("one ");
      finish = () => response.end("two");
    });
    const { http } = swap;
    const { body } = await http.request({ method: "GET", path: "/stream" });
    await http.json("/a", LIMITS);
    expect(connections()).toBe(2);
    await http.renew();
    await eventually(() => expect(connections()).toBe(1));
    await http.json("/a", LIMITS);
    expect(connections()).toBe(2);
    finish();
    expect(await readText(body, 1000)).toBe("one two");
    await eventually(() => expect(connections()).toBe(1));
    await http.json("/a", LIMITS);
    expect([connections(), requests.length]).toEqual([1, 4]);
  });

  test("take the second try of a request whose old connection is lost", async () => {
    let lose = (): void => {};
    const { swap, requests } = await cannedServer((request, response) => {
      const isFirst = request.url === "/b" && !requests.slice(0, -1).includes("GET /b");
      if (isFirst) lose = () => request.socket.destroy();
      else byPath({ "/a": {}, "/b": { second: true } })(request, response);
    });
    const { http } = swap;
    await http.json("/a", LIMITS);
    // The connection is free again a moment after its answer was read.
    await new Promise(setImmediate);
    const answer = http.json("/b", LIMITS);
    await eventually(() => expect(requests).toContain("GET /b"));
    await http.renew();
    lose();
    expect(await answer).toEqual({ second: true });
    expect(requests).toEqual(["GET /a", "GET /b", "GET /b"]);
  });

  test("are empty where nothing was opened", async () => {
    const { swap, connections } = await cannedServer(byPath({}));
    await swap.http.renew();
    expect(connections()).toBe(0);
  });
});

describe("a server that has answered", () => {
  test.each([
    [200, true],
    [404, true],
    [500, true],
    [502, false],
    [503, false],
    [504, false],
  ])("with %i: %s, since the others may be Caddy's own", async (status, hasAnswered) => {
    const { swap } = await cannedServer((_, response) => response.writeHead(status).end("{}"));
    expect(swap.http.hasAnswered).toBe(false);
    await swap.http.json("/a", LIMITS).catch(() => {});
    expect(swap.http.hasAnswered).toBe(hasAnswered);
  });

  test("does not count a connection that hangs up", async () => {
    const { swap } = await cannedServer((request) => request.socket.destroy());
    await swap.http.json("/a", LIMITS).catch(() => {});
    expect(swap.http.hasAnswered).toBe(false);
  });
});

/** Milliseconds until the system asks whether the other end of a connection to this port is there; /proc/net/tcp. */
function probesIn(port: number): number[] {
  const remote = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return readFileSync("/proc/net/tcp", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , other, state, , timer]) => other === remote && state === "01" && timer?.startsWith("02:"))
    .map(([, , , , , timer]) => 10 * Number.parseInt(timer?.slice(3) ?? "", 16));
}

test.runIf(process.platform === "linux").each(["mutual", "none"] as const)(
  "an idle connection (TLS: %s) is probed after 15 s, so that a dead one ends by itself",
  async (tls) => {
    const sim = await kept(startSim({ config: "models: {}", tls }));
    const http = await httpFor(sim, sim.certsDir);
    await http.json("/running", LIMITS);
    const [probe] = await eventually(() => {
      const probes = probesIn(sim.port);
      expect(probes.length).toBeGreaterThan(0);
      return probes;
    });
    expect(probe).toBeGreaterThan(5000);
    expect(probe).toBeLessThanOrEqual(15_100);
  },
);
