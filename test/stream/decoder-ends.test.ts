import { isContextOverflow, isRetryableAssistantError } from "@earendil-works/pi-ai";
import { describe, expect, it } from "vitest";
import { wordedFor } from "../../stream/pi-rules.ts";
import { chunk, DONE, decode, events } from "../support/decoding.ts";
import { remedyBy } from "../support/pi-rules.ts";

const RULES = { isContextOverflow, isRetryableAssistantError };
const call = {
  tool_calls: [{ index: 0, id: "a1", function: { name: "bash", arguments: '{"command":"x"}' } }],
};

/** As pi's own provider takes them (`mapStopReason` in openai-completions, 1.5.2 and 1.6.0). */
describe("a finish_reason that pi takes as a good end", () => {
  it.each([
    ["stop", "stop", "toolUse"],
    ["end", "stop", "toolUse"],
    ["tool_calls", "stop", "toolUse"],
    ["function_call", "stop", "toolUse"],
    ["length", "length", "length"],
  ])("%s ends a text with %s, a call with %s", (reason, text, called) => {
    const end = (delta: unknown) => decode([events(chunk(delta), chunk({}, reason)), DONE]);
    expect(end({ content: "Hi" })).toMatchObject({ error: undefined, message: { stopReason: text } });
    expect(end(call)).toMatchObject({ error: undefined, message: { stopReason: called } });
  });
});

describe("a finish_reason that is no good end", () => {
  it.each([
    "abort",
    "aborted",
    "error",
    "cancelled",
    "content_filter",
    "model_context_window_exceeded",
    "context_length_exceeded",
    "network_error",
    "server_error",
    "timeout",
    "rate_limit",
    "engine_overloaded",
    "insufficient_system_resource",
    "eos",
    "STOP",
    "Length",
    "null",
    "whatever comes next",
  ])("%s ends the answer as an error, and pi does what it would do with its own provider", (reason) => {
    for (const [delta, after] of [
      [{ content: "Half" }, DONE],
      [call, DONE],
      [call, ""],
    ] as const) {
      const { error, message } = decode([events(chunk(delta), chunk({}, reason)), after]);
      if (error === undefined) throw new Error(`${reason} counts as a good end`);
      expect(message).toMatchObject({ stopReason: "pending", rawStopReason: reason });
      expect(remedyBy(RULES, wordedFor(error.sentence, error.remedy))).toBe(
        remedyBy(RULES, `Provider finish_reason: ${reason}`),
      );
    }
  });

  it("stays, though a good one follows", () => {
    const { error } = decode([events(chunk(call), chunk({}, "abort"), chunk({}, "stop")), DONE]);
    expect(error?.message).toBe(
      "The server broke the answer off, with the finish_reason abort. Ask again; /ai-server-logs may show why.",
    );
  });

  it("is a bad end too where it is not text", () => {
    const end = { choices: [{ index: 0, delta: {}, finish_reason: { type: "stop" } }] };
    expect(decode([events(chunk(call), end), DONE]).error?.message).toContain(
      "finish_reason of another type",
    );
  });
});
