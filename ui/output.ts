import { writeSync } from "node:fs";
import { Writable } from "node:stream";
import type { ExtensionCommandContext, ExtensionContext } from "@earendil-works/pi-coding-agent";
import { codeOf } from "../lib/errors.ts";
import { type Level, plainLines, type Result } from "./result.ts";

/** A context of pi; after the end of its session it throws on every access. */
export type Screen = Pick<ExtensionContext, "mode" | "ui">;

/** A context whose results go elsewhere. */
interface AnsweringScreen extends Screen {
  readonly takeResult?: CommandOutput["take"];
}

const STDOUT = 1;
const STDERR = 2;

/** Wide enough for every column of a table. */
const WHOLE_TABLE = 1000;

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

/** Shows a result of a command: as its output says, or as pi's mode does where it has none. */
export function show(screen: AnsweringScreen, shown: string | Result, level: Level = "info"): void {
  const result = typeof shown === "string" ? { level, content: shown } : shown;
  try {
    if (screen.takeResult === undefined) showPlain(screen, result);
    else screen.takeResult(result);
  } catch {
    // The session has ended.
  }
}

/** In print mode on standard output, errors that are no reports on standard error; elsewhere as a notice. The session does not keep it. */
function showPlain(screen: Screen, result: Result): void {
  const text = plainLines(result, widthOf(screen)).join("\n");
  if (screen.mode === "print")
    writeLine(result.level === "error" && !result.isReport ? STDERR : STDOUT, text);
  else screen.ui.notify(text, result.level);
}

/** Where the results of one command go. */
export interface CommandOutput {
  take(result: Result): void;
  /** The command is over. */
  end(): void;
}

/**
 * The output of one command: in the terminal entries of pi's transcript, in JSON mode one object at its end. An error
 * ends print and JSON mode with exit status 1.
 *
 * pi puts an entry above an answer that streams, where a long one hides it: during a turn a result is a notice.
 *
 * @param keep shows a result in the terminal
 */
export function commandOutput(
  screen: Screen & Pick<ExtensionContext, "isIdle">,
  command: string,
  keep: (result: Result) => void,
): CommandOutput {
  const { mode } = screen;
  const results: Result[] = [];
  return {
    take(result) {
      if (result.level === "error" && (mode === "print" || mode === "json")) process.exitCode = 1;
      if (mode === "tui" && screen.isIdle()) keep(result);
      else if (mode === "json") results.push(result);
      // Standard output is pi's own there.
      else if (mode === "rpc" && result.isReport) screen.ui.notify(jsonOf(command, [result]), result.level);
      else showPlain(screen, result);
    },
    end() {
      if (mode === "json") writeInTurn(jsonOf(command, results));
    },
  };
}

const RANKS: readonly Level[] = ["info", "warning", "error"];

function jsonOf(command: string, results: readonly Result[]): string {
  const level = RANKS[Math.max(0, ...results.map((result) => RANKS.indexOf(result.level)))];
  return JSON.stringify({
    type: "ai_server_result",
    command,
    ok: level !== "error",
    level,
    lines: results.flatMap((result) => plainLines(result, WHOLE_TABLE)),
    ...Object.assign({}, ...results.map(({ data }) => data)),
  });
}

/** Writes a line after those of pi that are still on their way: inside one of them it would spoil both. */
function writeInTurn(text: string): void {
  if (process.stdout.writableLength === 0) writeLine(STDOUT, text);
  // The prototype's function: pi has given the object one that writes to standard error.
  else Writable.prototype.write.call(process.stdout, `${text}\n`, "utf8", () => {});
}

/** Shows a notice that no command asked for: never on standard output. */
export function notify(screen: Screen, text: string, level: Level): void {
  try {
    if (screen.mode === "tui" || screen.mode === "rpc") screen.ui.notify(text, level);
    else writeLine(STDERR, text);
  } catch {
    // As above.
  }
}

/** The columns that plain text may use. */
export function widthOf(screen: Screen): number {
  const margin = screen.mode === "tui" ? 2 : 0;
  const columns = process.stdout.columns ?? (screen.mode === "rpc" ? 100 : 120);
  return Math.max(20, columns - margin);
}

/** A context whose results go to `take`; everything else is read from pi's own at each access. */
export function withResults(
  ctx: ExtensionCommandContext,
  take: CommandOutput["take"],
): ExtensionCommandContext {
  return Object.create(ctx, { takeResult: { value: take } }) as ExtensionCommandContext;
}
