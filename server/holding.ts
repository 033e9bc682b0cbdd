/**
 * Whether the server still has one request of ours, and how many others its model answers. Asked on other connections
 * than the request's own, which may be dead without a sign. Loads nothing and wakes nothing.
 */

import type { Limits } from "./http/access.ts";
import { ANSWERS_AT_ONCE, SLEEPS, type ToldRequests, toldRequests } from "./in-flight.ts";
import type { Backend, ServerAccess } from "./kinds/backend.ts";
import type { RequestInFlight } from "./kinds/llama-swap/event-reader.ts";
import { releaseOf, swapVersion } from "./kinds/version.ts";
import type { RunningModel } from "./models/models.ts";
import { nameOf } from "./models/names.ts";

/** For each question; the events begin with up to 200 kB of logs. */
const QUESTION_MS = 5000;

/** What the server and we may count differently, for clocks and the way of the request. */
const SLACK_MS = 5000;

/** llama-swap's list of requests is read up to this many; in a longer one ours may be missing. */
const MOST_LISTED = 1000;

/** A request of ours that waits for its answer. */
export interface OwnRequest {
  /** The id under which the server runs the model, and the one that was asked for. */
  runsAs: string;
  requestedId: string;
  /** Its `X-Session-ID`. */
  session: string | undefined;
  /** Of its body. */
  bytes: number;
  /** How long ago it was sent, in milliseconds. */
  elapsedMs: number;
}

export interface Holding {
  /** False: nothing works on the request, and it waits in no queue. Undefined: not known. */
  isHeld: boolean | undefined;
  /** Other requests that the model answers; undefined: not known. */
  ahead: number | undefined;
}

const UNKNOWN: Holding = { isHeld: undefined, ahead: undefined };

/** Never throws, except the signal's reason: what cannot be read is not known. */
export async function holdingOf(
  server: ServerAccess,
  own: OwnRequest,
  signal: AbortSignal,
): Promise<Holding> {
  try {
    const backend = await server.backend(signal);
    if (backend.kind === "llama-swap") {
      const told = await toldRequests(server, signal, QUESTION_MS);
      if (told !== undefined) return inList(told, own);
      signal.throwIfAborted();
      const release = releaseOf(await swapVersion(server, signal));
      // An earlier one shows no model that starts, and may load one again for a question to it.
      if ((release ?? 0) < ANSWERS_AT_ONCE) return UNKNOWN;
    }
    return await bySlots(backend, own, { signal, timeoutMs: QUESTION_MS });
  } catch {
    signal.throwIfAborted();
    return UNKNOWN;
  }
}

/** llama-swap lists every request from its arrival to the end of its answer, whatever it waits for. */
function inList({ requests, sizes }: ToldRequests, own: OwnRequest): Holding {
  if (requests.length >= MOST_LISTED) return UNKNOWN;
  const ours = requests.filter((request) => mayBe(request, sizes.get(request.id), own));
  const others = requests.filter((request) => isOfModel(request, own) && !ours.includes(request));
  return { isHeld: ours.length > 0, ahead: others.length + Math.max(0, ours.length - 1) };
}

function isOfModel({ model }: RequestInFlight, own: OwnRequest): boolean {
  return model === own.runsAs || model === own.requestedId;
}

/** Not every version reports whose a request is, nor how large. */
function mayBe(request: RequestInFlight, bytes: number | undefined, own: OwnRequest): boolean {
  const { path, elapsedMs, client } = request;
  if (path !== "" && !path.endsWith("/chat/completions")) return false;
  if (elapsedMs !== undefined && elapsedMs > own.elapsedMs + SLACK_MS) return false;
  if (client.session !== undefined && client.session !== nameOf(own.session)) return false;
  if (bytes === undefined) return isOfModel(request, own);
  // A profile's pin (v241) puts another model into the body, which changes its size, before the request is listed.
  const isPinned = client.session !== undefined && !isOfModel(request, own);
  return isPinned || bytes === own.bytes;
}

async function bySlots(backend: Backend, own: OwnRequest, limits: Limits): Promise<Holding> {
  // Other servers list only what has been loaded.
  if (backend.kind === "other") return UNKNOWN;
  const running = await backend.running(limits);
  const model = running?.find(({ id }) => id === own.runsAs);
  if (model !== undefined) return inSlots(backend, model, limits);
  // One llama-server lists nothing while it loads.
  if (running === undefined || backend.kind === "llama-server") return UNKNOWN;
  // It would have been loaded, unless another model that still works has to go first.
  const areIdle = await Promise.all(running.map((other) => isIdle(backend, other, limits)));
  return areIdle.every(Boolean) ? { isHeld: false, ahead: 0 } : UNKNOWN;
}

/** A slot that is busy may be busy with our request. */
async function inSlots(backend: Backend, model: RunningModel, limits: Limits): Promise<Holding> {
  if (model.state !== "ready" || model.isAsleep || SLEEPS.test(model.commandLine ?? "")) return UNKNOWN;
  const slots = await backend.slots(model.id, limits);
  if (slots === undefined) return UNKNOWN;
  const ahead = slots.filter(({ isBusy }) => isBusy).length;
  return { isHeld: ahead === 0 ? false : undefined, ahead };
}

/** Only of the router's models: of llama-swap's each would be kept awake by the question. */
async function isIdle(backend: Backend, model: RunningModel, limits: Limits): Promise<boolean> {
  if (backend.kind !== "router" || model.state !== "ready") return false;
  return model.isAsleep === true || (await inSlots(backend, model, limits)).ahead === 0;
}
