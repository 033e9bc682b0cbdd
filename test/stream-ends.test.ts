import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { readConfig } from "../config.ts";
import { ModelServer } from "../server/model-server.ts";
import { FakeClock, settled } from "./support/clock.ts";
import { chunk, DONE, events } from "./support/decoding.ts";
import { model, transcript, user } from "./support/samples.ts";
import { type Answer, beginTurn, expectNothingLeft, FakeServer, turnWith } from "./support/turns.ts";

const FOLDER = new URL("./fixtures/answers/", import.meta.url);

/** A recorded answer: status line, headers, body. */
function recorded(name: string): Answer {
  const [head = "", ...body] = readFileSync(new URL(name, FOLDER), "utf8").replaceAll("\r", "").split("\n\n");
  const [status = "", ...lines] = head.split("\n");
  const headers = Object.fromEntries(lines.map((line) => line.split(": ") as [string, string]));
  return { status: Number(status.split(" ")[1]), headers, pieces: [body.join("\n\n")] };
}

const SAYS: Record<string, RegExp> = {
  "code-context_length_exceeded.http": /^context_length_exceeded: .*\(5,000 tokens\).*\(4,096 tokens\)\.$/,
  "finish-abort-call.http": /finish_reason abort/,
  "finish-abort.http": /finish_reason abort/,
  "lmstudio-overflow-stream.http": /^context_length_exceeded: /,
  "ollama-overflow.http": /^context_length_exceeded: /,
  "sse-error-field-midcall.http": /It says: slot unavailable$/,
  "sse-error-field-overflow.http": /^context_length_exceeded: /,
  "vllm-object-error-first.http": /It says: Internal server error: CUDA out of memory$/,
};

describe("an answer that broke", () => {
  it.each(readdirSync(FOLDER))("%s ends the turn as an error", async (name) => {
    const { message, events: seen } = await turnWith([recorded(name)]);
    expect(message.stopReason).toBe("error");
    expect(message.errorMessage).toMatch(SAYS[name] ?? /^no such case$/);
    expect(seen.at(-1)).toBe("error");
  });

  it.each([
    ["application/json", JSON.stringify({ error: { message: "no memory" } })],
    ["application/json", JSON.stringify({ detail: "no memory" })],
    ["application/json; charset=utf-8", JSON.stringify({ object: "error", message: "no memory" })],
    ["application/json", JSON.stringify("Error: no memory")],
    ["text/plain", "no memory"],
  ])("and came whole as %s, %s, says what the server says", async (type, body) => {
    const { message } = await turnWith([{ headers: { "content-type": type }, pieces: [body] }]);
    expect(message.errorMessage).toMatch(/^The server ended the answer with an error .*no memory$/);
  });
});

describe("an event instead of a body", () => {
  it.each([
    ["data", 'data: {"error":{"message":"no memory"}}\n\n'],
    ["an event named error", 'event: error\ndata: {"message":"no memory"}\n\n'],
    ["a field named error", "error: no memory\n\ndata: [DONE]\n\n"],
  ])("of status 400, as %s, says what the server says", async (_, body) => {
    const { message } = await turnWith([{ status: 400, pieces: [body] }]);
    expect(message.errorMessage).toMatch(/^The server refused the request \(HTTP 400\)\. It says: no memory/);
  });
});

const ANSWER = events(chunk({ content: "Hi" }), chunk({}, "stop"));
const USAGE = events({ choices: [], usage: { prompt_tokens: 20, completion_tokens: 2 } });

/** A turn on a stream that never ends, with a heartbeat every second; how long it took. */
async function endless(
  pieces: readonly string[],
  heartbeat: string,
): Promise<{ after: number; end: string }> {
  const clock = new FakeClock();
  const server = new FakeServer(clock);
  server.answers.push({ pieces, end: "never" });
  const turn = beginTurn(server, { clock });
  const began = clock.now();
  let end: string | undefined;
  turn.ended.then(({ message }) => {
    end = message.stopReason;
  });
  await settled();
  while (end === undefined && clock.now() - began < 60_000) {
    await clock.advance(500);
    const { stream } = server.chats[0] ?? {};
    if (heartbeat !== "" && !stream?.destroyed) stream?.write(heartbeat);
    await settled();
  }
  await expectNothingLeft(server, clock, undefined);
  return { after: clock.now() - began, end: end ?? "not at all" };
}

describe.each([
  ["comments", ": ping\n\n"],
  ["empty events", "data: {}\n\n"],
  ["silence", ""],
])("a stream that is left open, with %s", (_, heartbeat) => {
  it("ends one second after the usage, and leaves neither a timer nor the connection", async () => {
    expect(await endless([ANSWER, USAGE], heartbeat)).toEqual({ after: 1000, end: "stop" });
  });

  it("ends one second after a last event that brings the usage with it", async () => {
    const last = events(chunk({ content: "Hi" }), chunk({}, "stop", { usage: { completion_tokens: 2 } }));
    expect(await endless([last], heartbeat)).toEqual({ after: 1000, end: "stop" });
  });

  it("ends one second after [DONE]", async () => {
    expect(await endless([ANSWER, DONE], heartbeat)).toEqual({ after: 1000, end: "stop" });
  });

  it("ends five seconds after the finish_reason where no usage comes", async () => {
    expect(await endless([ANSWER], heartbeat)).toEqual({ after: 5000, end: "stop" });
  });

  it.each([
    ["where no usage comes", {}, 5000],
    ["with the usage in each event", { usage: { completion_tokens: 2 } }, 1000],
  ])("goes on while content comes after the finish_reason, %s", async (_what, extra, closing) => {
    const clock = new FakeClock();
    const server = new FakeServer(clock);
    server.answers.push({ pieces: [events(chunk({ content: "0" }, "stop", extra))], end: "never" });
    const turn = beginTurn(server, { clock });
    await settled();
    for (let piece = 1; piece < 5; piece += 1) {
      await clock.advance(closing - 100);
      server.chats[0]?.stream.write(events(chunk({ content: String(piece) }, null, extra)));
      if (heartbeat !== "") server.chats[0]?.stream.write(heartbeat);
    }
    const { message } = await clock.until(turn.ended);
    expect(message.content).toEqual([{ type: "text", text: "01234" }]);
    expect(message.stopReason).toBe("stop");
  });

  it("ends as an error after a finish_reason that is one", async () => {
    const aborted = events(chunk({ content: "Hi" }), chunk({}, "abort"));
    expect(await endless([aborted], heartbeat)).toEqual({ after: 5000, end: "error" });
  });
});

describe("a connection on which heartbeats go on", () => {
  it("is closed, and the next turn has another", async () => {
    const sockets = new Set<unknown>();
    const http = createServer((request, response) => {
      sockets.add(request.socket);
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(ANSWER + USAGE);
      const beat = setInterval(() => response.write(": ping\n\n"), 100);
      response.on("close", () => clearInterval(beat));
    });
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void http.close());
    const { port } = http.address() as AddressInfo;
    const server = new ModelServer(readConfig({ AI_SERVER_URL: `http://127.0.0.1:${port}` }, {}, "/nowhere"));
    onTestFinished(() => server.close());
    const sleep = (ms: number, signal: AbortSignal): Promise<void> =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(resolve, ms / 10);
        signal.addEventListener("abort", () => {
          clearTimeout(timer);
          reject(signal.reason);
        });
      });
    for (let turn = 1; turn <= 2; turn += 1) {
      const closed = new Promise((resolve) =>
        http.once("request", (_, response) => response.once("close", resolve)),
      );
      const { message } = await beginTurn(server, {
        clock: { now: Date.now, sleep },
        parts: { server: async () => server, runsAs: () => undefined },
      }).ended;
      expect(message).toMatchObject({ stopReason: "stop", usage: { output: 2 } });
      await closed;
      expect(sockets.size).toBe(turn);
    }
  });
});

describe("an answer without an end", () => {
  it("lets go of the connection at the bound", async () => {
    // Of numbers, since the loop guard would end what repeats itself.
    const numbers = Array.from({ length: 300_000 }, (_, at) => String(at).padStart(10)).join("");
    const flood = events(chunk({ content: numbers }));
    const { message, server } = await turnWith([{ pieces: [flood, flood, flood], end: "never" }]);
    expect(message).toMatchObject({
      stopReason: "length",
      errorMessage: expect.stringMatching(/^The answer was cut/),
    });
    expect(server.chats[0]?.stream.destroyed).toBe(true);
  });
});

const refusal = (asked: number, prompt = "at least 20000"): Answer => ({
  status: 400,
  pieces: [
    JSON.stringify({
      error: {
        message: `This model's maximum context length is 32768 tokens. However, you requested ${asked} output tokens and your prompt contains ${prompt} input tokens, for a total of at least ${asked + 20000} tokens. Please reduce the length of the input prompt or the number of requested output tokens. (parameter=input_tokens, value=20000)`,
        type: "BadRequestError",
        param: "input_tokens",
        code: 400,
      },
    }),
  ],
});

describe("a refusal of prompt and answer together", () => {
  const small = model({ contextWindow: 32_768, maxTokens: 16_384 });
  const OK = { pieces: [ANSWER, USAGE, DONE] };
  const limits = async (answers: Answer[], options = {}) => {
    const result = await turnWith(answers, { on: small, context: transcript(user("Hello")), options });
    return { ...result, limits: result.server.chats.map(({ body }) => body.max_tokens) };
  };

  it("is answered by one request for what fits", async () => {
    const { message, limits: asked } = await limits([refusal(16_384), OK]);
    expect(asked).toEqual([16_384, 12_752]);
    expect(message.stopReason).toBe("stop");
  });

  it("is answered so as an event of the stream too", async () => {
    const { pieces = [] } = refusal(16_384) as { pieces?: string[] };
    const { limits: asked, message } = await limits([{ pieces: [`data: ${pieces[0]}\n\n`] }, OK]);
    expect(asked).toEqual([16_384, 12_752]);
    expect(message.stopReason).toBe("stop");
  });

  it("is answered for much less where the server stopped counting the prompt", async () => {
    const { limits: asked } = await limits([refusal(16_384, "at least 16385"), OK]);
    expect(asked).toEqual([16_384, 4091]);
  });

  it("that comes again is an overflow", async () => {
    const { limits: asked, message } = await limits([refusal(16_384), refusal(12_752), OK]);
    expect(asked).toEqual([16_384, 12_752]);
    expect(message.errorMessage).toBe(
      "context_length_exceeded: the conversation (20,000 tokens) leaves no room for an answer in the model's context (32,768 tokens).",
    );
  });

  it("is an overflow at once where the prompt alone is too long", async () => {
    const { limits: asked, message } = await limits([refusal(16_384, "32768"), OK]);
    expect(asked).toEqual([16_384]);
    expect(message.errorMessage).toMatch(/^context_length_exceeded: .*\(32,768 tokens\) no longer fits/);
  });

  it("holds for a limit that a hook has set", async () => {
    const onPayload = (body: unknown) => ({
      ...(body as object),
      max_tokens: undefined,
      max_completion_tokens: 30_000,
    });
    const { server } = await limits([refusal(30_000), OK], { onPayload });
    expect(server.chats.map(({ body }) => body.max_completion_tokens)).toEqual([30_000, 12_752]);
  });

  it.each([
    [
      "'max_tokens' or 'max_completion_tokens' is too large: 16384. This model's maximum context length is 32768 tokens and your request has 20000 input tokens (16384 > 32768 - 20000). None",
      12_752,
    ],
    [
      "Requested token count exceeds the model's maximum context length of 32,768 tokens. You requested a total of 36384 tokens: 20000 tokens from the input messages and 16384 tokens for the completion.",
      12_752,
    ],
    [
      "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 32768. Given: 20000 `inputs` tokens and 16384 `max_new_tokens`",
      12_752,
    ],
    [
      "This model's maximum context length is 32768 tokens. However, you requested 36384 tokens (20000 in the messages, 16384 in the completion).",
      12_752,
    ],
    ["max_tokens is too large: 16384. This model supports at most 8192 completion tokens", 8192],
  ])("worded %s asks for %i tokens", async (message, fitting) => {
    const answer = { status: 400, pieces: [JSON.stringify({ error: { message } })] };
    expect((await limits([answer, OK])).limits).toEqual([16_384, fitting]);
  });
});
