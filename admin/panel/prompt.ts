import { Input, type KeybindingsManager, visibleWidth, wrapTextWithAnsi } from "@earendil-works/pi-tui";
import { shortTokens } from "../../lib/figures.ts";
import { type Colours, fitted, flow, keyHint, keyNames, withoutMiddle } from "../../ui/layout.ts";
import { LARGEST, parseSizeOrLargest, wrongSize } from "../arguments.ts";
import type { PanelRow } from "./lines.ts";

type Keys = Pick<KeybindingsManager, "matches" | "getKeys">;

/** How a key has left the prompt: still open, given up, or with this text. */
export type Answer = "open" | "cancelled" | { readonly text: string };

/** A line of text that is typed at the bottom of the panel. */
export type Prompt = FilterPrompt | SizePrompt;

/** Filters the list while it is typed. */
export class FilterPrompt {
  readonly kind = "filter";
  readonly #input = new Input({ prompt: "/" });
  readonly #keys: Keys;
  readonly #typed: (text: string) => void;

  constructor(text: string, keys: Keys, typed: (text: string) => void) {
    this.#keys = keys;
    this.#typed = typed;
    // Typed rather than set, so that the cursor is at its end.
    if (text !== "") this.#input.handleInput(text);
  }

  /** Whether its cursor is shown. */
  set isFocused(isFocused: boolean) {
    this.#input.focused = isFocused;
  }

  handleInput(data: string): Answer {
    if (this.#keys.matches(data, "tui.select.cancel")) return "cancelled";
    if (this.#keys.matches(data, "tui.select.confirm")) return { text: this.#input.getValue() };
    this.#input.handleInput(data);
    this.#typed(this.#input.getValue());
    return "open";
  }

  lines(width: number, theme: Colours): string[] {
    return [
      fitted(this.#input.render(width)[0] ?? "", width),
      ...hints(this.#keys, "keeps the filter", "clears it", width, theme),
    ];
  }

  invalidate(): void {
    this.#input.invalidate();
  }
}

/** From this size on half of it is the example, below it the double. */
const LARGE_TOKENS = 16_384;
const EXAMPLE_TOKENS = 65_536;

/** Asks for a context size; what is no size stays, with a sentence. */
export class SizePrompt {
  readonly kind = "size";
  readonly id: string;
  readonly #input = new Input({ prompt: "> " });
  readonly #present: number | undefined;
  readonly #keys: Keys;
  #fault: string | undefined;

  constructor({ id, contextTokens }: PanelRow, keys: Keys) {
    this.id = id;
    this.#present = contextTokens;
    this.#keys = keys;
  }

  /** Whether its cursor is shown. */
  set isFocused(isFocused: boolean) {
    this.#input.focused = isFocused;
  }

  handleInput(data: string): Answer {
    if (this.#keys.matches(data, "tui.select.cancel")) return "cancelled";
    if (!this.#keys.matches(data, "tui.select.confirm")) {
      this.#input.handleInput(data);
      this.#fault = undefined;
      return "open";
    }
    const text = this.#input.getValue().trim();
    if (parseSizeOrLargest(text) !== undefined) return { text };
    this.#fault = text === "" ? `No size was typed. For example: ${this.#example}.` : wrongSize(text).message;
    return "open";
  }

  lines(width: number, theme: Colours): string[] {
    const now = this.#present === undefined ? "not known" : shortTokens(this.#present);
    const title = `Context size of ${withoutMiddle(this.id, Math.floor(width / 2))}:`;
    const words = `now ${now}; for example ${this.#example}, or ${LARGEST}`;
    const isOneLine = visibleWidth(title) + 1 + visibleWidth(words) <= width;
    const fault = this.#fault === undefined ? [] : wrapTextWithAnsi(this.#fault, width);
    return [
      ...(isOneLine ? [`${title} ${words}`] : [title, words]).map((line) =>
        theme.fg("accent", fitted(line, width)),
      ),
      fitted(this.#input.render(width)[0] ?? "", width),
      ...fault.map((line) => theme.fg("warning", line)),
      ...hints(this.#keys, "shows the change and asks", "changes nothing", width, theme),
    ];
  }

  invalidate(): void {
    this.#input.invalidate();
  }

  get #example(): string {
    const present = this.#present ?? 2 * EXAMPLE_TOKENS;
    return shortTokens(present >= LARGE_TOKENS ? Math.round(present / 2) : 2 * present);
  }
}

function hints(keys: Keys, confirms: string, cancels: string, width: number, theme: Colours): string[] {
  const pieces = [
    ...keyHint(keyNames(keys, "tui.select.confirm"), confirms),
    ...keyHint(keyNames(keys, "tui.select.cancel"), cancels),
  ];
  return flow(pieces, width).map((line) => theme.fg("dim", line));
}
