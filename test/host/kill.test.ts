import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { ChangeOutcome } from "../../host/outcome.ts";
import { FAKE_DEEDS, FakeServer, fakeConfig } from "../support/fake-server.ts";
import {
  checkFile,
  inParallel,
  KILL_SEED,
  killedClient,
  killShells,
  prepareKill,
  prepareUnit,
  processesOf,
  recordSteps,
  wasHit,
} from "../support/kill.ts";
import { FILE, LocalHost, type Mode } from "../support/local-host.ts";
import { seeded } from "../support/random.ts";
import { changeAt } from "../support/whole-change.ts";

/** Kills of the server's shell; with those of the client and those over ssh more than 200. */
const SHELL_KILLS = 200;
const CLIENT_KILLS = 24;

const OLD = fakeConfig(1024);
const LIMITS = { restartTimeoutMs: 2000, loadTimeoutMs: 500, pollMs: 20, reloadTimeoutMs: 100 };

function change(host: LocalHost, { mode, deed, more }: Way): Promise<ChangeOutcome> {
  const probe = new FakeServer(host.path, join(host.tools, "restarts"));
  return changeAt({ machine: host.machine(mode), probe, limits: LIMITS }, FAKE_DEEDS[deed].plan(more));
}

/** Nothing that is left of the kill may hinder the next writer, who also clears it away. */
async function checkNextWrite(host: LocalHost, mode: Mode): Promise<void> {
  const machine = host.machine(mode);
  const [file] = await machine.read();
  await machine.write(fakeConfig(4096), file?.hash ?? "", FILE);
  expect(host.text).toBe(fakeConfig(4096));
  expect(host.leftovers).toEqual([]);
}

interface Way {
  mode: Mode;
  deed: keyof typeof FAKE_DEEDS;
  more: string;
  hasFlock: boolean;
}

/** What a system without flock says of it. */
function removeFlock(host: LocalHost): void {
  host.tool("flock", "exit 69");
}

/** Every program that a change starts, in order. */
async function stepsOf(way: Way): Promise<string[]> {
  const host = new LocalHost(FAKE_DEEDS[way.deed].old);
  try {
    const steps = recordSteps(host);
    if (!way.hasFlock) removeFlock(host);
    prepareUnit(host);
    await change(host, way);
    return steps();
  } finally {
    host.remove();
  }
}

test(`the server's shell is killed ${SHELL_KILLS} times, at any of its steps: the file is whole, and the next write works (seed ${KILL_SEED})`, {
  timeout: 300_000,
}, async () => {
  const ways = (["direct", "wrapper"] as const).flatMap((mode): Way[] => [
    { mode, deed: "size", more: "", hasFlock: true },
    { mode, deed: "size", more: "unloadable", hasFlock: true },
    { mode, deed: "size", more: "", hasFlock: false },
    { mode, deed: "add", more: "", hasFlock: true },
    { mode, deed: "add", more: "unloadable", hasFlock: true },
    { mode, deed: "remove", more: "", hasFlock: true },
  ]);
  await killShells(SHELL_KILLS, ways, stepsOf, async ({ way, program, ...kill }) => {
    const { old, now } = FAKE_DEEDS[way.deed];
    const host = new LocalHost(old);
    try {
      // The other programs are the real ones: a counter before each would take longer than they do.
      prepareKill(host, kill, [program]);
      if (!way.hasFlock) removeFlock(host);
      prepareUnit(host);
      const outcome = await change(host, way).catch((error: unknown) => {
        // Before anything is written the error is the answer.
        expect(error).toMatchObject({ name: "HostError" });
        expect(host.text).toBe(old);
        return undefined;
      });
      checkFile(host, old, [old, now(way.more)], outcome);
      if (!wasHit(host)) return undefined;
      rmSync(join(host.tools, program));
      await checkNextWrite(host, way.mode);
      return outcome?.kind ?? "failed before";
    } finally {
      host.remove();
    }
  });
});

test(`the client is killed ${CLIENT_KILLS} times, at any moment: the file is whole, and the next write works (seed ${KILL_SEED})`, {
  timeout: 300_000,
}, async () => {
  const random = seeded(KILL_SEED + 1);
  const states = new Map<string, number>();
  const cache = mkdtempSync(join(tmpdir(), "kill-cache-"));
  onTestFinished(() => rmSync(cache, { recursive: true }));
  await inParallel(CLIENT_KILLS, async (index) => {
    const host = new LocalHost(OLD);
    const mode = "direct";
    const steps = ["read", "status", "write", "write", "write", "restart"];
    const step = steps[index % steps.length] ?? "write";
    const delayMs = random() * (step === "write" ? 250 : 60);
    try {
      prepareUnit(host);
      const restarts = join(host.tools, "restarts");
      await killedClient({ settings: host.settings(), tools: host.tools, restarts }, step, delayMs, cache);
      // Its script is at work for a moment longer, or only begins.
      await expect.poll(() => processesOf(host)).toEqual([]);
      const state = host.text === OLD ? "old" : "new";
      states.set(`${step} ${state}`, (states.get(`${step} ${state}`) ?? 0) + 1);
      checkFile(host, OLD, [OLD, fakeConfig(2048)], undefined);
      await checkNextWrite(host, mode);
    } catch (error) {
      throw new Error(`kill ${index}: ${step} after ${delayMs} ms: ${error}`, { cause: error });
    } finally {
      host.remove();
    }
  });
  process.stdout.write(`killed ${CLIENT_KILLS} clients: ${JSON.stringify([...states].sort())}\n`);
});
