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
import { kept } from "../support/wire.ts";

const CONFIG = `
models:
  a:
    cmd: llama-server --port \${PORT} --no-reasoning --load 1.6 --prompt-rate 100000 --token-rate 500
  b:
    cmd: llama-server --port \${PORT} --no-reasoning --load 0.2 --token-rate 100
  banner:
    cmd: llama-server --port \${PORT} --no-reasoning --load 1.6
    sendLoadingState: true
`;

const saying = (text: string): TranscriptContext =>
  ({ messages: [{ role: "user", content: text, timestamp: 0 }] }) as unknown as TranscriptContext;

async function place() {
  const agentDir = mkdtempSync(join(tmpdir(), "provider-activity-"));
  onTestFinished(() => rmSync(agentDir, { recursive: true, force: true }));
  const sim = await kept(startSim({ config: CONFIG }));
  const env = { AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir };
  const aiServer = new AiServer({ env, agentDir, now: Date.now, onChanged: () => {} });
  await kept(aiServer);
  const activities = new Activities();
  const provider = createProvider(aiServer, activities);
  const { models } = await aiServer.discover(undefined);
  const turn = (id: string, text: string) => {
    const model = models.find((one) => one.id === id);
    if (model === undefined) throw new Error(`there is no ${id}`);
    return provider.streamSimple(model, saying(text), { sessionId: id }).result();
  };
  /** Looks again and again until the turn's activity is of this kind. */
  const seen = async (sessionId: string, kind: Activity["kind"]): Promise<Activity> => {
    let found: Activity | undefined;
    await expect
      .poll(
        () => {
          found = activities.front(sessionId)?.turn.look();
          return found?.kind;
        },
        { interval: 10, timeout: 8000 },
      )
      .toBe(kind);
    if (found === undefined) throw new Error("nothing was seen");
    return found;
  };
  return { sim, aiServer, activities, turn, seen };
}

test("a turn shows its load, which the next one expects to take as long", async () => {
  const { aiServer, activities, turn, seen } = await place();
  const first = turn("a", "sim: tokens 300");
  expect(await seen("a", "connecting")).toMatchObject({ kind: "connecting" });
  expect(await seen("a", "loading")).toMatchObject({ expectedMs: undefined, again: undefined });
  expect(await seen("a", "generating")).toMatchObject({ kind: "generating" });
  await first;
  await expect.poll(() => activities.figures.length).toBe(1);
  const [figures] = activities.figures;
  expect(figures).toMatchObject({ model: "a", tokens: 300, cachedTokens: 0 });
  expect(figures?.loadMs).toBeGreaterThan(900);
  expect(figures?.perSecond).toBeGreaterThan(50);
  expect(activities.front("a")).toBeUndefined();
  expect(activities.hasAnswered("a")).toBe(true);
  await expect
    .poll(async () => aiServer.remembered.expectedLoadMs(aiServer.config(), "a"))
    .toBe(figures?.loadMs);
});

test("a turn that waits for another model says for whom, and is loaded again afterwards", async () => {
  const { activities, turn, seen } = await place();
  await turn("a", "sim: tokens 3");
  const other = turn("b", "sim: tokens 350");
  await seen("b", "generating");
  const again = turn("a", "sim: tokens 3");
  expect(await seen("a", "waiting")).toMatchObject({ blockedBy: "b" });
  await expect
    .poll(() => activities.front("a")?.turn.look(), { interval: 20, timeout: 5000 })
    .toMatchObject({ kind: "waiting", requests: 1 });
  expect(activities.front("a")?.others).toBe(1);
  await other;
  expect(await seen("a", "loading")).toMatchObject({ again: { blockedBy: "b" } });
  await again;
  // What is seen between two turns counts as well.
  activities.seeReady(["banner"]);
  await turn("b", "sim: tokens 3");
  await expect.poll(() => activities.front("b")).toBeUndefined();
  activities.seeReady(["b"]);
  const third = turn("a", "sim: tokens 3");
  expect(await seen("a", "loading")).toMatchObject({ again: { blockedBy: "b" } });
  await third;
});

test("behind llama-swap's banner the load is told as one", async () => {
  const { activities, turn, seen } = await place();
  const answer = turn("banner", "sim: say hello");
  expect(await seen("banner", "loading")).toMatchObject({ kind: "loading" });
  expect((await answer).stopReason).toBe("stop");
  await expect.poll(() => activities.figures.at(-1)?.loadMs).toBeGreaterThan(700);
});

test("behind the banner a place in the queue is dropped when the load begins", async () => {
  const { activities, turn, seen } = await place();
  await turn("b", "sim: tokens 3");
  const other = turn("b", "sim: tokens 500");
  await seen("b", "generating");
  const answer = turn("banner", "sim: say hello");
  await expect
    .poll(() => seen("banner", "waiting"), { timeout: 5000 })
    .toMatchObject({ blockedBy: "b", position: 1 });
  await other;
  const load = await seen("banner", "loading");
  expect(load).toMatchObject({ elapsedMs: expect.any(Number) });
  expect((load as { elapsedMs: number }).elapsedMs).toBeLessThan(1000);
  expect((await answer).stopReason).toBe("stop");
  await expect.poll(() => activities.figures.at(-1)?.loadMs).toBeLessThan(4000);
}, 30_000);

test("a swap that nobody saw is told by what the server answered last", async () => {
  const { aiServer, turn, seen } = await place();
  await turn("a", "sim: tokens 3");
  const { http } = await aiServer.server();
  const messages = [{ role: "user", content: "sim: say hello" }];
  const body = JSON.stringify({ model: "b", messages });
  const headers = { "content-type": "application/json" };
  const asked = await http.request({ method: "POST", path: "/v1/chat/completions", body, headers });
  await asked.body.dump();
  const again = turn("a", "sim: tokens 3");
  expect(await seen("a", "loading")).toMatchObject({ again: { blockedBy: undefined } });
  await expect
    .poll(() => seen("a", "loading"), { interval: 20 })
    .toMatchObject({ again: { blockedBy: "b" } });
  await again;
});

test("a turn that fails leaves no figures and is no longer under way", async () => {
  const { sim, activities, turn } = await place();
  sim.failNext({ path: "/v1/chat/completions", status: 400, body: '{"error":{"message":"no"}}' });
  expect((await turn("a", "hello")).stopReason).toBe("error");
  await expect.poll(() => activities.front(undefined)).toBeUndefined();
  expect([activities.figures, activities.hasAnswered("a")]).toEqual([[], false]);
});

test("a listener that throws ends no turn", async () => {
  const { activities, turn } = await place();
  activities.onChange(() => {
    throw new Error("This extension ctx is stale after session replacement or reload.");
  });
  expect((await turn("b", "sim: say hello")).stopReason).toBe("stop");
});

test("a turn begun while the server restarts says by which command, and is answered when it is back", async () => {
  const { sim, aiServer, turn, seen } = await place();
  // What Caddy answers meanwhile: to looks, to the request, and to the questions whether it is back.
  for (let request = 0; request < 6; request += 1) sim.failNext({ status: 502 });
  const end = Promise.withResolvers<void>();
  const command = aiServer.exclusively("/ai-server-restart", () => end.promise);
  const first = turn("b", "sim: say Back");
  expect(await seen("b", "down")).toMatchObject({ by: "/ai-server-restart" });
  expect((await first).content).toEqual([{ type: "text", text: "Back" }]);
  end.resolve();
  await command;
});

test("a command that restarts nothing is not named for it", async () => {
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
