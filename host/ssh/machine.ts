/** The verbs of `ai-server-admin` with types. */
import { splitWords } from "../../lib/split-words.ts";
import { mountsOf } from "../config/command/mounts.ts";
import { baseName, CONTAINER_ENGINES } from "../config/command/programs.ts";
import { hostFault } from "./admin-faults.ts";
import { type Answer, type HostRequest, sha256, shownName, valueFor } from "./protocol.ts";
import type { Shell } from "./shell.ts";
import { HostError } from "./ssh-faults.ts";

/** Milliseconds for a verb that only reads; a write waits for a lock and for the disk. */
const READ_MS = 15_000;
const WRITE_MS = 30_000;

/** With a wrapper, only the wrapper knows what is set. */
const WRAPPER_NAMES = {
  file: "ai-server-admin's file",
  unit: "ai-server-admin's unit",
  fileSetting: "preset_path in ai-server-admin",
  unitSetting: "unit in ai-server-admin",
  commandSetting: "restart_command in ai-server-admin",
};

export interface HostFile {
  /** Without its folder, and safe to show. */
  name: string;
  text: string;
  /** SHA-256 of its bytes. */
  hash: string;
  /** As `ls -l` shows it. */
  mode: string;
}

export interface Backup {
  /** `YYYYMMDDTHHMMSSZ`, its name. */
  stamp: string;
  date: Date;
  bytes: number;
  hash: string;
}

export interface Written {
  hash: string;
  /** Undefined when the file already had this content, so that nothing was written. */
  backup: string | undefined;
}

export interface UnitStatus {
  /** Why the unit cannot be restarted, as a sentence. Undefined where it can, or where the user's own command does it. */
  problem: string | undefined;
  /** systemd's words, as `active` and `running`; empty where they are unknown. */
  activeState: string;
  subState: string;
  /** The words of the running process, else of the unit's ExecStart. */
  commandLine: readonly string[] | undefined;
  /** llama-swap reloads a changed file by itself. */
  watchesConfig: boolean;
  /** It is meant to, but never sees one that was replaced: its container has the config as one mounted file. */
  isBlind: boolean;
  /** AI_SERVER_RESTART_COMMAND, or the wrapper's own, takes the place of systemctl. */
  hasRestartCommand: boolean;
}

/** The machine at the other end of a `Shell`. Every method rejects with a `HostError`, or the signal's reason. */
export class RemoteMachine {
  readonly #shell: Pick<Shell, "ask" | "settings">;
  readonly #restartTimeoutMs: number;
  /** The names of files as the machine spells them, by those that are shown. */
  readonly #names = new Map<string, string>();

  constructor(shell: Pick<Shell, "ask" | "settings">, restartTimeoutMs: number) {
    this.#shell = shell;
    this.#restartTimeoutMs = restartTimeoutMs;
  }

  /** All files of a folder, or the one file. */
  async read(signal?: AbortSignal): Promise<HostFile[]> {
    return this.#files(await this.#ask({ verb: ["read"] }, READ_MS, signal));
  }

  /** @param name of the file in its folder, as `read` gave it */
  async readBackup(stamp: string, name: string, signal?: AbortSignal): Promise<HostFile> {
    const answer = await this.#ask({ verb: ["read", stampWord(stamp)], name }, READ_MS, signal);
    const [file] = this.#files(answer);
    if (file === undefined) throw this.#fault("incomplete", "");
    return file;
  }

  /** In the order in which they were written, which is not that of their names where a clock was wrong. */
  async list(name: string, signal?: AbortSignal): Promise<Backup[]> {
    const answer = await this.#ask({ verb: ["list"], name }, READ_MS, signal);
    return answer.lines.flatMap(({ key, value }) => {
      const [stamp = "", bytes = "", hash = ""] = value.split(" ");
      const date = key === "backup" && /^\d{1,12}$/.test(bytes) ? dateOf(stamp) : undefined;
      return date === undefined ? [] : [{ stamp, date, bytes: Number(bytes), hash }];
    });
  }

  /** @param expected hash of the file that is replaced; any other content stays */
  async write(text: string, expected: string, name: string, signal?: AbortSignal): Promise<Written> {
    const content = Buffer.from(text, "utf8");
    return written(await this.#ask({ verb: ["write", expected], name, content }, WRITE_MS, signal));
  }

  async restore(stamp: string, expected: string, name: string, signal?: AbortSignal): Promise<Written> {
    return written(
      await this.#ask({ verb: ["restore", stampWord(stamp), expected], name }, WRITE_MS, signal),
    );
  }

  async restart(signal?: AbortSignal): Promise<void> {
    await this.#ask({ verb: ["restart"] }, this.#restartTimeoutMs, signal);
  }

  async status(signal?: AbortSignal): Promise<UnitStatus> {
    const { lines } = await this.#ask({ verb: ["status"] }, READ_MS, signal);
    const show = textOf(lines, "show");
    const property = (name: string): string => new RegExp(`^${name}=(.*)$`, "m").exec(show)?.[1] ?? "";
    const hasRestartCommand = valueFor(lines, "restart-command") !== undefined;
    const code = valueFor(lines, "problem");
    const running = textOf(lines, "command-line")
      .split("\n")
      .filter((word) => word !== "");
    const commandLine = running.length > 0 ? running : startWords(property("ExecStart"));
    const watches = commandLine !== undefined && watchesConfig(commandLine);
    const isMounted = commandLine !== undefined && isMountedAlone(commandLine);
    return {
      problem:
        code === undefined || hasRestartCommand
          ? undefined
          : this.#fault(code, textOf(lines, "detail")).message,
      activeState: property("ActiveState"),
      subState: property("SubState"),
      commandLine,
      watchesConfig: watches && !isMounted,
      isBlind: watches && isMounted,
      hasRestartCommand,
    };
  }

  /** The last lines of the unit's journal. */
  async logs(lines: number, signal?: AbortSignal): Promise<string[]> {
    const count = String(Math.min(99_999, Math.max(1, Math.trunc(lines))));
    const answer = await this.#ask({ verb: ["logs", count] }, READ_MS, signal);
    return textOf(answer.lines, "logs").split("\n");
  }

  async #ask(request: HostRequest, timeoutMs: number, signal: AbortSignal | undefined): Promise<Answer> {
    const name = request.name && (this.#names.get(request.name) ?? request.name);
    const answer = await this.#shell.ask({ ...request, name }, { timeoutMs, signal });
    if (answer.error !== undefined) throw this.#fault(answer.error, answer.detail);
    return answer;
  }

  #files(answer: Answer): HostFile[] {
    return answer.lines.flatMap((line, at) => {
      const content = answer.lines[at + 1]?.body;
      if (line.key !== "file" || content === undefined) return [];
      const [encoded = "", mode = ""] = line.value.split(" ");
      const text = decodeUtf8(content);
      if (text === undefined) throw this.#fault("not-utf8", "");
      const spelled = Buffer.from(encoded, "base64").toString("utf8");
      const name = shownName(spelled);
      if (name === undefined) throw this.#fault("bad-answer", "");
      this.#names.set(name, spelled);
      return [{ name, text, hash: sha256(content), mode: mode.slice(0, 20) }];
    });
  }

  #fault(code: string, detail: string): HostError {
    const { host, mode, presetPath, serviceUnit } = this.#shell.settings;
    const where = host === "local" ? "on this machine" : `on ${host}`;
    if (host !== "local" && mode === "wrapper") {
      return hostFault(code, detail, { where, ...WRAPPER_NAMES });
    }
    return hostFault(code, detail, {
      where,
      file: presetPath,
      unit: `The unit ${serviceUnit}`,
      fileSetting: "AI_SERVER_PRESET_PATH",
      unitSetting: "AI_SERVER_SERVICE_UNIT",
      commandSetting: "AI_SERVER_RESTART_COMMAND",
    });
  }
}

function textOf(lines: Answer["lines"], key: string): string {
  return lines.find((line) => line.key === key)?.text ?? "";
}

function written(answer: Answer): Written {
  const stamp = valueFor(answer.lines, "stamp") ?? "";
  return { hash: valueFor(answer.lines, "hash") ?? "", backup: dateOf(stamp) && stamp };
}

/** Undefined for bytes that would not come back the same. */
function decodeUtf8(bytes: Buffer): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function dateOf(stamp: string): Date | undefined {
  const parts = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(stamp);
  if (parts === null) return undefined;
  const [, year, month, day, hour, minute, second] = parts;
  const date = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return Number.isNaN(date.getTime()) ? undefined : date;
}

function stampWord(stamp: string): string {
  if (dateOf(stamp) === undefined) {
    throw new HostError("A backup is named by its date and time, as 20260131T235959Z.", "no-backup", {
      link: "config file",
    });
  }
  return stamp;
}

/** The words in `{ path=… ; argv[]=… ; ignore_errors=… }`, as `systemctl show` prints ExecStart. */
function startWords(execStart: string): string[] | undefined {
  const argv = /argv\[\]=(.*?) ; /.exec(execStart)?.[1];
  if (argv === undefined) return undefined;
  try {
    return splitWords(argv);
  } catch {
    return argv.split(/\s+/);
  }
}

/** Go's flags: one dash or two, and a value only after `=`. */
function watchesConfig(words: readonly string[]): boolean {
  const last = words.findLast((word) => /^--?watch-config(=|$)/.test(word));
  return last !== undefined && !/=(0|f|F|false|FALSE|False)$/.test(last);
}

/** Where the images of llama-swap have their config, when no flag names another place. */
const IMAGE_CONFIG = "/app/config.yaml";

/**
 * Whether the config is a file that is mounted by itself: a mount keeps the file that it was made with, so that a file
 * which takes its place by a rename is never seen in there. A restart makes the mount again.
 *
 * @param words of the unit's command line, of `docker run …` and its like
 */
export function isMountedAlone(words: readonly string[]): boolean {
  const engine = words.findIndex((word) => CONTAINER_ENGINES.has(baseName(word)));
  if (engine < 0) return false;
  const rest = words.slice(engine + 1);
  const path = flagValue(rest, /^--?config$/) ?? IMAGE_CONFIG;
  const isConfig = (target: string): boolean =>
    path.startsWith("/") ? target === path : target.endsWith(`/${path.replace(/^\.\//, "")}`);
  return mountsOf(rest).some(({ target }) => isConfig(target));
}

/** The last value of a flag, as the next word or after `=`. */
function flagValue(words: readonly string[], flag: RegExp): string | undefined {
  return words
    .flatMap((word, at) => {
      const [name = "", ...value] = word.split("=");
      if (!flag.test(name)) return [];
      return value.length > 0 ? [value.join("=")] : words.slice(at + 1, at + 2);
    })
    .at(-1);
}
