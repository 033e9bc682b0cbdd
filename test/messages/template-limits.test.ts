import { describe, expect, it } from "vitest";
import type { ChatMessage } from "../../messages/template-limits.ts";
import { alternating, withoutTools } from "../../messages/template-limits.ts";

const user = (content: string): ChatMessage => ({ role: "user", content });
const answer = (content: string): ChatMessage => ({ role: "assistant", content });
const called: ChatMessage = {
  role: "assistant",
  content: "Let me see.",
  tool_calls: [{ id: "a", type: "function", function: { name: "bash", arguments: '{"command":"ls"}' } }],
};
const found: ChatMessage = { role: "tool", tool_call_id: "a", content: "README" };
const picture = { type: "image_url", image_url: { url: "data:" } } as const;

describe("for a template that alternates", () => {
  it("the user's messages in a row become one", () => {
    expect(alternating([user("a"), user("b"), user("c"), answer("d"), user("e")])).toEqual([
      user("a\n\nb\n\nc"),
      answer("d"),
      user("e"),
    ]);
  });

  it("images stay where they were", () => {
    expect(alternating([user("a"), { role: "user", content: [picture] }, user("b")])).toEqual([
      { role: "user", content: [{ type: "text", text: "a" }, picture, { type: "text", text: "b" }] },
    ]);
  });

  it("an answer stands between a tool's result and the user", () => {
    const messages = alternating([user("a"), called, found, user("b"), user("c")]);
    expect(messages).toEqual([user("a"), called, found, answer("(no answer)"), user("b\n\nc")]);
  });

  it("what alternates is left as it is, and what comes later changes nothing before it", () => {
    const messages: ChatMessage[] = [{ role: "system", content: "S" }, user("a"), called, found, answer("b")];
    expect(alternating(messages)).toEqual(messages);
    const longer = [...messages, user("c")];
    expect(JSON.stringify(alternating([...longer, user("d")]))).toContain(
      JSON.stringify(alternating(longer)).slice(0, -'"}]'.length),
    );
  });
});

describe("for a model without tools", () => {
  it("calls and results are words", () => {
    expect(withoutTools([user("a"), called, found, answer("done")])).toEqual([
      user("a"),
      answer('Let me see.\n\nCalled bash with {"command":"ls"}'),
      user("Result of bash:\nREADME"),
      answer("done"),
    ]);
  });

  it("a call without any text counts as a call", () => {
    expect(withoutTools([{ ...called, content: "" }])).toEqual([answer('Called bash with {"command":"ls"}')]);
  });
});
