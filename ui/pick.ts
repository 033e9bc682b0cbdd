import {
  type Component,
  type Focusable,
  Input,
  type Keybinding,
  type TuiMouseEvent,
  type TuiMouseEventResult,
  visibleWidth,
  wrapTextWithAnsi,
} from "@earendil-works/pi-tui";
import { type Clock, REAL_CLOCK } from "../lib/clock.ts";
import { counted } from "../lib/figures.ts";
import { cleanLine } from "../lib/text.ts";
import {
  firstSeen,
  fitted,
  fittedPlain,
  flow,
  keyHint,
  keyNames,
  padded,
  type ViewParts,
  withoutMiddle,
} from "./layout.ts";
import { LiveSearch, type Search } from "./live-search.ts";
import type { Screen } from "./output.ts";
import { inWholeTerminal } from "./whole-terminal.ts";

export interface PickItem<T> {
  readonly words: string;
  /** Beside the words, less prominent. */
  readonly detail?: string | undefined;
  readonly tone?: "good" | "doubtful" | "bad" | undefined;
  readonly means: T;
}

/** One that was typed, above or below what was found. */
export interface TypedItem<T> extends PickItem<T> {
  readonly place: "first" | "last";
}

/** One of several things to choose, from a list that is filtered, or searched for, by what is typed. */
export interface Picking<T> {
  readonly title: string;
  /** Sentences under the title. */
  readonly notes?: readonly string[];
  /** Of the list, as `1 model`: the noun takes an s. */
  readonly noun: string;
  /** What may be typed, shown while nothing is. */
  readonly typing: string;
  readonly items: readonly PickItem<T>[];
  /** What the typed text itself stands for, if anything. */
  readonly typed?: (text: string) => TypedItem<T> | undefined;
  /** Finds items by the typed words; `items` are shown while none are typed. */
  readonly search?: Search<PickItem<T>>;
}

const MARK = 2;
const GAP = 2;
/** Columns: a name is cut no shorter, and a detail not shown in less. */
const LEAST_WORDS = 24;
const LEAST_DETAIL = 8;
/** From this many rows on, empty rows separate the parts. */
const ROOMY = 18;
const COLOURS = { good: "success", doubtful: "warning", bad: "error" } as const;

export interface PickParts<T> extends ViewParts {
  picking: Picking<T>;
  clock: Pick<Clock, "sleep">;
  /** Called with the choice; undefined where the user leaves. */
  answer: (chosen: PickItem<T> | undefined) => void;
}

/** A line to type in, over a list that fills the terminal. */
export class PickView<T> implements Component, Focusable {
  /** Set by pi: the line shows its cursor. */
  focused = false;
  readonly #parts: PickParts<T>;
  readonly #input = new Input({ prompt: "> " });
  readonly #search: LiveSearch<PickItem<T>> | undefined;
  #chosen = 0;
  /** Rows of the list, as they were drawn last. */
  #page = 1;
  /** The words of the row to which the user has moved: it stays selected when an answer comes. */
  #kept: string | undefined;

  constructor(parts: PickParts<T>) {
    this.#parts = parts;
    const { search } = parts.picking;
    this.#search = search && new LiveSearch(search, parts.clock, () => this.#changed());
  }

  invalidate(): void {
    this.#input.invalidate();
  }

  /** Ends a search under way. */
  close(): void {
    this.#search?.close();
  }

  render(width: number): string[] {
    const { tui, theme, picking } = this.#parts;
    const height = tui.terminal.rows;
    const gap = height < ROOMY ? [] : [""];
    const title = fitted(theme.fg("accent", theme.bold(cleanLine(picking.title))), width);
    const hints = this.#hints(width).slice(0, height < ROOMY ? 1 : 2);
    const notes = (picking.notes ?? []).flatMap((note) => wrapTextWithAnsi(cleanLine(note), width));
    const room = height - 2 - hints.length - 3 * gap.length - 1;
    const shownNotes = notes.slice(0, Math.max(0, Math.floor(room / 2)));
    const list = this.#list(width, Math.max(1, room - shownNotes.length));
    const head = [title, ...shownNotes, ...gap, this.#line(width), ...gap];
    const screen = [...head, ...list];
    while (screen.length < height - hints.length) screen.push("");
    return [...screen, ...hints.map((line) => theme.fg("dim", line))].slice(0, height);
  }

  handleInput(data: string): void {
    const does = (binding: Keybinding): boolean => this.#parts.keys.matches(data, binding);
    if (does("tui.select.cancel")) this.#parts.answer(undefined);
    else if (does("tui.select.confirm")) this.#confirm();
    else if (does("tui.select.up")) this.#move(-1);
    else if (does("tui.select.down")) this.#move(1);
    else if (does("tui.select.pageUp")) this.#move(-this.#page);
    else if (does("tui.select.pageDown")) this.#move(this.#page);
    else this.#type(data);
    this.#parts.tui.requestRender();
  }

  handleMouse(event: TuiMouseEvent): TuiMouseEventResult | undefined {
    if (event.type !== "wheel") return undefined;
    this.#move(Math.sign(event.wheelDelta ?? 0));
    this.#parts.tui.requestRender();
    return { handled: true };
  }

  #confirm(): void {
    const item = this.#items[this.#chosen];
    if (item !== undefined) this.#parts.answer(item);
  }

  #type(data: string): void {
    const before = this.#input.getValue();
    this.#input.handleInput(data);
    const text = this.#input.getValue();
    if (text === before) return;
    this.#search?.type(text);
    this.#chosen = 0;
    this.#kept = undefined;
  }

  #move(by: number): void {
    const items = this.#items;
    this.#chosen = Math.max(0, Math.min(items.length - 1, this.#chosen + by));
    this.#kept = items[this.#chosen]?.words;
  }

  /** An answer has come: the row on which the user is stays under the mark. */
  #changed(): void {
    const at = this.#items.findIndex(({ words }) => words === this.#kept);
    this.#chosen = Math.max(0, at);
    this.#parts.tui.requestRender();
  }

  get #items(): readonly PickItem<T>[] {
    const { picking } = this.#parts;
    const text = this.#input.getValue().trim();
    const own = text === "" ? undefined : picking.typed?.(text);
    const isAsked = this.#search !== undefined && text !== "";
    // While the next answer is on its way, what the last one has of it.
    const list = isAsked ? this.#search.found : picking.items;
    const shown = isAsked && this.#search.state === "found" ? list : filtered(list, text);
    if (own === undefined) return shown;
    const others = shown.filter(({ words }) => words !== own.words);
    if (own.place === "first") return [own, ...others];
    return others.length < shown.length ? shown : [...shown, own];
  }

  #line(width: number): string {
    const { theme, picking } = this.#parts;
    this.#input.focused = this.focused;
    const line = this.#input.render(width)[0] ?? "";
    if (this.#input.getValue() !== "") return fitted(line, width);
    const room = width - MARK - 2;
    return `${fitted(line.trimEnd(), width)}${theme.fg("dim", fitted(` ${picking.typing}`, room))}`;
  }

  #list(width: number, height: number): string[] {
    const items = this.#items;
    const status = this.#status(items.length);
    if (items.length === 0) return wrapTextWithAnsi(this.#dim(status), width);
    const seen = Math.max(1, height - 1);
    this.#page = seen;
    const first = firstSeen(items.length, this.#chosen, seen);
    const columns = wordColumns(items, width);
    const rows = items
      .slice(first, first + seen)
      .map((item, at) => this.#row(item, first + at === this.#chosen, columns, width));
    return height < 2 ? rows : [...rows, this.#dim(fitted(`  ${status}`, width))];
  }

  #row({ words, detail = "", tone }: PickItem<T>, isChosen: boolean, columns: number, width: number): string {
    const { theme } = this.#parts;
    const name = padded(withoutMiddle(cleanLine(words), columns), columns);
    const room = width - MARK - columns - GAP;
    const isBeside = detail !== "" && room >= LEAST_DETAIL;
    const shown = isBeside ? fittedPlain(cleanLine(detail), room) : "";
    const beside = isBeside ? " ".repeat(GAP) + theme.fg(tone ? COLOURS[tone] : "muted", shown) : "";
    const line = `${isChosen ? "→" : " "} ${isBeside ? name : name.trimEnd()}`;
    return (isChosen ? theme.fg("accent", theme.bold(line)) : line) + beside;
  }

  #dim(text: string): string {
    return this.#parts.theme.fg("dim", text);
  }

  #status(shown: number): string {
    const { noun } = this.#parts.picking;
    const state = this.#input.getValue().trim() === "" ? undefined : this.#search?.state;
    if (typeof state === "object") return state.problem;
    if (state === "searching") return "Searching…";
    if (state === "waiting") return "Type at least 2 characters.";
    if (shown === 0) return this.#input.getValue().trim() === "" && this.#search ? "" : `No ${noun} found.`;
    return counted(shown, noun);
  }

  #hints(width: number): string[] {
    const { keys } = this.#parts;
    return flow(
      [
        ...keyHint(keyNames(keys, "tui.select.up", "tui.select.down"), "choose"),
        ...keyHint(keyNames(keys, "tui.select.confirm"), "ok"),
        ...keyHint(keyNames(keys, "tui.select.cancel"), "leave"),
      ],
      width,
    );
  }
}

/** Of the words: what the details leave, but no less than they need for a name. */
function wordColumns(items: readonly PickItem<unknown>[], width: number): number {
  const widest = Math.max(...items.map(({ words }) => visibleWidth(words)));
  const details = Math.max(...items.map(({ detail = "" }) => visibleWidth(detail)));
  const room = width - MARK - (details === 0 ? 0 : GAP + details);
  return Math.max(1, Math.min(widest, width - MARK, Math.max(room, LEAST_WORDS)));
}

/** The items that have every typed word in them. */
function filtered<T>(items: readonly PickItem<T>[], text: string): readonly PickItem<T>[] {
  const wanted = text.toLowerCase().split(/\s+/);
  return items.filter(({ words, detail }) => {
    const whole = `${words} ${detail ?? ""}`.toLowerCase();
    return wanted.every((word) => whole.includes(word));
  });
}

/**
 * Lets the user choose: in the terminal on a screen of its own, an RPC client by a `select` of the items.
 *
 * @param ended the end of the session, which chooses nothing
 * @returns undefined where the user leaves
 */
export async function pick<T>(
  screen: Screen,
  picking: Picking<T>,
  ended: AbortSignal,
  clock: Pick<Clock, "sleep"> = REAL_CLOCK,
): Promise<T | undefined> {
  if (ended.aborted) return undefined;
  const title = cleanLine(picking.title);
  if (screen.mode !== "tui") {
    const lines = picking.items.map(({ words, detail }) =>
      cleanLine(detail ? `${words} · ${detail}` : words),
    );
    const shown = [title, ...(picking.notes ?? []).map(cleanLine)].join("\n");
    const chosen = await screen.ui.select(shown, lines, { signal: ended });
    return picking.items[lines.indexOf(chosen ?? "")]?.means;
  }
  const chosen = await inWholeTerminal<PickItem<T>>(
    screen,
    ended,
    (terminal, answer, closed) => {
      const view = new PickView({ ...terminal, picking, clock, answer });
      closed.addEventListener("abort", () => view.close(), { once: true });
      return view;
    },
    title,
  );
  return chosen?.means;
}
