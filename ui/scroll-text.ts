import { wrapTextWithAnsi } from "@earendil-works/pi-tui";

/** A growing text keeps its last lines, and no more characters than this. */
const MOST_LINES = 20_000;
const MOST_CHARACTERS = 8_000_000;

/** A place in the text: a line, and a row of that line, which may be wrapped. */
interface Place {
  line: number;
  row: number;
}

export interface Seen {
  readonly rows: string[];
  /** The first and the last line that are visible, at least in part. */
  readonly first: number;
  readonly last: number;
  /** How many lines are hidden, or visible only in part. */
  readonly above: number;
  readonly below: number;
}

const MOST_KEPT = 500;

/** Wraps texts, and keeps the rows for the next rendering: pi's own wrapping takes a tenth of a second for a hostile line. */
export class Wrapping {
  readonly #rows = new Map<string, readonly string[]>();
  #width = 0;

  /** @returns at least one row */
  rowsOf(text: string, width: number): readonly string[] {
    if (width !== this.#width || this.#rows.size > MOST_KEPT) this.#rows.clear();
    this.#width = width;
    const kept = this.#rows.get(text);
    if (kept !== undefined) return kept;
    const wrapped = wrapTextWithAnsi(text, width);
    const rows = wrapped.length > 0 ? wrapped : [""];
    this.#rows.set(text, rows);
    return rows;
  }
}

/** A text that scrolls: its lines, wrapped to a width, and the place in it. Neither draws nor reads keys. */
export class ScrollText {
  /** Colours lines, one for each it gets. */
  readonly #style: (lines: readonly string[]) => string[];
  readonly #indent: number;
  readonly #lines: string[] = [];
  #styled: string[] | undefined;
  readonly #whole = new Wrapping();
  readonly #narrow = new Wrapping();
  #characters = 0;
  #top: Place = { line: 0, row: 0 };
  #size = { width: 80, height: 20 };
  /** Whether the last row is visible; appended lines then are too. */
  isAtEnd = false;
  /** Marks matches in a line; a marked line loses its colours, which may begin inside of a match. */
  mark: (line: string) => string = (line) => line;

  /**
   * @param style called again after a change of theme, and for appended lines alone
   * @param lines without line ends and control characters; appended ones too
   * @param indent columns before the further rows of a wrapped line
   */
  constructor(style: (lines: readonly string[]) => string[], lines: readonly string[], indent = 0) {
    this.#style = style;
    this.#indent = indent;
    this.append(lines);
  }

  get lines(): readonly string[] {
    return this.#lines;
  }

  get top(): number {
    return this.#top.line;
  }

  append(lines: readonly string[]): void {
    for (const line of lines) {
      this.#lines.push(line);
      this.#characters += line.length;
    }
    if (this.#styled) this.#styled = this.#styled.concat(this.#style(lines));
  }

  /** Drops the oldest lines beyond the bounds. @returns how many */
  trim(): number {
    let dropped = 0;
    while (this.#lines.length - dropped > MOST_LINES || this.#characters > MOST_CHARACTERS) {
      this.#characters -= this.#lines[dropped++]?.length ?? 0;
    }
    if (dropped === 0) return 0;
    this.#lines.splice(0, dropped);
    this.#styled?.splice(0, dropped);
    const line = this.#top.line - dropped;
    this.#top = line < 0 ? { line: 0, row: 0 } : { ...this.#top, line };
    return dropped;
  }

  invalidate(): void {
    this.#styled = undefined;
  }

  /** The visible part of `height` rows; wraps only the lines that it needs. */
  seen(width: number, height: number): Seen {
    this.#size = { width, height };
    const end = this.#endTop();
    this.#top.row = Math.min(this.#top.row, this.#rowsOf(this.#top.line).length - 1);
    const { line, row } = this.#top;
    if (line > end.line || (line === end.line && row >= end.row)) this.isAtEnd = true;
    if (this.isAtEnd) this.#top = end;
    const rows: string[] = [];
    let last = this.#top.line;
    for (let at = last; at < this.#lines.length && rows.length < height; at++) {
      rows.push(...this.#rowsOf(at).slice(at === this.#top.line ? this.#top.row : 0));
      last = at;
    }
    const whole = rows.length > height ? last : last + 1;
    return {
      rows: rows.slice(0, height),
      first: this.#top.line,
      last,
      above: this.#top.line + (this.#top.row > 0 ? 1 : 0),
      below: Math.max(0, this.#lines.length - whole),
    };
  }

  fits(width: number, height: number): boolean {
    this.#size = { width, height };
    let rows = 0;
    for (let line = 0; line < this.#lines.length && rows <= height; line++) rows += this.#rowsOf(line).length;
    return rows <= height;
  }

  move(rows: number): void {
    let { line, row } = this.#top;
    row += rows;
    while (row < 0 && line > 0) row += this.#rowsOf(--line).length;
    for (let count = this.#rowsOf(line).length; row >= count; count = this.#rowsOf(line).length) {
      if (line >= this.#lines.length - 1) break;
      row -= count;
      line++;
    }
    this.#top = { line, row: Math.max(0, row) };
    this.isAtEnd = false;
  }

  /** Moves by the visible height less one row. */
  page(direction: 1 | -1): void {
    this.move(direction * Math.max(1, this.#size.height - 1));
  }

  goTo(line: number): void {
    this.#top = { line, row: 0 };
    this.isAtEnd = false;
  }

  goToEnd(): void {
    this.isAtEnd = true;
  }

  /** The rows of a line at the current width, at least one. */
  #rowsOf(line: number): readonly string[] {
    this.#styled ??= this.#style(this.#lines);
    const plain = this.#lines[line] ?? "";
    const marked = this.mark(plain);
    const shown = marked === plain ? (this.#styled[line] ?? plain) : marked;
    const { width } = this.#size;
    const rows = this.#whole.rowsOf(shown, width);
    const indent = Math.min(this.#indent, width - 1);
    if (rows.length === 1 || indent === 0) return rows;
    const narrow = this.#narrow.rowsOf(shown, width - indent);
    return narrow.map((row, at) => (at === 0 ? row : " ".repeat(indent) + row));
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
}
