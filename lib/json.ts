/** Reading JSON of unknown shape: each reader gives undefined for what is absent or of another type. */

export type JsonRecord = Readonly<Record<string, unknown>>;

export function record(value: unknown): JsonRecord | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as JsonRecord)
    : undefined;
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** A text that is not empty. */
export function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** A finite number; a text of digits counts, since metadata in YAML may be quoted. */
export function number(value: unknown): number | undefined {
  if (typeof value === "string" && /^\d{1,15}$/.test(value)) return Number(value);
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

/** A whole number above zero. */
export function count(value: unknown): number | undefined {
  const found = number(value);
  return found !== undefined && found > 0 && Number.isSafeInteger(found) ? found : undefined;
}

export function flag(value: unknown): boolean | undefined {
  return typeof value === "boolean" ? value : undefined;
}

export function texts(value: unknown): string[] {
  return list(value).filter((entry): entry is string => typeof entry === "string");
}

/** The entries of a list that are records. */
export function records(value: unknown): JsonRecord[] {
  return list(value)
    .map(record)
    .filter((entry) => entry !== undefined);
}

/** What a JSON text holds; undefined where it is none. */
export function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
