import { describe, expect, test } from "vitest";
import { downloadWords, progressWords, RateMeter, stageWords } from "../../../admin/add/download-words.ts";
import { nameIn, readName } from "../../../admin/add/name.ts";
import { memoryWords, roomFor } from "../../../admin/add/room.ts";
import { sizeItems } from "../../../admin/add/size.ts";
import type { DownloadState } from "../../../host/download/download.ts";
import { downloadFault } from "../../../host/download/download-faults.ts";

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

describe("the name of a model", () => {
  test.each([
    ["unsloth/Qwen3-8B-GGUF", "unsloth/Qwen3-8B-GGUF", undefined],
    [" unsloth/Qwen3-8B-GGUF:Q4_K_M ", "unsloth/Qwen3-8B-GGUF", "Q4_K_M"],
    ["a/b:UD-Q4_K_XL", "a/b", "UD-Q4_K_XL"],
    ["https://huggingface.co/unsloth/Qwen3-8B-GGUF", "unsloth/Qwen3-8B-GGUF", undefined],
    ["https://huggingface.co/unsloth/Qwen3-8B-GGUF/tree/main?x=1", "unsloth/Qwen3-8B-GGUF", undefined],
  ])("is read of %s", (text, repository, quantisation) => {
    expect(nameIn(text)).toEqual({ repository, quantisation });
  });

  test.each(["", "qwen", "a/b/c", "a/b:", "a/b:x:y", "a/b:$(reboot)", "a/b c", "-a/b", "../x", "a/b:--help"])(
    "is none in %j",
    (text) => {
      expect(nameIn(text)).toBeUndefined();
    },
  );

  test("is asked for outside the terminal, which alone has a search", () => {
    expect(readName(" ", { mode: "tui" })).toBeUndefined();
    for (const mode of ["print", "json", "rpc"] as const)
      expect(() => readName("", { mode })).toThrow(
        "Name a model on Hugging Face: owner/repository or owner/repository:quantisation, such as unsloth/Qwen3-8B-GGUF:Q4_K_M. Only the terminal offers a search.",
      );
  });

  test("is asked for where a word is none, and only the terminal offers the search", () => {
    const sentence =
      '"wren" is not a repository name. Write it as owner/repository or owner/repository:quantisation, such as unsloth/Qwen3-8B-GGUF:Q4_K_M.';
    const search = " Without an argument, /ai-server-add opens a search.";
    for (const [mode, message] of [
      ["tui", sentence + search],
      ["print", sentence],
    ] as const)
      expect(() => readName("wren", { mode })).toThrow(expect.objectContaining({ message }));
  });
});

describe("the room for weights", () => {
  const gpus = {
    devices: [
      { name: "CUDA0", totalMiB: 24_576 },
      { name: "CUDA1", totalMiB: 24_576 },
    ],
    hostMiB: 65_536,
  };

  test.each([
    [38 * GIB, "fits"],
    [40 * GIB, "tight"],
    [46 * GIB, "tight"],
    [46 * GIB + 2 * MIB, "too large"],
  ])("%i bytes on two devices of 24 GiB: %s", (bytes, expected) => {
    expect(roomFor(bytes, gpus)).toBe(expected);
  });

  test("is that of the machine where it has no device, and unknown where nothing says it", () => {
    const host = { devices: [], hostMiB: 16_384 };
    expect(roomFor(10 * GIB, host)).toBe("fits");
    expect(roomFor(16 * GIB, host)).toBe("too large");
    expect(roomFor(1, { devices: [], hostMiB: undefined })).toBeUndefined();
    expect(roomFor(1, { devices: [{ name: "Vulkan0", totalMiB: 0 }], hostMiB: 16_384 })).toBeUndefined();
    expect(roomFor(1, undefined)).toBeUndefined();
    expect(memoryWords(gpus)).toEqual(["Memory for models: CUDA0 24 GiB, CUDA1 24 GiB."]);
    expect(memoryWords(host)).toEqual(["The server has no GPU; its memory is 16 GiB."]);
    expect(memoryWords(undefined)).toEqual([]);
  });
});

describe("a download in words", () => {
  test("has bytes, rate and the time left", () => {
    expect(progressWords(0, 18.6 * GIB, undefined)).toBe("0 B of 18.6 GiB");
    expect(progressWords(3.1 * GIB, 18.6 * GIB, 24 * MIB)).toBe("3.1 of 18.6 GiB · 24 MiB/s · 12 min left");
    expect(progressWords(100 * MIB, 200 * MIB, 2 * MIB)).toBe("100 of 200 MiB · 2 MiB/s · 50 s left");
    expect(progressWords(0, 200 * GIB, 500)).toBe("0 B of 200 GiB · 500 B/s");
    expect(progressWords(200 * MIB, 200 * MIB, 2 * MIB)).toBe("200 of 200 MiB · 2 MiB/s");
  });

  const state = (change: Partial<DownloadState>): DownloadState => ({
    id: "0".repeat(16),
    label: "a/b:Q8_0",
    files: [],
    doneBytes: 50,
    totalBytes: 200,
    stage: "running",
    program: "curl",
    rate: undefined,
    problem: undefined,
    ...change,
  });

  test("says what it does", () => {
    expect(downloadWords(state({}))).toBe("Downloading a/b:Q8_0: 50 of 200 B");
    const problem = downloadFault("network", "curl: (56) Connection reset", "the machine", true);
    expect(downloadWords(state({ problem }))).toBe(
      "Downloading a/b:Q8_0: 50 of 200 B. The connection from the machine broke off or could not be made (curl error 56: Connection reset); trying again.",
    );
    expect(downloadWords(state({ stage: "waiting" }))).toBe(
      "a/b:Q8_0 waits for another download of the same file",
    );
    expect(downloadWords(state({ stage: "checking" }))).toBe("Checking the SHA-256 of a/b:Q8_0");
    const stages = ["running", "waiting", "checking", "stopped", "failed", "complete"] as const;
    expect(stages.map((stage) => stageWords(state({ stage })))).toEqual([
      "downloading · 25 %",
      "waiting · 25 %",
      "being checked",
      "stopped at 25 %",
      "failed at 25 %",
      "downloaded, not in the config",
    ]);
  });

  test("a rate is that of the last seconds", () => {
    const meter = new RateMeter();
    expect(meter.rate(0, 0)).toBeUndefined();
    expect(meter.rate(1000, 1000)).toBe(1000);
    for (let second = 2; second <= 30; second++) meter.rate(1000, second * 1000);
    expect(meter.rate(1000, 31_000)).toBe(0);
    expect(meter.rate(21_000, 32_000)).toBeCloseTo(1000, -2);
    expect(meter.rate(5, 33_000)).toBeUndefined();
  });
});

describe("the sizes that are offered", () => {
  const shown = (windows: Parameters<typeof sizeItems>[0]) =>
    sizeItems(windows).map(({ words, detail, means }) => [words, detail, means]);

  test("are the largest that fits, the pattern's, and usual ones below", () => {
    expect(shown({ present: 32_768, trained: 262_144, largest: 100_096 })).toEqual([
      ["100k", "100096 tokens · max: the largest that fits", 100_096],
      ["64k", "65536 tokens", 65_536],
      ["32k", "32768 tokens · copied", "as it is"],
      ["16k", "16384 tokens", 16_384],
      ["8k", "8192 tokens", 8192],
    ]);
    const [first] = shown({ present: 131_072, trained: 131_072, largest: 131_072 });
    expect(first).toEqual([
      "128k",
      "131072 tokens · max: the largest that fits · what it was trained for · copied",
      "as it is",
    ]);
  });

  test("without the largest begin with the trained one; a pattern that has more comes last", () => {
    expect(shown({ present: 131_072, trained: 40_960, largest: undefined })).toEqual([
      ["40k", "40960 tokens · what it was trained for", 40_960],
      ["32k", "32768 tokens", 32_768],
      ["16k", "16384 tokens", 16_384],
      ["8k", "8192 tokens", 8192],
      ["128k", "131072 tokens · copied · more than it was trained for", "as it is"],
    ]);
    const [mark] = shown({ present: 131_072, trained: 40_960, largest: 40_960 }).at(-1)?.slice(1) ?? [];
    expect(mark).toBe("131072 tokens · copied · more than it was trained for");
    expect(shown({ present: 65_536, trained: 262_144, largest: 20_480 }).at(-1)).toEqual([
      "64k",
      "65536 tokens · copied · more than fits",
      "as it is",
    ]);
  });

  test("without a pattern's can be left to llama-server", () => {
    const free = ["As llama-server decides", "what it was trained for, or what fits", "as it is"];
    expect(shown({ present: undefined, trained: 40_960, largest: undefined }).slice(0, 2)).toEqual([
      ["40k", "40960 tokens · what it was trained for", 40_960],
      free,
    ]);
    expect(shown({ present: undefined, trained: undefined, largest: undefined })[0]).toEqual(free);
  });
});
