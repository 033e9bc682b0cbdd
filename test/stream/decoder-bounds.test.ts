import { describe, expect, it } from "vitest";
import { Decoder, type Progress } from "../../stream/decoder.ts";
import { chunk, DONE, decode, events } from "../support/decoding.ts";
import { assistant } from "../support/samples.ts";

/** A decoder whose events are dropped: an answer of these sizes has many. */
function quiet(): { decoder: Decoder; message: ReturnType<typeof assistant> } {
  const message = assistant([], { stopReason: "pending", model: "script" });
  return { message, decoder: new Decoder({ message, emit: () => {} }) };
}

const called = (index: number, args: unknown, more: object = {}): object =>
  chunk({ tool_calls: [{ index, ...more, function: { name: more && "bash", arguments: args } }] });
const more = (index: number, args: string): object =>
  chunk({ tool_calls: [{ index, function: { arguments: args } }] });

describe("an answer without an end", () => {
  const flood = Buffer.from(
    events(...Array.from({ length: 500 }, () => chunk({ content: "word ".repeat(100) }))),
  );

  it("is cut at a bound, as too long, with the reason in words", () => {
    const { decoder, message } = quiet();
    let pushed = 0;
    for (; !decoder.isTooLong && pushed < 100; pushed += 1) decoder.push(flood);
    expect(pushed).toBe(34);
    decoder.end();
    expect(message).toMatchObject({
      stopReason: "length",
      errorMessage: "The answer was cut after 8,388,608 characters: the model did not stop.",
    });
    expect(message.usage.output).toBeGreaterThan(2_000_000);
  });

  it("is cut too where each of its characters begins a block", { timeout: 20_000 }, () => {
    const { decoder, message } = quiet();
    const turns = events(
      ...Array.from({ length: 500 }, () => [chunk({ content: "a" }), chunk({ reasoning: "b" })]).flat(),
    );
    for (let pushed = 0; !decoder.isTooLong && pushed < 1000; pushed += 1) decoder.push(Buffer.from(turns));
    decoder.end();
    expect(message.stopReason).toBe("length");
    expect(message.content.length).toBeLessThan(300_000);
  });

  it("may be a loading banner; its end is kept", () => {
    const banners: string[] = [];
    const message = assistant([], { stopReason: "pending", model: "script" });
    const onProgress = (progress: Progress): void =>
      void (progress.kind === "banner" && banners.push(progress.text));
    const decoder = new Decoder({ message, emit: () => {}, onProgress });
    const banner = events({ choices: [{ delta: { reasoning_content: "x".repeat(50_000) } }] });
    for (let pushed = 0; pushed < 5; pushed += 1) decoder.push(Buffer.from(banner));
    expect(banners.map(({ length }) => length)).toEqual([50_000, 65_536, 65_536, 65_536, 65_536]);
  });

  it("takes nothing more of a chunk in which it was cut", () => {
    const { decoder, message } = quiet();
    const huge = chunk({ content: "x".repeat(9_000_000) });
    decoder.push(Buffer.from(events(huge, chunk({ content: "more" }), chunk({}, "stop")) + DONE));
    decoder.end();
    expect(message).toMatchObject({ stopReason: "length", content: [{ text: "x".repeat(9_000_000) }] });
  });
});

describe("what a server names itself and its answer", () => {
  it("is kept on one line, without control characters, and not endlessly", () => {
    const name = `a\u001b[31mb\nc${"d".repeat(10_000)}`;
    const { message } = decode([
      events({ ...chunk({ content: "Hi" }), id: name, model: name }, chunk({}, "stop")),
      DONE,
    ]);
    expect(message.responseId).toBe(`ab c${"d".repeat(196)}…`);
    expect(message.responseModel).toBe(message.responseId);
    const odd = decode([events(chunk({ content: "Hi" }, name)), DONE]);
    expect(odd.message).toMatchObject({ rawStopReason: `ab c${"d".repeat(196)}…` });
    expect(odd.error?.message.length).toBeLessThan(500);
  });
});

/** Milliseconds that `work` takes with so many parts. */
function timed(work: (count: number) => void, count: number): number {
  const began = performance.now();
  work(count);
  return performance.now() - began;
}

describe("many parts", () => {
  it("8,000 keys of arguments in pieces cost as much as they are many", { timeout: 20_000 }, () => {
    const read = (count: number): void => {
      const { decoder, message } = quiet();
      decoder.push(Buffer.from(events(called(0, "{", { id: "a" }))));
      for (let key = 0; key < count; key += 1)
        decoder.push(Buffer.from(events(more(0, `${key > 0 ? "," : ""}"key ${key}":"${key}"`))));
      decoder.push(Buffer.from(events(more(0, "}"), chunk({}, "tool_calls")) + DONE));
      decoder.end();
      const [block] = message.content;
      expect(block?.type === "toolCall" && Object.keys(block.arguments)).toHaveLength(count);
    };
    read(500);
    expect(timed(read, 8000)).toBeLessThan(4000);
  });

  it("50,000 tool calls cost as much as they are many", { timeout: 20_000 }, () => {
    const read = (count: number): void => {
      const { decoder, message } = quiet();
      for (let index = 0; index < count; index += 100) {
        const calls = Array.from({ length: 100 }, (_, at) =>
          called(index + at, "{}", { id: `c${index + at}` }),
        );
        decoder.push(Buffer.from(events(...calls)));
      }
      decoder.push(Buffer.from(events(chunk({}, "tool_calls")) + DONE));
      decoder.end();
      expect(message.content).toHaveLength(count);
    };
    read(1000);
    expect(timed(read, 50_000)).toBeLessThan(5000);
  });
});

describe("what is nested very deep", () => {
  const TOO_DEEP = "The arguments are nested more than 1024 levels deep.";
  const deep = (levels: number): string => "[".repeat(levels) + "]".repeat(levels);

  it.each([2000, 200_000])("%i levels of arguments give a call with the reason", (levels) => {
    const asText = events(called(0, `{"a":${deep(levels)}}`, { id: "a" }));
    const asValue = `data: {"choices":[{"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"x","arguments":{"a":${deep(levels)}}}}]}}]}\n\n`;
    const { message } = decode([asText, asValue, events(chunk({}, "tool_calls")), DONE]);
    expect(message).toMatchObject({
      stopReason: "toolUse",
      content: [
        { arguments: {}, argumentsError: TOO_DEEP },
        { arguments: {}, argumentsError: TOO_DEEP },
      ],
    });
  });

  it.each([2000, 200_000])("%i levels of an error give a sentence", (levels) => {
    const said = `{"error":{"message":"Out of memory","trace":${deep(levels)}}}`;
    const nested = `${'{"error":'.repeat(levels)}"x"${"}".repeat(levels)}`;
    for (const [event, words] of [
      [
        `data: ${said}\n\n`,
        "The server ended the answer with an error (server error). It says: Out of memory",
      ],
      [
        `error: ${said}\n\n`,
        "The server ended the answer with an error (server error). It says: Out of memory",
      ],
      [`data: ${nested}\n\n`, "The server ended the answer with an error (server error)."],
    ])
      expect(decode([event ?? ""]).error?.message).toBe(words);
  });
});
