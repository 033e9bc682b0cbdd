import { readFileSync } from "node:fs";
import { describe, expect, it, test } from "vitest";
import type { Thinking } from "../../../lib/thinking.ts";
import { type TemplateFacts, templateFacts } from "../../../server/models/chat-template.ts";

/** The lines of a public template that a rule reads, and the caps that a real llama-server gave for the whole. */
interface MarkerLines {
  family: string;
  source: string;
  /** The true ones of those that matter here; absent where no server was asked. */
  caps?: string[];
  lines: string[];
}

const FAMILIES: readonly MarkerLines[] = JSON.parse(
  readFileSync(new URL("../../fixtures/templates.json", import.meta.url), "utf8"),
);
const CAPS = ["supports_tools", "supports_preserve_reasoning", "supports_reasoning_effort"];

const SWITCH = { kind: "switch", variable: "enable_thinking" } as const;
const NONE = { kind: "none" } as const;
/** Always thinking, on a server that can cut it short. */
const BUDGET = { kind: "budget" } as const;
const ALWAYS = { kind: "always" } as const;

function effort(levels: string, more: object): Thinking {
  return { kind: "effort", levels: levels.split(" "), ...more };
}
const REASONING_EFFORT = { variable: "reasoning_effort" };
const SWITCHED = { variable: "reasoning_effort", switch: "enable_thinking" };

const EXPECTED: readonly [string, Thinking, string][] = [
  ["Qwen 2.5", NONE, "tools"],
  ["QwQ", BUDGET, "tools"],
  ["Qwen3", SWITCH, "keeps, tools"],
  ["Qwen3 2507 Instruct", NONE, "tools"],
  ["Qwen3 2507 Thinking", BUDGET, "keeps, tools"],
  ["Qwen3-Next Thinking", BUDGET, "keeps, tools"],
  ["Qwen3-Coder", NONE, "tools"],
  ["Qwen3-VL", NONE, "tools"],
  ["Qwen3.5", SWITCH, "keeps, tools"],
  ["Qwen3.6", SWITCH, "keeps, preserve_thinking, tools"],
  ["DeepSeek R1", BUDGET, ""],
  ["DeepSeek R1 Distill", BUDGET, ""],
  ["DeepSeek V3.1", { kind: "switch", variable: "thinking" }, ""],
  ["DeepSeek V3.2", SWITCH, "keeps, tools"],
  ["DeepSeek V4", effort("high max", SWITCHED), "keeps, drop_thinking, tools"],
  ["gpt-oss", effort("low medium high", REASONING_EFFORT), "keeps, tools"],
  ["GLM-4.6", SWITCH, "keeps, tools"],
  ["GLM-4.7 Flash", SWITCH, "keeps, clear_thinking, tools"],
  ["GLM-5.2", effort("high max", SWITCHED), "keeps, clear_thinking, tools"],
  ["Kimi K2", NONE, "tools"],
  ["Kimi K2 Thinking", BUDGET, "keeps, tools"],
  ["MiniMax M2", BUDGET, "keeps, tools"],
  ["Gemma 2", NONE, "alternates"],
  ["Gemma 3", NONE, "alternates"],
  ["Gemma 3n", NONE, "alternates"],
  ["Gemma 4", SWITCH, "keeps, tools"],
  ["Mistral Nemo", NONE, "tools, alternates, short ids"],
  ["Mistral Small 3.2", NONE, "tools, alternates, short ids"],
  ["Ministral 3 Reasoning", BUDGET, "keeps, tools, alternates"],
  ["Devstral", NONE, "tools"],
  ["Llama 3.3", NONE, "tools"],
  ["Llama 4", NONE, "tools"],
  ["Granite 3.3", { kind: "switch", variable: "thinking" }, "tools"],
  ["Granite 4", NONE, "tools"],
  ["Phi-4", NONE, ""],
  ["Phi-4 reasoning", BUDGET, ""],
  ["Nemotron Nano v2", BUDGET, "tools"],
  ["Nemotron 3 Nano", SWITCH, "keeps, truncate_history_thinking, tools"],
  ["Nemotron 3 Super", SWITCH, "keeps, truncate_history_thinking, tools"],
  ["Hermes 3", NONE, "tools"],
  ["Command R7B", SWITCH, "keeps, tools"],
  ["Command A", NONE, "alternates"],
  ["Cohere 2 MoE", { kind: "switch", variable: "reasoning" }, "keeps, tools"],
  ["SmolLM3", SWITCH, ""],
  ["Seed-OSS", { kind: "budget", variable: "thinking_budget" }, "keeps, tools"],
  ["Apertus", SWITCH, "tools"],
  ["LFM2", NONE, "tools"],
  ["LFM2.5 Thinking", BUDGET, "keeps, preserve_thinking, tools"],
  ["EXAONE 3.5", NONE, ""],
  ["EXAONE Deep", BUDGET, ""],
  ["OLMo 2", NONE, ""],
  ["Solar Open", effort("minimal low high", REASONING_EFFORT), "tools"],
  ["Step 3.5 Flash", BUDGET, "keeps, tools"],
  ["Apriel 1.5", BUDGET, "tools"],
  ["Bielik 3", SWITCH, "keeps, tools"],
  ["Cogito", SWITCH, "tools"],
  ["MiMo-VL", NONE, "tools"],
  ["GigaChat 3", NONE, "tools"],
  ["Reka Edge", SWITCH, "keeps, tools"],
  ["MiroThinker", SWITCH, "keeps, tools"],
  ["Functionary 3.2", NONE, "tools"],
  ["RWKV World", SWITCH, ""],
  ["Kimi K3", effort("low medium high max", { variable: "thinking_effort", switch: "thinking" }), "keeps"],
  ["Hunyuan A13B", SWITCH, ""],
  ["Step 3.7 Flash", effort("low medium high", REASONING_EFFORT), "keeps, preserve_thinking"],
  ["Llama Nemotron Super 1.5", ALWAYS, ""],
  ["LFM2.5 8B", ALWAYS, "keeps, preserve_thinking"],
  ["MiniMax M3", ALWAYS, "keeps"],
];

/** What is known besides thinking, in words. */
function words({ keepsThinking, keptBy, tools, needsAlternation, needsShortCallIds }: TemplateFacts) {
  const said = [
    keepsThinking && "keeps",
    keptBy,
    tools && "tools",
    needsAlternation && "alternates",
    needsShortCallIds && "short ids",
  ];
  return said.filter(Boolean).join(", ");
}

test.each(EXPECTED)("%s", (family, thinking, more) => {
  const found = FAMILIES.find((entry) => entry.family === family);
  const caps = found?.caps && Object.fromEntries(CAPS.map((name) => [name, found.caps?.includes(name)]));
  const facts = templateFacts({ chat_template: found?.lines.join("\n") || " ", chat_template_caps: caps });
  expect([facts.thinking, words(facts)]).toEqual([thinking, more]);
});

test("each family of the fixtures is expected to be something", () => {
  expect(EXPECTED.map(([family]) => family).sort()).toEqual(FAMILIES.map(({ family }) => family).sort());
  expect(FAMILIES.length).toBeGreaterThanOrEqual(25);
});

const thinkingOf = (chat_template: string, chat_template_caps?: object): Thinking | undefined =>
  templateFacts({ chat_template, chat_template_caps }).thinking;

describe("thinking", () => {
  it("that nothing switches has a budget where the server is new enough to report efforts", () => {
    expect(thinkingOf("<think>\n")).toEqual(ALWAYS);
    expect(thinkingOf("<think>\n", { supports_tools: true })).toEqual(ALWAYS);
    expect(thinkingOf("<think>\n", { supports_reasoning_effort: false })).toEqual(BUDGET);
  });

  it("that the server knows a name for has the usual efforts", () => {
    expect(thinkingOf("{{ x }}", { supports_reasoning_effort: true })).toEqual({
      kind: "effort",
      levels: ["low", "medium", "high"],
    });
    expect(thinkingOf("{% if enable_thinking %}", { supports_reasoning_effort: true })).toEqual(SWITCH);
  });

  it.each([
    ["{% if reasoning_effort == 'none' %}{% elif reasoning_effort == 'high' %}", "none high"],
    ["{{ reasoning_effort }}", "low medium high"],
    ["{% if reasoning_effort in ['max', 'low', 'odd'] %}", "low max"],
  ])("of %s has the levels %s", (template, levels) => {
    expect(thinkingOf(template)).toEqual(effort(levels, REASONING_EFFORT));
  });

  it("is not seen in a variable of another kind, a comment or an attribute", () => {
    for (const template of [
      "{# enable_thinking <think> #}",
      "{{ a.enable_thinking }}",
      "{% set ns = namespace(enable_thinking=true) %}",
      "{{ 'enable_thinking' }}",
    ])
      expect(thinkingOf(template)).toEqual(NONE);
  });
});

describe("several templates", () => {
  const plain = "{{ message.content }}";
  const withTools = "{% if enable_thinking %}{{ tools }}{% endif %}";

  it("mean the one for requests with tools, which shows them", () => {
    const caps = { supports_tools: false };
    const facts = { thinking: SWITCH, tools: true };
    expect(
      templateFacts({ chat_template: plain, chat_template_tool_use: withTools, chat_template_caps: caps }),
    ).toMatchObject(facts);
    const chat_template = [
      { name: "default", template: plain },
      { name: "tool_use", template: withTools },
    ];
    expect(templateFacts({ chat_template, chat_template_caps: caps })).toMatchObject(facts);
  });

  it("without one for tools mean the default", () => {
    const chat_template = [{ name: "rag", template: "<think>" }, { name: "default", template: withTools }, 5];
    expect(templateFacts({ chat_template })).toMatchObject({ thinking: SWITCH, tools: undefined });
  });
});

test.each([undefined, {}, { chat_template: 5 }, { chat_template: "" }, { chat_template: [] }])(
  "%j shows nothing",
  (props) => {
    expect(templateFacts(props)).toEqual({
      thinking: undefined,
      keepsThinking: undefined,
      keptBy: undefined,
      tools: undefined,
      needsAlternation: undefined,
      needsShortCallIds: undefined,
    });
  },
);
