import type { Api, Model, TranscriptContext } from "@earendil-works/pi-ai";
import type { ExtensionContext } from "@earendil-works/pi-coding-agent";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import extension from "../index.ts";
import { type Sim, startSim } from "../sim/server.ts";
import { unchanged } from "./support/clock.ts";
import { FakePi } from "./support/fake-pi.ts";
import { FakeTerminal } from "./support/fake-terminal.ts";
import { ownAgentDir, setEnv } from "./support/pi-variables.ts";
import { kept } from "./support/wire.ts";

const CONFIG = `
models:
  a:
    cmd: llama-server --port \${PORT} -c 65536 --no-reasoning --load 0.1 --token-rate 100
`;

beforeEach(() => {
  ownAgentDir();
  setEnv({ PI_OFFLINE: undefined, AI_SERVER_URL: undefined });
});

interface Place {
  sim: Sim;
  pi: FakePi;
  terminal: FakeTerminal;
  ctx: ExtensionContext;
  /** A turn as pi's agent asks for one. */
  turn(text: string): Promise<unknown>;
  /** The same, until the terminal shows its tokens. */
  countedTurn(): Promise<void>;
}

/** A session that has started on the model `a`, or on another provider's. */
async function session(
  mode: ExtensionContext["mode"],
  provider = "ai-server",
  isReload = false,
): Promise<Place> {
  const sim = await kept(startSim({ config: CONFIG }));
  setEnv({ AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir });
  const pi = new FakePi();
  await extension(pi.api);
  onTestFinished(() => pi.emit("session_shutdown", undefined));
  await pi.refresh({ allowNetwork: true });
  const store = pi.store;
  const [model] = pi.provider.getModels() as Model<Api>[];
  if (model === undefined) throw new Error("no model");
  const terminal = new FakeTerminal();
  terminal.model = { ...model, provider };
  const ctx = terminal.context(mode);
  await pi.emit("session_start", ctx);
  if (isReload) {
    await expect.poll(() => terminal.statuses.length).toBeGreaterThan(0);
    await pi.emit("session_shutdown", ctx);
    await extension(pi.api);
    pi.store = store;
    // pi refreshes in the background of its reload.
    await pi.emit("session_start", ctx);
    await pi.refresh();
  }
  const turn = (text: string): Promise<unknown> => {
    const context = { messages: [{ role: "user", content: text, timestamp: 0 }] };
    const options = { sessionId: "session" };
    return pi.provider.streamSimple(model, context as unknown as TranscriptContext, options).result();
  };
  const countedTurn = async (): Promise<void> => {
    const whole = turn("sim: tokens 5000");
    await expect.poll(() => terminal.messages.at(-1)).toMatch(/\d+ tokens?$/);
    sim.setSpeed(1000);
    await whole;
    sim.setSpeed(1);
  };
  return { sim, pi, terminal, ctx, turn, countedTurn };
}

describe("in the terminal", () => {
  test("the session replaces pi's line from its start, shows what a turn does, and restores the line at its end", async () => {
    const { pi, terminal, ctx, countedTurn } = await session("tui");
    expect(terminal.messages).toEqual([""]);
    await expect.poll(() => terminal.statuses.at(-1)).toBe("no model loaded");
    await pi.emit("agent_start", ctx);
    await pi.emit("turn_start", ctx);
    await countedTurn();
    expect(terminal.messages.filter(Boolean)[0]).toBe("Waiting for the server");
    await expect.poll(() => terminal.messages.at(-1)).toBe("");
    const asked = { messages: [{ role: "assistant", stopReason: "stop" }] };
    await pi.emit("agent_end", ctx, asked);
    await expect.poll(() => terminal.statuses.at(-1)).toMatch(/^a ready/);
    await pi.emit("session_shutdown", ctx);
    expect([terminal.messages.at(-1), terminal.statuses.at(-1)]).toEqual([undefined, undefined]);
  });

  test("the footer shows at once what a command has unloaded", async () => {
    const { pi, terminal, ctx, turn } = await session("tui");
    await turn("sim: say Loaded.");
    await pi.emit("agent_end", ctx, { messages: [{ role: "assistant", stopReason: "stop" }] });
    await expect.poll(() => terminal.statuses.at(-1)).toMatch(/^a ready/);
    await pi.commands.get("ai-server-unload")?.handler("a", ctx);
    await expect.poll(() => terminal.statuses.at(-1)).toBe("no model loaded");
  });

  test("a reload shows everything again, though the session starts before pi passes the models", async () => {
    const { pi, terminal, ctx, countedTurn } = await session("tui", "ai-server", true);
    await expect.poll(() => terminal.statuses.at(-1)).toBe("no model loaded");
    expect(terminal.messages.slice(-3)).toEqual([undefined, "", ""]);
    await pi.emit("agent_start", ctx);
    await pi.emit("turn_start", ctx);
    await countedTurn();
  });

  test("a session on another provider's model shows the footer once a model of ours is selected", async () => {
    const { pi, terminal, ctx } = await session("tui", "other", true);
    terminal.statuses.length = 0;
    terminal.model = { ...terminal.model, provider: "ai-server" };
    await pi.emit("model_select", ctx, { model: terminal.model });
    await expect.poll(() => terminal.statuses.at(-1)).toBe("no model loaded");
    expect(terminal.messages.at(-1)).toBe("");
  });

  test("compaction shows in a widget", async () => {
    const { pi, terminal, ctx, turn } = await session("tui");
    await expect.poll(() => terminal.statuses.length).toBeGreaterThan(0);
    await pi.emit("agent_start", ctx);
    await pi.emit("session_before_compact", ctx);
    await turn("sim: tokens 30");
    expect(terminal.widgets[0]).toEqual(["Waiting for the server"]);
    await expect.poll(() => terminal.widgets.at(-1)).toBeUndefined();
    await pi.emit("session_compact", ctx);
    terminal.widgets.length = 0;
    await turn("sim: tokens 30");
    expect(terminal.widgets).toEqual([]);
    await pi.emit("session_before_compact", ctx);
    await pi.emit("session_compact_failed", ctx);
    await turn("sim: tokens 30");
    expect(terminal.widgets).toEqual([]);
  });

  test("selecting another provider's model restores pi's own line, and sends no request", async () => {
    const { pi, sim, terminal, ctx } = await session("tui");
    await expect.poll(() => terminal.statuses.at(-1)).toBe("no model loaded");
    terminal.model = { ...terminal.model, provider: "other" };
    await pi.emit("model_select", ctx, { model: terminal.model });
    expect([terminal.messages.at(-1), terminal.statuses.at(-1)]).toEqual([undefined, undefined]);
    const asked = sim.requests.length;
    await pi.emit("agent_start", ctx);
    await pi.emit("turn_start", ctx);
    await pi.emit("agent_end", ctx);
    await unchanged(() => [sim.requests.length, terminal.messages]);
    expect([sim.requests.length, terminal.messages.at(-1)]).toEqual([asked, undefined]);
  });

  test("a session on another provider's model shows nothing at all", async () => {
    const { pi, terminal, ctx } = await session("tui", "other");
    await pi.emit("agent_start", ctx);
    await pi.emit("turn_start", ctx);
    await pi.emit("agent_end", ctx);
    await unchanged(() => [terminal.messages, terminal.statuses.filter(Boolean)]);
    expect(terminal.messages).toEqual([]);
    expect(terminal.statuses.filter(Boolean)).toEqual([]);
  });

  test("AI_SERVER_INDICATOR=off leaves pi's own line", async () => {
    setEnv({ AI_SERVER_INDICATOR: "off" });
    const { pi, terminal, ctx, turn } = await session("tui");
    await expect.poll(() => terminal.statuses.at(-1)).toBe("no model loaded");
    await pi.emit("agent_start", ctx);
    await pi.emit("turn_start", ctx);
    await turn("sim: tokens 5");
    expect([terminal.messages, terminal.widgets]).toEqual([[], []]);
  });

  test("selecting an unloaded model gives a notice", async () => {
    const { pi, terminal, ctx } = await session("tui");
    await expect.poll(() => terminal.statuses.at(-1)).toBe("no model loaded");
    await pi.emit("model_select", ctx, { model: terminal.model });
    await expect.poll(() => terminal.notices).toContain("a is not loaded: the first turn loads it.");
  });

  test("a session ends in the middle of a turn, and leaves no connection", async () => {
    const { pi, sim, terminal, ctx, turn } = await session("tui");
    await expect.poll(() => terminal.statuses.length).toBeGreaterThan(0);
    await pi.emit("agent_start", ctx);
    await pi.emit("turn_start", ctx);
    const running = turn("sim: tokens 5000");
    await expect.poll(() => terminal.messages.at(-1)).toMatch(/tokens/);
    const ended = pi.emit("session_shutdown", ctx);
    terminal.end();
    await ended;
    await running;
    await expect.poll(() => sim.connections, { timeout: 5000 }).toBe(0);
  });
});

test.each(["print", "json", "rpc"] as const)("nothing is shown in %s mode", async (mode) => {
  const { pi, terminal, ctx, turn } = await session(mode);
  await pi.emit("agent_start", ctx);
  await pi.emit("turn_start", ctx);
  await turn("sim: tokens 20");
  await pi.emit("agent_end", ctx);
  await unchanged(() => [terminal.messages, terminal.widgets, terminal.statuses]);
  expect([terminal.messages, terminal.widgets, terminal.statuses]).toEqual([[], [], []]);
});
