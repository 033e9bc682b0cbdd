import {
  type Component,
  type Keybinding,
  matchesKey,
  type TuiMouseEvent,
  type TuiMouseEventResult,
  visibleWidth,
  wrapTextWithAnsi,
} from "@earendil-works/pi-tui";
import { counted } from "../lib/figures.ts";
import { cleanLine } from "../lib/text.ts";
import { diffStyled } from "./diff.ts";
import { firstSeen, fitted, flow, keyHint, keyNames, SEPARATOR, type ViewParts } from "./layout.ts";
import type { Screen } from "./output.ts";
import { ScrollText, type Seen, Wrapping } from "./scroll-text.ts";
import { inWholeTerminal } from "./whole-terminal.ts";

interface Choice<T> {
  /** The act: "Restart", not "Yes". */
  readonly words: string;
  readonly means: T;
}

/** The first one changes nothing: it is selected at first, and Escape takes it. */
export type Choices<T> = readonly [Choice<T>, ...Choice<T>[]];

export interface Question {
  readonly title: string;
  /** Sentences, the most important first. */
  readonly consequences: readonly string[];
  /** A unified diff with its secrets masked, under the name of the file. */
  readonly diff?: { readonly title: string; readonly lines: readonly string[] } | undefined;
}

/** The most lines of a diff for an RPC client, which may show a question in any way. */
const MOST_RPC_LINES = 30;

/** From this many rows on, empty rows separate the parts if all of them fit. */
const ROOMY = 20;
/** Rows of a diff: one of its own, and how many are hidden. */
const LEAST_DIFF = 2;
/** With fewer rows there are no hints. */
const LEAST_WITH_HINTS = 6;
/** With more choices than these, the position of the selected one is shown. */
const MOST_UNCOUNTED = 5;
/** Rows of one choice; a long path must not push the others away. */
const MOST_CHOICE_ROWS = 3;
/** A wrapped row must not look like a line of its own, or one that begins with + or -. */
const INDENT = 2;
const MARK = 2;

export interface QuestionParts extends ViewParts {
  question: Question;
  choices: readonly string[];
  /** Called with the index of the choice. */
  answer: (chosen: number) => void;
}

interface Frame {
  title: string[];
  choices: string[];
  hints: string[];
  gap: number;
  /** Rows between title and choices. */
  body: number;
  isTitleWhole: boolean;
}

/**
 * A question in the whole terminal. Its choices are always visible, its consequences if they fit; a diff scrolls in the
 * remaining rows. Consequences that do not fit scroll with it.
 */
export class QuestionView implements Component {
  readonly #parts: QuestionParts;
  readonly #consequences: ScrollText;
  readonly #diff: ScrollText | undefined;
  /** The text between title and choices; `titled` begins with the title, for when that has to be cut. */
  readonly #all: { whole: ScrollText; titled: ScrollText };
  #scrolled: ScrollText | undefined;
  /** Whether a key has moved it; until then a diff shows its first change. */
  #isMoved = false;
  #chosen = 0;
  readonly #wrapping = new Wrapping();

  constructor(parts: QuestionParts) {
    this.#parts = parts;
    const { title, consequences, diff } = parts.question;
    const sentences = consequences.flatMap((text) => text.split("\n")).map(cleanLine);
    const lines = diff === undefined ? [] : [diff.title, ...diff.lines].map(cleanLine);
    const own = sentences.length;
    const styled = (from: number) => (given: readonly string[]) => [
      ...given.slice(0, from),
      ...diffStyled(given.slice(from), parts.theme),
    ];
    this.#consequences = new ScrollText((given) => [...given], sentences, INDENT);
    this.#diff = diff && new ScrollText(styled(0), lines, INDENT);
    this.#all = {
      whole: new ScrollText(styled(own), [...sentences, ...lines], INDENT),
      titled: new ScrollText(styled(own + 1), [...sentences, cleanLine(title), ...lines], INDENT),
    };
  }

  invalidate(): void {
    for (const text of [this.#diff, this.#all.whole, this.#all.titled]) text?.invalidate();
  }

  render(width: number): string[] {
    const { rows: height } = this.#parts.tui.terminal;
    const roomy = height < ROOMY ? undefined : this.#frame(width, height, 1);
    const frame = roomy && this.#holdsAll(roomy, width) ? roomy : this.#frame(width, height, 0);
    const parts = [frame.title, this.#body(width, frame), frame.choices, frame.hints];
    const gap = Array<string>(frame.gap).fill("");
    const screen = parts
      .filter((rows) => rows.length > 0)
      .flatMap((rows, at) => (at === 0 ? rows : [...gap, ...rows]));
    while (screen.length < height) screen.push("");
    return screen.slice(0, height).map((line) => fitted(line, width));
  }

  handleInput(data: string): void {
    const does = (binding: Keybinding): boolean => this.#parts.keys.matches(data, binding);
    if (does("tui.select.confirm")) this.#parts.answer(this.#chosen);
    else if (does("tui.select.cancel")) this.#parts.answer(0);
    else if (does("tui.select.up")) this.#choose(-1);
    else if (does("tui.select.down")) this.#choose(1);
    else if (does("tui.select.pageUp")) this.#scroll((text) => text.page(-1));
    else if (does("tui.select.pageDown")) this.#scroll((text) => text.page(1));
    else if (matchesKey(data, "home")) this.#scroll((text) => text.goTo(0));
    else if (matchesKey(data, "end")) this.#scroll((text) => text.goToEnd());
  }

  handleMouse(event: TuiMouseEvent): TuiMouseEventResult | undefined {
    if (event.type !== "wheel") return undefined;
    this.#scroll((text) => text.move(event.wheelDelta ?? 0));
    return { handled: true };
  }

  #scroll(move: (text: ScrollText) => void): void {
    if (this.#scrolled === undefined) return;
    this.#isMoved = true;
    move(this.#scrolled);
    this.#parts.tui.requestRender();
  }

  #choose(by: number): void {
    this.#chosen = Math.min(this.#parts.choices.length - 1, Math.max(0, this.#chosen + by));
    this.#parts.tui.requestRender();
  }

  /** Everything around the text; the choices get their rows first. */
  #frame(width: number, height: number, gap: number): Frame {
    const { theme, question } = this.#parts;
    const title = this.#wrapping.rowsOf(cleanLine(question.title), width);
    const hints = height < LEAST_WITH_HINTS ? [] : this.#hints(width).slice(0, height < ROOMY ? 1 : 2);
    const free = Math.max(1, height - hints.length - 3 * gap);
    // A long list of choices leaves room for the text.
    const wanted = this.#choiceRows(width);
    const text = Math.min(
      title.length + this.#consequences.lines.length + 1,
      Math.max(1, Math.floor(free / 3)),
    );
    const choices = choicesAround(wanted, this.#chosen, Math.max(Math.min(2, free), free - text));
    const most = Math.max(0, Math.min(free - choices.length, Math.max(1, Math.floor(height / 5))));
    const isTitleWhole = title.length <= most;
    const shown = isTitleWhole ? title : shortTitle(title, cleanLine(question.title), most, width);
    return {
      title: shown.map((line) => theme.fg("accent", theme.bold(line))),
      choices,
      hints: hints.map((line) => theme.fg("dim", line)),
      gap,
      body: Math.max(0, free - shown.length - choices.length),
      isTitleWhole,
    };
  }

  #consequenceRows(width: number): string[] {
    return this.#consequences.seen(width, Number.MAX_SAFE_INTEGER).rows;
  }

  /** Whether all consequences are visible, with a part of the diff. */
  #holdsAll({ body, gap, isTitleWhole }: Frame, width: number): boolean {
    const fixed = this.#consequenceRows(width).length;
    return isTitleWhole && body - fixed >= (this.#diff ? gap + LEAST_DIFF : 0);
  }

  #body(width: number, { body, gap, isTitleWhole }: Frame): string[] {
    const all = isTitleWhole ? this.#all.whole : this.#all.titled;
    const fixed = this.#consequenceRows(width);
    if (fixed.length > 0) fixed.push(...Array<string>(gap).fill(""));
    const left = body - fixed.length;
    if (isTitleWhole && this.#diff && left >= LEAST_DIFF) {
      if (!this.#isMoved) this.#toChange(this.#diff, width, left - 1);
      return [...fixed, ...this.#seen(this.#diff, width, left)];
    }
    return this.#seen(all, width, body);
  }

  /** Scrolls to the first change if that is not visible from the top. */
  #toChange(diff: ScrollText, width: number, height: number): void {
    const change = diff.lines.findIndex((line, at) => at > 0 && /^[+-]/.test(line));
    // With the next line, which mostly is the replacement.
    const needed = height > 1 ? change + 1 : change;
    // The line before it is shown only if it leaves room: it may take several rows.
    for (const first of [0, change - 1, change]) {
      diff.goTo(first);
      if (diff.seen(width, height).last >= needed) return;
    }
  }

  /** A text that scrolls if it has to; its last row then counts the hidden lines. */
  #seen(text: ScrollText, width: number, height: number): string[] {
    this.#scrolled = text;
    if (text.fits(width, height)) return text.seen(width, height).rows;
    const seen = text.seen(width, Math.max(1, height - 1));
    return [...seen.rows, this.#parts.theme.fg("warning", this.#hidden(seen, width))].slice(0, height);
  }

  #hidden({ above, below }: Seen, width: number): string {
    const count = above + below;
    const where = above === 0 ? " below" : below === 0 ? " above" : ` (${above} above, ${below} below)`;
    const keys = keyNames(this.#parts.keys, "tui.select.pageUp", "tui.select.pageDown");
    const scroll = keys === "" ? "" : `${SEPARATOR}${keys} scroll`;
    const long = `${counted(count, "line")} hidden${where}${scroll}`;
    return visibleWidth(long) <= width ? long : `${count} hidden${scroll}`;
  }

  #choiceRows(width: number): { choice: number; line: string }[] {
    const { choices, theme } = this.#parts;
    return choices.flatMap((words, choice) =>
      cutRows(wrapTextWithAnsi(cleanLine(words), Math.max(1, width - MARK)), MOST_CHOICE_ROWS).map(
        (text, at) => {
          if (choice !== this.#chosen) return { choice, line: `  ${text}` };
          return { choice, line: theme.fg("accent", theme.bold(`${at === 0 ? "→ " : "  "}${text}`)) };
        },
      ),
    );
  }

  #hints(width: number): string[] {
    const { length: count } = this.#parts.choices;
    const pieces = [
      ...(count > MOST_UNCOUNTED ? [`${this.#chosen + 1} of ${count}`] : []),
      ...keyHint(keyNames(this.#parts.keys, "tui.select.up", "tui.select.down"), "choose"),
      ...keyHint(keyNames(this.#parts.keys, "tui.select.confirm"), "ok"),
      ...keyHint(keyNames(this.#parts.keys, "tui.select.cancel"), "no"),
    ];
    return flow(pieces, width);
  }
}

/** The rows of the choices that fit, with those of the selected one. */
function choicesAround(
  rows: readonly { choice: number; line: string }[],
  chosen: number,
  height: number,
): string[] {
  const at = rows.findIndex(({ choice }) => choice === chosen);
  const first = firstSeen(rows.length, at, height);
  return rows.slice(first, first + height).map(({ line }) => line);
}

/** The first rows, with an ellipsis if there are more. @param most at least one */
function cutRows(rows: readonly string[], most: number): string[] {
  if (rows.length <= most) return [...rows];
  const last = rows[most - 1] ?? "";
  return [...rows.slice(0, most - 1), `${last.slice(0, -1)}…`];
}

/** The first rows and the end of a title: the question itself may follow a long id. */
function shortTitle(rows: readonly string[], text: string, most: number, width: number): string[] {
  if (most === 0) return [];
  const end = Array.from(text).slice(-width);
  while (end.length > 0 && visibleWidth(end.join("")) > width - 1) end.shift();
  return [...rows.slice(0, most - 1), `…${end.join("")}`];
}

/**
 * Asks a question: in the terminal on a screen of its own, an RPC client by a `select` whose title holds all of it.
 *
 * @param ended the end of the session, which takes the first choice
 * @returns the meaning of the choice; of the first one if the user presses Escape
 */
export async function ask<T>(
  screen: Screen,
  question: Question,
  choices: Choices<T>,
  ended: AbortSignal,
): Promise<T> {
  const [none] = choices;
  if (ended.aborted) return none.means;
  const words = choices.map((choice) => choice.words);
  if (screen.mode !== "tui") {
    const chosen = await screen.ui.select(rpcText(question), words, { signal: ended });
    return (choices.find((choice) => choice.words === chosen) ?? none).means;
  }
  const chosen = await inWholeTerminal<number>(
    screen,
    ended,
    (terminal, answer) => new QuestionView({ ...terminal, question, choices: words, answer }),
    cleanLine(question.title),
  );
  return (choices[chosen ?? 0] ?? none).means;
}

function rpcText({ title, consequences, diff }: Question): string {
  const lines = diff === undefined ? [] : [diff.title, ...diff.lines];
  const more = lines.length - 1 - MOST_RPC_LINES;
  const shown = lines.slice(0, MOST_RPC_LINES + 1);
  if (more > 0) shown.push(`… ${counted(more, "more line")}`);
  return [title, ...consequences, ...shown]
    .flatMap((text) => text.split("\n"))
    .map(cleanLine)
    .join("\n");
}
