import { type Component, type Focusable, type Keybinding, matchesKey } from "@earendil-works/pi-tui";
import { fitted, keyNames, type ViewParts } from "../../ui/layout.ts";
import { helpLines, keyLine, offersWhenDown } from "./keys.ts";
import {
  barLines,
  headingLines,
  lowerLines,
  messageLines,
  type PanelAction,
  type PanelContent,
  type PanelPlace,
  type PanelRow,
  scrolled,
  share,
  troubleLines,
} from "./lines.ts";
import { filtered, listLines, selectedAt } from "./list.ts";
import { FilterPrompt, type Prompt, SizePrompt } from "./prompt.ts";

/** From this many rows on, an empty one separates the heading from the list. */
const ROOMY = 20;
/** A heading and a message get this part of the rows at most. */
const PART = 4;

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
  /** Set by pi; a text that is being typed shows its cursor. */
  focused = false;
  readonly #parts: PanelParts;
  #prompt: Prompt | undefined;
  /** The model that was selected before the filter was typed. */
  #before: string | undefined;
  #drawn = "";
  /** Rows of a page of the list, and of the part that scrolls. */
  #pages = { list: 1, scroll: 1 };
  /** The first line that is visible of the part that scrolls, and the model whose details it shows. */
  #scroll: { first: number; id: string | undefined } = { first: 0, id: undefined };

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
    this.#prompt?.invalidate();
  }

  render(width: number): string[] {
    const { theme, place, tui } = this.#parts;
    const { rows: height } = tui.terminal;
    const content = this.#content();
    const footer = this.#footer(width, content);
    const part = Math.max(1, Math.floor(height / PART));
    const head = headingLines(content, width, theme, part);
    const message = messageLines(content, width, theme, part);
    const fixed = [...barLines(content, width, theme), ...message];
    const gap = Array<string>(height >= ROOMY ? 1 : 0).fill("");
    const used = head.length + footer.length + fixed.length + gap.length;
    const body = this.#body(content, width, Math.max(0, height - used), fixed);
    const screen = [...head, ...gap, ...body].slice(0, Math.max(0, height - footer.length));
    while (screen.length + footer.length < height) screen.push("");
    this.#scroll.id = place.selected;
    return [...screen, ...footer.slice(0, height)].map((line) => fitted(line, width));
  }

  handleInput(data: string): void {
    if (this.#prompt === undefined) this.#command(data);
    else if (this.#prompt.kind === "size" || !this.#isMoved(data)) this.#type(this.#prompt, data);
    this.#parts.tui.requestRender();
  }

  /** The list with what surrounds it. A fault that is too long for its place scrolls, and the details after it. */
  #body(content: PanelContent, width: number, free: number, fixed: readonly string[]): string[] {
    const { theme, place } = this.#parts;
    const count = content.rows.length;
    const trouble = troubleLines(content, place.filter, width, theme);
    const offers =
      content.isDown && count === 0
        ? ["", ...offersWhenDown(content.hasSsh)].slice(0, Math.max(0, free - 1))
        : [];
    const lower = lowerLines(content, width, theme);
    const room = free - offers.length;
    const isLong = trouble.length > (count === 0 ? room : Math.floor(room / 2));
    const wanted = count === 0 ? 0 : count + 1;
    const above = trouble.length > 0 && count > 0 ? [...trouble, ""] : trouble;
    const left = isLong ? room : room - above.length;
    const below = isLong ? room : lower.length === 0 ? 0 : lower.length + 1;
    const given = share(Math.max(0, left), wanted, below);
    const rows = count === 0 ? 0 : Math.max(1, given.list);
    this.#pages.list = Math.max(1, rows - 1);
    const list = listLines(content, place, width, rows, theme);
    if (isLong) {
      const all = lower.length === 0 ? trouble : [...trouble, "", ...lower];
      return [...this.#scrolled(all, given.below), ...offers, ...list, ...fixed];
    }
    const space = given.below < 2 || lower.length === 0 ? [] : [""];
    const seen = this.#scrolled(lower, given.below - space.length);
    return [...above, ...offers, ...list, ...fixed, ...space, ...seen];
  }

  #scrolled(lines: readonly string[], height: number): string[] {
    const { theme, keys, place } = this.#parts;
    const from = this.#scroll.id === place.selected ? this.#scroll.first : 0;
    const names = [keyNames(keys, "tui.select.pageUp"), keyNames(keys, "tui.select.pageDown")] as const;
    const { first, seen } = scrolled(lines, from, height, names, theme);
    this.#pages.scroll = Math.max(1, height - 2);
    this.#scroll.first = first;
    return seen;
  }

  /**
   * The rows that match the filter, with the details of the selected one. Once a model is shown as the selected one it
   * stays selected: another one that moves above it must not get the next key.
   */
  #content(): PanelContent {
    const { place, content } = this.#parts;
    const found = content(place.selected);
    const rows = filtered(found.rows, place.filter);
    const selected = rows[selectedAt(rows, place)]?.id;
    if (selected === undefined || selected === place.selected) return { ...found, rows };
    place.selected = selected;
    return { ...content(selected), rows };
  }

  #does(data: string, binding: Keybinding): boolean {
    return this.#parts.keys.matches(data, binding);
  }

  #isMoved(data: string): boolean {
    if (this.#does(data, "tui.select.up")) this.#move(-1);
    else if (this.#does(data, "tui.select.down")) this.#move(1);
    else if (this.#does(data, "tui.select.pageUp")) this.#scroll.first -= this.#pages.scroll;
    else if (this.#does(data, "tui.select.pageDown")) this.#scroll.first += this.#pages.scroll;
    else return false;
    return true;
  }

  #move(by: number): void {
    const { rows } = this.#content();
    const { place } = this.#parts;
    const at = Math.min(rows.length - 1, Math.max(0, selectedAt(rows, place) + by));
    place.selected = rows[at]?.id ?? place.selected;
  }

  #type(prompt: Prompt, data: string): void {
    const { place, act } = this.#parts;
    const answer = prompt.handleInput(data);
    if (answer === "open") return;
    this.#prompt = undefined;
    if (prompt.kind === "size") {
      if (answer !== "cancelled") act({ kind: "context", id: prompt.id, size: answer.text });
    } else if (answer === "cancelled") {
      place.filter = "";
      place.selected = this.#before;
    }
  }

  #filter(): void {
    const { place, keys } = this.#parts;
    this.#before = place.selected;
    this.#prompt = new FilterPrompt(place.filter, keys, (text) => {
      place.filter = text;
    });
  }

  #command(data: string): void {
    const { place, act, keys } = this.#parts;
    if (this.#isMoved(data)) return;
    if (this.#does(data, "tui.select.cancel") && place.filter !== "") {
      place.filter = "";
      return;
    }
    const content = this.#content();
    const row = content.rows[selectedAt(content.rows, place)];
    if (this.#does(data, "tui.select.cancel") || matchesKey(data, "q")) act({ kind: "leave" });
    else if (matchesKey(data, "/")) this.#filter();
    else if (matchesKey(data, "?")) act({ kind: "help", lines: helpLines(keys) });
    else if (matchesKey(data, "home")) this.#move(Number.NEGATIVE_INFINITY);
    else if (matchesKey(data, "end")) this.#move(Number.POSITIVE_INFINITY);
    else if (matchesKey(data, "left")) this.#move(-this.#pages.list);
    else if (matchesKey(data, "right")) this.#move(this.#pages.list);
    else if (matchesKey(data, "shift+r")) act({ kind: "restart" });
    else if (matchesKey(data, "shift+u")) act({ kind: "unload all" });
    else if (matchesKey(data, "r")) act({ kind: "refresh" });
    else if (matchesKey(data, "a")) act({ kind: "add" });
    else if (matchesKey(data, "d")) act({ kind: "downloads" });
    // A server that does not answer has no log of a model either.
    else if (matchesKey(data, "l") && content.isDown) act({ kind: "journal" });
    else if (row !== undefined) this.#commandFor(row, data);
  }

  #commandFor(row: PanelRow, data: string): void {
    const { act, keys } = this.#parts;
    const { id } = row;
    if (this.#does(data, "tui.select.confirm")) act({ kind: "toggle", id });
    else if (matchesKey(data, "m")) act({ kind: "use", id });
    else if (matchesKey(data, "l")) act({ kind: "log", id });
    else if (!matchesKey(data, "c")) return;
    else if (row.offers.includes("context")) this.#prompt = new SizePrompt(row, keys);
    else act({ kind: "context", id });
  }

  #footer(width: number, content: PanelContent): string[] {
    const { theme, place, keys } = this.#parts;
    if (this.#prompt !== undefined) {
      this.#prompt.isFocused = this.focused;
      return this.#prompt.lines(width, theme);
    }
    const row = content.rows[selectedAt(content.rows, place)];
    const filter = place.filter === "" ? [] : [`filter: ${place.filter}`];
    return [...filter, keyLine(content, row, place.filter, keys, width)].map((line) =>
      theme.fg("dim", fitted(line, width)),
    );
  }
}
