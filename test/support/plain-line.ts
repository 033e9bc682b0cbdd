import { stripVTControlCharacters } from "node:util";

/** What pi's inputs put around their cursor: pi itself takes it out when it draws the screen. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the sequences themselves
const CURSOR_MARKS = /\u001b_pi:[^\u0007]*\u0007/g;

/** A rendered line as a reader sees it: without colours and marks, and without spaces at its end. */
export function plainLine(line: string): string {
  return stripVTControlCharacters(line.replace(CURSOR_MARKS, "")).trimEnd();
}
