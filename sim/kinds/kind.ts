import type { Clock } from "../clock.ts";
import type { Exchange } from "../http.ts";
import { replyText } from "../http.ts";
import { isMap } from "../macros.ts";

/** The surroundings of a stand-in of any kind. */
export interface Surroundings {
  clock: Clock;
  /** A process was started for this model, or loaded its model again. */
  started(id: string): void;
}

/** @param query of the request's path */
export type Handler = (exchange: Exchange, query: URLSearchParams) => void | Promise<void>;

/** One kind of server: its answer to each request. */
export interface Kind {
  /** By method and path without query: `GET /v1/models`. */
  readonly routes: Readonly<Record<string, Handler>>;
  /** Answers everything else. */
  readonly unknown: (exchange: Exchange) => void | Promise<void>;
  /** Answers a request without the right key, and which paths need none. */
  readonly unauthorized: (exchange: Exchange) => void;
  readonly open: readonly string[];
  /** Lets the model sleep, where the kind has that. */
  sleep?(id: string): void;
  close(): Promise<void>;
}

/** The JSON object that a request sends; empty if it sends something else. */
export function bodyOf(exchange: Exchange): Record<string, unknown> {
  try {
    const body: unknown = JSON.parse(exchange.body);
    return isMap(body) ? body : {};
  } catch {
    return {};
  }
}

/** A string of the request's body; otherwise empty. */
export function textIn(exchange: Exchange, key: string): string {
  const value = bodyOf(exchange)[key];
  return typeof value === "string" ? value : "";
}

/** The answer of Go's `net/http` and gin for an unknown route. */
export function notFoundAsText(exchange: Exchange): void {
  replyText(exchange, 404, "404 page not found");
}
