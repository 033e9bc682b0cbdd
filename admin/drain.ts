/** What a restart of today's llama-swap means for requests. */

import { releaseOf, swapVersion } from "../server/kinds/version.ts";
import type { ModelServer } from "../server/model-server.ts";

/** Since its rewrite it closes its port at SIGTERM, and gives what is in flight 30 s (`shutdownTimeout`). */
const DRAINS_SINCE = 218;

export const DRAIN_WORDS =
  "llama-swap waits up to 30 s for requests in flight, then cuts them, and refuses new ones meanwhile: this may add up to 35 s.";

/**
 * Whether a restart gives the requests in flight time to end, in place of cutting them at once.
 *
 * @throws the signal's reason, and nothing else
 */
export async function drainsRequests(server: ModelServer, signal: AbortSignal): Promise<boolean> {
  const backend = await server.backend(signal).catch(() => undefined);
  signal.throwIfAborted();
  if (backend?.kind !== "llama-swap") return false;
  const version = await swapVersion(server, signal).catch(() => undefined);
  signal.throwIfAborted();
  // A build without a release number is one of today's; those before v173 name none.
  return version !== undefined && (releaseOf(version) ?? DRAINS_SINCE) >= DRAINS_SINCE;
}
