/** The findings in the terminal while the checks run: the last ones, and what is being looked at. */
import type { Theme } from "@earendil-works/pi-coding-agent";
import type { Component } from "@earendil-works/pi-tui";
import { spent } from "../../lib/figures.ts";
import { fitted, keyHint, keyNames, type ViewParts } from "../../ui/layout.ts";
import { themed } from "../../ui/result-view.ts";
import { type Examination, examinedLines } from "./words.ts";

export interface Progress {
  readonly examined: readonly Examination[];
  /** What is being looked at, and since when, in milliseconds of the same clock as `now`. */
  readonly at: { readonly title: string; readonly since: number };
}

interface DoctorViewParts extends ViewParts {
  theme: Pick<Theme, "fg" | "bold">;
  progress: () => Progress;
  now: () => number;
  stop: () => void;
}

/** Title, two empty rows, what is being looked at, and the keys. */
const OTHER_ROWS = 5;

export class DoctorView implements Component {
  readonly #parts: DoctorViewParts;

  constructor(parts: DoctorViewParts) {
    this.#parts = parts;
  }

  invalidate(): void {}

  render(width: number): string[] {
    const { theme, tui, progress, now, keys } = this.#parts;
    const { examined, at } = progress();
    const height = tui.terminal.rows;
    const lines = examinedLines(examined, width, themed(theme));
    const room = Math.max(1, height - OTHER_ROWS);
    const seen = lines.slice(-room);
    const passed = now() - at.since;
    const hint = keyHint(keyNames(keys, "tui.select.cancel"), "stop").join("");
    const rows = [
      theme.fg("accent", theme.bold("The way to the model")),
      "",
      ...seen,
      ...Array<string>(room - seen.length).fill(""),
      theme.fg("muted", `Checking: ${at.title}${passed < 1000 ? "" : ` · ${spent(passed)}`}`),
      "",
      theme.fg("dim", hint),
    ];
    return rows.map((line) => fitted(line, width)).slice(0, height);
  }

  handleInput(data: string): void {
    const { keys, stop } = this.#parts;
    if (keys.matches(data, "tui.select.cancel")) stop();
  }
}
