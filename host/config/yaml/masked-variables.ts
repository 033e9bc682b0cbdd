/**
 * llama-swap puts variables of its environment (`${env.NAME}`) into the text before it reads the text as YAML
 * (`substituteEnvMacros` in its `internal/config/macros.go`), so that they may stand where YAML allows no brace. Pure.
 */

/** Stands for each character of a variable's name: a private one, which no configuration has a use for. */
export const VARIABLE = "\uE000";

const REFERENCE = /\$\{env\.[A-Za-z_][A-Za-z0-9_]*\}/g;

/** The text with every variable replaced by as many characters, so that each offset stays. */
export function maskVariables(text: string): string {
  return text.replace(REFERENCE, (reference) => VARIABLE.repeat(reference.length));
}
