/** A new model's block after the pattern of another one: a copy of that, then rewritten for the new model step by step. */
import { orFault, ServerError } from "../../../lib/errors.ts";
import { type Rewriting, rewritingFor, wordsAfter } from "../command/other-model.ts";
import type { NewModel } from "../model-change.ts";
import { refusal, shown } from "../refusals.ts";
import { applyEdits, positionAt } from "../traced-text.ts";
import { copyFault, plainSettings, type Written } from "./addition-proof.ts";
import { planYaml } from "./change.ts";
import { readYamlConfig, type YamlConfig } from "./config.ts";
import { type Located, locate, modelOf } from "./context.ts";
import { type Place, putBlock, type Setting } from "./new-entry.ts";
import { rangeOf } from "./own-command.ts";
import { isTakenOver, type Pattern, patternOf } from "./pattern.ts";
import { OTHER_PATTERN } from "./refusals.ts";
import { editsFor, suitsShell, writtenOut } from "./word-edits.ts";

/** More macros than a command has: writing them out must end. */
const MOST_MACROS = 50;

/** A model with the file that it is started with. */
export type NewFile = NewModel & { readonly file: string };

interface Rewritten {
  readonly text: string;
  readonly rewriting: Rewriting;
}

function wordsOf(text: string, id: string): string[] {
  const config = readYamlConfig(text);
  return locate(config, modelOf(config, id)).server.words.map((word) => word.value.text);
}

/** Whether a model's command has these words. */
function isRead(text: string, id: string, words: readonly string[]): boolean {
  const read = orFault(() => wordsOf(text, id));
  return !(read instanceof ServerError) && JSON.stringify(read) === JSON.stringify(words);
}

/** Makes a copy's command that of the new model; macros are written out as far as they are in the way. */
function rewritten(
  copied: string,
  model: NewFile,
  from: string,
  port: number | undefined,
): Rewritten | string {
  let text = copied;
  for (let count = 0; count < MOST_MACROS; count += 1) {
    const config = readYamlConfig(text);
    const located = locate(config, modelOf(config, model.id));
    const { id, file, mmproj } = model;
    const rewriting = rewritingFor(located.server, { id, from, file, mmproj, port });
    if (typeof rewriting === "string") throw noPattern(config, from, rewriting);
    const { steps } = rewriting;
    if (located.server.isInScript && !suitsShell(located, steps))
      throw noPattern(config, from, "starts a shell, which could read the new names as something else");
    const made = editsFor(config, located, steps);
    if ("edits" in made) {
      const words = wordsAfter(located.server.words, steps);
      const result = applyEdits(text, made.edits);
      return isRead(result, model.id, words) ? { text: result, rewriting } : "its command would change";
    }
    const edit = writtenOut(config, located, made.blockedBy);
    if (!edit) return "a macro of its command cannot be written out";
    text = applyEdits(text, [edit]);
  }
  return "the macros of its command are too many";
}

function noPattern(config: YamlConfig, from: string, why: string): ServerError {
  const at = positionAt(config.text, rangeOf(modelOf(config, from).key).start);
  return refusal(at, `${shown(from)} ${why}`, OTHER_PATTERN);
}

/** The settings of the pattern that the new block has, as plain values. */
function takenSettings(config: YamlConfig, from: Located, { settings, port }: Pattern): Map<string, unknown> {
  const isMerged = settings.some(({ name }) => name === "<<");
  const names = new Set(settings.map(({ name }) => name));
  const all = plainSettings(config, from.model);
  return new Map([...all].filter(([name]) => isTakenOver(name, port) && (isMerged || names.has(name))));
}

/**
 * Writes a block after the pattern of another model.
 *
 * @param inQuotes whether its command is written in one line, in quotes
 * @returns a clause that says what speaks against this way
 * @throws {ServerError} where this model is no pattern
 */
export function blockAfter(
  config: YamlConfig,
  place: Place,
  from: Located,
  model: NewFile,
  inQuotes: boolean,
): Written | string {
  const pattern = patternOf(config, from, place);
  const quoted: Setting = { name: "cmd", head: JSON.stringify(from.scalar.value), lines: [] };
  const settings = pattern.settings.map((own) => (own.name === "cmd" && inQuotes ? quoted : own));
  const copy = place.block(model.id, settings);
  const { text, blockAt } = putBlock(config.text, place, copy);
  const fault = copyFault(from, text, model.id);
  if (fault !== undefined) return fault;
  const made = rewritten(text, model, from.model.id, pattern.port);
  if (typeof made === "string") return made;
  const result = sized(made, model);
  if (typeof result === "string") return result;
  const after = text.slice(blockAt + copy.length);
  const isAlone = result.text.startsWith(text.slice(0, blockAt)) && result.text.endsWith(after);
  if (!isAlone) return "another model would change too";
  return {
    block: result.text.slice(blockAt, result.text.length - after.length),
    wanted: {
      id: model.id,
      words: wordsOf(result.text, model.id),
      settings: takenSettings(config, from, pattern),
    },
    warnings: notesOn(from, pattern, result.rewriting),
  };
}

/** Gives the copy its size. A refusal would name a place in the copy, which is none of the file. */
function sized(made: Rewritten, { id, context }: NewFile): Rewritten | string {
  if (context === undefined) return made;
  const change = orFault(() => planYaml(made.text, id, context));
  if (change instanceof ServerError) return "the context size of this command cannot be set";
  return { ...made, text: change.text };
}

function notesOn({ model }: Located, { notTaken, port }: Pattern, { leftOut, tuned }: Rewriting): string[] {
  const name = shown(model.id);
  const flags = (all: Rewriting["tuned"]): string =>
    all.map((flag) => `${flag.name}${flag.value === "" ? "" : ` ${flag.value}`}`).join(", ");
  return [
    ...(notTaken.length === 0 ? [] : [`Not copied from ${name}: ${notTaken.join(", ")}.`]),
    ...(leftOut.length === 0 ? [] : [`Left out, being specific to ${name}: ${flags(leftOut)}.`]),
    ...(tuned.length === 0 ? [] : [`Copied from ${name}; check that this fits: ${flags(tuned)}.`]),
    ...(port === undefined ? [] : [`llama-swap chooses its port: ${port} is that of ${name}.`]),
  ];
}
