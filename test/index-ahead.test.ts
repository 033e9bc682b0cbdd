import type {
  Api,
  AssistantMessage,
  Model,
  SimpleStreamOptions,
  TranscriptContext,
} from "@earendil-works/pi-ai";
import type { ExtensionContext } from "@earendil-works/pi-coding-agent";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import extension from "../index.ts";
import { unloadModel } from "../server/load.ts";
import { ModelServer } from "../server/model-server.ts";
import { type RequestRecord, startSim } from "../sim/server.ts";
import { unchanged } from "./support/clock.ts";
import { FakePi, toolOf } from "./support/fake-pi.ts";
import { startKind } from "./support/kinds.ts";
import { ownAgentDir, setEnv } from "./support/pi-variables.ts";
import { integer, RUNS, seeded } from "./support/random.ts";
import { assistant, system, user } from "./support/samples.ts";
import { clientOf, kept } from "./support/wire.ts";

const CMD = `llama-server --port \${PORT} -c 65536 --no-reasoning --load 0.3`;
const METADATA = "metadata: { context_length: 65536 }";

/** Of `slow`, a prompt of some tokens takes minutes. */
const CONFIG = `
models:
  a: { cmd: "${CMD}", ${METADATA} }
  b: { cmd: "${CMD}", ${METADATA} }
  slow: { cmd: "${CMD} --prompt-rate 0.1 --parallel 2", ${METADATA} }
  broken: { cmd: "${CMD} --fail-after 0.1", ${METADATA} }
`;

beforeEach(() => {
  ownAgentDir();
  setEnv({ PI_OFFLINE: undefined, AI_SERVER_URL: undefined, AI_SERVER_WARM: undefined });
});

/** A chat/completions body, as far as the tests look into it. */
interface Body {
  model: string;
  max_tokens: number;
  messages: { role: string; content: string }[];
  [field: string]: unknown;
}

/** A pi that has read the models of a server, and has no session yet. */
async function pick(warm: string | undefined, speed = 20) {
  return picked(await kept(startSim({ config: CONFIG, speed })), warm);
}

/** The same, of a server that is there. */
async function picked<S extends { url: string; certsDir: string; requests: readonly RequestRecord[] }>(
  sim: S,
  warm: string | undefined,
) {
  setEnv({ AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir, AI_SERVER_WARM: warm });
  const pi = new FakePi();
  // The only level of these models.
  pi.level = "off";
  await extension(pi.api);
  onTestFinished(() => pi.emit("session_shutdown", undefined));
  await pi.refresh({ allowNetwork: true });
  const modelNamed = (id: string): Model<Api> => {
    const found = pi.provider.getModels().find((model) => model.id === id);
    if (found === undefined) throw new Error(`no model ${id}`);
    return found as Model<Api>;
  };
  const bodies = (): Body[] =>
    sim.requests
      .filter(({ path }) => path === "/v1/chat/completions")
      .map(({ body }) => JSON.parse(body) as Body);
  return {
    sim,
    pi,
    modelNamed,
    /** What was asked of the server, as `GET /running`. */
    asked: () => sim.requests.map(({ method, path }) => `${method} ${path}`),
    bodies,
    /** The bodies that asked for no answer. */
    reads: () => bodies().filter(({ max_tokens }) => max_tokens === 0),
    /** Begins a session on this model, as pi does. */
    begin: (id: string, mode: ExtensionContext["mode"] = "tui") =>
      pi.emit("session_start", pi.context(mode, modelNamed(id)), { reason: "startup" }),
    /** A turn as pi's agent asks for one. */
    turn: (text: string, id = "a", options: SimpleStreamOptions = {}): Promise<AssistantMessage> => {
      const head = system(pi.prompt, { toolsAdded: pi.tools.map(toolOf) });
      const context = { messages: [head, ...pi.messages, user(text)] } as unknown as TranscriptContext;
      const asked = { sessionId: "session", ...options };
      return pi.provider.streamSimple(modelNamed(id), context, asked).result();
    },
  };
}

const NEVER = new AbortController().signal;
const ready = (id: string): RegExp => new RegExp(`^${id} ready`);

describe("a session with AI_SERVER_WARM=load", () => {
  test("loads its model before the first prompt, and says so in the footer", async () => {
    const { sim, pi, begin, bodies } = await pick("load");
    await begin("a");
    await expect.poll(() => pi.statuses).toContain("a loading");
    await expect.poll(() => pi.statuses.at(-1)).toMatch(ready("a"));
    expect(sim.starts).toEqual({ a: 1 });
    await unchanged(bodies);
    expect([bodies(), pi.notices]).toEqual([[], []]);
  });

  test("loads a model that is chosen with /model, and does not say that the first turn would", async () => {
    const { sim, pi, begin, modelNamed } = await pick("load");
    await begin("a");
    await expect.poll(() => pi.statuses.at(-1)).toMatch(ready("a"));
    await pi.select(modelNamed("b"));
    await expect.poll(() => pi.statuses.at(-1)).toMatch(ready("b"));
    expect([sim.starts, pi.notices]).toEqual([{ a: 1, b: 1 }, []]);
  });

  test("lets the load of a model end that was chosen only for a moment", async () => {
    const { sim, pi, begin, modelNamed, asked } = await pick("load");
    await begin("a");
    await expect.poll(() => sim.starts).toEqual({ a: 1 });
    await pi.select(modelNamed("slow"));
    await pi.select(modelNamed("b"));
    await expect.poll(() => pi.statuses.at(-1)).toMatch(ready("b"));
    expect(sim.starts).toEqual({ a: 1, b: 1 });
    expect(asked().filter((request) => request.endsWith("/health"))).toHaveLength(2);
  });

  test("loads nothing beside a model that has just answered, and says what the first turn will cost", async () => {
    const { sim, pi, begin, modelNamed, turn } = await pick("load");
    await begin("b");
    await expect.poll(() => pi.statuses.at(-1)).toMatch(ready("b"));
    await turn("sim: say Hi", "b");
    await pi.select(modelNamed("a"));
    const cost = expect.stringMatching(/^a is not loaded: the first turn loads it.*; it may unload b\.$/);
    await expect.poll(() => pi.notices).toEqual([cost]);
    expect(sim.starts).toEqual({ b: 1 });
  });

  test("does not begin a load again that another client's request has interrupted", async () => {
    const { sim, pi, begin } = await pick("load", 1);
    await begin("a");
    await expect.poll(() => pi.statuses.at(-1)).toBe("a loading");
    const other = await kept(new ModelServer(clientOf(sim.url, sim.certsDir)));
    await unloadModel(other, "a", NEVER);
    const body = JSON.stringify({ model: "b", messages: [{ role: "user", content: "sim: say Hi" }] });
    const answer = other.chat(body, {}, NEVER);
    await expect.poll(() => pi.statuses.at(-1)).not.toBe("a loading");
    sim.setSpeed(50);
    expect((await answer).status).toBe(200);
    await unchanged(() => sim.starts);
    expect(sim.starts).toEqual({ a: 1, b: 1 });
  });

  test("gives way to a command that changes the server", async () => {
    const { sim, pi, begin } = await pick("load", 1);
    await begin("a");
    await expect.poll(() => pi.statuses.at(-1)).toBe("a loading");
    const unload = pi.commands.get("ai-server-unload")?.handler("a", pi.context("tui"));
    await expect.poll(() => pi.statuses.at(-1)).not.toBe("a loading");
    sim.setSpeed(50);
    await unload;
    await unchanged(() => sim.starts);
    expect(sim.starts).toEqual({ a: 1 });
  });

  test("says nothing of a load that fails, which the turn reports", async () => {
    const { pi, begin, modelNamed } = await pick("load");
    await begin("a");
    await expect.poll(() => pi.statuses.at(-1)).toMatch(ready("a"));
    await pi.select(modelNamed("broken"));
    await expect.poll(() => pi.statuses).toContain("broken loading");
    await expect.poll(() => pi.statuses.at(-1)).not.toBe("broken loading");
    expect(pi.notices).toEqual([]);
  });
});

describe("a session with AI_SERVER_WARM=read", () => {
  test("has the model read what its first turn begins with, and says so in the footer", async () => {
    const { pi, begin, reads, bodies, turn } = await pick("read");
    await begin("a");
    await expect.poll(() => pi.statuses).toContain("a reading ahead");
    await expect.poll(() => pi.statuses.at(-1)).toMatch(ready("a"));
    expect(pi.statuses.indexOf("a loading")).toBeLessThan(pi.statuses.indexOf("a reading ahead"));
    await turn("sim: say Hello");
    expect(reads()).toHaveLength(1);
    const [read, sent] = bodies();
    const messages = [...(sent?.messages ?? []).slice(0, -1), { role: "user", content: "x" }];
    // Byte by byte, the order of the fields too.
    expect(JSON.stringify(read)).toBe(JSON.stringify({ ...sent, messages, max_tokens: 0 }));
    expect(sent?.messages.map(({ content }) => content)).toEqual(["You are pi.", "sim: say Hello"]);
    expect(JSON.stringify(sent?.tools)).toContain('"bash"');
  });

  test("reads once for each model and beginning", async () => {
    const { pi, begin, reads, modelNamed } = await pick("read");
    await begin("a");
    await expect.poll(reads).toHaveLength(1);
    await expect.poll(() => pi.statuses.at(-1)).toMatch(ready("a"));
    await pi.emit("session_compact", pi.context("tui"));
    await pi.select(modelNamed("a"));
    await unchanged(reads);
    expect(reads()).toHaveLength(1);
    pi.prompt = "You are another one.";
    await pi.emit("session_compact", pi.context("tui"));
    await expect.poll(reads).toHaveLength(2);
    expect(reads()[1]?.messages[0]?.content).toBe("You are another one.");
    pi.tools = ["read", "web"];
    await pi.emit("session_compact", pi.context("tui"));
    await expect.poll(reads).toHaveLength(3);
    expect(JSON.stringify(reads()[2]?.tools)).toContain('"web"');
  });

  test("reads again what a model has read that was unloaded meanwhile", async () => {
    const { pi, begin, reads, modelNamed } = await pick("read");
    await begin("a");
    await expect.poll(reads).toHaveLength(1);
    await expect.poll(() => pi.statuses.at(-1)).toMatch(ready("a"));
    await pi.commands.get("ai-server-unload")?.handler("a", pi.context("tui"));
    await pi.select(modelNamed("a"));
    await expect.poll(reads).toHaveLength(2);
  });

  test("reads after a compaction what pi then continues from", async () => {
    const { pi, begin, reads, turn } = await pick("read");
    await begin("a");
    await expect.poll(reads).toHaveLength(1);
    await turn("sim: say Hello");
    const summary = { role: "compactionSummary", summary: "They greeted.", tokensBefore: 9, timestamp: 0 };
    pi.messages = [
      system("You are pi.", { toolsAdded: pi.tools.map(toolOf) }),
      summary as never,
      user("And then?"),
      assistant("Then that."),
    ];
    await pi.emit("session_compact", pi.context("tui"));
    await expect.poll(reads).toHaveLength(2);
    const contents = reads()[1]?.messages.map(({ content }) => content);
    expect(contents?.slice(2)).toEqual(["And then?", "Then that.", "x"]);
    expect(contents?.[1]).toMatch(/compacted.*They greeted\./s);
  });

  test("sends what was read by the same way as the turns: with pi's hook of the last one", async () => {
    const { pi, begin, reads, turn } = await pick("read");
    await begin("a");
    await expect.poll(reads).toHaveLength(1);
    const onPayload = (body: unknown): unknown => ({ ...(body as object), user: "me" });
    await turn("sim: say Hello", "a", { onPayload });
    pi.prompt = "You are compacted.";
    await pi.emit("session_compact", pi.context("tui"));
    await expect.poll(reads).toHaveLength(2);
    expect(reads().map(({ user }) => user)).toEqual([undefined, "me"]);
  });

  test("names the conversation as its turns do", async () => {
    const { sim, begin, reads } = await pick("read");
    await begin("a");
    await expect.poll(reads).toHaveLength(1);
    const chat = sim.requests.find(({ path }) => path === "/v1/chat/completions");
    expect(chat?.headers["x-session-id"]).toBe("session");
  });

  test("ends the reading at once when a turn comes, which does not wait for it", async () => {
    const { sim, pi, begin, reads, bodies, turn } = await pick("read");
    await begin("slow");
    await expect.poll(() => pi.statuses.at(-1)).toBe("slow reading ahead");
    await expect.poll(reads).toHaveLength(1);
    const answer = turn("sim: say Hello", "slow");
    await expect.poll(() => pi.statuses.at(-1)).not.toBe("slow reading ahead");
    sim.setSpeed(1000);
    expect((await answer).errorMessage).toBeUndefined();
    expect([bodies().length, reads().length]).toEqual([2, 1]);
  });

  test("ends it also on a llama-server, which shows no requests", async () => {
    const models = { slow: "-c 65536 --no-reasoning --prompt-rate 0.1" };
    const sim = await kept(startKind("llama-server", { models, speed: 20 }));
    const { pi, begin, reads, turn } = await picked(sim, "read");
    await begin("slow");
    await expect.poll(() => pi.statuses.at(-1)).toBe("slow reading ahead");
    await expect.poll(reads).toHaveLength(1);
    const answer = turn("sim: say Hello", "slow");
    const chats = () => sim.requests.filter(({ path }) => path === "/v1/chat/completions");
    // The stand-in reads a batch to its end, as a real one does: the turn has not been answered.
    await expect.poll(() => chats()[0]?.disconnectedAt).toBeDefined();
    expect(pi.statuses.at(-1)).not.toBe("slow reading ahead");
    sim.setSpeed(1000);
    expect((await answer).errorMessage).toBeUndefined();
  });

  test("ends the reading when a request of another client comes", async () => {
    const { sim, pi, begin, reads } = await pick("read");
    await begin("slow");
    await expect.poll(() => pi.statuses.at(-1)).toBe("slow reading ahead");
    await expect.poll(reads).toHaveLength(1);
    const other = await kept(new ModelServer(clientOf(sim.url, sim.certsDir)));
    const body = JSON.stringify({ model: "slow", stream: true, messages: [{ role: "user", content: "Hi" }] });
    const answer = other.chat(body, {}, NEVER);
    await expect.poll(() => pi.statuses.at(-1)).not.toBe("slow reading ahead");
    sim.setSpeed(1000);
    expect((await answer).status).toBe(200);
    expect(reads()).toHaveLength(1);
  });
});

test("a turn that comes at any moment is answered, and ends what was begun for it", async () => {
  const values = seeded(7);
  for (let round = 0; round < 3 * RUNS; round += 1) {
    const { sim, pi, begin, turn, reads, bodies } = await pick("read", 50);
    await begin("a");
    // Between the first question and the end of the reading, which takes about as long.
    await new Promise((resolve) => setTimeout(resolve, integer(values, 0, 60)));
    const answer = turn(`sim: say Answer ${round}`);
    const begun = reads().length;
    expect(await answer).toMatchObject({ stopReason: "stop", content: [{ text: `Answer ${round}` }] });
    await expect.poll(() => pi.statuses.at(-1)).not.toMatch(/loading|reading ahead/);
    await unchanged(bodies);
    expect(sim.starts).toEqual({ a: 1 });
    // A reading that was sent in that moment has ended before it arrived.
    expect(reads().length - begun).toBeLessThanOrEqual(1);
    await pi.emit("session_shutdown", undefined);
    await sim.close();
  }
});

describe("nothing is asked of the server for a turn that has not come", () => {
  test.each(["off", undefined])("with AI_SERVER_WARM=%s", async (warm) => {
    const { sim, pi, begin, asked } = await pick(warm);
    await begin("a", "rpc");
    await pi.emit("session_compact", pi.context("rpc"));
    await unchanged(asked);
    expect(sim.starts).toEqual({});
    expect(asked().filter((request) => !["GET /running", "GET /v1/models"].includes(request))).toEqual([]);
  });

  test.each(["print", "json"] as const)("in %s mode, where the prompt is there", async (mode) => {
    const { sim, begin, asked } = await pick("read");
    await begin("a", mode);
    await unchanged(asked);
    expect(sim.starts).toEqual({});
  });

  test("with PI_OFFLINE", async () => {
    const { sim, pi, begin, asked, modelNamed } = await pick("read");
    setEnv({ PI_OFFLINE: "1" });
    const before = asked().length;
    await begin("a");
    await pi.select(modelNamed("b"));
    await unchanged(asked);
    expect([sim.starts, asked().length]).toEqual([{}, before]);
  });

  test("for another provider's model", async () => {
    const { sim, pi, asked, modelNamed } = await pick("read");
    const ctx = pi.context("tui", { ...modelNamed("a"), provider: "cloud" });
    await pi.emit("session_start", ctx, { reason: "startup" });
    await unchanged(asked);
    expect(sim.starts).toEqual({});
  });
});
