/** llama.cpp's own router: one llama-server that starts others, one for each model of its preset. */

import type { Clock } from "../../../lib/clock.ts";
import { ServerError } from "../../../lib/errors.ts";
import { record } from "../../../lib/json.ts";
import { type Access, ANSWER_TIMEOUT_MS, type Limits, optionalJson, post } from "../../http/access.ts";
import { answerFault } from "../../http/answer-faults.ts";
import type { FileFacts, ListedModel, ProcessFailure } from "../../models/listed-model.ts";
import { type LiveFacts, parseProps, type RunningModel } from "../../models/models.ts";
import type { Backend, LoadSteps, Slot } from "../backend.ts";
import type { EventHooks } from "../llama-swap/events.ts";
import { processFault, unknownModel } from "../load-failure.ts";
import { llamaCppVersion, type ServerVersion } from "../version.ts";
import { parseRouterModels, parseRouterRunning, parseSlots } from "./list.ts";
import { followRouter } from "./router-events.ts";

/** Between two looks at a load: the router has no log that they could fill. */
const LOOK_MS = 1000;
/** Looks at a model that is neither loading nor failed; after these, another client has unloaded it. */
const LOOKS_FOR_BEGIN = 3;

export class Router implements Backend {
  readonly kind = "router";
  readonly name = "llama.cpp's router";
  readonly #access: Access;

  constructor(access: Access) {
    this.#access = access;
  }

  async listed(models: unknown): Promise<ListedModel[]> {
    return parseRouterModels(models);
  }

  async running(limits: Limits, models?: unknown): Promise<RunningModel[]> {
    return parseRouterRunning(models ?? (await this.#models(limits)));
  }

  #models(limits: Limits): Promise<unknown> {
    return this.#access.http.json(this.#access.config.modelsPath, limits);
  }

  /** `autoload=false`, or the request would load the model. */
  #ask(route: "props" | "slots", id: string, limits: Limits): Promise<unknown> {
    const path = `/${route}?model=${encodeURIComponent(id)}&autoload=false`;
    return this.#access.http.json(path, limits);
  }

  async live(id: string, limits: Limits): Promise<LiveFacts> {
    return parseProps(await this.#ask("props", id, limits));
  }

  async fileFacts(id: string, limits: Limits): Promise<FileFacts | undefined> {
    const models = parseRouterModels(await this.#models(limits));
    return models.find((model) => model.id === id)?.declared;
  }

  async slots(id: string, limits: Limits): Promise<Slot[] | undefined> {
    return parseSlots(await this.#ask("slots", id, limits));
  }

  async version(signal: AbortSignal | undefined): Promise<ServerVersion> {
    return { name: this.name, version: await llamaCppVersion(this.#access, signal) };
  }

  /** The router answers before the load has ended; its list of models shows the result. */
  async load(id: string, steps: LoadSteps): Promise<void> {
    const limits = { signal: steps.signal, timeoutMs: ANSWER_TIMEOUT_MS };
    const listed = parseRouterModels(await this.#models(limits)).find((model) => model.id === id);
    if (listed?.problem !== undefined) throw unusable(id);
    await this.#begin(id, steps);
    await this.#untilLoaded(id, steps);
  }

  /** A router without room refuses while it loads another model: repeats until that is loaded and can be replaced. */
  async #begin(id: string, steps: LoadSteps): Promise<void> {
    for (;;) {
      const { status, text } = await this.#post("/models/load", id, steps.signal);
      // 400: another client has begun the load, or it is loaded.
      if (status === 200 || (status === 400 && /already/i.test(text))) return;
      if (status === 404) throw unknownModel(id);
      if (!/limit reached/i.test(text)) throw answerFault(status, text, "/models/load");
      const models = await this.#models({ signal: steps.signal, timeoutMs: ANSWER_TIMEOUT_MS });
      const running = parseRouterRunning(models);
      const stuck = parseRouterModels(models).find(
        (model) => model.problem !== undefined && running.some((one) => one.id === model.id),
      );
      if (stuck !== undefined) throw blockedBy(id, stuck.id);
      steps.watch.sawRunning(running, steps.clock.now());
      await steps.clock.sleep(LOOK_MS, steps.signal);
    }
  }

  async #untilLoaded(id: string, { watch, signal, clock }: LoadSteps): Promise<void> {
    const limits = { signal, timeoutMs: ANSWER_TIMEOUT_MS };
    for (let looksAway = 0; ; ) {
      // The load continues when a connection is lost.
      const models = await this.#models(limits).catch((error: unknown) => this.#passing(error, signal));
      if (models !== undefined) {
        const running = parseRouterRunning(models);
        watch.sawRunning(running, clock.now());
        const state = running.find((model) => model.id === id)?.state;
        if (state === "ready") return;
        if (state === undefined) {
          const listed = parseRouterModels(models).find((model) => model.id === id);
          if (listed === undefined) throw unknownModel(id);
          if (listed.failure !== undefined) throw await loadFailed(id, listed.failure, signal);
          looksAway += 1;
          if (looksAway > LOOKS_FOR_BEGIN) throw unloadedMeanwhile(id);
        } else looksAway = 0;
      }
      await clock.sleep(LOOK_MS, signal);
    }
  }

  #passing(error: unknown, signal: AbortSignal): undefined {
    signal.throwIfAborted();
    if (!(error instanceof ServerError) || error.remedy !== "retry") throw error;
  }

  async unload(id: string | undefined, signal: AbortSignal): Promise<void> {
    const running =
      id === undefined ? await this.running({ signal, timeoutMs: ANSWER_TIMEOUT_MS }) : [{ id }];
    for (const { id: model } of running) {
      const { status, text } = await this.#post("/models/unload", model, signal);
      // 400 also for a model that is not running: it is unloaded already.
      if (status !== 200 && !/not running/i.test(text)) throw answerFault(status, text, "/models/unload");
    }
  }

  #post(path: string, model: string, signal: AbortSignal): Promise<{ status: number; text: string }> {
    return post(this.#access.http, path, { model }, signal);
  }

  follow(hooks: EventHooks, signal: AbortSignal, clock: Clock): Promise<void> {
    return followRouter(this.#access, hooks, signal, clock);
  }

  /** Reads the preset again and unloads only the models whose section has changed. */
  async reloadConfig(signal: AbortSignal): Promise<boolean> {
    const { http, config } = this.#access;
    const path = `${config.modelsPath}?reload=1`;
    const answer = await optionalJson(http, path, { signal, timeoutMs: config.restartTimeoutMs });
    return Array.isArray(record(answer)?.data);
  }
}

function unusable(id: string): ServerError {
  return new ServerError(
    `${id} has no model path: its section of the preset names no model, and loading it would block the router for all clients. Add "model = <file>" to it, then /ai-server-refresh.`,
    { link: "model", remedy: "none" },
  );
}

/** @param other a section of the preset without a model that a client has requested */
function blockedBy(id: string, other: string): ServerError {
  return new ServerError(
    `${id} cannot be loaded: ${other} has no model path, so it loads forever and blocks the router. /ai-server-unload ${other} frees the router.`,
    { link: "model", remedy: "none" },
  );
}

function loadFailed(id: string, { exitCode }: ProcessFailure, signal: AbortSignal): Promise<ServerError> {
  const code = exitCode === undefined ? "" : ` with exit code ${exitCode}`;
  const what = `could not be loaded: its process ended${code}. The router does not say why; its log does: /ai-server-logs`;
  return processFault({ kind: "router" }, { id, name: id }, what, undefined, signal);
}

function unloadedMeanwhile(id: string): ServerError {
  return new ServerError(
    `${id} is not loaded, and the router has stopped loading it: another client has unloaded it. Try again.`,
    { link: "model", remedy: "retry" },
  );
}
