/**
 * Command lines as words. Own splitter: an edit needs the place of each character in the file, which `shlex` does not
 * keep, and llama-swap has comments and line ends of its own. `shlex` gives the second opinion in `yaml/proof.ts`.
 */
import { joinTraced, pickTraced, sliceTraced, type TracedText } from "../traced-text.ts";

export interface Word {
  /** Without quotes and escapes. */
  readonly value: TracedText;
  /** As written, quotes included. */
  readonly raw: TracedText;
  /** An operator of a shell, as `&&`; never in llama-swap's own splitting. */
  readonly isOperator: boolean;
}

function linesOf(command: TracedText): TracedText[] {
  const lines: TracedText[] = [];
  let from = 0;
  for (let at = command.text.indexOf("\n"); at >= 0; at = command.text.indexOf("\n", from)) {
    lines.push(sliceTraced(command, from, at + 1));
    from = at + 1;
  }
  return [...lines, sliceTraced(command, from)];
}

/** Leaves out the lines that llama-swap takes for comments: they begin with `#`, quoted or not. */
export function withoutComments(command: TracedText): TracedText {
  return joinTraced(linesOf(command).filter((line) => !line.text.trim().startsWith("#")));
}

/** llama-swap reads a backslash at the end of a line as a blank, even with blanks after it. */
function withoutContinuations(command: TracedText): TracedText {
  const lines = linesOf(command).map((line) => {
    const end = line.text.trimEnd().length;
    if (!line.text.slice(0, end).endsWith("\\")) return line;
    return joinTraced([
      sliceTraced(line, 0, end - 1),
      { text: " ", traces: line.traces.slice(end - 1, end) },
      sliceTraced(line, end),
    ]);
  });
  return joinTraced(lines);
}

/** The index after a word that begins at `start`, and the indices of the characters of its value. */
function scanWord(
  text: string,
  start: number,
  inShell: boolean,
): { end: number; indices: number[] } | undefined {
  const indices: number[] = [];
  const ends = inShell ? /[ \t\r\n;&|<>()]/ : /[ \t\n]/;
  let quote = "";
  let at = start;
  for (; at < text.length; at += 1) {
    const char = text.charAt(at);
    const next = text.charAt(at + 1);
    if (quote === "" && ends.test(char)) break;
    const escapes = quote === "" || (quote === '"' && /^[$`"\\\n]?$/.test(next));
    if (char === "\\" && escapes) {
      at += 1;
      if (next !== "\n" && next !== "") indices.push(at);
    } else if (quote === "" && (char === '"' || char === "'")) quote = char;
    else if (char === quote) quote = "";
    else indices.push(at);
  }
  return quote === "" ? { end: Math.min(at, text.length), indices } : undefined;
}

function split(command: TracedText, inShell: boolean): Word[] | undefined {
  const { text } = command;
  const blank = inShell ? /[ \t\r]/ : /[ \t\n]/;
  const words: Word[] = [];
  for (let at = 0; at < text.length; ) {
    if (blank.test(text.charAt(at))) {
      at += 1;
      continue;
    }
    const operator = inShell ? /^(#[^\n]*|\n|[<>]+&?|[;&|()]+)/.exec(text.slice(at))?.[0] : undefined;
    const found = operator ? { end: at + operator.length, indices: [] } : scanWord(text, at, inShell);
    if (!found) return undefined;
    if (!operator?.startsWith("#")) {
      const raw = sliceTraced(command, at, found.end);
      words.push({
        raw,
        value: operator ? raw : pickTraced(command, found.indices),
        isOperator: operator !== undefined,
      });
    }
    at = found.end;
  }
  return words;
}

/**
 * Splits a `cmd` into words as llama-swap does (`SanitizeCommand` in its `internal/config/commands.go`, and the
 * POSIX dialect of the splitter that it uses): comment lines go, macros being expanded already.
 *
 * @returns undefined when a quote is left open
 */
export function splitCommand(command: TracedText): Word[] | undefined {
  return split(withoutContinuations(withoutComments(command)), false);
}

/** The text that {@link splitCommand} splits, for a second opinion. */
export function commandText(command: TracedText): string {
  return withoutContinuations(withoutComments(command)).text;
}

/**
 * Splits the string of a `sh -c` into words and operators. Variables and substitutions stay as they are written.
 *
 * @returns undefined when a quote is left open
 */
export function splitShell(script: TracedText): Word[] | undefined {
  return split(script, true);
}
