import { describe, expect, test } from "vitest";
import { cleanText, codeOf, ServerError, sentenceOf } from "../../lib/errors.ts";

describe("cleanText", () => {
  test.each([
    ["a\u001b[31;1mred\u001b[0m b", "ared b"],
    ["a\u001b]0;title\u0007b", "ab"],
    ["a\u001b]8;;https://evil.example\u001b\\link\u001b]8;;\u001b\\b", "alinkb"],
    ["a\u001b]0;never ends", "a"],
    ["a\u009b31mb", "ab"],
    ["a\u009d0;title\u009cb", "ab"],
    ["a\u001bcb", "ab"],
    ["a\u001b\u001b[2Jb", "a[2Jb"],
    ["a\u0000\u0007\u0008\u007f\u0085b", "ab"],
    ["user\u202egnp.exe\u2066\u2069", "usergnp.exe"],
    ["a\r\nb\rc\nd", "a\nb\nc\nd"],
    ["a\tb", "a  b"],
    ["  spaces  ", "spaces"],
    ["Größe 模型 👩‍💻", "Größe 模型 👩‍💻"],
  ])("case %#", (dirty, clean) => {
    expect(cleanText(dirty)).toBe(clean);
  });

  test("cuts what is too long, and marks it", () => {
    expect(cleanText("x".repeat(2000))).toBe("x".repeat(2000));
    expect(cleanText("x".repeat(2001))).toBe(`${"x".repeat(2000)}…`);
    expect(cleanText("abcdef", 3)).toBe("abc…");
  });

  test("leaves nothing of any sequence of control characters that a terminal obeys", () => {
    const alphabet = [
      "\u001b",
      "[",
      "]",
      "\u009b",
      "\u009d",
      "\u0007",
      "\\",
      "3",
      "1",
      "m",
      ";",
      "\r",
      "\n",
      "x",
    ];
    let seed = 7;
    for (let round = 0; round < 5000; round++) {
      let dirty = "";
      for (let at = 0; at < 12; at++) {
        seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
        dirty += alphabet[seed % alphabet.length];
      }
      expect(cleanText(dirty)).not.toMatch(/(?!\n)\p{Cc}/u);
    }
  });

  test("a megabyte of openings is read once, not once for each", () => {
    expect(cleanText("\u001b]".repeat(500_000))).toBe("");
    expect(cleanText(`${"\u001b[".repeat(500_000)}m`).length).toBeLessThan(2002);
  });
});

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
