import type { ToolCall } from "@earendil-works/pi-ai";
import { describe, expect, it } from "vitest";
import { chunk, DONE, decode, events, expectBalanced, recording } from "../support/decoding.ts";

/** The calls of a stream whose deltas hold these `tool_calls`, one chunk each. */
function callsOf(...deltas: object[][]): [id: string, name: string, args: unknown][] {
  const chunks = deltas.map((calls) => chunk({ tool_calls: calls }));
  const whole = decode([events(...chunks, chunk({}, "tool_calls")), DONE]);
  const apart = decode([...chunks.map((one) => events(one)), events(chunk({}, "tool_calls")), DONE]);
  expectBalanced(whole);
  expectBalanced(apart);
  const read = ({ content }: typeof whole.message): [string, string, unknown][] =>
    content
      .filter((block): block is ToolCall => block.type === "toolCall")
      .map(({ id, name, arguments: args }) => [id, name, args]);
  const [first, second] = [read(whole.message), read(apart.message)];
  expect(second.map(([, ...rest]) => rest)).toEqual(first.map(([, ...rest]) => rest));
  expect(new Set(first.map(([id]) => id)).size, "ids are unique").toBe(first.length);
  return first;
}

const ID = expect.stringMatching(/^[A-Za-z0-9_-]{1,64}$/);

describe("tool calls", () => {
  it("of llama-server, parallel, are distinguished by index", () => {
    const { message } = decode([recording("s03-parallel.sse")]);
    expect(message.content.filter(({ type }) => type === "toolCall")).toMatchObject([
      { name: expect.any(String), arguments: expect.any(Object), id: ID },
      { name: expect.any(String), arguments: expect.any(Object), id: ID },
    ]);
    expect(message.content.some((block) => "argumentsError" in block)).toBe(false);
  });

  it("whose pieces alternate are put together by index", () => {
    expect(
      callsOf(
        [{ index: 0, id: "a", function: { name: "x", arguments: '{"n"' } }],
        [{ index: 1, id: "b", function: { name: "y", arguments: "" } }],
        [
          { index: 0, function: { arguments: ":1}" } },
          { index: 1, function: { arguments: '{"m":' } },
        ],
        [{ index: 1, function: { arguments: "2}" } }],
      ),
    ).toEqual([
      ["a", "x", { n: 1 }],
      ["b", "y", { m: 2 }],
    ]);
  });

  it("come whole, several in one delta, with arguments as text or as objects", () => {
    expect(
      callsOf([
        { id: "a", type: "function", function: { name: "x", arguments: '{"n":1}' } },
        { id: "b", type: "function", function: { name: "y", arguments: { m: { k: [2] } } } },
      ]),
    ).toEqual([
      ["a", "x", { n: 1 }],
      ["b", "y", { m: { k: [2] } }],
    ]);
  });

  it("without ids get one each", () => {
    expect(
      callsOf(
        [{ index: 0, function: { name: "x", arguments: "{}" } }],
        [{ index: 1, id: "", function: { name: "y", arguments: "{}" } }],
      ),
    ).toEqual([
      [ID, "x", {}],
      [ID, "y", {}],
    ]);
  });

  it("without index or id continue the last one until another name comes", () => {
    expect(
      callsOf(
        [{ function: { name: "x", arguments: '{"n"' } }],
        [{ function: { arguments: ":1}" } }],
        [{ function: { name: "y", arguments: "{}" } }],
      ),
    ).toEqual([
      [ID, "x", { n: 1 }],
      [ID, "y", {}],
    ]);
  });

  it("that all have the index 0 are distinguished by their ids", () => {
    expect(
      callsOf(
        [{ index: 0, id: "a", function: { name: "x", arguments: "{}" } }],
        [{ index: 0, id: "b", function: { name: "x", arguments: '{"n":' } }],
        [{ index: 0, id: "b", function: { arguments: "1}" } }],
        [{ index: 0, id: "c", function: { name: "y", arguments: "{" } }],
        [{ index: 0, function: { arguments: "}" } }],
      ),
    ).toEqual([
      ["a", "x", {}],
      ["b", "x", { n: 1 }],
      ["c", "y", {}],
    ]);
  });

  it("that repeat id and name in every piece stay one call", () => {
    const piece = (args: string) => [{ index: 0, id: "a", function: { name: "x", arguments: args } }];
    expect(callsOf(piece('{"n"'), piece(":1"), piece("}"))).toEqual([["a", "x", { n: 1 }]]);
  });

  it("that get another id with every piece stay one call while it is half written", () => {
    const piece = (id: string, args: string) => [{ index: 0, id, function: { name: "x", arguments: args } }];
    expect(callsOf(piece("a", ""), piece("b", '{"n"'), piece("c", ":1}"), piece("d", "{}"))).toEqual([
      ["a", "x", { n: 1 }],
      ["d", "x", {}],
    ]);
  });

  it("under one id get one each", () => {
    const [first, second] = callsOf([
      { index: 0, id: "a", function: { name: "x", arguments: '{"n":1}' } },
      { index: 1, id: "a", function: { name: "y", arguments: '{"m":2}' } },
    ]);
    expect([first, second]).toEqual([
      ["a", "x", { n: 1 }],
      [ID, "y", { m: 2 }],
    ]);
  });

  it("whose name comes in pieces get the whole one, and keep it once the arguments begin", () => {
    const piece = (name: string, args: string) => [
      { index: 0, id: "a", function: { name, arguments: args } },
    ];
    expect(callsOf(piece("ba", ""), piece("sh", ""), piece("bash", '{"n":1}'), piece("x", ""))).toEqual([
      ["a", "bash", { n: 1 }],
    ]);
  });

  it("come alone instead of in a list, without a function, or as OpenAI wrote them first", () => {
    const args = '{"n":1}';
    const forms = [
      [chunk({ tool_calls: { id: "a", function: { name: "x", arguments: args } } }, "tool_calls")],
      [chunk({ tool_calls: [{ index: 0, id: "a", name: "x", arguments: args }] }, "tool_calls")],
      [
        chunk({ function_call: { name: "x", arguments: "" } }),
        chunk({ function_call: { arguments: args } }, "function_call"),
      ],
    ];
    for (const form of forms)
      expect(decode([events(...form), DONE]).message).toMatchObject({
        stopReason: "toolUse",
        content: [{ type: "toolCall", name: "x", arguments: { n: 1 } }],
      });
  });

  it("that are announced and do not come are no answer", () => {
    const { error } = decode([events(chunk({ content: null }), chunk({}, "tool_calls")), DONE]);
    expect(error).toMatchObject({ remedy: "retry", message: expect.stringContaining("without content") });
  });

  it("whose name comes late get it", () => {
    expect(
      callsOf(
        [{ index: 0, id: "a", function: { arguments: "" } }],
        [{ index: 0, function: { name: "x", arguments: "{}" } }],
      ),
    ).toEqual([["a", "x", {}]]);
  });

  it("come beside text in one delta", () => {
    const both = chunk({
      content: "So:",
      tool_calls: [{ index: 0, id: "a", function: { name: "x", arguments: "{}" } }],
    });
    const decoded = decode([events(both, chunk({}, "tool_calls")), DONE]);
    expectBalanced(decoded);
    expect(decoded.message.content).toMatchObject([{ text: "So:" }, { id: "a", arguments: {} }]);
  });

  it("without arguments have none", () => {
    expect(
      callsOf(
        [{ index: 0, id: "a", function: { name: "x" } }],
        [{ index: 0, function: { arguments: null } }],
      ),
    ).toEqual([["a", "x", {}]]);
  });

  it("of odd shapes do not break anything", () => {
    const odd = [null, 7, "x", [], {}, { function: null }, { index: "zero", function: { name: 7 } }];
    const decoded = decode([events(chunk({ tool_calls: odd }), chunk({ tool_calls: { a: 1 } })), DONE]);
    expectBalanced(decoded);
    expect(decoded.error).toBeUndefined();
  });
});

describe("an answer that comes whole", () => {
  it.each([
    ["s02-nonstream.json", ["text"]],
    ["s03-reasoning-nonstream.json", ["thinking", "text"]],
    ["s03-parallel-nonstream.json", ["toolCall", "toolCall"]],
  ])("as in %s", async (name, kinds) => {
    const { Decoder } = await import("../../stream/decoder.ts");
    const { assistant } = await import("../support/samples.ts");
    const message = assistant([], { stopReason: "pending" });
    const decoder = new Decoder({ message, emit: () => {} });
    decoder.pushWhole(JSON.parse(recording(name).toString()));
    decoder.end();
    expect(message.content.map(({ type }) => type).filter((type) => kinds.includes(type))).toEqual(kinds);
    expect(message.usage.output).toBeGreaterThan(0);
  });
});
