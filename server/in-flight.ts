/** Who is at work on the server at this moment, for those who are about to cut it off. */

import { ServerError } from "../lib/errors.ts";
import type { Backend, ServerAccess, Slot } from "./kinds/backend.ts";
import type { Client, EventTargets, RequestInFlight } from "./kinds/llama-swap/event-reader.ts";
import { readEvents } from "./kinds/llama-swap/events.ts";
import { releaseOf, swapVersion } from "./kinds/version.ts";

/** For the whole answer, and for the events before the slots are asked instead. */
const LIMIT_MS = 2000;
const EVENTS_MS = 1200;
/** Models whose slots are asked, all at once. */
const MOST_ASKED = 50;
/** A busy model tells of its slots only between two batches of a prompt. */
const SLOTS_MS = 10_000;

/** Such a model would be kept awake by questions about its slots. The flag has no variable of its own. */
export const SLEEPS = /--sleep-idle-seconds[= ]\d/;

export interface ModelRequests {
  model: string;
  total: number;
  /** How long the longest of them has gone on, where that is told. */
  longestMs: number | undefined;
  /** Whose they are, as far as that is told; each once. */
  clients: readonly Client[];
}

export interface InFlight {
  /** llama-swap itself, the slots of what is loaded, or nobody. */
  source: "events" | "slots" | "unknown";
  /** Undefined: not known, which is not the same as none. From `slots` there may be more that wait. */
  total: number | undefined;
  models: readonly ModelRequests[];
  /** Ready models that did not tell in time, as llama-server does not while it reads a prompt. */
  silent?: readonly string[];
}

const NOBODY: Client = { agent: undefined, session: undefined, address: undefined };

/** From this release on llama-swap answers for a model that is ready at once, whoever waits for another. */
export const ANSWERS_AT_ONCE = 218;

const UNKNOWN: InFlight = { source: "unknown", total: undefined, models: [] };

/**
 * Asks which requests are in flight, at most two seconds: llama-swap's events, or where it tells nothing the slots of
 * the models that are ready. Loads nothing.
 *
 * @throws the signal's reason, and nothing else
 */
export async function requestsInFlight(server: ServerAccess, signal: AbortSignal): Promise<InFlight> {
  signal.throwIfAborted();
  const limit = AbortSignal.any([signal, AbortSignal.timeout(LIMIT_MS)]);
  const told = await toldRequests(server, limit);
  signal.throwIfAborted();
  if (told !== undefined) return inEvents(told.requests);
  const slots = await busyModels(server, limit).catch(() => UNKNOWN);
  signal.throwIfAborted();
  return slots;
}

/**
 * The same for whoever waits for one of these models to go. A llama-swap before v218 lets a question to that model wait
 * in turn, and then loads the model again for it, even when its client has gone: it is not asked.
 *
 * @throws {ServerError}; the signal's reason
 */
export async function requestsAhead(server: ServerAccess, signal: AbortSignal): Promise<InFlight> {
  // Where the session has ended meanwhile, each question would open a connection.
  signal.throwIfAborted();
  const told = await toldRequests(server, signal);
  signal.throwIfAborted();
  if (told !== undefined) return inEvents(told.requests);
  const { kind } = await server.backend(signal);
  const release = kind === "llama-swap" ? releaseOf(await swapVersion(server, signal)) : ANSWERS_AT_ONCE;
  return (release ?? 0) < ANSWERS_AT_ONCE ? UNKNOWN : busyModels(server, signal);
}

function inEvents(told: readonly RequestInFlight[]): InFlight {
  return { source: "events", total: told.length, models: byModel(told) };
}

export interface ToldRequests {
  requests: readonly RequestInFlight[];
  /** Bytes of their bodies, by id, where llama-swap reports it. */
  sizes: ReadonlyMap<string, number>;
}

/** What the events tell first, where they tell it in time. */
export async function toldRequests(
  server: ServerAccess,
  signal: AbortSignal,
  limitMs = EVENTS_MS,
): Promise<ToldRequests | undefined> {
  const heard = new AbortController();
  const stop = AbortSignal.any([signal, heard.signal, AbortSignal.timeout(limitMs)]);
  let told: ToldRequests | undefined;
  const onRequests: EventTargets["onRequests"] = (requests, sizes) => {
    told ??= { requests, sizes };
    heard.abort();
  };
  const backend = await server.backend(stop).catch(() => undefined);
  if (backend?.kind === "llama-swap") await readEvents(server, { onRequests }, stop).catch(() => undefined);
  return told;
}

function byModel(listed: readonly RequestInFlight[]): ModelRequests[] {
  return [...Map.groupBy(listed, ({ model }) => model)].map(([model, requests]) => {
    const known = requests.flatMap(({ elapsedMs }) => (elapsedMs === undefined ? [] : [elapsedMs]));
    const clients = requests
      .map(({ client }) => client)
      .filter(({ agent, session, address }) => (agent ?? session ?? address) !== undefined);
    return {
      model,
      total: requests.length,
      longestMs: known.length === 0 ? undefined : Math.max(...known),
      clients: [...new Map(clients.map((client) => [JSON.stringify(client), client])).values()],
    };
  });
}

function busyIn(slots: readonly Slot[] | undefined): number | undefined {
  return slots?.filter(({ isBusy }) => isBusy).length;
}

/** An answer that refuses says nothing of the model; none at all is what a busy one gives. */
function silenceOf(error: unknown): "silent" | undefined {
  return error instanceof ServerError && error.status !== undefined ? undefined : "silent";
}

async function busyModels(server: ServerAccess, signal: AbortSignal): Promise<InFlight> {
  const backend = await server.backend(signal);
  const limits = { signal, timeoutMs: LIMIT_MS };
  const running = await backend.running(limits);
  // While models come and go, a question to one of them could bring it back.
  if (running === undefined || running.length > MOST_ASKED) return UNKNOWN;
  if (running.some(({ state }) => state !== "ready")) return UNKNOWN;
  const counts = await Promise.all(
    running.map(async ({ id, isAsleep }) => ({
      model: id,
      // What sleeps works on nothing, and would be woken by the question.
      total: isAsleep ? 0 : await backend.slots(id, limits).then(busyIn, silenceOf),
    })),
  );
  const models = counts.flatMap(({ model, total }) =>
    typeof total === "number" && total > 0 ? [{ model, total, longestMs: undefined, clients: [] }] : [],
  );
  const quiet = counts.filter(({ total }) => total === "silent").map(({ model }) => model);
  const silent = quiet.length === 0 ? {} : { silent: quiet };
  if (models.length === 0 && counts.some(({ total }) => typeof total !== "number"))
    return { ...UNKNOWN, ...silent };
  return { source: "slots", total: models.reduce((sum, { total }) => sum + total, 0), models, ...silent };
}

/**
 * The requests that are in slots of the loaded models, for a server that tells of them in no other way; more may wait
 * for a slot. May be asked again and again: it keeps no model awake, and to llama.cpp's router it is no use of a model.
 *
 * @returns undefined where that is not told, or not without keeping a model awake
 * @throws {ServerError} also when a model is too busy to tell; the signal's reason
 */
export async function requestsInSlots(
  backend: Pick<Backend, "running" | "slots">,
  signal: AbortSignal,
): Promise<readonly RequestInFlight[] | undefined> {
  const limits = { signal, timeoutMs: SLOTS_MS };
  const running = (await backend.running(limits)) ?? [];
  const awake = running.filter(({ state, isAsleep }) => state === "ready" && !isAsleep);
  const mayAsk = awake.every(({ commandLine }) => commandLine !== undefined && !SLEEPS.test(commandLine));
  if (!mayAsk || awake.length > MOST_ASKED) return undefined;
  const told = await Promise.all(
    awake.map(async ({ id }) => ({ model: id, slots: await backend.slots(id, limits) })),
  );
  if (told.some(({ slots }) => slots === undefined)) return undefined;
  return told.flatMap(({ model, slots = [] }) =>
    slots
      .filter(({ isBusy }) => isBusy)
      .map(({ id }) => ({ id: `${model} ${id}`, model, path: "", elapsedMs: undefined, client: NOBODY })),
  );
}
