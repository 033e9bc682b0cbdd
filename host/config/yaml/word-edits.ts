/** Changes of a command's words as edits of the YAML text in which they stand. */
import type { Scalar } from "yaml";
import { quoteWord, type Step } from "../command/other-model.ts";
import type { Word } from "../command/words.ts";
import type { Edit, Span, Trace } from "../traced-text.ts";
import { macrosFor, referenceTo, type YamlConfig } from "./config.ts";
import type { Located } from "./context.ts";
import { endOfLine, lineEndOf, rangeOf } from "./own-command.ts";
import { textOfScalar } from "./scalar-source.ts";

/** What a shell reads as it is written. */
const SHELL_WORD = /^[\w./+@%:=,-]*$/;

/** A text as it is written inside a scalar. */
function written(scalar: Scalar, text: string): string {
  if (scalar.type === "QUOTE_DOUBLE") return JSON.stringify(text).slice(1, -1);
  return scalar.type === "QUOTE_SINGLE" ? text.replaceAll("'", "''") : text;
}

/** Whether the character only sets words apart. */
function isGap(text: string, at: number): boolean {
  return /^(\s|\\[ \t]*(\r?\n|$))/.test(text.slice(at, at + 200));
}

/** The stretch of the command's scalar that these characters take; undefined where others take a part of it. */
function ownAlone({ expanded }: Located, traces: readonly Trace[]): Span | undefined {
  const [first, last] = [traces[0], traces.at(-1)];
  if (!first || !last) return undefined;
  const span = { start: first.own.start, end: last.own.end };
  const mine = new Set(traces);
  const isShared = expanded.traces.some(
    (trace, at) =>
      trace.own.start < span.end &&
      trace.own.end > span.start &&
      !mine.has(trace) &&
      !isGap(expanded.text, at),
  );
  return isShared ? undefined : span;
}

/** The edits of one step, or the macro's reference that has to be written out before. */
type StepEdits = { readonly edits: readonly Edit[] } | { readonly blockedBy: Span };

function blocked(traces: readonly Trace[]): StepEdits {
  const reference = traces.find(({ own, origin }) => own.start !== origin.start);
  return { blockedBy: (reference ?? traces[0])?.own ?? { start: 0, end: 0 } };
}

/** The index up to which a path may stay as it is written: a folder that the new one has too. */
function sharedFolder(old: string, path: string): number {
  let same = 0;
  while (same < old.length && old.charAt(same) === path.charAt(same)) same += 1;
  return old.slice(0, same).lastIndexOf("/") + 1;
}

/** Replaces a path where it differs, so that a macro for its folder stays in use. */
function pathEdit(located: Located, word: Word, path: string): Edit | undefined {
  const { raw, value } = word;
  const [open, close] = [raw.text.charAt(0), raw.text.slice(-1)];
  const isQuoted = /^["']$/.test(open) && open === close && raw.text.slice(1, -1) === value.text;
  const from = sharedFolder(value.text, path);
  const rest = path.slice(from);
  if (from === 0 || !(isQuoted ? /^[\w ./+@%:=,~()-]+$/ : SHELL_WORD).test(rest)) return undefined;
  if (!isQuoted && raw.text !== value.text) return undefined;
  const span = ownAlone(located, value.traces.slice(from));
  return span && { ...span, text: written(located.scalar, rest) };
}

function swapEdits(
  located: Located,
  { words, texts, isReference }: Extract<Step, { kind: "swap" }>,
): StepEdits {
  const [word] = words;
  const [text = ""] = texts;
  const shared = words.length === 1 && texts.length === 1 && word ? pathEdit(located, word, text) : undefined;
  if (shared) return { edits: [shared] };
  const traces = words.flatMap(({ raw }) => raw.traces);
  const span = ownAlone(located, traces);
  const line = texts.map((part) => (isReference === true ? part : quoteWord(part))).join(" ");
  return span ? { edits: [{ ...span, text: written(located.scalar, line) }] } : blocked(traces);
}

/** The line of an offset inside a scalar: from its first character to its line end, or the scalar's own ends. */
function lineAt({ text }: YamlConfig, scalar: Scalar, offset: number): Span {
  const range = rangeOf(scalar);
  const start = Math.max(range.start, text.lastIndexOf("\n", offset - 1) + 1);
  return { start, end: Math.min(endOfLine(text, offset), range.end) };
}

/** A new argument: on a line of its own where the word before it ends one and begins it with its flag. */
function addEdits(config: YamlConfig, located: Located, step: Extract<Step, { kind: "add" }>): StepEdits {
  const { scalar } = located;
  const { traces } = step.after.raw;
  const span = ownAlone(located, traces);
  const argument = written(scalar, step.texts.map(quoteWord).join(" "));
  if (!span) return blocked(traces);
  const line = lineAt(config, scalar, span.end);
  const isBlock = scalar.type === "BLOCK_LITERAL" || scalar.type === "BLOCK_FOLDED";
  const rest = config.text.slice(span.end, line.end);
  const before = config.text.slice(line.start, span.start);
  if (!isBlock || !/^[ \t]*\\?[ \t]*\r?$/.test(rest) || !/^ *-\S+ +$/.test(before))
    return { edits: [{ start: span.end, end: span.end, text: ` ${argument}` }] };
  const indent = /^ */.exec(before)?.[0] ?? "";
  const continuation = rest.includes("\\") ? " \\" : "";
  const text = `${continuation}${lineEndOf(config.text)}${indent}${argument}`;
  return { edits: [{ start: span.end, end: span.end, text }] };
}

/** Takes words out, with their lines where nothing else stands on these. */
function dropEdits(config: YamlConfig, located: Located, words: readonly Word[]): StepEdits {
  const traces = words.flatMap(({ raw }) => raw.traces);
  const span = ownAlone(located, traces);
  if (!span) return blocked(traces);
  const { text } = config;
  const { scalar } = located;
  const range = rangeOf(scalar);
  const [first, last] = [lineAt(config, scalar, span.start), lineAt(config, scalar, span.end)];
  const before = text.slice(first.start, span.start);
  const after = text.slice(span.end, last.end);
  const ownsLines = first.start > range.start && before.trim() === "" && /^[ \t]*\\?[ \t]*\r?$/.test(after);
  const isInside = last.end < range.end && text.charAt(last.end) === "\n";
  if (ownsLines && isInside) {
    const lines = { start: first.start, end: last.end + 1, text: "" };
    return { edits: [...(after.includes("\\") ? [] : continuationBefore(text, first.start, range)), lines] };
  }
  const blanks = /[ \t]*$/.exec(before)?.[0].length ?? 0;
  if (before.trim() !== "") return { edits: [{ start: span.start - blanks, end: span.end, text: "" }] };
  const following = /^[ \t]*/.exec(after)?.[0].length ?? 0;
  return { edits: [{ start: span.start, end: span.end + following, text: "" }] };
}

/** The backslash at the end of the line before, which would continue a command that ends there. */
function continuationBefore(text: string, lineStart: number, range: Span): Edit[] {
  const line = text.slice(range.start, lineStart);
  const found = /[ \t]*\\([ \t]*\r?\n)$/.exec(line);
  if (!found || text.slice(endOfLine(text, lineStart), range.end).trim() !== "") return [];
  const end = lineStart - (found[1]?.length ?? 0);
  return [{ start: range.start + found.index, end, text: "" }];
}

/** Words that follow one another and go together, as one step. */
function merged(steps: readonly Step[], words: readonly Word[]): Step[] {
  const dropped = new Set(steps.flatMap((step) => (step.kind === "drop" ? step.words : [])));
  const runs: Word[][] = [];
  words.forEach((word, at) => {
    if (!dropped.has(word)) return;
    const before = words[at - 1];
    if (before && dropped.has(before)) runs.at(-1)?.push(word);
    else runs.push([word]);
  });
  return [
    ...steps.filter(({ kind }) => kind !== "drop"),
    ...runs.map((run): Step => ({ kind: "drop", words: run })),
  ];
}

/**
 * The edits that make these changes.
 *
 * @returns a macro's reference in the way: it holds words that change together with others
 */
export function editsFor(config: YamlConfig, located: Located, steps: readonly Step[]): StepEdits {
  const edits: Edit[] = [];
  for (const step of merged(steps, located.server.words)) {
    const made =
      step.kind === "drop"
        ? dropEdits(config, located, step.words)
        : step.kind === "swap"
          ? swapEdits(located, step)
          : addEdits(config, located, step);
    if ("blockedBy" in made) return made;
    edits.push(...made.edits);
  }
  return { edits };
}

/**
 * Writes a macro's text in the place of its reference.
 *
 * @returns undefined where there is no macro, or its text cannot stand there
 */
export function writtenOut(config: YamlConfig, located: Located, reference: Span): Edit | undefined {
  const { text } = config;
  const name = text.slice(reference.start, reference.end);
  const macro = macrosFor(config, located.model).find((other) => referenceTo(other.name) === name);
  if (!macro) return undefined;
  const lines = textOfScalar(macro.scalar).trim().split("\n");
  if (lines.some((line) => line.trim().startsWith("#"))) return undefined;
  const line = lineAt(config, located.scalar, reference.start);
  const before = text.slice(line.start, reference.start);
  const isBlock = located.scalar.type === "BLOCK_LITERAL" || located.scalar.type === "BLOCK_FOLDED";
  const isAlone = isBlock && before.trim() === "" && text.slice(reference.end, line.end).trim() === "";
  const between = isAlone ? lineEndOf(text) + before : " ";
  const plain = lines.map((part) => part.replace(/\s*\\?\s*$/, "").trim()).filter((part) => part !== "");
  return { ...reference, text: plain.map((part) => written(located.scalar, part)).join(between) };
}

/** Whether a shell leaves alone what these steps write, and the model's id where the command has it. */
export function suitsShell({ model, expanded }: Located, steps: readonly Step[]): boolean {
  const hasId = expanded.traces.some(({ scalar }) => scalar === model.key);
  const texts = steps.flatMap((step) => (step.kind === "drop" ? [] : step.texts));
  return [...(hasId ? [model.id] : []), ...texts].every((text) => SHELL_WORD.test(text));
}
