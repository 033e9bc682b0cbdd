import { describe, expect, test } from "vitest";
import { codeOf, ServerError, sentenceOf } from "../../lib/errors.ts";

describe("codeOf", () => {
  test("finds the code along the causes", () => {
    const inner = Object.assign(new Error("inner"), { code: "ECONNRESET" });
    expect(codeOf(new Error("outer", { cause: new TypeError("middle", { cause: inner }) }))).toBe(
      "ECONNRESET",
    );
    expect(codeOf(inner)).toBe("ECONNRESET");
  });

  test.each([
    undefined,
    null,
    "ECONNRESET",
    5,
    {},
    new Error("none"),
    Object.assign(new Error("n"), { code: 5 }),
  ])("is empty for %s", (value) => {
    expect(codeOf(value)).toBe("");
  });

  test("of undici's parser, which gives none, is its name", async () => {
    const { errors } = await import("undici");
    expect(codeOf(new errors.HTTPParserError("Invalid character in chunk size"))).toBe("HTTPParserError");
  });

  test("the code of several attempts at once is the first one's", () => {
    const refused = Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
    const several = Object.assign(new AggregateError([refused, refused]), { code: "ECONNREFUSED" });
    expect(codeOf(new Error("connect", { cause: several }))).toBe("ECONNREFUSED");
  });
});

test("a ServerError keeps the original as its cause and does not show it", () => {
  const cause = new Error("fetch failed");
  const error = new ServerError("A sentence.", { link: "TLS", remedy: "retry", status: 500, cause });
  expect(error).toMatchObject({ message: "A sentence.", link: "TLS", remedy: "retry", status: 500, cause });
  expect([error.quote, error.contextWindow]).toEqual([undefined, undefined]);
  expect(sentenceOf(error)).toBe("A sentence.");
});

test.each([
  [new Error("words"), "words"],
  ["text", "text"],
  [undefined, "undefined"],
  [5, "5"],
])("sentenceOf %s has no stack", (value, sentence) => {
  expect(sentenceOf(value)).toBe(sentence);
});
