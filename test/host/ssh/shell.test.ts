import { type ChildProcess, execFileSync, spawn } from "node:child_process";
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

test("ssh gets fixed options, the host behind --, and a command of fixed words", async () => {
  const shell = fakeSsh(`printf '%s\\n' "$@" >'${host.folder}/args'; shift $(($# - 1)); exec $1`);
  await shell.ask({ verb: ["read"] }, LIMITS);
  const args = readFileSync(join(host.folder, "args"), "utf8").trimEnd().split("\n");
  expect(args.slice(-3)).toEqual(["--", "ai@127.0.0.1", "sh -s"]);
  expect(args).toContain("-oBatchMode=yes");
  expect(args).toContain("-oConnectTimeout=2");
  expect(args.join(" ")).not.toMatch(/StrictHostKey|UserKnownHosts|config\.yaml/);
  await shell.close();
});

test("a wrapper gets the verb, and its answer is read the same", async () => {
  const shell = fakeSsh(`for last; do :; done; echo "$last" >'${host.folder}/verb'; exit 1`, {
    mode: "wrapper",
  });
  await expect(shell.ask({ verb: ["write", "a".repeat(64)] }, LIMITS)).rejects.toMatchObject({
    code: "unanswered",
  });
  expect(readFileSync(join(host.folder, "verb"), "utf8")).toBe(`write ${"a".repeat(64)}\n`);
  await shell.close();
});

test("neither a greeting nor an echo of the input is taken for an answer", async () => {
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
])("ssh's own failure has a sentence: %s", async (stderr, sentence) => {
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

test("a step that takes too long ends, with its group", async () => {
  const shell = fakeSsh(`echo $$ >'${host.folder}/pid'; sleep 60 & wait`, { connectTimeoutMs: 100 });
  await expect(shell.ask({ verb: ["read"] }, { timeoutMs: 300 })).rejects.toMatchObject({ code: "timeout" });
  const pid = Number(readFileSync(join(host.folder, "pid"), "utf8"));
  await eventually("the group has ended", () => (groupLives(pid) ? undefined : true));
});

test("an abort ends the wait at once, and nothing that was not sent is done", async () => {
  const cancel = new AbortController();
  const shell = fakeSsh(`echo $$ >'${host.folder}/pid'; sleep 60`);
  const asked = shell.ask({ verb: ["restart"] }, { ...LIMITS, signal: cancel.signal });
  await eventually("it has begun", () => existsSync(join(host.folder, "pid")) || undefined);
  const began = Date.now();
  cancel.abort(new Error("enough"));
  await expect(asked).rejects.toThrow("enough");
  expect(Date.now() - began).toBeLessThan(500);
  await expect(shell.ask({ verb: ["read"] }, { ...LIMITS, signal: cancel.signal })).rejects.toThrow("enough");
});

test("more text than any answer has is not read on", async () => {
  const shell = fakeSsh("exec yes");
  await expect(shell.ask({ verb: ["read"] }, LIMITS)).rejects.toThrow(/far more text than expected/);
});

test("a helper that keeps the pipe open does not keep the answer", async () => {
  const shell = fakeSsh(`(sleep 20) & echo $! >'${host.folder}/pid'; sh -s`);
  const began = Date.now();
  await shell.ask({ verb: ["read"] }, LIMITS);
  expect(Date.now() - began).toBeLessThan(4000);
  process.kill(Number(readFileSync(join(host.folder, "pid"), "utf8")));
});

test("the control socket lies in a private folder with a short path, which is gone afterwards", async () => {
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

test("a leftover that goes, or leads nowhere, does not cost the folder that was just made", async () => {
  const parent = mkdtempSync(join(tmpdir(), "leftovers-"));
  const connection = new SharedConnection(1000, 60_000, [parent]);
  symlinkSync("/nowhere", join(parent, "pi-ssh-999999999-gone"));
  connection.options();
  expect(connection.folder).toMatch(new RegExp(`^${parent}/`));
  connection.removeFolder();
  expect(readdirSync(parent)).toEqual(["pi-ssh-999999999-gone"]);
  rmSync(parent, { recursive: true });
});

test("after an answer nothing keeps a process that could end", () => {
  const text = `import { Shell } from ${JSON.stringify(new URL("../../../host/ssh/shell.ts", import.meta.url).href)};
    await new Shell(${JSON.stringify(host.settings())}).ask({ verb: ["read"] }, { timeoutMs: 5000 });
    const answered = performance.now();
    process.on("exit", () => console.log(performance.now() - answered));`;
  const args = ["--input-type=module", "-e", text];
  const lastedMs = Number(execFileSync(process.execPath, args, { encoding: "utf8" }));
  expect(lastedMs).toBeLessThan(400);
});

test("a command that restarts this machine's server gets no secret of this extension's", async () => {
  const secrets = ["AI_SERVER_API_KEY", "AI_SERVER_CLIENT_KEY_PASSPHRASE"];
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

test("an answer counts that is whole, though the program does not end", async () => {
  const shell = fakeSsh(`sh -s; sleep 60`, { connectTimeoutMs: 100 });
  expect((await shell.ask({ verb: ["read"] }, { timeoutMs: 1500 })).error).toBeUndefined();
});

test("more noise than any login makes is not read on", async () => {
  const shell = fakeSsh("exec yes >&2");
  await expect(shell.ask({ verb: ["read"] }, LIMITS)).rejects.toThrow(/far more text than expected/);
});

test("an ssh that refuses its own control socket also without one is reported", async () => {
  const shell = fakeSsh("echo 'ControlPath too long' >&2; exit 255");
  await expect(shell.ask({ verb: ["read"] }, LIMITS)).rejects.toMatchObject({ name: "HostError" });
});

test("where no short private folder can be made it works without sharing", async () => {
  const long = mkdtempSync(join(tmpdir(), `${"x".repeat(90)}-`));
  const connection = new SharedConnection(1000, 60_000, [long, "/nowhere"]);
  const shell = fakeSsh(`printf '%s\\n' "$@" >>'${host.folder}/args'; sh -s`, {}, connection);
  await shell.ask({ verb: ["read"] }, LIMITS);
  await shell.close();
  expect(readFileSync(join(host.folder, "args"), "utf8")).toContain("-oControlPath=none");
  expect(readdirSync(long)).toEqual([]);
  rmSync(long, { recursive: true });
});

test("an ssh that cannot share is asked once more without", async () => {
  const refusal = "mux_client_request_session: session request failed: Session open refused by peer";
  const shell = fakeSsh(`case "$*" in *ControlMaster=auto*) echo '${refusal}' >&2; exit 255 ;; esac; sh -s`);
  expect((await shell.ask({ verb: ["read"] }, LIMITS)).error).toBeUndefined();
  await shell.close();
});

test("what a process left that was killed is removed by a later one", () => {
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

test("no argument of any process holds a path, a name or a content", async () => {
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

function groupLives(pid: number): boolean {
  try {
    process.kill(-pid, 0);
    return true;
  } catch {
    return false;
  }
}
