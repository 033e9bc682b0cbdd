/** A model that the user names, tried as pi uses it: loaded if need be, and asked a few short questions. */
import { ServerError, sentenceOf } from "../../lib/errors.ts";
import { spent } from "../../lib/figures.ts";
import type { ServedModel } from "../../provider/pi-models.ts";
import { requestsInFlight } from "../../server/in-flight.ts";
import { type Loaded, loadModel } from "../../server/load.ts";
import { requestsOn, requestWords, sessionOf } from "../interruption.ts";
import { loadHooks, loadWords } from "../load.ts";
import { type Finding, fault, type Group, ok, unchecked } from "./finding.ts";
import { abilities } from "./model/abilities.ts";
import { answers } from "./model/answers.ts";
import { loadTime, nearestLimit } from "./model/load-limits.ts";
import { isReady, notReady, type Trial } from "./model/permission.ts";
import type { Visit } from "./visit.ts";

const UNNAMED = "/ai-server-doctor --model <id> tries a model, and asks before it loads it";

const LOADED: Loaded = { wasLoaded: true, loadMs: undefined };

export const model: Group = {
  name: "model",
  title: "The model",
  async *examine(visit) {
    const { trial } = visit;
    if (trial === undefined) return yield unchecked("model", "Trial", UNNAMED);
    const obstacle = visit.outOfReach ?? trial.obstacle;
    if (obstacle !== undefined) return yield unchecked("model", trial.id, obstacle);
    const load = yield* loadOf(visit, trial);
    if (load === undefined) return;
    const served = await servedModel(visit, trial, load);
    if (served === undefined) {
      const next = "/ai-server-status lists the models.";
      return yield fault("model", trial.id, "the server does not list it any more", next);
    }
    if (trial.runsAs !== undefined) visit.leaves = `${trial.id} stays loaded.`;
    const say = (doing: string): void => {
      visit.doing = `${trial.id}: ${doing}`;
      visit.call.waiting.say(visit.doing);
    };
    const talk = yield* answers(visit, served, say);
    if (talk !== undefined) yield* abilities(visit, served, talk, say);
  },
};

/**
 * Loads the model where the user has agreed.
 *
 * @returns undefined where it is not to be tried
 */
async function* loadOf(visit: Visit, trial: Trial): AsyncGenerator<Finding, Loaded | undefined> {
  const { server, signal } = visit;
  const { id, runsAs, mayLoad } = trial;
  const running = await server.runningNow(signal);
  if (isReady(running, runsAs)) {
    const busy = await othersOn(visit, trial);
    yield busy === undefined
      ? ok("load", "Load", `${id} is loaded${await usualTime(visit, runsAs)}`)
      : unchecked("model", id, busy);
    return busy === undefined ? LOADED : undefined;
  }
  if (!mayLoad) {
    yield unchecked("load", "Load", notReady(trial, running));
    return undefined;
  }
  const { load } = await server.backend(signal);
  // The first request loads it, or another server does.
  if (load === undefined || running === undefined || runsAs === undefined) return LOADED;
  const loaded = await loadNow(visit, id, runsAs).catch((error: unknown) => {
    signal.throwIfAborted();
    if (error instanceof ServerError) return error;
    throw error;
  });
  if (!(loaded instanceof ServerError)) {
    yield loadTime(loaded, await nearestLimit(visit));
    return loaded;
  }
  const next = `/ai-server-logs ${runsAs} shows what it says of itself while it loads.`;
  yield fault("load", "Load", sentenceOf(loaded), next);
  return undefined;
}

/** What another client has the model do now; undefined where a trial disturbs none. */
async function othersOn({ server, signal, call }: Visit, { runsAs, id }: Trial): Promise<string | undefined> {
  const own = requestsOn(await requestsInFlight(server, signal), [runsAs ?? id]);
  if (!own.total && !own.silent?.length) return undefined;
  return `not tried, since it is at work. ${requestWords(own, sessionOf(call), false)} Run this again when it is idle`;
}

async function usualTime({ call, config }: Visit, runsAs: string | undefined): Promise<string> {
  const ms = runsAs === undefined ? undefined : await call.aiServer.remembered.expectedLoadMs(config, runsAs);
  return ms === undefined ? "" : `; its last loads took about ${spent(ms)}`;
}

async function loadNow(visit: Visit, id: string, runsAs: string): Promise<Loaded> {
  const { call, server, signal } = visit;
  const { onLoading, onLoaded } = loadHooks(call, server);
  visit.doing = `Loading ${id}`;
  visit.leaves = `The server goes on loading ${id}.`;
  const loaded = await call.aiServer.exclusively(`/ai-server-doctor --model ${id}`, () =>
    loadModel(server, runsAs, {
      report: (progress) => {
        onLoading(runsAs, progress);
        visit.doing = loadWords(runsAs, progress);
      },
      signal,
    }),
  );
  if (loaded.loadMs !== undefined) onLoaded(runsAs, loaded.loadMs);
  return loaded;
}

/** The model as pi has it, with what it reports now that it is loaded. */
async function servedModel(
  { call, server, stored, signal }: Visit,
  { id, runsAs }: Trial,
  { wasLoaded }: Loaded,
): Promise<ServedModel | undefined> {
  // With the same command line it may have got another window.
  if (!wasLoaded && runsAs !== undefined) server.known.outdate(runsAs);
  const { models } = await call.aiServer.discover(stored, { signal });
  if (!wasLoaded) await call.aiServer.publish(models, call.ctx.modelRegistry, false);
  return models.find((one) => one.id === id);
}
