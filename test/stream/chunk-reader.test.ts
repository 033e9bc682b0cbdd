import { describe, expect, it } from "vitest";
import { ChunkReader } from "../../stream/chunk-reader.ts";
import { chunk, DONE, decode, events, outcome, recordings } from "../support/decoding.ts";
import { integer, pick, type Random, RUNS, randomJson, randomText, seeded } from "../support/random.ts";

/** What reading gave: the value with its order of keys, or the error's words. */
function tried(read: (data: string) => unknown, data: string): unknown {
  try {
    const value = read(data);
    return { value, written: JSON.stringify(value) };
  } catch (error) {
    return error;
  }
}

/** Fails unless one reader reads each of these exactly as `JSON.parse` does. */
function expectExact(datas: readonly string[]): void {
  const reader = new ChunkReader();
  for (const data of datas) {
    const read = tried((one) => reader.read(one), data);
    const parsed = tried(JSON.parse, data);
    // Asked for hundreds of thousands of events: an assertion of its own for each would take minutes.
    if (!isSame(read, parsed)) expect(read, data.slice(0, 300)).toStrictEqual(parsed);
  }
}

function isSame(read: unknown, parsed: unknown): boolean {
  if (read instanceof Error || parsed instanceof Error) return String(read) === String(parsed);
  return (read as { written: string }).written === (parsed as { written: string }).written;
}

/** How many of these the reader has to parse whole. */
function countWhole(datas: readonly string[]): number {
  const reader = new ChunkReader();
  const whole = new Set(datas);
  const { parse } = JSON;
  let parsed = 0;
  JSON.parse = (text, reviver) => {
    if (whole.has(text)) parsed += 1;
    return parse(text, reviver);
  };
  try {
    for (const data of datas) reader.read(data);
  } finally {
    JSON.parse = parse;
  }
  return parsed;
}

/** The data of a stream's events as they stand there. */
function datasOf(stream: string): string[] {
  return Array.from(stream.matchAll(/^data: ?(.*)$/gm), ([, data = ""]) => data).filter(
    (data) => data !== "[DONE]",
  );
}

const TEXTS = [
  "a",
  " two words",
  "",
  '"quoted" \\ \n',
  "日本 😀",
  "\u2028",
  "a text that is not short",
  "\u0001",
];

const said = (text: string): object => chunk({ content: text });
const thought = (text: string): object => chunk({ reasoning_content: text });
const called = (text: string): object => chunk({ tool_calls: [{ index: 0, function: { arguments: text } }] });

describe("a reader of events", () => {
  it.each([
    ["text", said],
    ["thinking", thought],
    ["arguments", called],
  ])("parses %s after the first event by its text alone", (_name, event) => {
    const datas = ["first", ...TEXTS].map((text) => JSON.stringify(event(text)));
    expect(countWhole(datas)).toBe(1);
    expectExact(datas);
  });

  it("parses most events of the recorded streams by their text alone", () => {
    const streams = recordings().map(([, bytes]) => datasOf(bytes.toString()));
    const all = streams.reduce((sum, datas) => sum + datas.length, 0);
    const whole = streams.reduce((sum, datas) => sum + countWhole(datas), 0);
    expect(all).toBeGreaterThan(1000);
    expect(whole / all).toBeLessThan(0.3);
  });

  it("gives an event of its own each time, which may be changed and kept", () => {
    const timed = (text: string): object => chunk({ content: text }, null, { timings: { predicted_n: 1 } });
    for (const event of [said, called, timed]) {
      const reader = new ChunkReader();
      const datas = ["a", "b", "c"].map((text) => JSON.stringify(event(text)));
      const values = datas.map((data) => {
        const value = reader.read(data) as { choices: { delta: object }[]; timings?: object };
        const kept = structuredClone(value);
        Object.assign(value.choices[0]?.delta ?? {}, { content: "changed", tool_calls: [] });
        Object.assign(value.timings ?? {}, { predicted_n: "changed" });
        value.choices.push({ delta: {} });
        return kept;
      });
      expect(values).toEqual(datas.map((data) => JSON.parse(data)));
    }
  });

  it("keeps comparing where one event in nine differs, however long the stream", () => {
    const seconds = Array.from({ length: 40 }, (_, created) =>
      Array.from({ length: 9 }, () => chunk({ content: "a" }, null, { created })),
    );
    expect(countWhole(seconds.flat().map((event) => JSON.stringify(event)))).toBe(40);
  });

  it("compares no longer where comparing does not pay", () => {
    const pairs = Array.from({ length: 100 }, (_, created) =>
      Array.from({ length: 2 }, () => chunk({ content: "a" }, null, { created })),
    );
    const datas = pairs.flat().map((event) => JSON.stringify(event));
    expect(countWhole(datas)).toBeGreaterThan(180);
  });

  it("reads an event of many megabytes", () => {
    const long = "a".repeat(4_000_000);
    expectExact([long, "short", long, "short"].map((text) => JSON.stringify(said(text))));
  });

  it("keeps comparing after events without a text, however many came", () => {
    const progress = Array.from({ length: 50 }, (_, processed) =>
      chunk({ role: "assistant", content: null }, null, { prompt_progress: { total: 50, processed } }),
    );
    const datas = [...progress, said("a"), said("b"), said("c")].map((event) => JSON.stringify(event));
    expect(countWhole(datas)).toBe(51);
  });

  it("compares no longer in a stream whose events all differ", () => {
    const timed = Array.from({ length: 40 }, (_, created) =>
      JSON.stringify(chunk({ content: "a" }, null, { created })),
    );
    const alike = [said("a"), said("b")].map((event) => JSON.stringify(event));
    expect(countWhole([...timed.slice(0, 10), ...alike])).toBe(11);
    expect(countWhole([...timed, ...alike])).toBe(42);
    expectExact([...timed, ...alike]);
  });

  it("does not take another field of the same name for the text", () => {
    const at = (text: string): string[] => [
      `{"content":"${text}","choices":[{"delta":{"content":"x"}}]}`,
      `{"choices":[{"delta":{"content":"${text}","content":"x"}}]}`,
      `{"choices":[{"delta":{"content":"${text}"}}],"choices":[]}`,
      `{"choices":[{"message":{"content":"${text}"},"delta":{"content":"x"}}]}`,
      `{"choices":[{"delta":{"a\\"content":"${text}","content":"x"}}]}`,
      `{"choices":[{"delta":{"content":"x"}},{"delta":{"content":"${text}"}}]}`,
      `{"choices":[{"delta":{"content":[{"content":"${text}"}]}}]}`,
      `{"choices":[{"delta":{"content":"${text}"},"__proto__":{"a":[]}}],"__proto__":7}`,
      `{"__proto__":7,"choices":[{"delta":{"__proto__":null,"content":"${text}"}}]}`,
      `[{"choices":[{"delta":{"content":"${text}"}}]}]`,
      `{"choices":{"0":{"delta":{"content":"${text}"}}}}`,
      `{"choices":[{"delta":{"tool_calls":{"0":{"function":{"arguments":"${text}"}}}}}]}`,
      `{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"${text}"}},{}]}}]}`,
      `{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"${text}"}}],"content":"x"}}]}`,
    ];
    for (let form = 0; form < at("").length; form += 1)
      expectExact(["a", "b", "", "c\\n"].map((text) => at(text)[form] ?? ""));
  });

  it("reads an event that breaks the form at any character as JSON.parse does", () => {
    for (const event of [said, thought, called]) {
      const first = JSON.stringify(event("some text"));
      const next = JSON.stringify(event('\\u0041"'));
      for (let at = 0; at <= next.length; at += 1) {
        const before = next.slice(0, at);
        expectExact([first, before, next.slice(at), `${before}${next.slice(at + 1)}`]);
        for (const wrong of ['"', "\\", "{", "}", "[", ",", ":", " ", "\n", "0", "a", "\u2028", "\ud83d"])
          expectExact([
            first,
            `${before}${wrong}${next.slice(at)}`,
            `${before}${wrong}${next.slice(at + 1)}`,
          ]);
      }
    }
  });

  it("reads any text between the same characters as JSON.parse does", () => {
    const head = '{"choices":[{"index":0,"delta":{"content":';
    const between = [
      '"a"',
      ' "a" ',
      '"a"b"',
      '"a","role":"b"',
      '"a"}},{"delta":{"content":"b"',
      '"\\u00e9\\/\\ud83d\\ude00"',
      '"\\ud83d"',
      '"\ud83d"',
      '"\\x"',
      '"\\"',
      '"\n"',
      '"\u007f\u2028\u2029"',
      "''",
      "null",
      "7",
      "{}",
      '["a"]',
      '"',
      "",
    ];
    for (const tail of ["}}]}", '},"finish_reason":null}],"id":"x"}'])
      for (const written of between)
        expectExact(['"first"', written, '"last"', written].map((text) => `${head}${text}${tail}`));
  });
});

/** A text in one of the ways in which JSON can spell it; now and then it is none. */
function spelled(random: Random): string {
  const text = random() < 0.1 ? "long ".repeat(integer(random, 1, 2000)) : randomText(random);
  const written = JSON.stringify(text);
  const way = random();
  if (way < 0.5) return written;
  if (way < 0.7)
    return written.replace(/[^\\"]/g, (one) =>
      random() < 0.2 ? `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}` : one,
    );
  if (way < 0.8) return ` ${written.replaceAll("/", "\\/")}\t`;
  return pick(random, ['"\\ud83d"', "null", '"a","content":"b"', '"\t"', "[]", '""', '"\\"', '{"a":1}']);
}

const MORE = [
  "created",
  "timings",
  "usage",
  "prompt_progress",
  "finish_reason",
  "logprobs",
  "content",
] as const;

/** An event with a hole in the place of its text: keys of any kind, in any order, some of them twice. */
function randomForm(random: Random): [head: string, tail: string] {
  const within = (inner: string): string => {
    const parts = [inner];
    for (let count = integer(random, 0, 3); count > 0; count -= 1) {
      const value = random() < 0.7 ? pick(random, ["null", "0", '"x"', "1795187080"]) : randomText(random);
      const json = random() < 0.2 ? JSON.stringify(randomJson(random)) : JSON.stringify(value);
      parts.splice(integer(random, 0, parts.length), 0, `"${pick(random, MORE)}":${json}`);
    }
    return `{${parts.join(pick(random, [",", ", "]))}}`;
  };
  const listed = (inner: string): string => (random() < 0.1 ? `[${inner},${inner}]` : `[${inner}]`);
  const kind = random();
  const delta =
    kind < 0.6
      ? within(`"${kind < 0.4 ? "content" : "reasoning_content"}":@`)
      : within(`"tool_calls":${listed(within(`"function":${within('"arguments":@')}`))}`);
  const [head = "", tail = ""] = within(`"choices":${listed(within(`"delta":${delta}`))}`).split("@");
  return [head, tail];
}

/** Neighbouring events are mostly of one form; a few are damaged. */
function randomDatas(random: Random): string[] {
  const forms = Array.from({ length: integer(random, 1, 3) }, () => randomForm(random));
  let [head, tail] = forms[0] ?? ["", ""];
  return Array.from({ length: integer(random, 2, 24) }, () => {
    if (random() < 0.15) [head, tail] = forms[integer(random, 0, forms.length - 1)] ?? ["", ""];
    const data = `${head}${spelled(random)}${tail}`;
    if (random() > 0.1) return data;
    const at = integer(random, 0, data.length);
    const added = pick(random, ["", '"', "\\", ",", "}", '"content":"x",']);
    return `${data.slice(0, at)}${added}${data.slice(at + integer(random, 0, 3))}`;
  });
}

describe("any stream", () => {
  it("is read as JSON.parse reads it", () => {
    for (let seed = 1; seed <= 1200 * RUNS; seed += 1) expectExact(randomDatas(seeded(seed)));
  });

  it("is read mostly by its texts, so that the comparison above means something", () => {
    let all = 0;
    let whole = 0;
    for (let seed = 1; seed <= 300; seed += 1) {
      const datas = randomDatas(seeded(seed)).filter((data) => !(tried(JSON.parse, data) instanceof Error));
      all += datas.length;
      whole += countWhole(datas);
    }
    expect(whole / all).toBeLessThan(0.8);
  });
});

/** The same stream in which no two events look alike, so that each is parsed whole. */
function unlike(stream: string): string {
  let count = 0;
  return stream.replace(/^data: ?(?=[{[])/gm, () => {
    count += 1;
    return `data: ${" ".repeat(count)}`;
  });
}

describe("a decoded stream", () => {
  it.each(recordings())("%s gives the same events as with every event parsed whole", (_name, bytes) => {
    const stream = bytes.toString();
    expect(outcome(decode([stream]))).toBe(outcome(decode([unlike(stream)])));
    expect(decode([stream]).progress).toEqual(decode([unlike(stream)]).progress);
  });

  it("keeps finish reason, usage and timings that come with a text", () => {
    const usage = { prompt_tokens: 9, completion_tokens: 3, prompt_tokens_details: { cached_tokens: 4 } };
    const stream = events(
      said("a"),
      said("b"),
      chunk({ content: "c" }, "length", { usage, timings: { predicted_n: 3 } }),
    );
    const { message, error } = decode([stream, DONE]);
    expect(error).toBeUndefined();
    expect(message.stopReason).toBe("length");
    expect(message.content).toEqual([{ type: "text", text: "abc" }]);
    expect(message.usage).toMatchObject({ input: 5, cacheRead: 4, output: 3 });
  });
});
