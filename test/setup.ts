// Runs in every test process before its test file: no test may reach a machine other than this one.
import { environmentProblem, TEST_ENVIRONMENT } from "./support/environment.ts";
import { guardSsh, installLoopbackGuard } from "./support/loopback-only.ts";

const problem = environmentProblem(process.env);
if (problem) throw new Error(`The tests did not start. ${problem}`);

// What a developer's shell exports (certificate paths, a port, a passphrase) must not decide a test;
// how many cases the random tests try is meant for them.
const kept = new Set([...Object.keys(TEST_ENVIRONMENT), "AI_SERVER_TEST_RUNS"]);
for (const name of Object.keys(process.env)) {
  if (/^(?:AI_SERVER|HF)_/.test(name) && !kept.has(name)) delete process.env[name];
}

installLoopbackGuard();
guardSsh();

// What a session imports in the background when it is first needed. The files of a worker share their modules: an import
// that is still on its way when a file ends would fail, and would then have failed for every later file.
await Promise.all([
  import("../session/display.ts"),
  import("../admin.ts"),
  import("../admin/completion.ts"),
  import("../ui/autocomplete.ts"),
  import("../ui/output.ts"),
  import("../masking/masking.ts"),
  import("../masking/own-secrets.ts"),
  import("../memory/memory.ts"),
  import("../server/model-server.ts"),
  import("../server/models/models.ts"),
  import("../server/in-flight.ts"),
  import("../server/kinds/llama-swap/metrics.ts"),
  import("../provider/run-turn.ts"),
]);
