import { describe, expect, it } from "vitest";
import { Decoder } from "../../stream/decoder.ts";
import { readFixture } from "../sim/recordings.ts";
import { chunk, DONE, decode, events, expectBalanced, merged, recording } from "../support/decoding.ts";
import { assistant } from "../support/samples.ts";

function types(stream: string | Uint8Array): string[] {
  return merged(decode([stream]).seen).map(({ type, index }) => `${type} ${index}`);
}

describe("the events", () => {
  it("come as balanced blocks in the order of thinking, text and call", () => {
    const { seen, message } = decode([recording("s03-script-thinktool.sse")]);
    expect(merged(seen).map(({ type, index }) => `${type} ${index}`)).toEqual([
      "thinking_start 0",
      "thinking_delta 0",
      "thinking_end 0",
      "text_start 1",
      "text_delta 1",
      "text_end 1",
      "toolcall_start 2",
      "toolcall_delta 2",
      "toolcall_end 2",
    ]);
    expect(message).toMatchObject({ stopReason: "toolUse", rawStopReason: "tool_calls" });
  });

  it("of one network chunk are one for each block", () => {
    const deltas = ["a", "b", "c"].map((content) => chunk({ content }));
    const call = (args: string, more: object = {}) =>
      chunk({ tool_calls: [{ index: 0, function: { arguments: args }, ...more }] });
    const calls = [call("{", { id: "1", function: { name: "x", arguments: '{"' } }), call('a":'), call("1}")];
    const { seen } = decode([events(...deltas), events(...calls), DONE]);
    expect(seen.map(({ type, text }) => `${type} ${text}`)).toEqual([
      "text_start ",
      "text_delta abc",
      "text_end abc",
      "toolcall_start ",
      'toolcall_delta {"a":1}',
      'toolcall_end {"type":"toolCall","id":"1","name":"x","arguments":{"a":1}}',
    ]);
  });

  it("show the message as it stands when they come", () => {
    const message = assistant([], { stopReason: "pending" });
    const lengths: number[] = [];
    const decoder = new Decoder({
      message,
      emit: (event) => {
        if ("partial" in event) lengths.push(JSON.stringify(event.partial.content).length);
      },
    });
    for (const content of ["a", "b"]) decoder.push(Buffer.from(events(chunk({ content }))));
    expect(lengths).toEqual(lengths.toSorted((a, b) => a - b));
    expect(message.content).toEqual([{ type: "text", text: "ab" }]);
  });

  it.each([["reasoning_content"], ["reasoning"], ["reasoning_text"]])("take thinking from %s", (field) => {
    expect(types(events(chunk({ [field]: "Hm." }), chunk({ content: "Yes." })) + DONE)).toEqual([
      "thinking_start 0",
      "thinking_delta 0",
      "thinking_end 0",
      "text_start 1",
      "text_delta 1",
      "text_end 1",
    ]);
  });

  it("take thinking that stands in both fields once", () => {
    const both = chunk({ reasoning_content: "Hm.", reasoning: "Hm." });
    expect(decode([events(both), DONE]).message.content).toMatchObject([{ thinking: "Hm." }]);
  });

  it.each([
    ["content that is one part", { content: { type: "text", text: "No." } }],
    ["a refusal", { content: null, refusal: "No." }],
  ])("take text from %s", (_, delta) => {
    expect(decode([events(chunk(delta), chunk({}, "stop")), DONE]).message.content).toEqual([
      { type: "text", text: "No." },
    ]);
  });

  it.each<[how: string, change: (stream: string) => string]>([
    ["without empty lines between them", (stream) => stream.replaceAll("\n\n", "\n")],
    ["in one line", (stream) => stream.replaceAll("\n\ndata: ", "")],
    ["in one line, each with its name", (stream) => stream.replaceAll("\n\n", "")],
    ["with their name twice", (stream) => stream.replaceAll("data: ", "data: data: ")],
    ["with carriage returns", (stream) => stream.replaceAll("\n", "\r")],
  ])("are read %s", (_, change) => {
    const stream = change(
      events(chunk({ content: "a} {b" }), chunk({ content: "c" }), chunk({}, "stop")) + DONE,
    );
    for (const pieces of [[stream], [...stream]])
      expect(decode(pieces)).toMatchObject({ error: undefined, message: { content: [{ text: "a} {bc" }] } });
  });

  it.each(["[done]", '"[DONE]"', "DONE"])("end with %s too", (last) => {
    const stream = events(chunk({ content: "Hi" }));
    expect(decode([`${stream}data: ${last}\n\n`]).error).toBeUndefined();
    expect(decode([stream]).error).toBeDefined();
  });

  it("keep text before and after a call apart", () => {
    const call = chunk({ tool_calls: [{ index: 0, id: "a", function: { name: "x", arguments: "{}" } }] });
    const decoded = decode([events(chunk({ content: "A" }), call, chunk({ content: "B" })), DONE]);
    expectBalanced(decoded);
    expect(decoded.message.content.map(({ type }) => type)).toEqual(["text", "toolCall", "text"]);
  });

  it("have the parsed arguments while they grow", () => {
    const message = assistant([], { stopReason: "pending" });
    const seen: unknown[] = [];
    const decoder = new Decoder({
      message,
      emit: (event) => {
        if (event.type !== "toolcall_delta") return;
        const block = event.partial.content[event.contentIndex];
        seen.push(block?.type === "toolCall" ? block.arguments : undefined);
      },
    });
    for (const args of ['{"path":"a', "b", '","n":', "1}"])
      decoder.push(Buffer.from(events(chunk({ tool_calls: [{ index: 0, function: { arguments: args } }] }))));
    expect(seen).toEqual([{ path: "a" }, { path: "ab" }, { path: "ab" }, { path: "ab", n: 1 }]);
  });

  it("survive multi-byte characters that are cut between chunks, and a BOM", () => {
    const bytes = Buffer.from(`\ufeff${events(chunk({ content: "größe 日本 😀" }))}${DONE}`);
    for (let size = 1; size <= 7; size += 1) {
      const pieces: Uint8Array[] = [];
      for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size));
      expect(decode(pieces).message.content).toEqual([{ type: "text", text: "größe 日本 😀" }]);
    }
  });

  it.each([
    ["CRLF", (stream: string) => stream.replaceAll("\n", "\r\n")],
    ["CR", (stream: string) => stream.replaceAll("\n", "\r")],
    ["no space behind the colon", (stream: string) => stream.replaceAll("data: ", "data:")],
    [
      "comments and other fields",
      (stream: string) => stream.replaceAll("data:", ":\nid: 1\nevent: x\ndata:"),
    ],
    ["no empty line at the end", (stream: string) => stream.trimEnd()],
  ])("are the same with %s", (_what, change) => {
    const stream = recording("s03-parallel.sse").toString();
    const [plain, changed] = [decode([stream]), decode([change(stream)])];
    expect(changed.message).toEqual(plain.message);
    expect(changed.error).toBeUndefined();
  });
});

describe("the end", () => {
  it("without finish_reason at [DONE] is decided by content", () => {
    const call = chunk({ tool_calls: [{ index: 0, id: "a", function: { name: "x", arguments: "{}" } }] });
    expect(decode([events(chunk({ content: "A" })), DONE]).message.stopReason).toBe("stop");
    expect(decode([events(call), DONE]).message.stopReason).toBe("toolUse");
    const nothing = decode([DONE]);
    expect(nothing.error?.message).toBe(
      "The answer broke off: the stream ended without content (connection error). The server may have been restarted, or the model unloaded.",
    );
  });

  it("with calls is a tool use, whatever the server calls it; a cut call is a length", () => {
    const call = (finish: string) => [
      chunk({ tool_calls: [{ index: 0, id: "a", function: { name: "x", arguments: '{"a' } }] }),
      chunk({}, finish),
    ];
    expect(decode([events(...call("stop")), DONE]).message.stopReason).toBe("toolUse");
    const cut = decode([events(...call("length")), DONE]);
    expect(cut.message.stopReason).toBe("length");
    expect(cut.message.content).toEqual([
      expect.objectContaining({ arguments: {}, argumentsError: expect.stringContaining("not valid JSON") }),
    ]);
  });

  it("of an empty answer is an answer without blocks", () => {
    const decoded = decode([events(chunk({}, "stop")), DONE]);
    expect(decoded).toMatchObject({ error: undefined, message: { content: [], stopReason: "stop" } });
  });

  it("without any last event keeps what came, with its blocks closed", () => {
    const decoded = decode([events(chunk({ reasoning_content: "Hm." }), chunk({ content: "Half" }))]);
    expectBalanced(decoded);
    expect(decoded.message.content).toMatchObject([{ thinking: "Hm." }, { text: "Half" }]);
    expect(decoded.error).toMatchObject({
      remedy: "retry",
      message:
        "The answer broke off: the stream ended without its last event (connection error). The server may have been restarted, or the model unloaded.",
    });
  });

  it("of a long stream in many pieces does not show its tail as an error of the server's", () => {
    const text = "x".repeat(400);
    const whole = Buffer.from(events(...Array.from({ length: 200 }, () => chunk({ content: text }))));
    for (const size of [1000, 1447, 16_384, 40_000]) {
      const pieces: Uint8Array[] = [];
      for (let at = 0; at < whole.length; at += size) pieces.push(whole.subarray(at, at + size));
      expect(decode(pieces).error?.message).toMatch(/^The answer broke off: /);
    }
  });

  it("ignores what comes after [DONE]", () => {
    const late = events(chunk({ content: "late" }), { error: { message: "late" } });
    expect(decode([events(chunk({ content: "A" })), DONE + late]).message.content).toEqual([
      { type: "text", text: "A" },
    ]);
  });

  it("by a content filter is named in the error", () => {
    const { error } = decode([events(chunk({ content: "A" }, "content_filter")), DONE]);
    expect(error?.message).toBe("The server withheld the rest of the answer (content filter).");
  });

  it("by a content filter in the midst of a call ends the call once, and keeps what came of it", () => {
    const call = { tool_calls: [{ index: 0, id: "a", function: { name: "x", arguments: '{"path":"a/b' } }] };
    const decoded = decode([events(chunk(call), chunk({}, "content_filter")), DONE]);
    expectBalanced(decoded);
    expect(decoded.message.content).toMatchObject([{ arguments: { path: "a/b" } }]);
  });

  it("of an event that never ends is an error instead of a full memory", () => {
    const message = assistant([], { stopReason: "pending" });
    const decoder = new Decoder({ message, emit: () => {} });
    const piece = Buffer.alloc(1024 * 1024, "x");
    decoder.push(Buffer.from("data: "));
    expect(() => {
      for (let megabytes = 0; megabytes < 80; megabytes += 1) decoder.push(piece);
    }).toThrow("an event of the stream has no end");
  });
});

describe("errors inside a stream", () => {
  const half = events(chunk({ content: "Half" }));

  it.each([
    ["an error event", `data: {"error":{"code":500,"message":"MESSAGE","type":"server_error"}}\n\n`],
    ["an error event with a text", `data: {"error":"MESSAGE"}\n\n`],
    ["a bare JSON line", `{"src":"llama-swap","error":{"message":"MESSAGE","type":"server_error"}}`],
    ["a bare JSON line of v218", `{"error":"MESSAGE","src":"llama-swap"}\n`],
    ["a bare JSON line with unescaped quotes", `{"error":"MESSAGE "quoted"","src":"llama-swap"}\n`],
    ["bare text", "MESSAGE"],
    ["bare text with a line break", "MESSAGE\n"],
    ["bare text in CRLF", "\r\nMESSAGE\r\n"],
  ])("as %s are quoted in the server's words, wherever they are cut", (_form, said) => {
    const bytes = Buffer.from(half + said.replace("MESSAGE", "it is broken: somewhere"));
    for (let at = half.length; at <= bytes.length; at += 1) {
      const decoded = decode([bytes.subarray(0, at), bytes.subarray(at)]);
      expectBalanced(decoded);
      expect(decoded.error?.message, `cut at ${at}`).toMatch(
        /^The server ended the answer with an error \(server error\)\. It says: it is broken: somewhere/,
      );
      expect(decoded.message.content).toEqual([{ type: "text", text: "Half" }]);
    }
  });

  it("by llama.cpp's router say that the process ended", () => {
    const { error } = decode([half, "proxy error: Failed to read connection"]);
    expect(error?.message).toBe(
      "The model's process ended while it answered (server error). It says: proxy error: Failed to read connection",
    );
  });

  it("after a full shared cache are an overflow", () => {
    const said = { error: { code: 500, message: "Context size has been exceeded.", type: "server_error" } };
    expect(decode([half, events(said)]).error).toMatchObject({
      remedy: "compact",
      message: "context_length_exceeded: the conversation no longer fits into the model's context.",
    });
  });

  it("about a call that the server cannot parse give the hint", () => {
    const said = {
      error: { code: 500, message: "Failed to parse input at pos 12: <tool", type: "server_error" },
    };
    expect(decode([half, events(said)]).error?.message).toContain("--jinja");
  });

  it("that are no JSON break the answer off", () => {
    const decoded = decode([half, 'data: {"choices":[}\n\n', events(chunk({ content: "more" }))]);
    expectBalanced(decoded);
    expect(decoded.error?.message).toContain("an event of the stream is not JSON");
  });
});

describe("llama-swap's loading banner", () => {
  const body = (name: string): string =>
    readFixture(name)
      .split(/\r?\n\r?\n/)
      .slice(1)
      .join("\n\n");

  it("is kept out of the message and reported as progress", () => {
    const { message, progress, error } = decode([body("100-stream-loading-state.http")]);
    expect(error).toBeUndefined();
    expect(message.content).toEqual([{ type: "text", text: "hi" }]);
    const last = progress.findLast(({ kind }) => kind === "banner");
    expect(last).toMatchObject({
      text: expect.stringContaining("llama-swap loading model: slow-loading-state"),
    });
    expect(progress.filter(({ kind }) => kind === "generating")).toHaveLength(1);
  });

  it("before a failed load leaves the error of the load", () => {
    const { message, error } = decode([body("103-stream-loading-state-fail.http")]);
    expect(message.content).toEqual([]);
    expect(error?.message).toContain("upstream command exited prematurely");
  });

  it("does not swallow thinking of chunks that carry an id or an object", () => {
    for (const more of [{ id: "1" }, { object: "chat.completion.chunk" }]) {
      const thought = { choices: [{ delta: { reasoning_content: "Hm." } }], ...more };
      expect(decode([events(thought), DONE]).message.content).toMatchObject([{ thinking: "Hm." }]);
    }
  });

  it("is over when the answer has begun: thinking after that is the model's", () => {
    const thought = { choices: [{ delta: { reasoning_content: "Hm." } }] };
    const { message } = decode([events(chunk({ role: "assistant", content: null }), thought), DONE]);
    expect(message.content).toMatchObject([{ thinking: "Hm." }]);
  });
});

describe("an observer", () => {
  it("sees every parsed event before it is decoded, also those before and at the end", async () => {
    const message = assistant([], { stopReason: "pending" });
    const seen: string[] = [];
    const decoder = new Decoder({ message, emit: (event) => seen.push(event.type) });
    const observe = async (event: unknown): Promise<void> => {
      seen.push(JSON.stringify((event as { choices: { delta: unknown }[] }).choices[0]?.delta));
      await new Promise(setImmediate);
    };
    await decoder.pushObserved(
      Buffer.from(events(chunk({ content: "A" }), chunk({}, "stop")) + DONE),
      observe,
    );
    decoder.end();
    expect(seen).toEqual(['{"content":"A"}', "text_start", "{}", "text_delta", "text_end"]);
  });

  it("loses nothing of a chunk that ends in damage", async () => {
    const message = assistant([], { stopReason: "pending" });
    let observed = 0;
    const decoder = new Decoder({ message, emit: () => {} });
    const damaged = Buffer.from(`${events(chunk({ content: "A" }))}data: {"dam\n\n`);
    await expect(
      decoder.pushObserved(damaged, () => {
        observed += 1;
      }),
    ).rejects.toThrow("is not JSON");
    decoder.abandon();
    expect([observed, message.content]).toEqual([1, [{ type: "text", text: "A" }]]);
  });
});
