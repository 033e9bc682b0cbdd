/** Looking loads nothing, and swaps nothing out: shown by how often the server started a model's process. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { Activities } from "../activity/activities.ts";
import { completer } from "../admin/completion.ts";
import extension from "../index.ts";
import { openDisplay } from "../session/display.ts";
import { FakeTimer } from "./support/clock.ts";
import { startPlace } from "./support/command-place.ts";
import { User } from "./support/command-user.ts";
import { FakePi } from "./support/fake-pi.ts";
import { FakeTerminal } from "./support/fake-terminal.ts";
import { Sitter } from "./support/panel-sitter.ts";
import { setPiVariables } from "./support/pi-variables.ts";

beforeAll(() => initTheme());

const CMD = `llama-server --port \${PORT} --load 0.2 --no-reasoning`;
const CONFIG = `
models:
  quick: { cmd: "${CMD} -c 4096", ttl: 86400 }
  other: { cmd: "${CMD} -c 8192" }
  "org/third": { cmd: "${CMD} -c 16384", aliases: [third], metadata: { context_length: 16384 } }
includeAliasesInList: true
`;

/** Each line as a user types it; none of them is meant to load. */
const LOOKS = [
  "/ai-server",
  "/ai-server-status",
  "/ai-server-status --ssh",
  "/ai-server-status other",
  "/ai-server-status third --ssh",
  "/ai-server-status absent",
  "/ai-server-refresh",
  "/ai-server-refresh --config",
  "/ai-server-ctx other",
  "/ai-server-preset",
  "/ai-server-preset third",
  "/ai-server-logs",
  "/ai-server-logs other",
  "/ai-server-last",
  "/ai-server-unload other",
];

const COMPLETED = [
  "ai-server-status",
  "ai-server-load",
  "ai-server-unload",
  "ai-server-ctx",
  "ai-server-refresh",
];

const states = [
  ["no model is loaded", undefined],
  ["another client's model is loaded", "quick"],
] as const;

test.each(states)("commands and completion that only look load nothing while %s", async (_, loaded) => {
  const place = await startPlace(CONFIG);
  if (loaded !== undefined) await place.load(loaded);
  const before = { ...place.sim.starts };
  for (const line of LOOKS) await place.type(line);
  const { signal } = new AbortController();
  const complete = completer(place.aiServer, place.contextOf(new User("tui")), place.ended.signal);
  for (const command of COMPLETED)
    for (const typed of ["", "o", "other "]) await complete(command, typed, signal);
  await expect.poll(() => complete("ai-server-load", "ot", signal)).toHaveLength(1);
  expect(place.sim.starts).toEqual(before);
  expect(await place.loaded()).toEqual(loaded === undefined ? [] : [loaded]);
});

test.each(states)("the panel loads nothing while %s", async (_, loaded) => {
  const place = await startPlace(CONFIG);
  if (loaded !== undefined) await place.load(loaded);
  const before = { ...place.sim.starts };
  const sitter = new Sitter(place);
  const over = sitter.open();
  await sitter.sees(/live · llama-swap[\s\S]*other +unloaded/);
  for (const key of ["\u001b[B", "\u001b[B", "\u001b[A", "r", "/", "o", "t", "\u001b"]) sitter.press(key);
  await sitter.sees(/other/);
  for (let presses = 0; presses < 5 && sitter.isOpen; presses += 1) {
    sitter.press("\u001b");
    await new Promise((resolve) => setImmediate(resolve));
  }
  await over;
  expect(place.sim.starts).toEqual(before);
  expect(await place.loaded()).toEqual(loaded === undefined ? [] : [loaded]);
});

test.each(states)("a session that does nothing for an hour loads nothing while %s", async (_, loaded) => {
  const place = await startPlace(CONFIG);
  if (loaded !== undefined) await place.load(loaded);
  const before = { ...place.sim.starts };
  await place.type("/ai-server-refresh");
  const terminal = new FakeTerminal();
  const timer = new FakeTimer();
  const agentDir = mkdtempSync(join(tmpdir(), "zero-loads-"));
  onTestFinished(() => rmSync(agentDir, { recursive: true, force: true }));
  const onReadyChanged = (): void => void place.aiServer.discover(undefined);
  const parts = { ctx: terminal.context(), aiServer: place.aiServer, activities: new Activities(), env: {} };
  const display = await openDisplay({ ...parts, agentDir, onReadyChanged, clock: timer });
  onTestFinished(() => display.close());
  const model = place.aiServer.models.find(({ id }) => id === "other");
  display.select(model);
  if (model !== undefined) await display.loadNotice(model);
  place.sim.requests.length = 0;
  for (let looks = 1; looks <= 120; looks += 1) {
    timer.advance(30_000);
    await expect.poll(() => place.sim.requests.length, { interval: 1 }).toBeGreaterThanOrEqual(looks);
    await expect.poll(() => timer.left, { interval: 1 }).toBe(1);
  }
  expect(place.sim.starts).toEqual(before);
  expect(await place.loaded()).toEqual(loaded === undefined ? [] : [loaded]);
});

test.each(states)("starts, model changes and ends of sessions load nothing while %s", async (_, loaded) => {
  const place = await startPlace(CONFIG);
  if (loaded !== undefined) await place.load(loaded);
  const before = { ...place.sim.starts };
  setPiVariables(place.sim);
  for (const mode of ["tui", "rpc"] as const) {
    const pi = new FakePi();
    await extension(pi.api);
    await pi.refresh();
    const terminal = new FakeTerminal();
    for (const model of pi.provider.getModels()) {
      terminal.model = model;
      const ctx = mode === "tui" ? terminal.context("tui") : pi.context(mode, model);
      await pi.emit("session_start", ctx);
      await pi.emit("model_select", ctx, { type: "model_select", model });
      await pi.emit("agent_end", ctx, { messages: [{ role: "assistant", stopReason: "stop" }] });
      await pi.refresh({ allowNetwork: true });
      await pi.emit("session_shutdown", ctx);
    }
  }
  expect(place.sim.starts).toEqual(before);
  expect(await place.loaded()).toEqual(loaded === undefined ? [] : [loaded]);
});
