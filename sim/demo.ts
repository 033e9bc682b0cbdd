// `npm run demo [-- ARGUMENTS OF PI]`: real pi with the extension on the stand-in, only in temporary folders.
import { type ChildProcess, type StdioOptions, spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { constants } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ServerDownloads } from "../host/download/downloads.ts";
import { Shell } from "../host/ssh/shell.ts";
import { writeDemoAuthority } from "./demo-ca.ts";
import { makeDemoFolder, removeDemoFolder } from "./demo-folder.ts";
import { startDemoHub } from "./demo-hub.ts";
import { inFolder, writeDemoModels, writeDemoTools } from "./demo-tools.ts";
import type { Hub } from "./hub.ts";
import { type Sim, startSim } from "./server.ts";

const FIRST_MODEL = "Qwen3.6-35B-A3B-Q8_0";
/** Never the name of a unit of the user's own. */
const UNIT = "ai-server-demo.service";
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

const folder = openFolder();
// Whatever ends this process, short of SIGKILL, comes through here.
process.once("exit", () => removeDemoFolder(folder));

process.exit(await runDemo(process.argv.slice(2)));

function openFolder(): string {
  try {
    return makeDemoFolder();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    writeSync(
      2,
      `The demo needs a folder for temporary files: ${why}. Set TMPDIR to one that you may write to.\n`,
    );
    process.exit(1);
  }
}

async function runDemo(args: string[]): Promise<number> {
  const dirs = makeFolders();
  await writeDemoAuthority(join(dirs.server, "certs"), dirs.ca);
  const sim = await startSim({ dir: dirs.server, devicesDir: join(dirs.ca, "devices") });
  process.on(`SIG${RELOAD_SIGNAL}`, () => void sim.reload());
  keepJournal(sim, dirs.tools);
  writeDemoTools(dirs.tools, sim);
  const hub = await startDemoHub();
  const env = environment(sim, hub, dirs);
  const extension = ["-e", join(repository, "index.ts")];
  try {
    const listed = await findModels([...extension, "--list-models"], env, dirs.work);
    if (listed !== 0) return listed;
    const isTried = process.stdin.isTTY && args.length === 0;
    const welcome = isTried ? ["-e", join(repository, "sim/demo-welcome.ts")] : [];
    // A stored session would end with a line that says how to resume it, in a folder that is then gone.
    const model = ["--model", `ai-server/${FIRST_MODEL}`, "--no-session"];
    const { status } = await runPi([...extension, ...welcome, ...model, ...args], env, dirs.work, "inherit");
    if (isTried && status === 0)
      writeSync(1, "\nThe demo is over; its files are removed. Your own server: docs/README.md\n");
    return status;
  } finally {
    await endDownloads(dirs.models);
    await Promise.all([sim.close(), hub.close()]);
  }
}

/** A download goes on without pi: here it would outlive the demo. */
async function endDownloads(folder: string): Promise<void> {
  const target = { host: "local", mode: "direct", connectTimeoutMs: 0, keepMs: 0 } as const;
  const shell = new Shell({ ...target, presetPath: folder, serviceUnit: UNIT, restartCommand: undefined });
  const downloads = new ServerDownloads(shell);
  for (const { id } of await downloads.read(folder).catch(() => [])) {
    await downloads.stop(folder, id).catch(() => undefined);
  }
}

/**
 * Lets pi find the stand-in's models and store them, so that the first screen has them. At a start pi waits a few
 * seconds for a server, which may be too short on a busy machine: then it is started again.
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
  const within = (name: string) => join(folder, name);
  const dirs = {
    server: within("server"),
    models: within("models"),
    agent: within("agent"),
    work: within("word-count"),
    tools: within("bin"),
    ca: within("ca"),
    temporary: within("tmp"),
  };
  for (const dir of Object.values(dirs)) mkdirSync(dir);
  const config = readFileSync(join(repository, "sim/demo.yaml"), "utf8");
  writeFileSync(join(dirs.server, "config.yaml"), inFolder(config, dirs.models));
  writeDemoModels(dirs.models);
  cpSync(join(repository, "sim/demo-project"), dirs.work, { recursive: true });
  leaveOut(["fd", "rg"], join(dirs.agent, "bin"));
  const settings = {
    defaultProvider: "ai-server",
    defaultModel: FIRST_MODEL,
    quietStartup: true,
    enableInstallTelemetry: false,
  };
  writeFileSync(join(dirs.agent, "settings.json"), JSON.stringify(settings, null, 2));
  return dirs;
}

/** Puts a substitute where pi looks for each of these programs that is missing here: pi would warn, or download it. */
function leaveOut(programs: readonly string[], bin: string): void {
  mkdirSync(bin);
  const folders = (process.env.PATH ?? "").split(delimiter);
  for (const name of programs) {
    if (folders.some((each) => existsSync(join(each, name)))) continue;
    writeFileSync(join(bin, name), `#!/bin/sh\necho '${name} is not installed' >&2\nexit 127\n`, {
      mode: 0o755,
    });
  }
}

/** Writes what the stand-in prints into a journal, and puts a `journalctl` into `tools` that shows it. */
function keepJournal(sim: Sim, tools: string): void {
  const journal = join(sim.dir, "journal");
  sim.followOutput((line) => {
    const at = new Date().toISOString().replace(/\.\d+Z$/, "+00:00");
    appendFileSync(journal, `${at} ai-server llama-swap[812]: ${line}\n`);
  });
  // As ai-server-admin calls it; any other call is for the program of that name.
  const script = `#!/bin/sh
[ "$1 $2 $3 $4" = '--user -u ${UNIT} -n' ] && exec tail -n "$5" '${journal}'
PATH=\${PATH#*:}
exec journalctl "$@"
`;
  writeFileSync(join(tools, "journalctl"), script, { mode: 0o755 });
}

/** This process's environment without variables that point pi to the user's own server, folders or tmux. */
function environment(sim: Sim, hub: Hub, dirs: ReturnType<typeof makeFolders>): NodeJS.ProcessEnv {
  const foreign = ["PI_CODING_AGENT_SESSION_DIR", "TMUX"];
  const own = Object.entries(process.env).filter(
    ([name]) => !/^(?:AI_SERVER|HF)_/.test(name) && !foreign.includes(name),
  );
  return {
    ...Object.fromEntries(own),
    PATH: [dirs.tools, process.env.PATH].join(delimiter),
    // Here pi caches what it compiles, and writes the full output of long commands.
    TMPDIR: dirs.temporary,
    PI_CODING_AGENT_DIR: dirs.agent,
    // With any value pi contacts nothing by itself. Only a true one keeps the extension from asking the stand-in what
    // the footer shows.
    PI_OFFLINE: "0",
    PI_SKIP_VERSION_CHECK: "1",
    PI_TELEMETRY: "0",
    AI_SERVER_URL: sim.url,
    AI_SERVER_CERTS_DIR: sim.certsDir,
    AI_SERVER_SSH_HOST: "local",
    AI_SERVER_PRESET_PATH: join(sim.dir, "config.yaml"),
    AI_SERVER_CA_DIR: dirs.ca,
    // The stand-in reads the list of devices by itself.
    AI_SERVER_CADDY_RELOAD: "true",
    AI_SERVER_MODELS_DIR: dirs.models,
    HF_ENDPOINT: hub.url,
    // No token of the user's own reaches a stand-in.
    HF_HOME: dirs.models,
    AI_SERVER_SERVICE_UNIT: UNIT,
    // The stand-in reads its config again, which unloads every model as a restart does.
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
