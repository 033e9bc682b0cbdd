/**
 * Hides secrets in what is shown: configs, command lines and logs. It goes by names (`apiKeys`, `--api-key`,
 * `HF_TOKEN`), and by the look of a value where that tells enough (`sk-…`, `hf_…`, `Bearer …`). Too much may be
 * hidden, never too little where a name is known.
 */
import { findInCommand } from "./command.ts";
import { findInLines, type TextKind } from "./lines.ts";
import { findShapes } from "./shapes.ts";
import { Findings, hidden } from "./spans.ts";
import { findInYaml } from "./yaml.ts";

export { type Blank, blankerOf, type OwnSecrets } from "./literal.ts";
export { isSecretName } from "./names.ts";
export { MASK } from "./spans.ts";
export type { TextKind };

/**
 * The lines with every secret in them as `••••`. As many lines come out as went in, so that a diff of the originals
 * can be shown with masked lines. Never throws, whatever the text.
 *
 * @param lines the whole text, without its line ends: what a line means may depend on those before and behind it
 * @param kind `yaml` for llama-swap's config, `ini` for a llama.cpp preset, `command` for a command line of one or
 *   more lines, `log` for all other text
 */
export function maskLines(lines: readonly string[], kind: TextKind): string[] {
  const text = lines.join("\n");
  const found = new Findings();
  if (kind === "yaml") findInYaml(text, found);
  else findInLines(text, kind, found);
  if (kind === "command") findInCommand(text, found);
  findShapes(text, found);
  return hidden(lines, found.spans);
}

/** The text with every secret in it as `••••`; as {@link maskLines}, with all line ends kept. */
export function maskText(text: string, kind: TextKind): string {
  return maskLines(text.split("\n"), kind).join("\n");
}
