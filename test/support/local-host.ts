import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import {
  chownSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ServerMemory } from "../../host/fit/server-memory.ts";
import { SharedConnection } from "../../host/ssh/control-socket.ts";
import { RemoteMachine } from "../../host/ssh/machine.ts";
import { Shell, type ShellSettings, type Spawn } from "../../host/ssh/shell.ts";

/** The file's name in every folder of these tests. */
export const FILE = "config.yaml";

export const WRAPPER = fileURLToPath(new URL("../../host/ai-server-admin", import.meta.url));

export type Mode = ShellSettings["mode"];

/** Root may do everything: the server's side runs as nobody then, so that rights mean something. */
const NOBODY = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};

/** A temporary folder with a configuration, and this machine's shell as the way to it. */
export class LocalHost {
  readonly folder = mkdtempSync(join(tmpdir(), "local host-"));
  readonly path = join(this.folder, FILE);
  private readonly extra = mkdtempSync(join(tmpdir(), "local-host-tools-"));

  constructor(text: string) {
    writeFileSync(this.path, text, { mode: 0o640 });
    for (const path of [this.folder, this.path, this.extra]) this.own(path);
  }

  /** Makes a file or folder the server user's. */
  own(path: string): void {
    if (NOBODY.uid !== undefined) chownSync(path, NOBODY.uid, NOBODY.gid);
  }

  get text(): string {
    return readFileSync(this.path, "utf8");
  }

  /** Everything in the folder that is neither the file nor a backup. */
  get leftovers(): string[] {
    return readdirSync(this.folder).filter((name) => name !== FILE && !/\.bak-\d{8}T\d{6}Z$/.test(name));
  }

  get backups(): string[] {
    return readdirSync(this.folder)
      .filter((name) => /^config\.yaml\.bak-\d{8}T\d{6}Z$/.test(name))
      .sort();
  }

  /** Where the scripts run, and where what they must not run would leave a file. */
  get home(): string {
    return this.folder;
  }

  /** A folder for programs that stand in for others. */
  get tools(): string {
    return this.extra;
  }

  tool(name: string, script: string): void {
    writeFileSync(join(this.extra, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }

  /** A clock that shows a later second at each look: no backup waits until the second of the last one is over. */
  hurryClock(): void {
    const looks = join(this.extra, "looks");
    writeFileSync(looks, "0\n");
    this.own(looks);
    const minute = new Date().toISOString().slice(0, 16).replace(/[-:]/g, "");
    this.tool("date", `read -r n <'${looks}'; echo $((n + 1)) >'${looks}'; printf '${minute}%02dZ\\n' "$n"`);
  }

  settings(change: Partial<ShellSettings> = {}): ShellSettings {
    return {
      host: "local",
      mode: "direct",
      connectTimeoutMs: 2000,
      keepMs: 1000,
      presetPath: this.path,
      serviceUnit: "stand-in.service",
      restartCommand: undefined,
      ...change,
    };
  }

  /**
   * A shell in either mode, with the stand-in programs first on its PATH. The wrapper is run as sshd would run it:
   * with the verb in SSH_ORIGINAL_COMMAND and its settings in the file.
   */
  shell(mode: Mode = "direct", change: Partial<ShellSettings> = {}, env: Record<string, string> = {}): Shell {
    const settings = this.settings(change);
    const PATH = `${this.extra}${delimiter}${process.env.PATH ?? ""}`;
    const childEnv = { ...process.env, ...env, PATH };
    if (mode === "direct") {
      const here = ((program: string, args: string[], options: object) =>
        spawn(program, args, { ...options, ...NOBODY, cwd: this.folder, env: childEnv })) as Spawn;
      return new Shell(settings, here);
    }
    const wrapper = join(this.extra, "ai-server-admin");
    installWrapper(wrapper, settings);
    const asSshd = ((_ssh: string, args: string[], options: object) =>
      spawn("sh", [wrapper], {
        ...options,
        ...NOBODY,
        cwd: this.folder,
        env: { ...childEnv, SSH_ORIGINAL_COMMAND: args.at(-1) ?? "" },
      })) as Spawn;
    // There is no connection to share.
    const connection = new SharedConnection(settings.connectTimeoutMs, settings.keepMs, []);
    return new Shell({ ...settings, host: "tester@127.0.0.1", mode: "wrapper" }, asSshd, connection);
  }

  machine(mode: Mode = "direct", change: Partial<ShellSettings> = {}): RemoteMachine {
    return new RemoteMachine(this.shell(mode, change), 5000);
  }

  memory(mode: Mode = "direct"): ServerMemory {
    return new ServerMemory(this.shell(mode));
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
    rmSync(this.extra, { recursive: true, force: true });
  }
}

/** Sets up `ai-server-admin`, in one step: a script that just starts reads the old one or the new one. */
export function installWrapper(path: string, settings: ShellSettings): void {
  const made = `${path}.${randomUUID()}`;
  writeFileSync(made, wrapperFor(settings), { mode: 0o755 });
  renameSync(made, path);
}

/** `ai-server-admin` as an administrator would set it up. */
function wrapperFor(settings: ShellSettings): string {
  const quote = (value: string): string => `'${value.replaceAll("'", "'\\''")}'`;
  const set = (text: string, name: string, value: string): string =>
    text.replace(new RegExp(`^${name}=.*$`, "m"), () => `${name}=${quote(value)}`);
  let text = readFileSync(WRAPPER, "utf8");
  text = set(text, "preset_path", settings.presetPath);
  text = set(text, "unit", settings.serviceUnit);
  return set(text, "restart_command", settings.restartCommand ?? "");
}
