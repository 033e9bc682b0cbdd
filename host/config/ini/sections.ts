/** Presets of llama.cpp's router as sections with their entries, each with its place in the text. Pure. */
import { parse } from "ini";
import { refusal } from "../refusals.ts";
import { positionAt, type Span } from "../traced-text.ts";

/** The section that holds for every model. */
export const GLOBAL = "*";
/** What comes before the first section belongs to this one. */
const FIRST = "default";

export interface Entry {
  readonly key: string;
  readonly keySpan: Span;
  readonly value: string;
  readonly valueSpan: Span;
  /** The blanks and the sign between key and value. */
  readonly sign: string;
  readonly lineEnd: number;
}

export interface Section {
  readonly name: string;
  readonly headerEnd: number;
  readonly start: number;
  readonly entries: Entry[];
}

const HEADER = /^\[[ \t]*([^\]]+)\](.*)$/s;
const ENTRY = /^([A-Za-z_][A-Za-z0-9_.-]*)([ \t]*=[ \t]*)(.*)$/s;
const COMMENT_OR_BLANK = /^[ \t]*([;#].*)?$/s;

/**
 * Reads a preset file by llama.cpp's own grammar (`parse_ini_from_file` in its `common/preset.cpp`): no quotes, no
 * escapes, no lines continued; comments with `;` or `#`, also after a value.
 *
 * @throws {ServerError} on a line that makes llama.cpp reject the whole file
 */
export function readSections(text: string): Section[] {
  const sections: Section[] = [{ name: FIRST, headerEnd: 0, start: 0, entries: [] }];
  let start = text.startsWith("\uFEFF") ? 1 : 0;
  for (const match of text.slice(start).matchAll(/(.*?)(\r\n|\n|\r|$)/gs)) {
    const [whole, line = ""] = match;
    const lineEnd = start + line.length;
    const header = HEADER.exec(line);
    const entry = ENTRY.exec(line);
    if (header?.[1] !== undefined && COMMENT_OR_BLANK.test(header[2] ?? ""))
      sections.push({ name: header[1], headerEnd: lineEnd, start, entries: [] });
    else if (entry) {
      const [, key = "", sign = "", rest = ""] = entry;
      const value = rest.replace(/[;#].*$/s, "").replace(/(?<![ \t])[ \t]+$/, "");
      const from = start + key.length + sign.length;
      sections.at(-1)?.entries.push({
        key,
        sign,
        value,
        keySpan: { start, end: start + key.length },
        valueSpan: { start: from, end: from + value.length },
        lineEnd,
      });
    } else if (!COMMENT_OR_BLANK.test(line)) {
      const what = "llama.cpp cannot parse this line and rejects the whole file";
      throw refusal(
        positionAt(text, start),
        what,
        "Repair it by hand: `[section]`, `key = value`, or a comment.",
      );
    }
    start += whole.length;
    if (whole === "") break;
  }
  return sections;
}

/** The section that counts: of two with one name llama.cpp forgets the first. */
export function sectionOf(sections: readonly Section[], name: string): Section | undefined {
  return sections.findLast((section) => section.name === name);
}

/** The entry that counts, of several that mean the same. */
export function entryOf(section: Section | undefined, keys: readonly string[]): Entry | undefined {
  for (const key of keys) {
    const found = section?.entries.findLast((entry) => entry.key === key);
    if (found) return found;
  }
  return undefined;
}

/** The models of a preset file: its sections, without the global one and an empty beginning. */
export function modelNames(sections: readonly Section[]): string[] {
  const names = sections
    .filter((section) => section.name !== GLOBAL)
    .filter(({ name, entries, headerEnd }) => {
      const isHead = name === FIRST && headerEnd === 0;
      return !isHead || entries.some(({ key }) => key !== "version");
    })
    .map((section) => section.name);
  return [...new Set(names)];
}

/** Every value with its section and key, in order, by llama.cpp's grammar. */
export function valuesOf(text: string): string[] {
  return readSections(text).flatMap(({ name, entries }) =>
    entries.map(({ key, value }) => JSON.stringify([name, key, value])),
  );
}

/** Every value by its path, as a parser written by others reads it, which knows no comments after a header. */
export function leavesOf(text: string): Map<string, string> {
  const lines = text.replace(/^\uFEFF/, "").split(/[\r\n]+/);
  const plain = lines.map((line) => (line.startsWith("[") ? line.slice(0, line.indexOf("]") + 1) : line));
  const walk = (value: unknown, path: string): [string, string][] =>
    typeof value === "object" && value !== null
      ? Object.entries(value).flatMap(([key, item]) => walk(item, `${path}\n${key}`))
      : [[path, String(value)]];
  return new Map(walk(parse(plain.join("\n")), ""));
}
