import { describe, expect, test } from "vitest";
import { loadTimedOut, processFault } from "../../server/load-failure.ts";

const MODEL = { id: "m", name: "Model M" };
const logging = (lines: string[]) => {
  const asked: unknown[] = [];
  const logTail = async (id: string, count: number): Promise<string[]> => {
    asked.push([id, count]);
    return lines.slice(-count);
  };
  return { asked, logTail };
};
const NEVER = new AbortController().signal;

describe("a process that failed", () => {
  test("is quoted with its last lines, each of bounded length", async () => {
    const server = logging(["1", "2", "3", "4", "5", "6", "x".repeat(1000)]);
    const fault = await processFault(server, MODEL, "could not be loaded", "it exited", NEVER);
    expect(fault.message).toBe(
      `Model M could not be loaded: it exited\nIts log ends with:\n2\n3\n4\n5\n6\n${"x".repeat(300)}…`,
    );
    expect(fault.quote).toBe(fault.message.slice("Model M could not be loaded".length));
    expect(server.asked).toEqual([["m", 6]]);
  });

  test("without reason and log is only told", async () => {
    const fault = await processFault(logging([]), MODEL, "crashed", undefined, NEVER);
    expect([fault.message, fault.quote, fault.link, fault.remedy]).toEqual([
      "Model M crashed",
      "",
      "model",
      "none",
    ]);
  });
});

test.each([
  [
    { kind: "waiting", for: "a", requests: 2 },
    "a has to go first and still has 2 requests, which the server lets it finish.",
  ],
  [
    { kind: "waiting", for: "a", requests: 1 },
    "a has to go first and still has 1 request, which the server lets it finish.",
  ],
  [{ kind: "waiting", for: "a", requests: undefined }, "a is still loaded and has to go first."],
  [{ kind: "stopping", model: "a" }, "the server is still stopping a."],
  [{ kind: "loading", elapsedMs: 9500 }, "it has been loading for 10 s, and the server goes on with it."],
  [undefined, "the server does not tell why."],
] as const)("a limit that passes during %j", (progress, doing) => {
  expect(loadTimedOut("m", 60_000, progress).message).toBe(
    `m was not loaded within 60 s (timed out): ${doing} Look at /ai-server-status, or raise AI_SERVER_LOAD_TIMEOUT_MS.`,
  );
});
