/** What a turn is doing, as plain data for the terminal: read when somebody looks, so that a token costs nothing. */
import type { ModelRequests } from "./server/in-flight.ts";

/** Tokens that come or are read per second, and what can be said from it. Times are in milliseconds. */
export type Activity =
  | { kind: "connecting" }
  /** The request waits behind others, or for another model to leave. */
  | {
      kind: "waiting";
      /** The model that has to leave, or the server itself. */
      for: string | undefined;
      /** What that model still answers, where the server tells. */
      requests: ModelRequests | undefined;
      /** Place in llama-swap's queue, from 1. */
      position: number | undefined;
      elapsedMs: number;
    }
  | {
      kind: "loading";
      elapsedMs: number;
      expectedMs: number | undefined;
      /** Why it is loaded once more, where an earlier turn had it loaded: the model that took its place, if known. */
      again: { instead: string | undefined } | undefined;
    }
  /** Tokens of the prompt: `cached` of them need no work; `processed` includes them. */
  | {
      kind: "prompt";
      total: number;
      cached: number;
      processed: number;
      perSecond: number | undefined;
      leftMs: number | undefined;
    }
  | { kind: "generating"; tokens: number; perSecond: number | undefined }
  | { kind: "retrying"; why: string; leftMs: number };

/** Between two questions for whom a model still works: each is a line in the server's log. */
const ASK_AGAIN_MS = 5000;

/** A rate is that of the last seconds. */
const WINDOW_MS = 4000;
/** Below this there is nothing to estimate from. */
const LEAST_SPAN_MS = 800;

/** The rate of a growing count over the last seconds. */
export class RateMeter {
  #samples: { at: number; count: number }[] = [];

  /** @param at in milliseconds, of any clock that runs evenly */
  add(at: number, count: number): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && (at <= last.at || count < last.count)) return;
    this.#samples.push({ at, count });
    // One sample at or before the window's beginning stays, so that the window is whole.
    while ((this.#samples[1]?.at ?? at) <= at - WINDOW_MS) this.#samples.shift();
  }

  /** Per second; undefined until there is something to tell it from. */
  get perSecond(): number | undefined {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (first === undefined || last === undefined || last.at - first.at < LEAST_SPAN_MS) return undefined;
    return (1000 * (last.count - first.count)) / (last.at - first.at);
  }
}

/** What the server tells of a prompt that it reads. */
export interface PromptProgress {
  total: number;
  cached: number;
  processed: number;
  /** Milliseconds that the server has spent on it; its own clock knows best. */
  timeMs: number | undefined;
}

/** Why a turn waits, as far as the server shows it. */
export interface Waiting {
  for: string | undefined;
  position: number | undefined;
}

/** What an answer took, in the server's own figures. */
export interface AnswerFigures {
  promptTokens: number;
  cachedTokens: number;
  /** Of the tokens that were not cached. */
  promptPerSecond: number | undefined;
  tokens: number;
  perSecond: number | undefined;
}

/** One turn's figures, when it is over. */
export interface TurnFigures extends AnswerFigures {
  model: string;
  /** Unix time in milliseconds. */
  endedAt: number;
  /** How long the load took that the turn caused or waited for. */
  loadMs: number | undefined;
}

/** What a turn says of itself while it runs. */
export interface TurnReport {
  connecting(): void;
  waiting(waiting: Waiting): void;
  /**
   * @param elapsedMs how long it has lasted already, as far as that is known
   * @param instead the model that is or was loaded in its place
   */
  loading(elapsedMs: number, instead: string | undefined): void;
  prompt(progress: PromptProgress): void;
  /** @param tokens gives how many came so far */
  generating(tokens: () => number): void;
  retrying(why: string, delayMs: number): void;
}

type State =
  | { kind: "connecting" }
  | ({ kind: "waiting"; since: number } & Waiting)
  | { kind: "loading"; since: number }
  | { kind: "prompt" }
  | { kind: "generating"; tokens: () => number }
  | { kind: "retrying"; why: string; until: number };

export interface TurnSubject {
  readonly id: string;
  readonly name: string;
  /** The session of pi that the turn belongs to, where pi tells it. */
  readonly sessionId: string | undefined;
  /** Whether it has answered before, so that it was loaded then. */
  readonly hasAnswered: boolean;
}

/** What a turn asks others while it waits. None of them rejects. */
export interface TurnQuestions {
  expectedLoadMs(): Promise<number | undefined>;
  requestsOf(model: string): Promise<ModelRequests | undefined>;
}

/** What one turn does. Written by the turn, read by whoever shows it. */
export class TurnActivity implements TurnReport {
  readonly subject: TurnSubject;
  readonly #questions: TurnQuestions;
  readonly #now: () => number;
  #state: State = { kind: "connecting" };
  #prompt: PromptProgress | undefined;
  #promptAt = 0;
  #promptRate = new RateMeter();
  #tokenRate = new RateMeter();
  #loadMs: number | undefined;
  #expectedLoadMs: number | undefined;
  #hasAskedForLoad = false;
  #instead: string | undefined;
  #requests: ModelRequests | undefined;
  #askedForRequestsAt = Number.NEGATIVE_INFINITY;

  constructor(subject: TurnSubject, questions: TurnQuestions, now: () => number) {
    this.subject = subject;
    this.#questions = questions;
    this.#now = now;
  }

  /** How long the load took that this turn has seen from its beginning to its end. */
  get loadMs(): number | undefined {
    return this.#loadMs;
  }

  connecting(): void {
    this.#state = { kind: "connecting" };
  }

  waiting(waiting: Waiting): void {
    const since = this.#state.kind === "waiting" ? this.#state.since : this.#now();
    this.#state = { kind: "waiting", since, ...waiting };
    if (waiting.for === undefined) return;
    this.#instead = waiting.for;
    this.#askWho(waiting.for);
  }

  loading(elapsedMs: number, instead: string | undefined): void {
    this.#instead = instead ?? this.#instead;
    const { kind } = this.#state;
    // What was waited before the load does not belong to it.
    const begun = this.#now() - (kind === "waiting" ? 0 : elapsedMs);
    this.#state = { kind: "loading", since: kind === "loading" ? this.#state.since : begun };
    if (this.#hasAskedForLoad) return;
    this.#hasAskedForLoad = true;
    void this.#questions.expectedLoadMs().then((ms) => {
      this.#expectedLoadMs = ms;
    });
  }

  prompt(progress: PromptProgress): void {
    const now = this.#now();
    this.#noteLoad();
    const last = this.#prompt;
    // A server that begins again, after a retry, counts anew; within one prompt nothing goes backwards.
    const isSame = last?.total === progress.total && last.cached === progress.cached;
    if (!isSame) this.#promptRate = new RateMeter();
    const processed = Math.min(
      progress.total,
      Math.max(progress.processed, progress.cached, isSame ? last.processed : 0),
    );
    this.#prompt = { ...progress, processed };
    this.#promptAt = now;
    this.#promptRate.add(progress.timeMs ?? now, processed - progress.cached);
    this.#state = { kind: "prompt" };
  }

  /** @param tokens gives how many came so far */
  generating(tokens: () => number): void {
    this.#noteLoad();
    this.#tokenRate = new RateMeter();
    this.#tokenRate.add(this.#now(), tokens());
    this.#state = { kind: "generating", tokens };
  }

  retrying(why: string, delayMs: number): void {
    this.#state = { kind: "retrying", why, until: this.#now() + delayMs };
  }

  /** What the turn does at this moment. */
  look(): Activity {
    const now = this.#now();
    const state = this.#state;
    switch (state.kind) {
      case "connecting":
        return state;
      case "waiting": {
        const { since, ...waiting } = state;
        const requests = this.#requests?.model === waiting.for ? this.#requests : undefined;
        return { ...waiting, requests, elapsedMs: now - since };
      }
      case "loading":
        return {
          kind: "loading",
          elapsedMs: now - state.since,
          expectedMs: this.#expectedLoadMs,
          again: this.subject.hasAnswered ? { instead: this.#instead } : undefined,
        };
      case "prompt":
        return this.#lookAtPrompt(now);
      case "generating": {
        const tokens = state.tokens();
        this.#tokenRate.add(now, tokens);
        return { kind: "generating", tokens, perSecond: this.#tokenRate.perSecond };
      }
      case "retrying":
        return { kind: "retrying", why: state.why, leftMs: Math.max(0, state.until - now) };
    }
  }

  #lookAtPrompt(now: number): Activity {
    const { total, cached, processed } = this.#prompt ?? { total: 0, cached: 0, processed: 0 };
    const perSecond = this.#promptRate.perSecond;
    const left =
      perSecond === undefined || perSecond <= 0 ? undefined : (1000 * (total - processed)) / perSecond;
    const leftMs = left === undefined ? undefined : Math.max(0, left - (now - this.#promptAt));
    return { kind: "prompt", total, cached, processed, perSecond, leftMs };
  }

  #noteLoad(): void {
    if (this.#state.kind === "loading") this.#loadMs = this.#now() - this.#state.since;
  }

  #askWho(model: string): void {
    if (this.#now() - this.#askedForRequestsAt < ASK_AGAIN_MS) return;
    this.#askedForRequestsAt = this.#now();
    void this.#questions.requestsOf(model).then((requests) => {
      this.#requests = requests;
    });
  }
}

const KEPT_FIGURES = 20;

/** The turns under way, and the figures of the last ones. */
export class Activities {
  readonly #running = new Set<TurnActivity>();
  readonly #ended: TurnFigures[] = [];
  readonly #answered = new Set<string>();
  readonly #listeners = new Set<() => void>();

  /** Called when a turn begins or ends. @returns takes the listener away */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  begin(turn: TurnActivity): void {
    this.#running.add(turn);
    this.#tell();
  }

  /** @param figures undefined for a turn that failed */
  end(turn: TurnActivity, figures: TurnFigures | undefined): void {
    if (!this.#running.delete(turn)) return;
    if (figures !== undefined) {
      this.#ended.push(figures);
      this.#answered.add(turn.subject.id);
    }
    if (this.#ended.length > KEPT_FIGURES) this.#ended.shift();
    this.#tell();
  }

  /** The turn in front of the user: the session's own, else the one that began first; and how many others there are. */
  front(sessionId: string | undefined): { turn: TurnActivity; others: number } | undefined {
    const turns = [...this.#running];
    const turn =
      turns.find(({ subject }) => sessionId !== undefined && subject.sessionId === sessionId) ?? turns[0];
    return turn && { turn, others: turns.length - 1 };
  }

  /** Whether a model has answered since pi's start. */
  hasAnswered(id: string): boolean {
    return this.#answered.has(id);
  }

  /** The figures of the last turns, the latest last. */
  get figures(): readonly TurnFigures[] {
    return this.#ended;
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
