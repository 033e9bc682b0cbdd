/**
 * Whether the server still has one request of ours, and how many others its model is answering. Read on another connection
 * than the request's own, which may be dead without a sign. Loads nothing and wakes nothing.
 */

import type { Limits } from "./http/access.ts";
import { answersAtOnce, type ListedRequests, listedRequests, SLEEPS } from "./in-flight.ts";
import type { Backend, ServerAccess } from "./kinds/backend.ts";
import type { RequestInFlight } from "./kinds/events.ts";
import type { RunningModel } from "./models/models.ts";
import { nameOf } from "./models/names.ts";

/** For each read; the events begin with up to 200 kB of logs. */
const QUESTION_MS = 5000;

/** Tolerated difference of our times and the server's, for clocks and the network. */
const SLACK_MS = 5000;

/** llama-swap's list of requests is read up to this many; in a longer one ours may be missing. */
const MOST_LISTED = 1000;

/** A request of ours that waits for its answer. */
export interface OwnRequest {
  /** The id under which the server runs the model, and the one that the request names. */
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
  /** False: the server neither works on the request nor queues it. Undefined: not known. */
  isHeld: boolean | undefined;
  /** Other requests of the same model; undefined: not known. */
  ahead: number | undefined;
}

const UNKNOWN: Holding = { isHeld: undefined, ahead: undefined };

/** Throws only the signal's reason: what cannot be read is not known. */
export async function holdingOf(
  server: ServerAccess,
  own: OwnRequest,
  signal: AbortSignal,
): Promise<Holding> {
  const { session, isKnown } = server.several;
  // A load balancer may have given the request to another server than the one that answers here.
  if (isKnown || (session !== undefined && session !== own.session)) return UNKNOWN;
  try {
    const backend = await server.backend(signal);
    if (backend.kind === "llama-swap") {
      const listed = await listedRequests(server, signal, QUESTION_MS);
      if (listed !== undefined) return inList(listed, own);
      signal.throwIfAborted();
      // An earlier one does not show starting models, and may load a model again for this request.
      if (!(await answersAtOnce(server, signal))) return UNKNOWN;
    }
    return await bySlots(backend, own, { signal, timeoutMs: QUESTION_MS });
  } catch {
    signal.throwIfAborted();
    return UNKNOWN;
  }
}

/** llama-swap lists every request from its arrival to the end of its answer. */
function inList({ requests, sizes }: ListedRequests, own: OwnRequest): Holding {
  if (requests.length >= MOST_LISTED) return UNKNOWN;
  const ours = requests.filter((request) => mayBe(request, sizes.get(request.id), own));
  const others = requests.filter((request) => isOfModel(request, own) && !ours.includes(request));
  return { isHeld: ours.length > 0, ahead: others.length + Math.max(0, ours.length - 1) };
}

function isOfModel({ model }: RequestInFlight, own: OwnRequest): boolean {
  return model === own.runsAs || model === own.requestedId;
}

/** Not every version reports the client and the size of a request. */
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
  // Other servers list only loaded models, not loading ones.
  if (backend.kind === "other") return UNKNOWN;
  const running = await backend.running(limits);
  const model = running?.find(({ id }) => id === own.runsAs);
  if (model !== undefined) return inSlots(backend, model, limits);
  // One llama-server lists nothing while it loads.
  if (running === undefined || backend.kind === "llama-server") return UNKNOWN;
  // A held request would have loaded it, unless another model must finish and unload first.
  const areIdle = await Promise.all(running.map((other) => isIdle(backend, other, limits)));
  return areIdle.every(Boolean) ? { isHeld: false, ahead: 0 } : UNKNOWN;
}

/** A busy slot may be busy with our request. */
async function inSlots(backend: Backend, model: RunningModel, limits: Limits): Promise<Holding> {
  if (model.state !== "ready" || model.isAsleep || SLEEPS.test(model.commandLine ?? "")) return UNKNOWN;
  const slots = await backend.slots(model.id, limits);
  if (slots === undefined) return UNKNOWN;
  const ahead = slots.filter(({ isBusy }) => isBusy).length;
  return { isHeld: ahead === 0 ? false : undefined, ahead };
}

/** Only for the router's models: the request would keep llama-swap's awake. */
async function isIdle(backend: Backend, model: RunningModel, limits: Limits): Promise<boolean> {
  if (backend.kind !== "router" || model.state !== "ready") return false;
  return model.isAsleep === true || (await inSlots(backend, model, limits)).ahead === 0;
}
