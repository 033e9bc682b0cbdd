/** What `start-probe.ts` writes of a process. */

/** Names the file that it writes. */
export const PROBE_VARIABLE = "AI_SERVER_BENCH_PROBE";

export interface ProbedStart {
  /** From the start of the process to its end. */
  elapsedMs: number;
  /** The part of it in which the process could have run, and others did. */
  waitedMs: number;
}
