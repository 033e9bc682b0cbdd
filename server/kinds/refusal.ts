/** What an answer other than 200 means for a turn, before any content came. Pure. */

import { ServerError } from "../../lib/errors.ts";
import { answerFault, overflowFault } from "../http/answer-faults.ts";
import { isOverflow, parseErrorBody } from "../http/error-body.ts";
import type { ModelState } from "../models/models.ts";

export interface Refusal {
  status: number;
  /** The body as far as it was read. */
  text: string;
  /** Value of the `Retry-After` header. */
  retryAfter: string | undefined;
}

/**
 * The model's state after the refusal: `gone` is not in `/running`; `unknown` where there is no such route;
 * `unreachable` where llama-swap does not answer either.
 */
export type StateNow = ModelState | "gone" | "unreachable";

export type Verdict =
  /** The server swaps or loads, or has a queue: repeating the request is waiting, not retrying. */
  | { kind: "wait"; why: "loading" | "unloaded" | "busy"; delayMs: number }
  /** The model's process ended under the request. */
  | { kind: "crashed" }
  /** The model could not be started, and the next attempt will fail too. */
  | { kind: "load failed"; reason: string }
  /** The server does not know an optional field of the body. */
  | { kind: "unknown field"; field: string }
  | { kind: "failed"; error: ServerError };

const POLL_MS = 1000;

/** llama-server's message while it loads, also to `/running`. */
const LOADING = /loading model/i;

/**
 * llama-swap's messages to requests that waited for a model which was unloaded or stopping, by a reload of the
 * configuration or its idle time.
 */
const UNLOADED =
  /model unloaded|process (?:was )?stopp|shutting down|due to shutdown|\bstate:? (?:stopping|shutdown)|\] (?:stopped|shutdown)$|: aborted$/i;

/** llama-swap's and llama.cpp's messages for a failed start; up to v217 "unable to start process: …". */
const LOAD_FAILED =
  /exited prematurely|failed to start command|health check timed out|unable to start process|failed to load|start\(\) failed/i;

/** llama-swap's messages up to v217, and those of its request handler. */
const NO_MODEL = /could not find (?:real modelID|suitable (?:inference )?handler)/i;

/** Ollama's messages when its queue is full. */
const BUSY = /server busy|maximum pending requests/i;

const UNKNOWN_FIELD =
  /unknown|unrecogni[sz]ed|unexpected|not permitted|extra (?:inputs|fields)|unsupported|not supported|invalid (?:field|parameter)/i;

/** Whether an error says that a start failed. */
export function isLoadFailure(text: string): boolean {
  const { message } = parseErrorBody(text);
  return LOAD_FAILED.test(message) && !UNLOADED.test(message);
}

/** Whether the model's own process says that it is loading, and so is alive. */
export function saysLoading({ status, text }: Pick<Refusal, "status" | "text">): boolean {
  return status === 503 && LOADING.test(parseErrorBody(text).message);
}

/**
 * Whether an error says that a start failed or was interrupted. With a loading banner the error is in the stream, since
 * the status 200 was sent before the load began.
 */
export function isAboutLoading(text: string): boolean {
  return isLoadFailure(text) || UNLOADED.test(parseErrorBody(text).message);
}

/** Milliseconds of a `Retry-After` header: seconds or an HTTP date; one second where it cannot be read. */
export function retryAfterMs(value: string | undefined, now: number): number {
  if (value === undefined) return POLL_MS;
  if (/^\d+(\.\d+)?$/.test(value.trim())) return Math.max(POLL_MS, Number(value) * 1000);
  const date = Date.parse(value);
  return Number.isNaN(date) ? POLL_MS : Math.max(POLL_MS, date - now);
}

/**
 * Decides what a refusal means.
 *
 * @param fields optional fields that the body has
 * @param now Unix time in milliseconds, for a `Retry-After` date
 */
export function judgeRefusal(
  refusal: Refusal,
  state: StateNow,
  fields: readonly string[],
  path: string,
  now: number,
): Verdict {
  const { status, text } = refusal;
  const body = parseErrorBody(text);
  if (isOverflow(body)) return { kind: "failed", error: overflowFault(body, { status }) };
  if (status === 400 || status === 422) {
    const field = fields.find((name) => body.message.includes(name) || text.includes(`"${name}"`));
    if (field !== undefined && (UNKNOWN_FIELD.test(text) || status === 422))
      return { kind: "unknown field", field };
  }
  if (status === 429) return { kind: "wait", why: "busy", delayMs: retryAfterMs(refusal.retryAfter, now) };
  if ((status === 404 && /model/i.test(body.message)) || (status < 500 && NO_MODEL.test(body.message)))
    return { kind: "failed", error: modelGone() };
  const isLoading = saysLoading(refusal);
  if (status < 500 || (state === "unreachable" && !isLoading))
    return { kind: "failed", error: answerFault(status, text, path) };

  const isChanging = state === "starting" || state === "stopping";
  if (UNLOADED.test(body.message)) return { kind: "wait", why: "unloaded", delayMs: POLL_MS };
  if (LOAD_FAILED.test(body.message)) {
    // Ready or starting again: another client has requested it since.
    return isChanging || state === "ready"
      ? { kind: "wait", why: "loading", delayMs: POLL_MS }
      : { kind: "load failed", reason: body.message };
  }
  if (status === 503) {
    const why = BUSY.test(body.message) ? "busy" : "loading";
    return { kind: "wait", why, delayMs: retryAfterMs(refusal.retryAfter, now) };
  }
  if (status === 502 && body.message === "" && state !== "unknown") {
    return isChanging ? { kind: "wait", why: "loading", delayMs: POLL_MS } : { kind: "crashed" };
  }
  return { kind: "failed", error: answerFault(status, text, path) };
}

function modelGone(): ServerError {
  return new ServerError(
    "The server does not have this model any more. Run /ai-server-refresh and choose another in /model.",
    { link: "model", remedy: "none", status: 404 },
  );
}
