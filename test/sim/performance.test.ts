import { expect, test } from "vitest";
import { Monitor } from "../../sim/performance.ts";
import { startSim } from "../../sim/server.ts";
import { recordedAnswer } from "../support/canned.ts";
import { Client } from "../support/sim-client.ts";
import { kept } from "../support/wire.ts";

interface Answer {
  gpu_stats: { timestamp: string; mem_used_mb: number }[];
  sys_stats: Record<string, unknown>[];
}

test("measures every five seconds what was loaded then", () => {
  let now = 1_800_000_000_000;
  const monitor = new Monitor(() => now);
  const since = (after: number): number[] =>
    (monitor.since(after) as Answer).gpu_stats.map(({ mem_used_mb }) => mem_used_mb);
  expect(since(0)).toEqual([512]);
  now += 7000;
  monitor.note([6144]);
  now += 5000;
  monitor.note([]);
  now += 3000;
  expect(since(0)).toEqual([512, 512, 6656, 512]);
  expect(since(1_800_000_005_000)).toEqual([6656, 512]);
  now += 24 * 3_600_000;
  expect(since(0)).toHaveLength(720);
});

test("has what the recorded llama-swap measures of its host", async () => {
  const sim = await kept(startSim({ config: `models:\n  a: { cmd: "llama-server --port \${PORT}" }\n` }));
  const client = await kept(new Client(sim));
  const { status, body } = await client.send("/api/performance");
  const answer = JSON.parse(body) as Answer;
  const recorded = JSON.parse(recordedAnswer("head", "017-api-performance").body) as Answer;
  expect(status).toBe(200);
  expect(Object.keys(answer).sort()).toEqual(Object.keys(recorded).sort());
  expect(Object.keys(answer.sys_stats[0] ?? {})).toEqual(Object.keys(recorded.sys_stats[0] ?? {}));
  expect((await client.send("/api/performance?after=yesterday")).status).toBe(400);
});

test("a follower hears of the GPU's used memory at once, and whenever it changes", () => {
  const monitor = new Monitor(() => 0);
  const heard: number[] = [];
  monitor.follow((usedMb) => heard.push(usedMb));
  monitor.note([4000, 100]);
  monitor.note([200_000]);
  monitor.note([]);
  expect(heard).toEqual([512, 4612, 97_887, 512]);
});
