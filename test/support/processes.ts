import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";

export interface Finished {
  /** Exit code, or null when a signal (or the time limit) ended the process. */
  code: number | null;
  stdout: string;
  stderr: string;
}

const running = new Set<ChildProcess>();

// A test file that dies must not leave a pi or a Caddy behind.
process.on("exit", () => {
  for (const child of running) killGroup(child);
});

/** Starts a program as the leader of its own process group, so that `killGroup` ends its children too. */
export function spawnGroup(command: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  const child = spawn(command, args, { ...options, detached: true });
  running.add(child);
  child.once("close", () => running.delete(child));
  return child;
}

/** Sends a signal to every process of the group that `spawnGroup` made; one that has ended is no error. */
export function killGroup(child: ChildProcess, signal: NodeJS.Signals = "SIGKILL"): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Runs a program to its end; after `timeoutMs` its whole group is killed and the promise rejects. */
export function run(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv; input?: string; timeoutMs?: number } = {},
): Promise<Finished> {
  const { input = "", timeoutMs = 60_000, ...rest } = options;
  return new Promise((resolve, reject) => {
    const child = spawnGroup(command, args, { ...rest, stdio: "pipe" });
    let stdout = "";
    let stderr = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    // The program may end without reading what it was given.
    child.stdin?.on("error", () => {});
    child.stdin?.end(input);
    const limit = setTimeout(() => {
      killGroup(child);
      const shown = [command, ...args].join(" ");
      reject(new Error(`${shown} did not end within ${timeoutMs} ms\nstdout: ${stdout}\nstderr: ${stderr}`));
    }, timeoutMs);
    child.once("error", (error) => {
      clearTimeout(limit);
      reject(error);
    });
    child.once("close", (code) => {
      clearTimeout(limit);
      resolve({ code, stdout, stderr });
    });
  });
}

/** Like `run`, but an exit code other than 0 rejects with what the program wrote. */
export async function runOk(...parameters: Parameters<typeof run>): Promise<Finished> {
  const finished = await run(...parameters);
  if (finished.code === 0) return finished;
  const [command, args] = parameters;
  throw new Error(
    `${command} ${args.join(" ")} ended with ${finished.code}\n${finished.stdout}\n${finished.stderr}`,
  );
}

/** Asks `probe` until it gives something other than undefined; rejects after `ms`, naming `what`. */
export async function eventually<T>(
  what: string,
  probe: () => T | undefined | Promise<T | undefined>,
  ms = 15_000,
  everyMs = 25,
): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    const found = await probe();
    if (found !== undefined) return found;
    if (Date.now() > end) throw new Error(`Waited ${ms} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
