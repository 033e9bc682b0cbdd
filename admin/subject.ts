/** The model that a command on the config means, as the files on the server have it. */
import { formatOf, modelsIn } from "../host/config/config-file.ts";
import type { HostFile } from "../host/ssh/machine.ts";
import { ServerError } from "../lib/errors.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { ModelFacts } from "../server/models/models.ts";
import { idOf } from "../server/models/names.ts";
import { readKnownId } from "./arguments.ts";
import type { Call } from "./call.ts";
import { type Host, pathOf } from "./host-access.ts";
import { aliasesOf, modelsNow, noIdGiven } from "./models.ts";

export interface Subject {
  readonly id: string;
  /** What follows the model in the argument. */
  readonly rest: string;
  readonly file: HostFile;
  /** All files of the config. */
  readonly files: readonly HostFile[];
  /** Undefined where the server does not list it, or does not answer. */
  readonly facts: ModelFacts | undefined;
}

/**
 * Reads the config on the server, and finds the model that the command's argument names.
 *
 * @throws {ServerError} where that is none, or none of the config; the signal's reason
 */
export async function readSubject(call: Call, server: ModelServer, host: Host): Promise<Subject> {
  const { waiting, argument } = call;
  waiting.say("Reading the config on the server");
  const files = await host.machine.read(waiting.signal);
  // A server that is down must not prevent its own repair.
  const models = await modelsNow(call, server).catch(() => []);
  waiting.signal.throwIfAborted();

  const written = modelsIn(files);
  // An id that would steer a terminal is none, as where the server lists it.
  const safe = written.flatMap(({ model }) => idOf(model) ?? []);
  const ids = [...new Set([...safe, ...models.map(({ id }) => id)])];
  const read = readKnownId(argument, ids, aliasesOf(server));
  if (read === undefined) throw noIdGiven(ids);
  const facts = models.find(({ id }) => id === read.id);
  const id = facts?.runsAs ?? read.id;
  const file = written.find(({ model }) => model === id)?.file ?? presetFor(facts, files);
  if (file === undefined) throw notInConfig(id, files, host);
  return { id, rest: read.rest, file, files, facts };
}

/** A model that a router has found itself need not be in its preset yet. */
function presetFor(facts: ModelFacts | undefined, files: readonly HostFile[]): HostFile | undefined {
  const presets = files.filter(({ name }) => facts?.isFound === true && formatOf(name) === "ini");
  return presets.length === 1 ? presets[0] : undefined;
}

function notInConfig(id: string, files: readonly HostFile[], { config }: Host): ServerError {
  const paths = files.map((file) => pathOf(file, config)).join(", ");
  return new ServerError(
    `${id} is not in the config ${paths}: it runs elsewhere, or AI_SERVER_PRESET_PATH is not the file that the server reads.`,
    { link: "config file" },
  );
}
