/**
 * One request and its answer, straight from undici's parser. undici's own `request()` puts a Node stream and an iterator
 * between parser and reader, and reads each small piece as soon as it comes, however many come in a millisecond.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { Dispatcher } from "undici";

/** Bytes that wait for the reader before reading stops. */
const MOST_WAITING = 64 * 1024;

/**
 * To wake up for one piece costs three times what decoding it does, and a terminal draws only every 16 ms. So a stream
 * that has brought some pieces in a row, each within `QUICK_MS` of the last, is read every `HOLD_MS`; meanwhile what
 * comes waits in the connection. This holds up neither the first words, nor the end of a slow stream.
 */
const QUICK_MS = 2;
const QUICK_IN_A_ROW = 8;
const HOLD_MS = 8;

/** A read that brings more than this is worth its waking up. */
const FEW_BYTES = 1024;

/** Where so many bytes were waiting, the reader is the slower one. */
const MANY_BYTES = 16 * 1024;

/** The bytes of one answer, read once. A reader that leaves early ends the request. */
export interface Body extends AsyncIterable<Uint8Array> {
  /** Drops what is unread, and ends the request if it is under way. Idempotent. */
  destroy(): void;
}

interface Answer {
  statusCode: number;
  headers: IncomingHttpHeaders;
  body: Body;
}

interface ExchangeOptions {
  /** Ends the request at any time, also before the connection is made. */
  signal: AbortSignal | undefined;
  /** Whether pieces may come up to 8 ms late, all that came meanwhile at once. */
  isPaced: boolean;
}

/**
 * Sends a request.
 *
 * @returns as soon as the headers are there
 * @throws undici's error, or the signal's reason; reading the body throws them after what came before
 */
export function exchange(
  dispatcher: Pick<Dispatcher, "dispatch">,
  request: Dispatcher.DispatchOptions,
  options: ExchangeOptions,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const handler = new Exchange(resolve, reject, options);
    if (!options.signal?.aborted) dispatcher.dispatch(request, handler);
  });
}

type Piece = IteratorResult<Uint8Array, undefined>;

const END: Piece = { done: true, value: undefined };

class Exchange implements Dispatcher.DispatchHandler, Body, AsyncIterator<Uint8Array, undefined> {
  readonly #begin: (answer: Answer) => void;
  readonly #fail: (error: unknown) => void;
  readonly #signal: AbortSignal | undefined;
  readonly #pace: Pace | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  /** What came and is not read yet. */
  #pieces: Uint8Array[] = [];
  #size = 0;
  #end: { error?: unknown } | undefined;
  #reader: { resolve(piece: Piece): void; reject(error: unknown): void } | undefined;
  /** The reader gets what is there, once more has had the time to come. */
  #isGathering = false;
  #hold: NodeJS.Timeout | undefined;

  constructor(
    begin: (answer: Answer) => void,
    fail: (error: unknown) => void,
    { signal, isPaced }: ExchangeOptions,
  ) {
    this.#begin = begin;
    this.#fail = fail;
    this.#signal = signal;
    this.#pace = isPaced ? new Pace() : undefined;
    if (signal?.aborted) fail(signal.reason);
    else signal?.addEventListener("abort", this.#abort, { once: true });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#end) controller.abort(givenUp());
  }

  onResponseStart(_: unknown, statusCode: number, headers: IncomingHttpHeaders): void {
    if (statusCode >= 200) this.#begin({ statusCode, headers, body: this });
  }

  onResponseData(controller: Dispatcher.DispatchController, piece: Buffer): void {
    if (this.#end) return;
    this.#pieces.push(piece);
    this.#size += piece.length;
    if (this.#size >= MOST_WAITING) controller.pause();
    if (this.#reader && !this.#isGathering) this.#gather(controller);
  }

  onResponseEnd(): void {
    this.#ends({});
  }

  onResponseError(_: unknown, error: Error): void {
    this.#ends({ error });
    this.#fail(error);
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, undefined> {
    return this;
  }

  next(): Promise<Piece> {
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
      this.#handOut();
    });
  }

  return(): Promise<Piece> {
    this.destroy();
    return Promise.resolve(END);
  }

  destroy(): void {
    this.#stop({});
  }

  readonly #abort = (): void => {
    const error: unknown = this.#signal?.reason;
    this.#fail(error);
    this.#stop({ error });
  };

  #stop(end: { error?: unknown }): void {
    const isUnderWay = this.#end === undefined;
    clearTimeout(this.#hold);
    this.#pieces = [];
    this.#size = 0;
    this.#ends(end);
    if (isUnderWay) this.#controller?.abort(givenUp());
  }

  /** The first end counts: undici reports an abort as another one. */
  #ends(end: { error?: unknown }): void {
    this.#signal?.removeEventListener("abort", this.#abort);
    this.#end ??= end;
    this.#handOut();
  }

  /** A read of the connection may bring many pieces, one call for each. */
  #gather(controller: Dispatcher.DispatchController): void {
    this.#isGathering = true;
    const holdMs = this.#pace?.holdMs() ?? 0;
    if (holdMs === 0) queueMicrotask(this.#gathered);
    else this.#holdFor(holdMs, controller);
  }

  #holdFor(ms: number, controller: Dispatcher.DispatchController): void {
    controller.pause();
    this.#hold = setTimeout(() => {
      controller.resume();
      // The event loop reads the connection first.
      setImmediate(this.#gathered);
    }, ms);
  }

  readonly #gathered = (): void => {
    this.#isGathering = false;
    this.#handOut();
  };

  #handOut(): void {
    const reader = this.#reader;
    if (reader === undefined || (this.#size === 0 && this.#end === undefined)) return;
    this.#reader = undefined;
    if (this.#size > 0) {
      reader.resolve({ done: false, value: this.#take() });
      return;
    }
    const { error } = this.#end ?? {};
    this.#end = {};
    if (error === undefined) reader.resolve(END);
    else reader.reject(error);
  }

  #take(): Uint8Array {
    const [first] = this.#pieces;
    const bytes = this.#pieces.length === 1 && first ? first : Buffer.concat(this.#pieces, this.#size);
    this.#pieces = [];
    this.#size = 0;
    this.#pace?.handsOut(bytes.length);
    if (this.#controller?.paused) this.#controller.resume();
    return bytes;
  }
}

/** The pace of one stream: when it was last read, and how often in a row more came at once. */
class Pace {
  #at = Number.NEGATIVE_INFINITY;
  #bytes = 0;
  #quick = 0;
  #isHeld = false;

  handsOut(bytes: number): void {
    this.#at = performance.now();
    this.#bytes = bytes;
  }

  /** Milliseconds for which a piece is to wait that just came; 0 for none. */
  holdMs(): number {
    const sinceMs = performance.now() - this.#at;
    const isQuick = sinceMs < QUICK_MS && (this.#isHeld || this.#bytes < FEW_BYTES);
    this.#quick = isQuick ? this.#quick + 1 : 0;
    this.#isHeld = this.#quick > QUICK_IN_A_ROW && this.#bytes < MANY_BYTES;
    return this.#isHeld ? HOLD_MS - sinceMs : 0;
  }
}

/** The reason given to undici; no reader sees it. */
function givenUp(): Error {
  return new Error("The request was given up");
}
