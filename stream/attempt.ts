/** One request of a turn: sends the body, watches for silence and decodes the answer. */
import type { Api, Model, SimpleStreamOptions } from "@earendil-works/pi-ai";
import type { Clock } from "../lib/clock.ts";
import { codeOf, ServerError } from "../lib/errors.ts";
import { cleanText } from "../lib/text.ts";
import { brokenStream, streamFault } from "../server/http/answer-faults.ts";
import { fittingOutput, parseErrorBody } from "../server/http/error-body.ts";
import { ERROR_BYTES, type HttpResponse, readText } from "../server/http/http.ts";
import { SESSION_HEADER, sessionHeader } from "../server/http/session-header.ts";
import { transportFault } from "../server/http/transport-faults.ts";
import { isAboutLoading, type Refusal } from "../server/kinds/refusal.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { Decoder } from "./decoder.ts";
import { type SilenceWatch, watchSilence } from "./silence.ts";
import type { SilentState } from "./waiting.ts";

/** What one request needs. */
export interface AttemptParts {
  server: ModelServer;
  model: Model<Api>;
  /** The id under which `/running` lists the model; undefined where it runs elsewhere. */
  runsAs: string | undefined;
  options: SimpleStreamOptions;
  /** Whether the server did not have the request before this one. */
  isResent: boolean;
  /** The turn's own signal. */
  signal: AbortSignal;
  clock: Clock;
  /** Called when the answer begins, before its first event. */
  onBegin(): void;
  onSilence(state: SilentState, elapsedMs: number): void;
  /** The answer has begun, and pauses. */
  onQuiet(state: SilentState, silentMs: number): void;
}

const MAX_WHOLE_BYTES = 16 * 1024 * 1024;

/**
 * Milliseconds that a stream may stay open after its last event, so that its connection can be used again, and after
 * the `finish_reason`, until the usage comes. Some servers leave it open for ever, with heartbeats.
 */
const CLOSING_MS = 1000;
const USAGE_MS = 5000;

/** Headers that only the connection itself may set. */
const OWN_HEADERS = new Set([
  "authorization",
  "connection",
  "content-length",
  "content-type",
  "host",
  "transfer-encoding",
]);

function headersOf(options: SimpleStreamOptions): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) {
    const key = name.toLowerCase();
    if (value !== null && !OWN_HEADERS.has(key)) headers[key] = value;
  }
  return { ...sessionHeader(options.sessionId), ...headers };
}

/**
 * Sends the body and decodes the answer.
 *
 * @returns nothing when the message is whole; what the server said instead of an answer
 * @throws {ServerError} for a fault of the connection or of the stream, `RequestLost` among them; what a hook throws;
 *   the turn's abort
 */
export async function attempt(
  parts: AttemptParts,
  body: unknown,
  decoder: Decoder,
): Promise<Refusal | undefined> {
  const { server, model, options, signal } = parts;
  const headers = headersOf(options);
  const sent = JSON.stringify(body);
  const cut = new AbortController();
  const silence = watchSilence(
    server,
    parts.runsAs,
    { ...parts, onState: parts.onSilence, onTimeout: (error) => cut.abort(error) },
    {
      requestedId: model.id,
      session: headers[SESSION_HEADER],
      bytes: Buffer.byteLength(sent),
      isResent: parts.isResent,
    },
  );
  let hasBegun = false;
  try {
    const response = await server.chat(sent, headers, AbortSignal.any([signal, cut.signal]));
    silence.heard();
    if (!isAnswer(response.status)) {
      const text = await readText(response.body, ERROR_BYTES);
      return { status: response.status, text, retryAfter: response.headers["retry-after"] };
    }
    await options.onResponse?.({ status: response.status, headers: response.headers }, model);
    parts.onBegin();
    hasBegun = true;
    await readAnswer(response, decoder, silence, cut, parts);
    return undefined;
  } catch (error) {
    signal.throwIfAborted();
    if (cut.signal.reason instanceof ServerError && !decoder.isDone) throw cut.signal.reason;
    // An unread body would keep its connection, and the model at work.
    cut.abort();
    return refusalOf(decoder) ?? fault(error, decoder.hasContent, hasBegun, server);
  } finally {
    silence.stop();
  }
}

/** What the server wrote into the stream in place of content, where asking again or for less may help. */
function refusalOf({ hasContent, said }: Decoder): Refusal | undefined {
  if (hasContent || said === undefined || !(isAboutLoading(said) || isAboutOutput(said))) return undefined;
  return { status: 500, text: said, retryAfter: undefined };
}

function fault(error: unknown, hasContent: boolean, hasBegun: boolean, server: ModelServer): never {
  // An error without a code comes from a hook, and its own words say more.
  if (error instanceof ServerError || codeOf(error) === "") throw error;
  // With ETIMEDOUT the other end of an answer that had begun confirms nothing any more.
  throw hasContent || (hasBegun && codeOf(error) === "ETIMEDOUT")
    ? brokenStream("the connection was lost", error)
    : transportFault(error, server.config);
}

async function readAnswer(
  response: HttpResponse,
  decoder: Decoder,
  silence: SilenceWatch,
  cut: AbortController,
  { clock, model, options, signal }: AttemptParts,
): Promise<void> {
  const { onProviderStreamEvent: observe } = options;
  const { isStream, type, pieces } = await opened(response);
  if (!isStream) {
    decoder.pushWhole(await wholeAnswer(pieces, type));
    decoder.end();
    return;
  }
  const closing = new Closing(clock, () => cut.abort());
  // As of the last chunk without a fault.
  let isDone = false;
  let isFinished = false;
  try {
    for await (const chunk of pieces) {
      silence.heard();
      const { deltas } = decoder;
      if (observe) await decoder.pushObserved(chunk, (event) => observe(event, model));
      else decoder.push(chunk);
      // The banner shows places in the queue, and not that a load begins: /running does.
      if (decoder.isAnswering) silence.answered();
      ({ isDone, isFinished } = decoder);
      if (decoder.isTooLong) break;
      // A stream that goes on has not ended, whatever finish_reason it named.
      if (decoder.deltas > deltas) closing.reset();
      if (decoder.isSettled) closing.within(CLOSING_MS);
      else if (isFinished) closing.within(USAGE_MS);
    }
  } catch (error) {
    // A whole answer counts, however its connection ended.
    const isFault = error instanceof ServerError && error !== cut.signal.reason;
    const isWhole = isDone || (isFinished && !isFault);
    if (!isWhole || signal.aborted) throw error;
  } finally {
    closing.stop();
  }
  decoder.end();
}

/** Whether an error says that a shorter answer would fit. */
function isAboutOutput(said: string): boolean {
  return fittingOutput(parseErrorBody(said), Number.POSITIVE_INFINITY) !== undefined;
}

/** Ends a stream that does not end by itself. */
class Closing {
  readonly #clock: Clock;
  readonly #end: () => void;
  #limitMs = Number.POSITIVE_INFINITY;
  #waiting = new AbortController();

  constructor(clock: Clock, end: () => void) {
    this.#clock = clock;
    this.#end = end;
  }

  /** Ends the stream in so many milliseconds, unless it is about to end sooner. */
  within(limitMs: number): void {
    if (limitMs >= this.#limitMs) return;
    this.stop();
    this.#limitMs = limitMs;
    this.#waiting = new AbortController();
    this.#clock.sleep(limitMs, this.#waiting.signal).then(this.#end, () => {});
  }

  /** Lets the stream go on. */
  reset(): void {
    // For each piece of an answer: an abort makes an error object with its stack, even where nothing waits.
    if (this.#limitMs === Number.POSITIVE_INFINITY) return;
    this.stop();
    this.#limitMs = Number.POSITIVE_INFINITY;
  }

  stop(): void {
    this.#waiting.abort();
  }
}

/** Whether a status is that of an answer: proxies use others than 200. */
function isAnswer(status: number): boolean {
  return status >= 200 && status < 300 && status !== 204 && status !== 205;
}

const STREAM_BEGINS = /^[\s\uFEFF]*(?:data|event|id|retry)?:/;

/** Whether an answer is a stream: by its type, or by its first piece where a server or a proxy gives it another. */
async function opened(
  response: HttpResponse,
): Promise<{ isStream: boolean; type: string; pieces: AsyncIterable<Uint8Array> }> {
  const body: AsyncIterable<Uint8Array> = response.body;
  const type = response.headers["content-type"] ?? "";
  if (type === "" || /event-stream/i.test(type)) return { isStream: true, type, pieces: body };
  const rest = body[Symbol.asyncIterator]();
  const first = await rest.next();
  const isStream = !first.done && STREAM_BEGINS.test(Buffer.from(first.value).toString("latin1", 0, 64));
  return { isStream, type, pieces: rejoined(first, rest) };
}

async function* rejoined(
  first: IteratorResult<Uint8Array>,
  rest: AsyncIterator<Uint8Array>,
): AsyncIterable<Uint8Array> {
  try {
    for (let at = first; !at.done; at = await rest.next()) yield at.value;
  } finally {
    await rest.return?.();
  }
}

/** A server that does not stream, or an error with status 200. */
async function wholeAnswer(pieces: AsyncIterable<Uint8Array>, given: string): Promise<unknown> {
  const text = await readText(pieces, MAX_WHOLE_BYTES);
  try {
    return JSON.parse(text);
  } catch (cause) {
    const type = cleanText(given, 100);
    if (/json/i.test(type) && /^\s*(?:\{|$)/.test(text)) throw brokenStream("its JSON cannot be read", cause);
    if (/^text\/plain/i.test(type) && text.trim() !== "") throw streamFault(parseErrorBody(text));
    throw new ServerError(
      `The server answered a chat request with ${type} instead of a stream. Check that AI_SERVER_URL leads to the model server.`,
      { link: "server", remedy: "none", cause },
    );
  }
}
