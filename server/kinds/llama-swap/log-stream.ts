/** A model's log as llama-swap streams it while it is written. */

import { StringDecoder } from "node:string_decoder";
import { type Clock, REAL_CLOCK } from "../../../lib/clock.ts";
import { ServerError } from "../../../lib/errors.ts";
import { cleanText } from "../../../lib/text.ts";
import { blankerOf } from "../../../masking/own-secrets.ts";
import type { Access } from "../../http/access.ts";
import { answerFault } from "../../http/answer-faults.ts";
import { ERROR_BYTES, readText } from "../../http/http.ts";

const LINE_LENGTH = 2000;

/** Pause before reopening a stream that ended: llama-swap ends it at every reload. */
const PAUSE_MS = 2000;

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
      await followOnce(server, `/logs/stream/${encodeURIComponent(id)}?no-history`, onLines, signal);
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
      {
        link: "server",
        remedy: "none",
        status,
      },
    );
  }
  const blank = blankerOf(server.config);
  const decoder = new StringDecoder("utf8");
  let rest = "";
  try {
    for await (const piece of body as AsyncIterable<Buffer>) {
      const lines = (rest + decoder.write(piece)).split("\n");
      rest = (lines.pop() ?? "").slice(-LINE_LENGTH);
      if (lines.length > 0) onLines(lines.map((line) => blank(cleanText(line, LINE_LENGTH))));
    }
  } catch {
    // A killed server breaks the stream off; reopening shows whether it is back.
  }
}
