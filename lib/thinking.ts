/** How models think, as far as chat templates and requests depend on it, and what the owner of a server declares of it. */
import { type JsonRecord, record, text, texts } from "./json.ts";

/**
 * How a model's thinking is controlled.
 *
 * - `switch`: by a boolean variable of the chat template, `enable_thinking` where none is named.
 * - `effort`: by one of the levels in a variable of the template, `reasoning_effort` where none is named. It can be
 *   off where there is a level `none`, or by the boolean variable `switch`.
 * - `budget`: by a number of tokens, in a variable of the template, or for the server itself where none is named.
 * - `always`: not at all.
 */
export type Thinking =
  | { kind: "none" }
  | { kind: "switch"; variable?: string }
  | { kind: "effort"; levels: readonly string[]; variable?: string; switch?: string }
  | { kind: "budget"; variable?: string }
  | { kind: "always" };

/**
 * Ends the model's thinking. pi binds nothing to it by default, and terminals send it as Escape and the letter; of the
 * letters with Control, pi uses all that terminals can tell from Tab, Enter and Backspace.
 */
export const ANSWER_KEY = "alt+a";

/** The levels of a template that prints any word it is given. */
export const EFFORTS = ["low", "medium", "high"] as const;

/**
 * The variables by which public templates keep the thinking of turns before the user's last words, each with the value
 * that does: else the prompt changes where it was already read. llama-server sets them itself since `--reasoning-preserve`
 * is its default.
 */
export const KEEPING = {
  preserve_thinking: true,
  clear_thinking: false,
  truncate_history_thinking: false,
  drop_thinking: false,
  keep_past_thinking: true,
} as const;

export type KeepingVariable = keyof typeof KEEPING;

export function isKeepingVariable(value: unknown): value is KeepingVariable {
  return typeof value === "string" && Object.hasOwn(KEEPING, value);
}

const MOST_LEVELS = 20;
const LEVEL = /^[\w-]{1,20}$/;
const VARIABLE = /^[A-Za-z_]\w{0,40}$/;

/**
 * What the metadata of a model declares.
 *
 * @param live from the loaded model's template, which has the variable for what is declared
 */
export function declaredThinking(
  metadata: JsonRecord | undefined,
  live: Thinking | undefined,
): Thinking | undefined {
  const declared = parseDeclared(metadata);
  if (declared === undefined || declared.kind !== live?.kind) return declared;
  return declared.kind === "effort" ? { ...live, ...declared } : live;
}

function parseDeclared(metadata: JsonRecord | undefined): Thinking | undefined {
  const thinking = metadata?.thinking ?? metadata?.reasoning;
  const levels = levelsIn(metadata?.thinking_levels);
  if (levels.length > 0) return { kind: "effort", levels };
  if (thinking === true || thinking === "switch") return { kind: "switch" };
  if (thinking === false || thinking === "none") return { kind: "none" };
  if (thinking === "effort") return { kind: "effort", levels: EFFORTS };
  if (thinking === "budget" || thinking === "always") return { kind: thinking };
  return undefined;
}

function levelsIn(value: unknown): string[] {
  return texts(value)
    .filter((level) => LEVEL.test(level))
    .slice(0, MOST_LEVELS);
}

/** Reads what an earlier start stored; what is not of the right shape is unknown. */
export function restoredThinking(stored: unknown): Thinking | undefined {
  const thinking = record(stored);
  const kind = text(thinking?.kind);
  if (kind === "none" || kind === "always") return { kind };
  const variable = variableIn("variable", thinking?.variable);
  if (kind === "switch" || kind === "budget") return { kind, ...variable };
  const levels = levelsIn(thinking?.levels);
  if (kind !== "effort" || levels.length === 0) return undefined;
  return { kind, levels, ...variable, ...variableIn("switch", thinking?.switch) };
}

/** The name goes into requests as a key, so that nothing but a name will do. */
function variableIn<K extends string>(key: K, value: unknown): { [name in K]?: string } {
  const name = text(value);
  return name === undefined || !VARIABLE.test(name) ? {} : ({ [key]: name } as { [name in K]?: string });
}
