import { describe, expect, test } from "vitest";
import {
  parseSize,
  readFlags,
  readId,
  readKnownId,
  typedId,
  unknownId,
  wrongSize,
} from "../../admin/arguments.ts";
import { ServerError } from "../../lib/errors.ts";
import { processorTime } from "../support/clock.ts";

const IDS = [
  "Qwen3.6-35B-A3B-Q8_0",
  "org/Größe:Q4",
  "my model",
  "my model large",
  "llama",
  "llama-3",
  `it's "big"`,
  "日本語 モデル",
];

describe("the id", () => {
  test.each(["", "   ", "\t\n"])("of the empty argument %j is none", (text) => {
    expect(readId(text, IDS)).toBeUndefined();
  });

  test.each(IDS)("%s is found as it is, with white space around it and a size after it", (id) => {
    expect(readId(id, IDS)).toEqual({ id, rest: "" });
    expect(readId(`  ${id}\t 64k  `, IDS)).toEqual({ id, rest: "64k" });
  });

  test.each(IDS)("%s is found in quotes", (id) => {
    expect(readId(`"${id}" 64k`, IDS)).toEqual({ id, rest: "64k" });
    expect(readId(`'${id}'`, IDS)).toEqual({ id, rest: "" });
  });

  test("is the longest that fits", () => {
    expect(readId("my model large 8k", IDS)).toEqual({ id: "my model large", rest: "8k" });
    expect(readId("my model larger", IDS)).toEqual({ id: "my model", rest: "larger" });
    expect(readId("llama-3 x", IDS)).toEqual({ id: "llama-3", rest: "x" });
  });

  test("is cut off by quotes where a longer one would fit", () => {
    expect(readId(`"my model" large`, IDS)).toEqual({ id: "my model", rest: "large" });
  });

  test("ends at white space only", () => {
    expect(readId("llama-4", IDS)).toMatchObject({ unknown: "llama-4", rest: "" });
    expect(readId("llama:8k", IDS)).toMatchObject({ unknown: "llama:8k" });
  });

  test("with spaces at its ends is found in quotes", () => {
    expect(readId(`" a " 8k`, [" a "])).toEqual({ id: " a ", rest: "8k" });
  });

  test("that is unknown is the first word, or the quoted text", () => {
    expect(readId("gpt 64k", [])).toEqual({ unknown: "gpt", rest: "64k", nearest: [] });
    expect(readId(`"gpt five" 64k`, [])).toEqual({ unknown: "gpt five", rest: "64k", nearest: [] });
    expect(readId(`"gpt five`, [])).toEqual({ unknown: `"gpt`, rest: "five", nearest: [] });
    expect(readId(`"" x`, ["a"])).toEqual({ unknown: "", rest: "x", nearest: [] });
  });

  test.each([
    ["qwen3.6-35b-a3b-q8_0", ["Qwen3.6-35B-A3B-Q8_0"]],
    ["Qwem3.6", ["Qwen3.6-35B-A3B-Q8_0"]],
    ["35b", ["Qwen3.6-35B-A3B-Q8_0"]],
    ["GRÖSSE", []],
    ["Größe", ["org/Größe:Q4"]],
    ["my", ["my model", "my model large"]],
    ["lama", ["llama", "llama-3"]],
    ["llama-3-8b", ["llama-3", "llama"]],
    ["x", []],
    ["entirely-else", []],
  ])("%s comes with the nearest ones", (typed, nearest) => {
    expect(readId(typed, IDS)).toMatchObject({ unknown: typed, nearest });
  });

  test("has at most three nearest ones, each once", () => {
    const ids = ["qwen-1", "qwen-1", "qwen-2", "qwen-3", "qwen-4"];
    expect(readId("qwen", ids)).toMatchObject({ nearest: ["qwen-1", "qwen-2", "qwen-3"] });
  });

  test("that begins as typed is nearer than one that contains it", () => {
    expect(readId("big", ["a-big", "big-model"])).toMatchObject({ nearest: ["big-model", "a-big"] });
  });

  test("can be typed so that it is found again", () => {
    for (const id of IDS) expect(typedId(id, IDS)).toBe(id);
    expect(typedId(" a", [" a"])).toBe(`" a"`);
    expect(typedId(` "a" b`, [` "a" b`])).toBe(`' "a" b'`);
    expect(typedId(`' "`, [`' "`])).toBe(`' "`);
    expect(typedId(` ' " x`, [` ' " x`])).toBeUndefined();
  });
});

describe("the id of a known model", () => {
  const aliases = new Map([
    ["groß", "org/Größe:Q4"],
    ["gone", "not listed"],
  ]);
  const known = (text: string) => readKnownId(text, IDS, aliases);

  test("is given by an alias", () => {
    expect(known("groß 64k")).toEqual({ id: "org/Größe:Q4", rest: "64k" });
  });

  test.each([
    ["qwen3.6 64k", { id: "Qwen3.6-35B-A3B-Q8_0", rest: "64k" }],
    ["Q", { id: "Qwen3.6-35B-A3B-Q8_0", rest: "" }],
    ["llama-", { id: "llama-3", rest: "" }],
    ["ORG/", { id: "org/Größe:Q4", rest: "" }],
  ])("is the only one that begins with %s", (text, read) => {
    expect(known(text)).toEqual(read);
  });

  test.each(["lla", "my", "35B", '""', "zzz"])("is not guessed from %s", (text) => {
    expect(() => known(text)).toThrow(/^No model /);
  });

  test("is none without an argument", () => {
    expect(known(" ")).toBeUndefined();
  });
});

describe("the sentence for an unknown id", () => {
  test("asks whether a near one was meant", () => {
    const error = unknownId("qwn", ["qwen", "my model", "q"]);
    expect(error).toBeInstanceOf(ServerError);
    expect(error.message).toBe(`No model "qwn". Did you mean "qwen", "my model" or "q"?`);
    expect(unknownId("qwn", ["qwen"]).message).toBe(`No model "qwn". Did you mean "qwen"?`);
  });

  test("says where to see them when none is near", () => {
    expect(unknownId("x", []).message).toBe(`No model "x". /ai-server-status lists the models.`);
  });
});

const HOSTILE = [
  `'"'"'`,
  "$(touch /tmp/x)",
  "`id`",
  "a\nb\r\nc",
  "-rf",
  "--",
  "../../etc/passwd",
  "\u001b]0;title\u0007\u001b[31mred\u009b2J\u0000",
  "x".repeat(10_000),
  `"${"x y".repeat(3333)}"`,
  "' ".repeat(5000),
  "\ud800",
  "__proto__",
];

test.each(HOSTILE)("hostile text is nothing but a sentence: %#", (text) => {
  const read = readId(text, IDS);
  if (read === undefined || "id" in read) throw new Error("taken for an id");
  const said = [unknownId(read.unknown, read.nearest).message, wrongSize(text).message];
  for (const sentence of said) {
    expect(sentence.length).toBeLessThan(400);
    expect(sentence).not.toMatch(/\p{Cc}/u);
  }
  expect(parseSize(text)).toBeUndefined();
  expect(readFlags(text, ["--ssh"], IDS)).toEqual({ given: new Set(), text: text.trim() });
});

test("an id of 10 kB is compared quickly", () => {
  const ids = Array.from({ length: 500 }, (_, at) => `model-${at}-${"y".repeat(240)}`);
  const spent = processorTime();
  expect(readId("z".repeat(10_000), ids)).toMatchObject({ nearest: [] });
  expect(spent()).toBeLessThan(2000);
});

describe("a size", () => {
  test.each([
    ["1", 1],
    ["65536", 65_536],
    [" 8192 ", 8192],
    ["65,536", 65_536],
    ["65_536", 65_536],
    ["1,048,576", 1_048_576],
    ["64k", 65_536],
    ["128K", 131_072],
    ["100k", 102_400],
    ["1m", 1_048_576],
    ["1M", 1_048_576],
    ["0.5m", 524_288],
    ["1.5k", 1536],
    ["2147483647", 2_147_483_647],
  ])("%j is %d tokens", (text, tokens) => {
    expect(parseSize(text)).toBe(tokens);
  });

  test.each([
    ["", "nothing"],
    ["k", "no digits"],
    ["-1", "negative"],
    ["-64k", "negative"],
    ["+64k", "a sign"],
    ["0", "zero"],
    ["0k", "zero"],
    ["0.3k", "a part of a token"],
    ["1.5", "a part of a token"],
    [".5m", "no whole part"],
    ["1.m", "no fraction"],
    ["1,5k", "a comma"],
    ["65__536", "two underscores"],
    ["_65536", "an underscore before it"],
    ["65,53", "a comma that separates no thousands"],
    ["1,5", "a comma that separates no thousands"],
    ["0,128k", "a comma after a zero"],
    ["6,5536", "a comma that separates no thousands"],
    ["65 536", "a space"],
    ["64 k", "a space"],
    ["1e5", "an exponent"],
    ["0x100", "hexadecimal"],
    ["64kb", "another unit"],
    ["1g", "another unit"],
    ["\uff16\uff14", "full-width digits"],
    ["٦٤", "Arabic digits"],
    ["64\u212A", "the Kelvin sign"],
    ["2147483648", "too large"],
    ["2048m", "too large"],
    ["9".repeat(400), "far too large"],
    ["Infinity", "a word"],
    ["NaN", "a word"],
  ])("%j is none: %s", (text) => {
    expect(parseSize(text)).toBeUndefined();
  });

  test("that is none is answered with examples", () => {
    const error = wrongSize("lots");
    expect(error).toBeInstanceOf(ServerError);
    expect(error.message).toBe(
      `"lots" is not a context size. Give a number of tokens (65536, 64k, 1m) or max.`,
    );
  });
});

describe("a flag", () => {
  const flags = (text: string, ids: readonly string[] = IDS) => {
    const { given, text: rest } = readFlags(text, ["--ssh"], ids);
    return [[...given], rest];
  };

  test.each([
    ["", [[], ""]],
    ["--ssh", [["--ssh"], ""]],
    ["--ssh llama", [["--ssh"], "llama"]],
    ["llama --ssh", [["--ssh"], "llama"]],
    ["--ssh my model --ssh", [["--ssh"], "my model"]],
    [`"my model" --ssh`, [["--ssh"], `"my model"`]],
    ["unknown one  --ssh ", [["--ssh"], "unknown one"]],
    ["llama", [[], "llama"]],
    ["llama --sshx", [[], "llama --sshx"]],
    ["--sshx llama", [[], "--sshx llama"]],
    ["llama--ssh", [[], "llama--ssh"]],
    ["llama --SSH", [[], "llama --SSH"]],
  ])("is taken out of %j", (text, expected) => {
    expect(flags(text)).toEqual(expected);
  });

  test("stays where an id contains it", () => {
    const ids = ["x --ssh", "--ssh y", "x", "y", "--ssh"];
    expect(flags("x --ssh", ids)).toEqual([[], "x --ssh"]);
    expect(flags("x --ssh --ssh", ids)).toEqual([["--ssh"], "x --ssh"]);
    expect(flags("--ssh y", ids)).toEqual([[], "--ssh y"]);
    expect(flags("--ssh --ssh y", ids)).toEqual([["--ssh"], "--ssh y"]);
    expect(flags(`"x --ssh"`, [])).toEqual([[], `"x --ssh"`]);
    expect(flags("--ssh", ids)).toEqual([["--ssh"], ""]);
    expect(flags(`"--ssh"`, ids)).toEqual([[], `"--ssh"`]);
  });
});
