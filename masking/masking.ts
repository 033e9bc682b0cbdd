/**
 * Hides secrets in what is shown: configs, command lines and logs. Names tell where one stands (`apiKeys`,
 * `--api-key`, `HF_TOKEN`), and some are known by their shape (`sk-…`, `hf_…`, `Bearer …`). Too much may be hidden;
 * where a name is known, too little never.
 */
import { findPlaces } from "./places.ts";
import { findShapes } from "./shapes.ts";
import { Findings, type TextKind } from "./values.ts";

export { isSecretName } from "./names.ts";
export { blankerOf, type OwnSecrets } from "./own-secrets.ts";
export type { TextKind };

/** Escaped line ends and tabs, within quotes: blanks of the same length, so that a word ends there. */
function withoutEscapes(text: string): string {
  return text.replace(/\\([\s\S])/g, (pair, letter: string) => (/[nrt]/.test(letter) ? "  " : pair));
}

/**
 * The lines with every secret in them as `••••`. As many lines come out as went in, so that a diff of the originals
 * can be shown with masked lines. Never throws, whatever the text.
 *
 * @param lines the whole text, without its line ends: what a line means may depend on the others
 * @param kind `yaml` for llama-swap's config, `ini` for a llama.cpp preset, `command` for a command line of one or
 *   more lines, `log` for all other text
 */
export function maskLines(lines: readonly string[], kind: TextKind): string[] {
  const text = lines.join("\n");
  const read = kind === "yaml" || kind === "log" ? withoutEscapes(text) : text;
  const found = new Findings();
  // Once more for each macro or anchor that was learned: its own value is a secret.
  for (let known = -1; known < found.learned.size; ) {
    known = found.learned.size;
    findPlaces(read, kind, found);
  }
  findShapes(read, found);
  const shown = found.masked(text).split("\n");
  let end = 0;
  return lines.map((line) => {
    const from = end;
    end += line.split("\n").length;
    return shown.slice(from, end).join("\n");
  });
}

/** The text with every secret in it as `••••`; as {@link maskLines}, with all line ends kept. */
export function maskText(text: string, kind: TextKind): string {
  return maskLines(text.split("\n"), kind).join("\n");
}
