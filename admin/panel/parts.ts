/** The parts of the panel beside its list, as lines. Pure but for the theme's colours. */
import type { Theme } from "@earendil-works/pi-coding-agent";
import { visibleWidth, wrapTextWithAnsi } from "@earendil-works/pi-tui";
import { fitted, flow, halves, joined, padded, SEPARATOR } from "../../ui/layout.ts";
import type { PanelContent } from "./content.ts";
import { movingBar, progressBar, sparkline } from "./plot.ts";

type Colours = Pick<Theme, "fg" | "bold">;

const MESSAGE_LINES = 6;
const MOST_BARS = 2;
const LONGEST_BAR = 40;
const LEAST_PLOT = 4;
const LONGEST_PLOT = 40;

export function headingLines({ heading }: PanelContent, width: number, theme: Colours): string[] {
  return flow(heading, SEPARATOR, width).map((line, at) =>
    at === 0 ? theme.fg("accent", theme.bold(line)) : theme.fg("muted", line),
  );
}

/** Two lines for each: what lasts, and how long. */
export function barLines({ bars }: PanelContent, width: number, theme: Colours): string[] {
  return bars.slice(0, MOST_BARS).flatMap(({ title, words, fraction, step }) => {
    const columns = Math.min(LONGEST_BAR, Math.max(4, width - words.length - 1));
    const bar = fraction === undefined ? movingBar(step, columns) : progressBar(fraction, columns);
    return [theme.fg("warning", fitted(title, width)), `${theme.fg("accent", bar)} ${words}`];
  });
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
  return ends(lines, most).map((line) => theme.fg(colour, line));
}

/** The first line of a text that is too long, which says what it is about, and its last, where a log has the reason. */
function ends(lines: readonly string[], room: number): readonly string[] {
  const most = Math.min(MESSAGE_LINES, room);
  if (lines.length <= most) return lines;
  if (most < 3) return lines.slice(0, most);
  return [...lines.slice(0, 1), "…", ...lines.slice(2 - most)];
}

/** Details, requests and plots: what is cut off first stands last. */
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
  const columns = Math.min(LONGEST_PLOT, width - name - widest(plots.map((plot) => plot.words)) - 1);
  return plots.map((plot) => {
    const title = theme.fg("muted", padded(fitted(plot.name, name - 2), name));
    if (columns < LEAST_PLOT) return fitted(title + plot.words, width);
    const drawn = sparkline(plot.values, plot.most, columns);
    return `${title}${theme.fg("accent", padded(drawn, columns))} ${plot.words}`;
  });
}
