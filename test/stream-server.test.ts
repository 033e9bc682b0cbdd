/** Turns against the stand-in, over real mutual TLS. Time passes faster there and here by the same factor. */

import type { SimpleStreamOptions } from "@earendil-works/pi-ai";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { readConfig } from "../config.ts";
import { ModelServer } from "../server/model-server.ts";
import { type Sim, startSim } from "../sim/server.ts";
import { assistant, call, model, result, system, tool, transcript, user } from "./support/samples.ts";
import { eventually } from "./support/sim-client.ts";
import { beginTurn, type RunningTurn, type TurnResult } from "./support/turns.ts";
import { drained } from "./support/wire.ts";

const SPEED = 20;
const COMMAND = `llama-server --port \${PORT} --ctx-size 65536`;
const CONFIG = `
healthCheckTimeout: 15
models:
  quick: { cmd: "${COMMAND} -m /models/quick.gguf" }
  other: { cmd: "${COMMAND} -m /models/other.gguf --load 3 --no-reasoning" }
  slow: { cmd: "${COMMAND} -m /models/slow.gguf --token-rate 20 --no-reasoning --parallel 2" }
  loads: { cmd: "${COMMAND} -m /models/loads.gguf --load 8 --no-reasoning" }
  fails: { cmd: "${COMMAND} -m /models/fails.gguf --load 9 --fail-after 1.1" }
  hangs: { cmd: "${COMMAND} -m /models/hangs.gguf --never-healthy" }
  missing: { cmd: "/nonexistent/llama-server --port \${PORT}" }
  unchecked: { cmd: "${COMMAND} -m /models/unchecked.gguf --load 4 --no-reasoning", checkEndpoint: none }
  banner: { cmd: "${COMMAND} -m /models/banner.gguf --load 6 --no-reasoning", sendLoadingState: true }
  banner-fails: { cmd: "${COMMAND} -m /models/bf.gguf --load 9 --fail-after 3", sendLoadingState: true }
  single: { cmd: "${COMMAND} -m /models/single.gguf --token-rate 20 --no-reasoning", concurrencyLimit: 1 }
  small: { cmd: "llama-server --port \${PORT} -m /models/small.gguf --ctx-size 1024 --no-reasoning" }
`;

let sim: Sim;
let server: ModelServer;
const origin = { real: performance.now(), date: Date.now() };
const clock = {
  now: (): number => Math.round(origin.date + (performance.now() - origin.real) * SPEED),
  sleep: (milliseconds: number, signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const end = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", end);
        if (signal.aborted) reject(signal.reason);
        else resolve();
      };
      const timer = setTimeout(end, milliseconds / SPEED);
      signal.addEventListener("abort", end, { once: true });
    }),
};

function connect(env: Record<string, string> = {}): ModelServer {
  const address = { AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir };
  return new ModelServer(readConfig({ ...address, ...env }, {}, sim.dir), clock.now);
}

function begin(
  id: string,
  text: string,
  options: SimpleStreamOptions = {},
  on: ModelServer = server,
): RunningTurn {
  const tools = [tool("bash", { command: { type: "string" } })];
  const context = transcript(system("Be short.", { toolsAdded: tools }), user(text));
  return beginTurn(on, { clock, on: model({ id, name: id }), context, options });
}

function turn(id: string, text: string, options?: SimpleStreamOptions): Promise<TurnResult> {
  return begin(id, text, options).ended;
}

const chats = () => sim.requests.filter(({ path }) => path === "/v1/chat/completions");
const plainError = ({ message }: TurnResult): string =>
  message.errorMessage?.replaceAll("\u2060", "") ?? message.stopReason;

beforeAll(async () => {
  sim = await startSim({ config: CONFIG, speed: SPEED });
  server = connect();
});

beforeEach(() => {
  sim.requests.length = 0;
});

afterAll(async () => {
  await server.close();
  await sim.close();
});

describe("a turn over mutual TLS", () => {
  it("brings thinking, text and a call, and the next one counts the cached tokens", async () => {
    const first = await turn(
      "quick",
      'sim: think Let me see\nsim: say Look:\nsim: tool bash {"command":"ls -la"}',
    );
    expect(first.message).toMatchObject({
      stopReason: "toolUse",
      content: [
        { type: "thinking", thinking: "Let me see" },
        { type: "text", text: "Look:" },
        { type: "toolCall", name: "bash", arguments: { command: "ls -la" } },
      ],
    });
    const again = await turn(
      "quick",
      'sim: think Let me see\nsim: say Look:\nsim: tool bash {"command":"ls -la"}',
    );
    const { usage } = again.message;
    expect(usage.cacheRead).toBeGreaterThan(usage.input);
    expect(usage.totalTokens).toBe(usage.input + usage.cacheRead + usage.output);
    expect(usage.output).toBe(first.message.usage.output);
    expect(first.message.usage.input + first.message.usage.cacheRead).toBe(usage.input + usage.cacheRead);
  });

  it("sends the results of parallel calls in the next request", async () => {
    const context = transcript(
      user("Go"),
      assistant([call("a", "bash", { command: "x" }), call("b", "bash", { command: "y" })]),
      result("b", "two"),
      result("a", "one"),
    );
    const { message } = await beginTurn(server, { clock, on: model({ id: "quick" }), context }).ended;
    expect(message.stopReason).toBe("stop");
    expect(JSON.parse(chats()[0]?.body ?? "").messages.map((one: { role: string }) => one.role)).toEqual([
      "user",
      "assistant",
      "tool",
      "tool",
    ]);
  });

  it("sends the session id and no key, unless one is configured", async () => {
    const options = {
      sessionId: "s-1",
      apiKey: "ai-server-mtls",
      headers: { authorization: "Bearer ai-server-mtls" },
    };
    await turn("quick", "sim: say Hi", options);
    expect(chats()[0]?.headers).toMatchObject({ "x-session-id": "s-1", "content-type": "application/json" });
    expect(chats()[0]?.headers).not.toHaveProperty("authorization");
    const keyed = connect({ AI_SERVER_API_KEY: "secret" });
    await begin("quick", "sim: say Hi", options, keyed).ended;
    await keyed.close();
    expect(chats()[1]?.headers.authorization).toBe("Bearer secret");
  });

  it("needs no new handshake for the next one", async () => {
    await turn("quick", "sim: say Hi");
    const before = sim.handshakes.total;
    for (let number = 0; number < 5; number += 1) await turn("quick", "sim: tokens 50");
    // On a busy machine a turn lasts until it asks how far the server is: that takes a second connection, once.
    expect(sim.handshakes.total).toBeLessThanOrEqual(before + 1);
  });

  it("runs beside another one, each with its own answer", async () => {
    const [first, second] = await Promise.all([
      turn("slow", "sim: tokens 20"),
      turn("slow", "sim: say Only this"),
    ]);
    expect(first.message.content).toEqual([
      { type: "text", text: Array.from({ length: 20 }, () => "ok").join(" ") },
    ]);
    expect(second.message.content).toEqual([{ type: "text", text: "Only this" }]);
  });
});

describe("loading", () => {
  it("is awaited and shown", async () => {
    const { message, activities } = await turn("loads", "sim: say Hi");
    expect(message.content).toEqual([{ type: "text", text: "Hi" }]);
    expect(activities).toContainEqual({ kind: "loading", elapsedMs: expect.any(Number) });
    expect(chats()).toHaveLength(1);
  });

  it("waits for a busy model, and names it", async () => {
    const busy = begin("slow", "sim: tokens 150");
    await eventually(() => expect(busy.events).toContain("text_delta"));
    const waiting = await turn("other", "sim: say Hi");
    expect(waiting.activities).toContainEqual({ kind: "waiting", blockedBy: "slow" });
    expect(waiting.message.stopReason).toBe("stop");
    expect((await busy.ended).message.stopReason).toBe("stop");
  });

  it("keeps llama-swap's banner out of the answer", async () => {
    const { message } = await turn("banner", "sim: say Hi");
    expect(message.content).toEqual([{ type: "text", text: "Hi" }]);
  });

  it("of an unchecked model lasts through 502 and 503", async () => {
    const { message } = await turn("unchecked", "sim: say Hi");
    expect(message.content).toEqual([{ type: "text", text: "Hi" }]);
    expect(chats().map(({ status }) => status)).toContain(503);
  });

  it("begins again after an unload interrupts it", async () => {
    await server.http
      .request({ method: "POST", path: "/api/models/unload" })
      .then(({ body }) => drained(body));
    const loading = begin("loads", "sim: say Hi");
    await eventually(() =>
      expect(loading.activities).toContainEqual({ kind: "loading", elapsedMs: expect.any(Number) }),
    );
    await server.http
      .request({ method: "POST", path: "/api/models/unload/loads" })
      .then(({ body }) => drained(body));
    expect((await loading.ended).message.content).toEqual([{ type: "text", text: "Hi" }]);
    expect(chats().map(({ status }) => status)).toEqual([500, 200]);
  });

  it.each([
    ["fails", "upstream command exited prematurely", "failed to load model"],
    ["banner-fails", "upstream command exited prematurely", "failed to load model"],
    ["hangs", "health check timed out after 15s", ""],
    ["missing", "no such file or directory", ""],
  ])("%s ends at once with its reason and its log", async (id, reason, log) => {
    const before = sim.starts[id] ?? 0;
    const failed = await turn(id, "sim: say Hi", { maxRetries: 3 });
    expect(plainError(failed)).toMatch(new RegExp(`^${id} could not be loaded: .*${reason}`));
    if (log !== "") expect(plainError(failed)).toMatch(new RegExp(`Its log ends with:\n[^]*${log}`));
    expect(chats()).toHaveLength(1);
    expect((sim.starts[id] ?? 0) - before).toBe(id === "missing" ? 0 : 1);
  });
});

describe("faults on the way", () => {
  it("a crash is retried once, then reported with the log", async () => {
    const before = sim.starts.quick ?? 0;
    const crashed = await turn("quick", "sim: crash 0");
    expect(plainError(crashed)).toMatch(
      /^quick gave no answer, twice: its process ended or could not be reached\nIts log ends with:\n/,
    );
    expect(chats()).toHaveLength(2);
    expect((sim.starts.quick ?? 0) - before).toBeLessThanOrEqual(2);
  });

  it.each([
    ["crash 3", /^The answer broke off: /],
    ["cut 3", /^The answer broke off: the connection was lost /],
    [
      "error 3 The disk is full",
      /^The server ended the answer with an error \(server error\)\. It says: The disk is full$/,
    ],
    ["bare 3 proxy error: Failed to read connection", /^The model's process ended while it answered /],
    [
      "nofinish\nsim: nodone\nsim: tokens 3",
      /^The answer broke off: the stream ended without its last event/,
    ],
  ])("%s after content keeps what came and is not tried again", async (fault, sentence) => {
    const failed = await turn("quick", `sim: tokens 9\nsim: ${fault}`, { maxRetries: 2 });
    expect(plainError(failed)).toMatch(sentence);
    expect(failed.message.content).toMatchObject([{ type: "text", text: expect.stringMatching(/^ok/) }]);
    expect(failed.message.usage.output).toBeGreaterThan(0);
    expect(chats()).toHaveLength(1);
  });

  it("a turn whose connection is lost before the answer is sent again once", async () => {
    sim.failNext({ path: "/v1/chat" });
    const { message } = await turn("quick", "sim: say Hi");
    expect(message.content).toEqual([{ type: "text", text: "Hi" }]);
    expect(chats().length).toBe(2);
  });

  it("a turn leaves out a field that the server refuses, and later turns do too", async () => {
    const own = connect();
    const body =
      '{"error":{"message":"unknown field: return_progress","type":"invalid_request_error","code":400}}';
    sim.failNext({ path: "/v1/chat", status: 400, body });
    expect((await begin("quick", "sim: say Hi", {}, own).ended).message.stopReason).toBe("stop");
    await begin("quick", "sim: say Hi", {}, own).ended;
    await own.close();
    expect(chats().map((chat) => JSON.parse(chat.body).return_progress)).toEqual([
      true,
      undefined,
      undefined,
    ]);
  });

  it("a turn waits while the server has too many requests", async () => {
    const hangUp = new AbortController();
    const first = begin("single", "sim: tokens 100000", { signal: hangUp.signal });
    await eventually(() => expect(first.events).toContain("text_delta"));
    const second = begin("single", "sim: say Hi");
    const waits = { kind: "retrying", why: "the server has too many requests", delayMs: 1000 };
    await eventually(() => expect(second.activities).toContainEqual(waits));
    hangUp.abort();
    expect((await second.ended).message.stopReason).toBe("stop");
    expect((await first.ended).message.stopReason).toBe("aborted");
  });

  it("a prompt beyond the window reports the real window", async () => {
    const overflow = await turn("small", `sim: say Hi\n${"word ".repeat(3000)}`);
    expect(overflow.message.errorMessage).toBe(
      "context_length_exceeded: the conversation (3,038 tokens) no longer fits into the model's context (1,024 tokens).",
    );
    expect(overflow.windows).toEqual([1024]);
  });
});

describe("an abort", () => {
  it("in the stream hangs up before another token is made, and the next turn is served at once", async () => {
    const stop = new AbortController();
    const running = begin("slow", "sim: tokens 2000", { signal: stop.signal });
    await eventually(() => expect(running.events).toContain("text_delta"));
    stop.abort();
    const { message } = await running.ended;
    expect(message).toMatchObject({
      stopReason: "aborted",
      content: [{ type: "text", text: expect.stringMatching(/^ok/) }],
    });
    const [record] = chats();
    await eventually(() => expect(record?.disconnectedAt).toBeTypeOf("number"));
    expect(record?.tokensAfterDisconnect).toBeLessThanOrEqual(1);
    expect(chats()).toHaveLength(1);
    expect((await turn("slow", "sim: say Hi")).message.stopReason).toBe("stop");
  });

  it("while the model loads hangs up", async () => {
    await server.http
      .request({ method: "POST", path: "/api/models/unload" })
      .then(({ body }) => drained(body));
    const stop = new AbortController();
    const running = begin("loads", "sim: say Hi", { signal: stop.signal });
    await eventually(() => expect(running.activities.some(({ kind }) => kind === "loading")).toBe(true));
    stop.abort();
    expect((await running.ended).message).toMatchObject({ stopReason: "aborted", content: [] });
    await eventually(() => expect(chats()[0]?.disconnectedAt).toBeTypeOf("number"));
    expect(chats()).toHaveLength(1);
  });

  it("while the connection is made ends at once", async () => {
    const stop = new AbortController();
    const own = connect();
    const running = begin("quick", "sim: say Hi", { signal: stop.signal }, own);
    await new Promise(setImmediate);
    stop.abort();
    expect((await running.ended).message.stopReason).toBe("aborted");
    await own.close();
  });
});
