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
import { ServerError } from "./lib/errors.ts";
import { record } from "./lib/json.ts";
import type { OwnSecrets } from "./masking/masking.ts";
import { askedOutput, withOutput } from "./messages/output-limit.ts";
import { chatRequest, type ModelTraits, OPTIONAL_FIELDS } from "./messages.ts";
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
import { Attempt } from "./stream/attempt.ts";
import type { Progress } from "./stream/decoder.ts";
import { emptyMessage } from "./stream/empty-message.ts";
import { FailedLoad } from "./stream/failed-load.ts";
import { answerFigures } from "./stream/message.ts";
import { Patience, RETRY_BASE_MS } from "./stream/patience.ts";
import { asPiReads, errorText } from "./stream/pi-rules.ts";
import { RestartWait } from "./stream/restart-wait.ts";
import { HeldUp, quietReason, WHY_WAIT } from "./stream/waiting.ts";

/** What a turn needs from the extension; all of it passed in, so that turns share nothing by accident. */
export interface TurnParts {
  /** The server for what `/login` stored, as far as the caller of the turn has it; throws the sentence of a wrong configuration. */
  server(stored: Variables | undefined): Promise<ModelServer>;
  traits(model: Model<Api>): ModelTraits;
  /** The id under which `/running` lists the model; undefined where it runs elsewhere. */
  runsAs(model: Model<Api>): string | undefined;
  /** Hears what the turn does. */
  report?: TurnReport;
  /** The command of this pi that restarts the server at this moment. */
  restarting?(): string | undefined;
  /** The model's real context window, told by an overflow error. */
  onContextWindow?(model: Model<Api>, tokens: number): void;
  now(): number;
  sleep(milliseconds: number, signal: AbortSignal): Promise<void>;
}

const CHAT_PATH = "/v1/chat/completions";

/** How often a request is sent again that the server did not have. */
const MAX_RESENT = 2;

/**
 * Answers one request of pi's on `stream`. Never throws: every fault ends the stream with one `error` event, whose text is a
 * sentence for the user.
 *
 * @returns the figures of an answer that came whole, once it is over; never rejects
 */
export function streamTurn(
  parts: TurnParts,
  stream: AssistantMessageEventStream,
  model: Model<Api>,
  context: TranscriptContext,
  options: SimpleStreamOptions,
): Promise<AnswerFigures | undefined> {
  const message = emptyMessage(model, parts.now());
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
        // A window that cannot be corrected must not keep the turn from its end.
      }
      stream.push({ type: "error", reason: aborted ? "aborted" : "error", error: message });
      stream.end();
      return undefined;
    },
  );
}

class Turn {
  readonly #parts: TurnParts;
  readonly #model: Model<Api>;
  readonly #options: SimpleStreamOptions;
  readonly #message: AssistantMessage;
  readonly #stream: AssistantMessageEventStream;
  readonly #signal: AbortSignal;
  #attempt: Attempt | undefined;
  #isStarted = false;
  /** What the words of its error may not repeat, once the configuration is read. */
  secrets: OwnSecrets | undefined;
  #askedAt = 0;
  readonly #failedLoad = new FailedLoad();
  #hasCrashed = false;
  #resent = 0;
  /** Tokens of the longest answer, where the server has refused more. */
  #mostOutput: number | undefined;
  readonly #heldUp = new HeldUp((say) => this.#tell(say));

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
    this.#attempt?.abandon();
  }

  /** What the answer took. */
  figures(): AnswerFigures {
    return answerFigures(this.#message.usage, this.#attempt?.timings);
  }

  /** Asks until the answer is whole, the waiting has lasted too long, or a fault is one that stays. */
  async run(context: TranscriptContext): Promise<void> {
    this.#signal.throwIfAborted();
    this.#tell((report) => report.connecting());
    const server = await this.#parts.server(this.#options.env);
    this.secrets = server.config;
    const slot = await this.#slot(context, server);
    let body = await this.#body(context, server, slot);
    const onDown = (by: string | undefined): void => this.#tell((report) => report.down(by));
    const restart = new RestartWait(server, this.#parts, this.#signal, onDown);
    const patience = new Patience(server.config.loadTimeoutMs, this.#options, this.#parts.now);
    const refused = new Set<string>();
    for (;;) {
      const refusal = await this.#ask(server, body).catch((error: unknown) => this.#passing(error));
      this.#signal.throwIfAborted();
      if (refusal === undefined) return;
      if (refusal instanceof ServerError) {
        await this.#outlast(refusal, server, restart, patience);
        continue;
      }
      if (this.#takesLessOutput(refusal, body)) {
        body = await this.#body(context, server, slot);
        continue;
      }
      const verdict = await this.#judge(server, refusal, body, patience);
      if (verdict.kind === "crashed" || isAboutLoading(refusal.text))
        this.#tell((report) => report.restarted());
      if (verdict.kind === "unknown field") {
        // A hook that puts the field back must not make this go round for ever.
        if (refused.has(verdict.field)) throw answerFault(refusal.status, refusal.text, CHAT_PATH);
        refused.add(verdict.field);
        server.refusedFields.add(verdict.field);
        body = await this.#body(context, server, slot);
      } else if (verdict.kind === "crashed" && !this.#hasCrashed) {
        this.#hasCrashed = true;
        await this.#pause(RETRY_BASE_MS, "the model's process ended");
      } else if (verdict.kind === "wait") {
        await this.#pause(patience.whileNotReady(verdict, this.#model.name), WHY_WAIT[verdict.why]);
      } else if (verdict.kind !== "failed" || !(await this.#isBack(verdict.error, restart, patience))) {
        throw await this.#ended(server, verdict);
      }
    }
  }

  /** Waits for the next request after a fault that may pass. @throws the fault, where there is none */
  async #outlast(
    fault: ServerError,
    server: ModelServer,
    restart: RestartWait,
    patience: Patience,
  ): Promise<void> {
    if (this.#attempt?.isLost) {
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
    this.#tell((report) => report.connecting());
    return true;
  }

  /** The slot to ask for: a conversation that goes on is found by the server. */
  async #slot(context: TranscriptContext, server: ModelServer): Promise<number | undefined> {
    const id = this.#parts.runsAs(this.#model);
    if (id === undefined || context.messages.some(({ role }) => role === "assistant")) return undefined;
    return server.slotForNew(id, this.#signal);
  }

  async #body(context: TranscriptContext, server: ModelServer, slot: number | undefined): Promise<unknown> {
    const traits = this.#parts.traits(this.#model);
    const options = { ...this.#options, slot };
    const body = chatRequest(context, this.#model, traits, options, server.refusedFields);
    const sent = (await this.#options.onPayload?.(body, this.#model)) ?? body;
    return this.#mostOutput === undefined ? sent : withOutput(sent, this.#mostOutput);
  }

  /** Whether the server refused for the answer's length alone and named what fits; it is asked for that once. */
  #takesLessOutput({ status, text }: Refusal, body: unknown): boolean {
    if (this.#mostOutput !== undefined || status === 429) return false;
    this.#mostOutput = fittingOutput(parseErrorBody(text), askedOutput(body));
    return this.#mostOutput !== undefined;
  }

  /** One request. Gives nothing when the message is whole, or the refusal. */
  #ask(server: ModelServer, body: unknown): Promise<Refusal | undefined> {
    const { now, sleep } = this.#parts;
    this.#askedAt = now();
    this.#heldUp.asks();
    this.#attempt = new Attempt({
      server,
      model: this.#model,
      runsAs: this.#parts.runsAs(this.#model),
      isResent: this.#resent > 0,
      message: this.#message,
      options: this.#options,
      signal: this.#signal,
      now,
      sleep,
      onBegin: () => {
        this.#heldUp.begins();
        this.#begin();
      },
      emit: (event) => this.#stream.push(event),
      onProgress: (progress) => this.#tellProgress(progress),
      onSilence: (state, elapsedMs) => this.#heldUp.sawState(state, elapsedMs),
      onQuiet: (state, silentMs) => this.#tell((report) => report.quiet(quietReason(state), silentMs)),
    });
    return this.#attempt.run(body);
  }

  #begin(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    this.#stream.push({ type: "start", partial: this.#message });
  }

  /** A fault that may pass, before any content came; every other is thrown. */
  #passing(thrown: unknown): ServerError {
    const error = thrown instanceof ServerError ? asPiReads(thrown) : thrown;
    const mayPass = error instanceof ServerError && error.remedy === "retry" && !this.#attempt?.hasContent;
    if (!mayPass || this.#signal.aborted) throw error;
    return error;
  }

  async #judge(server: ModelServer, refusal: Refusal, body: unknown, patience: Patience): Promise<Verdict> {
    const fields = OPTIONAL_FIELDS.filter((name) => name in (record(body) ?? {}));
    const state = refusal.status >= 500 ? await this.#stateNow(server) : "unknown";
    const verdict = judgeRefusal(refusal, state, fields, CHAT_PATH, this.#parts.now());
    if (verdict.kind !== "wait" || !isLoadFailure(refusal.text)) return verdict;
    const pause = (ms: number): Promise<void> => this.#pause(ms, WHY_WAIT[verdict.why]);
    const left = (): number => patience.leftMs;
    const later = await this.#failedLoad.stateAfter(pause, () => this.#stateNow(server), left);
    return judgeRefusal(refusal, later, fields, CHAT_PATH, this.#parts.now());
  }

  async #stateNow(server: ModelServer): Promise<StateNow> {
    const id = this.#parts.runsAs(this.#model);
    try {
      const running = await server.running(this.#signal);
      if (running === undefined || id === undefined) return "unknown";
      return running.find((model) => model.id === id)?.state ?? "gone";
    } catch {
      return "unreachable";
    }
  }

  #pause(delayMs: number, why: string): Promise<void> {
    this.#tell((report) => report.retrying(why, delayMs));
    return this.#parts.sleep(delayMs, this.#signal);
  }

  /** The error of a verdict that ends the turn, with the model's own last words where its process failed. */
  async #ended(
    server: ModelServer,
    verdict: Exclude<Verdict, { kind: "wait" | "unknown field" }>,
  ): Promise<ServerError> {
    if (verdict.kind === "failed") return verdict.error;
    const isLoad = verdict.kind === "load failed";
    const what = isLoad ? "could not be loaded" : "crashed twice while it worked on this request";
    return processFault(server, this.#model, what, isLoad ? verdict.reason : undefined, this.#signal);
  }

  #tell(say: (report: TurnReport) => void): void {
    try {
      if (this.#parts.report) say(this.#parts.report);
    } catch {
      // What cannot be shown must not end the turn, nor the watch over its silence.
    }
  }

  #tellProgress(progress: Progress): void {
    if (progress.kind === "prompt") this.#tell((report) => report.prompt(progress));
    else if (progress.kind === "generating")
      this.#tell((report) => report.generating(() => this.#attempt?.deltas ?? 0));
    else if (progress.kind === "answering") this.#heldUp.answers();
    else this.#heldUp.sawBanner(progress.text, this.#parts.now() - this.#askedAt);
  }
}
