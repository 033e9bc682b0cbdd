import type { ThinkingLevel } from "@earendil-works/pi-ai";
import { describe, expect, it, test } from "vitest";
import type { Thinking } from "../../lib/thinking.ts";
import { effortFor, thinkingFields } from "../../messages/thinking-fields.ts";
import { PLAIN } from "../support/samples.ts";

function fields(thinking: Thinking, reasoning: ThinkingLevel | undefined): unknown {
  return thinkingFields({ ...PLAIN, thinking }, reasoning === undefined ? {} : { reasoning });
}
const kwargs = (variables: object, more: object = {}) => ({ chat_template_kwargs: variables, ...more });

const GPT_OSS: Thinking = {
  kind: "effort",
  levels: ["low", "medium", "high"],
  variable: "reasoning_effort",
};
const GLM: Thinking = {
  kind: "effort",
  levels: ["high", "max"],
  variable: "reasoning_effort",
  switch: "enable_thinking",
};
const KIMI: Thinking = {
  kind: "effort",
  levels: ["low", "max"],
  variable: "thinking_effort",
  switch: "thinking",
};
const SEED: Thinking = { kind: "budget", variable: "thinking_budget" };

describe("a level of pi's", () => {
  it.each<[Thinking, ThinkingLevel | undefined, object]>([
    [{ kind: "none" }, "high", {}],
    [{ kind: "always" }, "high", {}],
    [{ kind: "switch" }, "low", kwargs({ enable_thinking: true })],
    [{ kind: "switch" }, undefined, kwargs({ enable_thinking: false })],
    [{ kind: "switch", variable: "thinking" }, undefined, kwargs({ thinking: false })],
    [{ kind: "budget" }, undefined, { thinking_budget_tokens: 0 }],
    [{ kind: "budget" }, "medium", { thinking_budget_tokens: 8192 }],
    [{ kind: "budget" }, "xhigh", { thinking_budget_tokens: 16_384 }],
    [{ kind: "budget" }, "max", {}],
    [SEED, undefined, kwargs({ thinking_budget: 0 })],
    [SEED, "low", kwargs({ thinking_budget: 2048 })],
    [SEED, "max", {}],
    [GPT_OSS, "low", kwargs({ reasoning_effort: "low" }, { reasoning_effort: "low" })],
    [GPT_OSS, undefined, {}],
    [GLM, "max", kwargs({ enable_thinking: true, reasoning_effort: "max" }, { reasoning_effort: "max" })],
    [GLM, undefined, kwargs({ enable_thinking: false })],
    [KIMI, "low", kwargs({ thinking: true, thinking_effort: "low" })],
    [KIMI, undefined, kwargs({ thinking: false })],
  ])("for %j, %s, is sent as %j", (thinking, level, expected) => {
    expect(fields(thinking, level)).toEqual(expected);
  });

  it("takes pi's own budgets before the defaults", () => {
    const options = { reasoning: "xhigh", thinkingBudgets: { high: 99 } } as const;
    expect(thinkingFields({ ...PLAIN, thinking: { kind: "budget" } }, options)).toEqual({
      thinking_budget_tokens: 99,
    });
  });
});

test.each([
  ["low", ["low", "medium", "high"], "low"],
  ["minimal", ["none", "low", "high"], "low"],
  ["max", ["low", "high"], "high"],
  ["xhigh", ["low", "xhigh"], "xhigh"],
  [undefined, ["none", "low"], "none"],
  [undefined, ["low"], undefined],
] as const)("level %s with the efforts %j is %s", (level, levels, expected) => {
  expect(effortFor(level, levels)).toBe(expected);
  expect(fields({ kind: "effort", levels }, level)).toEqual(
    expected === undefined ? {} : kwargs({ reasoning_effort: expected }, { reasoning_effort: expected }),
  );
});

describe("a variable that keeps earlier thinking", () => {
  const keeps = { ...PLAIN, keepsThinking: true };

  it("is set beside the level, to the value that keeps the thinking", () => {
    const thinking: Thinking = { kind: "switch" };
    expect(thinkingFields({ ...keeps, thinking, keptBy: "preserve_thinking" }, {})).toEqual(
      kwargs({ enable_thinking: false, preserve_thinking: true }),
    );
    expect(thinkingFields({ ...keeps, keptBy: "clear_thinking" }, {})).toEqual(
      kwargs({ clear_thinking: false }),
    );
  });

  it("is not set where thinking is not sent back, or where there is none", () => {
    expect(thinkingFields({ ...PLAIN, keptBy: "clear_thinking" }, {})).toEqual({});
    expect(thinkingFields(keeps, {})).toEqual({});
  });
});
