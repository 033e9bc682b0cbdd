import { highlightCode, type Theme } from "@earendil-works/pi-coding-agent";

/** More YAML than this is shown plain: highlighting blocks pi, and hostile text takes up to 3 µs a character. */
const MOST_LINES = 5000;
const MOST_CHARACTERS = 200_000;

/** The time that highlight.js's YAML grammar takes also grows with the square of each line. */
const MOST_SQUARED = 50_000_000;

// biome-ignore lint/suspicious/noControlCharactersInRegex: the escape sequences that pi's highlighting puts in
const STYLE = /\u001b\[([\d;]*)m/g;
const CLOSING = new Set(["", "0", "22", "39"]);
const DEFAULT_COLOUR = "\u001b[39m";

/**
 * Lines in the colours of pi's theme, one for each. Plain if highlighting fails, and for YAML of more than 5000 lines.
 * Only YAML uses pi's own `highlightCode`: it has no grammar for logs, and the one for INI takes minutes for lines with
 * many dots. INI and logs are coloured line by line, so that a part looks like the whole.
 */
export function highlighted(
  lines: readonly string[],
  language: "yaml" | "ini" | "log",
  theme: Pick<Theme, "fg">,
): string[] {
  try {
    if (language === "ini") return lines.map((line) => styledIni(line, theme));
    if (language === "log") return lines.map((line) => styledLog(line, theme));
    if (isTooMuch(lines)) return [...lines];
    const styled = eachStyled(highlightCode(lines.join("\n"), language));
    return styled.length === lines.length ? styled : [...lines];
  } catch {
    return [...lines];
  }
}

function isTooMuch(lines: readonly string[]): boolean {
  const characters = lines.reduce((sum, { length }) => sum + length + 1, 0);
  const squared = lines.reduce((sum, { length }) => sum + length ** 2, 0);
  return lines.length > MOST_LINES || characters > MOST_CHARACTERS || squared > MOST_SQUARED;
}

function styledIni(line: string, theme: Pick<Theme, "fg">): string {
  if (/^\s*[;#]/.test(line)) return theme.fg("syntaxComment", line);
  if (/^\s*\[/.test(line)) return theme.fg("syntaxType", line);
  const at = line.indexOf("=");
  if (at < 0) return line;
  const value = line.slice(at + 1);
  const colour = Number.isNaN(Number(value)) ? "syntaxString" : "syntaxNumber";
  return `${theme.fg("syntaxVariable", line.slice(0, at))}=${theme.fg(colour, value)}`;
}

function styledLog(line: string, theme: Pick<Theme, "fg">): string {
  if (/\b(?:error|fatal|panic|failed)\b/i.test(line)) return theme.fg("error", line);
  if (/\bwarn(?:ing)?\b/i.test(line)) return theme.fg("warning", line);
  return line;
}

/** Opens and closes a colour that spans lines in each of them: pi resets styles after each line. */
function eachStyled(lines: readonly string[]): string[] {
  let open = "";
  return lines.map((line) => {
    const begun = open;
    for (const [sequence, codes] of line.matchAll(STYLE)) {
      open = CLOSING.has(codes ?? "") ? "" : sequence;
    }
    return `${begun}${line}${open && DEFAULT_COLOUR}`;
  });
}
