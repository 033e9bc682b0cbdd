/** llama-swap's `/api/events`: the state of its models and requests as it changes. */

import type { ModelState } from "../../../activity/load-state.ts";
import { type Clock, REAL_CLOCK } from "../../../lib/clock.ts";
import { count, type JsonRecord, list, number, parsed, record, text } from "../../../lib/json.ts";
import { cleanText } from "../../../lib/text.ts";
import { blankerOf } from "../../../masking/own-secrets.ts";
import type { Access } from "../../http/access.ts";
import { idOf, nameOf } from "../../models/names.ts";
import {
  type EventHooks,
  type EventTargets,
  frameReader,
  keepReading,
  quiet,
  type RequestInFlight,
  readStream,
} from "../events.ts";

const MAX_MODELS = 5000;
const MAX_REQUESTS = 1000;
const MAX_LOG_CHARACTERS = 128 * 1024;

/** The start of every log frame, which is not parsed unless the log is read. */
const LOG_FRAME = '{"type":"logData"';

const STATES: ReadonlyMap<unknown, ModelState> = new Map([
  ["ready", "ready"],
  ["starting", "starting"],
  ["stopping", "stopping"],
  ["stopped", "unloaded"],
  ["shutdown", "unloaded"],
]);

/**
 * Follows the events until the signal is aborted or the server turns out to have none. Connects again after an end
 * or a failure. Never throws.
 */
export function followEvents(
  server: Access,
  hooks: EventHooks,
  signal: AbortSignal,
  clock: Clock = REAL_CLOCK,
): Promise<void> {
  const { onModels, onRequests, onLog, onActivity } = hooks;
  const blank = blankerOf(server.config);
  const targets = {
    onModels: quiet(onModels),
    onRequests: quiet(onRequests),
    onLog: quiet<Parameters<NonNullable<typeof onLog>>>(
      onLog && ((piece) => onLog({ ...piece, text: blank(piece.text) })),
    ),
    onActivity: quiet(onActivity),
  };
  return keepReading(() => readEvents(server, targets, signal, clock.now), hooks, signal, clock);
}

/**
 * Reads the events of one connection: first the state of everything, the requests in flight last, then what happens.
 *
 * @param now Unix time in milliseconds
 * @returns when the server has ended the stream, or has none
 * @throws {ServerError} for a fault of the way or an answer that is none; the signal's reason
 */
export function readEvents(
  server: Access,
  targets: EventTargets,
  signal: AbortSignal,
  now: () => number = REAL_CLOCK.now,
): Promise<"ended" | "unsupported"> {
  return readStream(server, "/api/events", signal, (headers) => {
    const date = Date.parse(headers.date ?? "");
    return new EventReader(targets, now, Number.isNaN(date) ? 0 : date - now()).push;
  });
}

interface Tracked extends Omit<RequestInFlight, "elapsedMs"> {
  /** When it began, by our clock. */
  begun: number | undefined;
  /** Of the body. */
  bytes: number | undefined;
}

/** The bytes of one connection as plain facts. Skips malformed frames; does no I/O. */
export class EventReader {
  readonly #targets: EventTargets;
  readonly #now: () => number;
  readonly #aheadMs: number;
  /** Undefined until the server has sent the whole list, which includes earlier changes. */
  #requests: Map<string, Tracked> | undefined;
  /** Takes the bytes, cut anywhere. @throws where a frame has no end */
  readonly push = frameReader((data) => this.#onFrame(data));

  /**
   * @param now Unix time in milliseconds
   * @param aheadMs by how much the server's clock is ahead of `now`
   */
  constructor(targets: EventTargets, now: () => number, aheadMs: number) {
    this.#targets = targets;
    this.#now = now;
    this.#aheadMs = aheadMs;
  }

  #onFrame(data: string): void {
    if (this.#targets.onLog === undefined && data.startsWith(LOG_FRAME)) return;
    const frame = record(parsed(data));
    // The payload is JSON in a string.
    const payload = (): unknown => parsed(text(frame?.data) ?? "");
    if (frame?.type === "modelStatus") this.#onModels(payload());
    else if (frame?.type === "inflight") this.#onInFlight(record(payload()));
    else if (frame?.type === "logData") this.#onLog(record(payload()));
    else if (frame?.type === "activity") this.#targets.onActivity?.();
  }

  #onModels(payload: unknown): void {
    if (!Array.isArray(payload)) return;
    const models = new Map<string, ModelState>();
    for (const entry of payload.slice(0, MAX_MODELS)) {
      const id = idOf(record(entry)?.id);
      if (id !== undefined) models.set(id, STATES.get(record(entry)?.state) ?? "unknown");
    }
    this.#targets.onModels?.(models);
  }

  #onLog(payload: JsonRecord | undefined): void {
    const source = payload?.source;
    if (source !== "proxy" && source !== "upstream") return;
    const piece = cleanText((text(payload?.data) ?? "").slice(-MAX_LOG_CHARACTERS), MAX_LOG_CHARACTERS);
    if (piece !== "") this.#targets.onLog?.({ source, text: piece });
  }

  /**
   * v235 sends the whole list, v240 a snapshot and then each change. v192 sends a number, which is wrong up to v217: it
   * drops as soon as a request begins.
   */
  #onInFlight(payload: JsonRecord | undefined): void {
    if (payload === undefined) return;
    if (payload.operation === "snapshot" || Array.isArray(payload.requests)) {
      this.#requests = new Map();
      for (const request of list(payload.requests)) this.#put(this.#requests, request);
    } else if (this.#requests === undefined) return;
    else if (payload.operation === "upsert") this.#put(this.#requests, payload.request);
    else if (payload.operation !== "remove" || !this.#requests.delete(text(payload.id) ?? "")) return;
    this.#report(this.#requests);
  }

  #put(requests: Map<string, Tracked>, request: unknown): void {
    const entry = record(request);
    const id = idOf(entry?.id);
    const model = idOf(entry?.model);
    if (entry === undefined || id === undefined || model === undefined) return;
    if (requests.size >= MAX_REQUESTS && !requests.has(id)) return;
    const path = nameOf(entry.req_path) ?? "";
    const headers = Object.entries(record(entry.req_headers) ?? {});
    const header = (name: string): string | undefined =>
      nameOf(headers.find(([key]) => key.toLowerCase() === name)?.[1]);
    const [agent, session] = [header("user-agent"), header("x-session-id")];
    const client = { agent, session, address: nameOf(entry.remote_ip) };
    // llama-swap copies the headers before its filters change the body.
    const bytes = count(header("content-length"));
    requests.set(id, { id, model, path, begun: this.#begunAt(entry), client, bytes });
  }

  #begunAt(entry: JsonRecord): number | undefined {
    const elapsed = number(entry.elapsed_ms);
    if (elapsed !== undefined) return this.#now() - elapsed;
    const begun = Date.parse(text(entry.timestamp) ?? "");
    return Number.isNaN(begun) ? undefined : begun - this.#aheadMs;
  }

  #report(requests: ReadonlyMap<string, Tracked>): void {
    const now = this.#now();
    const sizes = new Map(
      [...requests].flatMap(([id, { bytes }]) => (bytes === undefined ? [] : [[id, bytes] as const])),
    );
    const listed = [...requests.values()].map(({ begun, bytes: _, ...request }) => ({
      ...request,
      elapsedMs: begun === undefined ? undefined : Math.max(0, now - begun),
    }));
    this.#targets.onRequests?.(listed, sizes);
  }
}
