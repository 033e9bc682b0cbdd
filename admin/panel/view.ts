import type { Theme } from "@earendil-works/pi-coding-agent";
import {
  type Component,
  type Focusable,
  Input,
  type Keybinding,
  type KeybindingsManager,
  matchesKey,
  type TUI,
  wrapTextWithAnsi,
} from "@earendil-works/pi-tui";
import { firstSeen, fitted, flow, SEPARATOR, share } from "../../ui/layout.ts";
import { table } from "../../ui/table.ts";
import type { PanelAction, PanelContent, PanelPlace, PanelRow } from "./content.ts";
import { filtered, selectedAt } from "./list.ts";
import { barLines, headingLines, lowerLines, messageLines } from "./parts.ts";

const LETTERS = { use: "m use in pi", context: "c context", log: "l log" } as const;

/** Columns of the mark in front of each row. */
const MARK = 2;

export interface PanelParts {
  tui: { terminal: Pick<TUI["terminal"], "rows">; requestRender(): void };
  theme: Pick<Theme, "fg" | "bold">;
  keys: Pick<KeybindingsManager, "matches" | "getKeys">;
  /** What is to be seen now, with the details of the selected model. */
  content(selected: string | undefined): PanelContent;
  place: PanelPlace;
  act(action: PanelAction): void;
}

/**
 * The server on one screen of the whole terminal. Letters are commands, as in the log's view; a filter is typed behind
 * a slash, since ids begin with those letters too. Enter ends the filter and does nothing else, so that nobody loads a
 * model by ending a word.
 */
export class PanelView implements Component, Focusable {
  /** Set by pi; a filter that is being typed shows its cursor. */
  focused = false;
  readonly #parts: PanelParts;
  #input: Input | undefined;
  #drawn = "";
  /** Rows of the list at the last rendering. */
  #page = 1;

  constructor(parts: PanelParts) {
    this.#parts = parts;
  }

  /** Draws again where something else is to be seen than before. */
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
    const lines = this.#listLines(content, width);
    const below = lower.length === 0 ? 0 : lower.length + 1;
    const given = share(free, lines.count, below);
    const list = lines.draw(given.list);
    this.#page = Math.max(1, given.list - 1);
    const seen = given.below < 2 ? [] : ["", ...lower.slice(0, given.below - 1)];
    const body = [...head, ...Array<string>(gap).fill(""), ...list, ...fixed, ...seen];
    const most = Math.max(0, height - footer.length);
    const screen = body.slice(0, most);
    while (screen.length < most) screen.push("");
    return [...screen, ...footer.slice(0, height)].map((line) => fitted(line, width));
  }

  handleInput(data: string): void {
    if (this.#input === undefined) this.#command(data);
    else if (!this.#isMoved(data)) this.#type(this.#input, data);
    this.#parts.tui.requestRender();
  }

  /** What passes the filter, with the details of the one that is selected among that. */
  #content(): PanelContent {
    const { place, content } = this.#parts;
    const found = content(place.selected);
    const rows = filtered(found.rows, place.filter);
    const selected = rows[selectedAt(rows, place)]?.id;
    return selected === place.selected ? { ...found, rows } : { ...content(selected), rows };
  }

  /** The id of the selected model: the first one as long as nobody has moved, or while the other is not there. */
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
      // Typed rather than set, so that the cursor stands behind it.
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
    // Whoever does something with the first one stays with it, whatever comes before it.
    place.selected = id;
    if (this.#does(data, "tui.select.confirm")) act({ kind: "toggle", id });
    else if (matchesKey(data, "m")) act({ kind: "use", id });
    else if (matchesKey(data, "c")) act({ kind: "context", id });
    else if (matchesKey(data, "l")) act({ kind: "log", id });
  }

  /** The list with its title, drawn into as many lines as it gets. */
  #listLines(
    { columns, rows, trouble }: PanelContent,
    width: number,
  ): { count: number; draw(height: number): string[] } {
    const { theme, place } = this.#parts;
    const words = [
      trouble,
      rows.length === 0 && place.filter !== "" ? `No model has "${place.filter}".` : undefined,
    ];
    const said = words
      .filter((line) => line !== undefined)
      .flatMap((text) => wrapTextWithAnsi(text, width))
      .map((line) => theme.fg("warning", line));
    const [title = "", ...lines] =
      rows.length === 0
        ? []
        : table(
            columns,
            rows.map(({ cells }) => cells),
            width - MARK,
          );
    const count = said.length + (rows.length === 0 ? 0 : rows.length + 1);
    const draw = (height: number): string[] => {
      if (rows.length === 0) return said.slice(0, height);
      const space = Math.max(1, height - said.length);
      // A single line shows the selected model rather than a title.
      const seen = space > 1 ? space - 1 : 1;
      const at = selectedAt(rows, place);
      const first = firstSeen(rows.length, at, seen);
      const body = lines.slice(first, first + seen).map((line, offset) => {
        const row = rows[first + offset];
        return this.#row(line, row, first + offset === at);
      });
      const more = rows.length > seen ? `${SEPARATOR}${at + 1} of ${rows.length}` : "";
      const top = space > 1 ? [theme.fg("dim", fitted(`  ${title}${more}`, width))] : [];
      return [...said, ...top, ...body].slice(0, Math.max(1, height));
    };
    return { count, draw };
  }

  #row(line: string, row: PanelRow | undefined, isSelected: boolean): string {
    const { theme } = this.#parts;
    if (isSelected) return theme.fg("accent", theme.bold(`→ ${line}`));
    const colour = row?.tone === "ready" ? "success" : row?.tone === "changing" ? "warning" : "muted";
    return theme.fg(colour, `  ${line}`);
  }

  #footer(width: number, content: PanelContent): string[] {
    const { theme, place } = this.#parts;
    if (this.#input !== undefined) {
      this.#input.focused = this.focused;
      const hint = flow(
        ["enter keeps the filter", `${this.#key("tui.select.cancel")} drops it`],
        SEPARATOR,
        width,
      );
      return [
        fitted(this.#input.render(width)[0] ?? "", width),
        ...hint.map((line) => theme.fg("dim", line)),
      ];
    }
    const row = content.rows[selectedAt(content.rows, place)];
    const filter = place.filter === "" ? [] : [fitted(`filter: ${place.filter}`, width)];
    return [...filter, ...flow(this.#hints(row), SEPARATOR, width)].map((line) => theme.fg("dim", line));
  }

  #key(...bindings: Keybinding[]): string {
    return bindings.flatMap((binding) => this.#parts.keys.getKeys(binding).slice(0, 1)).join("/");
  }

  /** What the keys do; a key that is bound to nothing is not named. */
  #hints(row: PanelRow | undefined): string[] {
    const hint = (key: string, does: string): string[] => (key === "" ? [] : [`${key} ${does}`]);
    const isFiltered = this.#parts.place.filter !== "";
    return [
      ...hint(this.#key("tui.select.cancel"), isFiltered ? "all models" : "leave"),
      ...(row?.toggles === undefined ? [] : hint(this.#key("tui.select.confirm"), row.toggles)),
      ...hint(this.#key("tui.select.up", "tui.select.down"), "move"),
      "/ filter",
      ...(row?.offers ?? []).map((letter) => LETTERS[letter]),
      "r refresh",
    ];
  }
}
