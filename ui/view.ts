import { highlightCode, type Theme } from "@earendil-works/pi-coding-agent";
import { sentenceOf } from "../lib/errors.ts";
import { cleanLine } from "../lib/text.ts";
import { diffStyled } from "./diff.ts";
import { type Screen, show } from "./output.ts";
import { ScrollView, type ScrollViewParts } from "./scroll-view.ts";
import { inWholeTerminal, type Terminal, WHOLE_TERMINAL } from "./whole-terminal.ts";

export interface View {
  title: string;
  /** One text per line, secrets masked. */
  lines: readonly string[];
  language: "yaml" | "ini" | "log" | "diff" | "plain";
}

/** The most bytes of a notice for an RPC client. */
const MOST_NOTICE_BYTES = 200_000;

/**
 * Shows a text that the session does not keep: in the terminal as a view until Escape, to an RPC client as one notice
 * of at most 200 kB, in print and JSON mode its lines alone.
 */
export async function showText(ctx: Screen, view: View): Promise<void> {
  const shown = cleaned(view);
  if (ctx.mode !== "tui")
    return show(ctx, { level: "info", content: textFor(ctx.mode, shown), data: { title: shown.title } });
  await ctx.ui.custom<void>(
    (tui, theme, keys, done) => new ScrollView(partsOf(shown, { tui, theme, keys }, done), shown.lines),
    WHOLE_TERMINAL,
  );
}

/**
 * Shows a text that grows. In the terminal `follow` runs while the view is open and appends lines; its signal aborts
 * on Escape and with `ended`, and it is awaited before this returns. Its failure is the last line of the view. Other
 * modes show the first lines, and nothing is followed.
 *
 * @param ended aborts when the session ends
 */
export async function showLive(
  ctx: Screen,
  view: View,
  follow: (append: (lines: readonly string[]) => void, signal: AbortSignal) => Promise<void>,
  ended: AbortSignal,
): Promise<void> {
  if (ctx.mode !== "tui") return showText(ctx, view);
  if (ended.aborted) return;
  const shown = cleaned(view);
  let following: Promise<void> | undefined;
  try {
    await inWholeTerminal<void>(ctx, ended, (terminal, done, closed) => {
      const screen = new ScrollView(partsOf(shown, terminal, done), shown.lines);
      screen.follow();
      following = followOn(screen, follow, AbortSignal.any([closed, ended]));
      return screen;
    });
  } finally {
    await following;
  }
}

/** Never rejects: the view shows a failure. */
async function followOn(
  screen: ScrollView,
  follow: Parameters<typeof showLive>[2],
  signal: AbortSignal,
): Promise<void> {
  const append = (lines: readonly string[]): void => {
    if (!signal.aborted) screen.append(lines.map(cleanLine));
  };
  try {
    await follow(append, signal);
  } catch (error) {
    append(sentenceOf(error).split("\n"));
  }
  if (!signal.aborted) screen.end();
}

function cleaned(view: View): View {
  return { ...view, title: cleanLine(view.title), lines: view.lines.map(cleanLine) };
}

function partsOf({ title, language }: View, screen: Terminal, close: () => void): ScrollViewParts {
  const style = (lines: readonly string[]): string[] => {
    if (language === "plain") return [...lines];
    return language === "diff" ? diffStyled(lines, screen.theme) : highlighted(lines, language, screen.theme);
  };
  return { ...screen, title, style, close };
}

function textFor(mode: Screen["mode"], { title, lines, language }: View): string {
  if (lines.length === 0) return `${title}: empty`;
  if (mode !== "rpc") return lines.join("\n");
  return `${title}\n\n${cut(lines, Buffer.byteLength(title), language).join("\n")}`;
}

/** The lines that fit a notice with `bytes` in it, of a log the last ones, and how many did not. */
function cut(lines: readonly string[], bytes: number, language: View["language"]): string[] {
  const isLog = language === "log";
  // Room for the line that counts the rest.
  let used = bytes + 100;
  const fits = (isLog ? lines.toReversed() : lines).findIndex((line) => {
    used += Buffer.byteLength(line) + 1;
    return used > MOST_NOTICE_BYTES;
  });
  if (fits < 0) return [...lines];
  const left = lines.length - fits;
  return isLog
    ? [`… ${left} earlier lines, too many for a notice`, ...lines.slice(left)]
    : [...lines.slice(0, fits), `… ${left} more lines, too many for a notice`];
}

/** More YAML than this is shown plain: highlighting blocks pi, and hostile text takes up to 3 µs a character. */
const MOST_LINES = 5000;
const MOST_CHARACTERS = 200_000;

/** The time that highlight.js's YAML grammar takes also grows with the square of each line. */
const MOST_SQUARED = 50_000_000;

// biome-ignore lint/suspicious/noControlCharactersInRegex: the escape sequences that pi's highlighting puts in
const STYLE = /\u001b\[([\d;]*)m/g;
const CLOSING = new Set(["", "0", "22", "39"]);
const DEFAULT_COLOUR = "\u001b[39m";

/**
 * Lines in the colours of pi's theme, one for each. Plain if highlighting fails, and for YAML of more than 5000 lines.
 * Only YAML uses pi's own `highlightCode`: it has no grammar for logs, and the one for INI takes minutes for lines with
 * many dots. INI and logs are coloured line by line, so that a part looks like the whole.
 */
export function highlighted(
  lines: readonly string[],
  language: "yaml" | "ini" | "log",
  theme: Pick<Theme, "fg">,
): string[] {
  try {
    if (language === "ini") return lines.map((line) => styledIni(line, theme));
    if (language === "log") return lines.map((line) => styledLog(line, theme));
    if (isTooMuch(lines)) return [...lines];
    const styled = eachStyled(highlightCode(lines.join("\n"), language));
    return styled.length === lines.length ? styled : [...lines];
  } catch {
    return [...lines];
  }
}

function isTooMuch(lines: readonly string[]): boolean {
  const characters = lines.reduce((sum, { length }) => sum + length + 1, 0);
  const squared = lines.reduce((sum, { length }) => sum + length ** 2, 0);
  return lines.length > MOST_LINES || characters > MOST_CHARACTERS || squared > MOST_SQUARED;
}

function styledIni(line: string, theme: Pick<Theme, "fg">): string {
  if (/^\s*[;#]/.test(line)) return theme.fg("syntaxComment", line);
  if (/^\s*\[/.test(line)) return theme.fg("syntaxType", line);
  const at = line.indexOf("=");
  if (at < 0) return line;
  const value = line.slice(at + 1);
  const colour = Number.isNaN(Number(value)) ? "syntaxString" : "syntaxNumber";
  return `${theme.fg("syntaxVariable", line.slice(0, at))}=${theme.fg(colour, value)}`;
}

function styledLog(line: string, theme: Pick<Theme, "fg">): string {
  if (/\b(?:error|fatal|panic|failed)\b/i.test(line)) return theme.fg("error", line);
  if (/\bwarn(?:ing)?\b/i.test(line)) return theme.fg("warning", line);
  return line;
}

/** Opens and closes a colour that spans lines in each of them: pi resets styles after each line. */
function eachStyled(lines: readonly string[]): string[] {
  let open = "";
  return lines.map((line) => {
    const begun = open;
    for (const [sequence, codes] of line.matchAll(STYLE)) {
      open = CLOSING.has(codes ?? "") ? "" : sequence;
    }
    return `${begun}${line}${open && DEFAULT_COLOUR}`;
  });
}
