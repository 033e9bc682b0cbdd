/** What loading the extension adds to a start of pi. */
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { EXTENSION, makeWorkplace, runPi, type Workplace } from "../test/support/pi.ts";
import type { Bench, Figure, Measured } from "./figure.ts";
import { BenchServer } from "./server-process.ts";
import { PROBE_VARIABLE, type ProbedStart } from "./start-probed.ts";
import { median } from "./statistics.ts";

const PROBE = new URL("./start-probe.ts", import.meta.url).href;
const VERSION = "1.6.0";
/** The model that the benchmark's server lists. */
const LISTED = /\bbench\b/;

export const STARTUP_ADDED: Figure = {
  name: "startupAddedMs",
  what: "ms that the extension adds to `pi --list-models` (1.6.0, warm, stored catalogue) over pi without any extension; the worse of server up and down",
  limit: { most: 40 },
  margin: 0.25,
};

/** How many rounds there are at least, and how many until the medians count as they are. */
const ROUNDS = { least: 15, most: 41 };
const QUICK_ROUNDS = { least: 11, most: 21 };
/** A median that may be wrong by less than this, in milliseconds, is steady. */
const STEADY_MS = 4;

/** One way to start pi: without the extension, or with it and a server that is up or down. */
interface Start {
  workplace: Workplace;
  env: Record<string, string>;
  args: string[];
}

/** Milliseconds from the start of the process to its end, without those in which other programs had the processor. */
async function timeOf({ workplace, env, args }: Start, isListed: boolean): Promise<number> {
  const probed = join(workplace.folder, "start.json");
  const { code, stdout, stderr } = await runPi({
    version: VERSION,
    args: [...args, "--list-models"],
    agentDir: workplace.agentDir,
    env: { ...env, NODE_OPTIONS: `--import=${PROBE}`, [PROBE_VARIABLE]: probed },
    offline: false,
  });
  if (code !== 0 || LISTED.test(stdout) !== isListed) {
    throw new Error(`pi ${args.join(" ")} --list-models ended with ${code}:\n${stdout}\n${stderr}`);
  }
  const { elapsedMs, waitedMs } = JSON.parse(await readFile(probed, "utf8")) as ProbedStart;
  await rm(probed);
  return elapsedMs - waitedMs;
}

/**
 * Starts one after the other until both medians are steady.
 *
 * @returns medians of what a start with the extension took longer than that without, of the same round
 */
async function takeTurns(
  starts: readonly [none: Start, up: Start, down: Start],
  { least, most }: { least: number; most: number },
): Promise<{ ofUp: number; ofDown: number; rounds: number }> {
  const added: { up: number[]; down: number[] } = { up: [], down: [] };
  for (let round = 0; ; round++) {
    const took = [0, 0, 0];
    // Each takes each place in turn: on a machine that heats up, or has just idled, the place makes a difference.
    for (let place = 0; place < starts.length; place++) {
      const index = (place + round) % starts.length;
      const start = starts[index];
      if (start !== undefined) took[index] = await timeOf(start, index > 0);
    }
    const [none = 0, up = 0, down = 0] = took;
    added.up.push(up - none);
    added.down.push(down - none);
    const rounds = added.up.length;
    const isSteady = errorOfMedian(added.up) < STEADY_MS && errorOfMedian(added.down) < STEADY_MS;
    if ((rounds >= least && isSteady) || rounds >= most) {
      return { ofUp: median(added.up), ofDown: median(added.down), rounds };
    }
  }
}

/** About the standard error of the median, from the middle half of the numbers. */
function errorOfMedian(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const at = (part: number): number => sorted[Math.floor(part * (sorted.length - 1))] ?? Number.NaN;
  return (0.93 * (at(0.75) - at(0.25))) / Math.sqrt(numbers.length);
}

export async function measureStartup({ certsDir, server, isQuick }: Bench): Promise<Measured[]> {
  const workplaces = await Promise.all([makeWorkplace(), makeWorkplace(), makeWorkplace()]);
  const [bare, whileUp, whileDown] = workplaces;
  const leaving = await BenchServer.start(certsDir);
  const args = ["-e", EXTENSION];
  const none: Start = { workplace: bare, env: server.env, args: [] };
  const up: Start = { workplace: whileUp, env: server.env, args };
  const down: Start = { workplace: whileDown, env: leaving.env, args };
  try {
    // The first start of each stores the catalogue, and what pi keeps of a transpiled extension.
    for (const start of [up, down]) await timeOf(start, true);
    await leaving.stop();
    const { ofUp, ofDown, rounds } = await takeTurns([none, up, down], isQuick ? QUICK_ROUNDS : ROUNDS);
    const detail = `server up ${ofUp.toFixed(0)} ms, down ${ofDown.toFixed(0)} ms, medians of ${rounds} pairs`;
    return [{ figure: STARTUP_ADDED, value: Math.max(ofUp, ofDown), detail }];
  } finally {
    await leaving.stop();
    await Promise.all(workplaces.map((workplace) => workplace.remove()));
  }
}
