/** A model's log, as llama-swap keeps it and streams it while it is written. */

import { StringDecoder } from "node:string_decoder";
import { type Clock, REAL_CLOCK } from "../../../lib/clock.ts";
import { ServerError } from "../../../lib/errors.ts";
import { isPolling } from "../../../lib/log-noise.ts";
import { cleanText } from "../../../lib/text.ts";
import { blankerOf } from "../../../masking/own-secrets.ts";
import type { Access } from "../../http/access.ts";
import { answerFault } from "../../http/answer-faults.ts";
import { ERROR_BYTES, readText } from "../../http/http.ts";

const TAIL_IDLE_MS = 300;
const TAIL_LIMIT_MS = 2000;
const TAIL_BYTES = 128 * 1024;
const TAIL_LINE_LENGTH = 400;

const LINE_LENGTH = 2000;

/** Pause before reopening a stream that ended: llama-swap ends it at every reload. */
const PAUSE_MS = 2000;

function pathOf(id: string): string {
  return `/logs/stream/${encodeURIComponent(id)}`;
}

/**
 * The last lines of a model's log, which hold the reason of a failed start; lines of health checks and polling are left
 * out. The stream has no end, so it is read until it pauses.
 *
 * @returns cleaned lines; none where the server has no such log. Never throws
 */
export async function logTail(
  { http, config }: Access,
  id: string,
  lines: number,
  signal: AbortSignal | undefined,
  limitMs = TAIL_LIMIT_MS,
): Promise<string[]> {
  const ended = new AbortController();
  const stop = signal ? AbortSignal.any([signal, ended.signal]) : ended.signal;
  const limit = setTimeout(() => ended.abort(), limitMs);
  let idle: NodeJS.Timeout | undefined;
  const pieces: Uint8Array[] = [];
  try {
    const { status, body } = await http.request({ method: "GET", path: pathOf(id), signal: stop });
    if (status !== 200) {
      body.destroy();
      return [];
    }
    let size = 0;
    for await (const piece of body) {
      pieces.push(piece);
      size += piece.length;
      while (size > TAIL_BYTES && pieces.length > 1) size -= pieces.shift()?.length ?? 0;
      clearTimeout(idle);
      idle = setTimeout(() => ended.abort(), TAIL_IDLE_MS);
    }
  } catch {
    // A timer ended it, or there is no log: what was read so far counts.
  } finally {
    clearTimeout(limit);
    clearTimeout(idle);
  }
  const text = cleanText(Buffer.concat(pieces).toString("utf8"), Number.POSITIVE_INFINITY);
  return blankerOf(config)(text)
    .split("\n")
    .map((line) => cleanText(line, TAIL_LINE_LENGTH))
    .filter((line) => line !== "" && !isPolling(line))
    .slice(-lines);
}

/**
 * Follows the log of a model, or of llama-swap itself (`proxy`), from now until the signal. A stream that ends
 * or breaks off is opened again.
 *
 * @param onLines gets whole lines, cleaned
 * @throws {ServerError} where the server has no such log; never for the signal
 */
export async function followLog(
  server: Access,
  id: string,
  onLines: (lines: string[]) => void,
  signal: AbortSignal,
  clock: Clock = REAL_CLOCK,
): Promise<void> {
  try {
    for (;;) {
      await followOnce(server, `${pathOf(id)}?no-history`, onLines, signal);
      await clock.sleep(PAUSE_MS, signal);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

async function followOnce(
  server: Access,
  path: string,
  onLines: (lines: string[]) => void,
  signal: AbortSignal,
): Promise<void> {
  const { status, body } = await server.http.request({ method: "GET", path, signal });
  if (status !== 200) {
    const text = await readText(body, ERROR_BYTES);
    if (status !== 400 && status !== 404) throw answerFault(status, text, path);
    throw new ServerError(
      "The server has no such log: llama-swap provides a log for each model since v178.",
      { link: "server", remedy: "none", status },
    );
  }
  const blank = blankerOf(server.config);
  const decoder = new StringDecoder("utf8");
  let rest = "";
  try {
    for await (const piece of body) {
      const lines = (rest + decoder.write(piece)).split("\n");
      rest = (lines.pop() ?? "").slice(-LINE_LENGTH);
      if (lines.length > 0) onLines(lines.map((line) => blank(cleanText(line, LINE_LENGTH))));
    }
  } catch {
    // A killed server breaks the stream off; reopening shows whether it is back.
  }
}
