/** What `ai-server-examine` reports, as data. Pure. */
import { type Answer, remoteText, valueFor } from "../ssh/protocol.ts";
import { type UnitLine, unitLines, type WrongLine, wrongLines } from "./unit-file.ts";

/** The room on one file system, in bytes; the last path of it that is mounted. */
export interface Room {
  totalBytes: number;
  freeBytes: number;
  mount: string;
}

interface UnitFacts {
  /** The code of what keeps systemd from reporting it, and systemd's words; undefined where it reports the unit. */
  problem: { code: string; detail: string } | undefined;
  /** systemd's words; empty where they are unknown. */
  fileState: string;
  activeState: string;
  subState: string;
  result: string;
  /** How often systemd started it again by itself since the last start by hand. */
  restarts: number;
  /** Of its main process, where it has ended. */
  exitStatus: number;
  path: string;
  /** The file was changed after systemd read it. */
  needsReload: boolean;
  /** Seconds; Infinity without a limit, undefined where it is unknown. */
  stopSeconds: number | undefined;
  /** Other units that start it. */
  wantedBy: readonly string[];
  /** Seconds since it became active last; undefined where that is unknown. */
  activeSeconds: number | undefined;
  lines: readonly UnitLine[];
  wrong: readonly WrongLine[];
  /** A unit of the machine's has the same name: its state. */
  systemUnit: string | undefined;
}

/** A process that was ended because memory ran out. */
export interface Kill {
  /** Undefined where the clock is unknown. */
  date: Date | undefined;
  /** The program, or undefined where only the unit is known. */
  program: string | undefined;
  pid: number | undefined;
}

export interface MachineFacts {
  /** The machine's clock. */
  now: Date | undefined;
  user: string;
  /** The user's home. */
  home: string;
  unit: UnitFacts;
  /** Undefined where it cannot be seen. */
  isLingering: boolean | undefined;
  modelsRoom: Room | undefined;
  configRoom: Room | undefined;
  /** The code of why the config cannot be found; undefined where it is there. */
  configProblem: string | undefined;
  isConfigReadOnly: boolean;
  isFolderReadOnly: boolean;
  backups: { count: number; newest: string };
  hasFlock: boolean;
  /** Paths of programs that are installed. */
  programs: ReadonlyMap<string, string>;
  /** Whether `journalctl --user` ended well, and what it printed; undefined without journalctl. */
  journal: { isReadable: boolean; said: string } | undefined;
  /** Undefined where the kernel's log may not be read. */
  kills: readonly Kill[] | undefined;
  /** What systemd says of the unit's own processes; undefined where it says nothing. */
  unitKill: Kill | undefined;
}

export function factsInAnswer(answer: Answer): MachineFacts {
  const value = (key: string): string | undefined => valueFor(answer.lines, key);
  const isSaid = (key: string): boolean => value(key) !== undefined;
  const seconds = numberIn(value("now") ?? "");
  const now = seconds === undefined ? undefined : new Date(seconds * 1000);
  const uptime = numberIn(value("uptime") ?? "");
  const [count = "", newest = ""] = (value("backups") ?? "").split(" ");
  const config = value("config");
  const linger = value("linger");
  const journal = value("journal");
  return {
    now,
    user: decoded(value("user")?.split(" ")[1]),
    home: decoded(value("home")?.split(" ")[1]),
    unit: unitIn(answer, uptime),
    isLingering: linger === undefined ? undefined : linger === "yes",
    modelsRoom: roomIn(answer, "models"),
    configRoom: roomIn(answer, "config"),
    configProblem: config === "there" ? undefined : (config ?? "missing"),
    isConfigReadOnly: isSaid("config-read-only"),
    isFolderReadOnly: isSaid("folder-read-only"),
    backups: { count: numberIn(count) ?? 0, newest },
    hasFlock: isSaid("flock"),
    programs: programsIn(answer),
    journal:
      journal === undefined
        ? undefined
        : { isReadable: journal === "readable", said: textOf(answer, "logs") ?? "" },
    kills: isSaid("kernel-log") ? killsIn(textOf(answer, "kernel") ?? "", now, uptime) : undefined,
    unitKill: unitKillIn(textOf(answer, "kernel-unit") ?? ""),
  };
}

function textOf({ lines }: Answer, key: string): string | undefined {
  return lines.find((line) => line.key === key)?.text;
}

function numberIn(text: string): number | undefined {
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** Characters of a path or a user's name. */
const MOST_WORD = 4096;

/** A text of the machine's that travelled as base64, on one line and safe to show. */
function decoded(encoded = ""): string {
  return remoteText(Buffer.from(encoded, "base64"), MOST_WORD).replaceAll("\n", " ");
}

function unitIn(answer: Answer, uptime: number | undefined): UnitFacts {
  const show = textOf(answer, "show") ?? "";
  const property = (name: string): string => new RegExp(`^${name}=(.*)$`, "m").exec(show)?.[1] ?? "";
  const code = valueFor(answer.lines, "problem");
  const lines = unitLines(textOf(answer, "unit") ?? "");
  const activeAt = numberIn(property("ActiveEnterTimestampMonotonic")) ?? 0;
  const system = textOf(answer, "system-unit");
  return {
    problem: code === undefined ? undefined : { code, detail: textOf(answer, "detail") ?? "" },
    fileState: property("UnitFileState"),
    activeState: property("ActiveState"),
    subState: property("SubState"),
    result: property("Result"),
    restarts: numberIn(property("NRestarts")) ?? 0,
    exitStatus: numberIn(property("ExecMainStatus")) ?? 0,
    path: property("FragmentPath"),
    needsReload: property("NeedDaemonReload") === "yes",
    stopSeconds: secondsIn(property("TimeoutStopUSec")),
    wantedBy: property("WantedBy").split(" ").filter(Boolean),
    activeSeconds: activeAt === 0 || uptime === undefined ? undefined : Math.max(0, uptime - activeAt / 1e6),
    lines,
    wrong: wrongLines(lines, textOf(answer, "verify") ?? ""),
    systemUnit: system && (/^ActiveState=(.*)$/m.exec(system)?.[1] ?? ""),
  };
}

const SECONDS: Readonly<Record<string, number>> = {
  us: 1e-6,
  ms: 1e-3,
  s: 1,
  min: 60,
  h: 3600,
  d: 86_400,
  w: 604_800,
};

/** `1min 30s`, as systemd prints a span of time; undefined for what is none. */
export function secondsIn(span: string): number | undefined {
  if (span === "infinity") return Number.POSITIVE_INFINITY;
  const parts = span.split(" ").map((part) => {
    const [, number = "", unit = ""] = /^(\d+(?:\.\d+)?)(us|ms|s|min|h|d|w)$/.exec(part) ?? [];
    return Number(number || Number.NaN) * (SECONDS[unit] ?? Number.NaN);
  });
  const sum = parts.reduce((total, part) => total + part, 0);
  return Number.isNaN(sum) ? undefined : sum;
}

function roomIn({ lines }: Answer, name: string): Room | undefined {
  const words = lines
    .filter(({ key }) => key === "space")
    .map(({ value }) => value.split(" "))
    .find(([which]) => which === name);
  const [, total = "", free = "", ...mount] = words ?? [];
  const [totalKiB, freeKiB] = [numberIn(total), numberIn(free)];
  if (totalKiB === undefined || freeKiB === undefined) return undefined;
  return { totalBytes: totalKiB * 1024, freeBytes: freeKiB * 1024, mount: mount.join(" ") };
}

function programsIn({ lines }: Answer): Map<string, string> {
  return new Map(
    lines
      .filter(({ key }) => key === "program")
      .map(({ value }) => {
        const [name = "", encoded] = value.split(" ");
        return [name, decoded(encoded)] as const;
      }),
  );
}

/**
 * `… Out of memory: Killed process 4711 (llama-server) total-vm:…`, after a time of journalctl's (short-iso), or
 * seconds since the start in brackets (dmesg).
 */
function killsIn(text: string, now: Date | undefined, uptime: number | undefined): Kill[] {
  return text.split("\n").flatMap((line) => {
    const [found, pid = "", program = ""] = /Killed process (\d+) \((.*?)\)(?:,| |$)/.exec(line) ?? [];
    if (found === undefined) return [];
    return [{ date: dateIn(line) ?? sinceStart(line, now, uptime), program, pid: numberIn(pid) }];
  });
}

function unitKillIn(line: string): Kill | undefined {
  if (line.trim() === "") return undefined;
  return { date: dateIn(line), program: undefined, pid: undefined };
}

/** short-iso has no colon in its zone before systemd 255. */
function dateIn(line: string): Date | undefined {
  const [, time = "", hours = "", minutes = ""] =
    /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)([+-]\d\d):?(\d\d) /.exec(line) ?? [];
  const date = new Date(`${time}${hours}:${minutes}`);
  return Number.isNaN(date.getTime()) ? undefined : date;
}

function sinceStart(line: string, now: Date | undefined, uptime: number | undefined): Date | undefined {
  const seconds = /^\[ *(\d+)\.\d+\]/.exec(line)?.[1];
  if (seconds === undefined || now === undefined || uptime === undefined) return undefined;
  return new Date(now.getTime() - (uptime - Number(seconds)) * 1000);
}

/** How a path was found; only a file that this user may read can be served. */
export type FoundKind = "file" | "unreadable" | "missing" | "hidden" | "other" | "unasked";

export interface FoundFile {
  path: string;
  /**
   * `hidden`: a folder above may not be entered. `other`: a folder or a device. `unasked`: not an absolute path, or
   * one with control characters.
   */
  kind: FoundKind;
  /** Of a file, links followed; else 0. */
  bytes: number;
}

const KINDS = new Set<string>(["file", "unreadable", "missing", "hidden", "other"]);

function isKind(word: string): word is FoundKind {
  return KINDS.has(word);
}

/** By the number of the line in the request: `found <number> <kind> <bytes>`. */
export function foundInAnswer({ lines }: Answer): Map<number, { kind: FoundKind; bytes: number }> {
  return new Map(
    lines.flatMap(({ key, value }) => {
      const [at = "", kind = "", bytes = ""] = value.split(" ");
      const number = numberIn(at);
      if (key !== "found" || number === undefined || !isKind(kind)) return [];
      return [[number, { kind, bytes: numberIn(bytes) ?? 0 }] as const];
    }),
  );
}
