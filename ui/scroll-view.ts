/**
 * Own code: pi-tui's SelectList cuts its lines, its Text and Markdown do not scroll, and none of them searches, follows
 * a growing text, or wraps only the visible part of 20,000 lines.
 */
import type { Theme } from "@earendil-works/pi-coding-agent";
import {
  type Component,
  type Focusable,
  Input,
  type Keybinding,
  type KeyId,
  matchesKey,
  type TuiMouseEvent,
  type TuiMouseEventResult,
  truncateToWidth,
  visibleWidth,
} from "@earendil-works/pi-tui";
import { counted } from "../lib/figures.ts";
import { fitted, keyHint, keyNames, SEPARATOR, type ViewParts } from "./layout.ts";
import { ScrollText, type Seen } from "./scroll-text.ts";

const FRAME_ROWS = 2;

export interface ScrollViewParts extends ViewParts {
  theme: Pick<Theme, "fg" | "bold" | "inverse">;
  title: string;
  /** Colours lines, one for each it gets; called again after a change of theme, and for appended lines alone. */
  style: (lines: readonly string[]) => string[];
  close: () => void;
}

/**
 * A text that fills the terminal, under a title and above a footer with the position and the keys. As an overlay of the
 * whole terminal it gets the keys that pi's fullscreen mode would keep for its own transcript.
 */
export class ScrollView implements Component, Focusable {
  /** Set by pi: a search shows its cursor. */
  focused = false;
  readonly #parts: ScrollViewParts;
  readonly #text: ScrollText;
  #state: "still" | "live" | "ended" = "still";
  #unseen = 0;
  #search: Input | undefined;
  #found: { pattern: RegExp; words: string; line: number | undefined } | undefined;

  /** @param lines without line ends and control characters; appended ones too */
  constructor(parts: ScrollViewParts, lines: readonly string[]) {
    this.#parts = parts;
    this.#text = new ScrollText((given) => parts.style(given), lines);
    this.#text.mark = (line) => {
      const pattern = this.#found?.pattern;
      return pattern ? line.replace(pattern, (match) => parts.theme.inverse(match)) : line;
    };
  }

  /** Goes to the end and shows that the text grows, until `end`; the oldest lines beyond the bounds are dropped. */
  follow(): void {
    this.#state = "live";
    this.#text.goToEnd();
    this.#trim();
    this.#parts.tui.requestRender();
  }

  /** Adds lines at the end. A view at the end follows them; one above it stays where it is. */
  append(lines: readonly string[]): void {
    if (lines.length === 0) return;
    this.#text.append(lines);
    this.#trim();
    if (!this.#text.isAtEnd) this.#unseen += lines.length;
    this.#parts.tui.requestRender();
  }

  /** Shows that nothing more will come. */
  end(): void {
    this.#state = "ended";
    this.#parts.tui.requestRender();
  }

  invalidate(): void {
    this.#text.invalidate();
    this.#search?.invalidate();
  }

  render(width: number): string[] {
    const height = Math.max(1, this.#parts.tui.terminal.rows - FRAME_ROWS);
    const seen = this.#text.seen(width, height);
    if (this.#text.isAtEnd) this.#unseen = 0;
    const { rows } = seen;
    while (rows.length < height) rows.push("");
    const { theme, title } = this.#parts;
    const heading = theme.fg("accent", theme.bold(fitted(title, width)));
    const screen = [heading, ...rows, this.#footer(seen, width)];
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
    this.#text.move(event.wheelDelta ?? 0);
    return { handled: true };
  }

  #command(data: string): void {
    const text = this.#text;
    const does = (binding: Keybinding, ...keys: KeyId[]): boolean =>
      this.#parts.keys.matches(data, binding) || keys.some((key) => matchesKey(data, key));
    if (does("tui.select.cancel", "q")) this.#parts.close();
    else if (does("tui.select.up")) text.move(-1);
    else if (does("tui.select.down")) text.move(1);
    else if (does("tui.select.pageUp")) text.page(-1);
    else if (does("tui.select.pageDown", "space")) text.page(1);
    else if (matchesKey(data, "home") || matchesKey(data, "g")) text.goTo(0);
    else if (matchesKey(data, "end") || matchesKey(data, "shift+g")) text.goToEnd();
    else if (matchesKey(data, "/")) this.#startSearch();
    else if (matchesKey(data, "n")) this.#goToMatch(1);
    else if (matchesKey(data, "shift+n")) this.#goToMatch(-1);
  }

  #trim(): void {
    const dropped = this.#text.trim();
    if (this.#found?.line !== undefined) this.#found.line = Math.max(-1, this.#found.line - dropped);
  }

  #startSearch(): void {
    const search = new Input({ prompt: "/" });
    search.onEscape = () => {
      this.#search = undefined;
    };
    search.onSubmit = (words) => {
      this.#search = undefined;
      const pattern = new RegExp(words.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"), "gi");
      this.#found = words === "" ? undefined : { pattern, words, line: this.#text.top - 1 };
      this.#goToMatch(1);
    };
    this.#search = search;
  }

  #goToMatch(direction: 1 | -1): void {
    const found = this.#found;
    if (!found) return;
    const { lines } = this.#text;
    const total = lines.length;
    const from = found.line ?? this.#text.top;
    for (let step = 1; step <= total; step++) {
      const line = (from + direction * step + 2 * total) % total;
      // String.search, unlike RegExp.test, always starts at index 0.
      if ((lines[line] ?? "").search(found.pattern) < 0) continue;
      found.line = line;
      this.#text.goTo(line);
      return;
    }
    found.line = undefined;
  }

  #footer(seen: Seen, width: number): string {
    const { theme } = this.#parts;
    if (this.#search) {
      this.#search.focused = this.focused;
      return this.#search.render(width)[0] ?? "";
    }
    const pieces = [...this.#position(seen), ...this.#hints()];
    const shown: string[] = [];
    for (const piece of pieces) {
      if (shown.length > 0 && visibleWidth([...shown, piece].join(SEPARATOR)) > width) break;
      shown.push(piece);
    }
    return theme.fg("dim", fitted(shown.join(SEPARATOR), width));
  }

  #position({ first, last }: Seen): string[] {
    const total = this.#text.lines.length;
    const percent = this.#text.isAtEnd ? 100 : Math.min(99, Math.floor((100 * (last + 1)) / total));
    const pieces = [
      total === 0 ? "empty" : `${first + 1}–${last + 1} of ${total}`,
      ...(total === 0 ? [] : [`${percent} %`]),
      ...(this.#state === "still" ? [] : [this.#state]),
    ];
    if (this.#unseen > 0) pieces.push(`${counted(this.#unseen, "new line")} below`);
    if (this.#found && this.#found.line === undefined) pieces.push(`no "${this.#found.words}"`);
    return pieces;
  }

  /** What the keys do, the way out first; a key that is bound to nothing is left out. */
  #hints(): string[] {
    const { keys } = this.#parts;
    return [
      ...keyHint(keyNames(keys, "tui.select.cancel") || "q", "close"),
      this.#found ? "n/N next" : "/ search",
      ...keyHint(keyNames(keys, "tui.select.up", "tui.select.down"), "scroll"),
      ...keyHint(keyNames(keys, "tui.select.pageUp", "tui.select.pageDown"), "page"),
      "home/end",
    ];
  }
}
