import type { SimpleStreamOptions, Tool } from "@earendil-works/pi-ai";
import { describe, expect, it } from "vitest";
import type { ChatMessage } from "../messages/template-limits.ts";
import { chatRequest, type ModelTraits, OPTIONAL_FIELDS } from "../messages.ts";
import {
  assistant,
  call,
  image,
  model,
  PLAIN,
  result,
  system,
  text,
  tool,
  transcript,
  user,
} from "./support/samples.ts";

const NONE: ReadonlySet<string> = new Set();

function request(
  options: SimpleStreamOptions = {},
  { on = model(), traits = {} as Partial<ModelTraits>, tools = [] as Tool[], refused = NONE } = {},
): Record<string, unknown> {
  const context = transcript(system("S", { toolsAdded: tools }), user("Hi"));
  return chatRequest(context, on, { ...PLAIN, ...traits }, options, refused);
}

describe("a request", () => {
  it("asks for a stream with usage and progress, and has nothing that was not asked for", () => {
    expect(JSON.stringify(request())).toBe(
      '{"model":"thinker","messages":[{"role":"system","content":"S"},{"role":"user","content":"Hi"}],"stream":true,"stream_options":{"include_usage":true},"return_progress":true,"max_tokens":32768}',
    );
  });

  it("takes temperature, and sampling parameters of the model under those of the turn", () => {
    const body = request(
      { temperature: 0, samplingParams: { top_p: 0.9, min_p: 0.1 } },
      { on: model({ samplingParams: { top_p: 0.5, top_k: 20 } }) },
    );
    expect(body).toMatchObject({ temperature: 0, top_p: 0.9, min_p: 0.1, top_k: 20 });
  });

  it("takes the model's sampling parameters of the thinking level, between those of the model and of the turn", () => {
    const on = model({
      samplingParams: { top_p: 0.5, top_k: 20, min_p: 0.2 },
      samplingParamsByThinkingLevel: { off: { top_k: 1 }, high: { top_k: 40, min_p: 0.3 } },
    });
    const asked = { samplingParams: { min_p: 0.4 } };
    expect(request(asked, { on })).toMatchObject({ top_p: 0.5, top_k: 1, min_p: 0.4 });
    expect(request({ reasoning: "high", ...asked }, { on })).toMatchObject({ top_k: 40, min_p: 0.4 });
    expect(request({ reasoning: "high" }, { on })).toMatchObject({ top_p: 0.5, top_k: 40, min_p: 0.3 });
    // pi does not offer xhigh for this model, and takes its parameters for high.
    expect(request({ reasoning: "xhigh" }, { on })).toMatchObject({ top_k: 40 });
    expect(request({ reasoning: "low" }, { on })).toMatchObject({ top_k: 20 });
  });

  it("lets sampling parameters override named fields, as pi documents", () => {
    expect(request({ temperature: 1, samplingParams: { temperature: 0.2 } })).toMatchObject({
      temperature: 0.2,
    });
  });

  it("sends the tool choice with tools and leaves it out without", () => {
    expect(request({ toolChoice: "none" }, { tools: [tool("bash")] })).toMatchObject({ tool_choice: "none" });
    expect(request({}, { tools: [tool("bash")] })).not.toHaveProperty("tool_choice");
    expect(request({ toolChoice: "auto" })).not.toHaveProperty("tool_choice");
    expect(request()).not.toHaveProperty("tools");
  });

  it("leaves out each field that was refused", () => {
    const optional: SimpleStreamOptions = { toolChoice: "auto", reasoning: "high" };
    for (const kind of ["switch", "budget"] as const) {
      const body = request(optional, {
        traits: { thinking: { kind } },
        tools: [tool("bash")],
        refused: new Set(OPTIONAL_FIELDS),
      });
      expect(Object.keys(body)).toEqual(["model", "messages", "stream", "max_tokens", "tools"]);
    }
  });
});

describe("tools", () => {
  it("go as functions with a schema whose properties keep their order and whose keywords are sorted", () => {
    const properties = { path: { type: "string", description: "Where" }, all: { type: "boolean" } };
    const parameters = { type: "object", required: ["path"], properties, additionalProperties: false };
    const body = request({}, { tools: [{ name: "ls", description: "Lists", parameters }] });
    expect(JSON.stringify(body.tools)).toBe(
      '[{"type":"function","function":{"name":"ls","description":"Lists","parameters":{"additionalProperties":false,"properties":{"path":{"description":"Where","type":"string"},"all":{"type":"boolean"}},"required":["path"],"type":"object"}}}]',
    );
  });

  it("keep the order of a property that is itself named properties", () => {
    const properties = { properties: { type: "object", properties: { b: {}, a: {} } } };
    const body = request({}, { tools: [tool("x", properties)] });
    expect(JSON.stringify(body.tools)).toContain(
      '"properties":{"properties":{"properties":{"b":{},"a":{}},"type":"object"}}',
    );
  });

  it("added and removed in the conversation make one current list", () => {
    const context = transcript(
      system("S", { toolsAdded: [tool("a"), tool("b")] }),
      user("Hi"),
      system("", { toolsAdded: [tool("c")], toolsRemoved: [{ name: "a" }] }),
      user("Ho"),
    );
    const body = chatRequest(context, model(), PLAIN, {}, NONE);
    expect((body.tools as { function: { name: string } }[]).map((entry) => entry.function.name)).toEqual([
      "b",
      "c",
    ]);
    expect(body.messages).toEqual([
      { role: "system", content: "S" },
      { role: "user", content: "Hi" },
      { role: "user", content: "Ho" },
    ]);
  });
});

describe("what a template does not take", () => {
  const history = transcript(
    system("S", { toolsAdded: [tool("bash")] }),
    user("Hi"),
    assistant([call("call_1234567890", "bash", { command: "ls" })]),
    result("call_1234567890", "README"),
    user("And?"),
    user("Well?"),
  );
  const body = (traits: Partial<ModelTraits>): { tools?: unknown; messages: ChatMessage[] } =>
    chatRequest(history, model(), { ...PLAIN, ...traits }, { toolChoice: "auto" }, NONE) as never;

  it("of tools is left out, and the calls of before are words", () => {
    const { messages, ...rest } = body({ takesTools: false });
    expect(rest).not.toHaveProperty("tools");
    expect(rest).not.toHaveProperty("tool_choice");
    expect(messages.map(({ role, content }) => [role, content])).toEqual([
      ["system", "S"],
      ["user", "Hi"],
      ["assistant", 'Called bash with {"command":"ls"}'],
      ["user", "Result of bash:\nREADME"],
      ["user", "And?"],
      ["user", "Well?"],
    ]);
    expect(JSON.stringify(messages)).not.toContain("tool_call");
  });

  it("of turns is put in turn", () => {
    const roles = body({ needsAlternation: true }).messages.map(({ role }) => role);
    expect(roles).toEqual(["system", "user", "assistant", "tool", "assistant", "user"]);
    const plain = body({ needsAlternation: true, takesTools: false }).messages.map(({ role }) => role);
    expect(plain).toEqual(["system", "user", "assistant", "user"]);
  });

  it("of ids is nine letters and digits, the same for call and result", () => {
    const ids = (id: string): unknown[] => {
      const context = transcript(user("Hi"), assistant([call(id, "bash")]), result(id, "ok"));
      const traits = { ...PLAIN, needsShortCallIds: true };
      const { messages } = chatRequest(context, model(), traits, {}, NONE) as { messages: ChatMessage[] };
      return messages.flatMap((message) =>
        message.role === "tool"
          ? message.tool_call_id
          : message.role === "assistant"
            ? (message.tool_calls ?? []).map((part) => part.id)
            : [],
      );
    };
    expect(ids("abcDEF123")).toEqual(["abcDEF123", "abcDEF123"]);
    const [made, again] = ids("call_1234567890");
    expect(made).toMatch(/^[A-Za-z0-9]{9}$/);
    expect(again).toBe(made);
    expect(ids("call_other")[0]).not.toBe(made);
  });
});

describe("max_tokens", () => {
  const long = (tokens: number) =>
    chatRequest(
      transcript(user("x".repeat(3.5 * tokens))),
      model({ contextWindow: 10_000, maxTokens: 5000 }),
      PLAIN,
      {},
      NONE,
    );

  it("is the registered figure while there is room, and a margin", () => {
    expect(long(3750)).toMatchObject({ max_tokens: 5000 });
  });

  it("is the room that is left near the end of the window, but never too little for an answer", () => {
    expect(long(6000)).toMatchObject({ max_tokens: 2750 });
    expect(long(9900)).toMatchObject({ max_tokens: 1024 });
    expect(long(20_000)).toMatchObject({ max_tokens: 1024 });
  });

  it("is what the caller asks for, when that is less", () => {
    expect(request({ maxTokens: 7 })).toMatchObject({ max_tokens: 7 });
  });

  it("counts images, calls, tools and thinking that is sent back", () => {
    const small = model({ contextWindow: 10_000, maxTokens: 10_000 });
    const left = (context: ReturnType<typeof transcript>, keepsThinking = false) =>
      Number(chatRequest(context, small, { ...PLAIN, keepsThinking }, {}, NONE).max_tokens);
    const plain = left(transcript(user("Hi")));
    expect(left(transcript(user([text("Hi"), image()])))).toBeLessThan(plain - 500);
    expect(left(transcript(system("", { toolsAdded: [tool("x".repeat(4000))] }), user("Hi")))).toBeLessThan(
      plain - 900,
    );
    const called = [assistant([call("a", "x", { text: "y".repeat(4000) })]), result("a", "ok")];
    expect(left(transcript(user("Hi"), ...called))).toBeLessThan(plain - 900);
    const thought = assistant([{ type: "thinking", thinking: "z".repeat(4000) }, text("ok")]);
    expect(left(transcript(user("Hi"), thought), true)).toBeLessThan(plain - 900);
  });
});
