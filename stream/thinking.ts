/** The thinking of one answer, which the user or the loop guard may end while the turn goes on. */
import type { Api, AssistantMessage, AssistantMessageEvent, Model } from "@earendil-works/pi-ai";
import type { TurnReport } from "../activity/turn-activity.ts";
import type { Clock } from "../lib/clock.ts";
import { record } from "../lib/json.ts";
import type { ModelServer } from "../server/model-server.ts";
import type { OnLoop } from "./blocks.ts";
import { loopFault, loopNotice } from "./loop-guard.ts";

/** How long a model may go on repeating itself after its server has ended its thinking. */
const GRACE_MS = 5000;

type Emit = (event: AssistantMessageEvent) => void;

export interface ThinkingParts {
  runsAs(model: Model<Api>): string | undefined;
  report?: TurnReport;
  onNotice?(text: string): void;
  clock: Clock;
}

export class AnswerThinking {
  readonly #parts: ThinkingParts;
  readonly #server: ModelServer;
  readonly #id: string | undefined;
  readonly #message: AssistantMessage;
  readonly #signal: AbortSignal;
  /** Whether the server can end it, once that is known. */
  #canEnd: Promise<boolean> = Promise.resolve(false);
  /** When the loop guard has asked for the end. */
  #askedAt: number | undefined;
  /** The server cannot end it, or did not. */
  #hasFailed = false;

  /** @param body of the request: only with its `reasoning_control` can the thinking be ended */
  constructor(
    parts: ThinkingParts,
    server: ModelServer,
    model: Model<Api>,
    message: AssistantMessage,
    body: unknown,
    signal: AbortSignal,
  ) {
    this.#parts = parts;
    this.#server = server;
    this.#id = record(body)?.reasoning_control === true ? parts.runsAs(model) : undefined;
    this.#message = message;
    this.#signal = signal;
  }

  /** The same as `emit`, and as thinking begins, finds out whether it can be ended, and reports that. */
  watched(emit: Emit): Emit {
    const id = this.#id;
    if (id === undefined) return emit;
    return (event) => {
      if (event.type === "thinking_start") this.#look(id);
      emit(event);
    };
  }

  #look(id: string): void {
    this.#canEnd = this.#server.thinkingControl.can(id, this.#signal);
    const thinking = { isOn: () => this.#isOn, end: () => this.#end() };
    const know = (can: boolean): void => {
      this.#hasFailed = !can;
      if (can) this.#parts.report?.thinks(thinking);
    };
    // A failing display must not end the turn.
    this.#canEnd.then(know).catch(() => {});
  }

  get #isOn(): boolean {
    const { content, stopReason } = this.#message;
    return content.at(-1)?.type === "thinking" && stopReason === "pending";
  }

  async #end(): Promise<boolean> {
    const { responseId } = this.#message;
    if (!(await this.#canEnd) || this.#id === undefined || responseId === undefined || !this.#isOn)
      return false;
    return this.#server.thinkingControl.end(this.#id, responseId, this.#signal);
  }

  /** A model that repeats itself: its thinking is ended where that can be done, else its turn. @throws {ServerError} */
  readonly onLoop: OnLoop = (loop, channel) => {
    const now = this.#parts.clock.now();
    const isOver = this.#askedAt !== undefined && now - this.#askedAt > GRACE_MS;
    if (channel === "text" || this.#id === undefined || this.#hasFailed || isOver)
      throw loopFault(loop, channel);
    if (this.#askedAt !== undefined) return;
    this.#askedAt = now;
    void this.#end().then((hasEnded) => {
      this.#hasFailed = !hasEnded;
      if (hasEnded) this.#parts.onNotice?.(loopNotice(loop));
    });
  };
}
