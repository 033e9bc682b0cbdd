/** A command's result in the terminal: laid out again for each width, in the theme's colours. */
import { type Component, visibleWidth, wrapTextWithAnsi } from "@earendil-works/pi-tui";
import { cleanLine } from "../lib/text.ts";
import type { Colours } from "./layout.ts";
import { type Result, type Style, unpainted } from "./result.ts";

/** As pi's own notices have it. */
const MARGIN = 1;
const LEAST_WITH_MARGIN = 20;
/** Beside a title; a narrower text is wrapped below it. */
const LEAST_BESIDE = 12;

export class ResultView implements Component {
  readonly #result: () => Result | undefined;
  readonly #theme: Colours;
  /** pi compares by identity what was drawn. */
  #drawn: { readonly width: number; readonly lines: string[] } | undefined;

  /** @param result undefined once it is forgotten: then nothing is drawn */
  constructor(result: () => Result | undefined, theme: Colours) {
    this.#result = result;
    this.#theme = theme;
  }

  render(width: number): string[] {
    const result = this.#result();
    if (result === undefined) this.#drawn = undefined;
    else if (this.#drawn?.width !== width)
      this.#drawn = { width, lines: linesOf(result, width, this.#theme) };
    return this.#drawn?.lines ?? [];
  }

  invalidate(): void {
    this.#drawn = undefined;
  }
}

function linesOf({ level, heading, content }: Result, width: number, theme: Colours): string[] {
  const style = themed(theme);
  const margin = width < LEAST_WITH_MARGIN ? 0 : MARGIN;
  const room = Math.max(1, width - 2 * margin);
  const paint = { info: unpainted, warning: style.busy, error: style.bad }[level];
  const head = heading === undefined ? [] : [style.heading(cleanLine(heading)), ""];
  const lines =
    typeof content === "string"
      ? content.split("\n").map((line) => paint(cleanLine(line)))
      : content(room, style);
  return [...head, ...lines]
    .flatMap((line) => (visibleWidth(line) > room ? wrapTextWithAnsi(line, room) : [line]))
    .map((line) => " ".repeat(margin) + line);
}

/** How the parts of a result look in the terminal. */
export function themed(theme: Colours): Style {
  return {
    heading: (text) => theme.fg("accent", theme.bold(text)),
    ok: (text) => theme.fg("success", text),
    busy: (text) => theme.fg("warning", text),
    bad: (text) => theme.fg("error", text),
    dim: (text) => theme.fg("muted", text),
    hanging(title, text, width) {
      const indent = visibleWidth(title);
      const room = width - indent;
      if (room < LEAST_BESIDE) return [title + text];
      const lines = text.split("\n").flatMap((line) => wrapTextWithAnsi(line, room));
      return lines.map((line, at) => (at === 0 ? title : " ".repeat(indent)) + line);
    },
  };
}
