import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { ServerMemory } from "../../host/fit/server-memory.ts";
import { RemoteMachine } from "../../host/ssh/machine.ts";
import { Shell, type ShellSettings, type Spawn } from "../../host/ssh/shell.ts";
import { caProgram } from "./ca-host.ts";
import { FILE, installWrapper, type Mode } from "./local-host.ts";
import { freePort } from "./network.ts";
import { eventually, killGroup, spawnGroup } from "./processes.ts";

/** What the key in use leads to: the user's own shell, one that knows no sh syntax, or one of the two forced commands. */
export type Login = "shell" | "fish" | "wrapper" | "ca";

/** Like fish: it greets, and it runs words; anything that only sh understands it refuses. */
const FISH_LIKE = `#!/bin/sh
echo 'Welcome to the friendly shell'
case $SSH_ORIGINAL_COMMAND in
  *[!a-zA-Z0-9\\ _-]*) echo "fish: Unsupported use" >&2; exit 127 ;;
esac
set -f
exec $SSH_ORIGINAL_COMMAND
`;

const CHATTY = `echo "Welcome, you have mail"; printf 'no line end'; echo "warning: locale" >&2\n`;

/**
 * A real sshd on a free port of 127.0.0.1 with keys of its own. As root it lets in a user made for it, whose folder
 * and startup files are the suite's; elsewhere the user who runs the tests.
 */
export class Sshd {
  readonly folder = mkdtempSync(join(tmpdir(), "sshd-test-"));
  /** The server user's programs, first on PATH. */
  readonly tools = join(this.folder, "tools");
  readonly home: string;
  readonly user: string;
  readonly port: number;
  readonly #isRoot = process.getuid?.() === 0;
  readonly #ids: { uid: number; gid: number };
  #server: ReturnType<typeof spawnGroup> | undefined;
  #log = "";

  static async start(): Promise<Sshd> {
    const sshd = new Sshd(await freePort());
    try {
      await sshd.#listen();
    } catch (error) {
      await sshd.stop();
      throw error;
    }
    return sshd;
  }

  private constructor(port: number) {
    this.port = port;
    chmodSync(this.folder, 0o755);
    mkdirSync(this.tools);
    this.home = join(this.folder, "home");
    this.user = this.#isRoot ? `pi-test-${process.pid}` : userInfo().username;
    if (this.#isRoot) {
      const args = ["--no-create-home", "--home-dir", this.home, "--shell", "/bin/bash", "--password", "*"];
      execFileSync("useradd", [...args, this.user], { stdio: "pipe" });
      // A test process that dies must not leave a user behind.
      process.once("exit", () => spawnSync("userdel", [this.user]));
    }
    const id = (flag: string) => Number(execFileSync("id", [flag, this.user], { encoding: "utf8" }));
    this.#ids = { uid: id("-u"), gid: id("-g") };
    mkdirSync(this.home);
    for (const name of [".bashrc", ".profile"]) writeFileSync(join(this.home, name), CHATTY);
    for (const path of [this.home, this.tools]) this.own(path);
    this.#writeKeys();
  }

  /** Logins so far. */
  get logins(): number {
    return this.#log.match(/Accepted publickey/g)?.length ?? 0;
  }

  /** Makes a file or folder the server user's. */
  own(path: string): void {
    chownSync(path, this.#ids.uid, this.#ids.gid);
  }

  tool(name: string, script: string): void {
    writeFileSync(join(this.tools, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }

  clearTools(): void {
    for (const name of readdirSync(this.tools)) rmSync(join(this.tools, name), { recursive: true });
  }

  /** A shell that goes through this sshd, with the options of `config` in the client's ssh_config. */
  shell(settings: ShellSettings, login: Login, config: readonly string[] = [], spawnWith = spawn): Shell {
    this.installWrapper(settings);
    const file = this.clientConfig(login, config);
    const here = ((program: string, args: string[], options: object) =>
      spawnWith(program, ["-F", file, ...args], options)) as Spawn;
    return new Shell(settings, here);
  }

  /** An ssh_config of its own for the client: the tester's keys and known hosts stay out. */
  clientConfig(login: Login, config: readonly string[] = []): string {
    const file = join(this.folder, `ssh_config-${login}`);
    const lines = [
      ...config,
      `Port ${this.port}`,
      `IdentityFile ${this.folder}/key-${login}`,
      "IdentitiesOnly yes",
      "IdentityAgent none",
      `UserKnownHostsFile ${this.folder}/known_hosts`,
      "GlobalKnownHostsFile /dev/null",
    ];
    writeFileSync(file, `${lines.join("\n")}\n`);
    return file;
  }

  /** Sets up `ai-server-admin` there, as an administrator would. */
  installWrapper(settings: ShellSettings): void {
    installWrapper(join(this.folder, "ai-server-admin"), settings);
  }

  /** The same for `ai-server-ca`, which uses what `installWrapper` puts beside it. */
  installCa(folder: string, reloadCommand: string): void {
    writeFileSync(join(this.folder, "ai-server-ca"), caProgram(folder, reloadCommand), { mode: 0o755 });
  }

  settings(presetPath: string, mode: Mode, change: Partial<ShellSettings> = {}): ShellSettings {
    return {
      host: `${this.user}@127.0.0.1`,
      mode,
      connectTimeoutMs: 10_000,
      keepMs: 20_000,
      presetPath,
      serviceUnit: "stand-in.service",
      restartCommand: undefined,
      ...change,
    };
  }

  /** Makes the host's key one that the client does not know (`empty`) or knows another of (`other`). */
  knownHosts(what: "right" | "empty" | "other"): void {
    const key = what === "other" ? "key-shell" : "host_key";
    const [type, value] = readFileSync(join(this.folder, `${key}.pub`), "utf8").split(" ");
    const line = what === "empty" ? "" : `[127.0.0.1]:${this.port} ${type} ${value}\n`;
    writeFileSync(join(this.folder, "known_hosts"), line);
  }

  /** Stops listening and accepts no new connection; open ones go on. */
  async stop(): Promise<void> {
    if (this.#server) {
      const ended = new Promise((resolve) => this.#server?.once("close", resolve));
      killGroup(this.#server, "SIGTERM");
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 5000))]);
      killGroup(this.#server);
    }
    if (this.#isRoot) {
      // A session may take a moment to end; until then its user is in use.
      await eventually("the user is removed", () =>
        [0, 6].includes(spawnSync("userdel", [this.user]).status ?? 1) ? true : undefined,
      );
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  #writeKeys(): void {
    for (const name of ["host_key", "key-shell", "key-fish", "key-wrapper", "key-ca"]) {
      const path = join(this.folder, name);
      execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path]);
    }
    const fish = join(this.folder, "fish-like");
    writeFileSync(fish, FISH_LIKE, { mode: 0o755 });
    const key = (name: string) => readFileSync(join(this.folder, `${name}.pub`), "utf8");
    const lines = [
      key("key-shell"),
      `command="${fish}" ${key("key-fish")}`,
      `restrict,command="sh ${this.folder}/ai-server-admin" ${key("key-wrapper")}`,
      `restrict,command="sh ${this.folder}/ai-server-ca" ${key("key-ca")}`,
    ];
    writeFileSync(join(this.folder, "authorized_keys"), lines.join(""));
    this.knownHosts("right");
  }

  async #listen(): Promise<void> {
    // Debian's init makes it; a container has none.
    if (this.#isRoot && !existsSync("/run/sshd")) mkdirSync("/run/sshd", { mode: 0o755 });
    const lines = [
      `Port ${this.port}`,
      "ListenAddress 127.0.0.1",
      `HostKey ${this.folder}/host_key`,
      `AuthorizedKeysFile ${this.folder}/authorized_keys`,
      `AllowUsers ${this.user}`,
      `SetEnv PATH=${this.tools}:/usr/local/bin:/usr/bin:/bin`,
      "StrictModes no",
      "UsePAM no",
      "PasswordAuthentication no",
      "KbdInteractiveAuthentication no",
      "PrintMotd no",
      "PidFile none",
      "MaxStartups 100",
      "LogLevel VERBOSE",
    ];
    const config = join(this.folder, "sshd_config");
    appendFileSync(config, `${lines.join("\n")}\n`);
    const program = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"].find(existsSync) ?? "sshd";
    this.#server = spawnGroup(program, ["-D", "-e", "-f", config], { stdio: ["ignore", "ignore", "pipe"] });
    this.#server.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#log += text;
    });
    await eventually("sshd listens", () => {
      if (this.#server?.exitCode !== null) throw new Error(`sshd ended at once: ${this.#log}`);
      return this.#log.includes("Server listening on") || undefined;
    });
  }
}

/** One folder of the server user's, reached through a real sshd; the counterpart of `LocalHost`. */
export class SshHost {
  readonly folder: string;
  readonly path: string;
  readonly sshd: Sshd;
  readonly login: Login;
  readonly #shells: Shell[] = [];
  #usual: Shell | undefined;

  constructor(sshd: Sshd, login: Login, text: string) {
    this.sshd = sshd;
    this.login = login;
    this.folder = mkdtempSync(join(sshd.home, "case-"));
    this.path = join(this.folder, FILE);
    writeFileSync(this.path, text, { mode: 0o640 });
    for (const path of [this.folder, this.path]) sshd.own(path);
  }

  get home(): string {
    return this.sshd.home;
  }

  get text(): string {
    return readFileSync(this.path, "utf8");
  }

  get backups(): string[] {
    return readdirSync(this.folder)
      .filter((name) => /^config\.yaml\.bak-\d{8}T\d{6}Z$/.test(name))
      .sort();
  }

  get leftovers(): string[] {
    return readdirSync(this.folder).filter((name) => name !== FILE && !/\.bak-\d{8}T\d{6}Z$/.test(name));
  }

  own(path: string): void {
    this.sshd.own(path);
  }

  tool(name: string, script: string): void {
    this.sshd.tool(name, script);
  }

  get tools(): string {
    return this.sshd.tools;
  }

  settings(change: Partial<ShellSettings> = {}): ShellSettings {
    return this.sshd.settings(this.path, this.login === "wrapper" ? "wrapper" : "direct", change);
  }

  /** The variables with which a pi reaches this machine: its `ssh` keeps to the suite's ssh_config. */
  variablesOfPi(): Record<string, string> {
    const { mode, host } = this.settings();
    const { PATH } = process.env;
    const bin = join(this.sshd.folder, "bin-of-pi");
    mkdirSync(bin, { recursive: true });
    const script = `#!/bin/sh\nPATH=${PATH} exec ssh -F '${this.sshd.clientConfig(this.login)}' "$@"\n`;
    writeFileSync(join(bin, "ssh"), script, { mode: 0o755 });
    this.sshd.installWrapper(this.settings());
    return { AI_SERVER_SSH_HOST: host, AI_SERVER_SSH_MODE: mode, PATH: `${bin}:${PATH}` };
  }

  shell(change: Partial<ShellSettings> = {}, spawnWith?: typeof spawn): Shell {
    const shell = this.sshd.shell(this.settings(change), this.login, [], spawnWith);
    this.#shells.push(shell);
    return shell;
  }

  /** Without a change of the settings always over the same connection. */
  machine(change?: Partial<ShellSettings>): RemoteMachine {
    if (change === undefined && this.#usual !== undefined) {
      this.sshd.installWrapper(this.#usual.settings);
      return new RemoteMachine(this.#usual, 20_000);
    }
    const shell = this.shell(change);
    if (change === undefined) this.#usual = shell;
    return new RemoteMachine(shell, 20_000);
  }

  /** Over the same connection too. */
  memory(): ServerMemory {
    this.machine();
    return new ServerMemory(this.#usual ?? this.shell());
  }

  async remove(): Promise<void> {
    await Promise.all(this.#shells.map((shell) => shell.close()));
    this.sshd.clearTools();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
