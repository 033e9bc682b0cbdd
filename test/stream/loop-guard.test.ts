import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it, test } from "vitest";
import { Decoder } from "../../stream/decoder.ts";
import { type Loop, LoopGuard, loopAtEnd, loopFault } from "../../stream/loop-guard.ts";
import { chunk, DONE, decode, events, recordings } from "../support/decoding.ts";
import { integer, seeded } from "../support/random.ts";
import { assistant } from "../support/samples.ts";

const PROSE = readFileSync(new URL("../../docs/architecture.md", import.meta.url), "utf8");

/** What the guard says of a text that comes in pieces of this size. */
function watched(text: string, size = 4): Loop | undefined {
  const guard = new LoopGuard();
  for (let at = 0; at < text.length; at += size) {
    const loop = guard.add(text.slice(at, at + size));
    if (loop !== undefined) return loop;
  }
  return undefined;
}

describe("a model that repeats itself for ever is noticed", () => {
  const sentence = "Wait, let me think about this once more, from the beginning. ";
  it.each([
    ["a word", "again ", 1000],
    ["a sentence", sentence, 100],
    ["a paragraph of two hundred tokens", PROSE.slice(1000, 1800).replace(/[^a-z .,]/gi, "a"), 30],
    ["Chinese without spaces", "让我再想一想这个问题，也许答案是对的。", 400],
    ["one character", "!", 9000],
    ["line breaks", "\n", 9000],
    ["a line of code", "    result = result.replace('a', 'b')\n", 500],
    ["emoji, which are two units each", "😀", 6000],
  ])("%s", (_, period, times) => {
    const loop = watched(`${PROSE}${period.repeat(times)}`);
    expect(loop?.period.length).toBe(period.length);
    expect(loop?.times).toBeGreaterThanOrEqual(20);
  });

  it.each([1, 3, 64, 999, 1000, 1001, 7919])("whatever the size of its pieces: %i", (size) => {
    expect(watched(PROSE + sentence.repeat(200), size)?.period.length).toBe(sentence.length);
  });

  it("no later than a thousand characters after it is one", () => {
    const random = seeded(7);
    for (let round = 0; round < 50; round += 1) {
      const length = integer(random, 1, 400);
      const period = Array.from({ length }, () => String.fromCharCode(integer(random, 97, 122))).join("");
      const needed = Math.max(20 * length, 8000);
      const text = period.repeat(Math.ceil((needed + 1000) / length) + 1);
      expect(watched(PROSE + text, integer(random, 1, 50))?.times, period).toBeGreaterThanOrEqual(20);
    }
  });

  it("at twenty times, and not at nineteen", () => {
    const period = PROSE.slice(2000, 2200).replace(/[^a-z ]/gi, "b");
    expect(loopAtEnd(`${PROSE}${period.repeat(20)}`)?.times).toBe(20);
    expect(loopAtEnd(`${PROSE}.${period.repeat(19)}`)).toBeUndefined();
  });

  it("after two thousand characters of words, and eight thousand of anything else", () => {
    const words = "once more ";
    expect(loopAtEnd(words.repeat(200))?.times).toBe(200);
    expect(loopAtEnd(words.repeat(199))).toBeUndefined();
    expect(loopAtEnd("0, ".repeat(2667))).toBeDefined();
    expect(loopAtEnd("0, ".repeat(2660))).toBeUndefined();
  });
});

describe("a text that only looks alike is left alone", () => {
  const rows = Array.from({ length: 400 }, (_, at) => `| ${at} | ok | 0.0 | 0.0 | ${at % 7} |\n`).join("");
  const log = Array.from(
    { length: 400 },
    (_, at) => `2026-01-01T00:${String(at % 60).padStart(2, "0")}:00 INFO request ${at} served\n`,
  ).join("");
  it.each([
    ["a table", rows],
    ["a log", log],
    ["a rule of a thousand dashes", `${PROSE}${"-".repeat(1000)}\n${PROSE}`],
    ["a row of zeros", `${PROSE}[${"0, ".repeat(1500)}0]`],
    ["a map of equal lines", `${"......#......\n".repeat(300)}`],
    ["a sentence a dozen times", "I must not talk in class. ".repeat(12).concat(PROSE)],
    ["a loop that ended long ago", `${"again ".repeat(200)}${PROSE}`],
  ])("%s", (_, text) => {
    for (const size of [4, 1000]) expect(watched(text, size)).toBeUndefined();
  });

  test("every page and source of this repository", () => {
    const root = new URL("../../", import.meta.url);
    const files = ["docs/", "stream/", "server/", "host/", "test/stream/", "test/fixtures/configs/"].flatMap(
      (folder) =>
        readdirSync(new URL(folder, root), { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile())
          .map((entry) => `${entry.parentPath}/${entry.name}`),
    );
    expect(files.length).toBeGreaterThan(80);
    for (const file of files) expect(watched(readFileSync(file, "utf8")), file).toBeUndefined();
  });

  // The tiny model of the recordings counts endlessly in some: they are too short for a loop.
  test.each(recordings())("the recorded answer %s", (_name, bytes) => {
    const loops: Loop[] = [];
    const message = assistant([], { stopReason: "pending", model: "script" });
    const decoder = new Decoder({ message, emit: () => {}, onLoop: (loop) => loops.push(loop) });
    try {
      decoder.push(bytes);
      decoder.end();
    } catch {
      // Some recordings are of failures.
    }
    expect(loops).toEqual([]);
  });
});

describe("the decoder", () => {
  const looping = events(
    ...Array.from({ length: 60 }, () => chunk({ content: "the same sentence over and over again. " })),
  );
  const decoder = (loops: unknown[], emitted: string[] = []): Decoder =>
    new Decoder({
      message: assistant([], { stopReason: "pending", model: "script" }),
      emit: (event) => emitted.push(event.type),
      onLoop: (loop, channel) => loops.push({ ...loop, channel }),
    });

  it("reports the loop after the events of its chunk, and whether it is text or thinking", () => {
    const loops: unknown[] = [];
    const emitted: string[] = [];
    decoder(loops, emitted).push(Buffer.from(looping));
    expect(loops).toMatchObject([{ channel: "text" }]);
    expect(emitted).toEqual(["text_start", "text_delta"]);
    const thoughts: unknown[] = [];
    decoder(thoughts).push(Buffer.from(looping.replaceAll('"content"', '"reasoning_content"')));
    expect(thoughts).toMatchObject([{ channel: "thinking" }]);
  });

  it("watches each block by itself, and no arguments of calls", () => {
    const loops: unknown[] = [];
    const watching = decoder(loops);
    const half = events(
      ...Array.from({ length: 30 }, () => chunk({ content: "the same sentence over and over again. " })),
    );
    watching.push(Buffer.from(half));
    watching.push(Buffer.from(events(chunk({ reasoning_content: "Hm." }))));
    watching.push(Buffer.from(half));
    const argument = chunk({
      tool_calls: [{ index: 0, function: { name: "f", arguments: "a b ".repeat(9000) } }],
    });
    watching.push(Buffer.from(events(argument)));
    expect(loops).toEqual([]);
  });

  it("does not report an answer that has ended by itself", () => {
    const loops: unknown[] = [];
    const watching = decoder(loops);
    watching.push(Buffer.from(looping + events(chunk({}, "length")) + DONE));
    watching.end();
    expect(loops).toEqual([]);
  });

  it("lets an answer repeat itself where nothing listens", () => {
    expect(decode([looping.repeat(5), events(chunk({}, "stop")) + DONE])).toMatchObject({
      error: undefined,
      message: { stopReason: "stop" },
    });
  });
});

describe("the error of a loop", () => {
  const said = (period: string): string => loopFault({ period, times: 20 }, "text").message;
  it("quotes the sentence from its beginning, wherever the period was cut", () => {
    expect(said("more. Let me think once ")).toContain(
      'it wrote "Let me think once more." at least 20 times',
    );
    expect(said("gain and a")).toContain('it wrote "and again" at least');
    expect(said("想一想。让我再")).toContain('it wrote "让我再想一想。" at least');
  });

  it("is short, and has no control characters", () => {
    expect(said("x".repeat(999))).toContain(`"${"x".repeat(60)}…"`);
    expect(said("\u001b[31mred\u0007 ")).toContain('"red"');
    expect(said("\n\n")).toContain("it wrote blank space at least");
  });

  it("says how to switch the guard off", () => {
    expect(said("a ")).toMatch(/AI_SERVER_LOOP_GUARD=off lets such answers go on\.$/);
    expect(loopFault({ period: "a ", times: 20 }, "thinking").message).toContain("while it thinks");
  });
});
