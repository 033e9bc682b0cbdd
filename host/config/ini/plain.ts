/** A preset's values without their places, as two readers see them: what a new text is compared by. Pure. */
import { parse } from "ini";
import { readSections } from "./sections.ts";

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
