import { randomUUID } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rename, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, delimiter, join } from "node:path";
import { type Daemon, startDaemon } from "./daemon.ts";
import { withLoader } from "./elf.ts";
import { freePort, listens } from "./network.ts";
import { REPOSITORY } from "./pi.ts";
import { tinyModel } from "./tiny-model.ts";

export interface LlamaServer {
  readonly pid: number;
  /** `http://127.0.0.1:<port>` */
  url: string;
  port: number;
  /** Its home, in which a router keeps what it downloads. */
  folder: string;
  /** What it has logged so far, and in router mode its children too. */
  log(): string;
  stop(): Promise<void>;
  /** Ends it at once, as a crash does; `stop` still has to follow. */
  kill(): void;
}

/** Where `.ci/llama-server` unpacks Debian's packages. */
const ROOT = join(REPOSITORY, "node_modules/.cache/llama-server");

/** The file of the model in `tiny-model.ts`, for presets and `-m`; there once a server has been started. */
export const TINY_MODEL = join(ROOT, "made", "tiny.gguf");

/** Listed under this id by `startLlamaServer`. */
export const TINY_ID = "tiny";

const PROGRAM = join(ROOT, "usr/bin/llama-server");
const FIT_PROGRAM = join(ROOT, "usr/bin/llama-fit-params");
/** One thread: several wait for each other by spinning, which on a busy machine takes many times as long. */
export const OWN_ARGUMENTS = ["--offline", "--threads", "1"] as const;
/** A copy that the packages' own loader starts: the program starts itself again for each model of a router. */
const STARTED = join(ROOT, "made", "llama-server");
/** The same of the tool that says what memory a model needs; llama-server is beside it, as in the package. */
const FIT_TOOL = join(ROOT, "made", "llama-fit-params");

/** llama.cpp's RPC server, on which another llama-server computes. */
const RPC_SERVER = join(ROOT, "made", "ggml-rpc-server");

/** How to get a real llama-server when there is none here, or undefined when there is one. */
export function llamaServerProblem(): string | undefined {
  return existsSync(PROGRAM) ? undefined : "there is no llama-server here; on Debian: .ci/llama-server";
}

/** The same for llama-fit-params, which Debian has in a package of its own. */
export function fitToolProblem(): string | undefined {
  const isThere = existsSync(FIT_PROGRAM);
  return (
    llamaServerProblem() ??
    (isThere ? undefined : "there is no llama-fit-params here; on Debian: .ci/llama-server")
  );
}

/** The same for llama.cpp's RPC server and what a llama-server needs to use one, which come in two more packages. */
export function rpcProblem(): string | undefined {
  const problem = llamaServerProblem();
  if (problem !== undefined) return problem;
  const isThere = existsSync(join(libraries().backends, "libggml-rpc.so")) && existsSync(rpcProgram());
  return isThere ? undefined : "there is no RPC server of llama.cpp here; on Debian: .ci/llama-server";
}

function rpcProgram(): string {
  const { machine } = libraries();
  return join(ROOT, "usr/libexec", basename(machine), "llama/bin/ggml-rpc-server");
}

/** Starts llama.cpp's RPC server with these arguments; one of them is the port. */
export async function startRpcServer(args: readonly string[], port: number): Promise<Daemon> {
  const { cwd, env } = await prepareLlamaServer();
  const folder = await mkdtemp(join(tmpdir(), "rpc-server-test-"));
  const isUp = (): Promise<boolean> => listens(port);
  return startDaemon({ name: "ggml-rpc-server", program: RPC_SERVER, args, folder, cwd, env, isUp });
}

/**
 * Starts a llama-server with the tiny model on a free port of 127.0.0.1 and waits until the model is loaded.
 *
 * @param options.args further arguments, as `["-c", "4096"]`
 * @throws when it ends before it answers, with its log
 */
export async function startLlamaServer(options: { args: readonly string[] }): Promise<LlamaServer> {
  return start(["-m", TINY_MODEL, "-a", TINY_ID, ...options.args], {});
}

/**
 * Starts a llama-server in router mode, which holds one model at a time unless `args` say otherwise. Nothing is loaded yet.
 *
 * @param options.preset the text of its `--models-preset` file; `model = ${TINY_MODEL}` is a model that loads
 * @param options.hub where it downloads models from; without one it has nothing to download from
 * @param options.token the `HF_TOKEN` in its environment
 * @param options.env more of its environment
 */
export async function startRouter(options: {
  preset: string;
  args: readonly string[];
  hub?: string;
  token?: string;
  env?: Readonly<Record<string, string>>;
}): Promise<LlamaServer> {
  const { preset, args, hub = "http://127.0.0.1:9", token } = options;
  const env = { HF_ENDPOINT: hub, ...(token === undefined ? {} : { HF_TOKEN: token }), ...options.env };
  return start(["--models-max", "1", ...args], { "--models-preset": preset }, env);
}

/** @param files arguments whose value is a file with this text */
async function start(
  args: readonly string[],
  files: Readonly<Record<string, string>>,
  more: Readonly<Record<string, string>> = {},
): Promise<LlamaServer> {
  const { program, cwd, env } = await prepareLlamaServer();
  const folder = await mkdtemp(join(tmpdir(), "llama-server-test-"));
  const named: string[] = [];
  for (const [flag, text] of Object.entries(files)) {
    const path = join(folder, flag.replaceAll("-", ""));
    await writeFile(path, text);
    named.push(flag, path);
  }
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const daemon = await startDaemon({
    name: "llama-server",
    program,
    args: ["--host", "127.0.0.1", "--port", String(port), ...OWN_ARGUMENTS, ...named, ...args],
    folder,
    cwd,
    env: { ...env, ...more, HOME: folder },
    isUp: () => isHealthy(url),
  });
  return { url, port, folder, ...daemon };
}

/** What a model's command says to start the unpacked programs by themselves: where their libraries are. */
export async function llamaPlaces(): Promise<{ program: string; places: string[] }> {
  const { program, cwd, env } = await prepareLlamaServer();
  // The variant that every processor can run; the others are looked for in a folder that the package names.
  const backend =
    readdirSync(cwd).find((name) => /^libggml-cpu(-x64)?\.so$|^libggml-cpu-.*v8\.0/.test(name)) ?? "";
  const places = [`LD_LIBRARY_PATH=${env.LD_LIBRARY_PATH}`, `GGML_BACKEND_PATH=${join(cwd, backend)}`];
  return { program, places };
}

/** How the unpacked llama-server is started: made ready when it is asked for, the tiny model too. */
export async function prepareLlamaServer(): Promise<{
  program: string;
  cwd: string;
  env: Record<string, string>;
}> {
  const library = libraries();
  for (const [made, program] of [
    [STARTED, PROGRAM],
    [FIT_TOOL, FIT_PROGRAM],
    [RPC_SERVER, rpcProgram()],
  ] as const) {
    if (existsSync(program)) await keep(made, withLoader(await readFile(program), library.loader), 0o755);
  }
  await keep(TINY_MODEL, tinyModel(), 0o644);
  return {
    program: STARTED,
    // Where its variants for the kinds of processor are: it looks for them in its own folder and in this one.
    cwd: library.backends,
    env: { PATH: process.env.PATH ?? "", LD_LIBRARY_PATH: library.path },
  };
}

/** What the program needs of the unpacked packages, under the name that Debian gives this kind of machine. */
function libraries(): { path: string; machine: string; backends: string; loader: string } {
  const all = join(ROOT, "usr/lib");
  const machine = join(all, readdirSync(all).find((name) => name.endsWith("-linux-gnu")) ?? "");
  const loader = readdirSync(machine).find((name) => /^ld-linux.*\.so/.test(name));
  const backends = join(machine, "ggml", readdirSync(join(machine, "ggml"))[0] ?? "");
  if (loader === undefined)
    throw new Error(`${machine} holds no dynamic loader; remove ${ROOT} and fetch it again`);
  const path = [machine, join(machine, "llama")].join(delimiter);
  return { path, machine, backends, loader: join(machine, loader) };
}

/** Makes the file hold these bytes; other processes see the old file or the new one, whole. */
async function keep(path: string, bytes: Buffer, mode: number): Promise<void> {
  if ((await readFile(path).catch(() => undefined))?.equals(bytes)) return;
  await mkdir(join(path, ".."), { recursive: true });
  const temporary = `${path}.${randomUUID()}`;
  await writeFile(temporary, bytes, { mode });
  await rename(temporary, path);
}

/** Whether it is up and, of one llama-server, its model loaded. */
export async function isHealthy(url: string): Promise<boolean> {
  try {
    const answer = await fetch(`${url}/health`);
    await answer.text();
    return answer.ok;
  } catch {
    return false;
  }
}
