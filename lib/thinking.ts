/** How models think, as far as chat templates and requests depend on it. */

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
