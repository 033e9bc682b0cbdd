import { describe, expect, it, test } from "vitest";
import type { Thinking } from "../../lib/thinking.ts";
import { declaredThinking, restoredThinking } from "../../lib/thinking.ts";

describe("what is declared", () => {
  it.each<[object, Thinking | undefined]>([
    [{ thinking: "switch" }, { kind: "switch" }],
    [
      { thinking_levels: ["none", "high"], thinking: "always" },
      { kind: "effort", levels: ["none", "high"] },
    ],
    [{ thinking: "effort" }, { kind: "effort", levels: ["low", "medium", "high"] }],
    [{ thinking: "odd" }, undefined],
    [{ thinking_levels: ["a b", 5, "x".repeat(21)] }, undefined],
  ])("as %j is %j", (metadata, expected) => {
    expect(declaredThinking(metadata as Record<string, unknown>, undefined)).toEqual(expected);
  });

  it("goes by the variable that the loaded model's template has for it", () => {
    const byThinking: Thinking = { kind: "switch", variable: "thinking" };
    expect(declaredThinking({ thinking: true }, byThinking)).toEqual(byThinking);
    expect(declaredThinking({ thinking: "budget" }, byThinking)).toEqual({ kind: "budget" });
    expect(
      declaredThinking(
        { thinking_levels: ["low"] },
        { kind: "effort", levels: ["low", "max"], variable: "thinking_effort", switch: "thinking" },
      ),
    ).toEqual({ kind: "effort", levels: ["low"], variable: "thinking_effort", switch: "thinking" });
  });
});

const KINDS: Thinking[] = [
  { kind: "none" },
  { kind: "always" },
  { kind: "switch" },
  { kind: "switch", variable: "thinking" },
  { kind: "budget", variable: "thinking_budget" },
  { kind: "effort", levels: ["high", "max"] },
  { kind: "effort", levels: ["high"], variable: "reasoning_effort", switch: "enable_thinking" },
];

test.each(KINDS)("%j comes back from a store as it was", (thinking) => {
  expect(restoredThinking(JSON.parse(JSON.stringify(thinking)))).toEqual(thinking);
});

test.each([
  undefined,
  null,
  5,
  "switch",
  [],
  {},
  { kind: "odd" },
  { kind: "effort" },
  { kind: "effort", levels: [5] },
])("%j in a store is nothing", (stored) => {
  expect(restoredThinking(stored)).toBeUndefined();
});

test.each([5, "", "a-b", "a b", "\u001b[2J", "x".repeat(99), "1a"])(
  "a variable %j in a store is none",
  (variable) => {
    expect(restoredThinking({ kind: "switch", variable, more: 1 })).toEqual({ kind: "switch" });
    expect(restoredThinking({ kind: "effort", levels: ["low"], switch: variable })).toEqual({
      kind: "effort",
      levels: ["low"],
    });
  },
);
