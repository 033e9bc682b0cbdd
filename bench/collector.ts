/** The garbage collector, at hand without a flag on the command line. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

type Collect = (options: { type: "minor" | "major" }) => void;

export interface Collector {
  /**
   * Collects the young generation, so that no measurement pays for the garbage of another. For measurements of time: a whole
   * collection would also throw away the shapes of objects on which compiled code rests, and the next measurement
   * would be of code that starts cold.
   */
  young(): void;
  /** Collects everything: for measurements of memory. */
  all(): void;
}

export function makeCollector(): Collector {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as Collect;
  return { young: () => collect({ type: "minor" }), all: () => collect({ type: "major" }) };
}
