/**
 * Loaded by pi (`pi -e bench/pi-extension.ts`): measures inside it, and writes the CPU times to a file.
 *
 * The job comes in the environment, since pi's own arguments and output are not ours.
 */
import { writeFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import type { SimpleStreamOptions } from "@earendil-works/pi-ai";
import { makeCollector } from "./collector.ts";
import { makeContender } from "./contenders.ts";
import { JOB_VARIABLE, type Job, type JobResult } from "./pi-job.ts";
import { cpuOf } from "./statistics.ts";
import { expectedCharacters } from "./turns.ts";

/** What pi's agent passes with each turn, where it matters for the cost of a delta. */
function optionsAsPi(): SimpleStreamOptions {
  const hooks = {
    onPayload: async (payload: unknown) => payload,
    onResponse: async () => {},
    onProviderStreamEvent: async () => {},
  };
  return { ...hooks, sessionId: "bench", timeoutMs: 300_000, signal: new AbortController().signal };
}

async function measure(job: Job): Promise<JobResult> {
  const collector = makeCollector();
  const options = optionsAsPi();
  const contenders = job.contenders.map((name) => ({
    name,
    run: makeContender(name, job.env, options),
    cpu: [] as number[],
  }));
  expectedCharacters(job.modelId);
  for (let round = -job.warmUps; round < job.rounds; round++) {
    for (const { run, cpu } of contenders) {
      // What the last one left to other threads, such as a closing connection, ends meanwhile.
      await pause(20);
      collector.young();
      const used = await cpuOf(() => run(job.modelId));
      if (round >= 0) cpu.push(used);
    }
  }
  return { cpu: Object.fromEntries(contenders.map(({ name, cpu }) => [name, cpu])) };
}

/** pi waits for the factory, and ends by itself: it was started to list models. */
export default async function benchExtension(): Promise<void> {
  const job = JSON.parse(process.env[JOB_VARIABLE] ?? "") as Job;
  const result = await measure(job).catch(
    (error: unknown): JobResult => ({
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    }),
  );
  writeFileSync(job.result, JSON.stringify(result));
  // Connections that are kept alive would keep pi as well.
  process.exit(0);
}
