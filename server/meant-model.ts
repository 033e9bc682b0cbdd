/** Which model llama-swap takes `/upstream/<id>/…` for. */

import { list, record, text } from "../lib/json.ts";
import { type Access, ANSWER_TIMEOUT_MS } from "./http/access.ts";
import { releaseOf, swapVersion } from "./kinds/version.ts";

/** From this release on the longest id with which the path begins is meant. */
const LONGEST_MATCH = 228;

/**
 * The id of another model that llama-swap may take `/upstream/<id>/…` for, and load: before v228 the shortest id with
 * which the path begins is meant, also of an encoded path.
 *
 * @param models entries of `/v1/models`; from v236 on each has a status
 */
export function mistakenIn(models: readonly unknown[], id: string): string | undefined {
  return models
    .map(record)
    .filter((entry) => entry?.status === undefined)
    .map((entry) => text(entry?.id))
    .find((other) => other !== undefined && id.startsWith(`${other}/`));
}

/**
 * The same, asked of the server, and not where it says that it is newer. Asks nothing where the id has no slash.
 *
 * @throws {ServerError} where the list of models cannot be had; the signal's reason
 */
export async function mistakenFor(
  access: Access,
  id: string,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  if (!id.includes("/")) return undefined;
  const limits = { signal, timeoutMs: ANSWER_TIMEOUT_MS };
  const shorter = mistakenIn(
    list(record(await access.http.json(access.config.modelsPath, limits))?.data),
    id,
  );
  if (shorter === undefined) return undefined;
  const release = releaseOf(await swapVersion(access, signal));
  return release !== undefined && release >= LONGEST_MATCH ? undefined : shorter;
}
