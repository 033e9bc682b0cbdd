/** One chat turn: request, waiting, SSE, pi's events, usage. */
import type {
  Api,
  AssistantMessage,
  AssistantMessageEventStream,
  Model,
  SimpleStreamOptions,
  TranscriptContext,
} from "@earendil-works/pi-ai";
import type { AnswerFigures, TurnReport } from "./activity/turn-activity.ts";
import type { Variables } from "./config.ts";
import type { Clock } from "./lib/clock.ts";
import { ServerError } from "./lib/errors.ts";
import { record } from "./lib/json.ts";
import type { OwnSecrets } from "./masking/masking.ts";
import { askedOutput, withOutput } from "./messages/output-limit.ts";
import { OPTIONAL_FIELDS } from "./messages.ts";
import { answerFault } from "./server/http/answer-faults.ts";
import { fittingOutput, parseErrorBody } from "./server/http/error-body.ts";
import { processFault } from "./server/kinds/load-failure.ts";
import {
  isAboutLoading,
  isLoadFailure,
  judgeRefusal,
  type Refusal,
  type StateNow,
  type Verdict,
} from "./server/kinds/refusal.ts";
import type { ModelServer } from "./server/model-server.ts";
import { attempt } from "./stream/attempt.ts";
import { type BodyParts, turnBody } from "./stream/body.ts";
import { Decoder, type Progress } from "./stream/decoder.ts";
import { answerFigures, emptyMessage } from "./stream/message.ts";
import { Patience, RETRY_BASE_MS, RestartWait, WHY_WAIT } from "./stream/patience.ts";
import { asPiReads, errorText } from "./stream/pi-rules.ts";
import { RequestLost } from "./stream/silence.ts";
import { AnswerThinking } from "./stream/thinking.ts";
import { quietReason, type SilentState, settledState, stateNow, WaitingReport } from "./stream/waiting.ts";

/** What a turn needs from the extension. */
export interface TurnParts extends BodyParts {
  /**
   * The server for the variables that `/login` stored, where pi passes them.
   *
   * @throws {ServerError} for a wrong configuration
   */
  server(stored: Variables | undefined): Promise<ModelServer>;
  /** Receives what the turn does. */
  report?: TurnReport;
  /** The command of this pi that is restarting the server. */
  restarting?(): string | undefined;
  /** Called with the model's real context window, in tokens, where an overflow error names it. */
  onContextWindow?(model: Model<Api>, tokens: number): void;
  /** Receives what the user must know of a turn that goes on. */
  onNotice?(text: string): void;
  clock: Clock;
}

const CHAT_PATH = "/v1/chat/completions";

/** How often a request is sent again that the server did not have. */
const MAX_RESENT = 2;

/**
 * Answers one request of pi's on `stream`. Never throws: every fault ends the stream with one `error` event, whose text
 * is a sentence for the user.
 *
 * @returns the figures of a whole answer, once it is over; never rejects
 */
export function streamTurn(
  parts: TurnParts,
  stream: AssistantMessageEventStream,
  model: Model<Api>,
  context: TranscriptContext,
  options: SimpleStreamOptions,
): Promise<AnswerFigures | undefined> {
  const message = emptyMessage(model, parts.clock.now());
  const turn = new Turn(parts, model, options, message, stream);
  return turn.run(context).then(
    () => {
      const reason = message.stopReason;
      if (reason === "stop" || reason === "length" || reason === "toolUse")
        stream.push({ type: "done", reason, message });
      stream.end();
      return turn.figures();
    },
    async (error: unknown) => {
      turn.abandon();
      const aborted = options.signal?.aborted === true;
      const fault = error instanceof ServerError ? asPiReads(error) : undefined;
      message.stopReason = aborted ? "aborted" : "error";
      message.errorMessage = aborted ? "Request was aborted" : await errorText(fault ?? error, turn.secrets);
      try {
        if (fault?.contextWindow !== undefined) parts.onContextWindow?.(model, fault.contextWindow);
      } catch {
        // The turn ends all the same.
      }
      stream.push({ type: "error", reason: aborted ? "aborted" : "error", error: message });
      stream.end();
      return undefined;
    },
  );
}

/** What a turn waits with, from one request to the next. */
interface Waits {
  server: ModelServer;
  restart: RestartWait;
  patience: Patience;
}

class Turn {
  readonly #parts: TurnParts;
  readonly #model: Model<Api>;
  readonly #options: SimpleStreamOptions;
  readonly #message: AssistantMessage;
  readonly #stream: AssistantMessageEventStream;
  readonly #signal: AbortSignal;
  readonly #waiting = new WaitingReport((say) => this.#report(say));
  /** Of the last request. */
  #decoder: Decoder | undefined;
  #isStarted = false;
  /** What an error may not repeat, once the configuration is read. */
  secrets: OwnSecrets | undefined;
  #hasCrashed = false;
  #hasLoadFailed = false;
  #resent = 0;
  /** Optional fields that the server refused in this turn. */
  readonly #refused = new Set<string>();
  /** Tokens of the longest answer, where the server has refused more. */
  #mostOutput: number | undefined;

  constructor(
    parts: TurnParts,
    model: Model<Api>,
    options: SimpleStreamOptions,
    message: AssistantMessage,
    stream: AssistantMessageEventStream,
  ) {
    this.#parts = parts;
    this.#model = model;
    this.#options = options;
    this.#message = message;
    this.#stream = stream;
    this.#signal = options.signal ?? new AbortController().signal;
  }

  /** Closes the blocks of a turn that failed. */
  abandon(): void {
    this.#decoder?.abandon();
  }

  /** The figures of the answer. */
  figures(): AnswerFigures {
    return answerFigures(this.#message.usage, this.#decoder?.timings);
  }

  /** Asks until the answer is whole, the waiting has lasted too long, or a fault will not pass. */
  async run(context: TranscriptContext): Promise<void> {
    this.#signal.throwIfAborted();
    this.#report((report) => report.connecting());
    const server = await this.#parts.server(this.#options.env);
    this.secrets = server.config;
    const slot = await this.#slot(context, server);
    const onDown = (by: string | undefined): void => this.#report((report) => report.down(by));
    const waits: Waits = {
      server,
      restart: new RestartWait(server, this.#parts, this.#signal, onDown),
      patience: new Patience(server.config.loadTimeoutMs, this.#options, this.#parts.clock.now),
    };
    let body = await this.#body(context, server, slot);
    for (;;) {
      const failure = await this.#ask(server, body).catch((error: unknown) => this.#passing(error));
      this.#signal.throwIfAborted();
      if (failure === undefined) return;
      if (failure instanceof ServerError) await this.#outlastFault(failure, waits);
      else if (await this.#outlastRefusal(failure, body, waits))
        body = await this.#body(context, server, slot);
    }
  }

  /** The slot to ask for: the server itself finds that of a conversation that continues. */
  async #slot(context: TranscriptContext, server: ModelServer): Promise<number | undefined> {
    const id = this.#parts.runsAs(this.#model);
    const isNew = !context.messages.some(({ role }) => role === "assistant");
    return id === undefined ? undefined : server.slotFor(id, isNew, this.#signal);
  }

  async #body(context: TranscriptContext, server: ModelServer, slot: number | undefined): Promise<unknown> {
    const body = await turnBody(this.#parts, server, this.#model, context, this.#options, slot);
    return this.#mostOutput === undefined ? body : withOutput(body, this.#mostOutput);
  }

  /** One request. @returns nothing when the message is whole, or the refusal */
  #ask(server: ModelServer, body: unknown): Promise<Refusal | undefined> {
    const { clock } = this.#parts;
    const askedAt = clock.now();
    this.#waiting.asks();
    const thinking = new AnswerThinking(this.#parts, server, this.#model, this.#message, body, this.#signal);
    const decoder = new Decoder({
      message: this.#message,
      emit: thinking.watched((event) => this.#stream.push(event)),
      onProgress: (progress) => this.#reportProgress(progress, clock.now() - askedAt),
      onLoop: server.config.isLoopGuarded ? thinking.onLoop : undefined,
    });
    this.#decoder = decoder;
    const parts = {
      server,
      model: this.#model,
      runsAs: this.#parts.runsAs(this.#model),
      isResent: this.#resent > 0,
      options: this.#options,
      signal: this.#signal,
      clock,
      onBegin: () => this.#begin(),
      onSilence: this.#waiting.sawState.bind(this.#waiting),
      onQuiet: (now: SilentState, ms: number) => this.#report((report) => report.quiet(quietReason(now), ms)),
    };
    return attempt(parts, body, decoder);
  }

  #begin(): void {
    this.#waiting.begins();
    if (this.#isStarted) return;
    this.#isStarted = true;
    this.#stream.push({ type: "start", partial: this.#message });
  }

  /** A fault that may pass, before any content came. @throws any other */
  #passing(thrown: unknown): ServerError {
    const error = thrown instanceof ServerError ? asPiReads(thrown) : thrown;
    const mayPass = error instanceof ServerError && error.remedy === "retry" && !this.#decoder?.hasContent;
    if (!mayPass || this.#signal.aborted) throw error;
    return error;
  }

  /** Waits for the next request after a fault that may pass. @throws the fault, where there is none */
  async #outlastFault(fault: ServerError, { server, restart, patience }: Waits): Promise<void> {
    if (fault instanceof RequestLost) {
      if (this.#resent >= MAX_RESENT) throw fault;
      this.#resent += 1;
      await server.renew();
      return this.#pause(RETRY_BASE_MS, "the connection is dead");
    }
    if (await this.#isBack(fault, restart, patience)) return;
    const delayMs = patience.afterFault(fault);
    if (delayMs === undefined) throw fault;
    await this.#pause(delayMs, fault.what);
  }

  /** Whether the fault is that of a server which restarts; it is back then. */
  async #isBack(fault: ServerError, restart: RestartWait, patience: Patience): Promise<boolean> {
    if (!(await restart.isBackAfter(fault))) return false;
    patience.renew();
    this.#report((report) => report.connecting());
    return true;
  }

  /**
   * Waits for the next request after a refusal.
   *
   * @returns whether it needs another body
   * @throws {ServerError} where there is no next one
   */
  async #outlastRefusal(refusal: Refusal, body: unknown, waits: Waits): Promise<boolean> {
    const { server, restart, patience } = waits;
    if (this.#takesLessOutput(refusal, body)) return true;
    const verdict = await this.#judge(refusal, body, waits);
    if (verdict.kind === "crashed" || isAboutLoading(refusal.text))
      this.#report((report) => report.restarted());
    if (verdict.kind === "unknown field") {
      // A hook that puts the field back must not make this go on for ever.
      if (this.#refused.has(verdict.field)) throw answerFault(refusal.status, refusal.text, CHAT_PATH);
      this.#refused.add(verdict.field);
      server.refusedFields.add(verdict.field);
      return true;
    }
    if (verdict.kind === "crashed" && !this.#hasCrashed) {
      this.#hasCrashed = true;
      await this.#pause(RETRY_BASE_MS, "the model's process ended");
    } else if (verdict.kind === "wait") {
      await this.#pause(patience.whileNotReady(verdict, this.#model.name), WHY_WAIT[verdict.why]);
    } else if (verdict.kind !== "failed" || !(await this.#isBack(verdict.error, restart, patience))) {
      throw await this.#ended(server, verdict);
    }
    return false;
  }

  /** Whether the server refused the answer's length alone and named what fits; less is asked for once. */
  #takesLessOutput({ status, text }: Refusal, body: unknown): boolean {
    if (this.#mostOutput !== undefined || status === 429) return false;
    this.#mostOutput = fittingOutput(parseErrorBody(text), askedOutput(body));
    return this.#mostOutput !== undefined;
  }

  async #judge(refusal: Refusal, body: unknown, { server, patience }: Waits): Promise<Verdict> {
    const fields = OPTIONAL_FIELDS.filter((name) => name in (record(body) ?? {}));
    const judged = (state: StateNow): Verdict =>
      judgeRefusal(refusal, state, fields, CHAT_PATH, this.#parts.clock.now());
    const look = (): Promise<StateNow> => stateNow(server, this.#parts.runsAs(this.#model), this.#signal);
    const verdict = judged(refusal.status >= 500 ? await look() : "unknown");
    if (verdict.kind !== "wait" || !isLoadFailure(refusal.text)) return verdict;
    // Each further request could start one more load that fails.
    if (this.#hasLoadFailed) return judged("gone");
    this.#hasLoadFailed = true;
    const pause = (ms: number): Promise<void> => this.#pause(ms, WHY_WAIT[verdict.why]);
    return judged(await settledState(look, pause, () => patience.leftMs));
  }

  #pause(delayMs: number, why: string): Promise<void> {
    this.#report((report) => report.retrying(why, delayMs));
    return this.#parts.clock.sleep(delayMs, this.#signal);
  }

  /** The error of a verdict that ends the turn, with the model's last words where its process failed. */
  async #ended(
    server: ModelServer,
    verdict: Exclude<Verdict, { kind: "wait" | "unknown field" }>,
  ): Promise<ServerError> {
    if (verdict.kind === "failed") return verdict.error;
    const isLoad = verdict.kind === "load failed";
    const what = isLoad
      ? "could not be loaded"
      : "gave no answer, twice: its process ended or could not be reached";
    return processFault(server, this.#model, what, isLoad ? verdict.reason : undefined, this.#signal);
  }

  #report(say: (report: TurnReport) => void): void {
    try {
      if (this.#parts.report) say(this.#parts.report);
    } catch {
      // A failing display must not end the turn, nor the watch over its silence.
    }
  }

  #reportProgress(progress: Progress, elapsedMs: number): void {
    if (progress.kind === "prompt") this.#report((report) => report.prompt(progress));
    else if (progress.kind === "generating")
      this.#report((report) => report.generating(() => this.#decoder?.deltas ?? 0));
    else if (progress.kind === "answering") this.#waiting.answers();
    else this.#waiting.sawBanner(progress.text, elapsedMs);
  }
}
