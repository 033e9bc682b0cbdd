import { expect, onTestFinished, test } from "vitest";
import { TurnActivity } from "../../activity/turn-activity.ts";
import { loadAhead, readAhead } from "../../provider/ahead.ts";
import { AiServer } from "../../provider/ai-server.ts";
import { startSim } from "../../sim/server.ts";
import { model, system, transcript, user } from "../support/samples.ts";
import { kept } from "../support/wire.ts";

const CONFIG = `
models:
  loaded: { cmd: "llama-server --port \${PORT} --load 0.1" }
  other: { cmd: "llama-server --port \${PORT} --load 0.1" }
hooks:
  on_startup: { preload: [loaded] }
`;
const NEVER = new AbortController().signal;
const WORK = { signal: NEVER, onBegin: () => {} };
const AHEAD = transcript(system("You are pi."), user("x"));

async function place() {
  const sim = await kept(startSim({ config: CONFIG, speed: 50 }));
  const env = { AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir };
  const aiServer = new AiServer({ env, agentDir: "/nowhere", now: Date.now, onChanged: () => {} });
  onTestFinished(() => aiServer.close());
  const load = (id: string) => loadAhead(aiServer, model({ id }), WORK);
  const read = (id: string) => readAhead(aiServer, model({ id }), AHEAD, {}, WORK);
  await expect.poll(() => sim.starts).toEqual({ loaded: 1 });
  await expect.poll(() => load("loaded")).toBe("ready");
  return { sim, aiServer, load, read };
}

test("a free server loads and reads", async () => {
  const { sim, load, read } = await place();
  expect(await read("loaded")).toBe(true);
  expect(await load("other")).toBe("loaded");
  expect(sim.starts).toEqual({ loaded: 1, other: 1 });
});

test("nothing is loaded or read while a turn of this pi runs, also one that the server does not have yet", async () => {
  const { sim, aiServer, load, read } = await place();
  const subject = { id: "cloud", name: "cloud", sessionId: undefined, hasAnswered: false };
  const nothing = async (): Promise<undefined> => undefined;
  const questions = { expectedLoadMs: nothing, requestsOf: nothing, lastUsed: nothing };
  aiServer.activities.begin(new TurnActivity(subject, questions, Date.now));
  expect([await load("other"), await read("loaded")]).toEqual([undefined, false]);
  expect(sim.starts).toEqual({ loaded: 1 });
});

test("nothing is loaded or read while a command changes the server", async () => {
  const { sim, aiServer, load, read } = await place();
  await aiServer.exclusively("/ai-server-restart", async () => {
    expect([await load("other"), await read("loaded")]).toEqual([undefined, false]);
  });
  expect(sim.starts).toEqual({ loaded: 1 });
  expect(await read("loaded")).toBe(true);
});

test("a model that runs elsewhere, as a peer's, is neither loaded nor asked", async () => {
  const { sim, aiServer } = await place();
  const peer = { ...model({ id: "peer/big" }), aiServer: { runsAs: undefined } };
  const before = sim.requests.length;
  expect(await loadAhead(aiServer, peer, WORK)).toBeUndefined();
  expect(await readAhead(aiServer, peer, AHEAD, {}, WORK)).toBe(false);
  expect(sim.requests.length).toBe(before);
});
