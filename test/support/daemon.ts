import { rmSync } from "node:fs";
import { eventually, killGroup, spawnGroup } from "./processes.ts";

export interface DaemonOptions {
  /** For the error when it does not start. */
  name: string;
  program: string;
  args: readonly string[];
  /** Where it keeps its state; removed when it has stopped. */
  folder: string;
  /** Where it runs, if not there. */
  cwd?: string;
  env: Readonly<Record<string, string>>;
  isUp(): Promise<boolean>;
  /** How long it may take to be up. */
  timeoutMs?: number;
}

export interface Daemon {
  readonly pid: number;
  /** What it has written so far. */
  log(): string;
  stop(): Promise<void>;
  /** Ends it at once, as a crash does; `stop` still has to follow. */
  kill(): void;
}

/** Starts a program that serves until `stop`. @throws with its output when it ends or is not up in time */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { name, program, args, folder, cwd = folder, env, isUp, timeoutMs } = options;
  const child = spawnGroup(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  let isOver = false;
  for (const output of [child.stdout, child.stderr]) {
    output?.setEncoding("utf8").on("data", (text: string) => {
      log += text;
    });
  }
  const ended = new Promise<void>((resolve) => {
    for (const event of ["close", "error"]) {
      child.once(event, () => {
        isOver = true;
        resolve();
      });
    }
  });
  const stop = async (): Promise<void> => {
    killGroup(child, "SIGTERM");
    const limit = setTimeout(() => killGroup(child), 5000);
    await ended;
    clearTimeout(limit);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await eventually(
      `${name} is up`,
      async () => {
        if (isOver) throw new Error(`${name} ended at once: ${log}`);
        return (await isUp()) || undefined;
      },
      timeoutMs,
    );
  } catch (error) {
    await stop();
    throw error;
  }
  return { pid: child.pid ?? 0, log: () => log, stop, kill: () => killGroup(child) };
}
