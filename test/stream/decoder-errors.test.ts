import { describe, expect, it } from "vitest";
import { Decoder } from "../../stream/decoder.ts";
import { chunk, DONE, decode, events, expectBalanced } from "../support/decoding.ts";
import { assistant } from "../support/samples.ts";

const SAID = "CUDA out of memory on device 0";
const data = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;
const fastApi = { detail: [{ loc: ["body", "messages"], msg: SAID, type: "value_error" }] };

/** What servers write into a stream when they fail; each with the same words. */
const SHAPES: Record<string, string> = {
  "an object of OpenAI's kind": data({ error: { message: SAID, type: "server_error", code: 500 } }),
  "a code in words": data({ error: { message: SAID, code: "internal_error" } }),
  "a text under error": data({ error: SAID }),
  "error: true beside a message": data({ error: true, message: SAID }),
  "a status in words beside a message": data({ statusCode: 500, error: "Internal Error", message: SAID }),
  "vLLM's object": data({
    object: "error",
    message: SAID,
    type: "InternalServerError",
    param: null,
    code: 500,
  }),
  "Anthropic's object": data({ type: "error", error: { type: "api_error", message: SAID } }),
  "FastAPI's detail": data({ detail: SAID }),
  "FastAPI's list": data(fastApi),
  "a detail with an object": data({ detail: { error: { message: SAID } } }),
  "a list of errors": data({ errors: [{ message: SAID }] }),
  "a list with one error": data([{ error: { message: SAID } }]),
  "a message and a code": data({ code: "500", message: SAID }),
  "a message alone": data({ message: SAID }),
  "a code and a message of the error's": data({ error_code: 50_001, error_msg: SAID }),
  "an error's message": data({ errorMessage: SAID }),
  "an exception": data({ exception: SAID }),
  "no success": data({ success: false, reason: SAID }),
  "an event named cancelled": `event: cancelled\n${data({ reason: SAID })}`,
  "an answer of OpenAI's newer kind that failed": `event: response.failed\n${data({
    type: "response.failed",
    response: { status: "failed", error: { code: "server_error", message: SAID } },
  })}`,
  "an error in a choice": data({ choices: [{ index: 0, delta: {}, error: { code: 502, message: SAID } }] }),
  "an error beside a choice": data({ ...chunk({ content: "" }, "error"), error: { message: SAID } }),
  "an error within an error": data({ error: { error: { message: SAID } } }),
  "JSON in a message": data({ error: { message: JSON.stringify({ error: { message: SAID } }) } }),
  "what the provider behind a proxy says": data({ error: { message: "It failed", metadata: { raw: SAID } } }),
  "a JSON string": data(`Error: ${SAID}`),
  "what Python prints": `data: {'error': {'message': '${SAID}'}}\n\n`,
  "words instead of JSON": `data: Error: ${SAID}\n\n`,
  "words in brackets": `data: [ERROR] ${SAID}\n\n`,
  "a field named error": `error: ${JSON.stringify({ code: 500, message: SAID, type: "server_error" })}\n\n`,
  "a field named error, without a space": `error:{"message":"${SAID}"}\n\n`,
  "a field named error, with an object in it": `error: {"error":{"message":"${SAID}"}}\n\n`,
  "a field named error, in words": `error: ${SAID}\n\n`,
  "a field named error, as a JSON string": `error: ${JSON.stringify(SAID)}\n\n`,
  "a field named Error": `Error: ${SAID}\n\n`,
  "a field named error between carriage returns": `error: ${SAID}\r\n\r\n`,
  "an event named error": `event: error\n${data({ error: { message: SAID } })}`,
  "an event named error, in words": `event: error\ndata: ${SAID}\n\n`,
  "an event named error, as a JSON string": `event: error\n${data(SAID)}`,
  "an event named error, as a list": `event: error\n${data([{ message: SAID }])}`,
  "an event named error, of FastAPI's": `event: error\n${data(fastApi)}`,
  "an event named Error, named after its data": `${data({ message: SAID }).trimEnd()}\nevent: Error\n\n`,
  "a bare line of JSON": `${JSON.stringify({ src: "llama-swap", error: { message: SAID } })}\n`,
  "bare JSON on many lines": `${JSON.stringify({ error: { message: SAID } }, undefined, 2)}\n\n`,
};

const whole = {
  tool_calls: [{ index: 0, id: "a1", function: { name: "bash", arguments: '{"command":"x"}' } }],
};

/** What came before it; the call's arguments are whole, so that it could be run. */
const BEFORE: Record<string, string> = {
  first: "",
  "in a text": events(chunk({ role: "assistant" }), chunk({ content: "The first half of" })),
  "in a tool call": events(chunk(whole)),
  "after the finish_reason": events(chunk(whole), chunk({}, "tool_calls")),
};

const AFTER: Record<string, string> = { "": "", " and [DONE]": DONE };

describe.each(Object.entries(SHAPES))("%s", (_shape, error) => {
  it.each(Object.entries(BEFORE))("%s ends the answer as an error, in the server's words", (_, before) => {
    for (const after of Object.values(AFTER)) {
      const stream = before + error + after;
      for (const pieces of [[stream], [...stream]]) {
        const { message, error: fault, ...rest } = decode(pieces);
        expect(fault?.message).toContain(SAID);
        expect(fault?.remedy).toBe("retry");
        expect(message.stopReason).toBe("pending");
        expectBalanced({ ...rest, message });
      }
    }
  });
});

describe("an error in a stream that pi observes", () => {
  it.each(Object.entries(SHAPES))("%s ends the answer after what came before it", async (_, error) => {
    const message = assistant([], { stopReason: "pending", model: "script" });
    const decoder = new Decoder({ message, emit: () => {} });
    const observed: unknown[] = [];
    const stream = Buffer.from(BEFORE["in a tool call"] + error + DONE);
    const read = async (): Promise<void> => {
      await decoder.pushObserved(stream, (event) => void observed.push(event));
      decoder.end();
    };
    await expect(read()).rejects.toThrow(SAID);
    expect(observed[0]).toEqual(chunk(whole));
    expect(message.content).toMatchObject([{ type: "toolCall", name: "bash" }]);
  });
});

describe("a bare line without a finish_reason, before [DONE]", () => {
  it.each([
    ["in words", "Internal Server Error"],
    ["as a page of a proxy's", "<html><body>502 Bad Gateway</body></html>"],
  ])("%s ends the answer as an error", (_, line) => {
    const { error, message } = decode([`${BEFORE["in a tool call"]}${line}\n\n${DONE}`]);
    expect(error?.message).toMatch(/It says: (?:Internal Server Error|502 Bad Gateway)$/);
    expect(message.stopReason).toBe("pending");
  });

  it("that says nothing of a failure leaves it whole", () => {
    const stream = `${events(chunk({ content: "Hi" }))}x-request-id: 12\n\n${DONE}`;
    expect(decode([stream])).toMatchObject({ error: undefined, message: { stopReason: "stop" } });
  });
});

describe("what is no error", () => {
  const good = events(chunk({ content: "Hi" }), chunk({}, "stop"));

  it.each([
    ["error: null with each event", events(chunk({ content: "Hi" }, null, { error: null }))],
    ["an empty error with each event", events(chunk({ content: "Hi" }, null, { error: "", errors: [] }))],
    ["error: false", events(chunk({ content: "Hi" }, null, { error: false }))],
    ["a heartbeat as an event", `event: ping\n${data({ type: "ping" })}${good}`],
    [
      "a code that says that all is well",
      `${data({ code: 200, message: "OK" })}${data({ code: 0, msg: "success" })}${good}`,
    ],
    ["a heartbeat without data", `data:\n\ndata: \n\n${good}`],
    ["a heartbeat in a word", `event: keepalive\ndata: still here\n\ndata: ping\n\n${good}`],
    ["a heartbeat with a message", `${data({ type: "ping", message: "still here" })}${good}`],
    ["comments and ids", `: error: none\n\nid: error\n${good}`],
    ["an answer about errors", events(chunk({ content: 'error: {"error":"x"}\nevent: error' }))],
    [
      "usage without choices",
      good + data({ usage: { prompt_tokens: 1, completion_tokens: 1 }, detail: null }),
    ],
    ["an error behind [DONE]", `${good}${DONE}error: too late\n\n${data({ error: "too late" })}`],
  ])("%s leaves the answer whole", (_, stream) => {
    for (const pieces of [[stream + DONE], [...stream, ...DONE]])
      expect(decode(pieces)).toMatchObject({ error: undefined, message: { stopReason: "stop" } });
  });

  it.each([
    ["a page", "<html><head><title>502 Bad Gateway</title></head></html>", "502 Bad Gateway"],
    ["a sentence", "no healthy upstream", "no healthy upstream"],
    ["a heartbeat", "ping", undefined],
  ])(
    "[DONE] without a finish_reason after %s of a proxy's is a good end only where that says nothing",
    (_, said, words) => {
      const { error } = decode([events(chunk(whole)), `${said}\n\n`, DONE]);
      if (words === undefined) expect(error).toBeUndefined();
      else expect(error?.message).toContain(words);
    },
  );

  it("[DONE] without a finish_reason after good content is a good end", () => {
    expect(decode([events(chunk({ content: "Hi" })), DONE])).toMatchObject({
      error: undefined,
      message: { stopReason: "stop", content: [{ text: "Hi" }] },
    });
  });

  it.each([1, 5_000])("a whole answer under the name of a stream is taken, of %i sentences", (count) => {
    const content = "It failed: an error. ".repeat(count);
    const answer = { choices: [{ message: { role: "assistant", content }, finish_reason: "stop" }] };
    expect(decode([JSON.stringify(answer)])).toMatchObject({
      error: undefined,
      message: { stopReason: "stop", content: [{ text: content }] },
    });
  });
});

describe("an event named error without data", () => {
  it("is an error", () => {
    const { error } = decode([events(chunk({ content: "Half" })), "event: error\n\n", DONE]);
    expect(error?.message).toBe("The server ended the answer with an error (server error).");
  });
});
