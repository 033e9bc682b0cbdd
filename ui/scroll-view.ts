import type { Theme } from "@earendil-works/pi-coding-agent";
import {
  type Component,
  type Focusable,
  Input,
  type Keybinding,
  type KeybindingsManager,
  type KeyId,
  matchesKey,
  type TUI,
  type TuiMouseEvent,
  type TuiMouseEventResult,
  truncateToWidth,
  visibleWidth,
  wrapTextWithAnsi,
} from "@earendil-works/pi-tui";

/** What of a growing text is kept: its last lines, and no more characters than this. */
const MOST_LINES = 20_000;
const MOST_CHARACTERS = 8_000_000;

/** Rows that are not text: the title and the footer. */
const FRAME_ROWS = 2;

const GAP = " · ";

export interface ScrollViewParts {
  tui: { terminal: Pick<TUI["terminal"], "rows">; requestRender(): void };
  theme: Pick<Theme, "fg" | "bold" | "inverse">;
  keys: Pick<KeybindingsManager, "matches" | "getKeys">;
  /** One line. */
  title: string;
  /** Gives lines their colours, as many as it gets; asked again after a change of theme, and for appended ones alone. */
  style: (lines: readonly string[]) => string[];
  close: () => void;
}

/** A place in the text: a line of it, and a row of that line, which may be wrapped over several. */
interface Place {
  line: number;
  row: number;
}

/**
 * A text that fills the terminal, under a title and above a footer that says where one is and which keys do what. As an
 * overlay of the whole terminal it gets the keys that pi's fullscreen mode would keep for its own transcript.
 */
export class ScrollView implements Component, Focusable {
  /** Set by pi; a search that is being typed shows its cursor. */
  focused = false;
  readonly #parts: ScrollViewParts;
  readonly #lines: string[] = [];
  #styled: string[] | undefined;
  #characters = 0;
  #top: Place = { line: 0, row: 0 };
  /** Whether the last row is to be seen; what is appended then is seen too. */
  #isAtEnd = false;
  #state: "still" | "live" | "ended" = "still";
  #unseen = 0;
  /** Columns and text rows of the last rendering. */
  #size = { width: 80, height: 20 };
  #search: Input | undefined;
  #found: { pattern: RegExp; words: string; line: number | undefined } | undefined;

  /** @param lines without line ends and control characters, as all that is appended */
  constructor(parts: ScrollViewParts, lines: readonly string[]) {
    this.#parts = parts;
    this.#add(lines);
  }

  /** Goes to the end and says that the text grows, until `end`; what does not fit the bounds is dropped at its top. */
  follow(): void {
    this.#state = "live";
    this.#isAtEnd = true;
    this.#trim();
    this.#parts.tui.requestRender();
  }

  /** Adds lines below. Whoever is at the end stays there; whoever reads above stays at what he reads. */
  append(lines: readonly string[]): void {
    if (lines.length === 0) return;
    this.#add(lines);
    this.#trim();
    if (!this.#isAtEnd) this.#unseen += lines.length;
    this.#parts.tui.requestRender();
  }

  /** Says that nothing more will come. */
  end(): void {
    this.#state = "ended";
    this.#parts.tui.requestRender();
  }

  invalidate(): void {
    this.#styled = undefined;
    this.#search?.invalidate();
  }

  render(width: number): string[] {
    const height = Math.max(1, this.#parts.tui.terminal.rows - FRAME_ROWS);
    this.#size = { width, height };
    const { rows, last } = this.#body();
    while (rows.length < height) rows.push("");
    const { theme, title } = this.#parts;
    const heading = theme.fg("accent", theme.bold(truncateToWidth(title, width, "…")));
    const screen = [heading, ...rows, this.#footer(last)];
    return screen.map((line) => (visibleWidth(line) > width ? truncateToWidth(line, width, "") : line));
  }

  handleInput(data: string): void {
    if (this.#search) {
      this.#search.handleInput(data);
    } else {
      this.#command(data);
    }
    this.#parts.tui.requestRender();
  }

  handleMouse(event: TuiMouseEvent): TuiMouseEventResult | undefined {
    if (event.type !== "wheel") return undefined;
    this.#move(event.wheelDelta ?? 0);
    return { handled: true };
  }

  #command(data: string): void {
    const page = Math.max(1, this.#size.height - 1);
    const does = (binding: Keybinding, ...keys: KeyId[]): boolean =>
      this.#parts.keys.matches(data, binding) || keys.some((key) => matchesKey(data, key));
    if (does("tui.select.cancel", "q")) this.#parts.close();
    else if (does("tui.select.up")) this.#move(-1);
    else if (does("tui.select.down")) this.#move(1);
    else if (does("tui.select.pageUp")) this.#move(-page);
    else if (does("tui.select.pageDown", "space")) this.#move(page);
    else if (matchesKey(data, "home") || matchesKey(data, "g")) this.#goTo(0);
    else if (matchesKey(data, "end") || matchesKey(data, "shift+g")) this.#isAtEnd = true;
    else if (matchesKey(data, "/")) this.#startSearch();
    else if (matchesKey(data, "n")) this.#goToMatch(1);
    else if (matchesKey(data, "shift+n")) this.#goToMatch(-1);
  }

  #add(lines: readonly string[]): void {
    for (const line of lines) {
      this.#lines.push(line);
      this.#characters += line.length;
    }
    if (this.#styled) this.#styled = this.#styled.concat(this.#parts.style(lines));
  }

  #trim(): void {
    let dropped = 0;
    while (this.#lines.length - dropped > MOST_LINES || this.#characters > MOST_CHARACTERS) {
      this.#characters -= this.#lines[dropped++]?.length ?? 0;
    }
    if (dropped === 0) return;
    this.#lines.splice(0, dropped);
    this.#styled?.splice(0, dropped);
    const line = this.#top.line - dropped;
    this.#top = line < 0 ? { line: 0, row: 0 } : { ...this.#top, line };
    if (this.#found?.line !== undefined) this.#found.line = Math.max(-1, this.#found.line - dropped);
  }

  /** The rows of a line at the present width, at least one. */
  #rowsOf(line: number): string[] {
    this.#styled ??= this.#parts.style(this.#lines);
    const plain = this.#lines[line] ?? "";
    const { inverse } = this.#parts.theme;
    const pattern = this.#found?.pattern;
    const marked = pattern ? plain.replace(pattern, (match) => inverse(match)) : plain;
    // A line with a match loses its colours, which may begin and end anywhere inside the match.
    const rows = wrapTextWithAnsi(
      marked === plain ? (this.#styled[line] ?? plain) : marked,
      this.#size.width,
    );
    return rows.length > 0 ? rows : [""];
  }

  /** The rows to be seen, and the last line that they show; wraps no line that is not needed for them. */
  #body(): { rows: string[]; last: number } {
    const { height } = this.#size;
    const end = this.#endTop();
    this.#top.row = Math.min(this.#top.row, this.#rowsOf(this.#top.line).length - 1);
    const { line, row } = this.#top;
    if (line > end.line || (line === end.line && row >= end.row)) this.#isAtEnd = true;
    if (this.#isAtEnd) {
      this.#top = end;
      this.#unseen = 0;
    }
    const rows: string[] = [];
    let last = this.#top.line;
    for (let at = last; at < this.#lines.length && rows.length < height; at++) {
      rows.push(...this.#rowsOf(at).slice(at === this.#top.line ? this.#top.row : 0));
      last = at;
    }
    return { rows: rows.slice(0, height), last };
  }

  /** The place at the top when the last row is at the bottom. */
  #endTop(): Place {
    let left = this.#size.height;
    for (let line = this.#lines.length - 1; line >= 0; line--) {
      const rows = this.#rowsOf(line).length;
      if (rows >= left) return { line, row: rows - left };
      left -= rows;
    }
    return { line: 0, row: 0 };
  }

  #move(rows: number): void {
    let { line, row } = this.#top;
    row += rows;
    while (row < 0 && line > 0) row += this.#rowsOf(--line).length;
    for (let count = this.#rowsOf(line).length; row >= count; count = this.#rowsOf(line).length) {
      if (line >= this.#lines.length - 1) break;
      row -= count;
      line++;
    }
    this.#top = { line, row: Math.max(0, row) };
    this.#isAtEnd = false;
  }

  #goTo(line: number): void {
    this.#top = { line, row: 0 };
    this.#isAtEnd = false;
  }

  #startSearch(): void {
    const search = new Input({ prompt: "/" });
    search.onEscape = () => {
      this.#search = undefined;
    };
    search.onSubmit = (words) => {
      this.#search = undefined;
      const pattern = new RegExp(words.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"), "gi");
      this.#found = words === "" ? undefined : { pattern, words, line: this.#top.line - 1 };
      this.#goToMatch(1);
    };
    this.#search = search;
  }

  #goToMatch(direction: 1 | -1): void {
    const found = this.#found;
    if (!found) return;
    const total = this.#lines.length;
    const from = found.line ?? this.#top.line;
    for (let step = 1; step <= total; step++) {
      const line = (from + direction * step + 2 * total) % total;
      // String.search, unlike RegExp.test, begins at the beginning each time.
      if ((this.#lines[line] ?? "").search(found.pattern) < 0) continue;
      found.line = line;
      this.#goTo(line);
      return;
    }
    found.line = undefined;
  }

  #footer(last: number): string {
    const { theme } = this.#parts;
    const { width } = this.#size;
    if (this.#search) {
      this.#search.focused = this.focused;
      return this.#search.render(width)[0] ?? "";
    }
    const pieces = [...this.#position(last), ...this.#hints()];
    const shown: string[] = [];
    for (const piece of pieces) {
      if (shown.length > 0 && visibleWidth([...shown, piece].join(GAP)) > width) break;
      shown.push(piece);
    }
    return theme.fg("dim", truncateToWidth(shown.join(GAP), width, "…"));
  }

  #position(last: number): string[] {
    const total = this.#lines.length;
    const percent = this.#isAtEnd ? 100 : Math.min(99, Math.floor((100 * (last + 1)) / total));
    const pieces = [
      total === 0 ? "empty" : `${this.#top.line + 1}–${last + 1} of ${total}`,
      ...(total === 0 ? [] : [`${percent} %`]),
      ...(this.#state === "still" ? [] : [this.#state]),
    ];
    if (this.#unseen > 0) pieces.push(`${this.#unseen} new ${this.#unseen === 1 ? "line" : "lines"} below`);
    if (this.#found && this.#found.line === undefined) pieces.push(`no "${this.#found.words}"`);
    return pieces;
  }

  /** What the keys do, the way out first; a key that is bound to nothing is not named. */
  #hints(): string[] {
    const key = (binding: Keybinding): string[] => this.#parts.keys.getKeys(binding).slice(0, 1);
    const hint = (keys: readonly string[], does: string): string[] =>
      keys.length === 0 ? [] : [`${keys.join("/")} ${does}`];
    return [
      ...hint([...key("tui.select.cancel"), "q"].slice(0, 1), "close"),
      this.#found ? "n/N next" : "/ search",
      ...hint([...key("tui.select.up"), ...key("tui.select.down")], "scroll"),
      ...hint([...key("tui.select.pageUp"), ...key("tui.select.pageDown")], "page"),
      "home/end",
    ];
  }
}
