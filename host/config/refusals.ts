import { ServerError } from "../../lib/errors.ts";
import { oneLine } from "../../lib/text.ts";
import type { Position } from "./traced-text.ts";

/** An id or key for a sentence: whatever it holds, on one line and not too long. */
export function shown(name: string): string {
  return `"${oneLine(name, 80)}"`;
}

/** A place for a sentence. */
export function placeOf(position: Position): string {
  return `line ${position.line}, column ${position.column}`;
}

/**
 * The error for a configuration that is not understood or not to be changed.
 *
 * @param what a clause that says what is in the way, at this place
 * @param byHand a sentence that says what the user can do
 */
export function refusal(position: Position, what: string, byHand: string): ServerError {
  return refusalBecause(`The configuration at ${placeOf(position)}: ${what}. ${byHand}`);
}

/** The error for what has no place in the file. */
export function refusalBecause(sentence: string): ServerError {
  return new ServerError(sentence, { link: "config file" });
}

/** The error for an alias, under which no model stands in the file. */
export function refusalOfAlias(alias: string, id: string): ServerError {
  return refusalBecause(`${shown(alias)} is an alias of the model ${shown(id)}: give that id instead.`);
}
