import { execFileSync, type SpawnSyncReturns, spawn, spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import {
  chownSync,
  copyFileSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { laptopKey, signingRequest } from "../../devices/keys.ts";
import { type DeviceList, serialOf } from "../../host/ca/devices.ts";
import { CaMachine } from "../../host/ca/machine.ts";
import { SharedConnection } from "../../host/ssh/control-socket.ts";
import { Shell, type ShellSettings, type Spawn } from "../../host/ssh/shell.ts";
import type { Mode } from "./local-host.ts";

const PROGRAMS = fileURLToPath(new URL("../../host", import.meta.url));

/** Root may do everything: the machine's side runs as nobody then, so that rights mean something. */
const NOBODY = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};

let authority: string | undefined;
/** Made once for a process: hundreds of tests want a CA, and none needs one of its own. */
function authorityFolder(): string {
  if (authority !== undefined) return authority;
  const folder = mkdtempSync(join(tmpdir(), "test-ca-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const line =
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -keyout ca-key.pem -out root-ca.pem";
  const args = [
    ...line.split(" "),
    "-subj",
    "/CN=Test CA",
    "-addext",
    "keyUsage=critical,keyCertSign,cRLSign",
  ];
  execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
  authority = folder;
  return folder;
}

/** `ai-server-ca` with its two values set. */
export function caProgram(folder: string, reloadCommand: string): string {
  const quoted = (value: string): string => `'${value.replaceAll("'", "'\\''")}'`;
  return readFileSync(join(PROGRAMS, "ai-server-ca"), "utf8")
    .replace(/^ca_folder=.*$/m, () => `ca_folder=${quoted(folder)}`)
    .replace(/^reload_command=.*$/m, () => `reload_command=${quoted(reloadCommand)}`);
}

export type CaShell = "dash" | "bash" | "busybox";
export const CA_SHELLS: readonly CaShell[] = ["dash", "bash", "busybox"];

/** A request for a device, with a key that nothing else needs. */
export async function requestFor(name: string): Promise<string> {
  return signingRequest(name, await laptopKey());
}

/** A machine that has a CA, reached without ssh: its shell is this machine's, run as another user where that is possible. */
export class CaHost {
  readonly root = mkdtempSync(join(tmpdir(), "ca host-"));
  /** The CA's folder. */
  readonly folder = join(this.root, "ai server-ca");
  readonly tools = join(this.root, "tools");
  readonly #shells: { close(): Promise<void> }[] = [];

  /** @param has whether there is a CA in the folder */
  constructor({ has = true, shell = "dash" }: { has?: boolean; shell?: CaShell } = {}) {
    execFileSync("mkdir", [this.tools]);
    symlinkSync(`/usr/bin/${shell}`, join(this.tools, "sh"));
    // Neither the Caddys of other tests nor a journal of this machine are this one's.
    this.tool("journalctl", "exit 1");
    for (const path of [this.root, this.tools]) this.own(path);
    if (!has) return;
    cpSync(authorityFolder(), this.folder, { recursive: true });
    for (const path of [this.folder, ...this.names().map((name) => join(this.folder, name))]) this.own(path);
  }

  own(path: string): void {
    if (NOBODY.uid !== undefined) chownSync(path, NOBODY.uid, NOBODY.gid);
  }

  tool(name: string, script: string): void {
    writeFileSync(join(this.tools, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }

  path(...names: string[]): string {
    return join(this.folder, ...names);
  }

  /** Names in a folder below the CA's, sorted. */
  names(...below: string[]): string[] {
    try {
      return readdirSync(join(this.folder, ...below)).sort();
    } catch {
      return [];
    }
  }

  /** Names of what Caddy admits, without their serial numbers. */
  get admitted(): string[] {
    return this.names("devices").map((name) => name.split(".")[0] ?? "");
  }

  get revoked(): string[] {
    return this.names("revoked").map((name) => name.split(".")[1] ?? "");
  }

  /** What a step that was cut off has left. */
  get leftovers(): string[] {
    return this.names().filter((name) => /tmp|lock|new/.test(name));
  }

  /**
   * @param reload what makes Caddy read the list; `true` is one that does nothing and succeeds
   * @param mode `wrapper`: the key is tied to `ai-server-ca`
   */
  machine(
    mode: Mode = "direct",
    { reload = "true", folder = this.folder }: { reload?: string | undefined; folder?: string } = {},
  ): CaMachine {
    const host = mode === "direct" ? "local" : "tester@127.0.0.1";
    const reloadCommand = reload === "" ? undefined : reload;
    if (mode === "wrapper") this.#install(folder, reload);
    const machine = new CaMachine({ host, folder, reloadCommand }, (asked) => this.#shell(host, asked));
    this.#shells.push(machine);
    return machine;
  }

  /** As an administrator would set both programs up, in one step. */
  #install(folder: string, reload: string): void {
    const text = caProgram(folder, reload);
    const path = join(this.tools, "ai-server-ca");
    writeFileSync(`${path}.new`, text, { mode: 0o755 });
    renameSync(`${path}.new`, path);
    copyFileSync(join(PROGRAMS, "ai-server-admin"), join(this.tools, "ai-server-admin"));
  }

  /** Runs the forced command as sshd does for its key: with any command line and any input. */
  forced(commandLine: string, input: string, env: Record<string, string> = {}): SpawnSyncReturns<string> {
    this.#install(this.folder, "true");
    return this.#forced(commandLine, input, env);
  }

  /** The same, with the program that it uses missing. */
  forcedAlone(commandLine: string, input: string): SpawnSyncReturns<string> {
    rmSync(join(this.tools, "ai-server-admin"), { force: true });
    return this.#forced(commandLine, input, {});
  }

  #forced(commandLine: string, input: string, env: Record<string, string>): SpawnSyncReturns<string> {
    return spawnSync("sh", [join(this.tools, "ai-server-ca")], {
      ...NOBODY,
      cwd: this.root,
      input,
      encoding: "utf8",
      env: { ...this.#env, ...env, SSH_ORIGINAL_COMMAND: commandLine },
    });
  }

  get #env(): NodeJS.ProcessEnv {
    const PATH = `${this.tools}${delimiter}${process.env.PATH ?? ""}`;
    return { ...process.env, HOME: this.root, PATH };
  }

  #shell(host: string, mode: ShellSettings["mode"]): Shell {
    const settings: ShellSettings = {
      host,
      mode,
      connectTimeoutMs: 2000,
      keepMs: 1000,
      presetPath: "~/none",
      serviceUnit: "none.service",
      restartCommand: undefined,
    };
    const env = this.#env;
    const options = { ...NOBODY, cwd: this.root };
    if (host === "local") {
      const here = ((program: string, args: string[], more: object) =>
        spawn(program, args, { ...more, ...options, env })) as Spawn;
      return new Shell(settings, here);
    }
    // As sshd runs a forced command.
    const asSshd = ((_ssh: string, args: string[], more: object) =>
      spawn("sh", [join(this.tools, "ai-server-ca")], {
        ...more,
        ...options,
        env: { ...env, SSH_ORIGINAL_COMMAND: args.at(-1) ?? "" },
      })) as Spawn;
    return new Shell(settings, asSshd, new SharedConnection(2000, 1000, []));
  }

  async list(mode: Mode = "direct"): Promise<DeviceList> {
    const found = await this.machine(mode).list();
    if ("missingIn" in found) throw new Error("There is no CA");
    return found;
  }

  /** Whether a certificate is of this CA, and for a client. */
  verify(certificate: string): string {
    const file = join(this.root, "verify.pem");
    writeFileSync(file, certificate);
    const args = ["verify", "-CAfile", this.path("root-ca.pem"), "-purpose", "sslclient", file];
    return execFileSync("openssl", args, { encoding: "utf8" }).trim().replace(/^.*: /, "");
  }

  async remove(): Promise<void> {
    await Promise.all(this.#shells.map((shell) => shell.close()));
    rmSync(this.root, { recursive: true, force: true });
  }
}

export function serialIn(certificate: string): string {
  return serialOf(new X509Certificate(certificate));
}
