/** One request of a turn: sends the body, watches for silence, and decodes the answer. */
import type {
  Api,
  AssistantMessage,
  AssistantMessageEvent,
  Model,
  SimpleStreamOptions,
} from "@earendil-works/pi-ai";
import { codeOf, ServerError } from "../lib/errors.ts";
import type { JsonRecord } from "../lib/json.ts";
import { cleanText } from "../lib/text.ts";
import { brokenStream, streamFault } from "../server/http/answer-faults.ts";
import { fittingOutput, parseErrorBody } from "../server/http/error-body.ts";
import { type HttpResponse, readText } from "../server/http/http.ts";
import { transportFault } from "../server/http/transport-faults.ts";
import { isAboutLoading, type Refusal } from "../server/kinds/refusal.ts";
import type { ModelServer } from "../server/model-server.ts";
import { Decoder, type Progress } from "./decoder.ts";
import { type Silence, type SilentState, watchSilence } from "./silence.ts";

export interface AttemptParts {
  server: ModelServer;
  model: Model<Api>;
  /** The id under which `/running` lists the model; undefined where it runs elsewhere. */
  runsAs: string | undefined;
  message: AssistantMessage;
  options: SimpleStreamOptions;
  /** The server did not have the last request. */
  isResent: boolean;
  /** The turn's own signal. */
  signal: AbortSignal;
  now(): number;
  sleep(milliseconds: number, signal: AbortSignal): Promise<void>;
  /** Called when the answer begins, before its first event. */
  onBegin(): void;
  emit(event: AssistantMessageEvent): void;
  onProgress(progress: Progress): void;
  onSilence(state: SilentState, elapsedMs: number): void;
  /** The answer has begun, and nothing comes of it. */
  onQuiet(state: SilentState, silentMs: number): void;
}

/** Bytes of an error's body, and of an answer that comes whole, that are read. */
const MAX_ERROR_BYTES = 64 * 1024;
const MAX_WHOLE_BYTES = 16 * 1024 * 1024;

/**
 * How long a stream may go on, in milliseconds: after its last event, so that its connection can be used again, and
 * after the `finish_reason`, until the usage comes. Some servers leave it open for ever, with heartbeats.
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

/** pi before 1.0 does not have the hook for parsed events. */
interface StreamHooks extends Pick<SimpleStreamOptions, "onResponse"> {
  onProviderStreamEvent?: (event: unknown, model: Model<Api>) => void | Promise<void>;
}

function headersOf(options: SimpleStreamOptions): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) {
    const key = name.toLowerCase();
    if (value !== null && !OWN_HEADERS.has(key)) headers[key] = value;
  }
  const session = options.sessionId;
  if (session !== undefined && /^[\x21-\x7e]+$/.test(session)) headers["x-session-id"] ??= session;
  return headers;
}

/** One request and its answer. Used once. */
export class Attempt {
  readonly #parts: AttemptParts;
  readonly #cut = new AbortController();
  #decoder: Decoder | undefined;
  #isLost = false;

  constructor(parts: AttemptParts) {
    this.#parts = parts;
  }

  /** Whether any content, thinking or tool call came. */
  get hasContent(): boolean {
    return this.#decoder?.hasContent ?? false;
  }

  /** Whether it ended because the server does not have the request any more. */
  get isLost(): boolean {
    return this.#isLost;
  }

  /** Pieces of content that came: about one token each. */
  get deltas(): number {
    return this.#decoder?.deltas ?? 0;
  }

  /** llama-server's own measurements, once they came. */
  get timings(): JsonRecord | undefined {
    return this.#decoder?.timings;
  }

  /** Closes the blocks of an answer that failed. */
  abandon(): void {
    this.#decoder?.abandon();
  }

  /**
   * Sends the body and fills the message.
   *
   * @returns nothing when the message is whole; what the server said instead of an answer
   * @throws {ServerError} for a fault of the way or of the stream; what a hook throws; the turn's abort
   */
  async run(body: unknown): Promise<Refusal | undefined> {
    const { server, signal, options } = this.#parts;
    const headers = headersOf(options);
    const sent = JSON.stringify(body);
    const silence = this.#watch(headers["x-session-id"], Buffer.byteLength(sent));
    try {
      const either = AbortSignal.any([signal, this.#cut.signal]);
      const response = await server.chat(sent, headers, either);
      silence.heard();
      if (!isAnswer(response.status)) {
        const text = await readText(response.body, MAX_ERROR_BYTES);
        return { status: response.status, text, retryAfter: response.headers["retry-after"] };
      }
      await this.#read(response, silence);
      return undefined;
    } catch (error) {
      return this.#refusalOrFault(error);
    } finally {
      silence.stop();
    }
  }

  #watch(session: string | undefined, bytes: number): Silence {
    const { server, runsAs, now, sleep, onSilence: onState, onQuiet } = this.#parts;
    const onTimeout = (error: ServerError, isLost: boolean): void => {
      this.#isLost = isLost;
      this.#cut.abort(error);
    };
    const request = { asked: this.#parts.model.id, session, bytes, isResent: this.#parts.isResent };
    return watchSilence(server, runsAs, { now, sleep, onState, onQuiet, onTimeout }, request);
  }

  #refusalOrFault(error: unknown): Refusal {
    this.#parts.signal.throwIfAborted();
    const { reason } = this.#cut.signal;
    if (reason instanceof ServerError && !this.#decoder?.isDone) throw reason;
    // A body that nobody reads any more would keep its connection, and the model at work.
    this.#cut.abort();
    const said = this.hasContent ? undefined : this.#decoder?.said;
    const isRefusal = said !== undefined && (isAboutLoading(said) || isAboutOutput(said));
    if (isRefusal) return { status: 500, text: said, retryAfter: undefined };
    // What has no code is no fault of the way: a hook threw it, and its own words tell more.
    if (error instanceof ServerError || codeOf(error) === "") throw error;
    // The answer had begun, and then its other end confirmed nothing any more.
    throw this.hasContent || (this.#decoder !== undefined && codeOf(error) === "ETIMEDOUT")
      ? brokenStream("the connection was lost", error)
      : transportFault(error, this.#parts.server.config);
  }

  async #read(response: HttpResponse, silence: Silence): Promise<void> {
    const { model, options, signal } = this.#parts;
    const { onResponse, onProviderStreamEvent: observe }: StreamHooks = options;
    await onResponse?.({ status: response.status, headers: response.headers }, model);
    this.#parts.onBegin();
    const decoder = new Decoder(this.#parts);
    this.#decoder = decoder;
    const { isStream, type, pieces } = await opened(response);
    if (!isStream) {
      decoder.pushWhole(await wholeAnswer(pieces, type));
      decoder.end();
      return;
    }
    const closing = new Closing(this.#parts.sleep, () => this.#cut.abort());
    let isDone = false;
    let isFinished = false;
    try {
      for await (const chunk of pieces) {
        silence.heard();
        const { deltas } = decoder;
        if (observe) await decoder.pushObserved(chunk, (event) => observe(event, model));
        else decoder.push(chunk);
        // The banner tells places in the queue, and not that a load begins: /running does.
        if (decoder.isAnswering) silence.answered();
        ({ isDone, isFinished } = decoder);
        if (decoder.isTooLong) break;
        // What still goes on has not ended, whatever finish_reason it named.
        if (decoder.deltas > deltas) closing.reset();
        if (decoder.isSettled) closing.within(CLOSING_MS);
        else if (isFinished) closing.within(USAGE_MS);
      }
    } catch (error) {
      // A whole answer counts, however its connection ended.
      const isFault = error instanceof ServerError && error !== this.#cut.signal.reason;
      const isWhole = isDone || (isFinished && !isFault);
      if (!isWhole || signal.aborted) throw error;
    } finally {
      closing.stop();
    }
    decoder.end();
  }
}

/** Whether an error says that a shorter answer would fit. */
function isAboutOutput(said: string): boolean {
  return fittingOutput(parseErrorBody(said), Number.POSITIVE_INFINITY) !== undefined;
}

/** Ends a stream that does not end by itself. */
class Closing {
  readonly #sleep: AttemptParts["sleep"];
  readonly #end: () => void;
  #limitMs = Number.POSITIVE_INFINITY;
  #waiting = new AbortController();

  constructor(sleep: AttemptParts["sleep"], end: () => void) {
    this.#sleep = sleep;
    this.#end = end;
  }

  /** Ends the stream in so many milliseconds, unless it is about to end sooner. */
  within(limitMs: number): void {
    if (limitMs >= this.#limitMs) return;
    this.stop();
    this.#limitMs = limitMs;
    this.#waiting = new AbortController();
    this.#sleep(limitMs, this.#waiting.signal).then(this.#end, () => {});
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

/** Whether a status is that of an answer: proxies have others of this kind than 200. */
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
      `The server answered a chat with ${type} instead of a stream. Check that AI_SERVER_URL leads to the model server.`,
      { link: "server", remedy: "none", cause },
    );
  }
}
