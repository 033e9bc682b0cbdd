/** What a server runs: read, shared for a moment, and looked at again where several servers may answer. */
import { abortable } from "../lib/clock.ts";
import type { Limits } from "./http/access.ts";
import type { Backend } from "./kinds/backend.ts";
import type { RunningModel } from "./models/models.ts";
import type { SeveralServers } from "./several-servers.ts";

/** Least time between two requests for `/running`: each adds a line to llama-swap's log of 100 KiB. */
const SHARED_MS = 1000;

/** Undefined where the server does not report it. */
type Answer = RunningModel[] | undefined;

export interface WhatRunsParts {
  now(): number;
  several(): SeveralServers;
  /** Takes in each answer. */
  onRead(running: readonly RunningModel[]): void;
}

export class WhatRuns {
  readonly #parts: WhatRunsParts;
  #last: { at: number; answer: Promise<Answer> } | undefined;

  constructor(parts: WhatRunsParts) {
    this.#parts = parts;
  }

  /** The last answer, however old. */
  get last(): Promise<Answer> | undefined {
    return this.#last?.answer;
  }

  /** Keeps an answer for the callers within a second. @param at when it was asked for */
  keep(running: Answer, at: number): void {
    if (running !== undefined) this.#parts.onRead(running);
    this.#last = { at, answer: Promise.resolve(running) };
  }

  /** The next caller reads. */
  forget(): void {
    this.#last = undefined;
  }

  /** One request for all callers within a second. @throws {ServerError}; the signal's reason */
  shared(backend: Backend, timeoutMs: number, signal: AbortSignal | undefined): Promise<Answer> {
    const now = this.#parts.now();
    if (this.#last === undefined || now - this.#last.at >= SHARED_MS) {
      // One caller's signal must not end it for the others.
      const answer = this.read(backend, { timeoutMs });
      this.#last = { at: now, answer };
      answer.catch(() => undefined);
    }
    return abortable(this.#last.answer, signal);
  }

  /** @param isTwice whether to look twice, so that servers that take turns show. @throws {ServerError}; the signal's reason */
  async read(backend: Backend, limits: Limits, isTwice = false): Promise<Answer> {
    return this.check(backend, limits, await backend.running(limits), isTwice);
  }

  /** The same for an answer that was just read. */
  async check(backend: Backend, limits: Limits, first: Answer, isTwice = false): Promise<Answer> {
    if (first === undefined) return undefined;
    const again = (): Promise<Answer> => backend.running(limits);
    const running = await this.#parts.several().running(first, again, isTwice);
    this.#parts.onRead(running);
    return running;
  }
}
