/** The arguments of `ssh`, and the one connection that its calls share. */
import { lstatSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Bytes of a socket's path on macOS and the BSDs, its end included; Linux has four more. */
const SOCKET_PATH_LIMIT = 104;

/** ssh binds the socket under a name with this many characters more, and then links it. */
const SSH_SUFFIX = 17;

const PREFIX = "pi-ssh-";

/**
 * What a user may have set for working on that machine and what would cut a call off from its input or output, by the
 * version of OpenSSH that knows it first. An older ssh refuses to start over the first one that it does not know. It
 * is then started once more without: IgnoreUnknown on the command line would take the place of the user's own, and
 * ssh would refuse what only that one lets pass.
 */
const YOUNG_OPTIONS: readonly (readonly string[])[] = [
  // 7.6
  ["RemoteCommand=none"],
  // 8.7
  ["StdinNull=no", "SessionType=default", "ForkAfterAuthentication=no"],
];

/** What every call gets: nothing here decides how the server's host key is checked. */
function fixedOptions(connectTimeoutMs: number): string[] {
  return [
    "-T",
    "-oBatchMode=yes",
    `-oConnectTimeout=${Math.max(1, Math.ceil(connectTimeoutMs / 1000))}`,
    "-oServerAliveInterval=5",
    "-oServerAliveCountMax=3",
    // Its messages are what a failure is known by: neither silent nor among a hundred lines of debugging.
    "-oLogLevel=INFO",
    // What a user set for working on that machine must not come with every call.
    "-oRequestTTY=no",
    "-oPermitLocalCommand=no",
    "-oClearAllForwardings=yes",
    "-oForwardAgent=no",
    "-oForwardX11=no",
  ];
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Removes what a process left that could not tidy up, once its last connection has ended by itself. */
function removeLeftovers(parent: string, olderThanMs: number): void {
  for (const name of readdirSync(parent)) {
    const pid = Number(/^pi-ssh-(\d+)-/.exec(name)?.[1]);
    if (!(pid > 0) || isAlive(pid)) continue;
    const folder = join(parent, name);
    const found = lstatSync(folder, { throwIfNoEntry: false });
    if (found && found.uid === process.getuid?.() && Date.now() - found.mtimeMs > olderThanMs) {
      rmSync(folder, { recursive: true, force: true });
    }
  }
}

/** One folder for one control socket; without it every call is a connection of its own. */
export class SharedConnection {
  readonly #fixed: string[];
  #young = YOUNG_OPTIONS;
  readonly #keepMs: number;
  readonly #parents: readonly string[];
  #folder: string | undefined;
  #isOff = process.platform === "win32";

  /**
   * @param keepMs after the last call, in case nothing can close it
   * @param parents folders in which the private one may be made; the first that gives a short enough path counts
   */
  constructor(connectTimeoutMs: number, keepMs: number, parents: readonly string[] = [tmpdir(), "/tmp"]) {
    this.#fixed = fixedOptions(connectTimeoutMs);
    this.#keepMs = keepMs;
    this.#parents = parents;
  }

  get folder(): string | undefined {
    return this.#folder;
  }

  switchOff(): void {
    this.#isOff = true;
  }

  /**
   * From now on without the options that came with the same version of ssh as this one.
   *
   * @param name as ssh spells it when it refuses it
   * @returns false for one that is not left out
   */
  leaveOut(name: string): boolean {
    const isNamed = (option: string): boolean => option.toLowerCase().startsWith(`${name.toLowerCase()}=`);
    const kept = this.#young.filter((options) => !options.some(isNamed));
    const isLeftOut = kept.length < this.#young.length;
    this.#young = kept;
    return isLeftOut;
  }

  /** Options for the next call of ssh, the host and the command not included. */
  options(): string[] {
    const socket = this.#socket();
    const fixed = [...this.#fixed, ...this.#youngOptions()];
    if (socket === undefined)
      return [...fixed, "-oControlMaster=no", "-oControlPath=none", "-oControlPersist=no"];
    const keep = Math.max(1, Math.ceil(this.#keepMs / 1000));
    return [...fixed, "-oControlMaster=auto", `-oControlPath=${socket}`, `-oControlPersist=${keep}`];
  }

  /** Options for ending the shared connection, or undefined where there is none. */
  closingOptions(): string[] | undefined {
    if (this.#folder === undefined) return undefined;
    return ["-Oexit", ...this.#fixed, ...this.#youngOptions(), `-oControlPath=${this.#folder}/s`];
  }

  removeFolder(): void {
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
    this.#folder = undefined;
  }

  #youngOptions(): string[] {
    return this.#young.flat().map((option) => `-o${option}`);
  }

  #socket(): string | undefined {
    if (this.#isOff) return undefined;
    this.#folder ??= this.#makeFolder();
    if (this.#folder === undefined) this.#isOff = true;
    return this.#folder && `${this.#folder}/s`;
  }

  #makeFolder(): string | undefined {
    const name = `${PREFIX}${process.pid}-`;
    for (const parent of this.#parents) {
      // ssh expands % and leaves the rest; mkdtemp adds six characters and makes the folder 0700.
      const length = Buffer.byteLength(join(parent, name)) + 6 + "/s".length + SSH_SUFFIX;
      if (length >= SOCKET_PATH_LIMIT || /[%\s"\\$]/.test(parent)) continue;
      try {
        const folder = mkdtempSync(join(parent, name));
        removeLeftovers(parent, this.#keepMs);
        return folder;
      } catch {
        // Not to be written to, or a leftover that went meanwhile: the next one, or none.
      }
    }
    return undefined;
  }
}
