/** Answers of llama.cpp's servers, one llama-server or the router: models and slots. Pure: takes parsed answers. */
import { quote } from "shlex";
import { count, flag, type JsonRecord, number, record, text, texts } from "../../../lib/json.ts";
import {
  declaredVision,
  entriesOf,
  isChatModel,
  type ListedModel,
  listedModel,
  NO_DESCRIPTION,
} from "../../models/listed-model.ts";
import type { ModelState, RunningModel } from "../../models/models.ts";
import { fileTypeOf, idOf, MAX_MODELS, nameOf } from "../../models/names.ts";
import type { Slot } from "../backend.ts";

const MOST_ALIASES = 50;

/** The router's words for a model's state. */
const STATES: ReadonlyMap<unknown, ModelState> = new Map([
  ["loaded", "ready"],
  ["sleeping", "ready"],
  ["loading", "starting"],
  ["unloaded", "unloaded"],
  ["downloading", "unloaded"],
  ["downloaded", "unloaded"],
]);

const DOWNLOADING: ReadonlySet<unknown> = new Set(["downloading", "downloaded"]);

/** Flags that name the model; those that end in `-default` imply one. */
const MODEL_SOURCE = /^(-m|--model|-mu|--model-url|-hfr?|--hf-repo|-dr|--docker-repo|--.+-default)$/;

/** @returns undefined for a state that the router does not have */
export function routerState(status: unknown): ModelState | undefined {
  return STATES.get(status);
}

function listedOf(id: string, entry: JsonRecord): ListedModel {
  const meta = record(entry.meta);
  const aliases = texts(entry.aliases).flatMap((alias) => idOf(alias) ?? []);
  return listedModel(id, {
    name: nameOf(entry.name) ?? id,
    isChat: isChatModel(id, entry, undefined),
    declared: {
      vision: declaredVision(entry, undefined),
      trainedContext: count(meta?.n_ctx_train),
      sizeBytes: count(meta?.size),
      quantization: fileTypeOf(meta?.ftype),
    },
    description: {
      ...NO_DESCRIPTION,
      aliases: aliases.filter((alias) => alias !== id).slice(0, MOST_ALIASES),
    },
  });
}

/** The list of one llama-server, which has one model. `/props` has its `meta.n_ctx` too. */
export function parseOwnModel(answer: unknown): ListedModel[] {
  return [...entriesOf(answer)].map(([id, entry]) => listedOf(id, entry));
}

/**
 * The router's list. Its `context_length` is the trained window; the configured one is in the arguments. A section of the
 * preset without a model is listed like a model, and would load forever.
 */
export function parseRouterModels(answer: unknown): ListedModel[] {
  return [...entriesOf(answer)].map(([id, entry]) => {
    const listed = listedOf(id, entry);
    const args = argumentsOf(entry);
    const status = record(entry.status);
    const isDownloading = DOWNLOADING.has(status?.value);
    const trainedContext = listed.declared.trainedContext ?? count(entry.context_length);
    return {
      ...listed,
      declared: { ...listed.declared, trainedContext },
      commandLine: commandLineOf(args),
      problem: isDownloading
        ? "downloading"
        : args.length === 0 || args.some((word) => MODEL_SOURCE.test(word))
          ? undefined
          : "no model path",
      failure: status?.failed === true ? { exitCode: number(status.exit_code) } : undefined,
      // `models_dir` or `cache`; `preset` as soon as a section has its name.
      ...(entry.source !== undefined && entry.source !== "preset" ? { isFound: true } : {}),
      ...(entry.can_remove === true && !isDownloading ? { isDownloaded: true } : {}),
    };
  });
}

/** The models that the router is downloading. One that has just arrived counts too, until the router lists it. */
export function parseRouterDownloads(answer: unknown): string[] {
  return [...entriesOf(answer)].flatMap(([id, entry]) =>
    DOWNLOADING.has(record(entry.status)?.value) ? [id] : [],
  );
}

function argumentsOf(entry: JsonRecord): string[] {
  return texts(record(entry.status)?.args);
}

function commandLineOf(args: readonly string[]): string | undefined {
  return args.length === 0 ? undefined : args.map(quote).join(" ");
}

/** What the router has loaded, or is loading. */
export function parseRouterRunning(answer: unknown): RunningModel[] {
  const loaded = [...entriesOf(answer)].flatMap(([id, entry]): RunningModel[] => {
    const status = text(record(entry.status)?.value);
    const state = status === undefined ? undefined : (STATES.get(status) ?? "unknown");
    if (state === undefined || state === "unloaded") return [];
    const commandLine = commandLineOf(argumentsOf(entry));
    return [{ id, state, commandLine, isAsleep: status === "sleeping" }];
  });
  return loaded.slice(0, MAX_MODELS);
}

/**
 * The preset of each model as the router holds it, by id: a section with the values of its own, of `[*]` and of the
 * router's command line together.
 */
export function heldPresets(answer: unknown): Map<string, string> {
  return new Map(
    [...entriesOf(answer)].flatMap(([id, entry]) => {
      const preset = text(record(entry.status)?.preset);
      return preset === undefined ? [] : [[id, preset] as const];
    }),
  );
}

/**
 * Reads `/slots`.
 *
 * @returns undefined where the server does not report its slots (`--no-slots`, or not a llama-server)
 */
export function parseSlots(answer: unknown): Slot[] | undefined {
  if (!Array.isArray(answer) || answer.length === 0) return undefined;
  const slots = answer.flatMap((value, at): Slot[] => {
    const entry = record(value);
    const isBusy = flag(entry?.is_processing);
    if (isBusy === undefined) return [];
    // A slot has a task id once it has had a request; earlier llama-servers report -1 for the others.
    const isUsed = (number(entry?.id_task) ?? -1) >= 0;
    return [
      { id: number(entry?.id) ?? at, isBusy, isUsed, tokens: isUsed ? number(entry?.n_prompt_tokens) : 0 },
    ];
  });
  return slots.length === answer.length ? slots : undefined;
}
