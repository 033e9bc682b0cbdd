import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { Activities } from "../../activity/activities.ts";
import { TurnActivity } from "../../activity/turn-activity.ts";
import type { Variables } from "../../config.ts";
import { AiServer } from "../../provider/ai-server.ts";
import type { ServedModel } from "../../provider/pi-models.ts";
import { type Display, openDisplay } from "../../session/display.ts";
import { startSim } from "../../sim/server.ts";
import { FakeTimer, unchanged } from "../support/clock.ts";
import { FakeTerminal } from "../support/fake-terminal.ts";
import { kept } from "../support/wire.ts";

const CONFIG = `
models:
  a:
    cmd: llama-server --port \${PORT} -c 65536
  b:
    cmd: llama-server --port \${PORT} -c 32768
    metadata: { context_length: 32768 }
`;

/** A session in the terminal, before a server with two models. */
async function open(more: Variables = {}) {
  const agentDir = mkdtempSync(join(tmpdir(), "display-test-"));
  onTestFinished(() => rmSync(agentDir, { recursive: true, force: true }));
  const sim = await kept(startSim({ config: CONFIG, speed: 100 }));
  const env = { AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir, ...more };
  const aiServer = new AiServer({ env, agentDir, now: Date.now, onChanged: () => {} });
  await kept(aiServer);
  const terminal = new FakeTerminal();
  const activities = new Activities();
  const clock = new FakeTimer();
  let changes = 0;
  const onReadyChanged = (): void => {
    changes += 1;
  };
  const ctx = terminal.context();
  const display = await openDisplay({ ctx, aiServer, activities, env, agentDir, onReadyChanged, clock });
  onTestFinished(() => display.close());
  const server = await aiServer.server();
  /** Reads the models as pi's refresh does. */
  const discover = async (): Promise<void> => {
    await aiServer.refresh({
      allowNetwork: true,
      signal: new AbortController().signal,
      publish: async ({ update }: { update?: () => void }) => {
        update?.();
        return true;
      },
    } as Parameters<AiServer["refresh"]>[0]);
  };
  await discover();
  const modelOf = (id: string): ServedModel => {
    const model = aiServer.models.find((one) => one.id === id);
    if (model === undefined) throw new Error(`there is no ${id}`);
    return model;
  };
  const load = async (id: string): Promise<void> => {
    await server.http.json(`/upstream/${id}/health`, { timeoutMs: 5000 });
  };
  sim.requests.length = 0;
  return {
    sim,
    terminal,
    activities,
    clock,
    display,
    aiServer,
    server,
    modelOf,
    load,
    discover,
    changes: () => changes,
  };
}

function begin(activities: Activities, now: () => number): void {
  const nothing = async (): Promise<undefined> => undefined;
  const none = { expectedLoadMs: nothing, requestsOf: nothing, lastUsed: nothing };
  const subject = { id: "a", name: "a", sessionId: "session", hasAnswered: false };
  activities.begin(new TurnActivity(subject, none, now));
}

describe("the footer", () => {
  test("shows a window only once it was read from the model itself", async () => {
    const { display, terminal, modelOf, load, discover, changes } = await open();
    display.select(modelOf("b"));
    await expect.poll(() => terminal.statuses).toEqual(["no model loaded"]);
    await load("b");
    display.agentRuns(true);
    display.agentRuns(false);
    await expect.poll(() => terminal.statuses.at(-1)).toBe("b ready");
    expect(changes()).toBe(1);
    await discover();
    display.modelsChanged();
    expect(terminal.statuses.at(-1)).toBe("b ready · 32k");
    display.select(modelOf("a"));
    await expect.poll(() => terminal.statuses.at(-1)).toBe("b ready · 32k");
  });

  test.each([
    ["PI_OFFLINE is set", { PI_OFFLINE: "1" }, "ai-server"],
    ["pi's model is another provider's", {}, "other"],
  ])("sends no request where %s", async (_what, env, provider) => {
    const { display, terminal, clock, modelOf, sim } = await open(env);
    display.select({ ...modelOf("a"), provider });
    display.agentRuns(true);
    display.agentRuns(false);
    clock.advance(300_000);
    await unchanged(() => sim.requests.length);
    expect(sim.requests).toEqual([]);
    expect(terminal.statuses.filter(Boolean)).toEqual([]);
  });
});

describe("the working line", () => {
  const lineOf = async (env: Variables, use: (display: Display, model: ServedModel) => void) => {
    const { display, terminal, activities, clock, modelOf } = await open({ PI_OFFLINE: "1", ...env });
    use(display, modelOf("a"));
    begin(activities, clock.now);
    return { terminal, display, clock };
  };
  const turn = (display: Display, model: ServedModel): void => {
    display.select(model);
    display.agentRuns(true);
    display.turnStarts();
  };

  test("says what a turn does, until the end", async () => {
    const { terminal, display, clock } = await lineOf({}, turn);
    expect(terminal.messages).toEqual(["", "", "Waiting for the server"]);
    display.close();
    display.close();
    expect([terminal.messages.at(-1), clock.left]).toEqual([undefined, 0]);
  });

  test("is pi's own with AI_SERVER_INDICATOR=off", async () => {
    const { terminal, clock, display } = await lineOf({ AI_SERVER_INDICATOR: "off" }, turn);
    display.compacts(true);
    display.close();
    expect([terminal.messages, terminal.widgets, clock.left]).toEqual([[], [], 0]);
  });

  test("shows a quote of the user's, or one of our own", async () => {
    const file = join(mkdtempSync(join(tmpdir(), "display-quotes-")), "quotes");
    onTestFinished(() => rmSync(file, { force: true }));
    writeFileSync(file, "Panta rhei\n");
    const own = await lineOf({ AI_SERVER_INDICATOR: "quotes", AI_SERVER_QUOTES_FILE: file }, turn);
    expect(own.terminal.messages.at(-1)).toBe("⚙ Panta rhei · 0 s · Waiting for the server");
    const none = await lineOf({ AI_SERVER_INDICATOR: "quotes", AI_SERVER_QUOTES_FILE: "/nowhere" }, turn);
    expect(none.terminal.messages.at(-1)).toMatch(/^⚙ .{5,} · 0 s · Waiting for the server$/);
  });

  test("with a wrong AI_SERVER_INDICATOR says so, and shows the activity", async () => {
    const { terminal } = await lineOf({ AI_SERVER_INDICATOR: "disco" }, turn);
    expect(terminal.notices).toEqual(['AI_SERVER_INDICATOR is "disco": it must be activity, quotes or off.']);
    expect(terminal.messages.at(-1)).toBe("Waiting for the server");
  });

  test("is a widget while pi compacts", async () => {
    const { terminal, display } = await lineOf({}, (display, model) => {
      turn(display, model);
      display.compacts(true);
    });
    expect(terminal.widgets).toEqual([["Waiting for the server"]]);
    display.close();
    expect(terminal.widgets.at(-1)).toBeUndefined();
  });
});

describe("what the first turn with a model costs", () => {
  test("is the load, and the models unloaded for it", async () => {
    const { display, modelOf, load, aiServer, server } = await open();
    expect(await display.loadNotice(modelOf("a"))).toBe("a is not loaded: the first turn loads it.");
    await load("b");
    await aiServer.remembered.rememberLoad(server.config, "a", 83_000);
    expect(await display.loadNotice(modelOf("a"))).toBe(
      "a is not loaded: the first turn loads it, which takes about 1 min 23 s; it may unload b.",
    );
    expect(await display.loadNotice(modelOf("b"))).toBeUndefined();
  });

  test("is not asked for where PI_OFFLINE is set", async () => {
    const { display, modelOf, sim } = await open({ PI_OFFLINE: "1" });
    expect(await display.loadNotice(modelOf("a"))).toBeUndefined();
    expect(sim.requests).toEqual([]);
  });
});
