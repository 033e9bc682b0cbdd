import { describe, expect, it, test } from "vitest";
import { remedyOf } from "../stream/pi-rules.ts";
import { chunk, DONE, events } from "./support/decoding.ts";
import { turnWith } from "./support/turns.ts";

const SENTENCE = "Let me look at the file once more. ";
const words = (field: string, times: number, text = SENTENCE): string[] =>
  Array.from({ length: times }, () => events(chunk({ [field]: text })));

describe("a model that repeats itself for ever", () => {
  it.each([
    ["content", "text", "The model repeats itself: it wrote "],
    ["reasoning_content", "thinking", "The model repeats itself while it thinks: it wrote "],
  ])("in %s ends the turn, which says what was repeated", async (field, type, says) => {
    const pieces = [events(chunk({ [field]: "I begin. " })), ...words(field, 200)];
    const { message, server, events: seen } = await turnWith([{ pieces, end: "never" }]);
    expect(message.stopReason).toBe("error");
    expect(message.errorMessage).toContain(
      `${says}"Let me look at the file once more." at least 58 times in a row`,
    );
    expect(seen.at(-1)).toBe("error");
    // What was written stays, up to the loop.
    expect(message.content).toMatchObject([{ type }]);
    expect(JSON.stringify(message.content)).toMatch(
      /I begin\. (?:Let me look at the file once more\. ){58,90}/,
    );
    // The server stops when the connection is closed, and is not asked again.
    expect(server.chats.map(({ signal }) => signal.aborted)).toEqual([true]);
  });

  it("does not make pi ask again or compact, whatever it repeats", async () => {
    for (const said of ["connection error 500 timed out ", "prompt is too long, context_length_exceeded "]) {
      const { message } = await turnWith([{ pieces: words("content", 400, said), end: "never" }]);
      expect(message.errorMessage).toContain("The model repeats itself");
      expect(remedyOf(message.errorMessage ?? "")).toBe("none");
    }
  });

  it("goes on with AI_SERVER_LOOP_GUARD=off", async () => {
    const pieces = [...words("content", 200), events(chunk({}, "stop")) + DONE];
    const env = { AI_SERVER_LOOP_GUARD: "off" };
    const { message } = await turnWith([{ pieces }], { env });
    expect(message.stopReason).toBe("stop");
    expect(message.content).toEqual([{ type: "text", text: SENTENCE.repeat(200) }]);
  });
});

test("an answer that repeats itself and ends counts", async () => {
  const all = words("content", 57).join("") + events(chunk({ content: SENTENCE }), chunk({}, "stop")) + DONE;
  const { message } = await turnWith([{ pieces: [all] }]);
  expect(message.stopReason).toBe("stop");
});
