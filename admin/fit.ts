/** What a context size needs of the server's memory, and which size fits: asked for the commands. Loads nothing. */

import { type ModelStart, startOfCommand } from "../host/config/command/model-start.ts";
import { contextOfCommand } from "../host/config/command/server-arguments.ts";
import { findContext, findStart, formatOf, modelsIn } from "../host/config/config-file.ts";
import {
  type MachineMemory,
  type MemoryNeed,
  type StartedModel,
  type Unknown,
  unknown,
} from "../host/fit/fit.ts";
import { type Largest, largestContext } from "../host/fit/largest.ts";
import { type Held, type Place, placesOf, type Verdict, verdictOf } from "../host/fit/room.ts";
import { startedModel } from "../host/fit/started.ts";
import type { LoadedModel } from "../host/probe.ts";
import type { HostFile, UnitStatus } from "../host/ssh/machine.ts";
import { orFault, ServerError } from "../lib/errors.ts";
import type { Host } from "./host-access.ts";

/** The server's machine at this moment. */
export interface FitPlace {
  readonly memory: Host["memory"];
  readonly files: readonly HostFile[];
  readonly loaded: readonly LoadedModel[];
  /** Read only where a preset needs the router's own command line. */
  unit(): Promise<UnitStatus | undefined>;
  /** How the server would start a model, where it says so itself. */
  startLine?(id: string): Promise<string | undefined>;
  readonly signal: AbortSignal | undefined;
}

export interface FitSubject {
  readonly id: string;
  readonly file: HostFile;
  /** What it was trained for, as far as that is known without the model's file. */
  readonly trained: number | undefined;
}

/** A model's memory, with what there is for it once other models have made room. */
export interface Fitting {
  readonly kind: "fitting";
  readonly memory: MachineMemory;
  /** The loaded models that give way to it, itself included. */
  readonly unloaded: readonly Held[];
  needs(tokens: number): Promise<MemoryNeed | Unknown>;
  placesFor(need: MemoryNeed): Place[];
  verdictOf(need: MemoryNeed): Verdict;
  /** @param below no larger size is looked at */
  largest(below?: number): Promise<Largest>;
}

/** How many models a router holds at a time, unless its command says otherwise (seen on llama.cpp 0.7.0). */
const ROUTER_HOLDS = 4;

/** @throws the signal's reason, and nothing else */
export async function fittingOf(place: FitPlace, subject: FitSubject): Promise<Fitting | Unknown> {
  const { memory, signal } = place;
  const model = await startedOf(place, subject.id, subject.file);
  if (model.kind === "unknown") return model;
  const machine = await memory.devices(signal, model);
  if (machine.kind === "unknown") return machine;
  const { leaving, isSure } = await leavingFor(place, subject);
  const known = await Promise.all(leaving.map((loaded) => heldBy(place, loaded)));
  const unloaded = isSure
    ? known
    : known.map((held) => (held.id === subject.id ? held : { ...held, need: undefined }));
  const placesFor = (need: MemoryNeed): Place[] => placesOf(need, machine, unloaded, model);
  const judge = (need: MemoryNeed): Verdict => verdictOf(need, placesFor(need), model);
  return {
    kind: "fitting",
    memory: machine,
    unloaded,
    placesFor,
    verdictOf: judge,
    needs: (tokens) => memory.need(model, tokens, signal),
    largest: (below) =>
      largestContext({ memory, model, trained: subject.trained, verdictOf: judge, below, signal }),
  };
}

async function startedOf(
  place: FitPlace,
  id: string,
  file: HostFile | undefined,
): Promise<StartedModel | Unknown> {
  try {
    const start = await startOf(place, id, file);
    return start === undefined ? unknown("nothing shows how it is started.") : startedModel(start);
  } catch (error) {
    place.signal?.throwIfAborted();
    if (!(error instanceof ServerError)) throw error;
    return unknown(error.message);
  }
}

/** From the config; of a router's model as the router itself has put it together, where it answers. */
async function startOf(
  { startLine, unit }: FitPlace,
  id: string,
  file: HostFile | undefined,
): Promise<ModelStart | undefined> {
  if (file === undefined || formatOf(file.name) === "ini") {
    const line = await startLine?.(id);
    if (line !== undefined) return startOfCommand(line, []);
  }
  if (file === undefined) return undefined;
  const router = formatOf(file.name) === "ini" ? (await unit())?.commandLine : undefined;
  return findStart(file.text, formatOf(file.name), id, router);
}

/**
 * Which of the loaded models make room. llama-swap unloads all of them when it reads its config again; a router those
 * for which it has no room, the one that was used last the last.
 */
async function leavingFor(
  { files, loaded, unit }: FitPlace,
  { id, file }: FitSubject,
): Promise<{ leaving: readonly LoadedModel[]; isSure: boolean }> {
  const isRouter = files.length > 0 && formatOf(file.name) === "ini";
  const others = loaded.filter((model) => model.id !== id);
  if (!isRouter || others.length === 0) return { leaving: loaded, isSure: true };
  const words = (await unit())?.commandLine ?? [];
  const flag = words.lastIndexOf("--models-max");
  const holds = flag < 0 ? ROUTER_HOLDS : Number(words[flag + 1]);
  if (holds === 1) return { leaving: loaded, isSure: true };
  const own = loaded.filter((model) => model.id === id);
  // 0 is no limit.
  return others.length < holds || holds === 0
    ? { leaving: own, isSure: true }
    : { leaving: loaded, isSure: false };
}

/** What a loaded model holds, by the command line with which it runs. */
async function heldBy(place: FitPlace, loaded: LoadedModel): Promise<Held> {
  const { id, commandLine } = loaded;
  const file = modelsNamed(place.files).find(({ model }) => model === id)?.file;
  const nothing = { id, need: undefined };
  try {
    const written = file && findStart(file.text, formatOf(file.name), id);
    const start = (commandLine && startOfCommand(commandLine, written?.environment ?? [])) || written;
    const model = start && startedModel(start);
    const tokens =
      (commandLine === undefined ? undefined : contextOfCommand(commandLine)) ??
      (file && findContext(file.text, formatOf(file.name), id).tokens);
    if (model?.kind !== "started" || !tokens) return nothing;
    const need = await place.memory.need(model, tokens, place.signal);
    return need.kind === "need" ? { id, need } : nothing;
  } catch (error) {
    place.signal?.throwIfAborted();
    if (!(error instanceof ServerError)) throw error;
    return nothing;
  }
}

/**
 * llama.cpp's programs as the first model that they start has them; undefined where none is.
 *
 * @param router the words of a router's own command line, for a preset
 */
export function programsIn(
  files: readonly HostFile[],
  router: readonly string[] | undefined,
): StartedModel | undefined {
  for (const { model, file } of modelsNamed(files)) {
    const started = orFault(() => {
      const start = findStart(file.text, formatOf(file.name), model, router);
      return start && startedModel(start);
    });
    if (started && !(started instanceof ServerError) && started.kind === "started") return started;
  }
  return undefined;
}

/** None of a file that is not understood. */
function modelsNamed(files: readonly HostFile[]): { model: string; file: HostFile }[] {
  return files.flatMap((file) => {
    const models = orFault(() => modelsIn([file]));
    return models instanceof ServerError ? [] : models;
  });
}
