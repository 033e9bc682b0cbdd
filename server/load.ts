/** Loading a model: the request that causes it, and what the server does meanwhile. */
import { routeFor } from "../config.ts";
import { type Clock, REAL_CLOCK, within } from "./clock.ts";
import { ServerError } from "./errors.ts";
import { type EventHooks, followEvents } from "./events.ts";
import { answerFault } from "./faults.ts";
import { readText } from "./http.ts";
import { ambiguousModel, loadTimedOut, processFault, unknownModel } from "./load-failure.ts";
import { type LoadProgress, LoadWatch } from "./load-progress.ts";
import { mistakenFor } from "./meant-model.ts";
import type { ModelServer } from "./model-server.ts";
import { isAboutLoading, isLoadFailure, judgeRefusal, type Refusal, type StateNow } from "./refusal.ts";
import { runningNow } from "./running-now.ts";
import { transportFault } from "./transport-faults.ts";

export type { LoadProgress } from "./load-progress.ts";

/** Between two reports, and between two looks at `/running`: seldom, since each fills llama-swap's log. */
const REPORT_MS = 500;
const FIRST_LOOK_MS = 1000;
const LONGEST_LOOK_MS = 5000;

/** Between two questions for the same thing; more seldom where each comes with two looks at `/running`. */
const AGAIN_MS = 1000;
const UNCHECKED_MS = 2000;

/** How often a load may be broken off from outside, and a connection lost, before that is the answer. */
const INTERRUPTIONS = 1;
const LOSSES = 3;
/** Looks at `/running` until it shows a model that has answered. */
const LOOKS = 5;

const ERROR_BYTES = 64 * 1024;

export interface LoadOptions {
  /** Called twice a second while the load lasts, and with `ready` at its end. */
  report(progress: LoadProgress): void;
  /** Ends the waiting at once; the server goes on with the load. */
  signal: AbortSignal;
  clock?: Clock;
}

export interface Loaded {
  /** It was ready before. */
  wasLoaded: boolean;
  /** From the moment at which it began to start; undefined where that was not seen. */
  loadMs: number | undefined;
}

/**
 * Loads a model by asking it for its health, and returns when it has answered and `/running` shows it as ready. What
 * has to go for it goes: llama-swap lets those models finish what they answer.
 *
 * @param id under which `/running` lists the model, no alias
 * @throws {ServerError} of link `model` when it cannot be loaded, with the end of its log; when it takes longer than
 *   `loadTimeoutMs`; the signal's reason
 */
export async function loadModel(server: ModelServer, id: string, options: LoadOptions): Promise<Loaded> {
  const { signal, report, clock = REAL_CLOCK } = options;
  const { loadTimeoutMs } = server.config;
  signal.throwIfAborted();
  const before = await runningNow(server, signal);
  const other = await mistakenFor(server, id, signal);
  if (other !== undefined) throw ambiguousModel(id, other);
  const wasLoaded = before?.some((model) => model.id === id && model.state === "ready") === true;
  const watch = new LoadWatch(id, before, clock.now());
  const late = (): ServerError => loadTimedOut(id, loadTimeoutMs, watch.progress(clock.now()));
  await within(loadTimeoutMs, signal, clock, late, async (stop) => {
    const over = new AbortController();
    const either = AbortSignal.any([stop, over.signal]);
    const watching = watchers(server, watch, report, wasLoaded ? REPORT_MS : 0, either, clock);
    try {
      await new Loading(server, id, watch, report, stop, clock).run();
    } finally {
      over.abort();
      await Promise.all(watching);
    }
  });
  const loadMs = wasLoaded ? undefined : watch.loadMs(clock.now());
  report({ kind: "ready" });
  return { wasLoaded, loadMs };
}

/**
 * Keeps `watch` informed and reports what it says, until the signal is aborted. None of them rejects.
 *
 * @param delayMs before the events are asked for: their beginning is large, and a loaded model answers at once
 */
function watchers(
  server: ModelServer,
  watch: LoadWatch,
  report: LoadOptions["report"],
  delayMs: number,
  signal: AbortSignal,
  clock: Clock,
): Promise<void>[] {
  const hooks: EventHooks = {
    onModels: (states) => watch.sawEvents(states, clock.now()),
    onRequests: (requests) => watch.sawRequests(requests),
    onLost: () => watch.lostEvents(),
  };
  const events = async (): Promise<void> => {
    if (delayMs > 0) await clock.sleep(delayMs, signal).catch(() => undefined);
    await followEvents(server, hooks, signal, clock);
  };
  const repeat = async (pauseMs: () => number, act: () => void | Promise<void>): Promise<void> => {
    try {
      for (;;) {
        await clock.sleep(pauseMs(), signal);
        await act();
      }
    } catch {
      // The load is over.
    }
  };
  let pause = FIRST_LOOK_MS / 1.3;
  const nextPause = (): number => {
    pause = Math.min(LONGEST_LOOK_MS, pause * 1.3);
    return pause;
  };
  const look = async (): Promise<void> => {
    const running = await runningNow(server, signal).catch(() => undefined);
    if (!signal.aborted) watch.sawRunning(running, clock.now());
  };
  const tell = (): void => {
    const progress = watch.progress(clock.now());
    if (progress !== undefined) report(progress);
  };
  return [events(), repeat(nextPause, look), repeat(() => REPORT_MS, tell)];
}

/** The request that loads, asked as often as the server wants it. Used once. */
class Loading {
  readonly #server: ModelServer;
  readonly #id: string;
  readonly #watch: LoadWatch;
  readonly #report: LoadOptions["report"];
  readonly #signal: AbortSignal;
  readonly #clock: Clock;
  #interruptions = 0;
  #losses = 0;

  constructor(
    server: ModelServer,
    id: string,
    watch: LoadWatch,
    report: LoadOptions["report"],
    signal: AbortSignal,
    clock: Clock,
  ) {
    this.#server = server;
    this.#id = id;
    this.#watch = watch;
    this.#report = report;
    this.#signal = signal;
    this.#clock = clock;
  }

  /** Resolves when the model has answered and is shown as ready. */
  async run(): Promise<void> {
    const path = routeFor(this.#server.config.upstreamHealthPath, this.#id);
    for (;;) {
      const refusal = await this.#ask(path).catch((error: unknown) => this.#passing(error));
      if (refusal === "answered") return this.#untilShown();
      if (refusal !== "lost" && (await this.#isReady(refusal, path))) return;
      if (refusal === "lost") await this.#clock.sleep(AGAIN_MS, this.#signal);
    }
  }

  async #ask(path: string): Promise<Refusal | "answered"> {
    const signal = this.#signal;
    signal.throwIfAborted();
    const { status, headers, body } = await this.#server.http.request({ method: "GET", path, signal });
    const text = await readText(body, ERROR_BYTES).catch((error: unknown) => {
      signal.throwIfAborted();
      throw transportFault(error, this.#server.config);
    });
    return status === 200 ? "answered" : { status, text, retryAfter: headers["retry-after"] };
  }

  /** A connection that was silent for long may have been cut on its way, while the server goes on with the load. */
  async #passing(error: unknown): Promise<"lost"> {
    this.#signal.throwIfAborted();
    if (!(error instanceof ServerError) || error.remedy !== "retry" || this.#losses >= LOSSES) throw error;
    this.#losses += 1;
    if ((await this.#stateNow()) === "unreachable") throw error;
    return "lost";
  }

  /**
   * Waits where asking again is what helps.
   *
   * @returns whether the refusal is the model's own, which has no such route but is ready
   * @throws {ServerError} where asking again does not help
   */
  async #isReady(refusal: Refusal, path: string): Promise<boolean> {
    const { status, text } = refusal;
    const state = await this.#stateNow();
    if (status === 404 && state === "ready") return true;
    if (isUnknownModel(refusal)) {
      throw state === "unknown" ? answerFault(status, text, path) : unknownModel(this.#id);
    }
    // With `checkEndpoint: none` it is ready before its process listens, and before it has loaded.
    const isUnready = (status === 502 && text === "") || status === 503;
    if (isUnready && state === "ready") return this.#waitUnchecked();
    const verdict = judgeRefusal(refusal, state, [], path, this.#clock.now());
    const isUnloaded = isAboutLoading(text) && !isLoadFailure(text);
    if (verdict.kind === "failed") throw verdict.error;
    if (verdict.kind === "load failed") throw await this.#failed("could not be loaded", verdict.reason);
    if (verdict.kind === "crashed" || isUnloaded) await this.#interrupted(isUnloaded);
    if (verdict.kind === "wait" && verdict.why === "busy") this.#report({ kind: "busy" });
    await this.#clock.sleep(verdict.kind === "wait" ? verdict.delayMs : AGAIN_MS, this.#signal);
    return false;
  }

  /** Asking a process that has ended would start the next one, for ever. */
  async #waitUnchecked(): Promise<false> {
    await this.#clock.sleep(UNCHECKED_MS, this.#signal);
    if ((await this.#stateNow()) === "gone") await this.#interrupted(false);
    return false;
  }

  /** A reload of the configuration may have broken the load off: begun once more, not for ever. */
  async #interrupted(isUnloaded: boolean): Promise<void> {
    if (this.#interruptions >= INTERRUPTIONS) {
      if (!isUnloaded) throw await this.#failed("could not be loaded: its process ended", undefined);
      throw new ServerError(
        `${this.#id} was unloaded while it was loading, twice: somebody else unloads it, or the server reloads its configuration. Try again when that is over.`,
        { link: "model", remedy: "retry" },
      );
    }
    this.#interruptions += 1;
    this.#watch.restarted();
  }

  async #failed(what: string, reason: string | undefined): Promise<ServerError> {
    const model = { id: this.#id, name: this.#id };
    const fault = await processFault(this.#server, model, what, reason, this.#signal);
    this.#signal.throwIfAborted();
    return fault;
  }

  async #untilShown(): Promise<void> {
    for (let looks = 1; ; looks += 1) {
      const state = await this.#stateNow();
      if (state === "ready" || state === "unknown") return;
      if (looks === LOOKS) {
        throw new ServerError(
          `${this.#id} answered, but the server does not show it as loaded: it was unloaded at once, or it runs under another id. See /ai-server-status.`,
          { link: "model", remedy: "retry" },
        );
      }
      await this.#clock.sleep(AGAIN_MS, this.#signal);
    }
  }

  async #stateNow(): Promise<StateNow> {
    try {
      const running = await runningNow(this.#server, this.#signal);
      if (running === undefined) return "unknown";
      this.#watch.sawRunning(running, this.#clock.now());
      return running.find(({ id }) => id === this.#id)?.state ?? "gone";
    } catch {
      this.#signal.throwIfAborted();
      return "unreachable";
    }
  }
}

/** 404, and 400 in llama-swap up to v217. */
function isUnknownModel({ status, text }: Refusal): boolean {
  return status === 404 || (status === 400 && /model id required/i.test(text));
}
