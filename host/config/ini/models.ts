/** A model's whole section in a preset of llama.cpp's router: written at the end of the file, or taken out. Pure. */
import { bondOfKey } from "../command/model-flags.ts";
import { ggufsAt, mentions } from "../gguf-paths.ts";
import type { Addition, NewModel, Removal } from "../model-change.ts";
import { refusal, refusalBecause, shown } from "../refusals.ts";
import { commentAbove, type Line, linesOf, withGap } from "../text-lines.ts";
import { applyEdits, positionAt, type Span } from "../traced-text.ts";
import { aliasesOf, CONTEXT_KEYS, findIni, requireSection, sectionAtEnd } from "./config.ts";
import {
  type Entry,
  entryOf,
  leavesOf,
  modelNames,
  readSections,
  type Section,
  sectionOf,
  valuesOf,
} from "./sections.ts";

/** Options for the router itself, which say when it loads a model and not how. */
const ROUTERS_OWN = new Set(["load-on-startup", "stop-timeout"]);

/** @throws {ServerError} where a section cannot have this name, or another model goes by it */
function requireFreeName(sections: readonly Section[], id: string): void {
  if (id === "*" || id === "default" || id.trim() !== id)
    throw refusalBecause(`No model of a preset can have the name ${shown(id)}.`);
  const holder = modelNames(sections).find(
    (name) => name === id || aliasesOf(sectionOf(sections, name)).includes(id),
  );
  if (holder === undefined) return;
  const what = holder === id ? "has a section for" : `has the model ${shown(holder)} with the alias`;
  throw refusalBecause(`The preset ${what} ${shown(id)} already.`);
}

/** @throws {ServerError} for what llama.cpp would cut off: its presets know no quotes */
function pathValue(path: string): string {
  if (!/[;#\r\n]/.test(path) && path.trim() === path) return path;
  throw refusalBecause(`A preset cannot name the file ${shown(path)}: it ends a value at ";" and "#".`);
}

interface Entries {
  readonly lines: readonly (readonly [key: string, value: string])[];
  readonly warnings: readonly string[];
}

/** What the new section takes over of another, in its order; of two entries that mean the same, the one that counts. */
function takenOver(from: Section | undefined): { kept: Entry[]; leftOut: Entry[]; tuned: Entry[] } {
  const all = (from?.entries ?? []).filter((entry) => entryOf(from, [entry.key]) === entry);
  const bond = ({ key, value }: Entry): ReturnType<typeof bondOfKey> => bondOfKey(key, value);
  const options = all.filter(({ key }) => !CONTEXT_KEYS.includes(key) && !ROUTERS_OWN.has(key));
  return {
    kept: options.filter((entry) => [undefined, "tuned"].includes(bond(entry))),
    leftOut: options.filter((entry) => bond(entry) === "own"),
    tuned: options.filter((entry) => bond(entry) === "tuned"),
  };
}

function named(entries: readonly Entry[]): string {
  return entries.map(({ key, value }) => `${key} = ${value}`).join(", ");
}

function entriesFor(model: NewModel, from: Section | undefined): Entries {
  const { file, mmproj, context } = model;
  const { kept, leftOut, tuned } = takenOver(from);
  const size = entryOf(from, CONTEXT_KEYS);
  const tokens = context === undefined ? size?.value : String(context);
  const lines: (readonly [string, string])[] = [
    ...(file === undefined ? [] : [["model", pathValue(file)] as const]),
    ...(mmproj === undefined ? [] : [["mmproj", pathValue(mmproj)] as const]),
    ...(tokens === undefined ? [] : [[size?.key ?? "ctx-size", tokens] as const]),
    ...kept.map(({ key, value }) => [key, value] as const),
  ];
  const name = shown(from?.name ?? "");
  return {
    lines,
    warnings: [
      ...(leftOut.length === 0 ? [] : [`Left out, being specific to ${name}: ${named(leftOut)}.`]),
      ...(tuned.length === 0 ? [] : [`Copied from ${name}; check that this fits: ${named(tuned)}.`]),
    ],
  };
}

/**
 * Plans a new section at the end of a preset.
 *
 * @throws {ServerError} where the name is taken or cannot be one, or a path cannot be written
 */
export function planIniAddition(text: string, model: NewModel): Addition {
  const sections = readSections(text);
  requireFreeName(sections, model.id);
  const from = model.from === undefined ? undefined : requireSection(sections, model.from);
  const { lines, warnings } = entriesFor(model, from);
  if (lines.length === 0)
    throw refusalBecause(`The section ${shown(model.id)} would be empty: give a file or a context size.`);
  const sign = signOf(from ?? sections.findLast(({ entries }) => entries.length > 0));
  const edit = sectionAtEnd(
    text,
    model.id,
    lines.map(([key, value]) => key + sign + value),
  );
  const after = applyEdits(text, [edit]);
  if (!isOneSectionMore(text, after, model.id, lines)) {
    const byHand = "Write its section by hand.";
    throw refusal(positionAt(text, edit.start), `${shown(model.id)} cannot be added there`, byHand);
  }
  return { text: after, edits: [edit], setting: findIni(after, model.id), warnings };
}

function signOf(like: Section | undefined): string {
  return like?.entries[0]?.sign.replace(/\t+| {2,}/g, " ") ?? " = ";
}

/** Whether both readers see the other sections unchanged, and these entries in the new one. */
function isOneSectionMore(before: string, after: string, id: string, lines: Entries["lines"]): boolean {
  const added = lines.map(([key, value]) => JSON.stringify([id, key, value]));
  const isOwn = JSON.stringify(valuesOf(after)) === JSON.stringify([...valuesOf(before), ...added]);
  const [old, now] = [leavesOf(before), leavesOf(after)];
  const isKept = [...old].every(([path, value]) => now.get(path) === value);
  return isOwn && isKept && now.size === old.size + added.length;
}

const isComment = ({ text }: Line): boolean => /^[ \t]*[;#]/.test(text);

/**
 * A section with the comment directly above its header, to the end of what belongs to it. A comment after its last entry
 * stays where a blank line sets it off, or where it stands directly above the next header.
 */
function spanOf(lines: readonly Line[], sections: readonly Section[], section: Section): Span {
  const indexOf = (offset: number): number => lines.findLastIndex(({ start }) => start <= offset);
  const next = sections[sections.indexOf(section) + 1];
  const limit = next ? commentAbove(lines, indexOf(next.start), isComment) : lines.length;
  let last = indexOf(section.entries.at(-1)?.keySpan.start ?? section.start);
  for (let line = lines[last + 1]; line && last + 1 < limit && isComment(line); line = lines[last + 1])
    last += 1;
  return withGap(lines, commentAbove(lines, indexOf(section.start), isComment), last, next === undefined);
}

/**
 * Plans to take a model's section out of a preset. Of several with its name all go: the first would count again.
 *
 * @throws {ServerError} where there is none, or it is what stands before the first header
 */
export function planIniRemoval(text: string, id: string): Removal {
  const sections = readSections(text);
  const doomed = sections.filter(({ name }) => name === requireSection(sections, id).name);
  const headless = doomed.find(({ headerEnd }) => headerEnd === 0);
  if (headless && headless.entries.length > 0) {
    const what = `${shown(id)} is the part before the first section`;
    throw refusal(positionAt(text, headless.start), what, "Remove it by hand.");
  }
  const lines = linesOf(text, "any");
  const edits = doomed
    .filter((section) => section !== headless)
    .map((section) => ({ ...spanOf(lines, sections, section), text: "" }));
  const after = applyEdits(text, edits);
  const isGone = (entry: string): boolean => (JSON.parse(entry) as string[])[0] === id;
  const kept = valuesOf(text).filter((entry) => !isGone(entry));
  if (
    modelNames(readSections(after)).includes(id) ||
    JSON.stringify(valuesOf(after)) !== JSON.stringify(kept)
  ) {
    const at = positionAt(text, edits[0]?.start ?? 0);
    throw refusal(at, `${shown(id)} cannot be removed alone`, "Remove its section by hand.");
  }
  const rest = readSections(after).flatMap(valuesIn);
  const named = doomed.slice(-1).flatMap(valuesIn).flatMap(ggufsAt);
  const files = [...new Set(named)].filter((path) => !rest.some((value) => mentions(value, path)));
  return { text: after, alsoChanged: [], notes: [], files };
}

/** llama-server takes several files with commas between them. */
function valuesIn({ entries }: Section): string[] {
  return entries.flatMap(({ value }) => value.split(",")).map((value) => value.trim());
}

/** Every absolute path of a GGUF in a preset. */
export function iniFiles(text: string): string[] {
  return [...new Set(readSections(text).flatMap(valuesIn).flatMap(ggufsAt))];
}
