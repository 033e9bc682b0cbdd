import { describe, expect, test } from "vitest";
import { processFault } from "../../../server/kinds/load-failure.ts";
import { loadTimedOut } from "../../../server/load.ts";
import { remedyOf, wordedFor } from "../../../stream/pi-rules.ts";

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
    expect(server.asked).toEqual([["m", 60]]);
  });

  test("is quoted without the lines of who has looked at it", async () => {
    const looks = Array.from({ length: 30 }, () => "srv  log_server_r: request: GET /health 127.0.0.1 503");
    const server = logging(["load_model: no such tensor", ...looks, "exiting"]);
    const fault = await processFault(server, MODEL, "could not be loaded", undefined, NEVER);
    expect(fault.message).toBe(
      "Model M could not be loaded\nIts log ends with:\nload_model: no such tensor\nexiting",
    );
  });

  test.each([
    ["15s", 15],
    ["2m0s", 120],
    ["1h0m5s", 3605],
  ])("by the limit of the health check names the setting: %s", async (limit, seconds) => {
    const reason = `unspecific error: health check timed out after ${limit}`;
    const fault = await processFault(logging([]), MODEL, "could not be loaded", reason, NEVER);
    expect(fault.message).toBe(
      `Model M could not be loaded: ${reason}\nhealthCheckTimeout in llama-swap's config is ${seconds} s: raise it if the model needs longer to load.`,
    );
  });

  test.each([
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9000.00 MiB on device 0: cudaMalloc failed: out of memory",
    "ggml_vulkan: Device memory allocation of size 1 failed. vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
    "llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache",
    "terminate called after throwing an instance of 'std::bad_alloc'",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
  ])("for want of memory advises a smaller context: %s", async (line) => {
    const server = logging([line, ...Array.from({ length: 9 }, (_, at) => `after ${at}`)]);
    const fault = await processFault(server, MODEL, "could not be loaded", undefined, NEVER);
    expect(fault.message).toMatch(
      /\nafter 8\nMemory ran out: give the model a smaller context with \/ai-server-ctx m <size>, or use a smaller quantisation\.$/,
    );
    expect(remedyOf(wordedFor(fault.sentence, fault.remedy))).toBe("none");
  });

  test("for want of memory on a server without a config file names no command that refuses it", async () => {
    const reason = "llama runner process has terminated: cudaMalloc failed: out of memory";
    const fault = await processFault({ kind: "other" }, MODEL, "could not be loaded", reason, NEVER);
    expect(fault.message).toMatch(/\nMemory ran out: give the model a smaller context on the server, or use/);
  });

  test("without reason and log is a sentence alone", async () => {
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
    { kind: "waiting", blockedBy: "a", requests: 2 },
    "a must unload first and is still answering 2 requests.",
  ],
  [{ kind: "waiting", blockedBy: "a", requests: 1 }, "a must unload first and is still answering 1 request."],
  [{ kind: "waiting", blockedBy: "a", requests: undefined }, "a is still loaded and must unload first."],
  [{ kind: "stopping", model: "a" }, "the server is still stopping a."],
  [
    { kind: "loading", elapsedMs: 9500 },
    "it has been loading for 10 s, and the server continues to load it.",
  ],
  [undefined, "the server does not say why."],
] as const)("a limit that passes during %j", (progress, doing) => {
  expect(loadTimedOut("m", 60_000, progress).message).toBe(
    `m was not loaded within 60 s (timed out): ${doing} Look at /ai-server-status, or raise AI_SERVER_LOAD_TIMEOUT_MS.`,
  );
});
