/** The new model's block as a text, and after which model's command it is written. */
import {
  type Addition,
  formatOf,
  modelBlock,
  modelsIn,
  planAddition,
} from "../../host/config/config-file.ts";
import type { NewModel } from "../../host/config/model-change.ts";
import type { HostFile } from "../../host/ssh/machine.ts";
import { orFault, ServerError } from "../../lib/errors.ts";
import { wordSet } from "../../lib/text.ts";
import type { Picking } from "../../ui/pick.ts";
import { type Call, pickedBy } from "../call.ts";
import type { Chosen } from "./choose.ts";
import type { Downloaded } from "./download.ts";

/** What makes llama-server download a model itself. */
const FETCHING = wordSet("-hf -hfr --hf-repo hf hfr hf-repo LLAMA_ARG_HF_REPO");

/** The file that gets the block, and the model whose command it takes over; none for a plain `llama-server`. */
export interface Pattern {
  readonly file: HostFile;
  readonly from: string | undefined;
}

/** One model more, as a new text of a file. */
export interface Block {
  readonly id: string;
  readonly file: HostFile;
  readonly addition: Addition;
}

export interface Planned {
  readonly pattern: Pattern;
  readonly block: Block;
}

/** `Qwen3-8B-Q4_K_M` of `…/Qwen3-8B-Q4_K_M-00001-of-00002.gguf`, numbered where the config has one of that name. */
export function idFor(path: string, files: readonly HostFile[]): string {
  const name = path.slice(path.lastIndexOf("/") + 1).replace(/(?:-\d{5}-of-\d{5})?\.gguf$/i, "");
  const taken = new Set(modelsIn(files).map(({ model }) => model));
  let id = name;
  for (let number = 2; taken.has(id); number += 1) id = `${name}-${number}`;
  return id;
}

/** The model whose block has this one already: names its file, in whatever way it spells the folder, or downloads it. */
export function modelWith(
  { label, file }: Pick<Downloaded, "label" | "file">,
  files: readonly HostFile[],
): string | undefined {
  // Files of other repositories may have the same name.
  const at = file.indexOf(`/${label.replace(/:.*$/, "")}/`);
  const end = file.slice(Math.max(0, at));
  const isNamed = (text: string): boolean => text.includes(end) || fetches(text, label);
  const naming = files.filter(({ text }) => isNamed(text));
  const found = modelsIn(naming).find(({ model, file: { name, text } }) => {
    const { first, last } = modelBlock(text, formatOf(name), model);
    return isNamed(
      text
        .split("\n")
        .slice(first - 1, last)
        .join("\n"),
    );
  });
  return found?.model;
}

/** Whether a command or a preset has llama-server download this model itself. */
function fetches(block: string, label: string): boolean {
  const words = block.split(/[\s"'=,]+/);
  return words.some((word, at) => FETCHING.has(word) && words[at + 1]?.toLowerCase() === label.toLowerCase());
}

/** @throws {ServerError} where a model of the config has the chosen one's file already, or downloads it itself */
export function requireNew({ label, repository, quantisation }: Chosen, files: readonly HostFile[]): void {
  const file = `/${repository.id}/${quantisation.files[0]?.path}`;
  const present = modelWith({ label, file }, files);
  if (present === undefined) return;
  throw new ServerError(
    `${inConfig(label, present)} Nothing was downloaded; to add it again, first run /ai-server-remove ${present}.`,
    { link: "config file" },
  );
}

export function inConfig(label: string, id: string): string {
  return `${label} is in the config already: ${id}.`;
}

/** @throws {ServerError} where it cannot be written */
export function plannedBlock(
  files: readonly HostFile[],
  { file, from }: Pattern,
  model: Omit<NewModel, "from">,
): Block {
  const others = files.filter((other) => other !== file);
  return {
    id: model.id,
    file,
    addition: planAddition(file.text, formatOf(file.name), { ...model, from }, others),
  };
}

/**
 * The new model's block like that of the model which the user chooses, or with a plain command.
 *
 * @returns undefined where the user leaves
 * @throws {ServerError} where it cannot be written
 */
export async function chosenPattern(
  call: Call,
  files: readonly HostFile[],
  model: Omit<NewModel, "from">,
): Promise<Planned | undefined> {
  const plain = { file: files[0] ?? noFile(), from: undefined };
  let patterns = patternsIn(files);
  let notes = [
    "You can copy another model's command, with the new file. Its aliases, names and metadata are not copied.",
  ];
  while (patterns.length > 0) {
    const pattern = await pickedBy(call, picking(model.id, notes, patterns, plain));
    if (pattern === undefined) return undefined;
    const planned = tried(files, pattern, model);
    if (typeof planned !== "string") return planned;
    // Whether it can be followed shows only when it is tried, which takes a moment in a large config.
    patterns = patterns.filter((other) => other !== pattern);
    notes = [planned];
  }
  return { pattern: plain, block: plannedBlock(files, plain, model) };
}

function noFile(): never {
  throw new ServerError("The server has no config file.", { link: "config file" });
}

/** Models that are started by a llama-server, as far as their blocks show it. */
function patternsIn(files: readonly HostFile[]): Pattern[] {
  return modelsIn(files).flatMap(({ model, file, setting: { problem, program } }) =>
    problem === undefined && program === undefined ? [{ file, from: model }] : [],
  );
}

function picking(
  id: string,
  notes: readonly string[],
  patterns: readonly Pattern[],
  plain: Pattern,
): Picking<Pattern> {
  return {
    title: `Which command should start ${id}?`,
    notes,
    noun: "command",
    typing: "part of a name",
    items: [
      ...patterns.map((means) => ({ words: `Like ${means.from}`, means })),
      { words: "A plain llama-server command", means: plain },
    ],
  };
}

/** @returns why a block cannot be written after this pattern, as a sentence */
function tried(
  files: readonly HostFile[],
  pattern: Pattern,
  model: Omit<NewModel, "from">,
): Planned | string {
  const block = orFault(() => plannedBlock(files, pattern, model));
  if (!(block instanceof ServerError)) return { pattern, block };
  if (pattern.from === undefined) throw block;
  return block.message;
}
