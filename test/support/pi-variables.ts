import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** Until the test ends, this process has the variables of a pi of its own on that server, with an empty agent folder. */
export function setPiVariables(server: { url: string; certsDir: string }): void {
  const agentDir = mkdtempSync(join(tmpdir(), "pi-variables-"));
  const variables = {
    PI_CODING_AGENT_DIR: agentDir,
    PI_OFFLINE: "",
    AI_SERVER_URL: server.url,
    AI_SERVER_CERTS_DIR: server.certsDir,
  };
  const old = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, variables);
  onTestFinished(() => {
    rmSync(agentDir, { recursive: true, force: true });
    for (const [name, value] of old) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  });
}
