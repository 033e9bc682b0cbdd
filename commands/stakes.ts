/** What a change costs others: what is loaded, whose requests would be cut, how long it takes. */

import { expectedLoadMs } from "../load-times.ts";
import type { Client } from "../server/event-reader.ts";
import { type InFlight, type ModelRequests, requestsInFlight } from "../server/in-flight.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { RunningModel } from "../server/models.ts";
import { duration } from "../ui/duration.ts";
import type { Call } from "./call.ts";

/** Stopping and starting the service itself, without its models. */
const RESTART_MS = 3000;

/** Whose a request is, as far as that is told; may be empty. */
export function whose({ agent, session, address }: Client, ownSession: string | undefined): string {
  if (session !== undefined && session === ownSession) return "this session of pi";
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

/** Whose requests are in flight and will be cut, as a sentence. */
export function requestWords(requests: InFlight, ownSession: string | undefined): string {
  const { silent = [] } = requests;
  if (silent.length === 0) return toldWords(requests, ownSession);
  const words = requests.total ? `${toldWords(requests, ownSession)} ` : "";
  return `${words}${silent.join(", ")} did not answer in time and may be reading a prompt, which would be cut.`;
}

function toldWords({ total, models }: InFlight, ownSession: string | undefined): string {
  if (total === undefined)
    return "Whether requests are in flight, which would be cut, the server does not tell.";
  if (total === 0) return "No request is in flight.";
  const told = models.map((model) => modelWords(model, ownSession));
  return `Requests in flight, which will be cut: ${told.join("; ")}.`;
}

/** Those on models that are unloaded. */
function requestsOn({ source, total, models, silent = [] }: InFlight, ids: readonly string[]): InFlight {
  const cut = models.filter(({ model }) => ids.includes(model));
  return {
    source,
    total: total && cut.reduce((sum, model) => sum + model.total, 0),
    models: cut,
    silent: silent.filter((model) => ids.includes(model)),
  };
}

/** How long it should take, from what earlier loads took on this machine. */
function timeWords(expected: readonly (number | undefined)[]): string {
  const known = expected.filter((ms) => ms !== undefined);
  if (known.length < expected.length)
    return "How long loading takes is not known on this machine yet; often it is a minute.";
  return `It should take about ${duration(known.reduce((sum, ms) => sum + ms, RESTART_MS))}.`;
}

/** The session as its requests name it. */
export function sessionOf({ ctx }: Pick<Call, "ctx">): string | undefined {
  return ctx.sessionManager.getSessionId();
}

/**
 * The lines of a question that is asked before models are unloaded.
 *
 * @param loaded undefined where the server does not answer
 * @param toLoad the ids that are loaded afterwards
 * @param isUnloaded which of the loaded models go by it
 */
export async function stakesOf(
  call: Call,
  server: ModelServer,
  loaded: readonly RunningModel[] | undefined,
  toLoad: readonly string[],
  isUnloaded: (id: string) => boolean = () => true,
): Promise<string[]> {
  if (loaded === undefined) return ["The server does not answer at this moment."];
  const lines =
    loaded.length === 0 ? ["No model is loaded."] : await lossesOf(call, server, loaded, isUnloaded);
  const expected = await Promise.all(toLoad.map((id) => expectedLoadMs(call.aiServer, server, id)));
  return [...lines, ...(toLoad.length === 0 ? [] : [timeWords(expected)])];
}

async function lossesOf(
  call: Call,
  server: ModelServer,
  loaded: readonly RunningModel[],
  isUnloaded: (id: string) => boolean,
): Promise<string[]> {
  const words = (models: readonly RunningModel[]): string =>
    models.map(({ id, state }) => (state === "ready" ? id : `${id} (${state})`)).join(", ");
  const [gone, left] = [
    loaded.filter(({ id }) => isUnloaded(id)),
    loaded.filter(({ id }) => !isUnloaded(id)),
  ];
  const lines = gone.length === 0 ? [] : [`Loaded now, and unloaded by this: ${words(gone)}.`];
  if (left.length > 0) lines.push(`Loaded now, and left alone as far as there is room: ${words(left)}.`);
  if (gone.length === 0) return lines;
  const requests = await requestsInFlight(server, call.waiting.signal);
  if (left.length === 0) return [...lines, requestWords(requests, sessionOf(call))];
  const cut = requestsOn(
    requests,
    gone.map(({ id }) => id),
  );
  if (cut.total === 0 && !cut.silent?.length)
    return [...lines, "No request on what is unloaded is in flight."];
  return [...lines, requestWords(cut, sessionOf(call))];
}
