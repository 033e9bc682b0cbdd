import { ConfigError, isMap } from "./macros.ts";

/** Typed reading of one YAML map; a value of another type is an error, as it is for Go's decoder. */
export class Fields {
  readonly #where: string;
  readonly #raw: Record<string, unknown>;

  constructor(where: string, raw: Record<string, unknown>) {
    this.#where = where;
    this.#raw = raw;
  }

  error(message: string): ConfigError {
    return new ConfigError(`${this.#where}${message}`);
  }

  text(key: string, fallback: string): string {
    const value = this.#raw[key] ?? fallback;
    if (typeof value === "object") throw this.#wrongType(key, "string");
    return String(value);
  }

  number(key: string, fallback: number): number {
    const value = this.#raw[key] ?? fallback;
    if (!Number.isInteger(value)) throw this.#wrongType(key, "int");
    return Number(value);
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.#raw[key] ?? fallback;
    if (typeof value !== "boolean") throw this.#wrongType(key, "bool");
    return value;
  }

  list(key: string): string[] {
    const value = this.#raw[key] ?? [];
    if (!Array.isArray(value)) throw this.#wrongType(key, "[]string");
    return value.map(String);
  }

  map(key: string): Record<string, unknown> {
    const value = this.#raw[key] ?? {};
    if (!isMap(value)) throw this.#wrongType(key, "map[string]");
    return value;
  }

  #wrongType(key: string, type: string): ConfigError {
    const shown = JSON.stringify(this.#raw[key]);
    return this.error(`yaml: unmarshal errors: cannot unmarshal ${key}: ${shown} into ${type}`);
  }
}
