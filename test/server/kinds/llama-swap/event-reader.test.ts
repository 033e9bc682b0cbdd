import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";
import type { EventTargets, RequestInFlight } from "../../../../server/kinds/events.ts";
import { EventReader } from "../../../../server/kinds/llama-swap/events.ts";
import type { ModelState } from "../../../../server/models/models.ts";
import { frame } from "../../../support/canned.ts";

const RECORDING = readFileSync(
  new URL("../../../fixtures/llama-swap-head/events-sample.raw", import.meta.url),
);
const NOW = Date.parse("2026-11-20T15:00:00Z");

interface Heard {
  models: ReadonlyMap<string, ModelState>[];
  requests: (readonly RequestInFlight[])[];
  log: unknown[];
}

function hear(pieces: Iterable<string | Uint8Array>, options: { aheadMs?: number; now?: () => number } = {}) {
  const heard: Heard = { models: [], requests: [], log: [] };
  const targets: EventTargets = {
    onModels: (models) => heard.models.push(models),
    onRequests: (requests) => heard.requests.push(requests),
    onLog: (piece) => heard.log.push(piece),
  };
  const reader = new EventReader(targets, options.now ?? (() => NOW), options.aheadMs ?? 0);
  for (const piece of pieces) reader.push(typeof piece === "string" ? Buffer.from(piece) : piece);
  return heard;
}

const request = (id: string, more: Record<string, unknown> = {}): Record<string, unknown> => ({
  id,
  timestamp: "2026-11-20T14:59:50Z",
  model: "m",
  req_path: "/v1/chat/completions",
  method: "POST",
  ...more,
});

const ids = (heard: Heard): unknown[] => heard.requests.map((requests) => requests.map(({ id }) => id));

describe("the events of a real llama-swap", () => {
  const whole = hear([RECORDING]);

  test("report the state of every model, unlisted ones too", () => {
    const [first, second] = whole.models;
    expect(first?.get("hidden")).toBe("unloaded");
    expect(first?.get("org/slash-model")).toBe("unloaded");
    expect(second?.get("org/slash-model")).toBe("starting");
    expect(whole.models.at(-1)?.size).toBe(first?.size);
    expect(first?.size).toBe(17);
  });

  test("report the requests in flight and their clients", () => {
    expect(whole.requests[0]).toEqual([]);
    expect(whole.requests[1]).toEqual([
      {
        id: "1",
        model: "nope",
        path: "/v1/chat/completions",
        elapsedMs: 0,
        client: { agent: "curl/7.88.1", session: undefined, address: "127.0.0.1" },
      },
    ]);
    expect(whole.requests.at(-1)).toEqual([]);
  });

  test("report the log", () => {
    expect(whole.log[0]).toMatchObject({
      source: "proxy",
      text: expect.stringContaining("[INFO] llama-swap listening on http://127.0.0.1:18090\n"),
    });
  });

  test("are the same, cut at every byte", () => {
    for (let at = 1; at < RECORDING.length; at += 1) {
      const cut = hear([RECORDING.subarray(0, at), RECORDING.subarray(at)]);
      if (!isDeepStrictEqual(cut, whole)) expect(cut, `cut at byte ${at}`).toEqual(whole);
    }
  });

  test("are the same byte by byte, also within a character", () => {
    const text = Buffer.from(frame("logData", { source: "upstream", data: "größer ü 🙂" }));
    const bytes = Buffer.concat([text, RECORDING]);
    expect(hear([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(hear([bytes]));
    expect(hear([bytes]).log[0]).toEqual({ source: "upstream", text: "größer ü 🙂" });
  });
});

describe("requests in flight", () => {
  test("of v192 to v234 are a number, which is not to be relied on", () => {
    expect(hear([frame("inflight", { total: 2 }), frame("inflight", { total: 0 })]).requests).toEqual([]);
  });

  test("of v235 to v239 are a list, whose times are the server's clock", () => {
    const heard = hear(
      [
        frame("inflight", { requests: [request("1"), request("2", { model: "other" })] }),
        frame("inflight", { requests: [] }),
      ],
      { aheadMs: 4000 },
    );
    expect(heard.requests).toEqual([
      [
        { id: "1", model: "m", path: "/v1/chat/completions", elapsedMs: 14_000, client: {} },
        { id: "2", model: "other", path: "/v1/chat/completions", elapsedMs: 14_000, client: {} },
      ],
      [],
    ]);
  });

  test("since v240 are a snapshot and its changes", () => {
    const heard = hear([
      frame("inflight", { operation: "snapshot", requests: [request("1")] }),
      frame("inflight", { operation: "upsert", request: request("2") }),
      frame("inflight", { operation: "upsert", request: request("2", { resp_bytes: 100 }) }),
      frame("inflight", { operation: "remove", id: "1" }),
      frame("inflight", { operation: "remove", id: "9" }),
      frame("inflight", { operation: "snapshot" }),
    ]);
    expect(ids(heard)).toEqual([["1"], ["1", "2"], ["1", "2"], ["2"], []]);
  });

  test("are not reported in part: the snapshot includes every earlier change", () => {
    const heard = hear([
      frame("inflight", { operation: "upsert", request: request("2") }),
      frame("inflight", { operation: "remove", id: "1" }),
      frame("inflight", { operation: "snapshot", requests: [request("2"), request("3")] }),
    ]);
    expect(ids(heard)).toEqual([["2", "3"]]);
  });

  test("continue while others are reported", () => {
    let now = NOW;
    const reader = (function* () {
      yield frame("inflight", { operation: "snapshot", requests: [request("1", { elapsed_ms: 500 })] });
      now += 3000;
      yield frame("inflight", { operation: "upsert", request: request("2", { elapsed_ms: 7 }) });
    })();
    const last = hear(reader, { now: () => now }).requests.at(-1);
    expect(last?.map(({ elapsedMs }) => elapsedMs)).toEqual([3500, 7]);
  });

  test("name their client on one clean line", () => {
    const headers = { "User-Agent": "pi\u001b[31m/1\nx", "X-Session-Id": "s-1", "X-Other": "no" };
    const entry = request("1", { req_headers: headers, remote_ip: "192.0.2.7" });
    const [listed] = hear([frame("inflight", { operation: "snapshot", requests: [entry] })]).requests;
    expect(listed?.[0]?.client).toEqual({ agent: "pi/1 x", session: "s-1", address: "192.0.2.7" });
  });

  test("are bounded, and those without id or model are skipped", () => {
    const many = Array.from({ length: 5000 }, (_, at) => request(String(at)));
    const broken = [null, 5, {}, { id: "a" }, { id: 3, model: "m" }, { id: "a\u0007", model: "m" }];
    const [listed] = hear([
      frame("inflight", { operation: "snapshot", requests: [...broken, ...many] }),
    ]).requests;
    expect(listed).toHaveLength(1000);
    expect(listed?.[0]?.id).toBe("0");
  });
});

describe("states", () => {
  test("are read as every version spells them", () => {
    const states = ["ready", "starting", "stopping", "stopped", "shutdown", "unknown", "", 7];
    const [models] = hear([
      frame(
        "modelStatus",
        states.map((state, at) => ({ id: `m${at}`, state })),
      ),
    ]).models;
    expect([...(models?.values() ?? [])]).toEqual([
      "ready",
      "starting",
      "stopping",
      "unloaded",
      "unloaded",
      "unknown",
      "unknown",
      "unknown",
    ]);
  });
});

describe("logs", () => {
  const history = '[INFO] a line of the log, with "quotes" & <signs>\n'.repeat(2000);

  test("of 100 KiB come whole and clean", () => {
    const data = `\u001b[31m${history}`;
    const heard = hear([frame("logData", { source: "proxy", data })]);
    expect(heard.log).toEqual([{ source: "proxy", text: history.trim() }]);
  });

  test("of 100 KiB come whole also where every byte is escaped twice, in pieces", () => {
    const data = "<".repeat(100 * 1024);
    const goJson = (value: unknown): string => JSON.stringify(value).replaceAll("<", "\\u003c");
    const bytes = Buffer.from(
      `event:message\ndata:${JSON.stringify({ type: "logData", data: goJson({ data, source: "proxy" }) })}\n\n`,
    );
    expect(bytes.length).toBeGreaterThan(700_000);
    const pieces = Array.from({ length: Math.ceil(bytes.length / 65_536) }, (_, at) =>
      bytes.subarray(at * 65_536, (at + 1) * 65_536),
    );
    expect(hear(pieces).log).toEqual([{ source: "proxy", text: data }]);
  });

  test("are not read where no hook takes them", () => {
    let reads = 0;
    const reader = new EventReader({ onModels: () => {} }, () => NOW, 0);
    const parse = JSON.parse;
    JSON.parse = (...args: Parameters<typeof parse>) => {
      reads += 1;
      return parse(...args);
    };
    try {
      reader.push(Buffer.from(frame("logData", { source: "proxy", data: history })));
    } finally {
      JSON.parse = parse;
    }
    expect(reads).toBe(0);
  });

  test("of no known source, or empty, are dropped", () => {
    const of = (payload: unknown): string => frame("logData", payload);
    expect(hear([of({ source: "x", data: "a" }), of({ source: "proxy", data: "" }), of(null)]).log).toEqual(
      [],
    );
  });
});

test("an answered request is reported, whatever else the event says", () => {
  let answered = 0;
  const reader = new EventReader({ onActivity: () => (answered += 1) }, () => NOW, 0);
  for (const piece of [frame("activity", { id: 7 }), frame("activity", null), frame("metrics", [])]) {
    reader.push(Buffer.from(piece));
  }
  expect(answered).toBe(2);
});

describe("damage", () => {
  test.each([
    "data:no json\n\n",
    "data:null\n\n",
    "data:[]\n\n",
    'data:{"type":"modelStatus"}\n\n',
    'data:{"type":"modelStatus","data":"{"}\n\n',
    'data:{"type":"modelStatus","data":"{}"}\n\n',
    'data:{"type":"inflight","data":"[]"}\n\n',
    'data:{"type":"inflight","data":"{\\"operation\\":\\"upsert\\"}"}\n\n',
    'data:{"type":"logData","data":5}\n\n',
    'data:{"type":"tomorrow","data":"{}"}\n\n',
    ": a comment\n\n",
  ])("%j is passed over", (piece) => {
    const heard = hear([piece, frame("inflight", { operation: "snapshot" })]);
    expect(heard).toEqual({ models: [], requests: [[]], log: [] });
  });

  test("a frame without an end is refused before it fills the memory", () => {
    const chunk = "x".repeat(64 * 1024);
    function* endless(): Generator<string> {
      yield "data:";
      for (;;) yield chunk;
    }
    expect(() => hear(endless())).toThrow("max buffer size");
  });
});
