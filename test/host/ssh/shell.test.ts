import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { EventEmitter } from "node:events";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import { SharedConnection } from "../../../host/ssh/control-socket.ts";
import { Shell, type ShellSettings, type Spawn } from "../../../host/ssh/shell.ts";
import { LocalHost } from "../../support/local-host.ts";
import { eventually } from "../../support/processes.ts";

const LIMITS = { timeoutMs: 5000 };
let host: LocalHost;
let shells: Shell[];

beforeEach(() => {
  host = new LocalHost("models: {}\n");
  shells = [];
});
afterEach(async () => {
  await Promise.all(shells.map((shell) => shell.close()));
  host.remove();
});

/** Ends the `ssh -O exit` that closes a shell: a fake ssh without it would be killed after two seconds. */
const MAY_CLOSE = `case "$*" in *-Oexit*) exit ;; esac`;

/** A shell whose `ssh` is a script of the test's. */
function fakeSsh(script: string, change: Partial<ShellSettings> = {}, connection?: SharedConnection): Shell {
  host.tool("ssh", script);
  const env = { ...process.env, PATH: `${host.tools}${delimiter}${process.env.PATH}` };
  const spawnHere = ((program: string, args: string[], options: object) =>
    spawn(program, args, { ...options, env })) as Spawn;
  const settings = host.settings({ host: "ai@127.0.0.1", connectTimeoutMs: 1500, ...change });
  const shell = new Shell(settings, spawnHere, connection);
  shells.push(shell);
  return shell;
}

test("passes ssh fixed options, the host after --, and a command of fixed words", async () => {
  const shell = fakeSsh(`printf '%s\\n' "$@" >'${host.folder}/args'; shift $(($# - 1)); exec $1`);
  await shell.ask({ verb: ["read"] }, LIMITS);
  const args = readFileSync(join(host.folder, "args"), "utf8").trimEnd().split("\n");
  expect(args.slice(-3)).toEqual(["--", "ai@127.0.0.1", "sh -s"]);
  expect(args).toContain("-oBatchMode=yes");
  expect(args).toContain("-oConnectTimeout=2");
  expect(args.join(" ")).not.toMatch(/StrictHostKey|UserKnownHosts|config\.yaml/);
  await shell.close();
});

test("passes a wrapper the verb, and reports one that does not answer", async () => {
  const shell = fakeSsh(`for last; do :; done; echo "$last" >'${host.folder}/verb'; exit 1`, {
    mode: "wrapper",
  });
  await expect(shell.ask({ verb: ["write", "a".repeat(64)] }, LIMITS)).rejects.toMatchObject({
    code: "unanswered",
  });
  expect(readFileSync(join(host.folder, "verb"), "utf8")).toBe(`write ${"a".repeat(64)}\n`);
  await shell.close();
});

test("takes neither a greeting nor an echo of the input for an answer", async () => {
  const noise = "echo 'Welcome!'; printf 'no line end'; echo 'error missing' >&2;";
  const shell = fakeSsh(`${noise} sh -s; echo bye; exit 7`);
  expect((await shell.ask({ verb: ["read"] }, LIMITS)).error).toBeUndefined();
  const echo = fakeSsh("exec cat");
  await expect(echo.ask({ verb: ["read"] }, LIMITS)).rejects.toMatchObject({ code: "unanswered" });
});

test.each([
  ["ssh: connect to host 127.0.0.1 port 22: Connection refused", /refuses ssh connections/],
  ["Host key verification failed.", /does not know the host key/],
  ["ai@127.0.0.1: Permission denied (publickey).", /does not accept this user's key/],
])("explains ssh's own failure: %s", async (stderr, sentence) => {
  const shell = fakeSsh(`echo '${stderr}' >&2; exit 255`);
  await expect(shell.ask({ verb: ["read"] }, LIMITS)).rejects.toMatchObject({
    name: "HostError",
    link: "ssh",
    message: expect.stringMatching(sentence),
  });
});

test("says what to install where ssh cannot be started", async () => {
  const shell = new Shell(host.settings({ host: "ai@127.0.0.1" }), ((
    program: string,
    args: string[],
    options: object,
  ) => spawn(`/nowhere/${program}`, args, options)) as Spawn);
  await expect(shell.ask({ verb: ["read"] }, LIMITS)).rejects.toThrow(
    /^This machine cannot start ssh\..*openssh-client/,
  );
  await shell.close();
});

test("ends a step that takes too long, with every process of its group", async () => {
  const shell = fakeSsh(
    `${MAY_CLOSE}; echo $$ >'${host.folder}/pid'; sleep 60 & echo $! >>'${host.folder}/pid'; wait`,
    {
      connectTimeoutMs: 100,
    },
  );
  await expect(shell.ask({ verb: ["read"] }, { timeoutMs: 300 })).rejects.toMatchObject({ code: "timeout" });
  const pids = readFileSync(join(host.folder, "pid"), "utf8").trimEnd().split("\n");
  expect(pids).toHaveLength(2);
  await eventually("both have ended", () => !pids.some((pid) => runs(Number(pid))) || undefined);
});

test("an abort ends the wait at once, and sends nothing more", async () => {
  const cancel = new AbortController();
  const shell = fakeSsh(`${MAY_CLOSE}; echo $$ >'${host.folder}/pid'; exec sleep 60`);
  const asked = shell.ask({ verb: ["restart"] }, { ...LIMITS, signal: cancel.signal });
  await eventually("it has begun", () => existsSync(join(host.folder, "pid")) || undefined);
  const began = Date.now();
  cancel.abort(new Error("enough"));
  await expect(asked).rejects.toThrow("enough");
  expect(Date.now() - began).toBeLessThan(500);
  await expect(shell.ask({ verb: ["read"] }, { ...LIMITS, signal: cancel.signal })).rejects.toThrow("enough");
});

test("stops reading when there is more text than in any answer", async () => {
  const shell = fakeSsh(`${MAY_CLOSE}; exec yes`);
  await expect(shell.ask({ verb: ["read"] }, LIMITS)).rejects.toThrow(/far more text than expected/);
});

test("reads an answer that has come while this process was busy, before it gives up waiting for it", async () => {
  const child = Object.assign(new EventEmitter(), {
    stdin: new PassThrough(),
    stdout: new PassThrough(),
    stderr: new PassThrough(),
  });
  const busy = (() => {
    setImmediate(() => {
      // Node may report the end of a program before it has read its output.
      child.emit("exit", 0);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600);
      setImmediate(() => {
        const nonce = /[0-9a-f]{32}/.exec(String(child.stdin.read()))?.[0];
        child.stdout.end(`\n${nonce} begin\n${nonce} end\n`);
      });
    });
    return child;
  }) as unknown as Spawn;
  const shell = new Shell(host.settings({ host: "local" }), busy);
  expect((await shell.ask({ verb: ["read"] }, LIMITS)).error).toBeUndefined();
});

test("gives the answer while a helper of ssh keeps the pipe open", async () => {
  const shell = fakeSsh(`(sleep 20) & echo $! >'${host.folder}/pid'; sh -s`);
  const began = Date.now();
  await shell.ask({ verb: ["read"] }, LIMITS);
  expect(Date.now() - began).toBeLessThan(4000);
  process.kill(Number(readFileSync(join(host.folder, "pid"), "utf8")));
});

test("puts the control socket in a private folder with a short path, and removes it on closing", async () => {
  const connection = new SharedConnection(1000, 60_000);
  const shell = fakeSsh(`printf '%s\\n' "$@" >>'${host.folder}/args'; sh -s`, {}, connection);
  await shell.ask({ verb: ["read"] }, LIMITS);
  const { folder = "" } = connection;
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  expect(`${folder}/s.${"x".repeat(16)}`.length).toBeLessThan(104);
  await shell.close();
  expect(existsSync(folder)).toBe(false);
  const args = readFileSync(join(host.folder, "args"), "utf8");
  expect(args).toContain(`-oControlPath=${folder}/s\n`);
  expect(args).toContain("-oControlPersist=60\n");
  expect(args).toContain("-Oexit\n");
  await shell.close();
});

test("keeps its own folder when a leftover beside it disappears or leads nowhere", async () => {
  const parent = mkdtempSync(join(tmpdir(), "leftovers-"));
  const connection = new SharedConnection(1000, 60_000, [parent]);
  symlinkSync("/nowhere", join(parent, "pi-ssh-999999999-gone"));
  connection.options();
  expect(connection.folder).toMatch(new RegExp(`^${parent}/`));
  connection.removeFolder();
  expect(readdirSync(parent)).toEqual(["pi-ssh-999999999-gone"]);
  rmSync(parent, { recursive: true });
});

test("after an answer, nothing keeps the process from ending", () => {
  const text = `import { Shell } from ${JSON.stringify(new URL("../../../host/ssh/shell.ts", import.meta.url).href)};
    await new Shell(${JSON.stringify(host.settings())}).ask({ verb: ["read"] }, { timeoutMs: 5000 });
    const answered = performance.now();
    process.on("exit", () => console.log(performance.now() - answered));`;
  const args = ["--input-type=module", "-e", text];
  const lastedMs = Number(execFileSync(process.execPath, args, { encoding: "utf8" }));
  expect(lastedMs).toBeLessThan(400);
});

test("passes no secret of this extension to a command that restarts this machine's server", async () => {
  const secrets = ["AI_SERVER_API_KEY", "AI_SERVER_CLIENT_KEY_PASSPHRASE", "HF_TOKEN"];
  for (const name of secrets) process.env[name] = "of-the-test";
  process.env.OTHER_OF_THE_TEST = "stays";
  try {
    const shell = new Shell(host.settings({ restartCommand: `env >'${host.folder}/seen'` }));
    expect((await shell.ask({ verb: ["restart"] }, LIMITS)).error).toBeUndefined();
  } finally {
    for (const name of [...secrets, "OTHER_OF_THE_TEST"]) delete process.env[name];
  }
  const seen = readFileSync(join(host.folder, "seen"), "utf8");
  expect(seen).toContain("OTHER_OF_THE_TEST=stays");
  expect(seen).not.toMatch(/of-the-test/);
});

test("accepts a complete answer of a program that does not end", async () => {
  const shell = fakeSsh(`${MAY_CLOSE}; sh -s; exec sleep 60`, { connectTimeoutMs: 100 });
  expect((await shell.ask({ verb: ["read"] }, { timeoutMs: 800 })).error).toBeUndefined();
});

test("stops reading when there is more noise than any login makes", async () => {
  const shell = fakeSsh(`${MAY_CLOSE}; exec yes >&2`);
  await expect(shell.ask({ verb: ["read"] }, LIMITS)).rejects.toThrow(/far more text than expected/);
});

test("reports an ssh that complains of its control socket even without one", async () => {
  const shell = fakeSsh("echo 'ControlPath too long' >&2; exit 255");
  await expect(shell.ask({ verb: ["read"] }, LIMITS)).rejects.toMatchObject({ name: "HostError" });
});

test("works without sharing where no short private folder can be made", async () => {
  const long = mkdtempSync(join(tmpdir(), `${"x".repeat(90)}-`));
  const connection = new SharedConnection(1000, 60_000, [long, "/nowhere"]);
  const shell = fakeSsh(`printf '%s\\n' "$@" >>'${host.folder}/args'; sh -s`, {}, connection);
  await shell.ask({ verb: ["read"] }, LIMITS);
  await shell.close();
  expect(readFileSync(join(host.folder, "args"), "utf8")).toContain("-oControlPath=none");
  expect(readdirSync(long)).toEqual([]);
  rmSync(long, { recursive: true });
});

test("asks again without sharing where ssh cannot share", async () => {
  const refusal = "mux_client_request_session: session request failed: Session open refused by peer";
  const shell = fakeSsh(`case "$*" in *ControlMaster=auto*) echo '${refusal}' >&2; exit 255 ;; esac; sh -s`);
  expect((await shell.ask({ verb: ["read"] }, LIMITS)).error).toBeUndefined();
  await shell.close();
});

test("removes the folder that a killed process left, and no other", () => {
  const parent = mkdtempSync(join(tmpdir(), "leftovers-"));
  try {
    const old = mkdtempSync(join(parent, "pi-ssh-999999999-"));
    const mine = mkdtempSync(join(parent, `pi-ssh-${process.pid}-`));
    utimesSync(old, new Date(0), new Date(0));
    utimesSync(mine, new Date(0), new Date(0));
    const connection = new SharedConnection(1000, 60_000, [parent]);
    connection.options();
    expect(existsSync(old)).toBe(false);
    expect(existsSync(mine)).toBe(true);
    connection.removeFolder();
  } finally {
    rmSync(parent, { recursive: true });
  }
});

test("puts no path, name or content into the arguments of a process", async () => {
  const seen: string[] = [];
  const shell = new Shell(
    host.settings({ presetPath: "/secret/path.yaml", restartCommand: "echo secret command" }),
    ((program: string, args: string[], options: object): ChildProcess => {
      seen.push([program, ...args].join(" "));
      return spawn(program, args, options);
    }) as Spawn,
  );
  const content = Buffer.from("apiKeys: [secret]");
  await shell.ask({ verb: ["write", "0".repeat(64)], name: "secret.yaml", content }, LIMITS);
  expect(seen).toEqual(["sh -s"]);
});

/** A zombie does not run: the first process of a container may take seconds to collect it. */
function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
