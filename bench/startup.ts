/** What loading the extension adds to a start of pi. */
import { readFile, rm, writeFile } from "node:fs/promises";
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

export const STARTUP_VS_EMPTY: Figure = {
  name: "startupVsEmpty",
  what: "the same time, over what an extension adds that does nothing, in the same run",
  limit: { most: 2.5 },
  margin: 0.25,
};

/** How many rounds there are at least, and how many until the medians count as they are. */
const ROUNDS = { least: 15, most: 41 };
const QUICK_ROUNDS = { least: 11, most: 21 };
/** A median that may be wrong by less than this, in milliseconds, is steady. */
const STEADY_MS = 4;

/** One way to start pi: without an extension, with an empty one, or with this one and a server that is up or down. */
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

/** Medians of what a start with an extension took longer than that without, of the same round; in milliseconds. */
interface Added {
  ofEmpty: number;
  ofUp: number;
  ofDown: number;
  rounds: number;
}

/** Starts one after the other until the medians are steady. */
async function takeTurns(
  starts: readonly [none: Start, empty: Start, up: Start, down: Start],
  { least, most }: { least: number; most: number },
): Promise<Added> {
  const added: { empty: number[]; up: number[]; down: number[] } = { empty: [], up: [], down: [] };
  for (let round = 0; ; round++) {
    const took = [0, 0, 0, 0];
    // Each takes each place in turn: on a machine that heats up, or has just idled, the place makes a difference.
    for (let place = 0; place < starts.length; place++) {
      const index = (place + round) % starts.length;
      const start = starts[index];
      if (start !== undefined) took[index] = await timeOf(start, index > 1);
    }
    const [none = 0, empty = 0, up = 0, down = 0] = took;
    added.empty.push(empty - none);
    added.up.push(up - none);
    added.down.push(down - none);
    const rounds = added.up.length;
    const isSteady = Object.values(added).every((times) => errorOfMedian(times) < STEADY_MS);
    if ((rounds >= least && isSteady) || rounds >= most) {
      const { empty, up, down } = added;
      return { ofEmpty: median(empty), ofUp: median(up), ofDown: median(down), rounds };
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
  const workplaces = await Promise.all([makeWorkplace(), makeWorkplace(), makeWorkplace(), makeWorkplace()]);
  const [bare, whileEmpty, whileUp, whileDown] = workplaces;
  const leaving = await BenchServer.start(certsDir);
  const emptyExtension = join(whileEmpty.folder, "empty.ts");
  await writeFile(emptyExtension, "export default function () {}\n");
  const args = ["-e", EXTENSION];
  const none: Start = { workplace: bare, env: server.env, args: [] };
  const empty: Start = { workplace: whileEmpty, env: server.env, args: ["-e", emptyExtension] };
  const up: Start = { workplace: whileUp, env: server.env, args };
  const down: Start = { workplace: whileDown, env: leaving.env, args };
  try {
    // The first start of each stores the catalogue, and what pi keeps of a transpiled extension.
    await timeOf(empty, false);
    for (const start of [up, down]) await timeOf(start, true);
    await leaving.stop();
    const rounds = isQuick ? QUICK_ROUNDS : ROUNDS;
    const added = await takeTurns([none, empty, up, down], rounds);
    const worse = Math.max(added.ofUp, added.ofDown);
    const [ofEmpty, ofUp, ofDown] = [added.ofEmpty, added.ofUp, added.ofDown].map((ms) => ms.toFixed(0));
    const detail = `server up ${ofUp} ms, down ${ofDown} ms, medians of ${added.rounds} rounds`;
    return [
      { figure: STARTUP_ADDED, value: worse, detail },
      { figure: STARTUP_VS_EMPTY, value: worse / added.ofEmpty, detail: `an empty extension ${ofEmpty} ms` },
    ];
  } finally {
    await leaving.stop();
    await Promise.all(workplaces.map((workplace) => workplace.remove()));
  }
}
