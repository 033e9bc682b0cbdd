/** The models as the server has them at this moment, for the commands. */

import { shown } from "../host/config/refusals.ts";
import type { LiveContext, LoadedModel } from "../host/probe.ts";
import { ServerError } from "../lib/errors.ts";
import { baseUrlOf, readRemembered } from "../provider/pi-models.ts";
import type { ModelServer } from "../server/model-server.ts";
import { commandDigest } from "../server/models/command-line.ts";
import type { FileFacts } from "../server/models/listed-model.ts";
import { NO_DESCRIPTION } from "../server/models/listed-model.ts";
import type { ModelFacts, RememberedFacts, RunningModel } from "../server/models/models.ts";
import { type Aliases, readKnownId } from "./arguments.ts";
import type { Call } from "./call.ts";

const NOTHING_REPORTED = { tokens: undefined, trained: undefined, file: undefined };

export async function modelsNow({ aiServer, waiting }: Call, server: ModelServer): Promise<ModelFacts[]> {
  return server.discover(await aiServer.rememberedFacts(server.config), { signal: waiting.signal });
}

/** The other names under which the server takes its models, as it last listed them. */
export function aliasesOf({ descriptions }: Pick<ModelServer, "descriptions">): Aliases {
  return new Map([...descriptions].flatMap(([id, { aliases }]) => aliases.map((alias) => [alias, id])));
}

export interface Chosen {
  /** The id under which the server runs it. */
  readonly id: string;
  readonly facts: ModelFacts | undefined;
}

/** @throws {ServerError} for text after the id */
export function requireEnd(rest: string): void {
  if (rest === "") return;
  throw new ServerError(`This command takes one model; ${shown(rest)} after it is not understood.`, {
    link: "model",
  });
}

/**
 * Finds the model that an argument names, among those that the server lists or runs.
 *
 * @returns undefined without an argument
 * @throws {ServerError} for an unknown id
 */
export function chosenModel(
  text: string,
  models: readonly ModelFacts[],
  running: readonly RunningModel[],
  aliases: Aliases,
): Chosen | undefined {
  const ids = [...new Set([...models, ...running].map(({ id }) => id))];
  const read = readKnownId(text, ids, aliases);
  if (read === undefined) return undefined;
  requireEnd(read.rest);
  const facts = models.find(({ id }) => id === read.id);
  return { id: facts?.runsAs ?? read.id, facts };
}

/**
 * @param server whose list says where such a model runs
 * @throws {ServerError} for a model that this server does not run itself
 */
export function requireHere({ facts }: Chosen, { descriptions }: Pick<ModelServer, "descriptions">): void {
  if (facts === undefined || facts.runsAs !== undefined) return;
  const { peer, targets } = descriptions.get(facts.id) ?? NO_DESCRIPTION;
  const what =
    facts.kind === "peer"
      ? `runs on ${peer === undefined ? "another server" : `the peer ${peer}`}, to which llama-swap forwards its requests`
      : `chooses among ${targets.length === 0 ? "other models" : targets.join(", ")} for each request`;
  throw new ServerError(`${facts.id} ${what}: it cannot be loaded, unloaded or logged here.`, {
    link: "model",
  });
}

/** The same, where an id must be given. @throws {ServerError} */
export function requiredModel(
  text: string,
  models: readonly ModelFacts[],
  running: readonly RunningModel[],
  aliases: Aliases,
): Chosen {
  const chosen = chosenModel(text, models, running, aliases);
  if (chosen === undefined) throw noIdGiven(models.map(({ id }) => id));
  return chosen;
}

export function noIdGiven(ids: readonly string[]): ServerError {
  const some = `${ids.slice(0, 5).join(", ")}${ids.length > 5 ? ", …" : ""}`;
  const hint = ids.length === 0 ? "The server has none." : `The server has ${some}.`;
  return new ServerError(`Name a model. ${hint}`, { link: "model" });
}

function factsOfFile(file: FileFacts | undefined): Partial<Pick<RememberedFacts, keyof FileFacts>> {
  const { trainedContext, sizeBytes, quantization } = file ?? {};
  return {
    ...(trainedContext === undefined ? {} : { trainedContext: { value: trainedContext, source: "live" } }),
    ...(sizeBytes === undefined ? {} : { sizeBytes: { value: sizeBytes, source: "live" } }),
    ...(quantization === undefined ? {} : { quantization: { value: quantization, source: "live" } }),
  };
}

/** What is known of a model, with what a ready one reports of its window and its file when it is asked. */
export async function askedFacts(
  call: Call,
  server: ModelServer,
  facts: ModelFacts,
): Promise<{ facts: ModelFacts; isAsked: boolean }> {
  if (facts.state !== "ready" || facts.runsAs === undefined) return { facts, isAsked: false };
  const { tokens, file } = await liveContext(call, server, facts.runsAs);
  const context = tokens === undefined ? {} : { context: { value: tokens, source: "live" } as const };
  return { facts: { ...facts, ...context, ...factsOfFile(file) }, isAsked: true };
}

/**
 * The window of a loaded model and the facts of its file, which are remembered on this machine.
 *
 * @param id of a model that `/running` shows as ready
 */
export async function liveContext(
  { aiServer, waiting }: Call,
  server: ModelServer,
  id: string,
): Promise<LiveContext & { file: FileFacts | undefined }> {
  const live = await server.liveContext(id, waiting.signal).catch(() => NOTHING_REPORTED);
  const memory = await aiServer.remembered.memory();
  // Only a convenience: nothing waits for it.
  void memory.remember(baseUrlOf(server.config), id, {
    ...factsOfFile(live.file),
    seenAt: Date.now(),
  });
  return live;
}

/** The window that a model was trained for, as it is remembered; a model is asked only where it is not. */
export async function trainedContext(
  call: Call,
  server: ModelServer,
  id: string,
  running: readonly LoadedModel[],
): Promise<number | undefined> {
  const memory = await call.aiServer.remembered.memory();
  const { command, trainedContext } = readRemembered(
    (await memory.facts(baseUrlOf(server.config), id)) ?? {},
  );
  const own = running.find((model) => model.id === id && model.state === "ready");
  const isSame = own?.commandLine !== undefined && command === commandDigest(own.commandLine);
  if (own === undefined || (isSame && trainedContext !== undefined)) return trainedContext?.value;
  return (await liveContext(call, server, id)).trained ?? trainedContext?.value;
}

/**
 * Reads the models again and hands them to pi, whose session follows.
 *
 * @param isReported whether the caller reports the changes; otherwise the session reports changed windows
 * @returns what was found, and a line for each change
 */
export async function refreshModels(
  { aiServer, ctx, waiting }: Call,
  isReported = false,
): Promise<{ found: readonly ModelFacts[]; changes: readonly string[] }> {
  const { models, found, changes } = await aiServer.discover(undefined, { signal: waiting.signal });
  await aiServer.publish(models, ctx.modelRegistry, isReported);
  return { found, changes };
}
