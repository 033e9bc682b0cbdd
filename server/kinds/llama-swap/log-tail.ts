/** The end of a model's log, as llama-swap keeps it. */

import { isPolling } from "../../../lib/log-noise.ts";
import { cleanText } from "../../../lib/text.ts";
import { blankerOf } from "../../../masking/own-secrets.ts";
import type { Access } from "../../http/access.ts";

const LOG_IDLE_MS = 300;
const LOG_LIMIT_MS = 2000;
const LOG_BYTES = 128 * 1024;
const LOG_LINE_LENGTH = 400;

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
): Promise<string[]> {
  const ended = new AbortController();
  const stop = signal ? AbortSignal.any([signal, ended.signal]) : ended.signal;
  const limit = setTimeout(() => ended.abort(), LOG_LIMIT_MS);
  let idle: NodeJS.Timeout | undefined;
  const pieces: Buffer[] = [];
  try {
    const response = await http.request({
      method: "GET",
      path: `/logs/stream/${encodeURIComponent(id)}`,
      signal: stop,
    });
    if (response.status !== 200) {
      response.body.destroy();
      return [];
    }
    let size = 0;
    for await (const piece of response.body as AsyncIterable<Buffer>) {
      pieces.push(piece);
      size += piece.length;
      while (size > LOG_BYTES && pieces.length > 1) size -= pieces.shift()?.length ?? 0;
      clearTimeout(idle);
      idle = setTimeout(() => ended.abort(), LOG_IDLE_MS);
    }
  } catch {
    // A timer ended it, or there is no log: what was read so far counts.
  } finally {
    clearTimeout(limit);
    clearTimeout(idle);
  }
  const blank = blankerOf(config);
  const text = blank(cleanText(Buffer.concat(pieces).toString("utf8"), Number.POSITIVE_INFINITY));
  return text
    .split("\n")
    .map((line) => cleanText(line, LOG_LINE_LENGTH))
    .filter((line) => line !== "" && !isPolling(line))
    .slice(-lines);
}
