import type { SimpleStreamOptions, Tool } from "@earendil-works/pi-ai";
import { describe, expect, it } from "vitest";
import { chatRequest, effortFor, OPTIONAL_FIELDS } from "../messages.ts";
import type { Thinking } from "../server/models.ts";
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
} from "./samples.ts";

const NONE: ReadonlySet<string> = new Set();

function request(
  options: SimpleStreamOptions = {},
  {
    on = model(),
    thinking = { kind: "none" } as Thinking,
    tools = [] as Tool[],
    refused = NONE,
    keepsThinking = false,
  } = {},
): Record<string, unknown> {
  const context = transcript(system("S", { toolsAdded: tools }), user("Hi"));
  return chatRequest(context, on, { thinking, keepsThinking }, options, refused);
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
        thinking: { kind },
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

describe("max_tokens", () => {
  const long = (characters: number) =>
    chatRequest(
      transcript(user("x".repeat(characters))),
      model({ contextWindow: 10_000, maxTokens: 5000 }),
      PLAIN,
      {},
      NONE,
    );

  it("is the registered figure while there is room", () => {
    expect(long(4 * 5000)).toMatchObject({ max_tokens: 5000 });
  });

  it("is the room that is left near the end of the window, but never too little for an answer", () => {
    expect(long(4 * 7000)).toMatchObject({ max_tokens: 3000 });
    expect(long(4 * 9900)).toMatchObject({ max_tokens: 1024 });
    expect(long(4 * 20_000)).toMatchObject({ max_tokens: 1024 });
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

describe("thinking", () => {
  it.each([
    ["none", "high", {}],
    ["always", "high", {}],
    ["switch", "low", { chat_template_kwargs: { enable_thinking: true } }],
    ["switch", undefined, { chat_template_kwargs: { enable_thinking: false } }],
    ["budget", undefined, { thinking_budget_tokens: 0 }],
    ["budget", "medium", { thinking_budget_tokens: 8192 }],
    ["budget", "max", { thinking_budget_tokens: 16_384 }],
  ] as const)("of kind %s at level %s", (kind, reasoning, expected) => {
    const {
      model: _,
      messages,
      stream,
      stream_options,
      return_progress,
      max_tokens,
      ...rest
    } = request(reasoning === undefined ? {} : { reasoning }, { thinking: { kind } });
    expect(rest).toEqual(expected);
  });

  it("takes pi's own budgets before the defaults", () => {
    const body = request(
      { reasoning: "xhigh", thinkingBudgets: { high: 99 } },
      { thinking: { kind: "budget" } },
    );
    expect(body.thinking_budget_tokens).toBe(99);
  });

  it.each([
    ["low", ["low", "medium", "high"], "low"],
    ["minimal", ["none", "low", "high"], "low"],
    ["max", ["low", "high"], "high"],
    ["xhigh", ["low", "xhigh"], "xhigh"],
    [undefined, ["none", "low"], "none"],
    [undefined, ["low"], undefined],
  ] as const)("level %s with the declared efforts %j is %s", (level, levels, expected) => {
    expect(effortFor(level, levels)).toBe(expected);
    const body = request(level === undefined ? {} : { reasoning: level }, {
      thinking: { kind: "effort", levels },
    });
    expect(body.reasoning_effort).toBe(expected);
  });
});
