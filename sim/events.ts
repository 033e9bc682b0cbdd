import type { Socket } from "node:net";
import { ActivityLog } from "./activity.ts";
import { type Exchange, goJson } from "./http.ts";

const SECRET_HEADERS = ["authorization", "x-api-key", "cookie"];
const UPDATE_MS = 250;

/** llama-swap's `/api/events`: frames whose data is JSON inside a JSON string, without heartbeats or ids. */
export class EventHub {
  readonly activity = new ActivityLog();
  readonly #subscribers = new Set<(frame: string) => void>();
  readonly #inFlight = new Map<string, Tracked>();
  #lastRequest = 0;

  emit(type: string, payload: unknown): void {
    const frame = eventFrame(type, payload);
    for (const subscriber of this.#subscribers) subscriber(frame);
  }

  /** @returns a function that ends the subscription */
  subscribe(subscriber: (frame: string) => void): () => void {
    this.#subscribers.add(subscriber);
    return () => this.#subscribers.delete(subscriber);
  }

  /** The requests in flight, for a new subscriber; `requests` is omitted when there are none. */
  snapshot(): unknown {
    const requests = [...this.#inFlight.values()].map((tracked) => tracked.entry());
    return { operation: "snapshot", ...(requests.length > 0 ? { requests } : {}) };
  }

  /** Reports a model-dispatched request until its response is complete, then its activity record. */
  track(exchange: Exchange, path: string, model: string): void {
    const id = String(++this.#lastRequest);
    const tracked = new Tracked(id, exchange, path, model, (entry) => {
      this.emit("inflight", { operation: "upsert", request: entry });
    });
    this.#inFlight.set(id, tracked);
    exchange.response.once("close", () => {
      tracked.stop();
      this.#inFlight.delete(id);
      this.emit("activity", { id: this.activity.add(exchange, path, model) });
      this.emit("inflight", { operation: "remove", id });
    });
  }
}

/** One request as the `inflight` events show it. */
class Tracked {
  readonly #fixed: Record<string, unknown>;
  readonly #exchange: Exchange;
  readonly #begun = Date.now();
  readonly #timer: NodeJS.Timeout;
  readonly #send: (entry: Record<string, unknown>) => void;
  readonly #socket: Socket | null;
  readonly #writtenBefore: number;
  #told = "";

  constructor(
    id: string,
    exchange: Exchange,
    path: string,
    model: string,
    send: (entry: Record<string, unknown>) => void,
  ) {
    this.#exchange = exchange;
    this.#fixed = {
      id,
      timestamp: new Date().toISOString(),
      model,
      req_path: path,
      method: exchange.method,
      req_headers: goHeaders(exchange.headers),
      remote_ip: "127.0.0.1",
    };
    this.#send = send;
    this.#socket = exchange.response.socket;
    this.#writtenBefore = this.#socket?.bytesWritten ?? 0;
    this.#update();
    this.#timer = setInterval(() => this.#update(), UPDATE_MS);
  }

  entry(): Record<string, unknown> {
    const { response } = this.#exchange;
    return {
      ...this.#fixed,
      resp_headers: response.headersSent ? goHeaders(response.getHeaders()) : {},
      resp_bytes: response.headersSent ? this.#written() : 0,
      elapsed_ms: Date.now() - this.#begun,
    };
  }

  /** Ends the updates, after a last one with the remaining news. */
  stop(): void {
    clearInterval(this.#timer);
    this.#update();
  }

  #update(): void {
    const { headersSent } = this.#exchange.response;
    const progress = `${headersSent} ${this.#written()}`;
    if (this.#told === progress) return;
    this.#told = progress;
    this.#send(this.entry());
  }

  #written(): number {
    return (this.#socket?.bytesWritten ?? 0) - this.#writtenBefore;
  }
}

export function eventFrame(type: string, payload: unknown): string {
  return `event:message\ndata:${JSON.stringify({ type, data: goJson(payload) })}\n\n`;
}

/** Header names as Go spells them, with secrets redacted. */
function goHeaders(headers: Record<string, unknown>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name.replace(/(^|-)([a-z])/g, (match) => match.toUpperCase()),
      SECRET_HEADERS.includes(name) ? "[REDACTED]" : String(value),
    ]),
  );
}
