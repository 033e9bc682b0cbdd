/** What the benchmark asks of the pi that it starts, and what comes back. */
import type { ContenderName } from "./contenders.ts";

export const JOB_VARIABLE = "AI_SERVER_BENCH_JOB";

/** What one pi measures. */
export interface Job {
  env: Record<string, string>;
  modelId: string;
  contenders: ContenderName[];
  warmUps: number;
  rounds: number;
  /** The file for the result. */
  result: string;
}

/** CPU of each round, in microseconds for the whole answer. */
export type JobResult = { cpu: Partial<Record<ContenderName, number[]>> } | { error: string };
