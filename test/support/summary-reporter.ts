import type { Reporter, SerializedError, TestModule } from "vitest/node";

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/**
 * Counts what ran. A file that could not be loaded, a failed hook outside any test and an unhandled error
 * each count as one failure, so that "0 failed" is never printed above a red run.
 */
function countResults(modules: ReadonlyArray<TestModule>, unhandledErrors: number): Counts {
  const counts: Counts = { passed: 0, failed: unhandledErrors, skipped: 0 };
  for (const module of modules) {
    let failedTests = 0;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === "passed") counts.passed += 1;
      else if (state === "failed") failedTests += 1;
      else counts.skipped += 1;
    }
    counts.failed += failedTests === 0 && module.state() === "failed" ? 1 : failedTests;
  }
  return counts;
}

/** Prints the plain line `N passed, N failed, N skipped` as the last one, for scripts to read. */
export class SummaryReporter implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>, errors: ReadonlyArray<SerializedError>): void {
    const { passed, failed, skipped } = countResults(modules, errors.length);
    process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`);
  }
}
