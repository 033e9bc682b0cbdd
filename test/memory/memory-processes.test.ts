import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
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

/** @throws where the file is torn */
function remembered(): string[] {
  const content = JSON.parse(readFileSync(file, "utf8")) as {
    servers: Record<string, { models: Record<string, unknown> }>;
  };
  return Object.keys(content.servers[URL_ONE]?.models ?? {});
}

describe("several processes", () => {
  test("that write at the same time never leave a torn file", async () => {
    const writers = Array.from({ length: 8 }, (_, at) => start(`p${at}`, 25));
    const ended = Promise.all(writers.map((writer) => once(writer, "exit"))).then(() => true);
    while (!(await Promise.race([ended, setImmediate(false)]))) if (existsSync(file)) remembered();
    expect(remembered().length).toBeGreaterThan(24);
    expect(readdirSync(folder)).toEqual(["ai-server.json"]);
  }, 60_000);

  test("that write one after another keep each other's lines", async () => {
    for (const name of ["p", "q"]) await once(start(name, 5), "exit");
    expect(remembered()).toHaveLength(10);
  }, 60_000);

  test("killed at any moment leave a whole file", async () => {
    for (let seed = 1; seed <= 15; seed += 1) {
      const random = seeded(seed);
      const writer = start(`k${seed}`, 1000);
      // Waited for from the start: once its output is closed here, the writer may end by itself.
      const closed = once(writer, "close");
      let written = 0;
      const until = integer(random, 1, 4);
      for await (const chunk of writer.stdout) {
        written += String(chunk).split("\n").length - 1;
        if (written > until) break;
      }
      // A moment within the next write: the seed decides which one of its steps is hit.
      await new Promise((resolve) => setTimeout(resolve, random() * 14));
      writer.kill("SIGKILL");
      await closed;
      await memory.remember(URL_ONE, `after-${seed}`, { context: seed, seenAt: seed });
      const names = remembered();
      expect(names, `seed ${seed}`).toContain(`after-${seed}`);
      for (let round = 0; round < written - 1; round += 1) expect(names).toContain(`k${seed}-${round}`);
    }
    for (const name of readdirSync(folder)) utimesSync(join(folder, name), 1, 1);
    await memory.remember(URL_ONE, "last", { context: 1, seenAt: 1 });
    expect(readdirSync(folder)).toEqual(["ai-server.json"]);
  }, 60_000);
});

test("a temporary file is removed once its writer must be dead, and no other file is", async () => {
  const temporary = (id: string): string => `ai-server.json.${id}.tmp`;
  const [old, young] = ["0", "1"].map((digit) => temporary(`${digit.repeat(8)}-0000-4000-8000-000000000000`));
  for (const name of [old, young, "ai-server.json.bak", "ai-server.json.my.tmp"])
    writeFileSync(join(folder, String(name)), "");
  for (const name of [old, "ai-server.json.bak", "ai-server.json.my.tmp"])
    utimesSync(join(folder, String(name)), 1, 1);
  await memory.remember(URL_ONE, "a", { context: 1, seenAt: 1 });
  expect(readdirSync(folder).sort()).toEqual(
    ["ai-server.json", "ai-server.json.bak", "ai-server.json.my.tmp", young].sort(),
  );
});

test("a full disk is no error, and keeps no temporary file", async () => {
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
