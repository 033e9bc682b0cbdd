import {
  chmodSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { Memory } from "../../memory/memory.ts";
import { integer, pick, randomJson, seeded } from "../support/random.ts";

const URL_ONE = "https://one.example";
const folders: string[] = [];
let folder = "";
let file = "";
let now = 1_800_000_000_000;
let memory: Memory;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "memory-test-"));
  folders.push(folder);
  file = join(folder, "ai-server.json");
  now = 1_800_000_000_000;
  memory = new Memory(file, () => now);
});
afterAll(() => {
  for (const path of folders) rmSync(path, { recursive: true, force: true });
});

const modeOf = (path: string): number => statSync(path).mode & 0o777;

test("written() waits for the writes under way", async () => {
  void memory.rememberLoad(URL_ONE, "a", 20);
  void memory.rememberLoad(URL_ONE, "b", 30);
  await memory.written();
  const again = new Memory(file, () => now);
  expect([await again.expectedLoadMs(URL_ONE, "a"), await again.expectedLoadMs(URL_ONE, "b")]).toEqual([
    20, 30,
  ]);
});

test("remembers the kind of a server beside its models", async () => {
  await memory.rememberLoad(URL_ONE, "a", 20);
  expect(await memory.kind(URL_ONE)).toBeUndefined();
  await memory.rememberKind(URL_ONE, "router");
  await memory.rememberLoad(URL_ONE, "a", 30);
  const again = new Memory(file, () => now);
  expect([await again.kind(URL_ONE), await again.expectedLoadMs(URL_ONE, "a")]).toEqual(["router", 25]);
  expect(await again.kind("https://two.example")).toBeUndefined();
});

test("remembers whether there were downloads on a server, and not for another", async () => {
  expect(await memory.hasDownloads(URL_ONE)).toBe(false);
  await memory.rememberDownloads(URL_ONE, true);
  await memory.rememberKind(URL_ONE, "router");
  expect(await memory.hasDownloads(URL_ONE)).toBe(true);
  expect(await memory.hasDownloads(`${URL_ONE}/other`)).toBe(false);
  await memory.rememberDownloads(URL_ONE, false);
  expect(await memory.hasDownloads(URL_ONE)).toBe(false);
});

describe("loads", () => {
  test("are expected to take the median of the last five", async () => {
    expect(await memory.expectedLoadMs(URL_ONE, "a")).toBeUndefined();
    await memory.rememberLoad(URL_ONE, "a", 90_000);
    expect(await memory.expectedLoadMs(URL_ONE, "a")).toBe(90_000);
    for (const loadMs of [10, 40, 20, 30]) await memory.rememberLoad(URL_ONE, "a", loadMs);
    expect(await memory.expectedLoadMs(URL_ONE, "a")).toBe(30);
    await memory.rememberLoad(URL_ONE, "a", 20);
    expect(await memory.expectedLoadMs(URL_ONE, "a")).toBe(20);
  });

  test("of an even number give the middle", async () => {
    for (const loadMs of [10, 20]) await memory.rememberLoad(URL_ONE, "a", loadMs);
    expect(await memory.expectedLoadMs(URL_ONE, "a")).toBe(15);
  });

  test("of another model or server do not count", async () => {
    await memory.rememberLoad(URL_ONE, "a", 1000);
    expect(await memory.expectedLoadMs(URL_ONE, "b")).toBeUndefined();
    expect(await memory.expectedLoadMs("https://two.example", "a")).toBeUndefined();
  });

  test("come from a file that an older version wrote with digests of command lines", async () => {
    const loads = [10, 20, 30, 40, 50, 60].map((loadMs) => ({ command: "a".repeat(64), loadMs }));
    writeFileSync(file, JSON.stringify({ version: 1, servers: { [URL_ONE]: { models: { a: { loads } } } } }));
    expect(await memory.expectedLoadMs(URL_ONE, "a")).toBe(40);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY, -1])("of %s ms are none", async (loadMs) => {
    await memory.rememberLoad(URL_ONE, "a", loadMs);
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("facts", () => {
  test("come back, and keep what a later look did not report", async () => {
    expect(await memory.facts(URL_ONE, "a")).toBeUndefined();
    await memory.remember(URL_ONE, "a", { trainedContext: 32_768, context: 4096, seenAt: 5 });
    await memory.remember(URL_ONE, "a", { context: 8192, seenAt: 7 });
    expect(await memory.facts(URL_ONE, "a")).toEqual({ trainedContext: 32_768, context: 8192, seenAt: 7 });
    await memory.rememberLoad(URL_ONE, "a", 10);
    expect(await memory.facts(URL_ONE, "a")).toEqual({ trainedContext: 32_768, context: 8192, seenAt: 7 });
  });

  test("of an earlier moment do not replace later ones", async () => {
    await memory.remember(URL_ONE, "a", { context: 8192, seenAt: 7 });
    await memory.remember(URL_ONE, "a", { context: 1, trainedContext: 9, seenAt: 3 });
    expect(await memory.facts(URL_ONE, "a")).toEqual({ trainedContext: 9, context: 8192, seenAt: 7 });
  });

  const [ONE, OTHER] = ["1".repeat(64), "2".repeat(64)];

  test("of another command line yield to later ones; those that hold for any stay", async () => {
    await memory.remember(URL_ONE, "a", { command: ONE, context: 8192, seenAt: 5 });
    await memory.remember(URL_ONE, "a", { vision: true, seenAt: 6 });
    expect(await memory.facts(URL_ONE, "a")).toEqual({
      command: ONE,
      context: 8192,
      vision: true,
      seenAt: 6,
    });
    await memory.remember(URL_ONE, "a", { command: OTHER, thinking: false, seenAt: 7 });
    await memory.remember(URL_ONE, "a", { command: ONE, context: 8192, seenAt: 3 });
    expect(await memory.facts(URL_ONE, "a")).toEqual({ command: OTHER, thinking: false, seenAt: 7 });
  });

  test("of all models of a server come together", async () => {
    await memory.remember(URL_ONE, "a", { context: 1, seenAt: 5 });
    await memory.remember(URL_ONE, "b", { context: 2, seenAt: 6 });
    await memory.rememberLoad(URL_ONE, "c", 10);
    await memory.remember("https://two.example", "d", { context: 3, seenAt: 6 });
    expect([...(await memory.allFacts(URL_ONE))]).toEqual([
      ["a", { context: 1, seenAt: 5 }],
      ["b", { context: 2, seenAt: 6 }],
    ]);
    expect(await memory.allFacts("https://three.example")).toEqual(new Map());
  });

  test("of unknown names are kept, unless they are too long or nested too deeply", async () => {
    const facts = { colour: { value: ["blue"] }, seenAt: 5 };
    await memory.remember(URL_ONE, "a", facts);
    await memory.remember(URL_ONE, "a", { context: 5, command: "none of SHA-256", seenAt: 6 });
    expect(await memory.facts(URL_ONE, "a")).toEqual({ ...facts, context: 5, seenAt: 6 });
    await memory.remember(URL_ONE, "a", { novel: "x".repeat(5000), seenAt: 9 });
    expect(await memory.facts(URL_ONE, "a")).toEqual({ ...facts, context: 5, seenAt: 6 });
    const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
    const models = `{"a":{"facts":{"seenAt":1,"x":${deep}}}}`;
    writeFileSync(file, `{"version":1,"servers":{"${URL_ONE}":{"models":${models}}}}`);
    expect(await memory.facts(URL_ONE, "a")).toBeUndefined();
  });

  test.each(["__proto__", "constructor", "toString", "hasOwnProperty", "Größe/模型:1 "])(
    "of a server and a model called %s are kept like any other",
    async (name) => {
      expect(await memory.facts(name, name)).toBeUndefined();
      expect(await memory.expectedLoadMs(name, name)).toBeUndefined();
      await memory.remember(name, name, { context: 8192, seenAt: 7 });
      expect(await new Memory(file, () => now).facts(name, name)).toEqual({ context: 8192, seenAt: 7 });
      expect(await memory.facts(URL_ONE, name)).toBeUndefined();
      expect(({} as Record<string, unknown>).context).toBeUndefined();
    },
  );

  test("of an id that is too long, or empty, are not kept", async () => {
    await memory.remember(URL_ONE, "x".repeat(257), { context: 1, seenAt: 1 });
    await memory.remember(URL_ONE, "", { context: 1, seenAt: 1 });
    await memory.remember("", "a", { context: 1, seenAt: 1 });
    expect(readdirSync(folder)).toEqual([]);
    await memory.remember(URL_ONE, "x".repeat(256), { context: 1, seenAt: 1 });
    expect(await memory.facts(URL_ONE, "x".repeat(256))).toEqual({ context: 1, seenAt: 1 });
  });
});

describe("the bounds", () => {
  test("the models and servers that were unused for longest are dropped", async () => {
    for (let at = 0; at < 202; at += 1) {
      now += 1;
      await memory.remember(URL_ONE, `m${at}`, { context: at + 1, seenAt: now });
      if (at === 199) await memory.rememberLoad(URL_ONE, "m0", 1);
    }
    expect(await memory.facts(URL_ONE, "m0")).toBeDefined();
    expect(await memory.facts(URL_ONE, "m1")).toBeUndefined();
    expect(await memory.facts(URL_ONE, "m2")).toBeUndefined();
    expect(await memory.facts(URL_ONE, "m3")).toBeDefined();
    for (let at = 0; at < 16; at += 1) {
      now += 1;
      await memory.remember(`https://${at}.example`, "a", { context: 1, seenAt: now });
    }
    expect(await memory.facts(URL_ONE, "m0")).toBeUndefined();
    expect(await memory.facts("https://0.example", "a")).toBeDefined();
  });

  test("a file that would be too large loses its oldest models, and can be read again", async () => {
    const models: Record<string, unknown> = {};
    const facts = { seenAt: 1, template: "x".repeat(1950) };
    for (let at = 0; at < 28; at += 1) models[`${"é".repeat(250)}${at}`] = { usedAt: at, facts };
    const servers = Object.fromEntries(
      Array.from({ length: 14 }, (_, at) => [`https://${at}`, { usedAt: 5, models }]),
    );
    writeFileSync(file, JSON.stringify({ version: 1, servers }));
    expect(statSync(file).size).toBeLessThan(1_048_576);
    const fill = Array.from({ length: 199 }, (_, at) => {
      now += 1;
      return Promise.all(
        [1, 2, 3].map((loadMs) => memory.rememberLoad(URL_ONE, `${"é".repeat(250)}${at}`, loadMs)),
      );
    });
    await Promise.all(fill);
    expect(statSync(file).size).toBeLessThanOrEqual(1_048_576);
    expect(statSync(file).size).toBeGreaterThan(500_000);
    for (let at = 0; at < 40; at += 1)
      for (let model = 0; model < 5; model += 1)
        void memory.rememberLoad(`https://${at % 14}`, `n${at}-${model}`, 1);
    await memory.rememberLoad(URL_ONE, "newest", 7);
    expect(statSync(file).size).toBeLessThanOrEqual(1_048_576);
    expect(await memory.expectedLoadMs(URL_ONE, "newest")).toBe(7);
  });
});

describe("the file", () => {
  test("does not exist before there is something to remember", async () => {
    await memory.expectedLoadMs(URL_ONE, "a");
    await memory.facts(URL_ONE, "a");
    expect(readdirSync(folder)).toEqual([]);
  });

  test("is alone in its folder, and for its owner only", async () => {
    await memory.remember(URL_ONE, "a", { context: 1, seenAt: 1 });
    expect(readdirSync(folder)).toEqual(["ai-server.json"]);
    expect(modeOf(file)).toBe(0o600);
    chmodSync(file, 0o644);
    await memory.remember(URL_ONE, "b", { context: 1, seenAt: 1 });
    expect(modeOf(file)).toBe(0o600);
    expect(await memory.facts(URL_ONE, "a")).toBeDefined();
  });

  test("is written where the user's own link leads, and the link stays", async () => {
    const target = join(folder, "dotfiles.json");
    writeFileSync(target, "");
    symlinkSync(target, file);
    await memory.remember(URL_ONE, "a", { context: 1, seenAt: 1 });
    expect(lstatSync(file).isSymbolicLink()).toBe(true);
    expect(readFileSync(target, "utf8")).toContain(URL_ONE);
    expect(modeOf(target)).toBe(0o600);
    expect(await memory.facts(URL_ONE, "a")).toEqual({ context: 1, seenAt: 1 });
  });

  test.each(["missing", "/dev/null", "."])("is not written through a link to %s", async (target) => {
    symlinkSync(target, file);
    await memory.remember(URL_ONE, "a", { context: 1, seenAt: 1 });
    expect(readdirSync(folder)).toEqual(["ai-server.json"]);
    expect(lstatSync(file).isSymbolicLink()).toBe(true);
    expect(await memory.facts(URL_ONE, "a")).toBeUndefined();
  });

  test.runIf(process.getuid?.() === 0)("is not written through another user's link", async () => {
    const target = join(folder, "target.json");
    writeFileSync(target, "mine");
    symlinkSync(target, file);
    lchownSync(file, 1234, 1234);
    await memory.remember(URL_ONE, "a", { context: 1, seenAt: 1 });
    expect(readFileSync(target, "utf8")).toBe("mine");
  });

  test("that is a folder, or lies in no folder, is no error", async () => {
    mkdirSync(file);
    await memory.remember(URL_ONE, "a", { context: 1, seenAt: 1 });
    expect(readdirSync(folder)).toEqual(["ai-server.json"]);
    const nowhere = new Memory(join(folder, "gone", "ai-server.json"), () => now);
    await nowhere.remember(URL_ONE, "a", { context: 1, seenAt: 1 });
    expect(await nowhere.facts(URL_ONE, "a")).toBeUndefined();
  });

  const damage = (content: string | Buffer): Promise<void> => {
    writeFileSync(file, content);
    return memory.remember(URL_ONE, "new", { context: 3, seenAt: 3 });
  };

  test.each([
    "",
    "null",
    "[]",
    "{",
    '{"version":2,"servers":{"https://one.example":{"models":{"a":{"facts":{"context":1,"seenAt":1}}}}}}',
    '{"servers":{"https://one.example":{"models":{"a":{"facts":{"context":1,"seenAt":1}}}}}}',
    '{"version":1,"servers":{"https://one.example":{"models":{"a":{"facts":{"context":"x","seenAt":"y"}}}}}}',
    '{"version":1,"servers":{"https://one.example":{"models":{"a":{"loads":[{"loadMs":"soon"},7,null]}}}}}',
    "[".repeat(500_000),
    " ".repeat(1_048_577),
  ])("damaged in way %# counts as empty and is replaced", async (content) => {
    writeFileSync(file, content);
    expect((await memory.facts(URL_ONE, "a"))?.context).toBeUndefined();
    expect(await memory.expectedLoadMs(URL_ONE, "a")).toBeUndefined();
    await damage(content);
    expect(await memory.facts(URL_ONE, "new")).toEqual({ context: 3, seenAt: 3 });
  });

  test("damaged anywhere is read without an error and written again", async () => {
    for (let at = 0; at < 3; at += 1) {
      await memory.rememberLoad(URL_ONE, `m${at}`, at + 1);
      await memory.remember(URL_ONE, `m${at}`, { context: 9, seenAt: 9 });
    }
    const whole = readFileSync(file);
    for (let seed = 1; seed <= 100; seed += 1) {
      const random = seeded(seed);
      const bytes = Buffer.from(whole);
      if (seed % 3 === 0) await damage(bytes.subarray(0, integer(random, 0, bytes.length)));
      else if (seed % 3 === 1) {
        for (let hit = 0; hit < 3; hit += 1)
          bytes[integer(random, 0, bytes.length - 1)] = integer(random, 0, 255);
        await damage(bytes);
      } else {
        const value = randomJson(random, 4);
        const server = {
          [pick(random, [URL_ONE, "__proto__", ""])]: { models: { a: value, new: { loads: value } } },
        };
        await damage(JSON.stringify({ version: 1, servers: random() < 0.5 ? server : value }));
      }
      expect((await memory.facts(URL_ONE, "new"))?.context, `seed ${seed}`).toBe(3);
    }
    expect(readdirSync(folder)).toEqual(["ai-server.json"]);
  });
});
