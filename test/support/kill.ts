import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import type { ChangeOutcome } from "../../host/outcome.ts";
import type { ClientJob } from "./change-client.ts";
import { UNIT } from "./machine-row.ts";
import { integer, pick, type Random, seeded } from "./random.ts";

/** Each run kills at the same steps; KILL_SEED=<number> tries others. */
export const KILL_SEED = Number(process.env.KILL_SEED ?? 20261120);
/** Most of a kill is waiting: for the next second of a backup, or for what a killed writer has left. */
const AT_ONCE = 7;

/** A server whose programs may be replaced. */
interface Machine {
  readonly tools: string;
  own(path: string): void;
  tool(name: string, script: string): void;
}

/** A server's folder that may be hit in the middle of a change. */
export interface Target extends Machine {
  readonly folder: string;
  readonly text: string;
  readonly backups: string[];
}

/** Every program that the scripts start: each start is a point at which the shell can be killed. */
export const PROGRAMS = [
  "base64",
  "cat",
  "cp",
  "date",
  "expr",
  "flock",
  "head",
  "id",
  "ln",
  "ls",
  "mv",
  "readlink",
  "rm",
  "sed",
  "sha256sum",
  "sync",
  "tail",
  "touch",
  "tr",
  "wc",
];

/** The same with those of a download, but for the one that waits. */
export const DOWNLOAD_PROGRAMS = [
  ...PROGRAMS,
  "curl",
  "df",
  "find",
  "grep",
  "mkdir",
  "rmdir",
  "setsid",
  "sort",
  "stat",
];

/**
 * Who is killed: the shell alone (its children go on), all of it, or the sshd that it was started by; before or after
 * the program has run.
 */
export interface Kill {
  /** At which call of the programs that are counted, from 1. */
  at: number;
  who: "shell" | "all" | "connection";
  when: "before" | "after";
}

/**
 * Puts a program before each of the real ones that counts, and kills when its turn has come. The leader of the
 * process group is the script's own shell, whatever subshell has started the program.
 */
export function prepareKill(host: Machine, kill: Kill, programs: readonly string[] = PROGRAMS): void {
  const counter = join(host.tools, "count");
  writeFileSync(counter, "");
  host.own(counter);
  const target = { shell: "$leader", all: "-$leader", connection: "$sshd" }[kill.who];
  const hit = `echo hit >'${counter}.hit'; kill -KILL ${target}`;
  for (const name of programs) {
    const real = realProgram(name);
    if (real === undefined) continue;
    host.tool(
      name,
      [
        // One character a call: the parts of a pipeline append at the same time.
        `printf x >>'${counter}'; read -r calls <'${counter}'; n=\${#calls}`,
        `[ $n -eq ${kill.at} ] || exec ${real} "$@"`,
        "read -r _ _ _ _ leader _ </proc/$$/stat; read -r _ _ _ sshd _ </proc/$leader/stat",
        kill.when === "before" ? hit : "",
        `${real} "$@"; status=$?`,
        kill.when === "after" ? hit : "",
        "exit $status",
      ].join("\n"),
    );
  }
}

function realProgram(name: string): string | undefined {
  return ["/usr/bin", "/bin"].map((folder) => join(folder, name)).find(existsSync);
}

/** Writes down the name of every program that the scripts start; gives a function that returns the names so far. */
export function recordSteps(host: Machine, programs: readonly string[] = PROGRAMS): () => string[] {
  const record = join(host.tools, "steps");
  writeFileSync(record, "");
  host.own(record);
  for (const name of programs) {
    const real = realProgram(name);
    if (real !== undefined) host.tool(name, `echo ${name} >>'${record}'\nexec ${real} "$@"`);
  }
  return () => readFileSync(record, "utf8").trimEnd().split("\n");
}

/** Whether the kill's turn has come. */
export function wasHit(host: Machine): boolean {
  return existsSync(join(host.tools, "count.hit"));
}

/** One kill that a test makes: how, and at the call of what program. */
export interface PlannedKill<Way> extends Kill {
  readonly way: Way;
  readonly program: string;
}

/**
 * Kills the shell at random steps, until it was hit as often as wanted.
 *
 * @param stepsOf the programs that one way starts, in order
 * @param killOnce goes that way with the kill in it, and checks what is left; gives a word for how it ended, undefined
 *   where it started fewer programs than were recorded: then nothing was killed
 */
export async function killShells<Way>(
  times: number,
  ways: readonly Way[],
  stepsOf: (way: Way) => Promise<string[]>,
  killOnce: (planned: PlannedKill<Way>) => Promise<string | undefined>,
): Promise<void> {
  const random = seeded(KILL_SEED);
  const stepsByWay = new Map<Way, string[]>();
  for (const way of ways) stepsByWay.set(way, await stepsOf(way));
  const ends = new Map<string, number>();
  let misses = 0;
  await inParallel(times, async () => {
    for (;;) {
      const way = pick(random, ways as readonly [Way, ...Way[]]);
      const planned = { way, ...plannedKill(random, stepsByWay.get(way) ?? []) };
      const end = await killOnce(planned).catch((error: unknown) => {
        throw new Error(`a kill: ${JSON.stringify(planned)}: ${error}`, { cause: error });
      });
      if (end !== undefined) return void ends.set(end, (ends.get(end) ?? 0) + 1);
      misses += 1;
    }
  });
  expect(misses).toBeLessThan(times * 0.15);
  const counts = [...stepsByWay.values()].map(({ length }) => length);
  process.stdout.write(
    `killed ${times} shells, missed ${misses} (${counts} steps): ${JSON.stringify([...ends].sort())}\n`,
  );
}

/** Programs that run often are not the ones where most can go wrong: each is as likely as the others. */
function plannedKill(random: Random, steps: readonly string[]): Kill & { program: string } {
  const program = pick(random, [...new Set(steps)] as [string, ...string[]]);
  return {
    program,
    at: integer(random, 1, steps.filter((name) => name === program).length),
    who: pick(random, ["shell", "all"]),
    when: pick(random, ["before", "after"]),
  };
}

/** Does the same work several times, some of it at the same time. */
export async function inParallel(times: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next < times) await work(next++);
    }),
  );
}

/** A unit whose restarts are counted by the length of a file. */
export function prepareUnit(host: Target): void {
  // Also root's client and the server's user must be able to append.
  if (!existsSync(join(host.tools, "restarts"))) {
    writeFileSync(join(host.tools, "restarts"), "");
    host.own(join(host.tools, "restarts"));
  }
  host.tool(
    "systemctl",
    `case $2 in show) cat <<'END'\n${UNIT("llama-swap")}\nEND\n;; restart) printf r >>'${host.tools}/restarts' ;; esac`,
  );
}

/** What must hold after any kill: one of two whole texts, the old one kept somewhere, and an honest outcome. */
export function checkFile(
  host: Target,
  old: string,
  texts: readonly string[],
  outcome: ChangeOutcome | undefined,
): void {
  const { text } = host;
  expect(texts).toContain(text);
  if (text !== old) {
    expect(host.backups.map((name) => readFileSync(join(host.folder, name), "utf8"))).toContain(old);
  }
  if (outcome?.kind === "changed") expect(text).not.toBe(old);
  if (outcome?.kind === "refused") expect(text).toBe(old);
  if (outcome?.kind === "rolled back") {
    const state = text === old ? "old" : "new";
    expect([state, "unknown"]).toContain(outcome.file);
  }
}

/** The processes that have the host's tools on their PATH: what a killed client has left running. */
export function processesOf(host: Machine): string[] {
  return readdirSync("/proc").filter((id) => {
    try {
      return /^\d+$/.test(id) && readFileSync(`/proc/${id}/environ`, "utf8").includes(host.tools);
    } catch {
      // It has ended, or is another user's.
      return false;
    }
  });
}

/**
 * A process that makes the change and is killed a moment after it has begun a step.
 *
 * @param cache a folder for Node's compile cache, which makes the next start quicker
 */
export function killedClient(job: ClientJob, step: string, delayMs: number, cache?: string): Promise<void> {
  const program = fileURLToPath(new URL("./change-client.ts", import.meta.url));
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, JSON.stringify(job)], {
      stdio: ["ignore", "pipe", "inherit"],
      ...(cache === undefined ? {} : { env: { ...process.env, NODE_COMPILE_CACHE: cache } }),
    });
    let said = "";
    child.stdout.on("data", (piece: Buffer) => {
      said += piece.toString();
      if (said.includes(`${step} begun`)) setTimeout(() => child.kill("SIGKILL"), delayMs);
    });
    child.once("error", reject);
    child.once("exit", () => resolve());
  });
}
