/** What the panel shows as plain data, and each part of it as lines of a width. Pure but for the theme's colours. */
import { visibleWidth, wrapTextWithAnsi } from "@earendil-works/pi-tui";
import { counted } from "../../lib/figures.ts";
import { type Colours, type Column, fitted, fittedPlain, flow, padded } from "../../ui/layout.ts";
import type { Level } from "../../ui/result.ts";

/** What a letter does with a model. */
export type PanelLetter = "use" | "context" | "log";

export interface PanelColumn extends Column {
  /** Figures stand at the right. */
  readonly isFigure?: boolean;
}

export interface PanelRow {
  readonly id: string;
  /** What follows the id, also where that is cut. */
  readonly mark: string;
  /** The context size; undefined where it is not known. */
  readonly contextTokens: number | undefined;
  readonly cells: readonly string[];
  readonly tone: "ready" | "changing" | "still";
  /** What Enter does with it; undefined for nothing. */
  readonly toggles: "load" | "unload" | "stop" | undefined;
  readonly offers: readonly PanelLetter[];
}

export interface PanelBar {
  readonly title: string;
  readonly words: string;
  /** Of 1; undefined where it is not known. */
  readonly fraction: number | undefined;
  /** Counted up while it goes on. */
  readonly step: number;
}

export interface PanelPlot {
  readonly name: string;
  /** The last value, to the right of the others. */
  readonly figure: string;
  readonly words: string;
  readonly values: readonly number[];
  readonly most: number;
}

export interface PanelContent {
  /** Pieces of the first line, the most important first. */
  readonly heading: readonly string[];
  readonly columns: readonly PanelColumn[];
  readonly rows: readonly PanelRow[];
  /** Shown in the place of the rows where there are none, else above them. */
  readonly trouble: string | undefined;
  /** Whether the server does not answer. */
  readonly isDown: boolean;
  /** Whether an ssh target is configured. */
  readonly hasSsh: boolean;
  /** Whether there is a download to open. */
  readonly hasDownloads: boolean;
  readonly bars: readonly PanelBar[];
  readonly message: { readonly level: Level; readonly text: string } | undefined;
  /** Name and value, of the selected model. */
  readonly details: readonly (readonly [string, string])[];
  readonly inFlight: readonly string[];
  readonly plots: readonly PanelPlot[];
}

export type PanelAction =
  | { readonly kind: "leave" | "refresh" | "restart" | "unload all" | "journal" | "add" | "downloads" }
  | { readonly kind: "help"; readonly lines: readonly string[] }
  | { readonly kind: "toggle" | "use" | "log"; readonly id: string }
  /** Without a size the command says why there can be none. */
  | { readonly kind: "context"; readonly id: string; readonly size?: string };

/** The place in the list; outlives the screen, which is closed for each question. */
export interface PanelPlace {
  selected: string | undefined;
  filter: string;
}

/** From this width on the lower half has two columns. */
const TWO_COLUMNS = 100;
const GAP = 3;
const MESSAGE_LINES = 6;
const MOST_BARS = 2;
const LONGEST_BAR = 40;
const LEAST_PLOT = 4;
const LONGEST_PLOT = 40;

/** @param most lines that there is room for */
export function headingLines(
  { heading }: PanelContent,
  width: number,
  theme: Colours,
  most: number,
): string[] {
  return cutAt(flow(heading, width), most, width).map((line, at) =>
    at === 0 ? theme.fg("accent", theme.bold(line)) : theme.fg("muted", line),
  );
}

/** The first lines; if there are more, the last one ends with an ellipsis. */
function cutAt(lines: readonly string[], most: number, width: number): readonly string[] {
  if (lines.length <= most || most < 1) return lines.slice(0, most);
  return [...lines.slice(0, most - 1), `${fittedPlain(lines[most - 1] ?? "", width - 2, "")} …`];
}

/** Two lines for each: what goes on, and how long. */
export function barLines({ bars }: PanelContent, width: number, theme: Colours): string[] {
  const more = bars.length - MOST_BARS;
  const rest = more > 0 ? [theme.fg("warning", `… and ${more} more`)] : [];
  const shown = bars.slice(0, MOST_BARS).flatMap(({ title, words, fraction, step }) => {
    const columns = Math.min(LONGEST_BAR, Math.max(4, width - words.length - 1));
    const bar = fraction === undefined ? movingBar(step, columns) : progressBar(fraction, columns);
    return [theme.fg("warning", fitted(title, width)), `${theme.fg("accent", bar)} ${words}`];
  });
  return [...shown, ...rest];
}

/** @param most lines that there is room for */
export function messageLines(
  { message }: PanelContent,
  width: number,
  theme: Colours,
  most = MESSAGE_LINES,
): string[] {
  if (message === undefined) return [];
  const colour = message.level === "info" ? "success" : message.level;
  const lines = message.text.split("\n").flatMap((line) => wrapTextWithAnsi(line, width));
  return ends(lines, most, width).map((line) => theme.fg(colour, line));
}

/** Of a long text the first line, which says what it is about, and the last ones, where a log has the reason. */
function ends(lines: readonly string[], room: number, width: number): readonly string[] {
  const most = Math.min(MESSAGE_LINES, room);
  if (lines.length <= most) return lines;
  if (most < 3) return cutAt(lines, most, width);
  return [...lines.slice(0, 1), "…", ...lines.slice(2 - most)];
}

/** What is wrong, in the place of the list or above it. */
export function troubleLines(
  { rows, trouble }: PanelContent,
  filter: string,
  width: number,
  theme: Colours,
): string[] {
  const isEmpty = rows.length === 0 && filter !== "" && trouble === undefined;
  return [trouble, isEmpty ? `No model matches "${filter}".` : undefined]
    .filter((text) => text !== undefined)
    .flatMap((text) => wrapTextWithAnsi(text, width))
    .map((line) => theme.fg("warning", line));
}

/**
 * As many lines as there is room for; the last one says how many are hidden.
 *
 * @param from the first one that is wanted
 * @param keys by which the hidden ones are reached: upwards, and downwards
 * @returns with the first one that is shown
 */
export function scrolled(
  lines: readonly string[],
  from: number,
  height: number,
  keys: readonly [up: string, down: string],
  theme: Colours,
): { first: number; seen: string[] } {
  if (lines.length <= height) return { first: 0, seen: [...lines] };
  const room = Math.max(0, height - 1);
  const first = Math.min(Math.max(0, from), lines.length - room);
  const below = lines.length - first - room;
  const [up, down] = keys;
  const by = (key: string): string => (key === "" ? "" : ` (${key})`);
  const mark =
    first === 0
      ? `${counted(below, "more line")}${by(down)}`
      : below === 0
        ? `${counted(first, "more line")} above${by(up)}`
        : `${first} above, ${below} below${by(`${up}/${down}`)}`;
  const seen = [...lines.slice(first, first + room), theme.fg("muted", `… ${mark}`)];
  return { first, seen: seen.slice(0, Math.max(0, height)) };
}

/** Details, requests and plots, in the order in which they are cut off: the last first. */
export function lowerLines(content: PanelContent, width: number, theme: Colours): string[] {
  const widths = halves(width);
  const { left, right = width } = widths;
  const requests = content.inFlight.map((line) => fitted(line, right));
  return joined(
    detailLines(content, left, theme),
    [...requests, ...plotLines(content, right, theme)],
    widths,
  );
}

function detailLines({ details }: PanelContent, width: number, theme: Colours): string[] {
  const title = Math.max(0, ...details.map(([name]) => name.length)) + 2;
  const space = Math.max(8, width - title);
  return details.flatMap(([name, text]) => {
    const lines = text.split("\n").flatMap((line) => wrapTextWithAnsi(line, space));
    return lines.map((line, at) => theme.fg("muted", padded(at === 0 ? name : "", title)) + line);
  });
}

function plotLines({ plots }: PanelContent, width: number, theme: Colours): string[] {
  const widest = (texts: string[]): number => Math.max(0, ...texts.map(visibleWidth));
  const name = Math.min(Math.floor(width / 3), widest(plots.map((plot) => plot.name))) + 2;
  const figure = widest(plots.map((plot) => plot.figure));
  const words = plots.map((plot) => `${plot.figure.padStart(figure)} ${plot.words}`);
  const columns = Math.min(LONGEST_PLOT, width - name - widest(words) - 1);
  return plots.map((plot, at) => {
    const title = theme.fg("muted", padded(fitted(plot.name, name - 2), name));
    if (columns < LEAST_PLOT) return fitted(title + words[at], width);
    const drawn = sparkline(plot.values, plot.most, columns);
    return `${title}${theme.fg("accent", padded(drawn, columns))} ${words[at]}`;
  });
}

/** The widths of the two halves of the lower part; `right` is undefined where one is below the other. */
export function halves(width: number): { left: number; right: number | undefined } {
  if (width < TWO_COLUMNS) return { left: width, right: undefined };
  const left = Math.floor((width - GAP) / 2);
  return { left, right: width - GAP - left };
}

/** Two blocks beside each other, or the left one below the right one. */
export function joined(
  left: readonly string[],
  right: readonly string[],
  widths: ReturnType<typeof halves>,
): string[] {
  if (widths.right === undefined) {
    const between = left.length > 0 && right.length > 0 ? [""] : [];
    return [...right, ...between, ...left];
  }
  const count = Math.max(left.length, right.length);
  return Array.from({ length: count }, (_, at) => {
    const second = right[at] ?? "";
    const first = left[at] ?? "";
    return second === "" ? first : padded(first, widths.left) + " ".repeat(GAP) + second;
  });
}

/** How many lines of `height` a list and the part below it get: the list half of them, and more where they are free. */
export function share(height: number, list: number, below: number): { list: number; below: number } {
  const least = Math.min(list, Math.max(2, Math.floor(height / 2)));
  const gets = Math.min(height, list, Math.max(least, height - below));
  return { list: Math.max(0, gets), below: Math.max(0, height - gets) };
}

const STEPS = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"] as const;
const FULL = "█";
const EMPTY = "░";

/** The last values, one column each, from 0 to `most`; at most `width` columns. */
export function sparkline(values: readonly number[], most: number, width: number): string {
  const shown = width < 1 ? [] : values.slice(-width);
  return shown
    .map((value) => {
      const part = most > 0 && Number.isFinite(value) ? Math.min(1, Math.max(0, value / most)) : 0;
      return STEPS[Math.min(STEPS.length - 1, Math.floor(part * STEPS.length))] ?? STEPS[0];
    })
    .join("");
}

/**
 * A bar of `width` columns.
 *
 * @param fraction of 1; the bar is never full, since the end is an estimate
 */
export function progressBar(fraction: number, width: number): string {
  const columns = Math.max(0, width);
  const full = Math.min(Math.max(0, columns - 1), Math.max(0, Math.floor(fraction * columns)));
  return FULL.repeat(full) + EMPTY.repeat(columns - full);
}

/** A bar without a known end. @param step counted up by the caller */
export function movingBar(step: number, width: number): string {
  const columns = Math.max(0, width);
  const block = Math.min(columns, Math.max(1, Math.floor(columns / 5)));
  const way = columns - block;
  // There and back again.
  const turn = way === 0 ? 0 : step % (2 * way);
  const before = turn <= way ? turn : 2 * way - turn;
  return EMPTY.repeat(before) + FULL.repeat(block) + EMPTY.repeat(way - before);
}
