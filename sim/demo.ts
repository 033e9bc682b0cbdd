// `npm run demo [-- ARGUMENTS OF PI]`: real pi with the extension on the stand-in, only in temporary folders.
import { type ChildProcess, type StdioOptions, spawn, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, writeFileSync, writeSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { makeDemoFolder, removeDemoFolder } from "./demo-folder.ts";
import { type Sim, startSim } from "./server.ts";

const FIRST_MODEL = "Qwen3.6-35B-A3B-Q8_0";
const KILL_AFTER_MS = 3000;
/** The name of the signal for `kill` that replaces a restart here. */
const RELOAD_SIGNAL = "USR2";
const LIST_TRIES = 3;

const repository = fileURLToPath(new URL("..", import.meta.url));
const pi = join(repository, "node_modules/@earendil-works/pi-coding-agent/dist/bundle/cli.js");
const leash = `${pathToFileURL(join(repository, "sim/leash.ts")).href}?demo=${process.pid}`;

let child: ChildProcess | undefined;
let stopped: NodeJS.Signals | undefined;

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    stopped ??= signal;
    child?.kill("SIGTERM");
    setTimeout(() => child?.kill("SIGKILL"), KILL_AFTER_MS).unref();
  });
}

const folder = makeDemoFolder();
// Whatever ends this process, short of SIGKILL, comes through here.
process.once("exit", () => removeDemoFolder(folder));

process.exit(await runDemo(process.argv.slice(2)));

async function runDemo(args: string[]): Promise<number> {
  const dirs = makeFolders();
  const sim = await startSim({ dir: dirs.server });
  process.on(`SIG${RELOAD_SIGNAL}`, () => void sim.reload());
  const env = environment(sim, dirs.agent, dirs.temporary);
  const extension = ["-e", join(repository, "index.ts")];
  try {
    const listed = await findModels([...extension, "--list-models"], env, dirs.work);
    if (listed !== 0) return listed;
    if (process.stdin.isTTY && args.length === 0) writeSync(2, welcome(sim));
    const model = ["--model", `ai-server/${FIRST_MODEL}`];
    const offline = { ...env, PI_OFFLINE: "1" };
    return (await runPi([...extension, ...model, ...args], offline, dirs.work, "inherit")).status;
  } finally {
    await sim.close();
  }
}

/**
 * Lets pi find the stand-in's models and store them, so that it can then start offline: the demo contacts only
 * the stand-in. At a start pi waits a few seconds for a server, which may be too short on a busy machine: then it
 * is started again.
 */
async function findModels(args: string[], env: NodeJS.ProcessEnv, cwd: string): Promise<number> {
  for (let tries = LIST_TRIES; ; tries--) {
    const { status, output } = await runPi(args, env, cwd, "pipe");
    if (stopped !== undefined) return status;
    if (status === 0 && output.includes(FIRST_MODEL)) return 0;
    if (tries > 1) continue;
    writeSync(2, `pi does not find the stand-in's models:\n${output}\n`);
    return status || 1;
  }
}

function makeFolders() {
  const inFolder = (name: string) => join(folder, name);
  const dirs = {
    server: inFolder("server"),
    agent: inFolder("agent"),
    work: inFolder("work"),
    temporary: inFolder("tmp"),
  };
  for (const dir of Object.values(dirs)) mkdirSync(dir);
  copyFileSync(join(repository, "sim/demo.yaml"), join(dirs.server, "config.yaml"));
  const settings = {
    defaultProvider: "ai-server",
    defaultModel: FIRST_MODEL,
    quietStartup: true,
    enableInstallTelemetry: false,
  };
  writeFileSync(join(dirs.agent, "settings.json"), JSON.stringify(settings, null, 2));
  return dirs;
}

/** This process's environment without variables that point pi to the user's own server or folders. */
function environment(sim: Sim, agentDir: string, temporary: string): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(
    ([name]) =>
      !name.startsWith("AI_SERVER_") && !["PI_OFFLINE", "PI_CODING_AGENT_SESSION_DIR"].includes(name),
  );
  return {
    ...Object.fromEntries(own),
    // Here pi caches what it compiles, and writes the full output of long commands.
    TMPDIR: temporary,
    PI_CODING_AGENT_DIR: agentDir,
    PI_SKIP_VERSION_CHECK: "1",
    PI_TELEMETRY: "0",
    AI_SERVER_URL: sim.url,
    AI_SERVER_CERTS_DIR: sim.certsDir,
    AI_SERVER_SSH_HOST: "local",
    AI_SERVER_PRESET_PATH: join(sim.dir, "config.yaml"),
    // Never the user's own unit: the stand-in reads its config again, which unloads every model as a restart does.
    AI_SERVER_SERVICE_UNIT: "ai-server-demo.service",
    AI_SERVER_RESTART_COMMAND: `kill -${RELOAD_SIGNAL} ${process.pid}`,
  };
}

/** Runs pi to its end. @returns its exit status as a shell would give it, and its output where that is piped */
async function runPi(
  args: string[],
  env: NodeJS.ProcessEnv,
  cwd: string,
  output: "pipe" | "inherit",
): Promise<{ status: number; output: string }> {
  if (stopped !== undefined) return { status: statusOf(null, stopped), output: "" };
  const stdio: StdioOptions = output === "pipe" ? ["ignore", "pipe", "pipe"] : "inherit";
  const started = spawn(process.execPath, ["--import", leash, pi, ...args], { env, cwd, stdio });
  child = started;
  let text = "";
  for (const stream of [started.stdout, started.stderr]) {
    stream?.on("data", (chunk) => {
      text += chunk;
    });
  }
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    started.once("error", reject);
    started.once("close", (...end) => resolve(end));
  });
  child = undefined;
  if (signal !== null && output === "inherit") restoreTerminal();
  return { status: statusOf(code, stopped ?? signal), output: text };
}

function statusOf(code: number | null, signal: NodeJS.Signals | null): number {
  return signal === null ? (code ?? 1) : 128 + constants.signals[signal];
}

/** A killed pi leaves the terminal in the state of its own screen. */
function restoreTerminal(): void {
  if (!process.stdin.isTTY) return;
  spawnSync("stty", ["sane"], { stdio: "inherit" });
  writeSync(1, "\x1b[?25h\x1b[?2004l");
}

function welcome(sim: Sim): string {
  return `A stand-in for llama-swap listens on ${sim.url}; pi talks to it with a throwaway client certificate.
Try: What files are in this folder?    /model    /ai-server    /ai-server-ctx    (Ctrl+D ends it and removes everything)
`;
}
