import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Sim, startSim } from "../../sim/server.ts";
import { Client, chunksOf, eventually } from "../support/sim-client.ts";

const CONFIG = `
models:
  a: { cmd: "llama-server --port \${PORT} --ctx-size 8192" }
  b: { cmd: "llama-server --port \${PORT} --vision --no-reasoning" }
  slow: { cmd: "llama-server --port \${PORT} --load 60" }
  paced: { cmd: "llama-server --port \${PORT} --token-rate 20 --sse-ping-interval 1" }
  reader: { cmd: "llama-server --port \${PORT} --ctx-size 16384 --prompt-rate 1000" }
`;
const TOOLS = [{ type: "function", function: { name: "bash", parameters: { type: "object" } } }];
const USAGE = { stream: true, stream_options: { include_usage: true } };

let sim: Sim;
let client: Client;

beforeEach(async () => {
  sim = await startSim({ config: CONFIG, speed: 20 });
  client = new Client(sim);
});

afterEach(async () => {
  await client.close();
  await sim.close();
});

function user(content: unknown) {
  return { role: "user", content };
}

/** Says the lines to model `a` and returns what its stream brings. */
async function say(lines: string, more: Record<string, unknown> = {}) {
  const reply = await client.chat({ model: "a", messages: [user(lines)], ...USAGE, ...more });
  return { ...reply, ...readStream(reply.body) };
}

function readStream(body: string) {
  const chunks = chunksOf(body).map(Object);
  const choices = chunks.flatMap((chunk) => chunk.choices ?? []);
  const deltas = choices.map((choice) => choice.delta);
  const join = (key: string) => deltas.map((delta) => delta[key] ?? "").join("");
  const finish = choices.map((choice) => choice.finish_reason).filter((reason) => reason !== null);
  const usage = chunks.at(-1)?.usage;
  return { chunks, deltas, text: join("content"), thinking: join("reasoning_content"), finish, usage };
}

/** A text of exactly `count` tokens. */
function tokens(count: number): string {
  return `ok${" ok".repeat(count - 1)}`;
}

describe("a stream", () => {
  test("has llama-server's chunks", async () => {
    const { body, headers, chunks, deltas } = await say("sim: think Hm so\nsim: say Hello you");
    expect(headers["content-type"]).toBe("text/event-stream");
    expect(deltas).toEqual([
      { role: "assistant", content: null },
      { reasoning_content: "Hm" },
      { reasoning_content: " so" },
      { content: "Hello" },
      { content: " you" },
      {},
    ]);
    const [first] = chunks;
    expect(Object.keys(first)).toEqual(["choices", "created", "id", "model", "system_fingerprint", "object"]);
    expect(Object.keys(first.choices[0])).toEqual(["finish_reason", "index", "delta"]);
    expect(first).toMatchObject({ model: "a", object: "chat.completion.chunk" });
    expect(first.id).toMatch(/^chatcmpl-\w{32}$/);
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
    expect(chunks.at(-2)).toMatchObject({ choices: [{ finish_reason: "stop" }] });
    expect(chunks.at(-2)).not.toHaveProperty("timings");
    const { usage, timings, choices } = chunks.at(-1);
    expect(choices).toEqual([]);
    expect(usage).toEqual({
      completion_tokens: 4,
      prompt_tokens: usage.prompt_tokens,
      total_tokens: usage.prompt_tokens + 4,
      prompt_tokens_details: { cached_tokens: 0 },
    });
    expect(timings).toMatchObject({ cache_n: 0, prompt_n: usage.prompt_tokens, predicted_n: 4 });
    expect(body.endsWith("\n\ndata: [DONE]\n\n")).toBe(true);
  });

  test("without include_usage has timings on the finish chunk and no usage", async () => {
    const { chunks, body } = await say("sim: say Hi", { stream_options: undefined });
    expect(chunks.at(-1)).toMatchObject({
      choices: [{ finish_reason: "stop" }],
      timings: { predicted_n: 1 },
    });
    expect(body).not.toContain("usage");
  });

  test("carries parallel calls by index, arguments in pieces", async () => {
    const { deltas, finish } = await say('sim: tool bash {"command":"ls"}\nsim: tool bash {}', {
      tools: TOOLS,
    });
    const calls = deltas.flatMap((delta) => delta.tool_calls ?? []);
    expect(calls[0]).toEqual({
      index: 0,
      id: expect.stringMatching(/^\w{32}$/),
      type: "function",
      function: { name: "bash", arguments: "{" },
    });
    expect(calls[1]).toEqual({ index: 0, function: { arguments: '"comma' } });
    const joined = (index: number) =>
      calls.filter((call) => call.index === index).map((call) => call.function.arguments);
    expect(joined(0).join("")).toBe('{"command":"ls"}');
    expect(joined(1).join("")).toBe("{}");
    expect(finish).toEqual(["tool_calls"]);
  });

  test("leaves a call as text where no tools may be called", async () => {
    const { text, finish } = await say('sim: tool bash {"command":"ls"}');
    expect(text).toBe('<tool_call>\n{"name": "bash", "arguments": {"command":"ls"}}\n</tool_call>');
    expect(finish).toEqual(["stop"]);
    expect((await say("sim: tool bash {}", { tools: TOOLS, tool_choice: "none" })).text).toContain(
      "<tool_call>",
    );
  });

  test("reports the prompt's progress in batches of 2048 tokens", async () => {
    const body = { model: "reader", return_progress: true, messages: [user(tokens(3000))], ...USAGE };
    const progress = (reply: { body: string }) =>
      chunksOf(reply.body).flatMap((chunk) => Object(chunk.prompt_progress ?? []));
    const first = progress(await client.chat(body));
    const total = first[0].total;
    expect(total).toBeGreaterThan(3000);
    expect(first.map(({ processed }) => processed)).toEqual([0, 2048, total]);
    expect(first.map(({ cache }) => cache)).toEqual([0, 0, 0]);
    expect(first[0].time_ms).toBe(0);
    expect(first[1].time_ms).toBeGreaterThanOrEqual(2048);
    expect(first[2].time_ms).toBeGreaterThanOrEqual(total - 1);
    const again = progress(await client.chat(body));
    expect(again).toMatchObject([
      { total, cache: total - 1, processed: total - 1, time_ms: 0 },
      { total, cache: total - 1, processed: total },
    ]);
  });

  test("is paced, with comments while it waits", async () => {
    const reply = await client.chat({
      model: "paced",
      messages: [user("sim: silent 5\nsim: tokens 20")],
      ...USAGE,
    });
    const [, ...rest] = reply.body.split('"content":"ok"');
    expect(reply.body.slice(0, reply.body.indexOf('"content":"ok"'))).toMatch(/(\n\n:){3,}/);
    expect(rest.join("")).not.toContain("\n\n:");
    const { timings } = Object(chunksOf(reply.body).at(-1));
    expect(timings.predicted_ms).toBeGreaterThanOrEqual(19 * 50);
  });
});

describe("an answer in one piece", () => {
  test("has llama-server's keys", async () => {
    const messages = [user('sim: think Hm\nsim: say Hi\nsim: tool bash {"a":1}')];
    const reply = await client.chat({ model: "a", messages, tools: TOOLS });
    const answer = JSON.parse(reply.body);
    expect(Object.keys(answer)).toEqual([
      ...["choices", "created", "model", "system_fingerprint", "object", "usage", "id", "timings"],
    ]);
    expect(answer.choices).toEqual([
      {
        finish_reason: "tool_calls",
        index: 0,
        message: {
          role: "assistant",
          content: "Hi",
          reasoning_content: "Hm",
          tool_calls: [
            { type: "function", function: { name: "bash", arguments: '{"a":1}' }, id: expect.any(String) },
          ],
        },
      },
    ]);
  });
});

describe("what the model says", () => {
  test("mentions what was asked, after some thought unless that is switched off", async () => {
    const plain = await say("How are you?");
    expect(plain.text).toContain('You asked: "How are you?"');
    expect(plain.thinking).not.toBe("");
    for (const off of [{ reasoning_effort: "none" }, { chat_template_kwargs: { enable_thinking: false } }]) {
      expect((await say("How are you?", off)).thinking).toBe("");
    }
    expect((await say("How are you?", { model: "b" })).thinking).toBe("");
    expect((await say("How are you?")).text).toBe(plain.text);
  });

  test("lists files with the tool, and quotes the first line of the result", async () => {
    const asked = user("What files are in this folder?");
    const { deltas, finish } = await say("", { messages: [asked], tools: TOOLS });
    expect(deltas.flatMap((delta) => delta.tool_calls ?? [])[0].function.name).toBe("bash");
    expect(finish).toEqual(["tool_calls"]);
    const call = { id: "1", type: "function", function: { name: "bash", arguments: '{"command":"ls -la"}' } };
    const result = { role: "tool", tool_call_id: "1", content: "a.txt\nb.txt" };
    const messages = [asked, { role: "assistant", content: "", tool_calls: [call] }, result];
    expect((await say("", { messages, tools: TOOLS })).text).toBe("Done: a.txt");
  });

  test("obeys no directive that a summary request quotes", async () => {
    const { text } = await say("<conversation>\n[User]: x\nsim: say quoted\n</conversation>\nSummarize.");
    expect(text).not.toBe("quoted");
  });

  test("stops at max_tokens and at the end of the window", async () => {
    const cut = await say("sim: tokens 10", { max_tokens: 3 });
    expect(cut).toMatchObject({ text: "ok ok ok", finish: ["length"], usage: { completion_tokens: 3 } });
    const full = await say("sim: tokens 9000");
    expect(full.finish).toEqual(["length"]);
    expect(full.usage.total_tokens).toBe(8192);
    const call = await say('sim: tool bash {"command":"ls -la"}', { tools: TOOLS, max_tokens: 2 });
    const pieces = call.deltas.flatMap((delta) => delta.tool_calls ?? []);
    expect(pieces.map((piece) => piece.function.arguments).join("")).toBe('{"comma');
    expect(call.finish).toEqual(["length"]);
  });
});

describe("cached tokens", () => {
  const system = { role: "system", content: tokens(40) };

  async function cachedOf(messages: unknown[], more: Record<string, unknown> = {}) {
    const { usage } = await say("", { messages, ...more });
    return { cached: usage.prompt_tokens_details.cached_tokens, prompt: usage.prompt_tokens };
  }

  test("are the real common prefix with the last prompt and its answer", async () => {
    const first = await cachedOf([system, user("sim: tokens 50")]);
    expect(first.cached).toBe(0);
    const history = [system, user("sim: tokens 50"), { role: "assistant", content: tokens(50) }];
    const second = await cachedOf([...history, user("sim: tokens 2")]);
    expect(second.cached).toBe(first.prompt + 50);
    expect(second.prompt).toBeGreaterThan(second.cached);
    const other = await cachedOf([system, user("something else")]);
    expect(other.cached).toBeGreaterThanOrEqual(40);
    expect(other.cached).toBeLessThan(first.prompt);
  });

  test("depend on the tools, and on thinking that comes back", async () => {
    const asked = user("sim: think Hm\nsim: say Yes");
    const first = await cachedOf([asked], { tools: TOOLS });
    const without = await cachedOf([asked]);
    expect(without.prompt).toBeLessThan(first.prompt - 10);
    expect(without.cached).toBeLessThan(2);
    await cachedOf([asked], { tools: TOOLS });
    const kept = { role: "assistant", content: "Yes", reasoning_content: "Hm" };
    const withThinking = await cachedOf([asked, kept, user("on")], { tools: TOOLS });
    expect(withThinking.cached).toBeGreaterThan(first.prompt);
  });

  test("are lost when the model is unloaded", async () => {
    const messages = [system, user("sim: say Hi")];
    await cachedOf(messages);
    const again = await cachedOf(messages);
    expect(again.cached).toBe(again.prompt - 1);
    await client.send("/api/models/unload/a", { method: "POST" });
    expect((await cachedOf(messages)).cached).toBe(0);
    expect(sim.starts.a).toBe(2);
  });
});

describe("a request that llama-server refuses", () => {
  const assistant = { role: "assistant", content: "a" };
  const picture = { type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } };
  const badCall = { id: "a", type: "function", function: { name: "read", arguments: '{"path": "tr' } };
  const invalid = "invalid_request_error";
  const refused: [body: object, status: number, type: string, message: string][] = [
    [{ messages: undefined }, 400, invalid, "'messages' is required"],
    [
      { messages: [user("x"), { role: "assistant" }, user("y")] },
      400,
      invalid,
      "Assistant message must contain either 'content' or 'tool_calls'!",
    ],
    [
      { messages: [user("x"), assistant, assistant] },
      400,
      invalid,
      "Cannot have 2 or more assistant messages at the end of the list.",
    ],
    [
      { messages: [user([{ type: "text", text: "what" }, picture])] },
      500,
      "server_error",
      "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
    ],
    [
      { messages: [user("x"), { role: "assistant", content: "", tool_calls: [badCall] }, user("y")] },
      500,
      "server_error",
      "Failed to parse tool call arguments as JSON: [json.exception.parse_error.101] parse error at line 1, " +
        "column 13: syntax error while parsing value - invalid string: missing closing quote; last read: '\"tr'",
    ],
    [{ messages: [user([{ type: "weird" }])] }, 400, invalid, "unsupported content[].type"],
    [
      { messages: [user("x")], max_tokens: "many" },
      400,
      invalid,
      "Field 'max_tokens': [json.exception.type_error.302] type must be number, but is string",
    ],
  ];

  test.each(refused)("gets its words: %j", async (body, status, type, message) => {
    const reply = await client.chat({ model: "a", stream: true, ...body });
    expect(reply.status).toBe(status);
    expect(reply.headers["content-type"]).toBe("application/json; charset=utf-8");
    expect(JSON.parse(reply.body)).toEqual({ error: { code: status, message, type } });
  });

  test("gets its words for JSON that ends early", async () => {
    const body = '{"model":"a","messages":[';
    const reply = await client.chat({}, { body });
    expect(JSON.parse(reply.body).error.message).toBe(
      `[json.exception.parse_error.101] parse error at line 1, column ${body.length + 1}: syntax error while ` +
        "parsing value - unexpected end of input; expected '[', '{', or a literal",
    );
  });

  test("gets the length of its prompt and of the window in the refusal", async () => {
    const reply = await client.chat({ model: "a", messages: [user(tokens(9000))] });
    const { error } = JSON.parse(reply.body);
    const n_prompt_tokens = error.n_prompt_tokens;
    expect(n_prompt_tokens).toBeGreaterThan(9000);
    const sizes = `request (${n_prompt_tokens} tokens) exceeds the available context size (8192 tokens)`;
    const message = `${sizes}, try increasing it`;
    const type = "exceed_context_size_error";
    expect(error).toEqual({ code: 400, message, type, n_prompt_tokens, n_ctx: 8192 });
    expect(reply.status).toBe(400);
  });

  test("may hold an image where the model sees", async () => {
    const { text } = await say("", {
      model: "b",
      messages: [user([{ type: "text", text: "Look" }, picture])],
    });
    expect(text).toContain('You asked with a picture: "Look"');
  });
});

describe("a fault", () => {
  test("cut destroys the connection after so many tokens", async () => {
    await expect(say("sim: tokens 9\nsim: cut 3")).rejects.toThrow();
    expect(sim.requests.at(-1)).toMatchObject({ status: 200, tokens: 3, disconnectedAt: expect.any(Number) });
    await expect(say("sim: think Hm\nsim: cut 0")).rejects.toThrow();
    expect(sim.requests.at(-1)?.tokens).toBe(0);
  });

  test("crash kills the model: the stream just ends, or there is an empty 502", async () => {
    const late = await say("sim: tokens 9\nsim: crash 2");
    expect(late).toMatchObject({ status: 200, text: "ok ok", finish: [] });
    expect(late.body).not.toContain("[DONE]");
    expect(JSON.parse((await client.send("/running")).body)).toEqual({ running: [] });
    const early = await say("sim: crash 0");
    expect(early).toMatchObject({ status: 502, body: "" });
    expect(early.headers).not.toHaveProperty("content-type");
    expect(sim.starts.a).toBe(2);
  });

  test("error and bare end the stream in llama-server's and its router's form", async () => {
    const error = await say("sim: tokens 9\nsim: error 2 Context size has been exceeded.");
    expect(error.body.trimEnd().split("\n").at(-1)).toBe(
      'data: {"error":{"code":500,"message":"Context size has been exceeded.","type":"server_error"}}',
    );
    const bare = await say("sim: tokens 9\nsim: bare 2 proxy error: Failed to read connection");
    expect(bare.body.endsWith("\n\nproxy error: Failed to read connection")).toBe(true);
    for (const { text, finish } of [error, bare]) expect([text, finish]).toEqual(["ok ok", []]);
  });

  test("nofinish, nodone and finish change the end alone", async () => {
    const noFinish = await say("sim: say Hi\nsim: nofinish");
    expect(noFinish).toMatchObject({ text: "Hi", finish: [] });
    expect(noFinish.body).toContain("[DONE]");
    const noDone = await say("sim: say Hi\nsim: nodone");
    expect(noDone).toMatchObject({ text: "Hi", finish: ["stop"] });
    expect(noDone.body).not.toContain("[DONE]");
    expect((await say("sim: say Hi\nsim: finish content_filter")).finish).toEqual(["content_filter"]);
  });
});

describe("models under way", () => {
  test("a swap waits for the stream of the other model", async () => {
    const stream = client.chat({ model: "paced", messages: [user("sim: tokens 40")], ...USAGE });
    await eventually(() => expect(sim.requests[0]?.tokens).toBeGreaterThan(0));
    const other = await client.chat({ model: "b", messages: [user("sim: say Hi")], ...USAGE });
    expect(readStream(other.body).text).toBe("Hi");
    expect(readStream((await stream).body)).toMatchObject({ text: tokens(40), finish: ["stop"] });
    expect(sim.starts).toEqual({ paced: 1, b: 1 });
    const [first, second] = sim.requests;
    expect(first?.finishedAt ?? Infinity).toBeLessThanOrEqual(second?.finishedAt ?? 0);
    expect(JSON.parse((await client.send("/running")).body).running).toMatchObject([{ model: "b" }]);
  });

  test("two requests at once take turns on the one slot", async () => {
    const ask = (count: number) =>
      client.chat({ model: "paced", messages: [user(`sim: tokens ${count}`)], ...USAGE });
    const first = ask(20);
    await eventually(() => expect(sim.requests[0]?.tokens).toBeGreaterThan(0));
    const second = ask(30);
    let early = 0;
    await eventually(() => {
      const [busy, waiting] = sim.requests;
      // Its end is noted a moment after its last token, when the slot is free already.
      if ((busy?.tokens ?? 0) < 20) early = waiting?.tokens ?? 0;
      expect(busy?.finishedAt).toBeDefined();
    });
    expect(early).toBe(0);
    const both = [await first, await second].map(({ body }) => readStream(body).usage.completion_tokens);
    expect(both).toEqual([20, 30]);
    expect(sim.starts.paced).toBe(1);
  });

  test("unload ends a stream and fails a request that waits for a load", async () => {
    const stream = client.chat({ model: "paced", messages: [user("sim: tokens 4000")], ...USAGE });
    await eventually(() => expect(sim.requests[0]?.tokens).toBeGreaterThan(0));
    const queued = client.chat({ model: "slow", messages: [user("x")] });
    await eventually(() => expect(sim.requests[1]?.body).toContain("slow"));
    await client.send("/unload");
    const ended = readStream((await stream).body);
    expect(ended.finish).toEqual([]);
    expect(ended.text).toContain("ok");
    expect(await queued).toMatchObject({ status: 500 });

    const waiting = client.chat({ model: "slow", messages: [user("x")] });
    await eventually(async () => expect((await client.send("/running")).body).toContain('"starting"'));
    await client.send("/api/models/unload/slow", { method: "POST" });
    const { status, body } = await waiting;
    expect([status, JSON.parse(body).error.message]).toEqual([
      500,
      "unspecific error: group: model unloaded",
    ]);
    expect((await client.send("/running")).body).toContain('"running":[]');
    expect(sim.log.match(/main: server is listening/g), "the load was broken off").toHaveLength(1);
  });

  test("a client that leaves gets no more tokens, and frees the slot", async () => {
    const leave = new AbortController();
    const stream = client.chat(
      { model: "paced", messages: [user("sim: tokens 4000")], ...USAGE },
      { signal: leave.signal },
    );
    const ended = expect(stream).rejects.toThrow();
    await eventually(() => expect(sim.requests[0]?.tokens).toBeGreaterThan(2));
    leave.abort();
    await ended;
    await eventually(() => expect(sim.requests[0]?.disconnectedAt).toBeDefined());
    const written = sim.requests[0]?.tokens;
    const next = await client.chat({ model: "paced", messages: [user("sim: say Hi")], ...USAGE });
    expect(readStream(next.body).text).toBe("Hi");
    expect(sim.requests[0]).toMatchObject({ tokens: written, tokensAfterDisconnect: 0 });
  });
});
