/** What the benchmarks count with. */

/** @throws {Error} for no numbers: a figure that was not measured has no value */
export function median(numbers: readonly number[]): number {
  if (numbers.length === 0) throw new Error("There is no median of nothing");
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/**
 * The median of the quotients of what was measured side by side: a load on the machine that comes and goes hits both
 * of a pair.
 */
export function medianRatio(numerators: readonly number[], denominators: readonly number[]): number {
  if (numerators.length !== denominators.length) throw new Error("The measurements do not form pairs");
  return median(numerators.map((value, round) => value / (denominators[round] ?? Number.NaN)));
}

/** CPU of this process that `work` takes, user and system, in microseconds. */
export async function cpuOf(work: () => void | Promise<void>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}
