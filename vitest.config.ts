import { defineConfig } from "vitest/config";
import { TEST_ENVIRONMENT } from "./test/support/environment.ts";
import { SummaryReporter } from "./test/support/summary-reporter.ts";

const everyProject = {
  setupFiles: ["test/setup.ts"],
  env: TEST_ENVIRONMENT,
  exclude: ["**/node_modules/**"],
  // No module keeps state, so the files of a worker share their imports: loading pi, undici and the certificate
  // library for each of 200 files took longer than the tests.
  isolate: false,
  // Vitest's own limit of a second is too little where other programs use the machine too.
  expect: { poll: { timeout: 15_000, interval: 10 } },
  // Until twenty runs in a row on a busy machine show that no test needs it. A test that passed on the second try is
  // listed at the end: it is a defect to mend.
  retry: 1,
};

// Only for who has a llama-swap, which no package brings: npm run test:llama-swap
const needsLlamaSwap = process.env.LLAMA_SWAP ? [] : ["test/llama-swap/**"];

export default defineConfig({
  test: {
    reporters: ["default", new SummaryReporter()],
    teardownTimeout: 5_000,
    projects: [
      {
        test: {
          ...everyProject,
          name: "unit",
          include: ["**/*.test.ts"],
          exclude: [...everyProject.exclude, "test/real/**", ...needsLlamaSwap],
          // Only ends what hangs: a busy machine may need three times as long as a quiet one.
          testTimeout: 60_000,
          hookTimeout: 60_000,
          // These mostly wait for timers and processes: one worker would leave a machine of two cores idle.
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...everyProject,
          name: "real",
          include: ["test/real/**/*.test.ts"],
          // After the quick ones, and one file at a time: each starts several pi processes, a Caddy or an npm.
          fileParallelism: false,
          maxWorkers: 1,
          testTimeout: 120_000,
          hookTimeout: 180_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
