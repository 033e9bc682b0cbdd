/** What a router makes of its preset file: which of its models another text changes. Pure. */
import { findIni } from "./config.ts";
import { GLOBAL, modelNames, readSections, type Section, sectionOf } from "./sections.ts";

/** Where llama.cpp takes a model from, by the keys of a section. */
const MODEL_KEYS = new Set([
  ...["model", "m", "LLAMA_ARG_MODEL", "model-url", "mu", "LLAMA_ARG_MODEL_URL"],
  ...["hf-repo", "hf", "hfr", "LLAMA_ARG_HF_REPO", "docker-repo", "dr", "LLAMA_ARG_DOCKER_REPO"],
]);

/** The short names that presets are written with; the router shows the long ones. */
const LONG_NAMES: ReadonlyMap<string, string> = new Map([
  ["c", "ctx-size"],
  ["m", "model"],
  ["mm", "mmproj"],
  ["hf", "hf-repo"],
  ["hfr", "hf-repo"],
  ["np", "parallel"],
  ["ngl", "n-gpu-layers"],
  ["gpu-layers", "n-gpu-layers"],
  ["temp", "temperature"],
  ["fa", "flash-attn"],
  ["ctk", "cache-type-k"],
  ["ctv", "cache-type-v"],
  ["b", "batch-size"],
  ["ub", "ubatch-size"],
  ["t", "threads"],
  ["kvu", "kv-unified"],
  ["n", "predict"],
  ["n-predict", "predict"],
]);

/** What a router gives each model by itself. */
const OWN_KEYS = new Set(["log-colors"]);

type Values = ReadonlyMap<string, string>;

/** What holds for a model: its own section over the one for all. Of equal keys the last counts. */
function valuesOf(sections: readonly Section[], name: string): Values {
  const entries = [GLOBAL, name].flatMap((section) => sectionOf(sections, section)?.entries ?? []);
  return new Map(entries.map(({ key, value }) => [key, value]));
}

function isEqual(one: Values, other: Values): boolean {
  return one.size === other.size && [...one].every(([key, value]) => other.get(key) === value);
}

/**
 * Whether neither a model's section nor the one for all says which model it is.
 *
 * @throws {ServerError} where the file is not understood
 */
export function lacksModel(text: string, id: string): boolean {
  return [...valuesOf(readSections(text), id).keys()].every((key) => !MODEL_KEYS.has(key));
}

/** What a reload of the preset does to the router's models. */
export interface ReloadEffect {
  /** The models that it unloads; undefined where the texts do not say. */
  readonly changed: readonly string[] | undefined;
  /** Those of them whose command lines show that the router has read the new text. */
  readonly expected: readonly { id: string; contextSize?: number }[];
}

export function reloadEffect(before: string, after: string): ReloadEffect {
  try {
    const changed = changedModels(before, after);
    return { changed, expected: changed.flatMap((id) => newSize(before, after, id)) };
  } catch {
    return { changed: undefined, expected: [] };
  }
}

/** @throws {ServerError} where a text cannot be parsed */
function changedModels(before: string, after: string): string[] {
  const [old, now] = [readSections(before), readSections(after)];
  const [oldNames, newNames] = [modelNames(old), modelNames(now)];
  return [...new Set([...oldNames, ...newNames])].filter(
    (name) =>
      oldNames.includes(name) !== newNames.includes(name) ||
      !isEqual(valuesOf(old, name), valuesOf(now, name)),
  );
}

function newSize(before: string, after: string, id: string): { id: string; contextSize: number }[] {
  const [old, contextSize] = [before, after].map((text) =>
    modelNames(readSections(text)).includes(id) ? findIni(text, id).tokens : undefined,
  );
  return contextSize === undefined || contextSize === old ? [] : [{ id, contextSize }];
}

function longName(key: string): string {
  return LONG_NAMES.get(key) ?? key;
}

function plainValue(value: string): string {
  if (/^(on|enabled|true)$/.test(value)) return "1";
  return /^(off|disabled|false)$/.test(value) ? "0" : value;
}

function plain(values: Values): Values {
  return new Map([...values].map(([key, value]) => [longName(key), plainValue(value)]));
}

/**
 * Whether a model's section is for sure the one that the router has read, so that a reload leaves the model alone.
 * Spellings that are not known here count as a difference.
 *
 * @param held the model's preset as the router shows it: the section, the one for all, and its own arguments together
 * @param commandLine the words of the router's own command line
 * @throws {ServerError} where the file is not understood
 */
export function isAsHeld(text: string, id: string, held: string, commandLine: readonly string[]): boolean {
  const sections = readSections(text);
  if (!modelNames(sections).includes(id)) return false;
  const written = plain(valuesOf(sections, id));
  const shown = plain(valuesOf(readSections(held), id));
  const own = new Set(commandLine.map((word) => longName(word.replace(/^--?/, "").replace(/=.*$/s, ""))));
  return (
    [...written].every(([key, value]) => shown.get(key) === value) &&
    [...shown.keys()].every((key) => written.has(key) || own.has(key) || OWN_KEYS.has(key))
  );
}
