import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { AiServer } from "../../provider/ai-server.ts";
import { readText } from "../../server/http/http.ts";
import { startSim } from "../../sim/server.ts";

const CONFIG = `
models:
  a:
    cmd: llama-server --port \${PORT} --ctx-size 8192 --token-rate 50
`;

test("a new configuration leaves a running stream its connection", async () => {
  const agentDir = mkdtempSync(join(tmpdir(), "ai-server-test-"));
  const sim = await startSim({ config: CONFIG });
  const env = { AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir, AI_SERVER_SSH_HOST: "local" };
  const aiServer = new AiServer({ env, agentDir, now: Date.now, onChanged: () => {} });
  onTestFinished(async () => {
    await aiServer.close();
    await sim.close();
    rmSync(agentDir, { recursive: true });
  });

  const before = await aiServer.server({});
  const body = { model: "a", stream: true, messages: [{ role: "user", content: "sim: tokens 40" }] };
  const response = await before.chat(JSON.stringify(body), {}, new AbortController().signal);
  const after = await aiServer.server({ AI_SERVER_TIMEOUT_MS: "1000" });

  expect(after).not.toBe(before);
  expect(await readText(response.body, 1_000_000)).toContain("[DONE]");
});
