/** Text from files, logs and the network, made safe to show. */

/**
 * Makes text from the network safe to show: no terminal control, no escape sequence, at most `limit`
 * characters, line breaks kept as such.
 */
export function cleanText(text: string, limit = 2000): string {
  const plain = text
    // OSC and CSI sequences whole, so that their printable rest does not stay behind.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is removed here
    .replace(/(?:\u001b\]|\u009d)[^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c)?/g, "")
    // biome-ignore lint/suspicious/noControlCharactersInRegex: as above
    .replace(/(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|\u001b./g, "")
    .replace(/\r\n?/g, "\n")
    .replace(/(?![\n\t])[\p{Cc}\p{Bidi_Control}]/gu, "")
    .replace(/\t/g, "  ")
    .toWellFormed()
    .trim();
  // A letter of two units is not cut in half: half of one is no text.
  return plain.length > limit ? `${plain.slice(0, limit).replace(/[\ud800-\udbff]$/, "")}…` : plain;
}

/** The same on one line. */
export function oneLine(text: string, limit: number): string {
  return cleanText(text, limit).replaceAll("\n", " ");
}

/** The words of a list written as one text. */
export function wordSet(words: string): ReadonlySet<string> {
  return new Set(words.split(" "));
}

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
