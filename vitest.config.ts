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
          // Some of these wait for processes and sockets: a third worker keeps a machine of two cores busy meanwhile.
          maxWorkers: 3,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...everyProject,
          name: "real",
          include: ["test/real/**/*.test.ts"],
          // After the quick ones, and two at a time: each starts several pi processes, a Caddy or an npm.
          maxWorkers: 2,
          testTimeout: 120_000,
          hookTimeout: 180_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
