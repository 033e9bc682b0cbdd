/** Looking does not keep a model awake: every request below /upstream starts its idle time again. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { Activities } from "../activity/activities.ts";
import { completer } from "../admin/completion.ts";
import extension from "../index.ts";
import { ModelServer } from "../server/model-server.ts";
import { openDisplay } from "../session/display.ts";
import { FakeTimer } from "./support/clock.ts";
import { type Place, startPlace } from "./support/command-place.ts";
import { User } from "./support/command-user.ts";
import { FakePi } from "./support/fake-pi.ts";
import { FakeTerminal } from "./support/fake-terminal.ts";
import { startKind } from "./support/kinds.ts";
import { Sitter } from "./support/panel-sitter.ts";
import { setPiVariables } from "./support/pi-variables.ts";
import { clientOf, drained, kept } from "./support/wire.ts";

beforeAll(() => initTheme());

const CMD = `llama-server --port \${PORT} --load 0.2 --no-reasoning`;
const CONFIG = `
models:
  quick: { cmd: "${CMD} -c 4096", ttl: 86400 }
  other: { cmd: "${CMD} -c 8192" }
  alias: { cmd: "${CMD} -c 8192", aliases: [second] }
  hidden: { cmd: "${CMD}", unlisted: true }
includeAliasesInList: true
`;

/** What was asked of models themselves since the last call. */
function questions({ sim }: Place): string[] {
  const asked = sim.requests.map(({ path }) => path).filter((path) => path.startsWith("/upstream/"));
  sim.requests.length = 0;
  return asked;
}

async function usePanel(place: Place): Promise<void> {
  const sitter = new Sitter(place);
  const over = sitter.open();
  await sitter.sees(/live · llama-swap[\s\S]*quick +ready/);
  for (const key of ["r", "\u001b[B", "r"]) {
    sitter.press(key);
    await sitter.sees(/Refreshed/);
  }
  sitter.press("\u001b");
  await over;
}

/** A day at pi with a model that another client has loaded. */
async function useAll(place: Place): Promise<void> {
  const lines = [
    "status",
    "status",
    "refresh",
    "status other",
    "status absent",
    "preset",
    "ctx quick",
    "logs quick",
  ];
  for (const line of lines) await place.type(`/ai-server-${line}`);
  const { signal } = new AbortController();
  const complete = completer(place.aiServer, place.contextOf(new User("tui")), signal);
  await expect.poll(() => complete("ai-server-ctx", "quick ", signal)).not.toEqual([]);
  await usePanel(place);
  const terminal = new FakeTerminal();
  const timer = new FakeTimer();
  const agentDir = mkdtempSync(join(tmpdir(), "idle-clock-"));
  onTestFinished(() => rmSync(agentDir, { recursive: true, force: true }));
  const onReadyChanged = (): void => void place.aiServer.discover(undefined);
  const parts = { ctx: terminal.context(), aiServer: place.aiServer, activities: new Activities(), env: {} };
  const display = await openDisplay({ ...parts, agentDir, onReadyChanged, clock: timer });
  const model = place.aiServer.models.find(({ id }) => id === "quick");
  display.select(model);
  await expect.poll(() => terminal.statuses.join()).toContain("quick ready · 4k");
  if (model !== undefined) await display.loadNotice(model);
  display.close();
  await place.type("/ai-server-refresh");
}

test("a day of looking asks a ready model once, and later sessions never", async () => {
  const place = await startPlace(CONFIG);
  await place.load("quick");
  questions(place);
  await useAll(place);
  expect(questions(place)).toEqual(["/upstream/quick/props"]);
  await place.aiServer.remembered.written();
  for (let sessions = 1; sessions <= 2; sessions += 1) {
    await place.aiServer.close();
    await useAll(place);
    expect(questions(place)).toEqual([]);
  }
});

test("/ai-server-status of one model asks it, and says so", async () => {
  const place = await startPlace(CONFIG);
  await place.load("quick");
  await place.type("/ai-server-status");
  questions(place);
  const { everything } = await place.type("/ai-server-status quick");
  expect(everything).toMatch(/Context +4096 tokens a request \(live\)/);
  expect(everything).toContain("This asked the model itself, which restarted the model's idle time.");
  expect(questions(place).sort()).toEqual(["/upstream/quick/props", "/upstream/quick/v1/models"]);
  expect((await place.type("/ai-server-status other")).everything).not.toContain("was asked");
});

test("a hidden model that is loaded is asked nothing", async () => {
  const place = await startPlace(CONFIG);
  await place.load("hidden");
  questions(place);
  await place.type("/ai-server-status");
  expect(questions(place)).toEqual([]);
});

test("a model that runs with another command line is asked again", async () => {
  const place = await startPlace(CONFIG);
  await place.load("quick");
  await place.type("/ai-server-status");
  place.text = CONFIG.replace("-c 4096", "-c 16384");
  await place.reload();
  await place.load("quick");
  questions(place);
  expect((await place.type("/ai-server-status")).everything).toMatch(/quick +ready +16k +live/);
  expect(questions(place)).toEqual(["/upstream/quick/props"]);
});

test("pi's own starts, model changes and ends of turns ask a ready model once", async () => {
  const place = await startPlace(CONFIG);
  await place.load("quick");
  questions(place);
  setPiVariables(place.sim);
  const pi = new FakePi();
  await extension(pi.api);
  await pi.refresh();
  const terminal = new FakeTerminal();
  for (const model of pi.provider.getModels()) {
    terminal.model = model;
    const ctx = terminal.context("tui");
    await pi.emit("session_start", ctx);
    await pi.emit("model_select", ctx, { type: "model_select", model });
    for (let turns = 1; turns <= 3; turns += 1)
      await pi.emit("agent_end", ctx, { messages: [{ role: "assistant", stopReason: "stop" }] });
    await pi.refresh({ allowNetwork: true });
    await expect.poll(() => terminal.statuses.at(-1)).toContain("quick ready");
    await pi.emit("session_shutdown", ctx);
  }
  expect(questions(place)).toEqual(["/upstream/quick/props"]);
});

test("a router's model, awake or asleep, is asked once", async () => {
  const preset = "[small]\nmodel = /models/small.gguf\nctx-size = 4096\nsleep-idle-seconds = 60\n";
  const router = await startKind("router", { preset, speed: 100 });
  onTestFinished(() => router.close());
  const server = await kept(new ModelServer(clientOf(router.url, router.certsDir)));
  const loaded = await server.http.request({
    method: "POST",
    path: "/models/load",
    body: JSON.stringify({ model: "small" }),
  });
  void drained(loaded.body);
  const state = async (): Promise<string | undefined> =>
    (await server.discover(new Map())).map(({ state }) => state)[0];
  await expect.poll(state).toBe("ready");
  router.sleep("small");
  expect(await state()).toBe("ready");
  expect(router.asked().filter((line) => line.includes("model=small"))).toEqual([
    "GET /props?model=small&autoload=false",
  ]);
});
