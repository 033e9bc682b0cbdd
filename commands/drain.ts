/** What a restart of today's llama-swap means for requests. */
import type { Preview } from "../host/outcome.ts";
import type { ModelServer } from "../server/model-server.ts";
import { releaseOf, swapVersion } from "../server/version.ts";
import type { Call } from "./call.ts";

/** Since its rewrite it closes its port at SIGTERM, and gives what is in flight 30 s (`shutdownTimeout`). */
const DRAINS_SINCE = 218;

/**
 * What a restart costs beside the loads, as a line of the question; none for a server that does not wait for its
 * requests.
 *
 * @throws the signal's reason, and nothing else
 */
export async function drainWords(server: ModelServer, signal: AbortSignal): Promise<string[]> {
  const backend = await server.backend(signal).catch(() => undefined);
  signal.throwIfAborted();
  if (backend?.kind !== "llama-swap") return [];
  const version = await swapVersion(server, signal).catch(() => undefined);
  signal.throwIfAborted();
  // A build without a release number is one of today's; before v173 none is told.
  if (version === undefined || (releaseOf(version) ?? DRAINS_SINCE) < DRAINS_SINCE) return [];
  return [
    "From then on llama-swap refuses new requests and lets those in flight go on for up to 30 s, so that the restart may take 35 s more.",
  ];
}

/** The same for a change of the config: none where nothing is loaded, or the config is only read again. */
export async function drainOf(
  { waiting }: Pick<Call, "waiting">,
  server: ModelServer,
  { loaded, unit, reloads }: Preview,
): Promise<string[]> {
  if (loaded.length === 0 || unit.watchesConfig || reloads) return [];
  return drainWords(server, waiting.signal);
}
