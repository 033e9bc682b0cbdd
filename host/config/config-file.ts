import type { ModelStart } from "./command/model-start.ts";
import { type ContextChange, type ContextSetting, MAX_TOKENS } from "./context-setting.ts";
import { findIni, iniBlock, iniSettings, iniStart, planIni } from "./ini/config.ts";
import { iniFiles, planIniAddition, planIniRemoval } from "./ini/models.ts";
import { iniSurvey } from "./ini/survey.ts";
import type { Addition, NewModel, OtherFile, Removal } from "./model-change.ts";
import { refusalBecause } from "./refusals.ts";
import type { ConfigSurvey } from "./survey.ts";
import { positionAt, type Span } from "./traced-text.ts";
import { planYamlAddition } from "./yaml/addition.ts";
import { findYaml, planYaml } from "./yaml/change.ts";
import { readYamlConfig } from "./yaml/config.ts";
import { modelOf, yamlSettings, yamlStart } from "./yaml/context.ts";
import { yamlFiles } from "./yaml/model-files.ts";
import { planYamlRemoval } from "./yaml/removal.ts";
import { yamlSurvey } from "./yaml/survey.ts";

export {
  type ContextChange,
  type ContextSetting,
  contextPerSlot,
} from "./context-setting.ts";
export type { Addition, NewModel, Removal } from "./model-change.ts";

/** llama-swap's YAML, or a preset of llama.cpp's own router. */
export type ConfigFormat = "yaml" | "ini";

/** What a file of this name holds: a preset when it ends in `.ini`, else llama-swap's YAML. */
export function formatOf(path: string): ConfigFormat {
  return /\.ini$/i.test(path) ? "ini" : "yaml";
}

/**
 * The context sizes of all models in the file, in its order. A model that cannot be understood has its `problem`.
 *
 * @throws {ServerError} that names line and column, where the file as a whole is not understood
 */
export function findContexts(text: string, format: ConfigFormat): ContextSetting[] {
  return format === "ini" ? iniSettings(text) : yamlSettings(text);
}

/**
 * The models of all these files, each with its file and context size; a file without any has none.
 *
 * @throws {ServerError} that names line and column, where a file as a whole is not understood
 */
export function modelsIn<File extends { name: string; text: string }>(
  files: readonly File[],
): { model: string; file: File; setting: ContextSetting }[] {
  return files.flatMap((file) => {
    const isPreset = formatOf(file.name) === "ini";
    const settings = isPreset ? iniSettings(file.text) : yamlSettings(file.text, true);
    return settings.map((setting) => ({ model: setting.model, file, setting }));
  });
}

/**
 * What a config says as a whole.
 *
 * @throws {ServerError} that names line and column, where it is not understood as a whole
 */
export function surveyOf(text: string, format: ConfigFormat): ConfigSurvey {
  return format === "ini" ? iniSurvey(text) : yamlSurvey(text);
}

/**
 * A model's context size and where it is set.
 *
 * @param id as the server spells it
 * @param isFound whether a router has found the model itself, in its folder or cache: a preset need not name it
 * @throws {ServerError} that names line and column where it cannot be understood
 */
export function findContext(
  text: string,
  format: ConfigFormat,
  id: string,
  isFound?: boolean,
): ContextSetting {
  return format === "ini" ? findIni(text, id, isFound) : findYaml(text, id);
}

/**
 * Plans the change of a model's context size: the whole new text, proven to differ from the old in this model's
 * context figures and in nothing else. All other bytes stay.
 *
 * @param id as the server spells it
 * @param tokens for all slots together, as `--ctx-size` takes it
 * @param isFound whether a router has found the model itself: a preset without its section gets one
 * @throws {ServerError} that names line and column and says what to do by hand; nothing is changed then
 */
export function planContextChange(
  text: string,
  format: ConfigFormat,
  id: string,
  tokens: number,
  isFound?: boolean,
): ContextChange {
  if (!Number.isInteger(tokens) || tokens < 1 || tokens > MAX_TOKENS) {
    throw refusalBecause(`The context size must be a whole number from 1 to ${MAX_TOKENS}.`);
  }
  return format === "ini" ? planIni(text, id, tokens, isFound) : planYaml(text, id, tokens);
}

/**
 * What the config starts for a model.
 *
 * @param router the words of the router's own command line, for a preset
 * @returns undefined for a model that a preset does not name
 * @throws {ServerError} where it cannot be understood
 */
export function findStart(
  text: string,
  format: ConfigFormat,
  id: string,
  router: readonly string[] = [],
): ModelStart | undefined {
  return format === "ini" ? iniStart(text, id, router) : yamlStart(text, id);
}

/**
 * Plans a new model: the whole new text, proven to have this model more than the old one and nothing else. All other
 * bytes stay.
 *
 * @param others the other files of the same folder
 * @throws {ServerError} where its id is taken or cannot be one, or the pattern cannot be followed; nothing is changed then
 */
export function planAddition(
  text: string,
  format: ConfigFormat,
  model: NewModel,
  others: readonly OtherFile[] = [],
): Addition {
  return format === "ini" ? planIniAddition(text, model) : planYamlAddition(text, model, others);
}

/**
 * Plans to take a model out: the whole new text, proven to lack this model and what names it, and nothing else. All
 * other bytes stay.
 *
 * @param others the other files of the same folder: what they name stays
 * @throws {ServerError} that names the line where something else needs the model, and what to do by hand
 */
export function planRemoval(
  text: string,
  format: ConfigFormat,
  id: string,
  others: readonly OtherFile[] = [],
): Removal {
  return format === "ini" ? planIniRemoval(text, id) : planYamlRemoval(text, id, others);
}

/**
 * The absolute paths of all GGUFs that a file names, all shards of each. Links are not followed here.
 *
 * @throws {ServerError} that names line and column, where the file as a whole is not understood
 */
export function filesNamedIn(text: string, format: ConfigFormat): string[] {
  return format === "ini" ? iniFiles(text) : yamlFiles(text);
}

/** From a model's key to the end of its mapping. */
function yamlBlock(text: string, id: string): Span {
  const { key, mapping, isOwn } = modelOf(readYamlConfig(text), id);
  const start = key.range?.[0] ?? 0;
  const end = isOwn ? (mapping.range?.[1] ?? start) : (key.range?.[1] ?? start);
  return { start, end };
}

/**
 * The lines in which a model is defined, from 1; without what it takes over from anchors and macros.
 *
 * @throws {ServerError} where the file is not understood, or does not have it
 */
export function modelBlock(text: string, format: ConfigFormat, id: string): { first: number; last: number } {
  const { start, end } = format === "ini" ? iniBlock(text, id) : yamlBlock(text, id);
  const written = text.slice(start, end).trimEnd().length;
  return {
    first: positionAt(text, start).line,
    last: positionAt(text, start + Math.max(0, written - 1)).line,
  };
}
