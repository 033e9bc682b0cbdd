/**
 * Several servers behind one address, where a load balancer lets any of them answer: noticed by answers that one server
 * cannot give. What goes back and forth within one moment is the state of two servers.
 */
import type { ListedModel } from "./models/listed-model.ts";
import type { RunningModel } from "./models/models.ts";
import { nameOf } from "./models/names.ts";

/** The header in which a load balancer may name the server that answers; the documented Caddyfile does. */
const UPSTREAM_HEADER = "x-upstream";

/** An answer that differs from one so recent leads to another look, and counts as the state of one of the servers. */
const RECENT_MS = 10_000;
/** Looks after the first: the second shows a change, the third that it goes back and forth. */
const MOST_LOOKS = 3;
/** For so long the last contradiction counts. */
const KNOWN_MS = 60_000;
/** Ids that a sentence names at most. */
const MOST_NAMED = 3;

/** The different answers to one question. */
class Answers<T> {
  readonly #printOf: (answer: T) => string;
  /** The last one last. */
  #seen: { print: string; answer: T; at: number }[] = [];

  /** @param printOf the same for answers that one server may give one after the other within a moment */
  constructor(printOf: (answer: T) => string) {
    this.#printOf = printOf;
  }

  get last(): T | undefined {
    return this.#seen.at(-1)?.answer;
  }

  /** @returns whether the last answer was another one, and whether an earlier one has come back in its place */
  take(answer: T, now: number): { isOther: boolean; isBack: boolean } {
    const print = this.#printOf(answer);
    const recent = this.#seen.filter(({ at }) => now - at < RECENT_MS).map((seen) => seen.print);
    const isOther = recent.length > 0 && recent.at(-1) !== print;
    const others = this.#seen.filter((seen) => seen.print !== print && now - seen.at < KNOWN_MS);
    this.#seen = [...others, { print, answer, at: now }];
    return { isOther, isBack: isOther && recent.includes(print) };
  }

  /** Those of so many milliseconds, the last one first. */
  within(ms: number, now: number): T[] {
    return this.#seen.flatMap(({ answer, at }) => (now - at < ms ? [answer] : [])).reverse();
  }
}

/** What is about to become ready, or to stop, may change at any moment. */
function readyIds(running: readonly RunningModel[]): string[] {
  return running.flatMap(({ id, state }) => (state === "ready" ? [id] : [])).sort();
}

function listedIds(models: readonly ListedModel[]): string[] {
  return models.map(({ id }) => id).sort();
}

const RANKS: Readonly<Record<RunningModel["state"], number>> = {
  ready: 4,
  starting: 3,
  stopping: 2,
  unknown: 1,
  unloaded: 0,
};

/** What the requests of one session have shown of the servers: those of another may go to another server. */
export class SeveralServers {
  readonly session: string | undefined;
  readonly #now: () => number;
  #noticedAt = Number.NEGATIVE_INFINITY;
  readonly #running = new Answers<readonly RunningModel[]>((models) => JSON.stringify(readyIds(models)));
  readonly #lists = new Answers<readonly ListedModel[]>((models) => JSON.stringify(listedIds(models)));
  readonly #upstreams = new Answers<string>((name) => name);

  constructor(session: string | undefined, now: () => number) {
    this.session = session;
    this.#now = now;
  }

  /** Whether answers contradict each other: the next request may reach another server than the last one. */
  get isKnown(): boolean {
    return this.#now() - this.#noticedAt < KNOWN_MS;
  }

  /** The server that answered last, as the load balancer names it. */
  get upstream(): string | undefined {
    return this.#upstreams.last;
  }

  /** Takes in the headers of an answer. */
  sawHeaders(headers: Readonly<Record<string, string>>): void {
    const name = nameOf(headers[UPSTREAM_HEADER]);
    // A load balancer that has left out a server does not ask it again so soon.
    if (name !== undefined && this.#upstreams.take(name, this.#now()).isBack) this.#notice();
  }

  /**
   * Takes in what runs.
   *
   * @param first as it was just read
   * @param again reads it
   * @param isTwice whether to read it again in any case: of servers that take turns, the next one answers
   * @returns of several servers what any of them runs
   * @throws what `again` throws
   */
  async running(
    first: RunningModel[],
    again: () => Promise<RunningModel[] | undefined>,
    isTwice = false,
  ): Promise<RunningModel[]> {
    const last = await this.#look(this.#running, first, again, isTwice);
    return this.isKnown ? merged(this.#running.within(RECENT_MS, this.#now())) : [...last];
  }

  /** The same for the list of models. */
  async listed(first: ListedModel[], again: () => Promise<ListedModel[]>): Promise<ListedModel[]> {
    const last = await this.#look(this.#lists, first, again);
    if (!this.isKnown) return [...last];
    const all = new Map<string, ListedModel>();
    for (const model of this.#lists.within(RECENT_MS, this.#now()).flat())
      if (!all.has(model.id)) all.set(model.id, model);
    return [...all.values()];
  }

  /** What differs between the servers, as a sentence; undefined where only one answers, as far as is known. */
  get warning(): string | undefined {
    if (!this.isKnown) return undefined;
    const now = this.#now();
    // In an order that does not change with the server that answered last.
    const running = this.#running
      .within(KNOWN_MS, now)
      .map((models) => idWords(readyIds(models)))
      .sort();
    const lists = this.#lists.within(KNOWN_MS, now).map(listedIds);
    const differences = [
      ...(running.length < 2 ? [] : [running.map((ids) => `one has ${ids} loaded`).join(", ")]),
      ...(lists.length < 2 ? [] : [`not all of them list ${idWords(inSomeOnly(lists))}`]),
    ];
    const names = this.#upstreams.within(KNOWN_MS, now).sort();
    const where = names.length < 2 ? "" : ` (${names.join(", ")})`;
    const what = differences.length === 0 ? "" : `: ${differences.join("; ")}`;
    return `Several servers answer at this address${where}${what}. Let the load balancer keep a session on one of them, as docs/several-machines.md shows.`;
  }

  /** Looks again at once where an answer differs from the last one, or where several servers are known. */
  async #look<T>(
    answers: Answers<T>,
    first: T,
    again: () => Promise<T | undefined>,
    isTwice = false,
  ): Promise<T> {
    const { isOther } = answers.take(first, this.#now());
    const most = isOther || isTwice ? MOST_LOOKS : this.isKnown ? 1 : 0;
    let last = first;
    for (let looks = 0, changes = 0; looks < most; looks += 1) {
      const next = await again();
      if (next === undefined) break;
      last = next;
      if (answers.take(next, this.#now()).isOther) changes += 1;
      if (changes === 2 || (changes === 1 && this.isKnown)) this.#notice();
      if (changes !== 1) break;
    }
    return last;
  }

  #notice(): void {
    this.#noticedAt = this.#now();
  }
}

/** Each model once, in its best state. */
function merged(answers: readonly (readonly RunningModel[])[]): RunningModel[] {
  const best = new Map<string, RunningModel>();
  for (const model of answers.flat()) {
    const known = best.get(model.id);
    if (known === undefined || RANKS[known.state] < RANKS[model.state]) best.set(model.id, model);
  }
  return [...best.values()];
}

function inSomeOnly(lists: readonly (readonly string[])[]): string[] {
  const all = new Set(lists.flat());
  return [...all].sort().filter((id) => !lists.every((ids) => ids.includes(id)));
}

function idWords(ids: readonly string[]): string {
  if (ids.length === 0) return "nothing";
  const more = ids.length > MOST_NAMED ? ` and ${ids.length - MOST_NAMED} more` : "";
  return ids.slice(0, MOST_NAMED).join(", ") + more;
}
