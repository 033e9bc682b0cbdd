/** `/ai-server-load` and `/ai-server-unload`. */

import { stageWords } from "../activity/activity-line.ts";
import type { LoadState } from "../activity/load-state.ts";
import { ServerError } from "../lib/errors.ts";
import { shortTokens, spent } from "../lib/figures.ts";
import { type InFlight, requestsInFlight } from "../server/in-flight.ts";
import { cannotLoad } from "../server/kinds/backend.ts";
import { type Loaded, loadModel, unloadModel } from "../server/load.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { RunningModel } from "../server/models/models.ts";
import { show } from "../ui/output.ts";
import { type Call, isConfirmed, serverFor } from "./call.ts";
import { interruptionOf, requestsOn, requestWords, sessionOf } from "./interruption.ts";
import {
  aliasesOf,
  chosenModel,
  liveContext,
  modelsNow,
  refreshModels,
  requiredModel,
  requireHere,
} from "./models.ts";

/** Loads a model, and says until it is ready what the server does. */
export async function load(call: Call): Promise<void> {
  const { aiServer, waiting, argument } = call;
  const server = await serverFor(call);
  const [models, running] = await Promise.all([modelsNow(call, server), runningOf(server, waiting.signal)]);
  const chosen = requiredModel(argument, models, running, aliasesOf(server));
  requireHere(chosen, server);
  const { id } = chosen;
  await aiServer.exclusively(`/ai-server-load ${id}`, () => carryOutLoad(call, server, id, running));
}

async function carryOutLoad(
  call: Call,
  server: ModelServer,
  id: string,
  running: readonly RunningModel[],
): Promise<void> {
  let loaded: Loaded;
  try {
    loaded = await loadNow(call, server, id, running);
  } catch (error) {
    if (!call.waiting.signal.aborted) throw error;
    const { ctx, ended } = call;
    // Nothing else reports it: a cancelled command throws in silence.
    await offerStop(call, server, id).catch(async (fault: unknown) => {
      const { faultText } = await import("./report.ts");
      if (!ended.aborted) show(ctx, faultText(fault), "error");
    });
    return;
  }
  await reportLoaded(call, server, id, running, loaded);
}

/**
 * Loads a model, says until it is ready what the server does, and remembers how long it took.
 *
 * @param running what runs before
 * @throws {ServerError}; the reason of the waiting's signal: the server goes on with the load then
 */
export async function loadNow(
  call: Call,
  server: ModelServer,
  id: string,
  running: readonly RunningModel[],
): Promise<Loaded> {
  const { waiting } = call;
  const { onLoading, onLoaded } = loadHooks(call, server);
  const others = running.filter((model) => model.id !== id).map((model) => model.id);
  waiting.say(others.length === 0 ? `Loading ${id}` : `Loading ${id}; may unload ${others.join(", ")}`);
  const loaded = await loadModel(server, id, {
    report: (progress) => onLoading(id, progress),
    signal: waiting.signal,
  });
  if (loaded.loadMs !== undefined) onLoaded(id, loaded.loadMs);
  return loaded;
}

/** Reports how a load went, and gives pi the model's new facts. */
export async function reportLoaded(
  call: Call,
  server: ModelServer,
  id: string,
  running: readonly RunningModel[],
  { wasLoaded, loadMs }: Loaded,
): Promise<void> {
  const { ctx, waiting } = call;
  const still = new Set((await runningOf(server, waiting.signal)).map((model) => model.id));
  const gone = running.filter((model) => model.id !== id && !still.has(model.id)).map((model) => model.id);
  const { tokens } = await liveContext(call, server, id);
  // Before the end is reported: until then pi takes no keys.
  await refreshModels(call).catch(() => undefined);
  const took = loadMs === undefined ? "" : `; it took ${spent(loadMs)}`;
  const lines = [
    wasLoaded ? `${id} is already loaded.` : `${id} is loaded${took}.`,
    tokens === undefined
      ? "It does not report its context."
      : `A request may use ${tokens} tokens (${shortTokens(tokens)}).`,
  ];
  if (gone.length > 0) lines.push(`Unloaded to make room: ${gone.join(", ")}.`);
  const { warning } = server.several;
  if (warning !== undefined) lines.push(`The next request may reach another server. ${warning}`);
  show(ctx, lines.join("\n"));
}

/** Ending the request does not end the load. By the session's own end alone: the user's signal is aborted already. */
async function offerStop(call: Call, server: ModelServer, id: string): Promise<void> {
  const { ctx, ended } = call;
  if (ended.aborted) return;
  const found = (await runningOf(server, ended)).find((model) => model.id === id);
  const state =
    found === undefined ? "The server may still be loading it." : `On the server, ${id} is ${found.state}.`;
  const question = {
    title: `Stop loading ${id}?`,
    consequences: [state, "Stopping unloads it; models unloaded to make room for it stay unloaded."],
  };
  if (!(await isConfirmed(call, question, ["Let it load", "Stop and unload it"])))
    return show(ctx, `The server continues loading ${id}.`);
  await unloadModel(server, id, ended);
  show(ctx, `${id} is unloaded.`);
}

/** Unloads one model, or all of them. */
export async function unload(call: Call): Promise<void> {
  const { aiServer, waiting, argument } = call;
  const server = await serverFor(call);
  const [models, running] = await Promise.all([modelsNow(call, server), runningOf(server, waiting.signal)]);
  const chosen = chosenModel(argument, models, running, aliasesOf(server));
  if (chosen !== undefined) requireHere(chosen, server);
  const what = chosen === undefined ? "/ai-server-unload" : `/ai-server-unload ${chosen.id}`;
  await aiServer.exclusively(what, () =>
    chosen === undefined ? unloadAll(call, server, running) : unloadOne(call, server, chosen.id, running),
  );
}

async function unloadOne(
  call: Call,
  server: ModelServer,
  id: string,
  running: readonly RunningModel[],
): Promise<void> {
  const { ctx, waiting } = call;
  if (!running.some((model) => model.id === id)) return show(ctx, `${id} is not loaded.`);
  const requests = await requestsInFlight(server, waiting.signal);
  if (mayBeAnswering(id, requests)) {
    const consequences = [requestWords(requestsOn(requests, [id]), sessionOf(call))];
    const question = { title: `Unload ${id} anyway?`, consequences };
    if (!(await isConfirmed(call, question, ["Keep it loaded", "Unload it now"])))
      return show(ctx, "Nothing was unloaded.");
  }
  await carryOutUnload(call, server, id, `${id} is unloaded.`);
}

/** Unloads and reports it; the server continues if the user stops waiting. */
async function carryOutUnload(
  { ctx, waiting, ended }: Call,
  server: ModelServer,
  id: string | undefined,
  done: string,
): Promise<void> {
  waiting.say(id === undefined ? "Unloading every model" : `Unloading ${id}`);
  try {
    await unloadModel(server, id, waiting.signal);
    show(ctx, done);
  } catch (error) {
    if (!waiting.signal.aborted || ended.aborted) throw error;
    show(ctx, "The server continues unloading; see /ai-server-status.");
  }
}

/** A model that is silent may read a prompt. */
function mayBeAnswering(id: string, { models, silent = [] }: InFlight): boolean {
  return silent.includes(id) || models.some(({ model, total }) => model === id && total > 0);
}

async function unloadAll(call: Call, server: ModelServer, running: readonly RunningModel[]): Promise<void> {
  const { ctx } = call;
  if (running.length === 0) return show(ctx, "No model is loaded.");
  const names = running.map(({ id }) => id).join(", ");
  const consequences = await interruptionOf(call, server, running, []);
  const question = { title: "Unload every model?", consequences };
  if (!(await isConfirmed(call, question, ["Keep them loaded", "Unload them now"])))
    return show(ctx, "Nothing was unloaded.");
  await carryOutUnload(call, server, undefined, `Unloaded: ${names}.`);
}

/** What runs now. @throws {ServerError} where the server does not report it, or cannot load or unload on request */
export async function runningOf(server: ModelServer, signal: AbortSignal): Promise<RunningModel[]> {
  const running = await server.runningNow(signal, true);
  const backend = await server.backend(signal);
  if (backend.load === undefined) throw cannotLoad(backend);
  if (running !== undefined) return running;
  if (backend.kind !== "llama-swap") throw cannotLoad(backend);
  throw new ServerError(
    `The server has no ${server.config.runningPath}: AI_SERVER_RUNNING_PATH is wrong, and without it the loaded models are unknown.`,
    { link: "server" },
  );
}

/** What a load is doing, in a few words; undefined when there is nothing more to wait for. */
export function loadWords(id: string, progress: LoadState): string | undefined {
  switch (progress.kind) {
    case "waiting": {
      const { requests = 0, blockedBy } = progress;
      const what =
        requests === 0 ? "unload" : `answer ${requests === 1 ? "a request" : `${requests} requests`}`;
      return `${id} waits for ${blockedBy} to ${what}`;
    }
    case "stopping":
      return `Stopping ${progress.model}`;
    case "busy":
      return `${id} is at its request limit; asking again`;
    case "loading":
      return `Loading ${id}${stageWords(progress.stage)}`;
    case "ready":
      return undefined;
  }
}

export interface LoadHooks {
  onLoading(id: string, progress: LoadState): void;
  /** A model has been loaded, in this many milliseconds. */
  onLoaded(id: string, loadMs: number): void;
}

/** Says how loads go on, and remembers how long they took. */
export function loadHooks(call: Call, server: ModelServer): LoadHooks {
  const expected = new Map<string, number | undefined>();
  return {
    onLoading: (id, progress) => {
      if (!expected.has(id)) {
        expected.set(id, undefined);
        call.aiServer.remembered.expectedLoadMs(server.config, id).then(
          (ms) => expected.set(id, ms),
          () => {},
        );
      }
      const words = loadWords(id, progress);
      if (words === undefined) return;
      if (progress.kind === "loading") call.waiting.say(words, expected.get(id), progress.elapsedMs);
      else call.waiting.say(words);
    },
    // Remembering is a convenience: its failures are not worth a notice.
    onLoaded: (id, loadMs) =>
      void call.aiServer.remembered.rememberLoad(server.config, id, loadMs).catch(() => {}),
  };
}
