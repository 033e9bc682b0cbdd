import type { Dispatcher } from "undici";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { exchange } from "../../../server/http/exchange.ts";

const REQUEST = { path: "/x", method: "GET" } as const;

/** undici's side of one request: what a parser does with its handler. */
class Wire {
  handler: Required<Dispatcher.DispatchHandler> | undefined;
  aborted: Error | undefined;
  paused = false;
  /** What comes as soon as reading goes on. */
  onResume: () => void = () => {};

  readonly dispatcher: Pick<Dispatcher, "dispatch"> = {
    dispatch: (_, handler) => {
      this.handler = handler as Required<Dispatcher.DispatchHandler>;
      return true;
    },
  };

  readonly controller: Dispatcher.DispatchController = (() => {
    const wire = this;
    return {
      get aborted() {
        return wire.aborted !== undefined;
      },
      get paused() {
        return wire.paused;
      },
      reason: null,
      abort(reason: Error) {
        wire.aborted = reason;
        wire.handler?.onResponseError(wire.controller, reason);
      },
      pause() {
        wire.paused = true;
      },
      resume() {
        wire.paused = false;
        wire.onResume();
      },
    };
  })();

  connects(): void {
    this.handler?.onRequestStart(this.controller, {});
  }

  answers(status = 200): void {
    this.handler?.onResponseStart(this.controller, status, { "content-type": "text/plain" });
  }

  brings(text: string): void {
    this.handler?.onResponseData(this.controller, Buffer.from(text));
  }

  ends(): void {
    this.handler?.onResponseEnd(this.controller, {});
  }

  fails(error: Error): void {
    this.handler?.onResponseError(this.controller, error);
  }
}

async function begun(options: { signal?: AbortSignal; isPaced?: boolean } = {}) {
  const wire = new Wire();
  const answer = exchange(wire.dispatcher, REQUEST, {
    signal: options.signal,
    isPaced: options.isPaced ?? false,
  });
  wire.connects();
  wire.answers();
  const { body } = await answer;
  const reader = body[Symbol.asyncIterator]();
  /** The next bytes as text; undefined at the end. */
  const next = async (): Promise<string | undefined> => {
    const { done, value } = await reader.next();
    return done ? undefined : Buffer.from(value as Uint8Array).toString();
  };
  return { wire, body, next };
}

describe("an answer", () => {
  test("has its status and headers; what the server says before is none", async () => {
    const wire = new Wire();
    const answer = exchange(wire.dispatcher, REQUEST, { signal: undefined, isPaced: false });
    wire.connects();
    wire.answers(103);
    wire.answers(404);
    expect(await answer).toMatchObject({ statusCode: 404, headers: { "content-type": "text/plain" } });
  });

  test("is read in the order in which it came, to its end", async () => {
    const { wire, next } = await begun();
    wire.brings("a");
    const first = next();
    expect(await first).toBe("a");
    const second = next();
    wire.brings("b");
    expect(await second).toBe("b");
    const end = next();
    wire.ends();
    expect([await end, await next()]).toEqual([undefined, undefined]);
  });

  test("gives at once all that one read of the connection brought", async () => {
    const { wire, next } = await begun();
    const first = next();
    wire.brings("a");
    wire.brings("b");
    wire.ends();
    expect([await first, await next()]).toEqual(["ab", undefined]);
  });

  test("that breaks off is read as far as it came, and then fails", async () => {
    const { wire, next } = await begun();
    const error = new Error("reset");
    wire.brings("a");
    wire.fails(error);
    expect(await next()).toBe("a");
    await expect(next()).rejects.toBe(error);
    expect(await next()).toBeUndefined();
  });

  test("that never came fails with undici's error", async () => {
    const wire = new Wire();
    const answer = exchange(wire.dispatcher, REQUEST, { signal: undefined, isPaced: false });
    const error = new Error("refused");
    wire.fails(error);
    await expect(answer).rejects.toBe(error);
  });

  test("whose reader is slow stays in the connection beyond 64 kB", async () => {
    const { wire, next } = await begun();
    wire.brings("x".repeat(65_535));
    expect(wire.paused).toBe(false);
    wire.brings("y");
    expect(wire.paused).toBe(true);
    wire.onResume = () => {
      wire.onResume = () => {};
      wire.brings("z");
    };
    expect((await next())?.length).toBe(65_536);
    expect(wire.paused).toBe(false);
    expect(await next()).toBe("z");
  });
});

describe("a reader that leaves", () => {
  test("early ends the request", async () => {
    const { wire, body } = await begun();
    wire.brings("a");
    for await (const _ of body) break;
    expect(wire.aborted).toBeDefined();
  });

  test("after the end leaves the connection open", async () => {
    const { wire, body, next } = await begun();
    wire.brings("a");
    wire.ends();
    body.destroy();
    expect([wire.aborted, await next()]).toEqual([undefined, undefined]);
  });

  test("leaves nothing for another one", async () => {
    const { wire, body, next } = await begun();
    wire.brings("a");
    body.destroy();
    body.destroy();
    wire.brings("b");
    expect(await next()).toBe(undefined);
  });
});

describe("the signal", () => {
  const reason = new Error("enough");

  test("ends the wait for a connection, which then carries no request", async () => {
    const wire = new Wire();
    const abort = new AbortController();
    const answer = exchange(wire.dispatcher, REQUEST, { signal: abort.signal, isPaced: false });
    abort.abort(reason);
    await expect(answer).rejects.toBe(reason);
    expect(wire.aborted).toBeUndefined();
    wire.connects();
    expect(wire.aborted).toBeDefined();
  });

  test("ends the wait for the headers", async () => {
    const wire = new Wire();
    const abort = new AbortController();
    const answer = exchange(wire.dispatcher, REQUEST, { signal: abort.signal, isPaced: false });
    wire.connects();
    abort.abort(reason);
    await expect(answer).rejects.toBe(reason);
    expect(wire.aborted).toBeDefined();
  });

  test("that is aborted already sends nothing", async () => {
    const wire = new Wire();
    const answer = exchange(wire.dispatcher, REQUEST, { signal: AbortSignal.abort(reason), isPaced: false });
    await expect(answer).rejects.toBe(reason);
    expect(wire.handler).toBeUndefined();
  });

  test("ends a read that waits, and drops what was not read", async () => {
    for (const isWaiting of [true, false]) {
      const abort = new AbortController();
      const { wire, next } = await begun({ signal: abort.signal });
      const first = isWaiting ? next() : undefined;
      if (!isWaiting) wire.brings("a");
      abort.abort(reason);
      await expect(first ?? next()).rejects.toBe(reason);
      expect(wire.aborted).toBeDefined();
    }
  });

  test("does nothing to an answer that is whole", async () => {
    const abort = new AbortController();
    const { wire, next } = await begun({ signal: abort.signal });
    wire.brings("a");
    wire.ends();
    abort.abort(reason);
    expect([await next(), await next(), wire.aborted]).toEqual(["a", undefined, undefined]);
  });
});

describe("a stream for a terminal", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  type Begun = Awaited<ReturnType<typeof begun>>;

  /** Brings pieces, each some milliseconds after the last one was read. @returns how many were not held up */
  async function pieces({ wire, next }: Begun, count: number, everyMs: number, bytes = 300): Promise<number> {
    for (let at = 0; at < count; at++) {
      const piece = next();
      vi.advanceTimersByTime(everyMs);
      wire.brings("x".repeat(bytes));
      if (wire.paused) return at;
      expect((await piece)?.length).toBe(bytes);
    }
    return count;
  }

  test.each([
    [2, 100],
    [20, 100],
    [0, 9],
    [1, 9],
  ])("whose pieces come every %i ms: %i of a hundred are not held up", async (everyMs, count) => {
    expect(await pieces(await begun({ isPaced: true }), 100, everyMs)).toBe(count);
  });

  test("is not held up where each of its pieces is worth the reading", async () => {
    expect(await pieces(await begun({ isPaced: true }), 100, 0, 1023)).toBe(9);
    expect(await pieces(await begun({ isPaced: true }), 100, 0, 1024)).toBe(100);
  });

  test("is held up where it is not for a terminal: never", async () => {
    expect(await pieces(await begun({ isPaced: false }), 100, 0)).toBe(100);
  });

  test("that is quick is not read for 8 ms, and then all of it at once", async () => {
    const stream = await begun({ isPaced: true });
    const { wire, next } = stream;
    await pieces(stream, 9, 0);
    let read: string | undefined;
    const reading = next().then((text) => {
      read = text;
    });
    wire.brings("a");
    expect(wire.paused).toBe(true);
    await vi.advanceTimersByTimeAsync(7);
    expect([wire.paused, read]).toEqual([true, undefined]);
    // What the parser still had comes as it goes on, and what lies in the connection right after that.
    wire.onResume = () => {
      wire.brings("b");
      setImmediate(() => wire.brings("c"));
    };
    await vi.advanceTimersByTimeAsync(1);
    await reading;
    expect([wire.paused, read]).toEqual([false, "abc"]);
  });

  test("is not held up again before it was quick again", async () => {
    const stream = await begun({ isPaced: true });
    expect(await pieces(stream, 100, 0)).toBe(9);
    await vi.advanceTimersByTimeAsync(8);
    expect(await pieces(stream, 1, 3)).toBe(1);
    expect(await pieces(stream, 100, 0)).toBe(8);
  });

  test("is read at once where its reader is the slower one", async () => {
    const stream = await begun({ isPaced: true });
    const { wire, next } = stream;
    await pieces(stream, 9, 0);
    const much = next();
    wire.brings("x".repeat(16 * 1024));
    await vi.advanceTimersByTimeAsync(8);
    expect((await much)?.length).toBe(16 * 1024);
    const more = next();
    wire.brings("y");
    expect([wire.paused, await more]).toEqual([false, "y"]);
    wire.brings("z");
    const last = next();
    wire.brings("z");
    expect(wire.paused).toBe(false);
    await last;
  });

  test("that ends or fails while it is held up loses nothing", async () => {
    for (const error of [undefined, new Error("reset")]) {
      const stream = await begun({ isPaced: true });
      const { wire, next } = stream;
      await pieces(stream, 9, 0);
      const last = next();
      wire.brings("a");
      if (error) wire.fails(error);
      else wire.ends();
      await vi.advanceTimersByTimeAsync(8);
      expect(await last).toBe("a");
      if (error) await expect(next()).rejects.toBe(error);
      else expect(await next()).toBeUndefined();
    }
  });

  test("that is aborted while it is held up ends at once", async () => {
    const abort = new AbortController();
    const stream = await begun({ isPaced: true, signal: abort.signal });
    const { wire, next } = stream;
    await pieces(stream, 9, 0);
    const last = next();
    wire.brings("a");
    abort.abort(new Error("enough"));
    await expect(last).rejects.toThrow("enough");
    expect([vi.getTimerCount(), wire.aborted === undefined]).toEqual([0, false]);
  });
});
