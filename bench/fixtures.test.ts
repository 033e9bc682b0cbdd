import { describe, expect, it } from "vitest";
import { charactersOf, deltasOf, fixtureOf, modelIdOf, writesOf } from "./fixtures.ts";

/** The events of an answer as a client parses them. */
function eventsOf(text: string): unknown[] {
  return text
    .split("\n\n")
    .filter((line) => line.startsWith("data: {"))
    .map((line) => JSON.parse(line.slice("data: ".length)) as unknown);
}

describe("the prepared answers", () => {
  it("are named by a model id and found by it", () => {
    const fixture = { kind: "tool", deltas: 500, eventsPerWrite: 8 } as const;
    for (const each of [fixture, { ...fixture, pauseMs: 5 }])
      expect(fixtureOf(modelIdOf(each))).toEqual(each);
    expect(() => fixtureOf("another")).toThrow("names no prepared answer");
  });

  it("are the same each time", () => {
    expect([...writesOf("bench-text-200-by-8")]).toEqual([...writesOf("bench-text-200-by-8")]);
  });

  it("bring as many events a write as they say, between the role and usage with timings", () => {
    const writes = [...writesOf("bench-text-100-by-8")].map(eventsOf);
    expect(writes.map((events) => events.length)).toEqual([1, ...Array<number>(12).fill(8), 4, 2]);
    expect(writes[0]?.[0]).toMatchObject({ choices: [{ delta: { role: "assistant", content: null } }] });
    expect(writes.at(-1)?.[1]).toMatchObject({
      usage: { completion_tokens: 100 },
      timings: { predicted_n: 100 },
    });
    expect([...writesOf("bench-text-100-by-8")].at(-1)).toMatch(/\n\ndata: \[DONE\]\n\n$/);
  });

  it("hold arguments that are one JSON object in the end", () => {
    const deltas = [...deltasOf({ kind: "tool", deltas: 300 })];
    expect(deltas).toHaveLength(300);
    expect(JSON.parse(deltas.join(""))).toMatchObject({ path: "src/bench.ts" });
    expect(charactersOf({ kind: "tool", deltas: 300 })).toBe(deltas.join("").length);
  });
});
