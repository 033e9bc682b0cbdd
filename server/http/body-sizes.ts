/** How large a request may be on its way to the server. */
import { ServerError } from "../../lib/errors.ts";
import { ERROR_BYTES, type Http, readText } from "./http.ts";

export interface BodySizes {
  /** With what a small request is answered; every one that arrives whole is answered with the same. */
  readonly small: number;
  /** Bytes of the largest that passed; undefined for none but the small one. */
  readonly passed: number | undefined;
  /** The first that did not: bytes, and the status; undefined where the connection was closed. */
  readonly refused: { readonly bytes: number; readonly status: number | undefined } | undefined;
  /** Whether the time was over before the largest had been tried. */
  readonly isSlow: boolean;
}

/**
 * Sends what no server takes for a request, since it is no whole JSON: a model is neither named nor loaded.
 *
 * @param sizes in bytes, the smallest first
 * @param limitMs for all of it: a size that would take longer at the pace of the one before is not tried
 * @throws {ServerError} where even a small request is not answered; the signal's reason
 */
export async function tryBodySizes(
  http: Pick<Http, "request">,
  sizes: readonly number[],
  limitMs: number,
  signal: AbortSignal,
): Promise<BodySizes> {
  const limit = AbortSignal.timeout(limitMs);
  const stop = AbortSignal.any([signal, limit]);
  const end = performance.now() + limitMs;
  const small = await statusOf(http, 1, stop);
  const seen = (found: Partial<BodySizes>): BodySizes => ({
    small,
    passed,
    refused: undefined,
    isSlow: false,
    ...found,
  });
  let passed: number | undefined;
  let msPerByte = 0;
  for (const bytes of sizes) {
    const began = performance.now();
    if (msPerByte * bytes > end - began) return seen({ isSlow: true });
    let status: number | undefined;
    try {
      status = await statusOf(http, bytes, stop);
    } catch (error) {
      signal.throwIfAborted();
      if (limit.aborted) return seen({ isSlow: true });
      if (!(error instanceof ServerError)) throw error;
    }
    if (status !== small) return seen({ refused: { bytes, status } });
    passed = bytes;
    msPerByte = (performance.now() - began) / bytes;
  }
  return seen({});
}

/** With what an object that does not end is answered, after so much white space. */
async function statusOf(http: Pick<Http, "request">, bytes: number, signal: AbortSignal): Promise<number> {
  const { status, body } = await http.request({
    method: "POST",
    path: "/v1/chat/completions",
    body: `${" ".repeat(bytes - 1)}{`,
    signal,
  });
  await readText(body, ERROR_BYTES);
  return status;
}
