/** CPU for each streamed delta, against pi's own stream and against the least that a reader has to do. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { makeWorkplace, runPi } from "../test/support/pi.ts";
import type { ContenderName } from "./contenders.ts";
import type { Bench, Figure, Measured } from "./figure.ts";
import { type Fixture, modelIdOf } from "./fixtures.ts";
import { JOB_VARIABLE, type Job, type JobResult } from "./pi-job.ts";
import { median, medianRatio } from "./statistics.ts";

const EXTENSION = fileURLToPath(new URL("./pi-extension.ts", import.meta.url));
const TIMEOUT_MS = 300_000;
const VERSION = "1.6.0";

/** CPU times on a machine that does other things too come out a few hundredths apart. */
const MARGIN = 0.1;

/** One pi process, in which the contenders take turns. */
interface Race {
  fixture: Fixture;
  rivals: { name: Exclude<ContenderName, "extension">; figure: Figure }[];
}

const TEXT: Fixture = { kind: "text", deltas: 50_000, eventsPerWrite: 8 };
const TOOL: Fixture = { kind: "tool", deltas: 20_000, eventsPerWrite: 8 };

export const RACES: readonly Race[] = [
  {
    fixture: TEXT,
    rivals: [
      {
        name: "built-in",
        figure: {
          name: "streamTextVsPi",
          what: "CPU per text delta / pi's openai-completions; 50,000 deltas, 8 events a write",
          limit: { most: 0.25 },
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
    fixture: TOOL,
    rivals: [
      {
        name: "built-in",
        figure: {
          name: "streamToolVsPi",
          what: "CPU per tool-argument delta / pi's; 20,000 deltas, 8 events a write",
          limit: { most: 0.25 },
          margin: MARGIN,
        },
      },
    ],
  },
  {
    fixture: { ...TEXT, eventsPerWrite: 1 },
    rivals: [
      {
        name: "built-in",
        figure: {
          name: "streamOneEventVsPi",
          what: "CPU per text delta / pi's; 50,000 deltas, 1 event a write",
          limit: { most: 0.6 },
          margin: MARGIN,
        },
      },
      {
        name: "floor",
        figure: {
          name: "streamOneEventVsFloor",
          what: "CPU per text delta / undici + eventsource-parser + JSON.parse alone; 1 event a write",
          limit: { most: 1.3 },
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
      result: join(workplace.folder, "result.json"),
    };
    const finished = await runPi({
      version: VERSION,
      args: ["-e", EXTENSION, "--list-models"],
      agentDir: workplace.agentDir,
      env: { ...bench.server.env, [JOB_VARIABLE]: JSON.stringify(job) },
      timeoutMs: TIMEOUT_MS,
    });
    const text = await readFile(job.result, "utf8").catch(() => {
      throw new Error(`pi ${VERSION} measured nothing: ${finished.stderr || finished.stdout}`);
    });
    const result = JSON.parse(text) as JobResult;
    if ("error" in result) throw new Error(`In pi ${VERSION}: ${result.error}`);
    return result.cpu;
  } finally {
    await workplace.remove();
  }
}
