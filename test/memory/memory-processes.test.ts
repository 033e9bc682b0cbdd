import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { Memory } from "../../memory/memory.ts";
import { integer, seeded } from "../support/random.ts";

const URL_ONE = "https://one.example";
const WRITER = fileURLToPath(new URL("./writer.ts", import.meta.url));
const folders: string[] = [];
let folder = "";
let file = "";
let memory: Memory;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "memory-test-"));
  folders.push(folder);
  file = join(folder, "ai-server.json");
  memory = new Memory(file, Date.now);
});
afterAll(() => {
  for (const path of folders) rmSync(path, { recursive: true, force: true });
});

/** Starts a process that remembers one model after another. */
function start(name: string, rounds: number) {
  return spawn(process.execPath, [WRITER, file, name, String(rounds)], {
    stdio: ["ignore", "pipe", "ignore"],
  });
}

async function remembered(): Promise<string[]> {
  const content = JSON.parse(readFileSync(file, "utf8")) as {
    servers: Record<string, { models: Record<string, unknown> }>;
  };
  return Object.keys(content.servers[URL_ONE]?.models ?? {});
}

describe("several processes", () => {
  test("that write at the same time lose nothing of one another", async () => {
    const writers = Array.from({ length: 8 }, (_, at) => start(`p${at}`, 25));
    await Promise.all(writers.map((writer) => once(writer, "exit")));
    expect(new Set(await remembered()).size).toBe(200);
    expect(readdirSync(folder)).toEqual(["ai-server.json"]);
  }, 60_000);

  test("killed at any moment leave a whole file, and nobody is kept waiting", async () => {
    for (let seed = 1; seed <= 25; seed += 1) {
      const random = seeded(seed);
      const writers = [start(`k${seed}`, 1000), start(`l${seed}`, 1000)];
      const lines: number[] = [];
      await Promise.all(
        writers.map(async (writer, at) => {
          let written = 0;
          const until = integer(random, 1, 4);
          for await (const chunk of writer.stdout) {
            written += String(chunk).split("\n").length - 1;
            if (written > until) break;
          }
          // A moment within the next write: the seed decides which one of its steps is hit.
          await new Promise((resolve) => setTimeout(resolve, random() * 14));
          writer.kill("SIGKILL");
          lines[at] = written - 1;
        }),
      );
      const before = performance.now();
      await memory.remember(URL_ONE, `after-${seed}`, { context: seed, seenAt: seed });
      expect(performance.now() - before).toBeLessThan(1500);
      const names = await remembered();
      expect(names, `seed ${seed}`).toContain(`after-${seed}`);
      for (let round = 0; round < (lines[0] ?? 0); round += 1) expect(names).toContain(`k${seed}-${round}`);
    }
    expect(readdirSync(folder)).toEqual(["ai-server.json"]);
  }, 60_000);
});

describe("the lock", () => {
  const lock = (): string => join(folder, "ai-server.json.lock");
  const dead = 2 ** 22 + 7;
  const remember = (): Promise<void> => memory.remember(URL_ONE, "a", { context: 1, seenAt: 1 });

  test("of a living process makes that this is not remembered, after a second", async () => {
    writeFileSync(lock(), `${process.pid}\n${hostname()}\nx`);
    const before = performance.now();
    await remember();
    const waited = performance.now() - before;
    expect(waited).toBeGreaterThan(900);
    expect(waited).toBeLessThan(3000);
    expect(existsSync(file)).toBe(false);
    rmSync(lock());
    await memory.remember(URL_ONE, "b", { context: 1, seenAt: 1 });
    expect(await remembered()).toEqual(["b"]);
  });

  test("of a dead process is taken over by exactly one at a time", async () => {
    writeFileSync(lock(), `${dead}\n${hostname()}\nx`);
    const others = Array.from({ length: 8 }, () => new Memory(file, Date.now));
    await Promise.all(
      others.map((other, at) => other.remember(URL_ONE, `m${at}`, { context: 1, seenAt: 1 })),
    );
    expect((await remembered()).sort()).toEqual(["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"]);
    expect(readdirSync(folder)).toEqual(["ai-server.json"]);
  });

  test("on a full disk leaves nothing behind", async () => {
    // A limit of no bytes is a disk without any.
    const full = `trap '' XFSZ; ulimit -f 0; exec '${process.execPath}' '${WRITER}' '${file}' full 2`;
    const writer = spawn("sh", ["-c", full], { stdio: ["ignore", "pipe", "ignore"] });
    let said = "";
    writer.stdout.on("data", (piece) => {
      said += String(piece);
    });
    expect((await once(writer, "close"))[0]).toBe(0);
    expect(said).toBe("ready\n0\n1\n");
    expect(readdirSync(folder)).toEqual([]);
  });

  test("is taken over from one who died while taking it over", async () => {
    const text = `${dead}\n${hostname()}\nx`;
    writeFileSync(lock(), text);
    const { ino, mtimeMs } = statSync(lock());
    const id = createHash("sha256").update(`${ino} ${mtimeMs} ${text}`).digest("hex").slice(0, 16);
    writeFileSync(`${lock()}.${id}`, `${dead}\n${hostname()}\ny`);
    await remember();
    expect(await remembered()).toEqual(["a"]);
    expect(readdirSync(folder)).toEqual(["ai-server.json"]);
  });

  test.each(["", "half a nam"])(
    "that names nobody (%j) is one of a process that died, once it is old",
    async (text) => {
      writeFileSync(lock(), text);
      const old = Date.now() / 1000 - 5;
      utimesSync(lock(), old, old);
      await remember();
      expect(await remembered()).toEqual(["a"]);
    },
  );

  test("of another machine is taken over when it is old", async () => {
    writeFileSync(lock(), `1\nelsewhere\nx`);
    await remember();
    expect(existsSync(file)).toBe(false);
    const old = Date.now() / 1000 - 31;
    utimesSync(lock(), old, old);
    await remember();
    expect(await remembered()).toEqual(["a"]);
  });
});
