/** llama-swap's `/api/events`: the state of its models and requests as it changes. */

import type { LoadStage } from "../../../activity/load-state.ts";
import { type Clock, REAL_CLOCK } from "../../../lib/clock.ts";
import { type Blank, blankerOf } from "../../../masking/own-secrets.ts";
import { type Access, ANSWER_TIMEOUT_MS } from "../../http/access.ts";
import { answerFault } from "../../http/answer-faults.ts";
import { ERROR_BYTES, readText } from "../../http/http.ts";
import { EventReader, type EventTargets, type LogPiece } from "./event-reader.ts";

const EVENTS_PATH = "/api/events";

/** Every connection begins with up to 200 kB of logs: after a short one, the next has to wait. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
const LASTING_MS = 10_000;

/** What a follower receives besides the events. Errors thrown by a hook are dropped. */
export interface EventHooks extends EventTargets {
  /** The progress of a model's load; only llama.cpp's router reports it. */
  onStage?: ((id: string, stage: LoadStage) => void) | undefined;
  /** The connection ended, as with every reload, or failed: what the events said may no longer hold. */
  onLost?: (() => void) | undefined;
  /** The server has no events: an old llama-swap, or another server. Called once, as the last call. */
  onUnsupported?: (() => void) | undefined;
}

/**
 * Follows the events until the signal is aborted or the server turns out to have none. Connects again after an end
 * or a failure. Never throws.
 */
export async function followEvents(
  server: Access,
  hooks: EventHooks,
  signal: AbortSignal,
  clock: Clock = REAL_CLOCK,
): Promise<void> {
  const targets = {
    onModels: quiet(hooks.onModels),
    onRequests: quiet(hooks.onRequests),
    onLog: quiet(hooks.onLog && cleared(hooks.onLog, blankerOf(server.config))),
    onActivity: quiet(hooks.onActivity),
  };
  await keepReading(() => readEvents(server, targets, signal, clock.now), hooks, signal, clock);
}

function cleared(onLog: (piece: LogPiece) => void, blank: Blank): (piece: LogPiece) => void {
  return (piece) => onLog({ ...piece, text: blank(piece.text) });
}

/**
 * Reads the events of one connection after another, with growing pauses, until the signal is aborted or the server turns
 * out to have none. Never throws.
 *
 * @param read one connection, until it ends
 */
export async function keepReading(
  read: () => Promise<"ended" | "unsupported">,
  hooks: EventHooks,
  signal: AbortSignal,
  clock: Clock,
): Promise<void> {
  let pause = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    const began = clock.now();
    const end = await read().catch(() => "lost");
    if (signal.aborted) return;
    if (end === "unsupported") {
      quiet(hooks.onUnsupported)?.();
      return;
    }
    quiet(hooks.onLost)?.();
    if (clock.now() - began >= LASTING_MS) pause = FIRST_PAUSE_MS;
    // Only the signal ends it early.
    await clock.sleep(pause, signal).catch(() => undefined);
    pause = Math.min(LONGEST_PAUSE_MS, pause * 2);
  }
}

/**
 * Reads the events of one connection: first the state of everything, the requests in flight last, then what happens.
 *
 * @param now Unix time in milliseconds
 * @returns when the server has ended the stream, or has none
 * @throws {ServerError} for a fault of the way or an answer that is none; the signal's reason
 */
export async function readEvents(
  server: Access,
  targets: EventTargets,
  signal: AbortSignal,
  now: () => number = REAL_CLOCK.now,
): Promise<"ended" | "unsupported"> {
  const cut = new AbortController();
  const limit = setTimeout(() => cut.abort(), ANSWER_TIMEOUT_MS);
  try {
    const { status, headers, body } = await server.http.request({
      method: "GET",
      path: EVENTS_PATH,
      headers: { accept: "text/event-stream" },
      signal: AbortSignal.any([signal, cut.signal]),
    });
    const isStream = /event-stream/.test(headers["content-type"] ?? "");
    if (status === 404 || (status === 200 && !isStream)) return "unsupported";
    if (status !== 200) throw answerFault(status, await readText(body, ERROR_BYTES), EVENTS_PATH);
    clearTimeout(limit);
    const date = Date.parse(headers.date ?? "");
    const reader = new EventReader(targets, now, Number.isNaN(date) ? 0 : date - now());
    for await (const chunk of body as AsyncIterable<Uint8Array>) reader.push(chunk);
    return "ended";
  } finally {
    clearTimeout(limit);
    // An unread body would keep its connection open.
    cut.abort();
  }
}

export function quiet<A extends unknown[]>(hook: ((...args: A) => void) | undefined): typeof hook {
  return (
    hook &&
    ((...args) => {
      try {
        hook(...args);
      } catch {
        // A hook that fails must not stop the events.
      }
    })
  );
}
