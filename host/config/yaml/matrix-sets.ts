/** The expressions of llama-swap's matrix: which part of one goes with a model. Pure. */
import type { Span } from "../traced-text.ts";

interface Token extends Span {
  readonly text: string;
}

/** By the grammar of its `internal/matrix/dsl.go`: names, `+name` for another set, `&`, `|` and brackets. */
function tokensOf(expression: string): Token[] {
  return [...expression.matchAll(/\+?[\p{L}\p{N}_.-]+|[&|()]/gu)].map((match) => ({
    text: match[0],
    start: match.index,
    end: match.index + match[0].length,
  }));
}

/**
 * Takes a model out of a set where it is one of several alternatives: what the others allow stays as it was.
 *
 * @param names under which the model may stand there
 * @returns the stretch that goes, `empty` where nothing else is there, `needed` where the model stands beside others
 */
export function withoutModel(
  expression: string,
  names: readonly string[],
): Span | "unchanged" | "empty" | "needed" {
  const tokens = tokensOf(expression);
  const at = tokens.findIndex(({ text }) => names.includes(text));
  const [before, token, after] = [tokens[at - 1], tokens[at], tokens[at + 1]];
  if (!token) return "unchanged";
  if (tokens.length === 1) return "empty";
  const isFirst = before === undefined || before.text === "(";
  const isLast = after === undefined || after.text === ")";
  if (before?.text === "|" && (isLast || after?.text === "|"))
    return { start: endBefore(tokens, at), end: token.end };
  if (isFirst && after?.text === "|") return { start: token.start, end: tokens[at + 2]?.start ?? token.end };
  return "needed";
}

/** Where the token before the `|` ends. */
function endBefore(tokens: readonly Token[], at: number): number {
  return tokens[at - 2]?.end ?? 0;
}
