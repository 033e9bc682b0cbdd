import { once } from "node:events";
import { type Exchange, reply } from "../http.ts";
import { readContent } from "./content.ts";
import type { StoredFile } from "./repository.ts";

/** What goes wrong with the transfers of one file. */
export interface Breakage {
  /** The connection is cut once so many bytes of the answer are sent. */
  cutAfter?: number;
  /** The right number of bytes, the first of each transfer wrong. */
  isWrong?: boolean;
  /** The answer stops here until the breakage is over. */
  holdAfter?: number;
  /** How many transfers this happens to. Default: all. */
  times?: number;
}

/** A breakage in force. */
export interface Broken {
  /** Resolves when a transfer has been cut or held, or a wrong one sent. */
  readonly happened: Promise<void>;
  /** Ends it: what was held goes on. */
  end(): void;
}

interface Entry {
  path: string;
  breakage: Breakage;
  left: number;
  happen(): void;
  over: AbortSignal;
}

const PIECE = 16_384;

/** Sends files, whole or from a byte on, at the pace and with the breakages that are set. */
export class Transfers {
  /** Bytes in a second that each transfer gets; default: as fast as it goes. */
  bytesPerSecond = Number.POSITIVE_INFINITY;
  /** Whether `Range` is obeyed. */
  obeysRanges = true;
  readonly #entries: Entry[] = [];

  break(path: string, breakage: Breakage): Broken {
    const over = new AbortController();
    let happen = () => {};
    const happened = new Promise<void>((resolve) => {
      happen = resolve;
    });
    const left = breakage.times ?? Number.POSITIVE_INFINITY;
    const entry: Entry = { path, breakage, left, happen, over: over.signal };
    this.#entries.push(entry);
    const end = () => {
      over.abort();
      const index = this.#entries.indexOf(entry);
      if (index !== -1) this.#entries.splice(index, 1);
    };
    return { happened, end };
  }

  /** Answers HEAD and GET for a file; `extra` headers come with it. */
  async send(exchange: Exchange, file: StoredFile, extra: Record<string, string>): Promise<void> {
    const headers = {
      "Content-Type": "application/octet-stream",
      "Accept-Ranges": this.obeysRanges ? "bytes" : "none",
      ETag: `"${file.sha256 ?? file.oid}"`,
      ...extra,
    };
    const range = this.obeysRanges ? rangeOf(exchange.headers.range) : undefined;
    if (range && range.start >= file.size) {
      const whole = `bytes */${file.size}`;
      return reply(
        exchange,
        416,
        { ...headers, "Content-Range": whole },
        exchange.method === "HEAD" ? undefined : "",
      );
    }
    const start = range?.start ?? 0;
    const end = Math.min(range?.end ?? file.size - 1, file.size - 1);
    const { response } = exchange;
    response.writeHead(range ? 206 : 200, {
      ...headers,
      "Content-Length": String(end + 1 - start),
      ...(range ? { "Content-Range": `bytes ${start}-${end}/${file.size}` } : {}),
    });
    if (exchange.method === "HEAD") {
      response.end();
      return;
    }
    response.flushHeaders();
    await this.#pour(exchange, file, start, end + 1 - start);
  }

  async #pour({ response, gone }: Exchange, file: StoredFile, start: number, length: number): Promise<void> {
    const entry = this.#take(file.path);
    const stop = entry?.breakage.cutAfter ?? entry?.breakage.holdAfter ?? Number.POSITIVE_INFINITY;
    const begun = performance.now();
    let sent = 0;
    for await (const chunk of piecesOf(readContent(file.content, start), length)) {
      const piece = Buffer.from(chunk);
      if (entry?.breakage.isWrong && sent === 0) piece[0] = (piece[0] ?? 0) ^ 0xff;
      const room = Math.max(0, stop - sent);
      if (room <= piece.length) {
        await write(response, piece.subarray(0, room), gone, entry?.breakage.cutAfter !== undefined);
        entry?.happen();
        if (entry?.breakage.cutAfter !== undefined) {
          response.destroy();
          return;
        }
        if (entry) await aborted(AbortSignal.any([entry.over, gone]));
        await write(response, piece.subarray(room), gone);
      } else await write(response, piece, gone);
      if (gone.aborted) return;
      sent += piece.length;
      await this.#keepPace(begun, sent, gone);
    }
    if (entry?.breakage.isWrong) entry.happen();
    response.end();
  }

  async #keepPace(begun: number, sent: number, gone: AbortSignal): Promise<void> {
    const ahead = (sent / this.bytesPerSecond) * 1000 - (performance.now() - begun);
    if (ahead > 1) await aborted(AbortSignal.any([AbortSignal.timeout(Math.ceil(ahead)), gone]));
  }

  #take(path: string): Entry | undefined {
    const entry = this.#entries.find((each) => each.path === path && each.left > 0);
    if (entry) entry.left--;
    return entry;
  }
}

async function* piecesOf(content: AsyncIterable<unknown>, length: number): AsyncGenerator<Buffer> {
  let left = length;
  for await (const chunk of content) {
    const whole = (chunk as Buffer).subarray(0, left);
    for (let at = 0; at < whole.length; at += PIECE) yield whole.subarray(at, at + PIECE);
    left -= whole.length;
    if (left === 0) return;
  }
}

/** @param isLast waits until the bytes have left this process: a connection that is destroyed drops the others */
async function write(
  response: Exchange["response"],
  piece: Buffer,
  gone: AbortSignal,
  isLast = false,
): Promise<void> {
  if (gone.aborted) return;
  if (isLast) return new Promise((resolve) => response.write(piece, () => resolve()));
  if (!response.write(piece)) await once(response, "drain", { signal: gone }).catch(() => {});
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

/** One range, as every client here asks for: `bytes=100-` or `bytes=100-199`. */
function rangeOf(header: string | undefined): { start: number; end: number | undefined } | undefined {
  const match = /^bytes=(\d+)-(\d*)$/.exec(header ?? "");
  if (!match) return undefined;
  return { start: Number(match[1]), end: match[2] ? Number(match[2]) : undefined };
}
