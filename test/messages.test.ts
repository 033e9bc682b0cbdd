import type { JsonObject } from "@earendil-works/pi-ai";
import { describe, expect, it } from "vitest";
import type { ChatMessage } from "../messages/template-limits.ts";
import { chatMessages } from "../messages.ts";
import {
  assistant,
  call,
  image,
  model,
  PLAIN,
  result,
  system,
  text,
  transcript,
  user,
} from "./support/samples.ts";

const SEES = model();
const BLIND = model({ input: ["text"] });
const NO_IMAGE = "(An image stood here; this model does not take images.)";
const NO_RESULT = "No result: the call was interrupted.";
const KEEPS = { ...PLAIN, keepsThinking: true };

function sent(messages: Parameters<typeof transcript>, on = SEES, traits = PLAIN): ChatMessage[] {
  return chatMessages(transcript(...messages), on, traits);
}

function callPart(id: string, name = "bash", args = "{}") {
  return { id, type: "function", function: { name, arguments: args } };
}

describe("text", () => {
  it("goes as a string, several parts joined", () => {
    expect(sent([system("Be kind."), user("Hi"), user([text("one"), text(""), text("two")])])).toEqual([
      { role: "system", content: "Be kind." },
      { role: "user", content: "Hi" },
      { role: "user", content: "one\ntwo" },
    ]);
  });

  it("that is empty makes no message", () => {
    expect(sent([system(""), user(""), user([]), user([text("")])])).toEqual([]);
  });
});

describe("images", () => {
  it("go as data URLs in their place", () => {
    expect(sent([user([text("What is"), image("QUJD", "image/webp"), text("this?")])])).toEqual([
      {
        role: "user",
        content: [
          { type: "text", text: "What is" },
          { type: "image_url", image_url: { url: "data:image/webp;base64,QUJD" } },
          { type: "text", text: "this?" },
        ],
      },
    ]);
  });

  it("are left out with a note for a model without vision, and no part list is sent", () => {
    expect(sent([user([text("Look:"), image()])], BLIND)).toEqual([
      { role: "user", content: `Look:\n${NO_IMAGE}` },
    ]);
  });

  it("of tool results go in one user message behind all results of that answer", () => {
    const shown = sent([
      assistant([call("a", "read"), call("b", "read"), call("c", "read")]),
      result("a", [text("A:"), image("QQ==")]),
      result("b", [image("Qg==")]),
      result("c", "plain"),
      user("Compare"),
    ]);
    expect(shown).toEqual([
      {
        role: "assistant",
        content: "",
        tool_calls: [callPart("a", "read"), callPart("b", "read"), callPart("c", "read")],
      },
      { role: "tool", tool_call_id: "a", content: "A:" },
      { role: "tool", tool_call_id: "b", content: "(The image follows in the next message.)" },
      { role: "tool", tool_call_id: "c", content: "plain" },
      {
        role: "user",
        content: [
          { type: "text", text: "Images from the tool results above:" },
          { type: "image_url", image_url: { url: "data:image/png;base64,QQ==" } },
          { type: "image_url", image_url: { url: "data:image/png;base64,Qg==" } },
        ],
      },
      { role: "user", content: "Compare" },
    ]);
  });

  it("of tool results are left out with a note for a model without vision", () => {
    expect(sent([assistant([call("a", "read")]), result("a", [image()])], BLIND)).toEqual([
      { role: "assistant", content: "", tool_calls: [callPart("a", "read")] },
      { role: "tool", tool_call_id: "a", content: NO_IMAGE },
    ]);
  });
});

describe("thinking", () => {
  const thought = [{ type: "thinking" as const, thinking: "Hm." }, text("Yes.")];

  it("is sent back where the model keeps it", () => {
    expect(sent([assistant(thought)], SEES, KEEPS)).toEqual([
      { role: "assistant", content: "Yes.", reasoning_content: "Hm." },
    ]);
  });

  it.each([
    ["the model does not keep it", {}, PLAIN],
    ["another model thought it", { model: "other" }, KEEPS],
    ["another provider's model of the same name thought it", { provider: "openai" }, KEEPS],
  ])("is left out when %s", (_why, changes, traits) => {
    expect(sent([assistant(thought, changes)], SEES, traits)).toEqual([
      { role: "assistant", content: "Yes." },
    ]);
  });

  it("alone makes no message, whether kept or not", () => {
    const only = assistant([{ type: "thinking", thinking: "Hm." }]);
    expect(sent([user("Hi"), only], SEES, KEEPS)).toEqual([{ role: "user", content: "Hi" }]);
  });
});

describe("tool calls", () => {
  it("keep plain ids; those of other providers become short and the same for call and result", () => {
    const foreign = `call_1|fc_${"x".repeat(400)}`;
    const shown = sent([
      assistant([call("kept_ID-1", "bash"), call(foreign, "bash")], { provider: "openai" }),
      result("kept_ID-1", "one"),
      result(foreign, "two"),
    ]);
    const [first, second] = shown[0]?.role === "assistant" ? (shown[0].tool_calls ?? []) : [];
    expect(first?.id).toBe("kept_ID-1");
    expect(second?.id).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
    expect(shown.slice(1)).toEqual([
      { role: "tool", tool_call_id: "kept_ID-1", content: "one" },
      { role: "tool", tool_call_id: second?.id, content: "two" },
    ]);
  });

  it("without a result are closed with a note, in the order of the calls", () => {
    expect(sent([assistant([call("a", "x"), call("b", "y")]), result("b", "done"), user("Go on")])).toEqual([
      { role: "assistant", content: "", tool_calls: [callPart("a", "x"), callPart("b", "y")] },
      { role: "tool", tool_call_id: "a", content: NO_RESULT },
      { role: "tool", tool_call_id: "b", content: "done" },
      { role: "user", content: "Go on" },
    ]);
  });

  it("find their result beyond a steering message and a failed answer", () => {
    const shown = sent([
      assistant([call("a", "x")]),
      user("Wait"),
      assistant("oops", { stopReason: "error" }),
      result("a", "done"),
    ]);
    expect(shown.map((message) => message.content)).toEqual(["", "done", "Wait"]);
  });

  it("that share an id in different answers keep their own results", () => {
    const shown = sent([
      assistant([call("call_0", "x")]),
      result("call_0", "first"),
      assistant([call("call_0", "x")]),
      result("call_0", "second"),
    ]);
    expect(shown.filter(({ role }) => role === "tool").map(({ content }) => content)).toEqual([
      "first",
      "second",
    ]);
  });

  it("have arguments that are valid JSON, whatever stands in the transcript", () => {
    const cut = { ...call("a", "x"), arguments: undefined as unknown as JsonObject };
    const shown = sent([assistant([cut, call("b", "y", { deep: [{ z: 1, a: "\ud800" }] })])]);
    const calls = shown[0]?.role === "assistant" ? (shown[0].tool_calls ?? []) : [];
    expect(calls.map((part) => part.function.arguments)).toEqual(["{}", '{"deep":[{"a":"\ufffd","z":1}]}']);
  });

  it.each(["constructor", "toString", "__proto__", "hasOwnProperty"])("keep an argument named %s", (name) => {
    const args = JSON.parse(`{"${name}":"value"}`) as JsonObject;
    const shown = sent([assistant([call("a", "x", args)])]);
    const calls = shown[0]?.role === "assistant" ? (shown[0].tool_calls ?? []) : [];
    expect(calls[0]?.function.arguments).toBe(`{"${name}":"value"}`);
  });

  it("have their arguments in the order of the schema, then sorted", () => {
    const parameters = {
      type: "object",
      properties: {
        path: { type: "string" },
        edits: { type: "array", items: { type: "object", properties: { old: {}, new: {} } } },
        constructor: { type: "string" },
      },
    };
    const declared = system("", { toolsAdded: [{ name: "edit", description: "", parameters }] });
    const args = { z: 1, edits: [{ new: "b", old: "a", also: 1 }], b: 2, path: "p" };
    const shown = sent([declared, assistant([call("a", "edit", args)])]);
    const calls = shown[0]?.role === "assistant" ? (shown[0].tool_calls ?? []) : [];
    expect(calls[0]?.function.arguments).toBe(
      '{"path":"p","edits":[{"old":"a","new":"b","also":1}],"b":2,"z":1}',
    );
  });
});

describe("results", () => {
  it("without a call are left out", () => {
    expect(sent([user("Hi"), result("unasked", "lost"), user("Ho")])).toEqual([
      { role: "user", content: "Hi" },
      { role: "user", content: "Ho" },
    ]);
  });

  it("without text are said to be so", () => {
    expect(sent([assistant([call("a", "x")]), result("a", ""), user("Hi")])[1]).toEqual({
      role: "tool",
      tool_call_id: "a",
      content: "(no output)",
    });
  });
});

describe("answers", () => {
  it.each(["error", "aborted"] as const)(
    "that ended as %s are left out, with the results of their calls",
    (stopReason) => {
      const failed = assistant([text("half"), call("a", "x")], { stopReason });
      expect(sent([user("Hi"), failed, result("a", "done"), user("Again")])).toEqual([
        { role: "user", content: "Hi" },
        { role: "user", content: "Again" },
      ]);
    },
  );

  it.each([[""], [" \n"]])("that hold nothing (%j) are left out", (content) => {
    expect(sent([user("Hi"), assistant(content), assistant([])])).toEqual([{ role: "user", content: "Hi" }]);
  });

  it("in a row become one, at the end too", () => {
    const thought = { type: "thinking" as const, thinking: "Hm." };
    const shown = sent(
      [
        assistant([thought, text("One.")]),
        assistant([thought, text("Two."), call("a", "x")]),
        result("a", "r"),
      ],
      SEES,
      KEEPS,
    );
    expect(shown).toEqual([
      {
        role: "assistant",
        content: "One.\n\nTwo.",
        reasoning_content: "Hm.\n\nHm.",
        tool_calls: [callPart("a", "x")],
      },
      { role: "tool", tool_call_id: "a", content: "r" },
    ]);
    expect(sent([user("Hi"), assistant("A"), assistant("B"), assistant("C")]).slice(1)).toEqual([
      { role: "assistant", content: "A\n\nB\n\nC" },
    ]);
  });

  it("behind closed calls are no two answers in a row", () => {
    const shown = sent([assistant([call("a", "x")]), assistant("Done.")]);
    expect(shown.map(({ role }) => role)).toEqual(["assistant", "tool", "assistant"]);
  });
});

describe("lone surrogates", () => {
  const half = "a\ud83d";

  it("are repaired wherever text stands", () => {
    const shown = sent(
      [
        system(half, { toolsAdded: [] }),
        user(half),
        user([text(half), image()]),
        assistant([{ type: "thinking", thinking: half }, text(half), call(half, half, { [half]: half })]),
        result(half, half),
      ],
      SEES,
      KEEPS,
    );
    expect(shown).toHaveLength(5);
    expect(JSON.stringify(shown)).not.toMatch(/\\ud[89a-f]/i);
    expect(shown[0]).toEqual({ role: "system", content: "a\ufffd" });
  });

  it("leave whole pairs alone", () => {
    expect(sent([user("😀")])).toEqual([{ role: "user", content: "😀" }]);
  });
});

describe("system messages in the conversation", () => {
  it("are folded into the first, with their sections", () => {
    const shown = sent([
      system("Base.", { sections: { date: "<date>Monday</date>", mode: "<mode>plan</mode>" } }),
      user("Hi"),
      system("More.", { sections: { date: "<date>Tuesday</date>", mode: null } }),
      user("Ho"),
    ]);
    expect(shown).toEqual([
      { role: "system", content: expect.stringMatching(/^Base\.\n\nMore\.\s+<date>Tuesday<\/date>$/) },
      { role: "user", content: "Hi" },
      { role: "user", content: "Ho" },
    ]);
  });
});
