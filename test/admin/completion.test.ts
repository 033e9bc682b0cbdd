import { afterEach, describe, expect, test } from "vitest";
import { parseSize, readId } from "../../admin/arguments.ts";
import { complete, type Entry, LiveIds, takesId } from "../../admin/completion.ts";
import { FakeClock, settled } from "../support/clock.ts";

const READY: Entry = {
  id: "Qwen3.6-35B-A3B-Q8_0",
  state: "ready",
  loaded: true,
  context: "128k",
  contextTokens: 131_072,
  trainedTokens: 262_144,
};
const UNLOADED: Entry = { id: "org/Größe:Q4", state: "unloaded", loaded: false, context: "32k declared" };
const SPACED: Entry = { id: "my model", state: "unloaded", loaded: false };
const LONGER: Entry = { id: "my model large", state: "starting", loaded: true };
const ENTRIES = [READY, UNLOADED, SPACED, LONGER];

const values = (command: string, argument: string, entries: readonly Entry[] = ENTRIES) =>
  complete(entries, command, argument)?.map(({ value }) => value);

describe("what is offered", () => {
  test("is each model with its state and context", () => {
    expect(complete(ENTRIES, "ai-server-preset", "")).toEqual([
      { value: "Qwen3.6-35B-A3B-Q8_0", label: "Qwen3.6-35B-A3B-Q8_0", description: "ready · 128k" },
      { value: "org/Größe:Q4", label: "org/Größe:Q4", description: "unloaded · 32k declared" },
      { value: "my model", label: "my model", description: "unloaded" },
      { value: "my model large", label: "my model large", description: "starting" },
    ]);
  });

  test("has the unloaded ones first to load, and marks the loaded", () => {
    const items = complete(ENTRIES, "ai-server-load", "");
    expect(items?.map(({ label }) => label)).toEqual([
      "org/Größe:Q4",
      "my model",
      "Qwen3.6-35B-A3B-Q8_0",
      "my model large",
    ]);
    expect(items?.[2]?.description).toBe("already loaded · 128k");
    expect(items?.[3]?.description).toBe("starting");
  });

  test.each(["ai-server-unload", "ai-server-logs"])("has the loaded ones first for %s", (command) => {
    expect(values(command, "")).toEqual([
      "Qwen3.6-35B-A3B-Q8_0",
      "my model large",
      "org/Größe:Q4",
      "my model",
    ]);
  });

  test("leaves out models that the server neither loads nor unloads", () => {
    const entries: Entry[] = [
      { id: "peer/x", state: "unknown", loaded: false, isFixed: true },
      { id: "own", state: "ready", loaded: true },
    ];
    const offered = (command: string) => complete(entries, command, "")?.map(({ label }) => label);
    expect(offered("ai-server-load")).toEqual(["own"]);
    expect(offered("ai-server-unload")).toEqual(["own"]);
    expect(offered("ai-server-logs")).toEqual(["own", "peer/x"]);
  });

  test.each(["ai-server-restart", "ai-server-rollback", "model", ""])(
    "is nothing of ours for %j",
    (command) => {
      expect(complete(ENTRIES, command, "")).toBeNull();
    },
  );

  test("begins with what is typed, then contains it, in upper or lower case", () => {
    const entries = ["small-llama", "Llama", "other", "LLAMA-3"].map(
      (id): Entry => ({ id, state: "unloaded", loaded: false }),
    );
    expect(values("ai-server-load", "llama", entries)).toEqual(["Llama", "LLAMA-3", "small-llama"]);
    expect(values("ai-server-load", "LLAMA-3", entries)).toEqual(["LLAMA-3"]);
    expect(values("ai-server-load", "  oth", entries)).toEqual(["other"]);
    expect(values("ai-server-load", "größe", ENTRIES)).toEqual(["org/Größe:Q4"]);
    expect(values("ai-server-load", "x", entries)).toEqual([]);
  });

  test("ranks the match before the state", () => {
    const entries: Entry[] = [
      { id: "big-qwen", state: "unloaded", loaded: false },
      { id: "qwen", state: "ready", loaded: true },
    ];
    expect(values("ai-server-load", "qwen", entries)).toEqual(["qwen", "big-qwen"]);
  });

  test("includes both ids where one is the beginning of the other", () => {
    expect(values("ai-server-load", "my model")).toEqual(["my model", "my model large"]);
    expect(values("ai-server-load", "my model ")).toEqual(["my model large"]);
  });

  test("follows an opened quote, which the value replaces", () => {
    expect(values("ai-server-load", `"my mo`)).toEqual(["my model", "my model large"]);
    expect(values("ai-server-load", "'org/")).toEqual(["org/Größe:Q4"]);
    const entries: Entry[] = [{ id: `"quoted" id`, state: "ready", loaded: true }];
    expect(values("ai-server-load", `"quo`, entries)).toEqual([`"quoted" id`]);
  });

  test("is quoted where the id could not be read otherwise, and left out where it never can", () => {
    const entries = [" a", ` ' " x`].map((id): Entry => ({ id, state: "ready", loaded: true }));
    expect(values("ai-server-load", "", entries)).toEqual([`" a"`]);
  });

  test("is at most 50 entries", () => {
    const entries = Array.from(
      { length: 500 },
      (_, at): Entry => ({ id: `m${at}`, state: "unloaded", loaded: false }),
    );
    expect(values("ai-server-load", "m", entries)).toHaveLength(50);
    expect(values("ai-server-status", "", entries)).toHaveLength(50);
  });

  test.each(["ai-server-load", "ai-server-unload", "ai-server-preset", "ai-server-logs"])(
    "is read again as that id by %s",
    (command) => {
      const ids = ENTRIES.map(({ id }) => id);
      for (const item of complete(ENTRIES, command, "") ?? [])
        expect(readId(item.value, ids)).toEqual({ id: item.label, rest: "" });
    },
  );

  test.each(["$(x)", "`id`", "\u001b[2J", "x".repeat(10_000), "../..", "--", "((((", "\\"])(
    "is nothing for hostile text: %#",
    (text) => {
      for (const command of ["ai-server-load", "ai-server-ctx"]) expect(values(command, text)).toEqual([]);
    },
  );
});

describe("the size", () => {
  test("may be typed right after the id, which gets its space", () => {
    expect(values("ai-server-ctx", "qwen")).toEqual(["Qwen3.6-35B-A3B-Q8_0 "]);
    expect(values("ai-server-ctx", "my model")).toEqual(["my model ", "my model large "]);
  });

  test("goes up to the trained window, the present one marked", () => {
    const items = complete(ENTRIES, "ai-server-ctx", "Qwen3.6-35B-A3B-Q8_0 ");
    expect(items?.map(({ label, description }) => [label, description])).toEqual([
      ["max", "the largest that fits"],
      ["8k", "8192 tokens"],
      ["16k", "16384 tokens"],
      ["32k", "32768 tokens"],
      ["64k", "65536 tokens"],
      ["96k", "98304 tokens"],
      ["128k", "131072 tokens · now"],
      ["192k", "196608 tokens"],
      ["256k", "262144 tokens · trained for"],
    ]);
    expect(items?.[4]?.value).toBe("Qwen3.6-35B-A3B-Q8_0 64k");
  });

  test("goes to 1m where the trained window is not known", () => {
    const labels = complete(ENTRIES, "ai-server-ctx", "org/Größe:Q4 ")?.map(({ label }) => label);
    expect(labels).toEqual(["max", "8k", "16k", "32k", "64k", "96k", "128k", "192k", "256k", "512k", "1m"]);
  });

  test("has windows that are not round, and what is set beyond the trained one", () => {
    const entry: Entry = { ...READY, contextTokens: 50_000, trainedTokens: 40_960 };
    const labels = complete([entry], "ai-server-ctx", `${entry.id} `)?.map(({ label }) => label);
    expect(labels).toEqual(["max", "8k", "16k", "32k", "40k", "50000"]);
    for (const label of labels?.slice(1) ?? []) expect(parseSize(label)).toBeDefined();
  });

  test("begins with what is typed", () => {
    expect(values("ai-server-ctx", "org/Größe:Q4 m")).toEqual(["org/Größe:Q4 max"]);
    expect(values("ai-server-ctx", "org/Größe:Q4 1")).toEqual([
      "org/Größe:Q4 16k",
      "org/Größe:Q4 128k",
      "org/Größe:Q4 192k",
      "org/Größe:Q4 1m",
    ]);
    expect(values("ai-server-ctx", "org/Größe:Q4   128K")).toEqual(["org/Größe:Q4 128k"]);
    expect(values("ai-server-ctx", "org/Größe:Q4 65536")).toEqual([]);
    expect(values("ai-server-ctx", "org/Größe:Q4 64k ")).toEqual(["org/Größe:Q4 64k"]);
    expect(values("ai-server-ctx", "org/Größe:Q4 64k x")).toEqual([]);
  });

  test("stands beside the longer ids", () => {
    expect(values("ai-server-ctx", "my model ")?.slice(0, 2)).toEqual(["my model large ", "my model max"]);
    expect(values("ai-server-ctx", `"my model" 5`)).toEqual(["my model 512k"]);
  });

  test("is not offered for an unknown id", () => {
    expect(values("ai-server-ctx", "gpt ")).toEqual([]);
  });
});

describe("--config", () => {
  test("is the only argument of a refresh", () => {
    for (const typed of ["", "--", "--config"])
      expect(values("ai-server-refresh", typed)).toEqual(["--config"]);
    for (const typed of ["q", "--ssh", "--config x"]) expect(values("ai-server-refresh", typed)).toEqual([]);
    expect([takesId("ai-server-refresh"), takesId("ai-server-load"), takesId("model")]).toEqual([
      false,
      true,
      false,
    ]);
  });
});

describe("--ssh", () => {
  test("is offered before and after an id", () => {
    expect(values("ai-server-status", "")).toEqual([...ENTRIES.map(({ id }) => id), "--ssh"]);
    expect(values("ai-server-status", "--s")).toEqual(["--ssh"]);
    expect(values("ai-server-status", "org/Größe:Q4 ")).toEqual(["org/Größe:Q4 --ssh"]);
    expect(values("ai-server-status", "org/Größe:Q4 --s")).toEqual(["org/Größe:Q4 --ssh"]);
    expect(values("ai-server-status", "org/Größe:Q4 x")).toEqual([]);
    expect(values("ai-server-status", "my model ")).toEqual(["my model large", "my model --ssh"]);
  });

  test("stays before an id", () => {
    expect(values("ai-server-status", "--ssh qw")).toEqual(["--ssh Qwen3.6-35B-A3B-Q8_0"]);
    expect(values("ai-server-status", "--ssh org/Größe:Q4 ")).toEqual([]);
  });

  test("is not taken out of an id that begins with it", () => {
    const entries: Entry[] = [{ id: "--ssh y", state: "ready", loaded: true }];
    expect(values("ai-server-status", "--ssh y", entries)).toEqual(["--ssh y"]);
  });

  test("is offered by no other command", () => {
    for (const command of ["ai-server-load", "ai-server-ctx"]) expect(values(command, "--s")).toEqual([]);
  });
});

describe("the list of models", () => {
  const clock = new FakeClock();
  let live: LiveIds | undefined;
  afterEach(() => live?.close());

  /** Reads that are answered by hand. */
  function server(known: readonly Entry[] = []) {
    const reads: Array<PromiseWithResolvers<readonly Entry[]> & { signal: AbortSignal }> = [];
    live = new LiveIds(
      (signal) => {
        const read = { ...Promise.withResolvers<readonly Entry[]>(), signal };
        reads.push(read);
        return read.promise;
      },
      clock,
      known,
    );
    return { live, reads, idle: new AbortController().signal };
  }

  test("is given at once, and read again when it is older than five seconds", async () => {
    const { live, reads } = server();
    expect(live.entries()).toEqual([]);
    expect(live.entries()).toEqual([]);
    expect(reads).toHaveLength(1);
    reads[0]?.resolve([READY]);
    await settled();
    expect(live.entries()).toEqual([READY]);
    await clock.advance(5000);
    live.entries();
    expect(reads).toHaveLength(1);
    await clock.advance(1);
    expect(live.entries()).toEqual([READY]);
    expect(reads).toHaveLength(2);
    reads[1]?.resolve([UNLOADED]);
    await settled();
    expect(live.entries()).toEqual([UNLOADED]);
    expect(clock.waiting).toBe(0);
  });

  test("stays when it cannot be read, and is not asked for at each key", async () => {
    const { live, reads } = server();
    live.entries();
    reads[0]?.resolve([READY]);
    await settled();
    await clock.advance(6000);
    live.entries();
    reads[1]?.reject(new Error("no route"));
    await settled();
    expect(live.entries()).toEqual([READY]);
    expect(reads).toHaveLength(2);
  });

  test("survives a read that throws before it waits", async () => {
    const broken = new LiveIds(
      () => {
        throw new Error("no configuration");
      },
      clock,
      [],
    );
    expect(broken.entries()).toEqual([]);
    expect(await broken.suggestions(new AbortController().signal)).toEqual([]);
    broken.close();
  });

  test("is given up after five seconds, though the read ignores its signal", async () => {
    const { live, reads } = server();
    live.entries();
    await clock.advance(5000);
    expect(reads[0]?.signal.aborted).toBe(true);
    await clock.advance(1);
    live.entries();
    expect(reads).toHaveLength(2);
    reads[0]?.resolve([UNLOADED]);
    await settled();
    expect(live.entries()).toEqual([]);
  });

  test("is read once at a time, though timers are late", async () => {
    let reads = 0;
    const late = { now: clock.now, sleep: () => new Promise<void>(() => {}) };
    const slow = new LiveIds(
      () => {
        reads++;
        return new Promise(() => {});
      },
      late,
      [],
    );
    slow.entries();
    await clock.advance(20_000);
    slow.entries();
    expect(reads).toBe(1);
    slow.close();
  });

  test("begins with what is known without asking, which is not waited for", async () => {
    const { live, reads, idle } = server([UNLOADED]);
    expect(await live.suggestions(idle)).toEqual([UNLOADED]);
    reads[0]?.resolve([READY]);
    await settled();
    expect(live.entries()).toEqual([READY]);
  });

  test("is waited for the first time only, a second at most", async () => {
    const { live, reads, idle } = server();
    let first: readonly Entry[] | undefined;
    void live.suggestions(idle).then((entries) => {
      first = entries;
    });
    await clock.advance(999);
    expect(first).toBeUndefined();
    await clock.advance(1);
    expect(first).toEqual([]);
    reads[0]?.resolve([READY]);
    await settled();
    await clock.advance(6000);
    expect(await live.suggestions(idle)).toEqual([READY]);
    expect(reads).toHaveLength(2);
  });

  test("comes within the wait when the server is quick", async () => {
    const { live, reads, idle } = server();
    const first = live.suggestions(idle);
    await clock.advance(20);
    reads[0]?.resolve([READY]);
    expect(await first).toEqual([READY]);
  });

  test("is not waited for any longer once the suggestion is no longer wanted; the read goes on", async () => {
    const { live, reads } = server();
    const typing = new AbortController();
    const first = live.suggestions(typing.signal);
    typing.abort();
    expect(await first).toEqual([]);
    expect(reads[0]?.signal.aborted).toBe(false);
    expect(await live.suggestions(AbortSignal.abort())).toEqual([]);
  });

  test("ends with the session", async () => {
    const { live, reads, idle } = server();
    const first = live.suggestions(idle);
    live.close();
    expect(await first).toEqual([]);
    expect(reads[0]?.signal.aborted).toBe(true);
    reads[0]?.resolve([READY]);
    await clock.advance(6000);
    expect(live.entries()).toEqual([]);
    expect(reads).toHaveLength(1);
    expect(clock.waiting).toBe(0);
  });
});
