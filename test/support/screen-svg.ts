/** A captured terminal as a picture. */
import { visibleWidth } from "@earendil-works/pi-tui";

const CELL = { width: 8.4, height: 18 };
const MARGIN = 12;
const FONT_SIZE = 14;
const BACKGROUND = "#16181d";
/** Seen on a page as dark as the picture. */
const BORDER = "#3d424d";
const FOREGROUND = "#d4d7dd";

/** The sixteen colours that a terminal gives names to. */
const NAMED = [
  ...["#16181d", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#abb2bf"],
  ...["#5c6370", "#ff7b86", "#b5e890", "#ffd68a", "#8cc8ff", "#e29bf5", "#7fdbe6", "#ffffff"],
] as const;
const CUBE_STEPS = [0, 95, 135, 175, 215, 255] as const;

/** Colours and styles, kept when a line is split at them. */
const SGR = /(\p{Cc}\[[\d;:]*m)/u;
/** Links and titles, without their text. */
const OSC = /\p{Cc}\][^\p{Cc}]*\p{Cc}\\?/gu;

interface Look {
  color: string | undefined;
  background: string | undefined;
  isBold: boolean;
  isDim: boolean;
  isItalic: boolean;
  isUnderlined: boolean;
  isInverse: boolean;
}

const PLAIN: Look = {
  color: undefined,
  background: undefined,
  isBold: false,
  isDim: false,
  isItalic: false,
  isUnderlined: false,
  isInverse: false,
};

/**
 * @param screen lines with ANSI colours, as `tmux capture-pane -e -p` gives them
 * @param columns the terminal's width
 * @returns an SVG file that needs no other
 */
export function screenSvg(screen: string, columns: number): string {
  const lines = screen.split("\n");
  const width = Math.ceil(columns * CELL.width + 2 * MARGIN);
  const height = lines.length * CELL.height + 2 * MARGIN;
  let look = PLAIN;
  const drawn = lines.map((line, row) => {
    const pieces: string[] = [];
    let column = 0;
    for (const part of line.split(SGR)) {
      if (part.startsWith("\x1b[")) {
        look = looked(look, part.slice(2, -1));
        continue;
      }
      // Each column has a position of its own: not every renderer stretches a text to its cells.
      for (const text of withoutControls(part).split(/(?<= {2})(?=\S)/)) {
        const cells = visibleWidth(text);
        if (cells > 0) pieces.push(piece(text, { look, row, column, cells }));
        column += cells;
      }
    }
    return pieces.join("");
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`,
    ` font-family="ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="${FONT_SIZE}">\n`,
    "<title>pi in a terminal</title>\n",
    `<rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8" fill="${BACKGROUND}" stroke="${BORDER}"/>\n`,
    ...drawn.filter((line) => line !== "").map((line) => `${line}\n`),
    "</svg>\n",
  ].join("");
}

function withoutControls(text: string): string {
  return text.replace(OSC, "").replace(/\p{Cc}/gu, "");
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function piece(
  text: string,
  { look, row, column, cells }: { look: Look; row: number; column: number; cells: number },
): string {
  const x = round(MARGIN + column * CELL.width);
  const y = MARGIN + row * CELL.height;
  const width = round(cells * CELL.width);
  const fill = look.isInverse ? (look.background ?? BACKGROUND) : (look.color ?? FOREGROUND);
  const behind = look.isInverse ? (look.color ?? FOREGROUND) : look.background;
  const box =
    behind === undefined
      ? ""
      : `<rect x="${x}" y="${y}" width="${width}" height="${CELL.height}" fill="${behind}"/>`;
  if (text.trim() === "") return box;
  const style = [
    look.isBold ? ' font-weight="bold"' : "",
    look.isItalic ? ' font-style="italic"' : "",
    look.isUnderlined ? ' text-decoration="underline"' : "",
    look.isDim ? ' opacity="0.6"' : "",
  ].join("");
  // Stretched to its cells, since no font can be relied on.
  const place = `x="${x}" y="${y + FONT_SIZE}" textLength="${width}" lengthAdjust="spacingAndGlyphs"`;
  return `${box}<text ${place} xml:space="preserve" fill="${fill}"${style}>${escaped(text)}</text>`;
}

function round(value: number): number {
  return Math.round(10 * value) / 10;
}

/** @param codes of one SGR sequence, as `1;38;5;110` */
function looked(before: Look, codes: string): Look {
  const numbers = codes.split(/[;:]/).map(Number);
  let look = before;
  for (let at = 0; at < numbers.length; at++) {
    const code = numbers[at] ?? 0;
    if (code === 38 || code === 48) {
      const isIndexed = numbers[at + 1] === 5;
      const color = isIndexed ? indexed(numbers[at + 2] ?? 0) : rgb(numbers.slice(at + 2, at + 5));
      look = code === 38 ? { ...look, color } : { ...look, background: color };
      at += isIndexed ? 2 : 4;
    } else look = withCode(look, code);
  }
  return look;
}

function withCode(look: Look, code: number): Look {
  if (code === 0) return PLAIN;
  if (code === 1) return { ...look, isBold: true };
  if (code === 2) return { ...look, isDim: true };
  if (code === 3 || code === 23) return { ...look, isItalic: code === 3 };
  if (code === 4 || code === 24) return { ...look, isUnderlined: code === 4 };
  if (code === 7 || code === 27) return { ...look, isInverse: code === 7 };
  if (code === 22) return { ...look, isBold: false, isDim: false };
  if (code >= 30 && code <= 37) return { ...look, color: NAMED[code - 30] };
  if (code >= 90 && code <= 97) return { ...look, color: NAMED[code - 82] };
  if (code === 39) return { ...look, color: undefined };
  if (code >= 40 && code <= 47) return { ...look, background: NAMED[code - 40] };
  if (code >= 100 && code <= 107) return { ...look, background: NAMED[code - 92] };
  if (code === 49) return { ...look, background: undefined };
  return look;
}

/** xterm's 256 colours. */
function indexed(index: number): string | undefined {
  if (index < 16) return NAMED[index];
  if (index >= 232) return rgb([1, 1, 1].map(() => 8 + 10 * (index - 232)));
  const cube = index - 16;
  return rgb(
    [Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6].map((step) => CUBE_STEPS[step] ?? 0),
  );
}

function rgb(parts: readonly number[]): string {
  return `#${parts.map((part) => Math.min(255, part).toString(16).padStart(2, "0")).join("")}`;
}
