/** A stream of events that is watched for how it comes, and not for what it says. */
import { createParser } from "eventsource-parser";
import type { Http } from "./http.ts";

/** Characters of one event; a history of logs stays below. */
const MAX_EVENT_CHARACTERS = 1024 * 1024;

/** The first event, as far as it has come: milliseconds since the request. */
export interface StreamStart {
  readonly status: number | undefined;
  readonly headersMs: number | undefined;
  readonly firstEventMs: number | undefined;
}

/** Begins with the request, and ends with `close`. Never throws. */
export class WatchedStream {
  readonly #began = performance.now();
  readonly #closed = new AbortController();
  readonly #start = Promise.withResolvers<void>();
  #status: number | undefined;
  #headersMs: number | undefined;
  #firstEventMs: number | undefined;
  #endedMs: number | undefined;
  #hasComment = false;

  constructor(http: Pick<Http, "request">, path: string, signal: AbortSignal) {
    void this.#read(http, path, AbortSignal.any([signal, this.#closed.signal]));
  }

  /** How it begins: when the first event is there, when it ends, or at the limit. */
  async start(limitMs: number): Promise<StreamStart> {
    const limit = setTimeout(this.#start.resolve, limitMs);
    await this.#start.promise;
    clearTimeout(limit);
    return { status: this.#status, headersMs: this.#headersMs, firstEventMs: this.#firstEventMs };
  }

  /** Milliseconds from the request until now, or until it ended. */
  get ageMs(): number {
    return this.#endedMs ?? performance.now() - this.#began;
  }

  /** Whether it ended although it had begun, and was not closed here. */
  get wasCut(): boolean {
    return this.#endedMs !== undefined && this.#firstEventMs !== undefined;
  }

  /** Whether a line came that is only a comment. */
  get hasComment(): boolean {
    return this.#hasComment;
  }

  close(): void {
    this.#closed.abort();
  }

  async #read(http: Pick<Http, "request">, path: string, signal: AbortSignal): Promise<void> {
    try {
      const headers = { accept: "text/event-stream" };
      const answer = await http.request({ method: "GET", path, headers, signal });
      this.#status = answer.status;
      this.#headersMs = this.ageMs;
      const utf8 = new TextDecoder();
      const parser = this.#parser();
      for await (const bytes of answer.body) parser.feed(utf8.decode(bytes, { stream: true }));
    } catch {
      // What ended it is not asked for: its age says enough.
    }
    if (!signal.aborted) this.#endedMs = this.ageMs;
    this.#start.resolve();
  }

  #parser(): ReturnType<typeof createParser> {
    return createParser({
      maxBufferSize: MAX_EVENT_CHARACTERS,
      onEvent: () => {
        this.#firstEventMs ??= this.ageMs;
        this.#start.resolve();
      },
      onComment: () => {
        this.#hasComment = true;
      },
    });
  }
}
