import { cleanText } from "./errors.ts";

/** Characters of one line that are shown; the rest is cut and marked with an ellipsis. */
const LONGEST_LINE = 20_000;

/** One line of a file or log without terminal control characters and line ends, its indentation kept. */
export function cleanLine(line: string): string {
  // The rest is not read, so that a hostile line costs no more than a long one.
  const flat = line
    .slice(0, 4 * LONGEST_LINE)
    .replaceAll("\r", "")
    .replaceAll("\n", " ");
  // cleanText trims; a character in front keeps the spaces after it.
  return cleanText(`|${flat}`, LONGEST_LINE + 1).slice(1);
}
