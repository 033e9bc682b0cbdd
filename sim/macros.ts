// llama-swap's macro expansion: textual, last declared first, so a macro may use those declared before it.

type Scalar = string | number | boolean;
export type Macros = [name: string, value: Scalar][];

/** The config cannot be used; the message is llama-swap's. */
export class ConfigError extends Error {}

const MACRO = /\$\{([a-zA-Z0-9_-]+)\}/;
const ENV_MACRO = /\$\{env\.([a-zA-Z_][a-zA-Z0-9_]*)\}/g;

/** Checks the names and values of one `macros:` block and returns it in the order of declaration. */
export function readMacros(raw: unknown): Macros {
  const macros: Macros = [];
  for (const [name, value] of Object.entries(isMap(raw) ? raw : {})) {
    if (name.length >= 64)
      throw new ConfigError(`macro name '${name}' exceeds maximum length of 63 characters`);
    if (!/^[a-zA-Z0-9_-]+$/.test(name)) {
      throw new ConfigError(
        `macro name '${name}' contains invalid characters, must match pattern ^[a-zA-Z0-9_-]+$`,
      );
    }
    if (!isScalar(value)) {
      throw new ConfigError(
        `macro '${name}' has invalid type, must be a scalar type (string, int, float, or bool)`,
      );
    }
    if (typeof value === "string" && value.includes(`\${${name}}`)) {
      throw new ConfigError(`macro '${name}' contains self-reference`);
    }
    if (name === "PID" || name === "PORT" || name === "MODEL_ID") {
      throw new ConfigError(`macro name '${name}' is reserved`);
    }
    macros.push([name, value]);
  }
  return macros;
}

/** A model's macros over the global ones: an override keeps the position of the overridden macro. */
export function mergeMacros(modelId: string, global: Macros, own: Macros): Macros {
  return [...new Map<string, Scalar>([["MODEL_ID", modelId], ...global, ...own])];
}

/** Replaces `macros` everywhere in `value`; a text that is one macro alone takes over the macro's type. */
export function expand(value: unknown, macros: Macros): unknown {
  return macros.reduceRight<unknown>((result, [name, replacement]) => {
    return mapStrings(result, (text) => {
      const slug = `\${${name}}`;
      return text === slug ? replacement : text.replaceAll(slug, String(replacement));
    });
  }, value);
}

/**
 * Replaces `${env.NAME}` in the text of the file.
 * @param used the file's values without its comments: only variables named there must exist
 */
export function expandEnvironment(text: string, used: string, environment: NodeJS.ProcessEnv): string {
  return [...used.matchAll(ENV_MACRO)].reduce((result, [slug, name = ""]) => {
    const value = environment[name];
    if (value === undefined) throw new ConfigError(`environment variable '${name}' is not set`);
    return result.replaceAll(slug, value.replaceAll("\\", "\\\\").replaceAll('"', '\\"'));
  }, text);
}

/** Throws for a macro that nothing replaced; `${PID}` may stand in `cmdStop` until the process runs. */
export function rejectUnknownMacros(modelId: string, model: Record<string, unknown>): void {
  for (const [field, value] of Object.entries(model)) {
    mapStrings(value, (text) => {
      const name = MACRO.exec(text)?.[1];
      if (name !== undefined && !(name === "PID" && field === "cmdStop")) {
        throw new ConfigError(`unknown macro '\${${name}}' found in ${modelId}.${field}`);
      }
      return text;
    });
  }
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isScalar(value: unknown): value is Scalar {
  return ["string", "number", "boolean"].includes(typeof value);
}

function mapStrings(value: unknown, change: (text: string) => unknown): unknown {
  if (typeof value === "string") return change(value);
  if (Array.isArray(value)) return value.map((item) => mapStrings(item, change));
  if (!isMap(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapStrings(item, change)]));
}
