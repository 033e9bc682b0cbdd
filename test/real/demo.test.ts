import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, type onTestFinished, test } from "vitest";
import { choose, wordsOf } from "../support/admin-terminal.ts";
import { eventually } from "../support/processes.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { Terminal } from "../support/terminal.ts";

const DEMO = fileURLToPath(new URL("../../sim/demo.ts", import.meta.url));
const PREFIX = "pi-ai-server-demo-";
// Each demo starts pi twice: seconds alone, minutes where a dozen others do the same.
const LIMIT_MS = 300_000;

/** A home and a temporary folder of one test's own, and the demos that run in them. */
class Room {
  readonly home = mkdtempSync(join(tmpdir(), "demo-test-home-"));
  readonly temporary = mkdtempSync(join(tmpdir(), "demo-test-tmp-"));
  readonly #running: number[] = [];

  constructor(cleanUp: typeof onTestFinished) {
    cleanUp(() => {
      for (const pid of this.#running) for (const each of [...childrenOf(pid), pid]) kill(each);
      for (const dir of [this.home, this.temporary]) rmSync(dir, { recursive: true, maxRetries: 5 });
    });
  }

  /** Starts the demo; what it prints is read when it has ended. */
  demo(...args: string[]) {
    // Variables of the user's own server must not reach the demo's pi.
    const foreign = { AI_SERVER_URL: "https://127.0.0.1:9", AI_SERVER_CLIENT_KEY: "/nowhere.pem" };
    const env = { ...process.env, ...foreign, HOME: this.home, TMPDIR: this.temporary };
    const child = spawn(process.execPath, [DEMO, ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
    const pid = child.pid ?? 0;
    this.#running.push(pid);
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => {
      stdout += chunk;
    });
    child.stderr.on("data", (chunk) => {
      stderr += chunk;
    });
    const ended = once(child, "close").then(([status, signal]) => ({ status, signal, stdout, stderr }));
    return { child, pid, ended };
  }

  /** Starts a demo whose model says nothing for a minute, and waits until its pi, the second one, has it loaded. */
  async demoInTurn() {
    const { child, pid, ended } = this.demo("-p", "sim: silent 60");
    let early: unknown;
    void ended.then((end) => {
      early = end;
    });
    const piPid = await eventually(
      "the demo's second pi has its model loaded",
      () => {
        if (early !== undefined) throw new Error(`The demo has ended: ${JSON.stringify(early)}`);
        return this.#journal().includes("Health check passed") ? childrenOf(pid)[0] : undefined;
      },
      LIMIT_MS / 2,
      250,
    );
    return { child, pid, piPid, ended };
  }

  /** What the stand-in of the only demo has logged. */
  #journal(): string {
    const [folder = ""] = this.leftovers();
    const path = join(this.temporary, folder, "server", "journal");
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  }

  leftovers(): string[] {
    return readdirSync(this.temporary).filter((name) => name.startsWith(PREFIX));
  }
}

/** Needs /proc: where there is none, nothing is found and the test that asks fails. */
function childrenOf(parent: number): number[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => {
    const status = readProcess(pid, "status");
    return status.includes(`\nPPid:\t${parent}\n`) && !isZombie(status);
  });
}

function readProcess(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}

function isZombie(status: string): boolean {
  return status.includes("\nState:\tZ");
}

function isGone(pid: number): boolean {
  const status = readProcess(pid, "status");
  return status === "" || isZombie(status);
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

describe.concurrent("the demo", { timeout: LIMIT_MS }, () => {
  test("without a terminal administers its own stand-in, prints the answer, exits 0 and leaves nothing behind", async ({
    expect,
    onTestFinished,
  }) => {
    const room = new Room(onTestFinished);
    const said = ["/ai-server-status --ssh", "What files are in this folder?"];
    const { status, stdout } = await room.demo("-p", ...said).ended;
    expect(stdout).toMatch(/^this machine: reachable$/m);
    // Never a service of the user's own.
    expect(stdout).toMatch(/^ai-server-demo\.service: .*restarted by your own command$/m);
    expect(stdout).toMatch(
      new RegExp(`^${join(room.temporary, PREFIX)}[^:]*config\\.yaml: .*\\d models$`, "m"),
    );
    // The model has called bash, pi has run it, and the model quotes what came back.
    const listed = "The folder has 3 files: README.md, test_word_count.py, word_count.py.";
    expect([status, stdout]).toEqual([0, expect.stringMatching(new RegExp(`\n${listed}\n$`))]);
    expect(readdirSync(room.home)).toEqual([]);
    expect(room.leftovers()).toEqual([]);
  });

  test.for([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)(
    "on %s stops pi, removes its folder and exits with %i",
    async ([signal, expected], { expect, onTestFinished }) => {
      const room = new Room(onTestFinished);
      const { child, piPid, ended } = await room.demoInTurn();
      expect(room.leftovers()).toHaveLength(1);
      child.kill(signal);
      expect(await ended).toMatchObject({ status: expected, signal: null });
      expect(isGone(piPid)).toBe(true);
      expect(room.leftovers()).toEqual([]);
    },
  );

  test("has three faults for the doctor to find, and no other", async ({ expect, onTestFinished }) => {
    const room = new Room(onTestFinished);
    const { status, stdout } = await room.demo("-p", "/ai-server-doctor").ended;
    // Once in their place, and once more at the end.
    const faults = new Set(stdout.match(/^[!✗] (?!Disk).*: .*$/gm));
    expect([...faults]).toEqual([
      expect.stringContaining('ignores the key "Hooks"'),
      expect.stringContaining(
        "gemma-4-E4B-it-Q4_K_M: --parallel 2 leaves a request 32768 of its 65536 tokens, and capabilities.context says 49152",
      ),
      expect.stringContaining("MiniMax-M2.7-IQ3_XXS: its command holds a secret (--hf-token)"),
    ]);
    expect(stdout).not.toContain("hf_made_up");
    expect(status).toBe(0);
  });

  test("says which variable to set where it has no folder for temporary files", ({
    expect,
    onTestFinished,
  }) => {
    const room = new Room(onTestFinished);
    const env = { ...process.env, HOME: room.home, TMPDIR: join(room.temporary, "absent") };
    const { status, stderr } = spawnSync(process.execPath, [DEMO, "-p", "hi"], { env, encoding: "utf8" });
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /^The demo needs a folder for temporary files: .*absent.*\. Set TMPDIR to one .*\.\n$/,
    );
  });

  test("removes its folder when its pi is killed", async ({ expect, onTestFinished }) => {
    const room = new Room(onTestFinished);
    const { piPid, ended } = await room.demoInTurn();
    process.kill(piPid, "SIGKILL");
    expect(await ended).toMatchObject({ status: 137, signal: null });
    expect(room.leftovers()).toEqual([]);
  });

  test("ends pi when it is killed itself, and the next demo removes its folder and no other", async ({
    expect,
    onTestFinished,
  }) => {
    const room = new Room(onTestFinished);
    const { child, pid, piPid, ended } = await room.demoInTurn();
    child.kill("SIGKILL");
    expect(await ended).toMatchObject({ signal: "SIGKILL" });
    await eventually("pi has ended", () => isGone(piPid) || undefined);
    const [left = ""] = room.leftovers();
    expect(left).toMatch(new RegExp(`^${PREFIX}${pid}-`));

    const ofTheLiving = join(room.temporary, `${PREFIX}${process.pid}-AAAAAA`);
    mkdirSync(ofTheLiving);
    const link = join(room.temporary, `${PREFIX}${pid}-BBBBBB`);
    symlinkSync(room.home, link);
    const next = room.demo();
    await eventually(
      "the next demo removes the folder of the killed one",
      () => !room.leftovers().includes(left) || undefined,
    );
    next.child.kill("SIGTERM");
    expect((await next.ended).status).toBe(143);
    expect(room.leftovers().sort()).toEqual([ofTheLiving, link].map((path) => basename(path)).sort());
    expect(existsSync(room.home)).toBe(true);
  });
});

realSuite(missingProgram("tmux", "openssl"), "the demo in a terminal", () => {
  test("shows the footer and its server's journal, warns of nothing, and ends without naming its session", {
    timeout: LIMIT_MS,
  }, async ({ expect, onTestFinished }) => {
    const room = new Room(onTestFinished);
    // Where pi would warn of its settings.
    const tools = join(room.home, "bin");
    mkdirSync(tools);
    writeFileSync(join(tools, "tmux"), "#!/bin/sh\necho off\n", { mode: 0o755 });
    const env = {
      // Without the fd and rg of the tests.
      PATH: `${tools}:/usr/local/bin:/usr/bin:/bin`,
      HOME: room.home,
      TMPDIR: room.temporary,
      LANG: "C.UTF-8",
      TMUX: "/nowhere,1,0",
    };
    const size = { columns: 80, rows: 24 };
    const terminal = await Terminal.start({
      command: process.execPath,
      args: [DEMO],
      cwd: room.home,
      env,
      ...size,
    });
    onTestFinished(() => terminal.close());
    const first = await terminal.waitFor(/^no model loaded$/m, LIMIT_MS / 2);
    expect(first).toMatch(/^ +What files are in this folder\?$/m);
    expect(first).toMatch(/\/word-count$/m);
    await terminal.submit("What files are in this folder?");
    await terminal.waitFor(/The folder has 3 files/);
    await terminal.submit("/ai-server-logs");
    await terminal.waitFor(/^Journal of ai-server-demo\.service$[\s\S]* llama-swap\[\d+\]: \[INFO\]/m);
    await terminal.press("Escape");
    await terminal.waitFor(/^Qwen3\.6-35B-A3B-Q8_0 ready/m);
    await terminal.press("C-d");
    expect(await terminal.exitCode()).toBe(0);
    const all = await terminal.history();
    expect(all).toContain("The demo is over; its files are removed.");
    expect(all).not.toMatch(/warning|not found|resume/i);
    expect(room.leftovers()).toEqual([]);
  });

  test("has a CA with two devices: a phone that can be revoked, and this laptop, which can be renewed", {
    timeout: LIMIT_MS,
  }, async ({ expect, onTestFinished }) => {
    const room = new Room(onTestFinished);
    const env = {
      PATH: "/usr/local/bin:/usr/bin:/bin",
      HOME: room.home,
      TMPDIR: room.temporary,
      LANG: "C.UTF-8",
    };
    const terminal = await Terminal.start({
      command: process.execPath,
      args: [DEMO],
      cwd: room.home,
      env,
      columns: 80,
      rows: 24,
    });
    onTestFinished(() => terminal.close());
    await terminal.waitFor(/^no model loaded$/m, LIMIT_MS / 2);
    await terminal.submit("/ai-server-devices");
    await terminal.waitFor(/^→ laptop \(this device\)[\s\S]*^ {2}phone /m);
    await terminal.type("e");
    await choose(terminal, "Renew");
    const renewed = await terminal.waitFor(/^This laptop is enrolled as laptop/m);
    expect(renewed).toMatch(/^The server admits it\.$/m);
    await terminal.press("Down");
    await terminal.waitFor(/^→ phone/m);
    await terminal.type("r");
    await choose(terminal, "Revoke");
    await terminal.waitFor(/^phone was revoked\.$/m);
    await terminal.press("Escape");
    // The list says so too: the results are there once it has gone.
    await terminal.waitFor(/^(?![\s\S]*escape leave)[\s\S]*still gets in/);
    expect(wordsOf(await terminal.history())).toContain(
      "Tried: the server refuses the old certificate of laptop.",
    );
    await terminal.press("C-d");
    expect(await terminal.exitCode()).toBe(0);
    expect(room.leftovers()).toEqual([]);
  });
});
