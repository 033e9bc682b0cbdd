/** Following the events of a server: what they report, and how a lost connection is opened again. */

import { createParser } from "eventsource-parser";
import type { LoadStage, ModelState } from "../../activity/load-state.ts";
import type { Clock } from "../../lib/clock.ts";
import { type Access, ANSWER_TIMEOUT_MS } from "../http/access.ts";
import { answerFault } from "../http/answer-faults.ts";
import { ERROR_BYTES, readText } from "../http/http.ts";

/** The client of a request; llama-swap reports it since v240. */
export interface Client {
  /** Its `User-Agent`. */
  agent: string | undefined;
  /** Its `X-Session-ID`, which pi's turns carry. */
  session: string | undefined;
  /** Its address, as the proxy in front of llama-swap forwarded it. */
  address: string | undefined;
}

export interface RequestInFlight {
  id: string;
  /** The model's own id, also where the request named an alias. */
  model: string;
  path: string;
  /** When the list was sent. */
  elapsedMs: number | undefined;
  client: Client;
}

/** A piece of a log: cleaned, of one line or many. */
interface LogPiece {
  source: "proxy" | "upstream";
  text: string;
}

/** Receivers of the events; without `onLog` the logs cost next to nothing. */
export interface EventTargets {
  /** Every model of the config, unlisted ones too; peers are `unknown`. */
  onModels?: ((models: ReadonlyMap<string, ModelState>) => void) | undefined;
  /**
   * The requests in flight, including those that wait for a load. Never called before llama-swap v235.
   *
   * @param sizes bytes of the bodies as they came, by the requests' ids; reported since v240
   */
  onRequests?:
    | ((requests: readonly RequestInFlight[], sizes: ReadonlyMap<string, number>) => void)
    | undefined;
  onLog?: ((piece: LogPiece) => void) | undefined;
  /** A request was answered and is in `/api/metrics/activity`. Never called before llama-swap v236. */
  onActivity?: (() => void) | undefined;
}

/** What a follower receives besides the events. Errors thrown by a hook are dropped. */
export interface EventHooks extends EventTargets {
  /** The progress of a model's load; only llama.cpp's router reports it. */
  onStage?: ((id: string, stage: LoadStage) => void) | undefined;
  /** The connection ended, as with every reload, or failed: what the events said may no longer hold. */
  onLost?: (() => void) | undefined;
  /** The server has no events: an old llama-swap, or another server. Called once, as the last call. */
  onUnsupported?: (() => void) | undefined;
}

/** Every connection begins with up to 200 kB of logs: after a short one, the next has to wait. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
const LASTING_MS = 10_000;

/** Characters of one frame: a history of 100 KiB, escaped twice, stays below. */
const MAX_FRAME_CHARACTERS = 1024 * 1024;

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
 * Reads the events of one connection.
 *
 * @param begin called when the stream is open, within the limit for an answer; returns what takes each chunk
 * @returns when the server has ended the stream, or has none
 * @throws {ServerError} for a fault of the way or an answer that is none; the signal's reason
 */
export async function readStream(
  { http }: Access,
  path: string,
  signal: AbortSignal,
  begin: (
    headers: Readonly<Record<string, string>>,
    stop: AbortSignal,
  ) => Promise<(chunk: Uint8Array) => void> | ((chunk: Uint8Array) => void),
): Promise<"ended" | "unsupported"> {
  const cut = new AbortController();
  const limit = setTimeout(() => cut.abort(), ANSWER_TIMEOUT_MS);
  const stop = AbortSignal.any([signal, cut.signal]);
  try {
    const asked = { accept: "text/event-stream" };
    const { status, headers, body } = await http.request({
      method: "GET",
      path,
      headers: asked,
      signal: stop,
    });
    const isStream = /event-stream/.test(headers["content-type"] ?? "");
    if (status === 404 || (status === 200 && !isStream)) return "unsupported";
    if (status !== 200) throw answerFault(status, await readText(body, ERROR_BYTES), path);
    const push = await begin(headers, stop);
    clearTimeout(limit);
    for await (const chunk of body) push(chunk);
    return "ended";
  } finally {
    clearTimeout(limit);
    // An unread body would keep its connection open.
    cut.abort();
  }
}

/** Reads the bytes of one connection, cut anywhere. @returns what takes them, and throws for a frame without an end */
export function frameReader(onFrame: (data: string) => void): (chunk: Uint8Array) => void {
  const utf8 = new TextDecoder();
  const parser = createParser({
    maxBufferSize: MAX_FRAME_CHARACTERS,
    onEvent: ({ data }) => onFrame(data),
    onError: (error) => {
      if (error.type === "max-buffer-size-exceeded") throw error;
    },
  });
  return (chunk) => parser.feed(utf8.decode(chunk, { stream: true }));
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
