/** What a turn is doing, as plain data for the terminal. It is worked out when it is read, so that a token costs nothing. */

import type { LoadStage } from "./load-state.ts";
import { type PromptFigures, type PromptProgress, PromptReading, RateMeter } from "./rates.ts";
import { type EndableThinking, ThinkingActivity } from "./thinking.ts";

/** Rates are in tokens per second, times in milliseconds. */
export type Activity =
  /** The request is sent, and nothing is known of the answer. */
  | { kind: "connecting"; elapsedMs: number }
  /** The request waits in a queue, or for another model to unload. */
  | (Waiting & {
      kind: "waiting";
      /** How many requests the blocking model still has, where the server reports them. */
      requests: number | undefined;
      elapsedMs: number;
    })
  /** The server answered before and does not now. `by`: the command of this pi that restarts it. */
  | { kind: "down"; by: string | undefined; elapsedMs: number }
  | {
      kind: "loading";
      elapsedMs: number;
      expectedMs: number | undefined;
      /** Why it is loaded once more, where an earlier turn had it loaded: the model that took its place, if known. */
      again: { blockedBy: string | undefined } | undefined;
      /** Where the server reports it. */
      stage: LoadStage | undefined;
    }
  | ({ kind: "prompt" } & PromptFigures)
  /** `canAnswerNow`: it has thought for some seconds, and a key ends that. */
  | { kind: "generating"; tokens: number; perSecond: number | undefined; canAnswerNow?: boolean }
  /** The answer has begun, and pauses. */
  | { kind: "silent"; tokens: number; why: QuietReason | undefined; elapsedMs: number }
  | { kind: "retrying"; why: string; leftMs: number };

/**
 * Why an answer is silent: the model's state where it is not ready, a server that does not answer either, or one that
 * has lost the request.
 */
export type QuietReason = "starting" | "stopping" | "gone" | "unreachable" | "not held";

/** Tokens of a slow model may be some seconds apart. */
const QUIET_MS = 6000;

/** Between two questions for a model's requests: each is a line in the server's log. */
const ASK_AGAIN_MS = 5000;

/** Why a turn waits, where the server shows it. */
export interface Waiting {
  /** The model that must unload first. */
  blockedBy: string | undefined;
  /** Place in llama-swap's queue, from 1. */
  position: number | undefined;
  /** Requests of others that the model itself answers, while it has no slot for this one. */
  ahead?: number | undefined;
}

/** The server's own figures of an answer. */
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

/** Receives what a running turn does. */
export interface TurnReport {
  connecting(): void;
  waiting(waiting: Waiting): void;
  /**
   * @param elapsedMs how long it has lasted, as far as known
   * @param blockedBy the model that is or was loaded in its place
   * @param stage where the server reports it
   */
  loading(elapsedMs: number, blockedBy: string | undefined, stage?: LoadStage): void;
  prompt(progress: PromptProgress): void;
  /** @param tokens gives how many came so far */
  generating(tokens: () => number): void;
  /** The model thinks, and that can be ended. */
  thinks(thinking: EndableThinking): void;
  retrying(why: string, delayMs: number): void;
  /** The answer has begun and pauses. @param why undefined: not known */
  quiet(why: QuietReason | undefined, silentMs: number): void;
  /** The server answered before and does not now. @param by the command of this pi that restarts it */
  down(by: string | undefined): void;
  /** A load was interrupted; the next one starts from the beginning. */
  restarted(): void;
}

type State =
  | { kind: "connecting"; since: number }
  | ({ kind: "waiting"; since: number } & Waiting)
  | { kind: "loading"; since: number; stage: LoadStage | undefined }
  | { kind: "prompt"; reading: PromptReading }
  | { kind: "down"; since: number; by: string | undefined }
  | { kind: "generating"; tokens: () => number }
  | { kind: "retrying"; why: string; until: number };

export interface TurnSubject {
  readonly id: string;
  readonly name: string;
  /** pi's session, where pi passes it. */
  readonly sessionId: string | undefined;
  /** Whether it has answered before, so that it was loaded then. */
  readonly hasAnswered: boolean;
  /** The model seen in its place since then. */
  readonly blockedBy?: string | undefined;
  /** Models that are loaded beside it, and have not taken its place. */
  readonly beside?: ReadonlySet<string> | undefined;
}

/** What a waiting turn asks the server for its display. None of them rejects. */
export interface TurnQuestions {
  expectedLoadMs(): Promise<number | undefined>;
  /** How many requests the model has. */
  requestsOf(model: string): Promise<number | undefined>;
  /** The other model that the server's last request was for. */
  lastUsed(): Promise<string | undefined>;
}

/** What one turn does. The turn writes it and the terminal reads it; only reading asks questions. */
export class TurnActivity implements TurnReport {
  readonly subject: TurnSubject;
  readonly #questions: TurnQuestions;
  readonly #now: () => number;
  #state: State;
  #tokenRate = new RateMeter();
  /** The last token that was seen, and why none follows. */
  #lastToken = { count: 0, at: 0 };
  #quiet: { why: QuietReason | undefined; since: number } | undefined;
  readonly #thinking = new ThinkingActivity();
  /** When the load began that has not ended yet; a refusal in the midst of it does not end it. */
  #loadingSince: number | undefined;
  /** When it was last seen that another model had to unload first. */
  #waitedUntil = Number.NEGATIVE_INFINITY;
  #loadMs: number | undefined;
  #hasLoaded = false;
  #expectedLoadMs: number | undefined;
  #hasAskedForLoad = false;
  #hasAskedWhy = false;
  #blockedBy: string | undefined;
  #requests: { model: string; total: number | undefined } | undefined;
  #askedForRequestsAt = Number.NEGATIVE_INFINITY;

  constructor(subject: TurnSubject, questions: TurnQuestions, now: () => number) {
    this.subject = subject;
    this.#questions = questions;
    this.#now = now;
    this.#state = { kind: "connecting", since: now() };
  }

  /** How long the load took that this turn has seen from its beginning to its end. */
  get loadMs(): number | undefined {
    return this.#loadMs;
  }

  /** Whether a load has ended in this turn since this was last asked. */
  takeLoad(): boolean {
    const hasLoaded = this.#hasLoaded;
    this.#hasLoaded = false;
    return hasLoaded;
  }

  connecting(): void {
    this.#noteLoad();
    this.#quiet = undefined;
    if (this.#state.kind !== "connecting") this.#state = { kind: "connecting", since: this.#now() };
  }

  waiting(waiting: Waiting): void {
    // Loaded, and busy with others.
    if (waiting.ahead !== undefined) this.#noteLoad();
    const since = this.#state.kind === "waiting" ? this.#state.since : this.#now();
    this.#state = { kind: "waiting", since, ...waiting };
    if (waiting.blockedBy !== undefined) this.#waitedUntil = this.#now();
    // The banner shows a load before it names a place in the queue.
    this.#loadingSince = undefined;
    this.#took(waiting.blockedBy);
  }

  loading(elapsedMs: number, blockedBy: string | undefined, stage?: LoadStage): void {
    this.#took(blockedBy);
    const now = this.#now();
    // What was waited for another model does not belong to the load; a place that only the banner has named may be over.
    const isWaiting = this.#state.kind === "waiting" && this.#state.blockedBy !== undefined;
    this.#loadingSince ??= isWaiting ? now : Math.max(now - elapsedMs, this.#waitedUntil);
    this.#state = { kind: "loading", since: this.#loadingSince, stage };
  }

  prompt(progress: PromptProgress): void {
    this.#noteLoad();
    this.#quiet = undefined;
    const now = this.#now();
    const reading = this.#state.kind === "prompt" ? this.#state.reading : undefined;
    if (reading?.isOf(progress)) reading.add(progress, now);
    else this.#state = { kind: "prompt", reading: new PromptReading(progress, now) };
  }

  generating(tokens: () => number): void {
    this.#noteLoad();
    this.#tokenRate = new RateMeter();
    this.#tokenRate.add(this.#now(), tokens());
    this.#lastToken = { count: tokens(), at: this.#now() };
    this.#quiet = undefined;
    this.#state = { kind: "generating", tokens };
  }

  thinks(thinking: EndableThinking): void {
    this.#thinking.begins(thinking, this.#now());
  }

  /** Ends the model's thinking. @returns whether the server did; undefined where there is none to end */
  answerNow(): Promise<boolean | undefined> {
    return this.#thinking.end();
  }

  quiet(why: QuietReason | undefined, silentMs: number): void {
    this.#quiet = { why, since: this.#now() - silentMs };
  }

  down(by: string | undefined): void {
    const since = this.#state.kind === "down" ? this.#state.since : this.#now();
    this.#loadingSince = undefined;
    this.#state = { kind: "down", since, by };
  }

  retrying(why: string, delayMs: number): void {
    this.#state = { kind: "retrying", why, until: this.#now() + delayMs };
  }

  restarted(): void {
    this.#loadingSince = undefined;
  }

  /** What the turn does at this moment. Where it waits, this asks how long and for whom; a later look knows. */
  look(): Activity {
    const now = this.#now();
    const state = this.#state;
    switch (state.kind) {
      case "connecting":
        return this.#lookAtQuiet(now) ?? { kind: "connecting", elapsedMs: now - state.since };
      case "waiting": {
        const { since, ...waiting } = state;
        if (waiting.blockedBy !== undefined && waiting.position === undefined)
          this.#askWho(waiting.blockedBy, now);
        const { model, total } = this.#requests ?? {};
        const requests = model === waiting.blockedBy ? total : undefined;
        return { ...waiting, requests, elapsedMs: now - since };
      }
      case "loading": {
        this.#askForLoad();
        const { hasAnswered, blockedBy: seen } = this.subject;
        const blockedBy = this.#blockedBy ?? seen;
        if (hasAnswered && blockedBy === undefined) this.#askWhy();
        const again = hasAnswered ? { blockedBy } : undefined;
        return {
          kind: "loading",
          elapsedMs: now - state.since,
          expectedMs: this.#expectedLoadMs,
          again,
          stage: state.stage,
        };
      }
      case "down":
        return { kind: "down", by: state.by, elapsedMs: now - state.since };
      case "prompt":
        return this.#lookAtQuiet(now) ?? { kind: "prompt", ...state.reading.look(now) };
      case "generating":
        return this.#lookAtTokens(state.tokens(), now);
      case "retrying":
        // Asked again, and nothing has come since.
        return now >= state.until
          ? { kind: "connecting", elapsedMs: now - state.until }
          : { kind: "retrying", why: state.why, leftMs: state.until - now };
    }
  }

  /** Before the first token: a batch of a prompt may take minutes, so that only what is known to be wrong is said. */
  #lookAtQuiet(now: number): Activity | undefined {
    const { why, since = now } = this.#quiet ?? {};
    return why && { kind: "silent", tokens: 0, why, elapsedMs: now - since };
  }

  #lookAtTokens(tokens: number, now: number): Activity {
    if (tokens !== this.#lastToken.count) {
      this.#lastToken = { count: tokens, at: now };
      this.#quiet = undefined;
    }
    this.#tokenRate.add(now, tokens);
    const elapsedMs = now - this.#lastToken.at;
    if (elapsedMs >= QUIET_MS) return { kind: "silent", tokens, why: this.#quiet?.why, elapsedMs };
    const canAnswerNow = this.#thinking.canAnswerNow(now);
    const perSecond = this.#tokenRate.perSecond();
    return { kind: "generating", tokens, perSecond, ...(canAnswerNow ? { canAnswerNow } : {}) };
  }

  #noteLoad(): void {
    if (this.#loadingSince === undefined) return;
    this.#loadMs = this.#now() - this.#loadingSince;
    this.#hasLoaded = true;
    this.#loadingSince = undefined;
  }

  #askForLoad(): void {
    if (this.#hasAskedForLoad) return;
    this.#hasAskedForLoad = true;
    void this.#questions.expectedLoadMs().then((ms) => {
      this.#expectedLoadMs = ms;
    });
  }

  #askWhy(): void {
    if (this.#hasAskedWhy) return;
    this.#hasAskedWhy = true;
    void this.#questions.lastUsed().then((model) => {
      if (this.#blockedBy === undefined) this.#took(model);
    });
  }

  /** Notes a model that is or was loaded in place of this one. */
  #took(model: string | undefined): void {
    if (model !== undefined && !this.subject.beside?.has(model)) this.#blockedBy = model;
  }

  #askWho(model: string, now: number): void {
    if (now - this.#askedForRequestsAt < ASK_AGAIN_MS) return;
    this.#askedForRequestsAt = now;
    void this.#questions.requestsOf(model).then((total) => {
      this.#requests = { model, total };
    });
  }
}
