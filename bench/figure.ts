/** What a benchmark gives, and what it gets. */
import type { BenchServer } from "./server-process.ts";

export interface Figure {
  name: string;
  /** What is divided by what, or counted, in a few words. */
  what: string;
  limit?: { most: number } | { least: number } | { exactly: number };
  /** By how much of the limit a loaded machine may miss it before `--check` says so; 0 where nothing is timed. */
  margin: number;
}

export interface Measured {
  figure: Figure;
  value: number;
  /** The numbers from which the value comes. */
  detail: string;
}

/** What the benchmarks of one run share. */
export interface Bench {
  server: BenchServer;
  /** Holds the certificates of every server of this run. */
  certsDir: string;
  isQuick: boolean;
}

/** Whether the value keeps to the limit, widened by the margin if asked for; a figure without one always does. */
export function isWithinLimit({ figure, value }: Measured, withMargin: boolean): boolean {
  const { limit, margin } = figure;
  if (limit === undefined) return true;
  if ("exactly" in limit) return value === limit.exactly;
  if ("least" in limit) return value >= limit.least * (withMargin ? 1 - margin : 1);
  return value <= limit.most * (withMargin ? 1 + margin : 1);
}

export function limitText({ limit }: Figure): string {
  if (limit === undefined) return "";
  if ("exactly" in limit) return `= ${limit.exactly}`;
  return "least" in limit ? `≥ ${limit.least}` : `≤ ${limit.most}`;
}
