import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runOk } from "./processes.ts";

/** Pixels of one module: a camera sees more than one too. */
const SCALE = 4;
/** What is around a code on the screen is dark, as a terminal mostly is. */
const DARK = " ▀▄█";

/**
 * Reads the QR code that a screen shows, as a camera would: from the picture of its cells, by a decoder of its own.
 *
 * @param screen lines with their colours, as `tmux capture-pane -e -N -p` gives them
 */
export async function readQr(screen: string): Promise<string> {
  const rows = screen.split("\n").flatMap(pixelRows);
  const width = Math.max(...rows.map((row) => row.length));
  const lines = rows.flatMap((row) => {
    const pixels = row.padEnd(width, "1").replace(/./g, (pixel) => `${pixel} `.repeat(SCALE));
    return Array<string>(SCALE).fill(pixels);
  });
  const folder = mkdtempSync(join(tmpdir(), "qr-"));
  try {
    const file = join(folder, "screen.pbm");
    writeFileSync(file, `P1\n${width * SCALE} ${lines.length}\n${lines.join("\n")}\n`);
    const { stdout } = await runOk("zbarimg", ["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", file]);
    return stdout.trimEnd();
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The two rows of pixels of a line: 1 is dark. A cell of the code is black on white, any other one dark. */
function pixelRows(line: string): [string, string] {
  let isLight = false;
  let upper = "";
  let lower = "";
  for (const part of line.split(/(\p{Cc}\[[\d;:]*m)/u)) {
    if (/^\p{Cc}\[/u.test(part)) {
      const codes = part.slice(2, -1);
      if (/48[;:]5[;:]231/.test(codes)) isLight = true;
      else if (/^$|^0$|(?:^|;)(?:0|49)(?:;|$)|(?:^|;)48[;:]/.test(codes)) isLight = false;
      continue;
    }
    for (const cell of part) {
      const kind = isLight ? DARK.indexOf(cell) : 3;
      upper += kind === 1 || kind === 3 ? "1" : "0";
      lower += kind === 2 || kind === 3 ? "1" : "0";
    }
  }
  return [upper, lower];
}
