/** llama.cpp's own router: one llama-server that starts others, one for each model of its preset. */

import { REAL_CLOCK } from "../../../lib/clock.ts";
import { ServerError } from "../../../lib/errors.ts";
import { number, parsed, record, text } from "../../../lib/json.ts";
import { type Access, ANSWER_TIMEOUT_MS, type Limits, optionalJson, post } from "../../http/access.ts";
import { answerFault } from "../../http/answer-faults.ts";
import type { ListedModel } from "../../models/listed-model.ts";
import { type ModelState, parseProps } from "../../models/models.ts";
import { idOf, nameOf } from "../../models/names.ts";
import { type Backend, type LoadSteps, versionAt } from "../backend.ts";
import { type EventHooks, frameReader, keepReading, quiet, readStream } from "../events.ts";
import { processFault, unknownModel } from "../load-failure.ts";
import { cancelRoutersDownload, deleteFromCache, downloadByRouter, routersDownloads } from "./download.ts";
import {
  parseRouterDownloads,
  parseRouterModels,
  parseRouterRunning,
  parseSlots,
  routerState,
} from "./list.ts";
import { COUNT_PATH, requestCount, requestThinkingEnd, THINKING_PATH } from "./requests.ts";

/** Between two looks at a load: the router has no log that they could fill. */
const LOOK_MS = 1000;
/** Looks at a model that is neither loading nor failed; after these, another client has unloaded it. */
const LOOKS_FOR_BEGIN = 3;

const NAME = "llama.cpp's router";

export function router(access: Access): Backend {
  const { http, config } = access;
  const listNow = (limits: Limits): Promise<unknown> => http.json(config.modelsPath, limits);
  /** `autoload=false`, or the request would load the model. */
  const ask = (route: "props" | "slots", id: string, limits: Limits): Promise<unknown> =>
    http.json(`/${route}?model=${encodeURIComponent(id)}&autoload=false`, limits);
  return {
    kind: "router",
    name: NAME,

    async listed(models) {
      return parseRouterModels(models);
    },

    async running(limits, models) {
      return parseRouterRunning(models ?? (await listNow(limits)));
    },

    async live(id, limits) {
      return parseProps(await ask("props", id, limits));
    },

    async fileFacts(id, limits) {
      return entryIn(await listNow(limits), id)?.declared;
    },

    async slots(id, limits) {
      return parseSlots(await ask("slots", id, limits));
    },

    /** The router reports no times: only a model without any request is known to be idle. */
    async sinceAnswer(id, own, signal) {
      const slots = parseSlots(await ask("slots", id, { signal, timeoutMs: ANSWER_TIMEOUT_MS }));
      const isUnused = slots?.every(({ isUsed, tokens }) => !isUsed || own.isAll(tokens ?? Number.NaN));
      return isUnused ? Number.POSITIVE_INFINITY : undefined;
    },

    promptTokens: (_, request, limits) =>
      requestCount(access, `${COUNT_PATH}?autoload=false`, request, limits),

    async version(signal) {
      return { name: NAME, version: await versionAt(access, "/props", "build_info", signal) };
    },

    load(id, steps) {
      return load(access, id, steps);
    },

    async unload(id, signal) {
      const limits = { signal, timeoutMs: ANSWER_TIMEOUT_MS };
      const running = id === undefined ? parseRouterRunning(await listNow(limits)) : [{ id }];
      for (const { id: model } of running) {
        const { status, text } = await post(http, "/models/unload", { model }, signal);
        // 400 also for a model that is not running: it is unloaded already.
        if (status !== 200 && !/not running/i.test(text)) throw answerFault(status, text, "/models/unload");
      }
    },

    download: (modelName, steps) => downloadByRouter(access, modelName, steps),
    downloads: (limits) => routersDownloads(access, limits),
    cancelDownload: (modelName, signal) => cancelRoutersDownload(access, modelName, signal, REAL_CLOCK),
    deleteModel: (id, signal) => deleteFromCache(access, id, signal, REAL_CLOCK),

    endThinking: (id, answer, signal) => requestThinkingEnd(access, THINKING_PATH, id, answer, signal),

    follow(hooks, signal, clock) {
      return keepReading(() => readEvents(access, hooks, signal), hooks, signal, clock);
    },

    /** Reads the preset again and unloads only the models whose section has changed. */
    async reloadConfig(signal) {
      const path = `${config.modelsPath}?reload=1`;
      const answer = await optionalJson(http, path, { signal, timeoutMs: config.restartTimeoutMs });
      return Array.isArray(record(answer)?.data);
    },
  };
}

function entryIn(models: unknown, id: string): ListedModel | undefined {
  return parseRouterModels(models).find((model) => model.id === id);
}

/** The router answers before the load has ended; its list of models shows the result. */
async function load({ http, config, several }: Access, id: string, steps: LoadSteps): Promise<void> {
  const { watch, signal, clock, givesWay } = steps;
  const listNow = (): Promise<unknown> =>
    http.json(config.modelsPath, { signal, timeoutMs: ANSWER_TIMEOUT_MS });
  const listed = await listNow();
  if (parseRouterDownloads(listed).includes(id)) throw incomplete(id);
  if (entryIn(listed, id)?.problem !== undefined) throw unusable(id);
  // A router without room refuses while it loads another model: repeats until that is loaded and can be replaced.
  for (;;) {
    const { status, text } = await post(http, "/models/load", { model: id }, signal);
    // 400: another client has begun the load, or it is loaded.
    if (status === 200 || (status === 400 && /already/i.test(text))) break;
    if (status === 404) throw unknownModel(id);
    if (!/limit reached/i.test(text) || givesWay) throw answerFault(status, text, "/models/load");
    const models = await listNow();
    const running = parseRouterRunning(models);
    const stuck = parseRouterModels(models).find(
      (model) => model.problem !== undefined && running.some((one) => one.id === model.id),
    );
    if (stuck !== undefined) throw blockedBy(id, stuck.id);
    watch.sawRunning(running, clock.now());
    await clock.sleep(LOOK_MS, signal);
  }
  for (let looksAway = 0; ; ) {
    const models = await listNow().catch((error: unknown) => {
      signal.throwIfAborted();
      // The load continues when a connection is lost.
      if (!(error instanceof ServerError) || error.remedy !== "retry") throw error;
    });
    if (models !== undefined) {
      const running = parseRouterRunning(models);
      watch.sawRunning(running, clock.now());
      const state = running.find((model) => model.id === id)?.state;
      if (state === "ready") return;
      looksAway = state === undefined ? looksAway + 1 : 0;
      if (state === undefined) await checkAway(entryIn(models, id), id, signal);
      // Where several servers answer, most looks may be at the others.
      if (looksAway > LOOKS_FOR_BEGIN && !several.isKnown) throw unloadedMeanwhile(id);
    }
    await clock.sleep(LOOK_MS, signal);
  }
}

/** @throws {ServerError} where the list shows why a model that was requested is not loading */
async function checkAway(listed: ListedModel | undefined, id: string, signal: AbortSignal): Promise<void> {
  if (listed === undefined) throw unknownModel(id);
  if (listed.failure === undefined) return;
  const { exitCode } = listed.failure;
  const code = exitCode === undefined ? "" : ` with exit code ${exitCode}`;
  const what = `could not be loaded: its process ended${code}. The router does not say why; its log does: /ai-server-logs`;
  throw await processFault({ kind: "router" }, { id, name: id }, what, undefined, signal);
}

/**
 * Reads `/models/sse` of one connection: the state of the models as it changes. The stream does not begin with the
 * current state, so each connection reads the list of models as well.
 */
function readEvents(
  access: Access,
  { onModels, onStage }: EventHooks,
  signal: AbortSignal,
): Promise<"ended" | "unsupported"> {
  const { http, config } = access;
  return readStream(access, "/models/sse", signal, async (_, stop) => {
    const models = await http.json(config.modelsPath, { signal: stop, timeoutMs: ANSWER_TIMEOUT_MS });
    const states = new Map<string, ModelState>(parseRouterModels(models).map(({ id }) => [id, "unloaded"]));
    for (const { id, state } of parseRouterRunning(models)) states.set(id, state);
    const report = (): void => quiet(onModels)?.(new Map(states));
    report();
    return frameReader((data) => {
      const event = record(parsed(data));
      const id = idOf(event?.model);
      const change = record(event?.data);
      if (id === undefined || change === undefined) return;
      const state = text(change.status) === undefined ? undefined : routerState(change.status);
      if (state !== undefined) {
        states.set(id, state);
        report();
      }
      const progress = record(change.progress);
      const name = nameOf(progress?.current);
      const share = number(progress?.value);
      if (name !== undefined && share !== undefined && share >= 0 && share <= 1)
        quiet(onStage)?.(id, { name, share });
    });
  });
}

function incomplete(id: string): ServerError {
  return new ServerError(`${id} is still being downloaded. Load it when the download has ended.`, {
    link: "model",
    remedy: "retry",
  });
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

function unloadedMeanwhile(id: string): ServerError {
  return new ServerError(
    `${id} is not loaded, and the router has stopped loading it: another client has unloaded it. Try again.`,
    { link: "model", remedy: "retry" },
  );
}
