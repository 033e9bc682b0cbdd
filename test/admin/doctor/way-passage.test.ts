import { describe, expect, test, vi } from "vitest";
import { aheadMs, clockFinding } from "../../../admin/doctor/way/answer.ts";
import { SIZES, sizeFinding, streamFinding } from "../../../admin/doctor/way/passage.ts";
import { ServerError } from "../../../lib/errors.ts";
import { type BodySizes, tryBodySizes } from "../../../server/http/body-sizes.ts";
import type { HttpRequest, HttpResponse } from "../../../server/http/http.ts";
import { startSim } from "../../../sim/server.ts";
import { CONFIG, httpPlace } from "../../support/http-place.ts";
import { faultyProxy, type ProxyFaults, problems, type Way, wayOf } from "../../support/way-place.ts";
import { kept, pair } from "../../support/wire.ts";

const { folder } = httpPlace();
const MIB = 1024 * 1024;

/** The way to a stand-in of llama-swap through a proxy. */
async function through(faults: ProxyFaults, sizes?: readonly number[]): Promise<Way> {
  const sim = await kept(startSim({ config: CONFIG, tls: "none" }));
  const { url } = await faultyProxy(pair(folder), sim, faults);
  const way = await wayOf({ AI_SERVER_URL: url, AI_SERVER_CERTS_DIR: folder }, sizes && { sizes });
  expect(sim.starts).toEqual({});
  return way;
}

test("a proxy without a fault has nothing wrong", async () => {
  const way = await through({});
  expect(problems(way)).toEqual([]);
  expect(way.found.stream?.verdict).toBe("ok");
});

describe("the clock", () => {
  const shifted = (seconds: number) => (date: Date) => new Date(date.getTime() + seconds * 1000);

  test.each([
    [40, "warning", /^it is (?:3\d|40) s behind the server's/],
    [-40, "warning", /^it is (?:3\d|40) s ahead of the server's/],
    [400, "fault", /^it is 6 min \d+ s behind the server's/],
  ])("of the server is %d s off", async (seconds, verdict, seen) => {
    const way = await through({ date: shifted(seconds) });
    expect(problems(way)).toMatchObject([{ check: "clock", verdict }]);
    expect(way.found.clock?.seen).toMatch(seen);
    expect(way.found.clock?.next).toContain("timedatectl set-ntp true");
  });

  test.each([
    [0, "ok", "it agrees with the server's to the second"],
    [999, "ok", "it agrees with the server's to the second"],
    [-1000, "ok", "it is 1 s ahead of the server's"],
    [30_000, "ok", "it is 30 s behind the server's"],
    [30_001, "warning", "it is 30 s behind the server's; certificates are checked by the clock"],
    [-300_000, "warning", "it is 5 min ahead of the server's; certificates are checked by the clock"],
    [300_001, "fault", "it is 5 min behind the server's; certificates are checked by the clock"],
  ])("%d ms apart is %s", (ahead, verdict, seen) => {
    expect(clockFinding(ahead)).toMatchObject({ verdict, seen });
  });

  test.each([
    ["within the request", 5000, 4500, 5500, 0],
    ["in the second of the request, which the date rounds down", 5000, 5900, 5990, 0],
    ["before the answer that a slow line delivered", 5000, 4000, 60_000, 0],
    ["after the answer was there", 7000, 4000, 5000, 2000],
    ["before the request was sent", 5000, 8000, 9000, -2001],
  ])("a date %s", (_, date, sentAt, receivedAt, ahead) => {
    expect(aheadMs(date, sentAt, receivedAt)).toBe(ahead);
  });
});

describe("streams", () => {
  test("are held back by a proxy", async () => {
    const way = await through({ buffers: true });
    expect(problems(way)).toMatchObject([{ check: "stream", verdict: "warning" }]);
    expect(way.found.stream?.seen).toMatch(
      /^not even the headers within 5\.0 s, though a plain answer took \d+ ms: something on the way holds streams back$/,
    );
    expect(way.found.stream?.next).toContain("docs/caddy.md");
  });

  test("carry a comment", async () => {
    const { found } = await through({ comments: true });
    expect(found["stream-comments"]).toMatchObject({ verdict: "ok", seen: "a comment line has passed" });
  });

  const held = { status: 200, headersMs: 20, firstEventMs: undefined };

  test("whose headers come, but no event", () => {
    expect(streamFinding(held, 20)).toMatchObject({
      verdict: "warning",
      seen: expect.stringContaining("headers, but no event, within 5.0 s, though a plain answer took 20 ms"),
    });
  });

  test("are not judged on a slow line, or where there is none", () => {
    expect(streamFinding(held, 4000)).toMatchObject({
      verdict: "unchecked",
      seen: "headers, but no event, within 5.0 s, but a plain answer took 4.0 s",
    });
    expect(streamFinding({ ...held, status: 404 }, 20)).toMatchObject({ verdict: "unchecked" });
  });
});

describe("large requests", () => {
  test.each([
    [{ bytes: MIB - 1, larger: "413" }, "warning", "a request of 1 MiB does not pass (HTTP 413)"],
    [
      { bytes: 4 * MIB, larger: "413" },
      "warning",
      "a request of 1 MiB passes, one of 8 MiB does not (HTTP 413)",
    ],
    [
      { bytes: 4 * MIB, larger: "cut" },
      "warning",
      "a request of 1 MiB passes, one of 8 MiB does not (the connection is closed)",
    ],
    [{ bytes: 16 * MIB, larger: "413" }, "ok", "a request of 8 MiB passes"],
  ] as const)("are refused beyond %j", async (most, verdict, seen) => {
    const way = await through({ most }, SIZES);
    expect(problems(way).map(({ check }) => check)).toEqual(verdict === "ok" ? [] : ["body-size"]);
    expect(way.found["body-size"]).toMatchObject({ verdict, seen });
    if (verdict === "warning") expect(way.found["body-size"]?.next).toContain("request_body max_size");
  });

  const seen = (found: Partial<BodySizes>): BodySizes => ({
    small: 400,
    passed: undefined,
    refused: undefined,
    isSlow: false,
    ...found,
  });

  test.each([
    [{ passed: 1 * MIB, isSlow: true }, "ok", "a request of 1 MiB passes; the line is too slow to try more"],
    [{ isSlow: true }, "unchecked", "the line is too slow for a large one within 20 s"],
    [{ small: 401 }, "unchecked", "a small request is not read either (HTTP 401)"],
    [{ small: 503 }, "unchecked", "a small request is not read either (HTTP 503)"],
  ])("with %j", (found, verdict, words) => {
    expect(sizeFinding(seen(found))).toMatchObject({ verdict, seen: words });
  });

  const NEVER = new AbortController().signal;
  const answered: HttpResponse = {
    status: 400,
    headers: {},
    body: Object.assign((async function* () {})(), { destroy: () => {} }),
  };
  const sizes = [1000, 8000, 32_000];

  test("are no longer tried when the next would take longer than is left", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    try {
      const asked: number[] = [];
      const request = async ({ body = "" }: HttpRequest): Promise<HttpResponse> => {
        asked.push(body.length);
        vi.advanceTimersByTime(body.length);
        return answered;
      };
      // One millisecond a byte: 8000 of them fit into 10 s after the first 1001, and 32,000 do not.
      const found = await tryBodySizes({ request }, sizes, 10_000, NEVER);
      expect(found).toEqual(seen({ passed: 8000, isSlow: true }));
      expect(asked).toEqual([1, 1000, 8000]);
    } finally {
      vi.useRealTimers();
    }
  });

  /** Answers the small request, and no other. */
  const stuck = ({ body = "", signal }: HttpRequest): Promise<HttpResponse> =>
    body.length === 1
      ? Promise.resolve(answered)
      : new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));

  test("end with their limit", async () => {
    expect(await tryBodySizes({ request: stuck }, sizes, 50, NEVER)).toEqual(seen({ isSlow: true }));
  });

  test("end with the user's signal", async () => {
    const stopped = new AbortController();
    const request = (asked: HttpRequest): Promise<HttpResponse> => {
      if ((asked.body ?? "").length > 1) queueMicrotask(() => stopped.abort(new Error("stopped")));
      return stuck(asked);
    };
    await expect(tryBodySizes({ request }, sizes, 20_000, stopped.signal)).rejects.toThrow("stopped");
  });

  test("whose connection is cut are not tried further", async () => {
    const cut = new ServerError("closed", { link: "Caddy", remedy: "retry" });
    const request = (asked: HttpRequest): Promise<HttpResponse> =>
      (asked.body ?? "").length < 8000 ? Promise.resolve(answered) : Promise.reject(cut);
    expect(await tryBodySizes({ request }, sizes, 20_000, NEVER)).toEqual(
      seen({ passed: 1000, refused: { bytes: 8000, status: undefined } }),
    );
  });
});

describe("quiet connections", () => {
  test("are closed after the first event", async () => {
    const way = await through({ cutsEvents: true });
    expect(problems(way)).toMatchObject([{ check: "idle", verdict: "warning" }]);
    expect(way.found.idle?.seen).toMatch(/^the stream of events was closed after \d\.\d s$/);
  });

  test("have a limit that the server names", async () => {
    const sim = await kept(startSim({ config: CONFIG, keepAliveHint: true, keepAliveTimeoutMs: 90_000 }));
    const way = await wayOf({ AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir });
    expect(problems(way)).toEqual([]);
    expect(way.found.idle).toMatchObject({
      verdict: "ok",
      seen: "the server closes one after 90 s without a request, and says so (Keep-Alive)",
    });
  });
});
