/** The files that a model's command names, and whether anything else names them too. */
import { orFault, ServerError } from "../../../lib/errors.ts";
import { counted } from "../../../lib/figures.ts";
import { boundFlags } from "../command/model-flags.ts";
import { pathOutside } from "../command/mounts.ts";
import { ggufsAt, mentions } from "../gguf-paths.ts";
import type { OtherFile } from "../model-change.ts";
import { shown } from "../refusals.ts";
import { type Model, readYamlConfig, type YamlConfig } from "./config.ts";
import { type Located, locate } from "./context.ts";

function located(config: YamlConfig, model: Model): Located | undefined {
  const found = orFault(() => locate(config, model));
  return found instanceof ServerError ? undefined : found;
}

/** The GGUFs that a command names, as the machine has them; all shards of each. */
function ggufsOf({ server }: Located): string[] {
  return boundFlags(server.args).flatMap(({ bond, value }) => {
    // Adapters are given with commas between them; a model's own path may hold one.
    const paths = bond === "own" ? value.split(",") : [value];
    const outside = paths.flatMap((path) => pathOutside(server, path.replace(/:[\d.]+$/, "")) ?? []);
    return outside.flatMap(ggufsAt);
  });
}

/** Every text in a document, keys included. */
export function textsIn(plain: unknown): string[] {
  if (typeof plain === "string") return [plain];
  if (Array.isArray(plain)) return plain.flatMap(textsIn);
  return plain instanceof Map ? [...plain].flat().flatMap(textsIn) : [];
}

/** All texts of a configuration, commands with their macros written out too. */
function allTexts(config: YamlConfig): string[] {
  const commands = [...config.models.values()].flatMap((model) => {
    const found = located(config, model);
    return found ? [found.expanded.text, ...found.server.words.map((word) => word.value.text)] : [];
  });
  return [...textsIn(config.plain), ...commands];
}

/** Whether another command serves every model of the folder in which a file is. */
function isServedFrom(texts: readonly string[], path: string): boolean {
  return texts.some((text) => {
    const folder = /--models-dir[ =]+["']?([^\s"']+)/.exec(text)?.[1]?.replace(/\/+$/, "");
    return folder !== undefined && path.startsWith(`${folder}/`);
  });
}

/**
 * The files that go with a model.
 *
 * @param rest the configuration without the model
 * @param others the other files of the same folder
 */
export function filesOf(
  config: YamlConfig,
  model: Model,
  rest: YamlConfig,
  others: readonly OtherFile[],
): { files: string[]; notes: string[] } {
  const found = located(config, model);
  if (!found)
    return {
      files: [],
      notes: [`The command of ${shown(model.id)} is not understood: its files are not known.`],
    };
  const texts = [rest, ...others.map(({ text }) => readYamlConfig(text, true))].flatMap(allTexts);
  const all = [...new Set(ggufsOf(found))];
  const isShared = (path: string): boolean =>
    texts.some((text) => mentions(text, path)) || isServedFrom(texts, path);
  const shared = all.filter(isShared);
  return {
    files: all.filter((path) => !isShared(path)),
    notes: staying(shared),
  };
}

function staying([first, ...more]: readonly string[]): string[] {
  if (first === undefined) return [];
  if (more.length === 0) return [`${first} stays: another model uses that file.`];
  return [`${first} and ${counted(more.length, "more file")} stay: other models use them.`];
}

/** Every absolute path of a GGUF in a configuration, as the machine has it where that is known. */
export function yamlFiles(text: string): string[] {
  const config = readYamlConfig(text, true);
  const known = [...config.models.values()].flatMap((model) => {
    const found = located(config, model);
    return found ? ggufsOf(found) : [];
  });
  return [...new Set([...known, ...allTexts(config).flatMap(pathsIn)])];
}

/** The paths of GGUFs in a text, whatever stands around them. */
function pathsIn(text: string): string[] {
  return [text, ...(text.match(/\/[^\s"'=:,;]+\.gguf/gi) ?? [])].flatMap(ggufsAt);
}
