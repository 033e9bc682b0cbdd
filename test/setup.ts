// Runs in every test process before its test file: no test may reach a machine other than this one.
import { environmentProblem, TEST_ENVIRONMENT } from "./support/environment.ts";
import { guardSsh, installLoopbackGuard } from "./support/loopback-only.ts";

const problem = environmentProblem(process.env);
if (problem) throw new Error(`The tests did not start. ${problem}`);

// What a developer's shell exports (certificate paths, a port, a passphrase) must not decide a test;
// how many cases the random tests try is meant for them.
const kept = new Set([...Object.keys(TEST_ENVIRONMENT), "AI_SERVER_TEST_RUNS"]);
for (const name of Object.keys(process.env)) {
  if (name.startsWith("AI_SERVER_") && !kept.has(name)) delete process.env[name];
}

installLoopbackGuard();
guardSsh();
