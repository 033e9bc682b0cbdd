import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** Sets environment variables of this process until the test ends; undefined unsets one. */
export function setEnv(variables: Readonly<Record<string, string | undefined>>): void {
  for (const [name, value] of Object.entries(variables)) {
    const before = process.env[name];
    put(name, value);
    onTestFinished(() => put(name, before));
  }
}

function put(name: string, value: string | undefined): void {
  if (value === undefined) delete process.env[name];
  else process.env[name] = value;
}

/** Until the test ends, pi's agent folder is a new one. @returns its path */
export function ownAgentDir(): string {
  const agentDir = mkdtempSync(join(tmpdir(), "agent-dir-"));
  setEnv({ PI_CODING_AGENT_DIR: agentDir });
  onTestFinished(() => rmSync(agentDir, { recursive: true, force: true }));
  return agentDir;
}

/** Until the test ends, this process has the variables of a pi of its own on that server, with an empty agent folder. */
export function setPiVariables(server: { url: string; certsDir: string }): void {
  ownAgentDir();
  setEnv({ PI_OFFLINE: "", AI_SERVER_URL: server.url, AI_SERVER_CERTS_DIR: server.certsDir });
}
