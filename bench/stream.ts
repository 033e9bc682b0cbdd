/** CPU for each streamed delta, against pi's own stream and against the least that a reader has to do. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { makeWorkplace, type PiVersion, runPi } from "../test/support/pi.ts";
import type { ContenderName } from "./contenders.ts";
import type { Bench, Figure, Measured } from "./figure.ts";
import { type Fixture, modelIdOf } from "./fixtures.ts";
import { JOB_VARIABLE, type Job, type JobResult } from "./pi-job.ts";
import { median, medianRatio } from "./statistics.ts";

const EXTENSION = fileURLToPath(new URL("pi-extension.ts", import.meta.url));
const TIMEOUT_MS = 300_000;

/** CPU times on a machine that does other things too come out a few hundredths apart. */
const MARGIN = 0.1;

/** One pi process, in which the contenders take turns. */
interface Race {
  version: PiVersion;
  fixture: Fixture;
  rivals: { name: Exclude<ContenderName, "extension">; figure: Figure }[];
}

const TEXT: Fixture = { kind: "text", deltas: 50_000, eventsPerWrite: 8 };
const TOOL: Fixture = { kind: "tool", deltas: 20_000, eventsPerWrite: 8 };

export const RACES: readonly Race[] = [
  {
    version: "1.5.2",
    fixture: TEXT,
    rivals: [
      {
        name: "built-in",
        figure: {
          name: "streamTextVsPi152",
          what: "CPU per text delta / pi 1.5.2's openai-completions; 50,000 deltas, 8 events a write",
          limit: { most: 0.3 },
          margin: MARGIN,
        },
      },
      {
        name: "floor",
        figure: {
          name: "streamTextVsFloor",
          what: "CPU per text delta / undici + eventsource-parser + JSON.parse alone; same bytes",
          limit: { most: 2 },
          margin: MARGIN,
        },
      },
    ],
  },
  {
    version: "1.5.2",
    fixture: TOOL,
    rivals: [
      {
        name: "built-in",
        figure: {
          name: "streamToolVsPi152",
          what: "CPU per tool-argument delta / pi 1.5.2's; 20,000 deltas, 8 events a write",
          limit: { most: 0.35 },
          margin: MARGIN,
        },
      },
    ],
  },
  {
    version: "1.5.2",
    fixture: { ...TEXT, eventsPerWrite: 1 },
    rivals: [
      {
        name: "built-in",
        figure: {
          name: "streamOneEventVsPi152",
          what: "CPU per text delta / pi 1.5.2's; 50,000 deltas, 1 event a write",
          limit: { most: 0.75 },
          margin: MARGIN,
        },
      },
    ],
  },
  {
    version: "0.87.1",
    fixture: TEXT,
    rivals: [
      {
        name: "built-in",
        figure: {
          name: "streamTextVsPi087",
          what: "CPU per text delta / pi 0.87.1's; 50,000 deltas, 8 events a write",
          margin: MARGIN,
        },
      },
    ],
  },
  {
    version: "0.87.1",
    // Its own stream parses all arguments again for each delta: 20,000 of them take it some twenty seconds.
    fixture: { ...TOOL, deltas: 5_000 },
    rivals: [
      {
        name: "built-in",
        figure: {
          name: "streamToolVsPi087",
          what: "CPU per tool-argument delta / pi 0.87.1's; 5,000 deltas, since it is quadratic; 8 events a write",
          margin: MARGIN,
        },
      },
    ],
  },
];

/** @throws {Error} when pi or one of the contenders failed */
export async function measureRace(race: Race, bench: Bench): Promise<Measured[]> {
  const cpu = await runRace(race, bench);
  const own = cpu.extension ?? [];
  return race.rivals.map(({ name, figure }) => {
    const theirs = cpu[name] ?? [];
    const each = (values: readonly number[]): string => (median(values) / race.fixture.deltas).toFixed(2);
    return {
      figure,
      value: medianRatio(own, theirs),
      detail: `${each(own)} µs / ${each(theirs)} µs, ${own.length} pairs`,
    };
  });
}

async function runRace(race: Race, bench: Bench): Promise<Partial<Record<ContenderName, number[]>>> {
  const workplace = await makeWorkplace();
  try {
    const job: Job = {
      env: bench.server.env,
      modelId: modelIdOf(race.fixture),
      contenders: ["extension", ...race.rivals.map(({ name }) => name)],
      warmUps: bench.isQuick ? 2 : 3,
      rounds: bench.isQuick ? 5 : 11,
      hasStreamHook: race.version !== "0.87.1",
      result: join(workplace.folder, "result.json"),
    };
    const finished = await runPi({
      version: race.version,
      args: ["-e", EXTENSION, "--list-models"],
      agentDir: workplace.agentDir,
      env: { ...bench.server.env, [JOB_VARIABLE]: JSON.stringify(job) },
      timeoutMs: TIMEOUT_MS,
    });
    const text = await readFile(job.result, "utf8").catch(() => {
      throw new Error(`pi ${race.version} measured nothing: ${finished.stderr || finished.stdout}`);
    });
    const result = JSON.parse(text) as JobResult;
    if ("error" in result) throw new Error(`In pi ${race.version}: ${result.error}`);
    return result.cpu;
  } finally {
    await workplace.remove();
  }
}
