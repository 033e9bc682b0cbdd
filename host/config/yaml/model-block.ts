import type { ConfigFormat } from "../config-file.ts";
import { iniBlock } from "../ini/config.ts";
import { type Position, positionAt, type Span } from "../traced-text.ts";
import { readYamlConfig } from "./config.ts";
import { modelOf } from "./context.ts";

/** Lines of a file, from 1, both included. */
export interface LineRange {
  readonly first: Position["line"];
  readonly last: Position["line"];
}

/** From a model's key to the end of its mapping. */
function yamlBlock(text: string, id: string): Span {
  const { key, mapping, isOwn } = modelOf(readYamlConfig(text), id);
  const start = key.range?.[0] ?? 0;
  const end = isOwn ? (mapping.range?.[1] ?? start) : (key.range?.[1] ?? start);
  return { start, end };
}

/**
 * The lines in which a model is defined; without what it takes over from anchors and macros.
 *
 * @throws {ServerError} where the file is not understood, or does not have it
 */
export function modelBlock(text: string, format: ConfigFormat, id: string): LineRange {
  const { start, end } = format === "ini" ? iniBlock(text, id) : yamlBlock(text, id);
  const written = text.slice(start, end).trimEnd().length;
  return {
    first: positionAt(text, start).line,
    last: positionAt(text, start + Math.max(0, written - 1)).line,
  };
}
