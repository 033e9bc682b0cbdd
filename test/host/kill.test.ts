import { join } from "node:path";
import { expect, test } from "vitest";
import type { ChangeOutcome } from "../../host/outcome.ts";
import { FakeServer, fakeConfig, fakePlan } from "../support/fake-server.ts";
import {
  callsSoFar,
  checkFile,
  type Kill,
  killedClient,
  PROGRAMS,
  prepareKill,
  prepareUnit,
  wasHit,
} from "../support/kill.ts";
import { LocalHost, type Mode } from "../support/local-host.ts";
import { seeded } from "../support/random.ts";
import { changeAt } from "../support/whole-change.ts";

const SEED = Number(process.env.KILL_SEED ?? 20261120);
/** Kills of the server's shell; with those of the client and those over ssh more than 200. */
const SHELL_KILLS = 160;
const CLIENT_KILLS = 24;
const AT_ONCE = 4;

const OLD = fakeConfig(1024);
const LIMITS = { restartTimeoutMs: 2000, loadTimeoutMs: 500, pollMs: 20, reloadTimeoutMs: 100 };

function change(host: LocalHost, mode: Mode, size: number, more = ""): Promise<ChangeOutcome> {
  const probe = new FakeServer(host.path, join(host.tools, "restarts"));
  return changeAt({ machine: host.machine(mode), probe, limits: LIMITS }, fakePlan(size, more));
}

async function checkNextTry(host: LocalHost, mode: Mode): Promise<void> {
  const outcome = await change(host, mode, 4096);
  expect(outcome, JSON.stringify(outcome)).toMatchObject({ kind: "changed" });
  expect(host.text).toContain("-c 4096 ");
  expect(host.leftovers).toEqual([]);
}

interface Way {
  mode: Mode;
  more: string;
  hasFlock: boolean;
}

async function inParallel(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next < count) await work(next++);
    }),
  );
}

/** What a system without flock says of it. */
function removeFlock(host: LocalHost): void {
  host.tool("flock", "exit 69");
}

async function callsOf({ mode, more, hasFlock }: Way): Promise<number> {
  const host = new LocalHost(OLD);
  try {
    prepareKill(host, { at: 0, who: "shell", when: "before" });
    if (!hasFlock) removeFlock(host);
    prepareUnit(host);
    await change(host, mode, 2048, more);
    return callsSoFar(host);
  } finally {
    host.remove();
  }
}

test(`the server's shell killed ${SHELL_KILLS} times, at any of its steps (seed ${SEED})`, {
  timeout: 300_000,
}, async () => {
  const random = seeded(SEED);
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T;
  const ways = (["direct", "wrapper"] as const).flatMap((mode): Way[] => [
    { mode, more: "", hasFlock: true },
    { mode, more: "unloadable", hasFlock: true },
    { mode, more: "", hasFlock: false },
  ]);
  const calls = new Map<Way, number>();
  for (const way of ways) calls.set(way, await callsOf(way));
  const kinds = new Map<string, number>();
  let hits = 0;
  await inParallel(SHELL_KILLS, async (index) => {
    const way = pick(ways);
    const kill: Kill = {
      at: 1 + Math.floor(random() * (calls.get(way) ?? 1)),
      who: pick(["shell", "all"]),
      when: pick(["before", "after"]),
    };
    const host = new LocalHost(OLD);
    try {
      prepareKill(host, kill);
      if (!way.hasFlock) removeFlock(host);
      prepareUnit(host);
      const outcome = await change(host, way.mode, 2048, way.more).catch((error: unknown) => {
        // Before anything is written the error is the answer.
        expect(error).toMatchObject({ name: "HostError" });
        expect(host.text).toBe(OLD);
        return undefined;
      });
      const kind = outcome?.kind ?? "failed before";
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
      if (wasHit(host)) hits += 1;
      checkFile(host, OLD, [OLD, fakeConfig(2048, way.more)], outcome);
      for (const name of PROGRAMS) host.tool(name, `exec /usr/bin/${name} "$@"`);
      if (!way.hasFlock) removeFlock(host);
      await checkNextTry(host, way.mode);
    } catch (error) {
      throw new Error(`kill ${index}: ${JSON.stringify({ ...way, ...kill })}`, { cause: error });
    } finally {
      host.remove();
    }
  });
  expect(hits).toBeGreaterThan(SHELL_KILLS * 0.9);
  process.stdout.write(
    `killed ${hits} of ${SHELL_KILLS} shells (${JSON.stringify([...calls.values()])} steps): ${JSON.stringify([...kinds])}\n`,
  );
});

test(`the client killed ${CLIENT_KILLS} times, at any moment (seed ${SEED})`, {
  timeout: 300_000,
}, async () => {
  const random = seeded(SEED + 1);
  const states = new Map<string, number>();
  await inParallel(CLIENT_KILLS, async (index) => {
    const host = new LocalHost(OLD);
    const mode = "direct";
    const steps = ["read", "status", "write", "write", "write", "restart"];
    const step = steps[index % steps.length] ?? "write";
    const delayMs = random() * (step === "write" ? 250 : 60);
    try {
      prepareUnit(host);
      const restarts = join(host.tools, "restarts");
      await killedClient({ settings: host.settings(), tools: host.tools, restarts }, step, delayMs);
      // The script may be at its work for a moment longer; the next reader waits for it.
      await host.machine(mode).read();
      const state = host.text === OLD ? "old" : "new";
      states.set(`${step} ${state}`, (states.get(`${step} ${state}`) ?? 0) + 1);
      checkFile(host, OLD, [OLD, fakeConfig(2048)], undefined);
      await checkNextTry(host, mode);
    } catch (error) {
      throw new Error(`kill ${index}: ${step} after ${delayMs} ms`, { cause: error });
    } finally {
      host.remove();
    }
  });
  process.stdout.write(`killed ${CLIENT_KILLS} clients: ${JSON.stringify([...states].sort())}\n`);
});
