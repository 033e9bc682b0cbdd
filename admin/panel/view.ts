import {
  type Component,
  type Focusable,
  Input,
  type Keybinding,
  matchesKey,
  wrapTextWithAnsi,
} from "@earendil-works/pi-tui";
import {
  firstSeen,
  fitted,
  flow,
  keyHint,
  keyNames,
  SEPARATOR,
  table,
  type ViewParts,
} from "../../ui/layout.ts";
import {
  barLines,
  filtered,
  headingLines,
  lowerLines,
  messageLines,
  type PanelAction,
  type PanelContent,
  type PanelPlace,
  type PanelRow,
  selectedAt,
  share,
} from "./lines.ts";

const LETTERS = { use: "m use in pi", context: "c context", log: "l log" } as const;

const MARK = 2;

export interface PanelParts extends ViewParts {
  /** What to show now, with the details of the selected model. */
  content(selected: string | undefined): PanelContent;
  place: PanelPlace;
  act(action: PanelAction): void;
}

/**
 * The server on one screen of the whole terminal. Letters are commands, as in the log's view; a filter is typed after a
 * slash, since ids begin with those letters too. Enter ends the filter and does nothing else, so that ending a word
 * loads no model.
 */
export class PanelView implements Component, Focusable {
  /** Set by pi; a filter that is being typed shows its cursor. */
  focused = false;
  readonly #parts: PanelParts;
  #input: Input | undefined;
  #drawn = "";
  #page = 1;

  constructor(parts: PanelParts) {
    this.#parts = parts;
  }

  /** Draws again if the content has changed. */
  update(): void {
    const content = JSON.stringify(this.#content());
    if (content === this.#drawn) return;
    this.#drawn = content;
    this.#parts.tui.requestRender();
  }

  invalidate(): void {
    this.#input?.invalidate();
  }

  render(width: number): string[] {
    const { rows: height } = this.#parts.tui.terminal;
    const content = this.#content();
    const footer = this.#footer(width, content);
    const { theme } = this.#parts;
    const head = headingLines(content, width, theme);
    const message = messageLines(content, width, theme, Math.max(1, Math.floor(height / 4)));
    const fixed = [...barLines(content, width, theme), ...message];
    const gap = height >= 20 ? 1 : 0;
    const free = Math.max(0, height - head.length - footer.length - fixed.length - gap);
    const lower = lowerLines(content, width, theme);
    const trouble = this.#troubleLines(content, width);
    const rows = content.rows.length === 0 ? 0 : content.rows.length + 1;
    const given = share(free, trouble.length + rows, lower.length === 0 ? 0 : lower.length + 1);
    const rowsGiven = Math.max(1, given.list - trouble.length);
    const most = content.rows.length === 0 ? given.list : Math.max(1, given.list);
    const list = [...trouble, ...this.#listLines(content, width, rowsGiven)].slice(0, most);
    this.#page = Math.max(1, given.list - 1);
    const seen = given.below < 2 ? [] : ["", ...lower.slice(0, given.below - 1)];
    const body = [...head, ...Array<string>(gap).fill(""), ...list, ...fixed, ...seen];
    const screen = body.slice(0, Math.max(0, height - footer.length));
    while (screen.length + footer.length < height) screen.push("");
    return [...screen, ...footer.slice(0, height)].map((line) => fitted(line, width));
  }

  handleInput(data: string): void {
    if (this.#input === undefined) this.#command(data);
    else if (!this.#isMoved(data)) this.#type(this.#input, data);
    this.#parts.tui.requestRender();
  }

  /** The rows that match the filter, with the details of the selected one. */
  #content(): PanelContent {
    const { place, content } = this.#parts;
    const found = content(place.selected);
    const rows = filtered(found.rows, place.filter);
    const selected = rows[selectedAt(rows, place)]?.id;
    return selected === place.selected ? { ...found, rows } : { ...content(selected), rows };
  }

  /** The id of the selected model: the first one until the user moves, and while the selected one is missing. */
  #selected(): string | undefined {
    const { rows } = this.#content();
    return rows[selectedAt(rows, this.#parts.place)]?.id;
  }

  #does(data: string, binding: Keybinding): boolean {
    return this.#parts.keys.matches(data, binding);
  }

  #isMoved(data: string): boolean {
    if (this.#does(data, "tui.select.up")) this.#move(-1);
    else if (this.#does(data, "tui.select.down")) this.#move(1);
    else if (this.#does(data, "tui.select.pageUp")) this.#move(-this.#page);
    else if (this.#does(data, "tui.select.pageDown")) this.#move(this.#page);
    else return false;
    return true;
  }

  #move(by: number): void {
    const { rows } = this.#content();
    const { place } = this.#parts;
    const at = Math.min(rows.length - 1, Math.max(0, selectedAt(rows, place) + by));
    place.selected = rows[at]?.id;
  }

  #type(input: Input, data: string): void {
    const { place } = this.#parts;
    if (this.#does(data, "tui.select.cancel")) {
      this.#input = undefined;
      place.filter = "";
    } else if (this.#does(data, "tui.select.confirm")) this.#input = undefined;
    else {
      input.handleInput(data);
      place.filter = input.getValue();
    }
  }

  #command(data: string): void {
    const { place, act } = this.#parts;
    if (this.#isMoved(data)) return;
    if (this.#does(data, "tui.select.cancel")) {
      if (place.filter === "") act({ kind: "leave" });
      place.filter = "";
      return;
    }
    if (matchesKey(data, "/")) {
      this.#input = new Input({ prompt: "/" });
      // Typed rather than set, so that the cursor is at its end.
      if (place.filter !== "") this.#input.handleInput(place.filter);
      return;
    }
    const id = this.#selected();
    if (matchesKey(data, "home")) this.#move(Number.NEGATIVE_INFINITY);
    else if (matchesKey(data, "end")) this.#move(Number.POSITIVE_INFINITY);
    else if (matchesKey(data, "r")) act({ kind: "refresh" });
    else if (id !== undefined) this.#commandFor(id, data);
  }

  #commandFor(id: string, data: string): void {
    const { place, act } = this.#parts;
    // The selection stays with a model that was acted on, also when another one becomes the first.
    place.selected = id;
    if (this.#does(data, "tui.select.confirm")) act({ kind: "toggle", id });
    else if (matchesKey(data, "m")) act({ kind: "use", id });
    else if (matchesKey(data, "c")) act({ kind: "context", id });
    else if (matchesKey(data, "l")) act({ kind: "log", id });
  }

  /** What is wrong, above the list or in its place. */
  #troubleLines({ rows, trouble }: PanelContent, width: number): string[] {
    const { theme, place } = this.#parts;
    const isEmpty = rows.length === 0 && place.filter !== "";
    return [trouble, isEmpty ? `No model matches "${place.filter}".` : undefined]
      .filter((text) => text !== undefined)
      .flatMap((text) => wrapTextWithAnsi(text, width))
      .map((line) => theme.fg("warning", line));
  }

  /** The title and the rows around the selected one. A single line shows the selected model rather than the title. */
  #listLines({ columns, rows }: PanelContent, width: number, height: number): string[] {
    if (rows.length === 0) return [];
    const { theme, place } = this.#parts;
    const cells = rows.map((row) => row.cells);
    const [title = "", ...lines] = table(columns, cells, width - MARK);
    const seen = Math.max(1, height - 1);
    const at = selectedAt(rows, place);
    const first = firstSeen(rows.length, at, seen);
    const body = lines
      .slice(first, first + seen)
      .map((line, offset) => this.#row(line, rows[first + offset], first + offset === at));
    if (height < 2) return body;
    const more = rows.length > seen ? `${SEPARATOR}${at + 1} of ${rows.length}` : "";
    return [theme.fg("dim", fitted(`  ${title}${more}`, width)), ...body];
  }

  #row(line: string, row: PanelRow | undefined, isSelected: boolean): string {
    const { theme } = this.#parts;
    if (isSelected) return theme.fg("accent", theme.bold(`→ ${line}`));
    const colour = row?.tone === "ready" ? "success" : row?.tone === "changing" ? "warning" : "muted";
    return theme.fg(colour, `  ${line}`);
  }

  #footer(width: number, content: PanelContent): string[] {
    const { theme, place, keys } = this.#parts;
    if (this.#input !== undefined) {
      this.#input.focused = this.focused;
      const hint = flow(
        ["enter keeps the filter", `${keyNames(keys, "tui.select.cancel")} clears it`],
        width,
      );
      return [
        fitted(this.#input.render(width)[0] ?? "", width),
        ...hint.map((line) => theme.fg("dim", line)),
      ];
    }
    const row = content.rows[selectedAt(content.rows, place)];
    const filter = place.filter === "" ? [] : [fitted(`filter: ${place.filter}`, width)];
    return [...filter, ...flow(this.#hints(row), width)].map((line) => theme.fg("dim", line));
  }

  /** What the keys do; a key that is bound to nothing is left out. */
  #hints(row: PanelRow | undefined): string[] {
    const { keys, place } = this.#parts;
    const enter = row?.toggles;
    return [
      ...keyHint(keyNames(keys, "tui.select.cancel"), place.filter === "" ? "leave" : "all models"),
      ...(enter === undefined ? [] : keyHint(keyNames(keys, "tui.select.confirm"), enter)),
      ...keyHint(keyNames(keys, "tui.select.up", "tui.select.down"), "move"),
      "/ filter",
      ...(row?.offers ?? []).map((letter) => LETTERS[letter]),
      "r refresh",
    ];
  }
}
