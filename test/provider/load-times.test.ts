import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { Memory } from "../../memory/memory.ts";
import { expectedLoadMs, rememberLoad } from "../../provider/load-times.ts";
import type { ModelServer } from "../../server/model-server.ts";

const CONFIG = { origin: "https://ai.example", basePath: "/x" };

function place(running: unknown) {
  const folder = mkdtempSync(join(tmpdir(), "load-times-test-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "ai-server.json");
  const memory = new Memory(file, Date.now);
  const runningNow = async () => {
    if (running instanceof Error) throw running;
    return running;
  };
  const server = { config: CONFIG, runningNow } as unknown as ModelServer;
  return { aiServer: { memory: async () => memory }, server, file };
}

test("loads are remembered by address and model, without their command line", async () => {
  const { aiServer, server, file } = place([
    { id: "a", state: "ready", commandLine: "llama-server --api-key secret" },
  ]);
  expect(await expectedLoadMs(aiServer, server, "a")).toBeUndefined();
  await rememberLoad(aiServer, server, "a", 4000);
  await rememberLoad(aiServer, server, "a", 6000);
  await rememberLoad(aiServer, server, "a", 60_000);
  expect(await expectedLoadMs(aiServer, server, "a")).toBe(6000);
  expect(await expectedLoadMs(aiServer, server, "b")).toBeUndefined();
  const kept = readFileSync(file, "utf8");
  expect(kept).toContain("https://ai.example/x");
  expect(kept).not.toContain("secret");
});
