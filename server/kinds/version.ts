/** The version of a server. */

import { record } from "../../lib/json.ts";
import { type Access, DETAIL_TIMEOUT_MS, optionalJson } from "../http/access.ts";
import { nameOf } from "../models/names.ts";

export interface ServerVersion {
  /** What it is: `llama-swap`, `llama-server`. */
  name: string;
  /** As the server words it (`v250`, `217`, `local_0bdb3720`, `b6123-abcdef`), on one line of at most 100 characters. */
  version: string | undefined;
}

/**
 * llama-swap's version, which it reports since v173.
 *
 * @throws {ServerError} where the server cannot be reached; the signal's reason
 */
export async function swapVersion(
  { http }: Access,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const limits = { signal, timeoutMs: DETAIL_TIMEOUT_MS };
  return nameOf(record(await optionalJson(http, "/api/version", limits))?.version);
}

/** llama-server's build, one model's or the router's. @throws {ServerError} */
export async function llamaCppVersion(
  { http }: Access,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const limits = { signal, timeoutMs: DETAIL_TIMEOUT_MS };
  return nameOf(record(await optionalJson(http, "/props", limits))?.build_info);
}

/** The number of a llama-swap release; undefined for other builds. */
export function releaseOf(version: string | undefined): number | undefined {
  const digits = /^v?(\d{1,6})$/.exec(version ?? "")?.[1];
  const release = Number(digits);
  // A build without a version calls itself 0.
  return digits === undefined || release === 0 ? undefined : release;
}
