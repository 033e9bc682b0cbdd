import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TranscriptContext } from "@earendil-works/pi-ai";
import { expect, onTestFinished, test } from "vitest";
import { Activities } from "../../activity/activities.ts";
import type { Activity } from "../../activity/turn-activity.ts";
import { AiServer } from "../../provider/ai-server.ts";
import { createProvider } from "../../provider/provider.ts";
import { startSim } from "../../sim/server.ts";
import { fastClock } from "../support/clock.ts";
import { drained, kept } from "../support/wire.ts";

const CMD = `llama-server --port \${PORT} --no-reasoning`;
const CONFIG = `
healthCheckTimeout: 1000000
models:
  a: { cmd: "${CMD} --load 1000 --token-rate 1" }
  b: { cmd: "${CMD} --load 1 --token-rate 1" }
  banner: { cmd: "${CMD} --load 1000 --token-rate 1", sendLoadingState: true }
`;

/** Speeds of the stand-in: a load or an answer takes no time, passes in a second, or lasts until the test goes on. */
const [AT_ONCE, SOON, HELD] = [100_000, 1000, 10];

const saying = (text: string): TranscriptContext =>
  ({ messages: [{ role: "user", content: text, timestamp: 0 }] }) as unknown as TranscriptContext;

async function place() {
  const agentDir = mkdtempSync(join(tmpdir(), "provider-activity-"));
  onTestFinished(() => rmSync(agentDir, { recursive: true, force: true }));
  const sim = await kept(startSim({ config: CONFIG, speed: AT_ONCE }));
  const env = { AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir };
  const clock = fastClock(10);
  const aiServer = new AiServer({ env, agentDir, now: clock.now, onChanged: () => {} });
  await kept(aiServer);
  const activities = new Activities();
  const provider = createProvider(aiServer, activities, clock);
  const { models } = await aiServer.discover(undefined);
  const turn = (id: string, text: string) => {
    const model = models.find((one) => one.id === id);
    if (model === undefined) throw new Error(`there is no ${id}`);
    return provider.streamSimple(model, saying(text), { sessionId: id }).result();
  };
  /** Looks again and again until the turn's activity is of this kind. */
  async function seen<K extends Activity["kind"]>(
    sessionId: string,
    kind: K,
  ): Promise<Extract<Activity, { kind: K }>> {
    let found: Activity | undefined;
    await expect
      .poll(() => {
        found = activities.front(sessionId)?.turn.look();
        return found?.kind;
      })
      .toBe(kind);
    return found as Extract<Activity, { kind: K }>;
  }
  return { sim, aiServer, activities, turn, seen, clock };
}

test("a turn shows its load, and the next one expects the load to take as long", async () => {
  const { sim, aiServer, activities, turn, seen } = await place();
  sim.setSpeed(HELD);
  const first = turn("a", "sim: tokens 300");
  await seen("a", "connecting");
  const load = await seen("a", "loading");
  expect(load).toMatchObject({ expectedMs: undefined, again: undefined });
  sim.setSpeed(SOON);
  await seen("a", "generating");
  sim.setSpeed(AT_ONCE);
  await first;
  await expect.poll(() => activities.figures.length).toBe(1);
  const [figures] = activities.figures;
  expect(figures).toMatchObject({ model: "a", tokens: 300, cachedTokens: 0 });
  expect(figures?.loadMs).toBeGreaterThan(load.elapsedMs);
  expect(figures?.perSecond).toBeGreaterThan(0);
  expect(activities.front("a")).toBeUndefined();
  expect(activities.hasAnswered("a")).toBe(true);
  await expect
    .poll(async () => aiServer.remembered.expectedLoadMs(aiServer.config(), "a"))
    .toBe(figures?.loadMs);
});

test("a turn that waits for another model names it, also during the load that follows", async () => {
  const { sim, activities, turn, seen } = await place();
  await turn("a", "sim: tokens 3");
  sim.setSpeed(HELD);
  const other = turn("b", "sim: tokens 350");
  await seen("b", "generating");
  const again = turn("a", "sim: tokens 3");
  expect(await seen("a", "waiting")).toMatchObject({ blockedBy: "b" });
  await expect.poll(() => seen("a", "waiting")).toMatchObject({ requests: 1 });
  expect(activities.front("a")?.others).toBe(1);
  sim.setSpeed(SOON);
  await other;
  sim.setSpeed(HELD);
  expect(await seen("a", "loading")).toMatchObject({ again: { blockedBy: "b" } });
  sim.setSpeed(AT_ONCE);
  await again;
  // What is seen between two turns counts as well.
  activities.seeReady(["banner"]);
  await turn("b", "sim: tokens 3");
  await expect.poll(() => activities.front("b")).toBeUndefined();
  activities.seeReady(["b"]);
  sim.setSpeed(HELD);
  const third = turn("a", "sim: tokens 3");
  expect(await seen("a", "loading")).toMatchObject({ again: { blockedBy: "b" } });
  sim.setSpeed(AT_ONCE);
  await third;
});

test("a turn shows a load that llama-swap's banner accompanies", async () => {
  const { sim, activities, turn, seen } = await place();
  sim.setSpeed(HELD);
  const answer = turn("banner", "sim: say hello");
  const load = await seen("banner", "loading");
  sim.setSpeed(AT_ONCE);
  expect((await answer).stopReason).toBe("stop");
  await expect.poll(() => activities.figures.at(-1)?.loadMs).toBeGreaterThan(load.elapsedMs);
});

test("a turn drops its place in the banner's queue when its load begins, and counts the load from there", async () => {
  const { sim, activities, turn, seen, clock } = await place();
  await turn("b", "sim: tokens 3");
  sim.setSpeed(HELD);
  const other = turn("b", "sim: tokens 350");
  await seen("b", "generating");
  const answer = turn("banner", "sim: say hello");
  await expect.poll(() => seen("banner", "waiting")).toMatchObject({ blockedBy: "b", position: 1 });
  const free = clock.now();
  sim.setSpeed(SOON);
  await other;
  sim.setSpeed(HELD);
  const load = await seen("banner", "loading");
  expect(load.elapsedMs).toBeLessThanOrEqual(clock.now() - free);
  sim.setSpeed(AT_ONCE);
  expect((await answer).stopReason).toBe("stop");
  await expect.poll(() => activities.figures.at(-1)?.loadMs).toBeLessThanOrEqual(clock.now() - free);
});

test("a turn whose model was unloaded unseen names the model that the server used last", async () => {
  const { sim, aiServer, turn, seen } = await place();
  await turn("a", "sim: tokens 3");
  const { http } = await aiServer.server();
  const messages = [{ role: "user", content: "sim: say hello" }];
  const body = JSON.stringify({ model: "b", messages });
  const headers = { "content-type": "application/json" };
  const asked = await http.request({ method: "POST", path: "/v1/chat/completions", body, headers });
  await drained(asked.body);
  sim.setSpeed(HELD);
  const again = turn("a", "sim: tokens 3");
  expect(await seen("a", "loading")).toMatchObject({ again: { blockedBy: undefined } });
  await expect.poll(() => seen("a", "loading")).toMatchObject({ again: { blockedBy: "b" } });
  sim.setSpeed(AT_ONCE);
  await again;
});

test("a turn that fails leaves no figures, and ends", async () => {
  const { sim, activities, turn } = await place();
  sim.failNext({ path: "/v1/chat/completions", status: 400, body: '{"error":{"message":"no"}}' });
  expect((await turn("a", "hello")).stopReason).toBe("error");
  await expect.poll(() => activities.front(undefined)).toBeUndefined();
  expect([activities.figures, activities.hasAnswered("a")]).toEqual([[], false]);
});

test("a listener that throws does not end the turn", async () => {
  const { activities, turn } = await place();
  activities.onChange(() => {
    throw new Error("This extension ctx is stale after session replacement or reload.");
  });
  expect((await turn("b", "sim: say hello")).stopReason).toBe("stop");
});

test("a turn during a restart names the command that restarts the server, and is answered afterwards", async () => {
  const { sim, aiServer, turn, seen } = await place();
  // What Caddy answers meanwhile: to looks, to the request, and to the questions whether it is back.
  for (let request = 0; request < 6; request += 1) sim.failNext({ status: 502 });
  const end = Promise.withResolvers<void>();
  const command = aiServer.exclusively("/ai-server-restart", () => end.promise, true);
  const first = turn("b", "sim: say Back");
  expect(await seen("b", "down")).toMatchObject({ by: "/ai-server-restart" });
  expect((await first).content).toEqual([{ type: "text", text: "Back" }]);
  end.resolve();
  await command;
});

test("a turn does not name a command that restarts nothing", async () => {
  const { sim, aiServer, turn, seen } = await place();
  for (let request = 0; request < 6; request += 1) sim.failNext({ status: 502 });
  const end = Promise.withResolvers<void>();
  const command = aiServer.exclusively("/ai-server-load a", () => end.promise);
  const first = turn("b", "sim: say Back");
  expect(await seen("b", "down")).toMatchObject({ by: undefined });
  await first;
  end.resolve();
  await command;
});
