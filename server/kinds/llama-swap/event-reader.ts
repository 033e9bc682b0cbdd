/** The bytes of llama-swap's `/api/events` as plain facts. Does no I/O. */
import { createParser, type EventSourceParser } from "eventsource-parser";
import { count, type JsonRecord, list, number, record, text } from "../../../lib/json.ts";
import { cleanText } from "../../../lib/text.ts";
import type { ModelState } from "../../models/models.ts";
import { idOf, nameOf } from "../../models/names.ts";

/** Characters of one frame: a history of 100 KiB, escaped twice, stays below. */
const MAX_FRAME_CHARACTERS = 1024 * 1024;

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
export interface LogPiece {
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

interface Tracked extends Omit<RequestInFlight, "elapsedMs"> {
  /** When it began, by our clock. */
  begun: number | undefined;
  /** Of the body. */
  bytes: number | undefined;
}

/** Reads the bytes of one connection, cut anywhere. Skips malformed frames. */
export class EventReader {
  readonly #targets: EventTargets;
  readonly #now: () => number;
  readonly #aheadMs: number;
  readonly #utf8 = new TextDecoder();
  readonly #parser: EventSourceParser;
  /** Undefined until the server has sent the whole list, which includes earlier changes. */
  #requests: Map<string, Tracked> | undefined;

  /**
   * @param now Unix time in milliseconds
   * @param aheadMs by how much the server's clock is ahead of `now`
   */
  constructor(targets: EventTargets, now: () => number, aheadMs: number) {
    this.#targets = targets;
    this.#now = now;
    this.#aheadMs = aheadMs;
    this.#parser = createParser({
      maxBufferSize: MAX_FRAME_CHARACTERS,
      onEvent: ({ data }) => this.#onFrame(data),
      onError: (error) => {
        if (error.type === "max-buffer-size-exceeded") throw error;
      },
    });
  }

  /** @throws where a frame has no end */
  push(chunk: Uint8Array): void {
    this.#parser.feed(this.#utf8.decode(chunk, { stream: true }));
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
    if (payload.operation === "upsert") this.#upsert(payload.request);
    else if (payload.operation === "remove") this.#remove(payload.id);
    else if (payload.operation === "snapshot" || Array.isArray(payload.requests)) {
      this.#requests = new Map();
      for (const request of list(payload.requests)) this.#put(this.#requests, request);
      this.#tellRequests(this.#requests);
    }
  }

  #upsert(request: unknown): void {
    if (this.#requests === undefined) return;
    this.#put(this.#requests, request);
    this.#tellRequests(this.#requests);
  }

  #remove(id: unknown): void {
    if (typeof id === "string" && this.#requests?.delete(id)) this.#tellRequests(this.#requests);
  }

  #put(requests: Map<string, Tracked>, request: unknown): void {
    const entry = record(request);
    const id = idOf(entry?.id);
    const model = idOf(entry?.model);
    if (entry === undefined || id === undefined || model === undefined) return;
    if (requests.size >= MAX_REQUESTS && !requests.has(id)) return;
    const path = nameOf(entry.req_path) ?? "";
    const [begun, bytes] = [this.#begunAt(entry), bytesOf(entry)];
    requests.set(id, { id, model, path, begun, client: clientOf(entry), bytes });
  }

  #begunAt(entry: JsonRecord): number | undefined {
    const elapsed = number(entry.elapsed_ms);
    if (elapsed !== undefined) return this.#now() - elapsed;
    const begun = Date.parse(text(entry.timestamp) ?? "");
    return Number.isNaN(begun) ? undefined : begun - this.#aheadMs;
  }

  #tellRequests(requests: ReadonlyMap<string, Tracked>): void {
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

function headerOf(entry: JsonRecord, name: string): string | undefined {
  const headers = Object.entries(record(entry.req_headers) ?? {});
  return nameOf(headers.find(([key]) => key.toLowerCase() === name)?.[1]);
}

/** llama-swap copies the headers before its filters change the body. */
function bytesOf(entry: JsonRecord): number | undefined {
  const digits = headerOf(entry, "content-length");
  return digits === undefined ? undefined : count(Number(digits));
}

function clientOf(entry: JsonRecord): Client {
  const header = (name: string): string | undefined => headerOf(entry, name);
  return {
    agent: header("user-agent"),
    session: header("x-session-id"),
    address: nameOf(entry.remote_ip),
  };
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
