import { writeSync } from "node:fs";
import type { ExtensionContext } from "@earendil-works/pi-coding-agent";

export type Level = "info" | "warning" | "error";

/** What one of pi's contexts is needed for here; a context whose session has ended throws on every touch. */
type Screen = Pick<ExtensionContext, "mode" | "ui">;

const STDOUT = 1;
const STDERR = 2;

function writeLine(descriptor: number, text: string): void {
  try {
    writeSync(descriptor, `${text}\n`);
  } catch {
    // Nobody reads there any more.
  }
}

/**
 * Shows the answer of a command: in the terminal or at the RPC client as a notice, in print mode on standard output,
 * in JSON mode on standard error, since standard output carries pi's events. Nothing of it is kept in the session.
 */
export function show(screen: Screen, text: string, level: Level = "info"): void {
  try {
    if (screen.mode === "print") writeLine(level === "error" ? STDERR : STDOUT, text);
    else if (screen.mode === "json") writeLine(STDERR, text);
    else screen.ui.notify(text, level);
  } catch {
    // The session has ended; a notice is not worth its end.
  }
}

/** Tells something that nobody asked for: never on standard output. */
export function tell(screen: Screen, text: string, level: Level): void {
  try {
    if (screen.mode === "tui" || screen.mode === "rpc") screen.ui.notify(text, level);
    else writeLine(STDERR, text);
  } catch {
    // As above.
  }
}

/** Columns of the terminal that a notice may use. */
export function widthOf(screen: Screen): number {
  const margin = screen.mode === "tui" ? 2 : 0;
  const columns = process.stdout.columns ?? (screen.mode === "rpc" ? 100 : 120);
  return Math.max(20, columns - margin);
}
