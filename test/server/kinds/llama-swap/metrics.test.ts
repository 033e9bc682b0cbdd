import { describe, expect, test } from "vitest";
import {
  joinPerformance,
  lastReadingAt,
  MOST_READINGS,
  parseActivity,
  parsePerformance,
  readPerformance,
  readRecentActivity,
} from "../../../../server/kinds/llama-swap/metrics.ts";
import { ModelServer } from "../../../../server/model-server.ts";
import { startSim } from "../../../../sim/server.ts";
import { byPath, cannedServer, recordedAnswer } from "../../../support/canned.ts";
import { clientOf, faultOf, kept } from "../../../support/wire.ts";

const never = new AbortController().signal;
const at = (second: number): string => new Date(1_800_000_000_000 + second * 1000).toISOString();
const sys = (second: number, used: unknown = 500): object => ({
  timestamp: at(second),
  cpu_util_per_core: [10, 30],
  mem_total_mb: 1000,
  mem_used_mb: used,
});
const gpu = (second: number, used: number, id = 0): object => ({
  timestamp: at(second),
  id,
  name: "GPU\u001b[31m X",
  uuid: `u${id}`,
  gpu_util_pct: 140,
  mem_used_mb: used,
  mem_total_mb: 2000,
});

describe("an answer", () => {
  test("gives the memory of host and GPUs, the oldest first", () => {
    const read = parsePerformance({
      enabled: true,
      sys_stats: [sys(5), sys(0, 400)],
      gpu_stats: [gpu(0, 100), gpu(0, 200, 1), gpu(5, 150)],
    });
    expect(read?.host).toEqual({
      key: "host",
      name: "Host",
      readings: [
        { at: Date.parse(at(0)), usedMb: 400, totalMb: 1000, busyPercent: 20 },
        { at: Date.parse(at(5)), usedMb: 500, totalMb: 1000, busyPercent: 20 },
      ],
    });
    expect(read?.gpus.map(({ name, readings }) => [name, readings.map(({ usedMb }) => usedMb)])).toEqual([
      ["GPU X", [100, 150]],
      ["GPU X", [200]],
    ]);
    expect(read?.gpus[0]?.readings[0]?.busyPercent).toBe(100);
  });

  test.each([
    [undefined],
    ["text"],
    [[]],
    [{}],
    [{ enabled: false }],
    [{ enabled: false, sys_stats: [sys(0)] }],
  ])("that is %j says nothing", (answer) => {
    expect(parsePerformance(answer)).toBeUndefined();
  });

  test("with readings that are none keeps the others", () => {
    const broken = [null, 5, sys(1, "much"), sys(2, -1), { ...sys(3), timestamp: "then" }, sys(4)];
    const zero = { ...sys(5), mem_total_mb: 0 };
    const read = parsePerformance({ sys_stats: [...broken, zero], gpu_stats: "none" });
    expect(read?.host?.readings.map((reading) => reading.at)).toEqual([Date.parse(at(4))]);
    expect(read?.gpus).toEqual([]);
  });

  test("of any length is bounded", () => {
    const many = Array.from({ length: 5000 }, (_, second) => sys(second));
    const cards = Array.from({ length: 100 }, (_, id) => gpu(0, 1, id));
    const read = parsePerformance({ sys_stats: many, gpu_stats: cards });
    expect([read?.host?.readings.length, read?.gpus.length]).toEqual([MOST_READINGS, 16]);
    expect(read?.host?.readings.at(-1)?.at).toBe(Date.parse(at(4999)));
  });
});

test("a later answer is appended, each reading once, and no more are kept than are shown", () => {
  const first = parsePerformance({ sys_stats: [sys(0), sys(5)], gpu_stats: [gpu(0, 1)] });
  const second = parsePerformance({ sys_stats: [sys(5), sys(10)], gpu_stats: [gpu(5, 2), gpu(5, 3, 1)] });
  if (first === undefined || second === undefined) throw new Error("not read");
  const both = joinPerformance(joinPerformance(undefined, first), second);
  expect(both.host?.readings.map((reading) => reading.at)).toEqual([0, 5, 10].map((s) => Date.parse(at(s))));
  expect(both.gpus.map(({ readings }) => readings.map(({ usedMb }) => usedMb))).toEqual([[1, 2], [3]]);
  expect(lastReadingAt(both)).toBe(Date.parse(at(10)));
  expect(lastReadingAt({ host: undefined, gpus: [] })).toBeUndefined();
  const late = parsePerformance({ sys_stats: Array.from({ length: 120 }, (_, n) => sys(100 + n)) });
  expect(joinPerformance(both, late ?? both).host?.readings).toHaveLength(MOST_READINGS);
});

describe("asking", () => {
  test("the recorded llama-swap of today", async () => {
    const { swap } = await cannedServer(
      byPath({ "/api/performance": recordedAnswer("head", "017-api-performance") }),
    );
    const read = await readPerformance(swap, undefined, never);
    expect(read?.host?.readings.length).toBeGreaterThan(5);
    expect(read?.host?.readings[0]).toMatchObject({ usedMb: 495, totalMb: 24105 });
    expect(read?.gpus).toEqual([]);
  });

  test.each([
    ["v217, which has measured nothing yet", recordedAnswer("v217", "017-api-performance"), { gpus: [] }],
    ["v170, which has no such route", recordedAnswer("v170", "017-api-performance"), undefined],
    ["one that measures nothing", { status: 503, headers: {}, body: '{"enabled":false}' }, undefined],
    ["a page of another server's", { status: 200, headers: {}, body: "<html>" }, undefined],
  ])("%s", async (_, answer, read) => {
    const { swap } = await cannedServer(byPath({ "/api/performance": answer }));
    expect(await readPerformance(swap, undefined, never)).toEqual(read);
  });

  test("a server that is gone is a fault", async () => {
    const swap = await kept(new ModelServer(clientOf("http://127.0.0.1:9", "/nowhere")));
    expect((await faultOf(readPerformance(swap, undefined, never))).link).toBe("TCP");
  });

  test("for what is later alone", async () => {
    const sim = await kept(startSim({ config: `models:\n  a: { cmd: "llama-server --port \${PORT}" }\n` }));
    const swap = await kept(new ModelServer(clientOf(sim.url, sim.certsDir)));
    const all = await readPerformance(swap, undefined, never);
    expect(all?.gpus[0]).toMatchObject({
      name: "NVIDIA RTX PRO 6000",
      readings: [{ usedMb: 512, totalMb: 97_887 }],
    });
    const last = all && lastReadingAt(all);
    expect(await readPerformance(swap, last, never)).toEqual({ host: undefined, gpus: [] });
    expect(sim.requests.at(-1)?.path).toBe(
      `/api/performance?after=${encodeURIComponent(new Date(last ?? 0).toISOString())}`,
    );
  });
});

describe("the last requests", () => {
  const ACTIVITY = "/api/metrics/activity?limit=50";
  const row = (model: unknown, tokens: unknown): object => ({ id: 1, model, tokens });

  test("the recorded llama-swap's rows are turned round, and what it did not measure is not claimed", async () => {
    const { swap } = await cannedServer(byPath({ [ACTIVITY]: recordedAnswer("head", "190-activity") }));
    const base = { model: "one-at-a-time" };
    const nothing = { promptRate: undefined, generationRate: undefined };
    const one = { ...base, promptTokens: 3, outputTokens: 1, promptRate: 600, generationRate: undefined };
    expect(await readRecentActivity(swap, never)).toEqual([
      one,
      { ...base, promptTokens: undefined, outputTokens: undefined, ...nothing },
      one,
    ]);
  });

  test.each([
    ["v217, which has no such route", recordedAnswer("v217", "015-api-metrics-activity"), undefined],
    ["one that has answered nothing", recordedAnswer("head", "015-api-metrics-activity"), []],
    ["a page of another server's", { status: 200, headers: {}, body: "<p>" }, undefined],
  ])("%s", async (_, answer, read) => {
    const { swap } = await cannedServer(byPath({ [ACTIVITY]: answer }));
    expect(await readRecentActivity(swap, never)).toEqual(read);
  });

  test("a fault of the server is thrown", async () => {
    const { swap } = await cannedServer(byPath({ [ACTIVITY]: 500 }));
    expect((await faultOf(readRecentActivity(swap, never))).status).toBe(500);
  });

  test.each([[undefined], [[]], [{}], [{ data: {} }]])("%j is no answer", (answer) => {
    expect(parseActivity(answer)).toBeUndefined();
  });

  test("malformed rows are skipped, and no more than 50 are read", () => {
    const rows = [
      null,
      7,
      row("a\u001b[2J", {}),
      row("a", undefined),
      row(5, {}),
      row("a", { input_tokens: 9 }),
    ];
    expect(parseActivity({ data: rows })).toEqual([
      {
        model: "a",
        promptTokens: 9,
        outputTokens: undefined,
        promptRate: undefined,
        generationRate: undefined,
      },
    ]);
    expect(parseActivity({ data: Array(500).fill(row("a", {})) })).toHaveLength(50);
  });

  test("the stand-in reports what its models have measured", async () => {
    const config = `models:\n  a: { cmd: "llama-server --port \${PORT} --no-reasoning --token-rate 1000" }\n`;
    const sim = await kept(startSim({ config, speed: 50 }));
    const swap = await kept(new ModelServer(clientOf(sim.url, sim.certsDir)));
    const body = JSON.stringify({
      model: "a",
      messages: [{ role: "user", content: "sim: tokens 20" }],
      stream: true,
    });
    const { body: stream } = await swap.chat(body, {}, never);
    for await (const _ of stream);
    await expect.poll(() => readRecentActivity(swap, never)).toHaveLength(1);
    const [answered] = (await readRecentActivity(swap, never)) ?? [];
    expect(answered).toMatchObject({ model: "a", outputTokens: 20 });
    expect(answered?.generationRate).toBeGreaterThan(0);
  });
});
