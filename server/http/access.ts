/** How every kind of server is asked. */
import type { Config } from "../../config.ts";
import { ServerError } from "../../lib/errors.ts";
import { ERROR_BYTES, type Http, type HttpRequest, readText } from "./http.ts";

/** Milliseconds for an answer that a server gives without asking a model. */
export const ANSWER_TIMEOUT_MS = 10_000;
/** The same for what is only shown beside the rest. */
export const DETAIL_TIMEOUT_MS = 5000;

/** The way to the server, whatever it is. */
export interface Access {
  readonly config: Config;
  readonly http: Http;
  /** What shows that several servers answer, and the session to which requests belong. */
  readonly several: { readonly session: string | undefined; readonly isKnown: boolean };
}

export interface Limits {
  signal?: AbortSignal | undefined;
  /** Milliseconds for the whole answer; of several in a row, what is left for the next. */
  readonly timeoutMs: number;
}

/** Whether a server has no such route, or has something else there (200: no JSON). */
export function isNoSuchRoute(error: unknown): boolean {
  return error instanceof ServerError && [200, 400, 404, 405, 410, 422, 501].includes(error.status ?? 0);
}

/**
 * A JSON answer, where there is one.
 *
 * @throws {ServerError} where the server cannot be reached or refuses this client
 */
export async function optionalJson(http: Http, path: string, limits: Limits): Promise<unknown> {
  try {
    return await http.json(path, limits);
  } catch (error) {
    if (isNoSuchRoute(error)) return undefined;
    throw error;
  }
}

/**
 * Sends a request that changes something. Never repeated.
 *
 * @param request as JSON; undefined for none
 * @returns the answer's status and at most `ERROR_BYTES` of its text
 * @throws {ServerError} for a fault of the way; the signal's reason
 */
export function post(
  http: Http,
  path: string,
  request: object | undefined,
  signal: AbortSignal,
): Promise<ShortAnswer> {
  const sent = request === undefined ? {} : { body: JSON.stringify(request) };
  return change(http, { method: "POST", path, ...sent, signal });
}

/** The same for what is to be deleted. @throws {ServerError} for a fault of the way; the signal's reason */
export function remove(http: Http, path: string, signal: AbortSignal): Promise<ShortAnswer> {
  return change(http, { method: "DELETE", path, signal });
}

interface ShortAnswer {
  status: number;
  text: string;
}

async function change(http: Http, request: HttpRequest & { signal: AbortSignal }): Promise<ShortAnswer> {
  const { signal } = request;
  signal.throwIfAborted();
  const { status, body } = await http.request(request);
  const text = await readText(body, ERROR_BYTES).catch((error: unknown) => {
    signal.throwIfAborted();
    throw error;
  });
  return { status, text };
}
