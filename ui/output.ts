import { writeSync } from "node:fs";
import type { ExtensionCommandContext, ExtensionContext } from "@earendil-works/pi-coding-agent";
import { codeOf } from "../lib/errors.ts";

export type Level = "info" | "warning" | "error";

/** A context of pi; after the end of its session it throws on every access. */
export type Screen = Pick<ExtensionContext, "mode" | "ui">;

const STDOUT = 1;
const STDERR = 2;

/** A reader may pause for ten seconds. */
const PAUSE_MS = 5;
const MOST_PAUSES = 2000;

/** pi makes its outputs non-blocking: a pipe takes only a part at a time, and the rest when its reader is ready. */
function writeLine(descriptor: number, text: string): void {
  const bytes = Buffer.from(`${text}\n`);
  let patience = MOST_PAUSES;
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(descriptor, bytes, at);
      patience = MOST_PAUSES;
    } catch (error) {
      // The reader is gone, or blocks pi by not reading.
      if (codeOf(error) !== "EAGAIN" || patience === 0) return;
      patience -= 1;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
    }
  }
}

/**
 * Shows the answer of a command: in the terminal or at the RPC client as a notice, in print mode on standard output,
 * in JSON mode on standard error, since standard output carries pi's events. The session does not keep it.
 */
export function show(screen: Screen, text: string, level: Level = "info"): void {
  try {
    if (screen.mode === "print") writeLine(level === "error" ? STDERR : STDOUT, text);
    else if (screen.mode === "json") writeLine(STDERR, text);
    else screen.ui.notify(text, level);
  } catch {
    // The session has ended.
  }
}

/** Shows a notice that no command asked for: never on standard output. */
export function tell(screen: Screen, text: string, level: Level): void {
  try {
    if (screen.mode === "tui" || screen.mode === "rpc") screen.ui.notify(text, level);
    else writeLine(STDERR, text);
  } catch {
    // As above.
  }
}

/** The columns that a notice may use. */
export function widthOf(screen: Screen): number {
  const margin = screen.mode === "tui" ? 2 : 0;
  const columns = process.stdout.columns ?? (screen.mode === "rpc" ? 100 : 120);
  return Math.max(20, columns - margin);
}

/** A context whose notices go to `tell`; everything else is read from pi's own at each access. */
export function withNotices(
  ctx: ExtensionCommandContext,
  tell: (text: string, level: Level) => void,
): ExtensionCommandContext {
  const notify = (text: string, level: Level = "info"): void => tell(text, level);
  const uiOf = (): unknown => Object.create(ctx.ui, { notify: { value: notify } });
  return Object.create(ctx, { ui: { get: uiOf } }) as ExtensionCommandContext;
}
