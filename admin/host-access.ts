/** The server's machine, as a command uses it: opened, and closed when the command is over. */
import { type Config, DEFAULTS, ROUTER_DEFAULTS } from "../config.ts";
import type { ServerDownloads } from "../host/download/downloads.ts";
import type { Examiner } from "../host/examine/examiner.ts";
import type { ServerMemory } from "../host/fit/server-memory.ts";
import type { HostFile, RemoteMachine } from "../host/ssh/machine.ts";
import { ServerError } from "../lib/errors.ts";
import { type Backend, type BackendKind, hasConfigFile } from "../server/kinds/backend.ts";
import type { ModelServer } from "../server/model-server.ts";

/** How long a server may take to say which kind it is; it does not answer at all where its machine is off. */
const KIND_LIMIT_MS = 3000;
/** In case pi is killed. The ssh connection must outlast the steps of a change that follow one another. */
const CONNECTION_KEEP_MS = 60_000;

export interface Host {
  readonly machine: RemoteMachine;
  /** What models need of its memory. */
  readonly memory: ServerMemory;
  readonly downloads: ServerDownloads;
  /** What the doctor looks at there. */
  readonly examiner: Examiner;
  /** With the path and unit of this machine and this kind of server. */
  readonly config: Config;
  close(): Promise<void>;
}

type Server = Pick<ModelServer, "config" | "backend" | "lastKind">;

/** What to set before a command can use ssh. */
export function withoutSshHost(): ServerError {
  return new ServerError(
    "AI_SERVER_SSH_HOST is not set, so this command knows no machine to connect to. Set it to the server's ssh target, such as user@host, or to local if the server runs on this machine; /login ai-server asks for it too.",
    { link: "configuration", variable: "AI_SERVER_SSH_HOST" },
  );
}

/**
 * Opens nothing yet: the first use of the machine does.
 *
 * @throws {ServerError} where no ssh target is set; the signal's reason
 */
export async function openHost(server: Server, signal: AbortSignal): Promise<Host> {
  return hostOf(server, await backendOf(server, signal));
}

/**
 * The same, for work on the config file. A server that is down must not prevent its own repair.
 *
 * @throws {ServerError} for a kind of server that has no config file, or where no ssh target is set; the signal's reason
 */
export async function openConfigHost(server: Server, signal: AbortSignal): Promise<Host> {
  const backend = await backendOf(server, signal);
  if (backend !== undefined && !hasConfigFile(backend.kind)) throw withoutConfigFile(backend);
  return hostOf(server, backend);
}

function withoutConfigFile({ kind, name }: Backend): ServerError {
  return new ServerError(
    kind === "llama-server"
      ? "This server is a single llama-server without a config file: its service unit sets the context with --ctx-size. Edit the unit on the server, then run /ai-server-restart."
      : `${name} has no config file that this extension can edit; set its contexts in ${name} itself.`,
    { link: "config file" },
  );
}

/** @returns undefined where the server does not answer */
async function backendOf(
  server: Pick<ModelServer, "backend">,
  signal: AbortSignal,
): Promise<Backend | undefined> {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(KIND_LIMIT_MS)]);
  const backend = await server.backend(limited).catch(() => undefined);
  signal.throwIfAborted();
  return backend;
}

async function hostOf(server: Server, backend: Backend | undefined): Promise<Host> {
  const { sshHost } = server.config;
  if (sshHost === undefined) throw withoutSshHost();
  const config = placedConfig(server.config, backend?.kind, server.lastKind);
  const [{ Shell }, { RemoteMachine }, { ServerMemory }, { ServerDownloads }, { Examiner }] =
    await Promise.all([
      import("../host/ssh/shell.ts"),
      import("../host/ssh/machine.ts"),
      import("../host/fit/server-memory.ts"),
      import("../host/download/downloads.ts"),
      import("../host/examine/examiner.ts"),
    ]);
  const shell = new Shell({
    host: sshHost,
    mode: config.sshMode,
    connectTimeoutMs: config.sshTimeoutMs,
    keepMs: CONNECTION_KEEP_MS,
    presetPath: config.presetPath,
    serviceUnit: config.serviceUnit,
    restartCommand: config.restartCommand,
  });
  return {
    machine: new RemoteMachine(shell, config.restartTimeoutMs),
    memory: new ServerMemory(shell),
    downloads: new ServerDownloads(shell),
    examiner: new Examiner(shell),
    config,
    close: () => shell.close(),
  };
}

/** What config file each kind of server has, in words, and where it usually is. */
const FILES = {
  "llama-swap": {
    server: "llama-swap",
    file: "a config of llama-swap",
    usual: DEFAULTS.AI_SERVER_PRESET_PATH,
  },
  router: {
    server: "llama.cpp's router",
    file: "a preset of llama.cpp's router",
    usual: ROUTER_DEFAULTS.AI_SERVER_PRESET_PATH,
  },
};

/** The kind of server whose config ends like this; undefined for a folder, which may hold either. */
function kindOfPath(path: string): keyof typeof FILES | undefined {
  if (/\.ini$/i.test(path)) return "router";
  return /\.ya?ml$/i.test(path) ? "llama-swap" : undefined;
}

/**
 * The configuration with path and unit of this kind of server, where the user has set none.
 *
 * @param kind undefined where the server does not answer: then the ending of the configured path decides
 * @param kindBefore what it was when it last answered; counts where neither says
 * @throws {ServerError} where the path that was set is of the other kind
 */
export function placedConfig(
  config: Config,
  kind: BackendKind | undefined,
  kindBefore: BackendKind | undefined,
): Config {
  const { isPresetPathSet, isServiceUnitSet, presetPath, serviceUnit, sshHost, sshMode } = config;
  const named = isPresetPathSet ? kindOfPath(presetPath) : undefined;
  // With a wrapper its own path counts.
  const isOurPath = sshMode === "direct" || sshHost === "local";
  if (isOurPath && named !== undefined && (kind === "llama-swap" || kind === "router") && kind !== named) {
    const { server, usual } = FILES[kind];
    throw new ServerError(
      `AI_SERVER_PRESET_PATH is ${presetPath}, ${FILES[named].file}, but the server is ${server}. Set it to the file that the server reads, or unset it to use ${usual}.`,
      { link: "configuration" },
    );
  }
  const likely = kind ?? named ?? kindBefore;
  const isRouter = likely === "router" || (likely !== "llama-swap" && named === "router");
  if (!isRouter && likely !== "llama-server") return config;
  return {
    ...config,
    presetPath: isPresetPathSet || !isRouter ? presetPath : ROUTER_DEFAULTS.AI_SERVER_PRESET_PATH,
    serviceUnit: isServiceUnitSet ? serviceUnit : ROUTER_DEFAULTS.AI_SERVER_SERVICE_UNIT,
  };
}

/** The path of a config file as the user knows it; a wrapper reports only its name. */
export function pathOf(file: Pick<HostFile, "name">, { sshHost, sshMode, presetPath }: Config): string {
  if (sshMode === "wrapper" && sshHost !== "local") return file.name;
  const path = presetPath.replace(/\/+$/, "");
  return path.endsWith(`/${file.name}`) ? path : `${path}/${file.name}`;
}
