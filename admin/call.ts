/** What every command gets, and what most of them begin with. */
import type { Api, Model } from "@earendil-works/pi-ai";
import type { ExtensionCommandContext } from "@earendil-works/pi-coding-agent";
import type { Activities } from "../activity/activities.ts";
import { type Config, PROVIDER_ID, type Variables } from "../config.ts";
import type { HostFile, RemoteMachine } from "../host/ssh/machine.ts";
import { ServerError } from "../lib/errors.ts";
import type { AiServer } from "../provider/ai-server.ts";
import { type Backend, hasConfigFile } from "../server/kinds/backend.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { Choices, Question } from "../ui/question.ts";
import type { Waiting } from "../ui/wait.ts";

/** Makes a model pi's own. @returns false where pi has no credentials for it */
export type SelectModel = (model: Model<Api>) => Promise<boolean>;

/** One use of a command. */
export interface Call {
  readonly aiServer: AiServer;
  readonly activities: Activities;
  readonly selectModel: SelectModel;
  readonly ctx: ExtensionCommandContext;
  /** What stands behind the command's name. */
  readonly argument: string;
  /** The session's end. */
  readonly ended: AbortSignal;
  readonly waiting: Waiting;
}

/** What `/login` stored, as pi resolves it at this moment. */
export async function storedVariables(
  ctx: Pick<ExtensionCommandContext, "modelRegistry">,
): Promise<Variables> {
  return (await ctx.modelRegistry.getProviderAuth(PROVIDER_ID))?.env ?? {};
}

/** The server of this moment's configuration. @throws {ServerError} */
export async function serverFor({
  aiServer,
  ctx,
}: {
  aiServer: AiServer;
  ctx: Pick<ExtensionCommandContext, "modelRegistry">;
}): Promise<ModelServer> {
  return aiServer.server(await storedVariables(ctx));
}

/**
 * Asks the user before something is changed.
 *
 * @param acts the two choices by what they do: the first one changes nothing
 * @throws {ServerError} in a mode that cannot ask: then nothing may be changed
 */
export async function isConfirmed(
  call: Call,
  question: Question,
  [keep, change]: readonly [keep: string, change: string],
): Promise<boolean> {
  return chosenBy(call, question, [
    { words: keep, means: false },
    { words: change, means: true },
  ]);
}

/**
 * Lets the user choose. The first choice changes nothing.
 *
 * @throws {ServerError} in a mode that cannot ask
 */
export async function chosenBy<T>(call: Call, question: Question, choices: Choices<T>): Promise<T> {
  const { ctx, waiting, ended } = call;
  requireUser(call);
  const { ask } = await import("../ui/question.ts");
  return waiting.ask(() => ask(ctx, question, choices, ended));
}

/** @throws {ServerError} in a mode that cannot ask */
export function requireUser({ ctx }: Call): void {
  if (ctx.mode === "tui" || ctx.mode === "rpc") return;
  throw new ServerError(
    `This asks before it changes anything, and in ${ctx.mode} mode there is nobody to ask: nothing was changed. Use it in pi's terminal or over RPC.`,
    { link: "stream", remedy: "none" },
  );
}

/** What tells where the server's machine keeps things. */
type Place = Pick<ModelServer, "config" | "backend" | "lastKind">;

/**
 * Uses the server's machine; its connection ends with the work.
 *
 * @param work gets the configuration of this kind of server, in which path and unit are those of the machine
 */
export async function withMachine<T>(
  server: Place,
  work: (machine: RemoteMachine, config: Config) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  return withMachineOf(server, await kindOf(server, signal), work);
}

/**
 * The same, for work on the config file.
 *
 * @throws {ServerError} for a kind of server that has none. A server that does not answer must not hinder what may
 *   repair it.
 */
export async function withConfigFile<T>(
  server: Place,
  work: (machine: RemoteMachine, config: Config) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const backend = await kindOf(server, signal);
  if (backend !== undefined && !hasConfigFile(backend.kind)) throw withoutConfigFile(backend);
  return withMachineOf(server, backend, work);
}

function withoutConfigFile({ kind, name }: Backend): ServerError {
  return new ServerError(
    kind === "llama-server"
      ? "This server is one llama-server: its context is what --ctx-size in its service unit says, and there is no config file to change. Edit the unit on the server, then /ai-server-restart."
      : `${name} has no config file that is understood here; its contexts are set there.`,
    { link: "config file", remedy: "none" },
  );
}

/** @returns undefined where the server does not answer */
async function kindOf(
  server: Pick<ModelServer, "backend">,
  signal: AbortSignal | undefined,
): Promise<Backend | undefined> {
  const limit = AbortSignal.timeout(KIND_LIMIT_MS);
  const asked = server.backend(signal === undefined ? limit : AbortSignal.any([signal, limit]));
  const backend = await asked.catch(() => undefined);
  signal?.throwIfAborted();
  return backend;
}

async function withMachineOf<T>(
  server: Place,
  backend: Backend | undefined,
  work: (machine: RemoteMachine, config: Config) => Promise<T>,
): Promise<T> {
  const { placedConfig } = await import("../host/config-place.ts");
  const config = placedConfig(server.config, backend?.kind, server.lastKind);
  const [{ Shell }, { RemoteMachine }] = await Promise.all([
    import("../host/ssh/shell.ts"),
    import("../host/ssh/machine.ts"),
  ]);
  const shell = new Shell({
    host: config.sshHost,
    mode: config.sshMode,
    connectTimeoutMs: config.sshTimeoutMs,
    keepMs: CONNECTION_KEEP_MS,
    presetPath: config.presetPath,
    serviceUnit: config.serviceUnit,
    restartCommand: config.restartCommand,
  });
  try {
    return await work(new RemoteMachine(shell, config.restartTimeoutMs), config);
  } finally {
    await shell.close();
  }
}

/** For a server to tell its kind, which does not answer at all where its machine is away. */
const KIND_LIMIT_MS = 3000;

/** For the case that pi is killed: the connection must outlast the steps of a change that follow one another. */
const CONNECTION_KEEP_MS = 60_000;

/** The path of a file that `read` gave, as the user knows it; with a wrapper only its name is known. */
export function pathOf(file: Pick<HostFile, "name">, { sshHost, sshMode, presetPath }: Config): string {
  if (sshMode === "wrapper" && sshHost !== "local") return file.name;
  const path = presetPath.replace(/\/+$/, "");
  return path.endsWith(`/${file.name}`) ? path : `${path}/${file.name}`;
}
