/** What a change interrupts: loaded models and requests in flight, and for how long. */

import type { LoadedModel } from "../host/probe.ts";
import { duration } from "../lib/figures.ts";
import { type InFlight, type ModelRequests, requestsInFlight } from "../server/in-flight.ts";
import { releaseOf, swapVersion } from "../server/kinds/backend.ts";
import type { Client } from "../server/kinds/events.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { Call } from "./call.ts";

/** Stopping and starting the service itself, without its models. */
const RESTART_MS = 3000;

/** Since its rewrite it closes its port at SIGTERM and gives requests in flight 30 s (`shutdownTimeout`). */
const DRAINS_SINCE = 218;

export const DRAIN_WORDS =
  "llama-swap refuses new requests and gives those in flight up to 30 s to finish; this may add up to 35 s.";

/** Who sent a request, as far as the server reports it; may be empty. */
export function whose({ agent, session, address }: Client, ownSession: string | undefined): string {
  if (session !== undefined && session === ownSession) return "this pi session";
  return [agent?.split(" ")[0], address === undefined ? undefined : `at ${address}`]
    .filter((word) => word !== undefined)
    .join(" ");
}

function modelWords({ model, total, longestMs, clients }: ModelRequests, own: string | undefined): string {
  const details = [
    ...(longestMs === undefined ? [] : [`for ${duration(longestMs)}`]),
    ...clients.map((client) => whose(client, own)).filter((words) => words !== ""),
  ];
  return `${total} on ${model}${details.length === 0 ? "" : ` (${details.join(", ")})`}`;
}

/** Whose requests are in flight, as a sentence. @param isCut whether they end at once */
export function requestWords(requests: InFlight, ownSession: string | undefined, isCut = true): string {
  const { silent = [] } = requests;
  if (silent.length === 0) return knownWords(requests, ownSession, isCut);
  const words = requests.total ? `${knownWords(requests, ownSession, isCut)} ` : "";
  const cut = isCut ? ", which would be cut off" : "";
  return `${words}${silent.join(", ")} did not answer in time and may be reading a prompt${cut}.`;
}

function knownWords({ total, models }: InFlight, ownSession: string | undefined, isCut: boolean): string {
  if (total === undefined)
    return `The server does not report in-flight requests${isCut ? "; any would be cut off" : ""}.`;
  if (total === 0) return "No requests in flight.";
  const known = models.map((model) => modelWords(model, ownSession));
  return `In-flight requests${isCut ? " that will be cut off" : ""}: ${known.join("; ")}.`;
}

export function requestsOn(
  { source, total, models, silent = [] }: InFlight,
  ids: readonly string[],
): InFlight {
  const cut = models.filter(({ model }) => ids.includes(model));
  return {
    source,
    total: total && cut.reduce((sum, model) => sum + model.total, 0),
    models: cut,
    silent: silent.filter((model) => ids.includes(model)),
  };
}

/**
 * How long it should take, from what earlier loads took on this machine.
 *
 * @param besidesMs what is done besides the loads
 */
export function timeWords(expected: readonly (number | undefined)[], besidesMs = 0): string {
  const known = expected.filter((ms) => ms !== undefined);
  if (known.length < expected.length) return "No load time recorded yet; a minute is typical.";
  return `It should take about ${duration(known.reduce((sum, ms) => sum + ms, besidesMs))}.`;
}

/** The names of models, with the state of what is not ready. */
export function modelNames(models: readonly LoadedModel[]): string {
  return models.map(({ id, state }) => (state === "ready" ? id : `${id} (${state})`)).join(", ");
}

/** The session as its requests name it. */
export function sessionOf({ ctx }: Pick<Call, "ctx">): string | undefined {
  return ctx.sessionManager.getSessionId();
}

interface Unloading {
  /** Which of the loaded ones go; all of them by default. */
  readonly isUnloaded?: (id: string) => boolean;
  /** The server itself is stopped and started, in place of a reload or an unload. */
  readonly isRestart?: boolean;
}

/**
 * The lines of a question that is asked before models are unloaded.
 *
 * @param loaded undefined where the server does not answer
 * @param toLoad the ids that are loaded afterwards
 */
export async function interruptionOf(
  call: Call,
  server: ModelServer,
  loaded: readonly LoadedModel[] | undefined,
  toLoad: readonly string[],
  how: Unloading = {},
): Promise<string[]> {
  if (loaded === undefined) return ["The server is not answering."];
  const drains =
    loaded.length > 0 && how.isRestart === true && (await drainsRequests(server, call.waiting.signal));
  const lines =
    loaded.length === 0 ? ["No model is loaded."] : await lossesOf(call, server, loaded, how, !drains);
  const expected = await Promise.all(
    toLoad.map((id) => call.aiServer.remembered.expectedLoadMs(server.config, id)),
  );
  return [
    ...lines,
    ...(toLoad.length === 0 ? [] : [timeWords(expected, RESTART_MS)]),
    ...(drains ? [DRAIN_WORDS] : []),
  ];
}

async function lossesOf(
  call: Call,
  server: ModelServer,
  loaded: readonly LoadedModel[],
  { isUnloaded = () => true }: Unloading,
  isCut: boolean,
): Promise<string[]> {
  const [gone, left] = [
    loaded.filter(({ id }) => isUnloaded(id)),
    loaded.filter(({ id }) => !isUnloaded(id)),
  ];
  const lines = gone.length === 0 ? [] : [`Will be unloaded: ${modelNames(gone)}.`];
  if (left.length > 0) lines.push(`Stays loaded if there is room: ${modelNames(left)}.`);
  if (gone.length === 0) return lines;
  const requests = await requestsInFlight(server, call.waiting.signal);
  if (left.length === 0) return [...lines, requestWords(requests, sessionOf(call), isCut)];
  const cut = requestsOn(
    requests,
    gone.map(({ id }) => id),
  );
  if (cut.total === 0 && !cut.silent?.length)
    return [...lines, "No requests in flight on models that will be unloaded."];
  return [...lines, requestWords(cut, sessionOf(call), isCut)];
}

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
