/** Loaded into each measured start of pi: writes at its end how long it took. */
import { readFileSync, writeFileSync } from "node:fs";
import { PROBE_VARIABLE, type ProbedStart } from "./start-probed.ts";

/**
 * How long the main thread was ready while other programs had the processor, in milliseconds. Linux reports it in
 * nanoseconds as the second number; elsewhere it counts as nothing.
 */
function waitedMs(): number {
  try {
    return Number(readFileSync("/proc/self/schedstat", "utf8").split(" ")[1]) / 1e6;
  } catch {
    return 0;
  }
}

process.on("exit", () => {
  const start: ProbedStart = { elapsedMs: performance.now(), waitedMs: waitedMs() };
  writeFileSync(process.env[PROBE_VARIABLE] ?? "", JSON.stringify(start));
});
