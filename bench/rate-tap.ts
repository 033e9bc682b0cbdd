/** What a server says of its own speed, read between it and its client. */
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createParser } from "eventsource-parser";

/** llama-server's `timings`, of the last event of an answer. */
export interface ServerTimings {
  promptPerSecond: number;
  perSecond: number;
}

/** Part of a prompt's uncached tokens that are read, from 0 to 1. */
export interface ServerProgress {
  /** In milliseconds, by `performance.now`. */
  at: number;
  share: number;
}

interface Chunk {
  prompt_progress?: { total: number; cache: number; processed: number };
  timings?: { prompt_per_second: number; predicted_per_second: number };
}

/** Hands everything on between a client and a server of this machine, and keeps what the server says of its speed. */
export class RateTap {
  readonly progress: ServerProgress[] = [];
  timings: ServerTimings | undefined;
  readonly #server: Server;

  private constructor(target: string) {
    this.#server = createServer((asked, answer) => {
      const { method, headers, url = "/" } = asked;
      const onward = request(new URL(url, target), { method, headers }, (came) => {
        answer.writeHead(came.statusCode ?? 502, came.headers);
        if (came.headers["content-type"]?.startsWith("text/event-stream") === true) {
          const parser = createParser({ onEvent: ({ data }) => this.#note(data) });
          came.on("data", (bytes: Buffer) => parser.feed(bytes.toString("utf8")));
        }
        came.pipe(answer);
      });
      onward.once("error", () => answer.destroy());
      answer.once("close", () => onward.destroy());
      asked.pipe(onward);
    });
  }

  /** @param target `http://127.0.0.1:<port>` */
  static async start(target: string): Promise<RateTap> {
    const tap = new RateTap(target);
    await new Promise<void>((listening) => tap.#server.listen(0, "127.0.0.1", listening));
    return tap;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((closed) => this.#server.close(closed));
  }

  #note(data: string): void {
    if (!data.startsWith("{")) return;
    const { prompt_progress: progress, timings } = JSON.parse(data) as Chunk;
    if (progress !== undefined) {
      const share = (progress.processed - progress.cache) / (progress.total - progress.cache);
      this.progress.push({ at: performance.now(), share });
    }
    if (timings !== undefined) {
      this.timings = { promptPerSecond: timings.prompt_per_second, perSecond: timings.predicted_per_second };
    }
  }
}
