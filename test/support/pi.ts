import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { TEST_ENVIRONMENT } from "./environment.ts";
import { npm } from "./npm.ts";
import { type Finished, run, runOk } from "./processes.ts";

/** The two versions of pi that the extension supports: the one before the newest, and the newest, which is the pinned devDependency. */
export const PI_VERSIONS = ["1.5.2", "1.6.0"] as const;
export type PiVersion = (typeof PI_VERSIONS)[number];

/** The pi of all suites. */
export const NEWEST_PI: PiVersion = "1.6.0";

/** The pi of a few tests of what may differ between the versions: starts, turns, RPC, the installation, one screen. */
export const OLDER_PI: PiVersion = "1.5.2";

/** The repository's own folder. */
export const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));

/** What `pi -e` loads. */
export const EXTENSION = join(REPOSITORY, "index.ts");

const CLI = "dist/bundle/cli.js";

/**
 * The path of that version's `cli.js`, run with node. 1.5.2 cannot be installed beside the pinned one, but its
 * tarball carries all it needs except `jiti` and `typebox`, which it finds in the `node_modules` above it.
 *
 * @throws when the tarball cannot be had
 */
export async function piCli(version: PiVersion): Promise<string> {
  const modules = join(REPOSITORY, "node_modules");
  if (version === "1.6.0") return join(modules, "@earendil-works/pi-coding-agent", CLI);
  const home = join(modules, ".cache", `pi-${version}`);
  const cli = join(home, "package", CLI);
  if (!existsSync(cli)) await unpack(`@earendil-works/pi-coding-agent@${version}`, home);
  return cli;
}

/** Why `version` cannot be run here, or undefined when it can. */
export async function piProblem(version: PiVersion): Promise<string | undefined> {
  try {
    await piCli(version);
    return undefined;
  } catch (error) {
    return `pi ${version} could not be fetched from the npm registry: ${(error as Error).message}`;
  }
}

async function unpack(source: string, target: string): Promise<void> {
  const cache = dirname(target);
  await mkdir(cache, { recursive: true });
  const temporary = await mkdtemp(join(cache, "unpacking-"));
  try {
    await npm(["pack", source, "--pack-destination", temporary], temporary);
    const tarball = (await readdir(temporary)).find((name) => name.endsWith(".tgz"));
    if (!tarball) throw new Error(`npm pack ${source} left no tarball`);
    await runOk("tar", ["-xzf", tarball], { cwd: temporary });
    await rm(join(temporary, tarball));
    // Another process may have been quicker; its copy is as good as ours.
    await rename(temporary, target).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

export interface PiOptions {
  version: PiVersion;
  args: readonly string[];
  /** `PI_CODING_AGENT_DIR`: settings, auth.json, sessions, stored models. */
  agentDir: string;
  /** Added to a minimal environment; nothing named AI_SERVER_* is inherited. */
  env?: Readonly<Record<string, string>>;
  /** Where pi works; the agent folder's parent when not given. */
  cwd?: string;
  /**
   * Whether PI_OFFLINE is set (default: yes). With it the extension asks nothing at rest, and the footer stays empty.
   */
  offline?: boolean;
  input?: string;
  timeoutMs?: number;
}

/** What pi is started with: node, its arguments, folder and a clean environment. */
export async function piCommand(
  options: PiOptions,
): Promise<{ command: string; args: string[]; cwd: string; env: Record<string, string> }> {
  const { version, args, agentDir, env, cwd = dirname(agentDir), offline = true } = options;
  const guard = pathToFileURL(join(REPOSITORY, "test/support/loopback-preload.ts")).href;
  return {
    command: process.execPath,
    args: ["--import", guard, await piCli(version), ...args],
    cwd,
    env: {
      PATH: process.env.PATH ?? "",
      LANG: "C.UTF-8",
      TMPDIR: tmpdir(),
      // pi would keep one beside its own temporary files, and some tests give it a new folder for them.
      NODE_COMPILE_CACHE: TEST_ENVIRONMENT.NODE_COMPILE_CACHE ?? "",
      PI_SKIP_VERSION_CHECK: "1",
      PI_TELEMETRY: "0",
      HOME: join(dirname(agentDir), "home"),
      PI_CODING_AGENT_DIR: agentDir,
      ...(offline ? { PI_OFFLINE: "1" } : {}),
      AI_SERVER_SSH_HOST: "local",
      HF_ENDPOINT: TEST_ENVIRONMENT.HF_ENDPOINT ?? "",
      ...env,
    },
  };
}

/** Runs pi to its end with stdin closed after `input`; rejects, and kills its group, after `timeoutMs` (60 s). */
export async function runPi(options: PiOptions): Promise<Finished> {
  const { command, args, cwd, env } = await piCommand(options);
  const { input = "", timeoutMs = 60_000 } = options;
  return run(command, args, { cwd, env, input, timeoutMs });
}

export interface Workplace {
  /** Holds all the others, and is where pi works by default. */
  folder: string;
  agentDir: string;
  home: string;
  remove(): Promise<void>;
}

/** A temporary folder with an empty home and an empty agent folder. */
export async function makeWorkplace(): Promise<Workplace> {
  const folder = await mkdtemp(join(tmpdir(), "pi-ai-server-test-"));
  const [agentDir, home] = [join(folder, "agent"), join(folder, "home")];
  await mkdir(agentDir);
  await mkdir(home);
  return {
    folder,
    agentDir,
    home,
    remove: () => rm(folder, { recursive: true, force: true, maxRetries: 5 }),
  };
}
