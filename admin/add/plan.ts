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
import { ServerError } from "../../lib/errors.ts";
import type { PickItem } from "../../ui/pick.ts";
import { type Call, pickedBy } from "../call.ts";
import type { Downloaded } from "./download.ts";

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

/** More models are not offered as a pattern: each is tried. */
const MOST_PATTERNS = 100;

/** `Qwen3-8B-Q4_K_M` of `…/Qwen3-8B-Q4_K_M-00001-of-00002.gguf`, numbered where the config has one of that name. */
export function idFor(path: string, files: readonly HostFile[]): string {
  const name = path.slice(path.lastIndexOf("/") + 1).replace(/(?:-\d{5}-of-\d{5})?\.gguf$/i, "");
  const taken = new Set(modelsIn(files).map(({ model }) => model));
  let id = name;
  for (let number = 2; taken.has(id); number += 1) id = `${name}-${number}`;
  return id;
}

/** The model whose block names this file already, in whatever way it spells the folder for models. */
export function modelWith(
  { label, file }: Pick<Downloaded, "label" | "file">,
  files: readonly HostFile[],
): string | undefined {
  // Files of other repositories may have the same name.
  const at = file.indexOf(`/${label.replace(/:.*$/, "")}/`);
  const end = file.slice(Math.max(0, at));
  const found = modelsIn(files).find(({ model, file: { name, text } }) => {
    const { first, last } = modelBlock(text, formatOf(name), model);
    const lines = text.split("\n").slice(first - 1, last);
    return lines.some((line) => line.includes(end));
  });
  return found?.model;
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
 * The model whose command the new one takes over, as the user chooses; without any, a plain command.
 *
 * @returns undefined where the user leaves
 * @throws {ServerError} where there is no config file
 */
export async function chosenPattern(
  call: Call,
  files: readonly HostFile[],
  model: Omit<NewModel, "from">,
): Promise<Pattern | undefined> {
  const [first] = files;
  if (first === undefined) throw new ServerError("The server has no config file.", { link: "config file" });
  const plain: Pattern = { file: first, from: undefined };
  const patterns = modelsIn(files)
    .slice(0, MOST_PATTERNS)
    .map(({ model: from, file }): Pattern => ({ file, from }))
    .filter((pattern) => isUsable(files, pattern, model));
  if (patterns.length === 0) return plain;
  return pickedBy(call, {
    title: `Which command shall start ${model.id}?`,
    notes: ["That of another model, with the new file; its aliases, names and metadata are not copied."],
    noun: "command",
    typing: "part of a name",
    items: [
      ...patterns.map((means): PickItem<Pattern> => ({ words: `Like ${means.from}`, means })),
      { words: "A plain llama-server command", means: plain },
    ],
  });
}

/** Whether a block can be written after this pattern, and is started by a llama-server. */
function isUsable(files: readonly HostFile[], pattern: Pattern, model: Omit<NewModel, "from">): boolean {
  try {
    return plannedBlock(files, pattern, model).addition.setting.program === undefined;
  } catch (error) {
    if (error instanceof ServerError) return false;
    throw error;
  }
}
