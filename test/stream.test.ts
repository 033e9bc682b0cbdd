import type { TranscriptContext } from "@earendil-works/pi-ai";
import { describe, expect, it } from "vitest";
import { FakeClock } from "./support/clock.ts";
import { chunk, DONE, events } from "./support/decoding.ts";
import { assistant, model, system, transcript, user } from "./support/samples.ts";
import { beginTurn, FakeServer, lostConnection, turnOn, turnWith } from "./support/turns.ts";

const HI = events(chunk({ content: "Hi" }), chunk({}, "stop")) + DONE;
const OK = { pieces: [HI] };

describe("a turn", () => {
  it("is start, balanced blocks and done", async () => {
    const { events: seen, message, activities } = await turnWith([OK]);
    expect(seen).toEqual(["start", "text_start", "text_delta", "text_end", "done"]);
    expect(message).toMatchObject({
      role: "assistant",
      content: [{ type: "text", text: "Hi" }],
      stopReason: "stop",
      provider: "ai-server",
      model: "thinker",
      responseModel: "script",
      responseId: "chatcmpl-1",
    });
    expect(activities).toEqual([{ kind: "connecting" }, { kind: "generating" }]);
  });

  it("reports the prompt's progress", async () => {
    const progress = { prompt_progress: { total: 100, cache: 60, processed: 80, time_ms: 5 } };
    const { activities } = await turnWith([
      { pieces: [events(chunk({ role: "assistant" }, null, progress)), HI] },
    ]);
    expect(activities).toContainEqual({ kind: "prompt", total: 100, cached: 60, processed: 80 });
  });

  it("reports the queue of a loading banner and keeps it out of the message", async () => {
    const banner = (text: string) => events({ choices: [{ delta: { reasoning_content: text } }] });
    const pieces = [banner("llama-swap loading model: x\n"), banner("Queue pos"), banner("ition: #2\n"), HI];
    const { activities, message } = await turnWith([{ pieces }]);
    expect(activities).toContainEqual({ kind: "waiting", blockedBy: undefined, position: 2 });
    expect(message.content).toEqual([{ type: "text", text: "Hi" }]);
  });

  it("takes an answer that came whole instead of as a stream", async () => {
    const whole = { choices: [{ message: { role: "assistant", content: "Hi" }, finish_reason: "stop" }] };
    const { message } = await turnWith([
      { headers: { "content-type": "application/json" }, pieces: [JSON.stringify(whole)] },
    ]);
    expect(message.content).toEqual([{ type: "text", text: "Hi" }]);
  });

  it.each(["text/plain", "application/json", "text/html", "Text/Event-Stream", ""])(
    "takes a stream that is called %o",
    async (type) => {
      const { message } = await turnWith([{ headers: { "content-type": type }, pieces: [HI] }]);
      expect(message).toMatchObject({ stopReason: "stop", content: [{ text: "Hi" }] });
    },
  );

  it.each([201, 206])("takes an answer with the status %i", async (status) => {
    const headers = { "content-type": "text/event-stream" };
    const { message } = await turnWith([{ status, headers, pieces: [HI] }]);
    expect(message).toMatchObject({ stopReason: "stop", content: [{ text: "Hi" }] });
  });

  it("asks again after an answer of JSON that was cut", async () => {
    const cut = { headers: { "content-type": "application/json" }, pieces: ['{"choices":[{"mess'] };
    const { message, server } = await turnWith([cut, OK]);
    expect(server.chats).toHaveLength(2);
    expect(message).toMatchObject({ stopReason: "stop", content: [{ text: "Hi" }] });
  });

  it("says what came instead of a stream", async () => {
    const { message } = await turnWith([
      { headers: { "content-type": "text/html" }, pieces: ["<html>Welcome</html>"] },
    ]);
    expect(message.errorMessage).toBe(
      "The server answered a chat request with text/html instead of a stream. Check that AI_SERVER_URL leads to the model server.",
    );
  });

  it("sees an error that came whole with status 200", async () => {
    const said = { error: { code: 500, message: "Context size has been exceeded.", type: "server_error" } };
    const { message } = await turnWith([
      { headers: { "content-type": "application/json" }, pieces: [JSON.stringify(said)] },
    ]);
    expect(message.errorMessage).toMatch(/^context_length_exceeded: /);
  });

  it("of another kind is named without what its name might do to the terminal", async () => {
    const { message } = await turnWith([
      { headers: { "content-type": "text/\u009b31mhtml" }, pieces: ["<html>Welcome</html>"] },
    ]);
    expect(message.errorMessage).toMatch(
      /^The server answered a chat request with text\/html instead of a stream/,
    );
  });

  it("that came whole is no error because it says that there is none", async () => {
    const whole = { choices: [{ message: { content: "Hi" }, finish_reason: "stop" }], error: null };
    const { message } = await turnWith([
      { headers: { "content-type": "application/json" }, pieces: [JSON.stringify(whole)] },
    ]);
    expect(message).toMatchObject({ stopReason: "stop", content: [{ text: "Hi" }] });
  });

  it("ends when the server leaves the connection open after [DONE]", async () => {
    const { message } = await turnWith([{ pieces: [HI], end: "never" }]);
    expect(message.stopReason).toBe("stop");
  }, 10_000);

  it("is whole when the connection is lost after [DONE]", async () => {
    const { message } = await turnWith([{ pieces: [HI], end: "lost" }]);
    expect(message).toMatchObject({ stopReason: "stop", content: [{ text: "Hi" }] });
  });

  it("that cannot be configured says so and sends no request", async () => {
    const clock = new FakeClock();
    const server = new FakeServer(clock);
    const parts = { server: () => Promise.reject(new Error("AI_SERVER_URL is wrong.")) };
    const { events: seen, message } = await turnOn(server, clock, { parts });
    expect(seen).toEqual(["error"]);
    expect(message).toMatchObject({ stopReason: "error", errorMessage: "AI_SERVER_URL is wrong." });
    expect(server.chats).toEqual([]);
  });

  it("corrects the model's window from an overflow", async () => {
    const said = {
      error: {
        code: 400,
        message: "x",
        type: "exceed_context_size_error",
        n_prompt_tokens: 8619,
        n_ctx: 4096,
      },
    };
    const { windows, message } = await turnWith([{ status: 400, pieces: [JSON.stringify(said)] }]);
    expect(windows).toEqual([4096]);
    expect(message.errorMessage).toContain(
      "(8,619 tokens) no longer fits into the model's context (4,096 tokens).",
    );
  });

  it("survives a listener that throws", async () => {
    const bad = (): never => {
      throw new Error("The terminal is gone.");
    };
    const report = {
      connecting: bad,
      waiting: bad,
      loading: bad,
      prompt: bad,
      generating: bad,
      thinks: bad,
      retrying: bad,
      quiet: bad,
      down: bad,
      restarted: bad,
    };
    const parts = { report, onContextWindow: bad };
    expect((await turnWith([OK], { parts })).message.stopReason).toBe("stop");
    const said = { error: { message: "x", type: "exceed_context_size_error", n_ctx: 4096 } };
    const { message } = await turnWith([{ status: 400, pieces: [JSON.stringify(said)] }], { parts });
    expect(message.errorMessage).toMatch(/^context_length_exceeded: /);
  });
});

describe("a request", () => {
  it("goes as JSON of the transcript, with pi's session id and the caller's headers", async () => {
    const options = { sessionId: "s-1", headers: { "X-Extra": "1", "x-none": null }, maxTokens: 9 };
    const { server } = await turnWith([OK], { options, context: transcript(user("Why?")) });
    expect(server.chats[0]?.body).toEqual({
      model: "thinker",
      messages: [{ role: "user", content: "Why?" }],
      stream: true,
      stream_options: { include_usage: true },
      return_progress: true,
      max_tokens: 9,
    });
    expect(server.chats[0]?.headers).toEqual({ "x-extra": "1", "x-session-id": "s-1" });
  });

  it("never carries pi's placeholder key or a header that belongs to the connection", async () => {
    const headers = {
      Authorization: "Bearer ai-server-mtls",
      Host: "evil",
      "Content-Length": "1",
      Connection: "close",
    };
    const { server } = await turnWith([OK], { options: { apiKey: "ai-server-mtls", headers } });
    expect(server.chats[0]?.headers).toEqual({});
  });

  it("leaves out a session id that no header can carry", async () => {
    const { server } = await turnWith([OK], { options: { sessionId: "a\r\nx: 1" } });
    expect(server.chats[0]?.headers).toEqual({});
  });
});

describe("the slot of a request", () => {
  const slotOf = async (context: TranscriptContext): Promise<unknown> => {
    const prepare = (server: FakeServer): void => {
      server.slot = 2;
    };
    const { server } = await turnWith([OK], { prepare, context });
    return server.chats[0]?.body.id_slot;
  };

  it("is named where a conversation begins", async () => {
    expect(await slotOf(transcript(system("S"), user("Hello")))).toBe(2);
  });

  it("is the server's choice where one goes on, even behind an answer that failed", async () => {
    const failed = assistant("half", { stopReason: "error" });
    for (const answer of [assistant("Yes?"), failed])
      expect(await slotOf(transcript(user("Hello"), answer, user("Go on")))).toBeUndefined();
  });
});

describe("the hooks", () => {
  it("onPayload sees the body and replaces it", async () => {
    let seen: unknown;
    const options = {
      onPayload: (body: unknown) => {
        seen = structuredClone(body);
        return { ...(body as object), temperature: 2 };
      },
    };
    const { server } = await turnWith([OK], { options });
    expect(seen).not.toHaveProperty("temperature");
    expect(server.chats[0]?.body).toEqual({ ...(seen as object), temperature: 2 });
  });

  it("onPayload that gives nothing leaves the body", async () => {
    const { server } = await turnWith([OK], { options: { onPayload: () => undefined } });
    expect(server.chats[0]?.body).toMatchObject({ model: "thinker", stream: true });
  });

  it("run in order: payload, response, then each parsed event before pi's", async () => {
    const order: string[] = [];
    const note = (what: string) => async (): Promise<undefined> => {
      await new Promise(setImmediate);
      order.push(what);
    };
    const options = {
      onPayload: note("payload"),
      onResponse: async ({ status, headers }: { status: number; headers: Record<string, string> }) => {
        await new Promise(setImmediate);
        order.push(`response ${status} ${headers["content-type"]}`);
      },
      onProviderStreamEvent: async (event: unknown) => {
        await new Promise(setImmediate);
        order.push(JSON.stringify((event as { choices: { delta: unknown }[] }).choices[0]?.delta));
      },
    };
    const clock = new FakeClock();
    const server = new FakeServer(clock);
    server.answers.push(OK);
    const turn = beginTurn(server, { clock, options });
    const { push } = turn.events;
    turn.events.push = (...items) => {
      order.push(...items);
      return push.apply(turn.events, items);
    };
    await clock.until(turn.ended);
    expect(order).toEqual([
      "payload",
      "response 200 text/event-stream",
      "start",
      '{"content":"Hi"}',
      "text_start",
      "{}",
      "text_delta",
      "text_end",
      "done",
    ]);
  });

  it.each(["onPayload", "onResponse", "onProviderStreamEvent"])(
    "%s that throws ends the turn in its own words",
    async (hook) => {
      const options = {
        [hook]: () => {
          throw new Error("The extension X failed.");
        },
      };
      const { message, server } = await turnWith([OK, OK], { options });
      expect(message).toMatchObject({ stopReason: "error", errorMessage: "The extension X failed." });
      expect(server.chats.length).toBeLessThan(2);
    },
  );

  it("that observe do not hide an error that comes in one piece with [DONE]", async () => {
    const piece =
      events(chunk({ content: "Half" }), { error: { message: "broken", type: "server_error" } }) + DONE;
    const { message } = await turnWith([{ pieces: [piece] }], {
      options: { onProviderStreamEvent: () => {} } as object,
    });
    expect(message).toMatchObject({
      stopReason: "error",
      errorMessage: "The server ended the answer with an error (server error). It says: broken",
      content: [{ text: "Half" }],
    });
  });

  it("may give a body that cannot be sent: that is no fault of the connection", async () => {
    const { message, server } = await turnWith([OK], { options: { onPayload: () => ({ n: 1n }) } });
    expect(message.errorMessage).toMatch(/BigInt/);
    expect(server.chats).toEqual([]);
  });
});

describe("several turns at once", () => {
  it("do not touch each other", async () => {
    const clock = new FakeClock();
    const server = new FakeServer(clock);
    for (let turn = 0; turn < 5; turn += 1) server.answers.push({ end: "never" });
    const stop = new AbortController();
    const turns = ["a", "b", "c", "d", "e"].map((name) =>
      beginTurn(server, {
        clock,
        on: model({ id: name, name }),
        options: name === "c" ? { signal: stop.signal } : {},
      }),
    );
    await clock.advance(0);
    server.chats.forEach(({ stream, body }, at) => {
      stream.write(events(chunk({ content: `${body.model}${at}` })));
    });
    await clock.advance(0);
    stop.abort();
    const [, second, third, fourth] = server.chats;
    second?.stream.write(events({ error: { message: "broken", type: "server_error" } }));
    fourth?.stream.destroy(Object.assign(new Error("gone"), { code: "ECONNRESET" }));
    for (const chat of [server.chats[0], server.chats[4]]) chat?.stream.end(events(chunk({}, "stop")) + DONE);
    const results = await clock.until(Promise.all(turns.map(({ ended }) => ended)));
    expect(results.map(({ message }) => [message.stopReason, message.content])).toEqual([
      ["stop", [{ type: "text", text: "a0" }]],
      ["error", [{ type: "text", text: "b1" }]],
      ["aborted", [{ type: "text", text: "c2" }]],
      ["error", [{ type: "text", text: "d3" }]],
      ["stop", [{ type: "text", text: "e4" }]],
    ]);
    expect(third?.signal.aborted).toBe(true);
    expect(clock.waiting).toBe(0);
  });
});

describe("a lost connection", () => {
  it("before the first content is tried again once", async () => {
    const { message, server, clock } = await turnWith([{ fault: lostConnection() }, OK]);
    expect(message.content).toEqual([{ type: "text", text: "Hi" }]);
    expect(server.chats).toHaveLength(2);
    expect(clock.sleeps.filter((ms) => ms === 1000)).not.toEqual([]);
  });

  it("in the stream before the first content too, and one start is enough", async () => {
    const role = events(chunk({ role: "assistant", content: null }));
    const { events: seen, message } = await turnWith([{ pieces: [role], end: "lost" }, OK]);
    expect(seen).toEqual(["start", "text_start", "text_delta", "text_end", "done"]);
    expect(message.usage.output).toBe(1);
  });

  it("twice ends the turn", async () => {
    const { message, server } = await turnWith([
      { fault: lostConnection() },
      { fault: lostConnection() },
      OK,
    ]);
    expect(message).toMatchObject({
      stopReason: "error",
      errorMessage: lostConnection().message,
      content: [],
    });
    expect(server.chats).toHaveLength(2);
  });

  it("is tried again as often as pi asks for, with growing pauses up to pi's longest", async () => {
    const lost = Array.from({ length: 5 }, () => ({ fault: lostConnection() }));
    const { server, clock, activities } = await turnWith([...lost, OK], {
      options: { maxRetries: 4, maxRetryDelayMs: 3000 },
      env: { AI_SERVER_TIMEOUT_MS: "100000" },
    });
    expect(server.chats).toHaveLength(6);
    const retries = activities.filter((one) => one.kind === "retrying");
    expect(retries.map((one) => one.delayMs)).toEqual([1000, 2000, 3000, 3000, 3000]);
    // On one line; the rest of the sentence is for an error that stays.
    expect(retries[0]?.why).toBe("127.0.0.1:9 closed the connection before it answered");
    expect(clock.sleeps).toEqual(expect.arrayContaining([1000, 2000, 3000]));
  });

  it.each([
    ["text", chunk({ content: "Half" })],
    ["thinking", chunk({ reasoning_content: "Hm" })],
    ["a call", chunk({ tool_calls: [{ index: 0, id: "a", function: { name: "x", arguments: "{" } }] })],
  ])("after %s is never tried again, and keeps what came", async (_what, first) => {
    const { message, server } = await turnWith([{ pieces: [events(first)], end: "lost" }, OK], {
      options: { maxRetries: 5 },
    });
    expect(message).toMatchObject({
      stopReason: "error",
      errorMessage:
        "The answer broke off: the connection was lost (connection error). The server may have been restarted, or the model unloaded.",
    });
    expect(message.content).toHaveLength(1);
    expect(message.usage).toMatchObject({ output: 1, totalTokens: 1 });
    expect(server.chats).toHaveLength(1);
  });
});
