/** What the server is answering, by its events or the slots of its models, and which slot a new conversation takes. */

import { ServerError } from "../lib/errors.ts";
import { ANSWER_TIMEOUT_MS } from "./http/access.ts";
import { type Backend, releaseOf, type ServerAccess, type Slot, swapVersion } from "./kinds/backend.ts";
import type { Client, EventTargets, RequestInFlight } from "./kinds/events.ts";
import { readEvents } from "./kinds/llama-swap/events.ts";
import type { RunningModel } from "./models/models.ts";

/** Milliseconds for the whole answer, and for the events before the slots are read instead. */
export interface ReadLimits {
  wholeMs: number;
  eventsMs: number;
}
const READ_LIMITS: ReadLimits = { wholeMs: 2000, eventsMs: 1200 };
/** Most models whose slots are read, all at once. */
const MOST_ASKED = 50;
/** A busy model reports its slots only between two batches of a prompt. */
const SLOTS_MS = 10_000;

/** Reading its slots would keep such a model awake. The flag has no environment variable. */
export const SLEEPS = /--sleep-idle-seconds[= ]\d/;

export interface ModelRequests {
  model: string;
  total: number;
  /** Age of the oldest one, where it is reported. */
  longestMs: number | undefined;
  /** Their clients, as far as reported; each once. */
  clients: readonly Client[];
}

export interface InFlight {
  /** llama-swap's events, the slots of the loaded models, or neither. */
  source: "events" | "slots" | "unknown";
  /** Undefined: not known, which is not the same as none. With `slots`, more may be waiting. */
  total: number | undefined;
  models: readonly ModelRequests[];
  /** Ready models that did not answer in time, such as a llama-server that is reading a prompt. */
  silent?: readonly string[];
}

const UNKNOWN_CLIENT: Client = { agent: undefined, session: undefined, address: undefined };

const UNKNOWN: InFlight = { source: "unknown", total: undefined, models: [] };

/**
 * Reads the requests in flight, within two seconds: from llama-swap's events, or else from the slots of the ready models.
 * Loads nothing.
 *
 * @throws the signal's reason, and nothing else
 */
export async function requestsInFlight(
  server: ServerAccess,
  signal: AbortSignal,
  { wholeMs, eventsMs }: ReadLimits = READ_LIMITS,
): Promise<InFlight> {
  signal.throwIfAborted();
  const limit = AbortSignal.any([signal, AbortSignal.timeout(wholeMs)]);
  const listed = await listedRequests(server, limit, eventsMs);
  signal.throwIfAborted();
  if (listed !== undefined) return inEvents(listed.requests);
  const slots = await busyModels(server, limit, wholeMs).catch(() => UNKNOWN);
  signal.throwIfAborted();
  return slots;
}

/**
 * The same for a turn that waits for one of these models to unload. llama-swap before v218 queues a request for that
 * model's slots, and then loads the model again for it, even after the client has left: its slots are not read.
 *
 * @throws {ServerError}; the signal's reason
 */
export async function requestsAhead(
  server: ServerAccess,
  signal: AbortSignal,
  { wholeMs, eventsMs }: ReadLimits = READ_LIMITS,
): Promise<InFlight> {
  // After the end of the session each request would open a connection.
  signal.throwIfAborted();
  const listed = await listedRequests(server, signal, eventsMs);
  signal.throwIfAborted();
  if (listed !== undefined) return inEvents(listed.requests);
  return (await answersAtOnce(server, signal)) ? busyModels(server, signal, wholeMs) : UNKNOWN;
}

/** Whether the server answers for a ready model at once, even while requests wait for another one: llama-swap since v218. */
export async function answersAtOnce(server: ServerAccess, signal: AbortSignal): Promise<boolean> {
  const { kind } = await server.backend(signal);
  return kind !== "llama-swap" || (releaseOf(await swapVersion(server, signal)) ?? 0) >= 218;
}

function inEvents(requests: readonly RequestInFlight[]): InFlight {
  return { source: "events", total: requests.length, models: byModel(requests) };
}

/** The requests in flight as llama-swap lists them in its events. */
export interface ListedRequests {
  requests: readonly RequestInFlight[];
  /** Bytes of their bodies, by id, where llama-swap reports it. */
  sizes: ReadonlyMap<string, number>;
}

/** The first list of requests in the events; undefined if it does not come in time. */
export async function listedRequests(
  server: ServerAccess,
  signal: AbortSignal,
  limitMs: number,
): Promise<ListedRequests | undefined> {
  const heard = new AbortController();
  const stop = AbortSignal.any([signal, heard.signal, AbortSignal.timeout(limitMs)]);
  let listed: ListedRequests | undefined;
  const onRequests: EventTargets["onRequests"] = (requests, sizes) => {
    listed ??= { requests, sizes };
    heard.abort();
  };
  const backend = await server.backend(stop).catch(() => undefined);
  if (backend?.kind === "llama-swap") await readEvents(server, { onRequests }, stop).catch(() => undefined);
  return listed;
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

/** A refusal says nothing about the model; a busy one does not answer at all. */
function silenceOf(error: unknown): "silent" | undefined {
  return error instanceof ServerError && error.status !== undefined ? undefined : "silent";
}

async function busyModels(server: ServerAccess, signal: AbortSignal, timeoutMs: number): Promise<InFlight> {
  const backend = await server.backend(signal);
  const limits = { signal, timeoutMs };
  const running = await backend.running(limits);
  // While models load and unload, a request to one could load it again.
  if (running === undefined || running.length > MOST_ASKED) return UNKNOWN;
  if (running.some(({ state }) => state !== "ready")) return UNKNOWN;
  const counts = await Promise.all(
    running.map(async ({ id, isAsleep }) => ({
      model: id,
      // A sleeping model is idle, and the request would wake it.
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
 * The requests in the slots of the loaded models, for a server that reports them in no other way; more may wait for a
 * slot. Fit for polling: it keeps no model awake, and llama.cpp's router does not count it as use of a model.
 *
 * @returns undefined where the slots are not reported, or reading them would keep a model awake
 * @throws {ServerError} also when a model is too busy to answer; the signal's reason
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
  const read = await Promise.all(
    awake.map(async ({ id }) => ({ model: id, slots: await backend.slots(id, limits) })),
  );
  if (read.some(({ slots }) => slots === undefined)) return undefined;
  return read.flatMap(({ model, slots = [] }) =>
    slots
      .filter(({ isBusy }) => isBusy)
      .map(({ id }) => ({
        id: `${model} ${id}`,
        model,
        path: "",
        elapsedMs: undefined,
        client: UNKNOWN_CLIENT,
      })),
  );
}

/**
 * A busy server reports its slots only between two batches, and would begin no request before that either. No turn
 * waits longer than this for them.
 */
const SLOT_TIMEOUT_MS = 3000;

/** Whether a ready model is working on a request; unknown counts as no. Never throws. */
export async function isWorking(server: ServerAccess, id: string, signal: AbortSignal): Promise<boolean> {
  const backend = await server.backend(signal).catch(() => undefined);
  const slots = await backend?.slots(id, { signal, timeoutMs: ANSWER_TIMEOUT_MS }).catch(() => undefined);
  return slots?.some(({ isBusy }) => isBusy) ?? false;
}

interface RunningServer extends ServerAccess {
  runningNow(signal: AbortSignal): Promise<RunningModel[] | undefined>;
}

/** A prompt that was read ahead of its turn, in a slot that was named. */
export interface ReadPrompt {
  slot: number;
  /** Undefined while it is being read. */
  tokens: number | undefined;
}

/**
 * The slot that a turn should ask for: that of its prompt, which was read ahead; for a new conversation one where the
 * server's own choice may cost another conversation its cache. Takes half a second at most, and never throws.
 *
 * @param id as `/running` lists it
 * @returns undefined: the server is to choose
 */
export async function slotFor(
  server: RunningServer,
  id: string,
  { isNew, read }: { isNew: boolean; read: ReadPrompt | undefined },
  signal: AbortSignal,
): Promise<number | undefined> {
  // The turn has just ended the reading: the slot is free in a moment.
  if (read !== undefined && read.tokens === undefined) return read.slot;
  if (!isNew && read === undefined) return undefined;
  try {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(SLOT_TIMEOUT_MS)]);
    // A shared answer may be a second old, and the request would load a model that is not ready, and wake one that sleeps.
    const running = await server.runningNow(limit);
    if (!running?.some((model) => model.id === id && model.state === "ready" && model.isAsleep !== true))
      return undefined;
    const backend = await server.backend(limit);
    const slots = await backend.slots(id, { signal: limit, timeoutMs: SLOT_TIMEOUT_MS });
    const isThere = ({ id: slot, isBusy, tokens }: Slot): boolean =>
      slot === read?.slot && !isBusy && tokens === read.tokens;
    if (slots?.some(isThere)) return read?.slot;
    return isNew && slots ? slotWithLeast(slots) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The slot that a new conversation should ask for: the idle one that loses least. llama-server itself chooses the slot
 * with the most similar prompt. For a subagent that is the slot of the session that waits for it, whose whole
 * conversation must then be read again. An ongoing conversation needs no choice: its own slot is the most similar one.
 *
 * @returns undefined where the server chooses as well, or where the slots' contents are not known. A server whose slots
 *   share their memory (its default) empties the idle ones into a store of prompts, which it does not search for a
 *   request that names a slot.
 */
export function slotWithLeast(slots: readonly Slot[]): number | undefined {
  if (slots.length < 2 || slots.some(({ tokens }) => tokens === undefined)) return undefined;
  if (slots.some(({ isUsed, isBusy, tokens }) => isUsed && !isBusy && tokens === 0)) return undefined;
  const held = ({ tokens = 0 }: Slot): number => tokens;
  const most = Math.max(...slots.map(held));
  const idle = slots.filter((slot) => !slot.isBusy && held(slot) < most);
  return idle.toSorted((a, b) => held(a) - held(b))[0]?.id;
}
