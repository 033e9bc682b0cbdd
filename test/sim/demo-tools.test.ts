import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { findContexts, findStart } from "../../host/config/config-file.ts";
import { sumOf } from "../../host/fit/fit.ts";
import { ServerMemory } from "../../host/fit/server-memory.ts";
import { startedModel } from "../../host/fit/started.ts";
import { readConfig } from "../../sim/config.ts";
import { inFolder, writeDemoModels, writeDemoTools } from "../../sim/demo-tools.ts";
import { readBehaviour } from "../../sim/flags.ts";
import { GPU } from "../../sim/performance.ts";
import { LocalHost } from "../support/local-host.ts";

test("the demo's machine says of each of its models what it needs, as the stand-in's memory has it", async () => {
  const host = new LocalHost("");
  onTestFinished(() => host.remove());
  const folder = mkdtempSync(join(tmpdir(), "demo-models-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  chmodSync(folder, 0o755);
  writeDemoModels(folder);
  let followed = (_usedMb: number): void => {};
  writeDemoTools(host.tools, {
    followMemory: (follower) => {
      followed = follower;
      follower(512);
    },
  });
  const text = inFolder(readFileSync(new URL("../../sim/demo.yaml", import.meta.url), "utf8"), folder);
  const models = readConfig(text).models;
  const shell = host.shell();
  const memory = new ServerMemory(shell);
  expect(await memory.devices()).toMatchObject({
    devices: [{ totalMiB: GPU.total, freeMiB: GPU.total - 512 }],
  });
  for (const { model: id, tokens = 0 } of findContexts(text, "yaml")) {
    const start = findStart(text, "yaml", id);
    const model = start && startedModel(start);
    if (model?.kind !== "started") throw new Error(model?.reason ?? `${id} is not started`);
    const need = await memory.need(model, tokens);
    if (need.kind === "unknown") throw new Error(need.reason);
    expect(need).toMatchObject({ bound: "exact", notes: [] });
    const config = models.get(id);
    const { gpuMb, trainContext } = readBehaviour(config?.cmd ?? "", config?.env);
    expect(need.trained).toBe(trainContext);
    const onCard = need.devices
      .filter(({ name }) => name !== undefined)
      .reduce((sum, one) => sum + sumOf(one), 0);
    expect(Math.abs(onCard - gpuMb)).toBeLessThan(50);
    followed(512 + gpuMb);
    expect(await memory.devices()).toMatchObject({ devices: [{ freeMiB: GPU.total - 512 - gpuMb }] });
  }
  // They only seem to be large.
  expect(statSync(join(folder, "Qwen3.6-35B-A3B-Q8_0.gguf")).blocks).toBeLessThan(100);
  await shell.close();
});
