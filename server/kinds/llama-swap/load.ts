/** One load by llama-swap, which loads a model for any request to it. */

import { routeFor } from "../../../config.ts";
import { ServerError } from "../../../lib/errors.ts";
import { type Access, ANSWER_TIMEOUT_MS } from "../../http/access.ts";
import { answerFault } from "../../http/answer-faults.ts";
import { parseErrorBody } from "../../http/error-body.ts";
import { ERROR_BYTES, readText } from "../../http/http.ts";
import { transportFault } from "../../http/transport-faults.ts";
import type { Backend, LoadSteps } from "../backend.ts";
import { processFault, unknownModel } from "../load-failure.ts";
import { isLoadFailure, judgeRefusal, type Refusal, type StateNow, saysLoading } from "../refusal.ts";

/** Between two requests for the same thing; longer where each needs two looks at `/running`. */
const AGAIN_MS = 1000;
const UNCHECKED_MS = 2000;

/** How many interruptions from outside, failures and lost connections are tolerated. */
const INTERRUPTIONS = 1;
const FAILURES = 1;
const LOSSES = 3;
/**
 * Further requests to a process that is shown as ready though nothing listens, each after twice the pause: a minute in
 * all. If it has just died, each request starts it again.
 */
const SILENCES = 5;
/** Looks at `/running` for a model that has answered. */
const LOOKS = 5;

const SILENT =
  "could not be loaded: llama-swap shows it as ready, but nothing answers at its address. Check proxy and the port in its cmd; with checkEndpoint: none llama-swap does not check whether it has started";

/** The request that loads a model, repeated as the server demands. A class for its counters; used once. */
export class LlamaSwapLoad {
  readonly #access: Access;
  readonly #backend: Pick<Backend, "running" | "logTail">;
  readonly #id: string;
  readonly #steps: LoadSteps;
  #interruptions = 0;
  #failures = 0;
  #losses = 0;
  #silences = 0;
  /** Whether its process has answered that it is loading. */
  #isHeard = false;

  constructor(access: Access, backend: Pick<Backend, "running" | "logTail">, id: string, steps: LoadSteps) {
    this.#access = access;
    this.#backend = backend;
    this.#id = id;
    this.#steps = steps;
  }

  /** Resolves when the model has answered and is shown as ready. */
  async run(): Promise<void> {
    const path = routeFor(this.#access.config.upstreamHealthPath, this.#id);
    for (;;) {
      const refusal = await this.#ask(path).catch((error: unknown) => this.#passing(error));
      if (refusal === "answered") return this.#untilShown();
      if (refusal !== "lost" && (await this.#isReady(refusal, path))) return;
      if (refusal === "lost") await this.#steps.clock.sleep(AGAIN_MS, this.#steps.signal);
    }
  }

  async #ask(path: string): Promise<Refusal | "answered"> {
    const signal = this.#steps.signal;
    signal.throwIfAborted();
    const { status, headers, body } = await this.#access.http.request({ method: "GET", path, signal });
    const text = await readText(body, ERROR_BYTES).catch((error: unknown) => {
      signal.throwIfAborted();
      throw transportFault(error, this.#access.config);
    });
    return status === 200 ? "answered" : { status, text, retryAfter: headers["retry-after"] };
  }

  /** A long silent connection may have been cut in the network while the server continues the load. */
  async #passing(error: unknown): Promise<"lost"> {
    this.#steps.signal.throwIfAborted();
    if (!(error instanceof ServerError) || error.remedy !== "retry" || this.#losses >= LOSSES) throw error;
    this.#losses += 1;
    if ((await this.#stateNow()) === "unreachable") throw error;
    return "lost";
  }

  /**
   * Waits where repeating the request helps.
   *
   * @returns whether the refusal is the model's own, which has no such route but is ready
   * @throws {ServerError} where repeating does not help
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
    if (isUnready && state === "ready") return this.#waitUnchecked(saysLoading(refusal));
    const verdict = judgeRefusal(refusal, state, [], path, this.#steps.clock.now());
    const isUnloaded = verdict.kind === "wait" && verdict.why === "unloaded";
    if (verdict.kind === "failed") throw verdict.error;
    if (verdict.kind === "load failed") throw await this.#failed("could not be loaded", verdict.reason);
    if (verdict.kind === "crashed" || isUnloaded) await this.#interrupted(isUnloaded);
    // If it is shown as ready or starting, it may be loading for another client; endless requests would load it endlessly.
    if (verdict.kind === "wait" && isLoadFailure(text) && state !== "stopping") {
      if (this.#failures >= FAILURES)
        throw await this.#failed("could not be loaded", parseErrorBody(text).message);
      this.#failures += 1;
      this.#steps.watch.restarted();
    }
    if (verdict.kind === "wait" && verdict.why === "busy") this.#steps.report({ kind: "busy" });
    await this.#steps.clock.sleep(verdict.kind === "wait" ? verdict.delayMs : AGAIN_MS, this.#steps.signal);
    return false;
  }

  /** Each request to a process that has ended starts the next one, without end. */
  async #waitUnchecked(isLoading: boolean): Promise<false> {
    // The process answered before, and now nothing listens: this request has started another one.
    if (this.#isHeard && !isLoading) await this.#interrupted(false);
    this.#isHeard = isLoading;
    if (isLoading) this.#silences = 0;
    else if (this.#silences >= SILENCES) throw await this.#failed(SILENT, undefined);
    await this.#steps.clock.sleep(UNCHECKED_MS * 2 ** this.#silences, this.#steps.signal);
    if (!isLoading) this.#silences += 1;
    if ((await this.#stateNow()) !== "gone") return false;
    await this.#interrupted(false);
    this.#isHeard = false;
    return false;
  }

  /** A reload of the configuration may have interrupted the load: begins it again, once. */
  async #interrupted(isUnloaded: boolean): Promise<void> {
    if (this.#interruptions >= INTERRUPTIONS) {
      if (!isUnloaded) throw await this.#failed("could not be loaded: its process ended", undefined);
      throw new ServerError(
        `${this.#id} was unloaded while it was loading, twice: another client unloads it, or the server reloads its configuration. Try again when that is over.`,
        { link: "model", remedy: "retry" },
      );
    }
    this.#interruptions += 1;
    this.#steps.watch.restarted();
  }

  async #failed(what: string, reason: string | undefined): Promise<ServerError> {
    const model = { id: this.#id, name: this.#id };
    const fault = await processFault(this.#backend, model, what, reason, this.#steps.signal);
    this.#steps.signal.throwIfAborted();
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
      await this.#steps.clock.sleep(AGAIN_MS, this.#steps.signal);
    }
  }

  async #stateNow(): Promise<StateNow> {
    try {
      const running = await this.#backend.running({
        signal: this.#steps.signal,
        timeoutMs: ANSWER_TIMEOUT_MS,
      });
      if (running === undefined) return "unknown";
      this.#steps.watch.sawRunning(running, this.#steps.clock.now());
      return running.find(({ id }) => id === this.#id)?.state ?? "gone";
    } catch {
      this.#steps.signal.throwIfAborted();
      return "unreachable";
    }
  }
}

/** 404, and 400 in llama-swap up to v217. */
function isUnknownModel({ status, text }: Refusal): boolean {
  return status === 404 || (status === 400 && /model id required/i.test(text));
}
