/** A QR code in a terminal: two modules in each cell, dark on light in any theme. */
import encodeQR from "qr";

/** Light modules around it, as ISO/IEC 18004 wants them. */
const QUIET = 4;

/** Black on white by number: a theme's own colours may lack contrast, and decoders want dark on light. */
const COLOURS = "\u001b[38;5;16;48;5;231m";
const RESET = "\u001b[39;49m";

export interface QrCode {
  readonly lines: readonly string[];
  /** Columns. */
  readonly width: number;
}

export function qrCode(text: string): QrCode {
  // Low correction: a screen has no damage, and a smaller code fits more terminals.
  const modules = encodeQR(text, "raw", { ecc: "low", border: QUIET });
  const width = modules.length;
  const lines: string[] = [];
  for (let row = 0; row < width; row += 2) {
    const cells = Array.from({ length: width }, (_, column) =>
      cell(modules[row]?.[column] === true, modules[row + 1]?.[column] === true),
    );
    lines.push(`${COLOURS}${cells.join("")}${RESET}`);
  }
  return { lines, width };
}

function cell(isUpperDark: boolean, isLowerDark: boolean): string {
  if (isUpperDark) return isLowerDark ? "█" : "▀";
  return isLowerDark ? "▄" : " ";
}
