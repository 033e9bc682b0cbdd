import type { ModelStart } from "../command/model-start.ts";
import {
  CONTEXT_VARIABLE,
  type ContextChange,
  type ContextSetting,
  type Slots,
  tokensOf,
} from "../context-setting.ts";
import { placeOf, refusal, refusalBecause, refusalOfAlias, shown } from "../refusals.ts";
import { applyEdits, type Edit, positionAt, type Span } from "../traced-text.ts";
import {
  entryOf,
  GLOBAL,
  leavesOf,
  modelNames,
  readSections,
  type Section,
  sectionOf,
  valuesOf,
} from "./sections.ts";

/** The names of `--ctx-size` in a preset, the strongest first: llama.cpp takes the last in alphabetical order. */
export const CONTEXT_KEYS = ["ctx-size", "c", CONTEXT_VARIABLE];
const ALIAS_KEYS = ["alias", "a", "LLAMA_ARG_ALIAS"];
const PARALLEL_KEYS = ["parallel", "np", "LLAMA_ARG_N_PARALLEL"];
const UNIFIED_KEYS = ["kvu", "kv-unified", "LLAMA_ARG_KV_UNIFIED"];
const NOT_UNIFIED_KEYS = ["no-kvu", "no-kv-unified"];
const PER_SLOT_KEYS = ["kv-unified-per-slot", "LLAMA_ARG_KV_UNIFIED_PER_SLOT"];

function slotsOf(own: Section | undefined, global: Section | undefined): Slots {
  const parallel = entryOf(own, PARALLEL_KEYS) ?? entryOf(global, PARALLEL_KEYS);
  const keys = [...UNIFIED_KEYS, ...NOT_UNIFIED_KEYS];
  const unified = entryOf(own, keys) ?? entryOf(global, keys);
  const isOn = unified && /^(on|enabled|true|1)$/.test(unified.value);
  const perSlot = entryOf(own, PER_SLOT_KEYS) ?? entryOf(global, PER_SLOT_KEYS);
  return {
    parallel: (parallel && tokensOf(parallel.value)) || undefined,
    kvUnified: unified && isOn !== NOT_UNIFIED_KEYS.includes(unified.key),
    perSlot: (perSlot && tokensOf(perSlot.value)) || undefined,
  };
}

function heirsOf(sections: readonly Section[]): string[] {
  return modelNames(sections).filter((name) => !entryOf(sectionOf(sections, name), CONTEXT_KEYS));
}

function describe(
  text: string,
  sections: readonly Section[],
  name: string,
  heirs: readonly string[],
): ContextSetting {
  const own = sectionOf(sections, name);
  const global = sectionOf(sections, GLOBAL);
  const ownEntry = entryOf(own, CONTEXT_KEYS);
  const entry = ownEntry ?? entryOf(global, CONTEXT_KEYS);
  return {
    model: name,
    ...positionAt(text, entry?.valueSpan.start ?? own?.start ?? 0),
    tokens: entry && tokensOf(entry.value),
    setBy: !entry ? "nothing" : ownEntry ? "section" : "global section",
    name: entry?.key,
    sharedWith: entry && !ownEntry ? heirs.filter((other) => other !== name) : [],
    slots: slotsOf(own, global),
    problem: undefined,
  };
}

/** The settings of all models of a llama.cpp preset, in the file's order. @throws {ServerError} */
export function iniSettings(text: string): ContextSetting[] {
  const sections = readSections(text);
  const heirs = heirsOf(sections);
  return modelNames(sections).map((name) => describe(text, sections, name, heirs));
}

/**
 * One model's setting in a llama.cpp preset.
 *
 * @param isFound whether the router has found the model itself, in its folder or cache: then it needs no section
 * @throws {ServerError}
 */
export function findIni(text: string, id: string, isFound = false): ContextSetting {
  const sections = readSections(text);
  if (!isFound) requireSection(sections, id);
  return describe(text, sections, id, heirsOf(sections));
}

/** Other names of a model: llama-server takes several, with commas between them. */
export function aliasesOf(section: Section | undefined): string[] {
  const entry = entryOf(section, ALIAS_KEYS);
  return entry?.value.split(",").map((name) => name.trim()) ?? [];
}

/** The section of a model. @throws {ServerError} that names the alias's model or the nearest spelling */
export function requireSection(sections: readonly Section[], id: string): Section {
  const names = modelNames(sections);
  const section = sectionOf(sections, id);
  if (section && names.includes(id)) return section;
  const holder = names.find((name) => aliasesOf(sectionOf(sections, name)).includes(id));
  if (holder !== undefined) throw refusalOfAlias(id, holder);
  const near = names.find((name) => name.trim().toLowerCase() === id.trim().toLowerCase());
  const blanks = near?.trim() === id ? ", with a space at its end" : "";
  const hint = near ? ` There is ${shown(near)}${blanks}; names are compared letter by letter.` : "";
  const byHand =
    "For a model that the router finds in its folder or cache, add a section of this name with `ctx-size = …`; any other model also needs `model = …`.";
  throw refusalBecause(`The preset has no section for ${shown(id)}.${hint} ${byHand}`);
}

/** From a section's header to the next one. @throws {ServerError} where there is none of this name */
export function iniBlock(text: string, id: string): Span {
  const sections = readSections(text);
  const section = requireSection(sections, id);
  return { start: section.start, end: sections[sections.indexOf(section) + 1]?.start ?? text.length };
}

/** llama.cpp's reader also ends a line at a lone `\r`. */
function lineEndOf(text: string): string {
  return /\r\n|\n|\r/.exec(text)?.[0] ?? "\n";
}

/** The number is replaced, or a line added after the section's last one. */
function editFor(text: string, section: Section, tokens: number): Edit {
  const entry = entryOf(section, CONTEXT_KEYS);
  if (entry) return { ...entry.valueSpan, text: String(tokens) };
  const last = section.entries.at(-1);
  const at = last?.lineEnd ?? section.headerEnd;
  const lineEnd = lineEndOf(text);
  return {
    start: at,
    end: at,
    text: `${lineEnd}ctx-size${last?.sign.replace(/\t+| {2,}/g, " ") ?? " = "}${tokens}`,
  };
}

/**
 * A section at the end of the file, for a model that the router has found itself: it puts the two together by their
 * name (seen on llama.cpp 0.7.0). The size is called there as it is in the section for all.
 */
function newSection(text: string, sections: readonly Section[], id: string, tokens: number): Edit {
  const key = entryOf(sectionOf(sections, GLOBAL), CONTEXT_KEYS)?.key ?? "ctx-size";
  return sectionAtEnd(text, id, [`${key} = ${tokens}`]);
}

/**
 * Writes a section at the end of a preset.
 *
 * @param entries its lines, without their ends
 * @throws {ServerError} where no section can have the name
 */
export function sectionAtEnd(text: string, id: string, entries: readonly string[]): Edit {
  if (/[\]\r\n]|^[ \t]|^$/.test(id))
    throw refusalBecause(`No section of a preset can have the name ${shown(id)}.`);
  const lineEnd = lineEndOf(text);
  const isEnded = /(^\uFEFF?|[\r\n])$/.test(text);
  const hasGap = /(^\uFEFF?|(\r\n|\n|\r(?!\n))[ \t]*(\r\n|\n|\r))$/.test(text);
  const before = (isEnded ? "" : lineEnd) + (hasGap ? "" : lineEnd);
  const lines = [`[${id}]`, ...entries].map((line) => line + lineEnd);
  return { start: text.length, end: text.length, text: before + lines.join("") };
}

/** What speaks against the new text, by both parsers: exactly one value may be another, or be added. */
function faultOf(before: string, after: string, id: string, tokens: number): string | undefined {
  const [old, now] = [valuesOf(before), valuesOf(after)];
  const at = now.findIndex((value, index) => value !== old[index]);
  const rest = [now.slice(at + 1), old.slice(now.length > old.length ? at : at + 1)];
  const [leaves, newLeaves] = [leavesOf(before), leavesOf(after)];
  const changed = [...new Set([...leaves.keys(), ...newLeaves.keys()])].filter(
    (path) => leaves.get(path) !== newLeaves.get(path),
  );
  const isOne = JSON.stringify(rest[0]) === JSON.stringify(rest[1]) && changed.length === 1;
  if (!isOne) return "not exactly one value would change";
  return findIni(after, id).tokens === tokens ? undefined : "the size would not take effect";
}

function warningsFor(text: string, sections: readonly Section[], section: Section): string[] {
  const warnings: string[] = [];
  const doubles = sections.filter((other) => other !== section && other.name === section.name);
  for (const { start, headerEnd } of doubles) {
    if (headerEnd === 0) continue;
    const at = placeOf(positionAt(text, start));
    warnings.push(
      `llama.cpp ignores the first section ${shown(section.name)} at ${at}: a later one has the same name.`,
    );
  }
  for (const { key, keySpan } of section.entries) {
    if (CONTEXT_KEYS.includes(key) || !/^-*(n_?)?(ctx|context)([-_.]?(size|len|length|window))?$/i.test(key))
      continue;
    const at = placeOf(positionAt(text, keySpan.start));
    warnings.push(
      `llama.cpp has no option ${shown(key)} (${at}) and rejects the whole file because of it: use "ctx-size".`,
    );
  }
  const set = section.entries.filter(({ key }) => CONTEXT_KEYS.includes(key));
  const counts = entryOf(section, CONTEXT_KEYS);
  for (const entry of set.filter((other) => other !== counts)) {
    const at = placeOf(positionAt(text, entry.keySpan.start));
    warnings.push(`${shown(entry.key)} at ${at} has no effect: ${shown(counts?.key ?? "")} counts.`);
  }
  if (text.startsWith("\uFEFF"))
    warnings.push("The file begins with a byte order mark; llama.cpp refuses it for that.");
  return warnings;
}

/**
 * Plans the change of one model's context size in a llama.cpp preset. A size in the global section stays: the
 * model's own section gets the number.
 *
 * @param isFound whether the router has found the model itself: then a section is added where there is none
 * @throws {ServerError} that names line and column where the file is not understood
 */
export function planIni(text: string, id: string, tokens: number, isFound = false): ContextChange {
  const sections = readSections(text);
  const isNew = isFound && !modelNames(sections).includes(id);
  const section = isNew ? undefined : requireSection(sections, id);
  const before = describe(text, sections, id, heirsOf(sections));
  const warnings = section
    ? warningsFor(text, sections, section)
    : [`The router has found ${shown(id)} itself; it gets a section of its own for this.`];
  if (before.tokens === tokens) {
    return { text, edits: [], before, after: before, warnings: section ? warnings : [] };
  }
  const edits = [section ? editFor(text, section, tokens) : newSection(text, sections, id, tokens)];
  const after = applyEdits(text, edits);
  const fault = faultOf(text, after, id, tokens);
  if (fault)
    throw refusal(
      before,
      `the size of ${shown(id)} cannot be changed alone (${fault})`,
      "Change it by hand.",
    );
  return {
    text: after,
    edits,
    before,
    after: findIni(after, id),
    warnings,
  };
}

/**
 * What a router starts for a model of its preset: itself, with the values of `[*]` and of the model's own section. Keys
 * are flags without their dashes, or the variables of flags.
 *
 * @param router the words of the router's own command line, the program first
 * @throws {ServerError} where the file is not understood
 */
export function iniStart(text: string, id: string, router: readonly string[]): ModelStart | undefined {
  const sections = readSections(text);
  if (!modelNames(sections).includes(id)) return undefined;
  const entries = [GLOBAL, id].flatMap((name) => sectionOf(sections, name)?.entries ?? []);
  const variables = entries.filter(({ key }) => /^[A-Z]/.test(key));
  const path = router[0] ?? "llama-server";
  return {
    path,
    name: path.replace(/^.*\//, ""),
    kind: "llama-server",
    place: undefined,
    isInScript: false,
    flags: entries
      .filter((entry) => !variables.includes(entry))
      .map(({ key, value }) => ({ name: key, value })),
    environment: variables.map(({ key, value }) => `${key}=${value}`),
  };
}
