/** The state of the server at this moment, put together from several answers and events. Does no I/O. */
import type { LoadSince } from "../../activity/load-state.ts";
import type { ServerVersion } from "../../server/kinds/backend.ts";
import type { Client, RequestInFlight } from "../../server/kinds/events.ts";
import type { AnsweredRequest, Performance } from "../../server/kinds/llama-swap/metrics.ts";
import { type ModelDescription, NO_DESCRIPTION } from "../../server/models/listed-model.ts";
import type { Fact, ModelFacts, ModelState, RunningModel } from "../../server/models/models.ts";

/** `still`: the state changes only when it is read again. */
export type Following = "reading" | "live" | "polling" | "still" | "lost";

/** Tokens per second of a model's last answer, where they were measured. */
export interface Rates {
  readonly prompt: number | undefined;
  readonly generation: number | undefined;
}

export interface PanelModel {
  readonly id: string;
  /** The id under which the server runs it; undefined where it runs elsewhere. */
  readonly runsAs: string | undefined;
  /** Undefined for a model that runs but is not listed for chatting. */
  readonly facts: ModelFacts | undefined;
  readonly running: RunningModel | undefined;
  readonly state: ModelState;
  readonly description: ModelDescription;
  readonly loading: LoadSince | undefined;
  readonly expectedLoadMs: number | undefined;
  readonly isInUse: boolean;
  /** Whether the server loads and unloads it when asked. */
  readonly canLoad: boolean;
  /** When it unloads if it stays idle, in Unix milliseconds. */
  readonly unloadsAt: number | undefined;
  readonly rates: Rates;
}

interface PanelRequest {
  readonly id: string;
  readonly model: string;
  readonly since: number | undefined;
  readonly client: Client;
}

export interface PanelState {
  readonly following: Following;
  /** Why the models could not be read, where they could not. */
  readonly problem: unknown;
  readonly version: ServerVersion | undefined;
  /** The last day of the client certificate. */
  readonly certificateEnds: Date | undefined;
  /** The server that answered last, where a load balancer names it. */
  readonly upstream: string | undefined;
  /** What differs between several servers that answer at the address, as a sentence. */
  readonly warning: string | undefined;
  readonly models: readonly PanelModel[];
  /** Undefined where the server does not report them. */
  readonly requests: readonly PanelRequest[] | undefined;
  /** They are polled: where there are none yet, the next answer may have them. */
  readonly isAskingRequests: boolean;
  readonly performance: Performance | undefined;
  /** The last requests, the oldest first; undefined where the server does not report them. */
  readonly answered: readonly AnsweredRequest[] | undefined;
}

export interface ModelsRead {
  readonly models: readonly ModelFacts[];
  readonly running: readonly RunningModel[] | undefined;
  /** By the id of each model. */
  readonly descriptions: ReadonlyMap<string, ModelDescription>;
  /** Milliseconds, by the id under which the server runs it. */
  readonly expectedLoads: ReadonlyMap<string, number>;
  /** The processes that were asked for their facts, which counts as a use of them. */
  readonly asked: readonly string[];
}

const NOTHING_READ: ModelsRead = {
  models: [],
  running: undefined,
  descriptions: new Map(),
  expectedLoads: new Map(),
  asked: [],
};

/** The state, which answers and events change. Times are Unix milliseconds by our clock. */
export class PanelStore implements PanelState {
  following: Following = "reading";
  problem: unknown;
  version: ServerVersion | undefined;
  certificateEnds: Date | undefined;
  upstream: string | undefined;
  warning: string | undefined;
  /** Whether such a server loads and unloads when asked. */
  canLoad = true;
  answered: readonly AnsweredRequest[] | undefined;
  isAskingRequests = false;
  performance: Performance | undefined;
  requests: PanelState["requests"];
  #read = NOTHING_READ;
  /** By the id under which the server runs a model. */
  #states: ReadonlyMap<string, ModelState> = new Map();
  readonly #loading = new Map<string, LoadSince>();
  /** When each model was last seen in use. */
  readonly #usedAt = new Map<string, number>();
  /** Whether the last states came by events, without a gap until now. */
  #isFollowed = false;
  /** Counts the events, so that an older answer does not overwrite them. */
  #events = 0;

  /** To pass to `sawModels` with the answer to a question asked now. */
  get events(): number {
    return this.#events;
  }

  /**
   * @param events as it was when the models were asked for
   * @param now when the models were asked
   * @returns whether one has become ready meanwhile, so that it has to be read again
   */
  sawModels(read: ModelsRead, events: number, now: number): boolean {
    this.problem = undefined;
    this.#read = read;
    const { models, running, asked } = read;
    for (const id of asked) this.#usedAt.set(id, now);
    if (running === undefined) return false;
    const ready = new Set(running.filter(({ state }) => state === "ready").map(({ id }) => id));
    if (events !== this.#events)
      return [...this.#states].some(([id, state]) => state === "ready" && !ready.has(id));
    const states = new Map(models.flatMap(({ runsAs, state }) => (runsAs ? [[runsAs, state]] : [])));
    for (const { id, state } of running) states.set(id, state);
    this.#take(states, now, false);
    return false;
  }

  /**
   * Takes the state of each model.
   *
   * @returns whether a load has ended, so that its model has to be read again
   */
  sawStates(states: ReadonlyMap<string, ModelState>, now: number): boolean {
    const isFollowed = this.#isFollowed;
    this.#isFollowed = true;
    this.#events += 1;
    return this.#take(states, now, isFollowed);
  }

  /** @param running everything that runs, where the server reports nothing else */
  sawRunning(running: readonly RunningModel[], now: number): boolean {
    const states = new Map([...this.#states.keys()].map((id): [string, ModelState] => [id, "unloaded"]));
    for (const { id, state } of running) states.set(id, state);
    this.#isFollowed = false;
    return this.sawStates(states, now);
  }

  /** @param isFollowed whether every change since the last states was reported, so that a load begins now */
  #take(states: ReadonlyMap<string, ModelState>, now: number, isFollowed: boolean): boolean {
    const before = this.#states;
    const isFirst = before.size === 0;
    this.#states = states;
    for (const [id, state] of states) {
      if (state !== "starting") this.#loading.delete(id);
      else if (!this.#loading.has(id)) {
        // Up to v217 a starting model is at first shown as unloaded.
        this.#loading.set(id, { since: now, isWhole: isFollowed && before.get(id) !== "starting" });
      }
      if (state === "unloaded") this.#usedAt.delete(id);
    }
    for (const id of this.#loading.keys()) if (!states.has(id)) this.#loading.delete(id);
    return !isFirst && [...states].some(([id, state]) => isNews(before.get(id), state));
  }

  /** @returns whether the list has changed: the server reports each piece of an answer */
  sawRequests(requests: readonly RequestInFlight[], now: number): boolean {
    const before = this.requests;
    const busy = new Set(requests.map(({ model }) => model));
    for (const { model } of before ?? []) if (!busy.has(model)) this.#usedAt.set(model, now);
    const known = new Map(before?.map((request) => [request.id, request]));
    this.requests = requests.map(({ id, model, elapsedMs, client }) => {
      const since = elapsedMs === undefined ? undefined : now - elapsedMs;
      return known.get(id) ?? { id, model, client, since };
    });
    const ids = (of: PanelState["requests"]): string => JSON.stringify(of?.map(({ id }) => id));
    return ids(before) !== ids(this.requests);
  }

  lostEvents(): void {
    this.following = "lost";
    this.#isFollowed = false;
    this.requests = undefined;
    this.#usedAt.clear();
  }

  get models(): PanelModel[] {
    const listed = this.#read.models.map((facts) => this.#model(facts.id, facts.runsAs, facts));
    const shown = new Set(listed.map(({ runsAs }) => runsAs));
    // Before the first reading it is not known what is listed.
    const states = this.#read === NOTHING_READ ? [] : [...this.#states];
    const unlisted = states.filter(
      ([id, state]) => !shown.has(id) && state !== "unloaded" && state !== "unknown",
    );
    return [...listed, ...unlisted.map(([id]) => this.#model(id, id, undefined))];
  }

  #model(id: string, runsAs: string | undefined, facts: ModelFacts | undefined): PanelModel {
    const process = runsAs ?? "";
    const state = this.#states.get(process) ?? facts?.state ?? "unknown";
    const running = this.#read.running?.find((model) => model.id === process);
    const isInUse = this.requests?.some(({ model }) => model === process) === true;
    const loading = this.#loading.get(process);
    return {
      id,
      runsAs,
      facts: facts && asOf(facts, state),
      running,
      state,
      canLoad: this.canLoad && runsAs !== undefined && facts?.problem === undefined,
      description: this.#read.descriptions.get(id) ?? NO_DESCRIPTION,
      loading: state === "starting" ? loading : undefined,
      expectedLoadMs: this.#read.expectedLoads.get(process),
      isInUse,
      unloadsAt: isInUse || state !== "ready" ? undefined : this.#unloadsAt(process, running?.ttlSeconds),
      rates: this.#ratesOf(process),
    };
  }

  #unloadsAt(id: string, ttlSeconds: number | undefined): number | undefined {
    const usedAt = this.#usedAt.get(id);
    // Without the list of requests it may be in use unseen.
    if (usedAt === undefined || !ttlSeconds || ttlSeconds < 0 || this.requests === undefined)
      return undefined;
    return usedAt + 1000 * ttlSeconds;
  }

  #ratesOf(id: string): Rates {
    const own = this.answered?.filter(({ model }) => model === id) ?? [];
    return {
      prompt: own.findLast(({ promptRate }) => promptRate !== undefined)?.promptRate,
      generation: own.findLast(({ generationRate }) => generationRate !== undefined)?.generationRate,
    };
  }
}

/** A load that has ended, well or not. */
function isNews(before: ModelState | undefined, now: ModelState): boolean {
  return (now === "ready" && before !== "ready") || (now === "unloaded" && before === "starting");
}

/** Facts of a model whose state has changed since they were read. */
function asOf(facts: ModelFacts, state: ModelState): ModelFacts {
  if (facts.state === state) return facts;
  const seen = <T>(fact: Fact<T>): Fact<T> =>
    fact.source === "live" && state !== "ready" ? { ...fact, source: "last seen" } : fact;
  const { context, vision, thinking, tools } = facts;
  return {
    ...facts,
    state,
    context: seen(context),
    vision: seen(vision),
    thinking: seen(thinking),
    tools: seen(tools),
  };
}
