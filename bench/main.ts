/**
 * npm run bench -- [--json] [--quick] [--check] [name …]
 *
 * Measures every figure of the README, or those whose names contain one of the given words. `--json` writes one object
 * of numbers and nothing else to standard output; `--check` ends with 1 when a figure misses its limit.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { writeCertificateSet } from "../sim/certificates.ts";
import { ACTIVITY_CPU, measureActivity } from "./activity.ts";
import { HANDSHAKES, HANDSHAKES_QUICK, measureConnections, RESUMED } from "./connections.ts";
import { type Bench, type Figure, isWithinLimit, limitText, type Measured } from "./figure.ts";
import { FIRST_WORD_WARM, firstWordProblem, measureFirstWord } from "./first-word.ts";
import { MEMORY_ADDED, measureMemory } from "./memory.ts";
import { measurePrefixReuse, PREFIX_REUSE, prefixProblem } from "./prefix-reuse.ts";
import {
  measureTwoServers,
  PREFIX_REUSE_TWO_SERVERS,
  twoServersProblem,
} from "./prefix-reuse-two-servers.ts";
import { measureRates, RATE_ERROR, ratesProblem } from "./rates.ts";
import { BenchServer } from "./server-process.ts";
import { measureStartup, STARTUP_ADDED, STARTUP_VS_EMPTY } from "./startup.ts";
import { measureRace, RACES } from "./stream.ts";
import { measureToolArgsGrowth, TOOL_ARGS_GROWTH } from "./tool-args-growth.ts";

/** Figures that are measured together. */
interface Group {
  figures: readonly Figure[];
  measure(bench: Bench): Promise<Measured[]>;
  /** Why it cannot be measured here, and what to do, or undefined when it can. */
  problem?(): string | undefined;
}

const GROUPS: readonly Group[] = [
  ...RACES.map((race) => ({
    figures: race.rivals.map(({ figure }) => figure),
    measure: (bench: Bench) => measureRace(race, bench),
  })),
  { figures: [TOOL_ARGS_GROWTH], measure: measureToolArgsGrowth },
  { figures: [ACTIVITY_CPU], measure: measureActivity },
  { figures: [RATE_ERROR], measure: measureRates, problem: ratesProblem },
  { figures: [PREFIX_REUSE], measure: measurePrefixReuse, problem: prefixProblem },
  { figures: [PREFIX_REUSE_TWO_SERVERS], measure: measureTwoServers, problem: twoServersProblem },
  { figures: [FIRST_WORD_WARM], measure: measureFirstWord, problem: firstWordProblem },
  { figures: [STARTUP_ADDED, STARTUP_VS_EMPTY], measure: measureStartup },
  { figures: [HANDSHAKES, HANDSHAKES_QUICK, RESUMED], measure: measureConnections },
  { figures: [MEMORY_ADDED], measure: measureMemory },
];

const { values: flags, positionals: words } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    check: { type: "boolean", default: false },
  },
  allowPositionals: true,
});

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

function isWanted({ figures }: Group): boolean {
  return words.length === 0 || figures.some(({ name }) => words.some((word) => name.includes(word)));
}

function table(measured: readonly Measured[]): string {
  const lines = measured.map((one) => {
    const { figure, value, detail } = one;
    const verdict = isWithinLimit(one, false) ? "" : "  MISSED";
    const number = String(rounded(value)).padStart(6);
    return `${figure.name.padEnd(36)}${number}  ${limitText(figure).padEnd(8)}${verdict}\n    ${figure.what}\n    ${detail}\n`;
  });
  return `\n${lines.join("")}`;
}

/** @throws {Error} in CI, where nothing is left out unseen */
function leaveOut({ figures }: Group, problem: string): void {
  const names = figures.map(({ name }) => name).join(", ");
  if (process.env.CI) throw new Error(`In CI nothing is left out: ${names}: ${problem}`);
  say(`Left out: ${names}: ${problem}`);
}

async function measureAll(bench: Bench): Promise<Measured[]> {
  const measured: Measured[] = [];
  for (const group of GROUPS.filter(isWanted)) {
    const problem = group.problem?.();
    if (problem !== undefined) {
      leaveOut(group, problem);
      continue;
    }
    const began = performance.now();
    const found = await group.measure(bench);
    const seconds = ((performance.now() - began) / 1000).toFixed(0);
    say(`${found.map(({ figure, value }) => `${figure.name} ${rounded(value)}`).join(", ")} (${seconds} s)`);
    measured.push(...found);
  }
  return measured;
}

async function run(): Promise<Measured[]> {
  const folder = mkdtempSync(join(tmpdir(), "ai-server-bench-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  // An exit, rather than the signal's own end, so that the programs which were started end too.
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));
  const certsDir = join(folder, "certs");
  await writeCertificateSet(certsDir);
  const server = await BenchServer.start(certsDir);
  try {
    return await measureAll({ server, certsDir, isQuick: flags.quick });
  } finally {
    await server.stop();
  }
}

const measured = await run();
if (flags.json) {
  const numbers = measured.map(({ figure, value }) => [figure.name, rounded(value)]);
  process.stdout.write(`${JSON.stringify(Object.fromEntries(numbers))}\n`);
} else {
  process.stdout.write(table(measured));
}
if (flags.check) {
  for (const one of measured.filter((each) => !isWithinLimit(each, true))) {
    const { figure, value } = one;
    say(
      `${figure.name} is ${rounded(value)}, its limit ${limitText(figure)} (margin ${figure.margin * 100} %)`,
    );
    process.exitCode = 1;
  }
}
