/** Watches one request for silence, and distinguishes a working server from one that hangs. */
import type { LoadStage } from "../activity/load-state.ts";
import type { Clock } from "../lib/clock.ts";
import { ServerError } from "../lib/errors.ts";
import type { Holding, OwnRequest } from "../server/holding.ts";
import type { EventHooks } from "../server/kinds/events.ts";
import type { StateNow } from "../server/kinds/refusal.ts";
import type { ModelServer } from "../server/model-server.ts";
import { type SilentState, silentStateOf, UNREACHABLE, UNREPORTED } from "./waiting.ts";

export interface SilenceHooks {
  clock: Clock;
  /** Called until the answer begins, at most once a second, and as a load begins. */
  onState(state: SilentState, elapsedMs: number): void;
  /** Called while an answer that has begun is silent. */
  onQuiet(state: SilentState, silentMs: number): void;
  /** Called once, with the error that ends the request. */
  onTimeout(error: ServerError): void;
}

/** What identifies the request among others. */
interface WatchedRequest extends Pick<OwnRequest, "requestedId" | "session" | "bytes"> {
  /** It was sent again, on a new connection: it counts as lost only after it was seen on the server. */
  isResent: boolean;
}

/** Milliseconds between two looks at `/running`: seldom, since each fills llama-swap's log. */
const FIRST_LOOK_MS = 1000;
const LONGEST_PAUSE_MS = 5000;
const LOOK_LIMIT_MS = 5000;

/** An answer that has begun does not pause for so long, unless the server has stopped writing. */
const QUIET_MS = 5000;

/** After this silence the server may not have the request; it is lost when two looks in a row do not find it. */
const SUSPECT_MS = 10_000;
const CONFIRM_MS = 4000;
/** Each such question reads up to 200 kB of llama-swap's logs. */
const ASK_AGAIN_MS = 15_000;
/** The first look at the queue of a ready model, only for display. */
const QUEUE_LOOK_MS = 3000;

/** A server lists a request only when it has all of it, which takes a while over a slow line. */
const SLOW_BYTES_PER_MS = 50;

/**
 * Ends a request that was silent for `timeoutMs`, unless the server is at work: the model loads, another one must
 * unload first, or a slot is busy. Then the limit is `loadTimeoutMs`. A request that the server does not have ends
 * within half a minute: its connection is dead, though nothing reports it.
 *
 * @param id under which `/running` lists the model; undefined where it runs elsewhere
 */
export function watchSilence(
  server: ModelServer,
  id: string | undefined,
  hooks: SilenceHooks,
  request: WatchedRequest,
): SilenceWatch {
  const watch = new SilenceWatch(server, id, hooks, request);
  // The sleep rejects when the watch is stopped.
  watch.run().catch(() => {});
  return watch;
}

/** @see watchSilence */
export class SilenceWatch {
  readonly #server: ModelServer;
  readonly #id: string | undefined;
  readonly #hooks: SilenceHooks;
  readonly #request: WatchedRequest;
  readonly #ended = new AbortController();
  readonly #began: number;
  #lastByte: number;
  #hasHeard = false;
  #isAnswered = false;
  #isFollowed = false;
  #stage: LoadStage | undefined;
  #holding: Holding = NOT_ASKED;
  #askedAt = Number.NEGATIVE_INFINITY;
  /** How often in a row the server did not have the request, since the last byte. */
  #misses = 0;
  #wasHeld = false;
  #isRenewed = false;

  constructor(server: ModelServer, id: string | undefined, hooks: SilenceHooks, request: WatchedRequest) {
    this.#server = server;
    this.#id = id;
    this.#hooks = hooks;
    this.#request = request;
    this.#began = hooks.clock.now();
    this.#lastByte = this.#began;
  }

  /** Any byte, SSE comments included, resets the timer. */
  heard(): void {
    this.#lastByte = this.#hooks.clock.now();
    this.#hasHeard = true;
    this.#misses = 0;
    this.#isRenewed = false;
  }

  /** The answer has begun: from now on only a silence leads to questions. */
  answered(): void {
    this.#isAnswered = true;
  }

  stop(): void {
    this.#ended.abort();
  }

  async run(): Promise<void> {
    const { timeoutMs } = this.#server.config;
    const { signal } = this.#ended;
    let pause = FIRST_LOOK_MS;
    while (!signal.aborted) {
      const silent = this.#silentMs;
      const untilLimit = timeoutMs - silent;
      const untilLook = this.#isAnswered && silent < QUIET_MS ? QUIET_MS - silent : this.#pause(pause);
      await this.#hooks.clock.sleep(untilLimit > 0 ? Math.min(untilLook, untilLimit) : untilLook, signal);
      if (this.#isAnswered && this.#silentMs < Math.min(QUIET_MS, timeoutMs)) continue;
      pause = Math.min(LONGEST_PAUSE_MS, pause * 1.3);
      const state = await this.#look();
      if (signal.aborted) return;
      this.#show(state);
      if (this.#misses >= 2) return this.#end(lost(state, this.#isAnswered));
      if (this.#silentMs < timeoutMs) continue;
      // After a suspend the limit is over at the first look: one more confirms that the request is missing.
      if (this.#misses > 0 && state.own !== "unreachable") continue;
      if (await this.#isOver(state)) return this.#end(timedOut(this.#silentMs, state));
    }
  }

  get #silentMs(): number {
    return this.#hooks.clock.now() - this.#lastByte;
  }

  #pause(pause: number): number {
    return this.#misses > 0 ? CONFIRM_MS : pause;
  }

  #end(error: ServerError): void {
    if (!this.#ended.signal.aborted) this.#hooks.onTimeout(error);
  }

  #show(state: SilentState): void {
    const { clock, onState, onQuiet } = this.#hooks;
    if (!this.#isAnswered) onState(state, clock.now() - this.#began);
    else if (this.#silentMs >= QUIET_MS) onQuiet(state, this.#silentMs);
  }

  async #look(): Promise<SilentState> {
    if (this.#id === undefined) return UNREPORTED;
    const { signal } = this.#ended;
    if (this.#mayBeLost && !this.#isRenewed) {
      // Other kept connections may be as dead as the request's own.
      this.#isRenewed = true;
      await this.#server.renew();
    }
    const state = await this.#stateNow(this.#id);
    if (signal.aborted) return state;
    this.#follow(state);
    await this.#askForRequest(state);
    const { ahead, isHeld } = this.#holding;
    return { ...state, isHeld, ...(state.own === "ready" ? { ahead } : { stage: this.#stage }) };
  }

  /** A dead connection would keep the question until its own, longer limit. */
  async #stateNow(id: string): Promise<SilentState> {
    const over = new AbortController();
    const signal = AbortSignal.any([this.#ended.signal, over.signal]);
    const limit = this.#hooks.clock.sleep(LOOK_LIMIT_MS, signal).then(
      () => UNREACHABLE,
      () => UNREACHABLE,
    );
    const running = this.#server.running(signal).then(
      (running) => silentStateOf(running, id),
      () => UNREACHABLE,
    );
    const state = await Promise.race([running, limit]);
    over.abort();
    return state;
  }

  /** Whether the silence is longer than sending the request explains. */
  get #mayBeLost(): boolean {
    const sending = this.#hasHeard ? 0 : this.#request.bytes / SLOW_BYTES_PER_MS;
    return this.#silentMs >= SUSPECT_MS + sending;
  }

  async #askForRequest({ own: state }: SilentState): Promise<void> {
    const { now } = this.#hooks.clock;
    const isQueueLook =
      this.#holding === NOT_ASKED &&
      !this.#isAnswered &&
      state === "ready" &&
      this.#silentMs >= QUEUE_LOOK_MS;
    if (state !== "ready") this.#holding = NOT_ASKED;
    if (this.#id === undefined || state === "unreachable") return;
    if (!isQueueLook && !this.#mayBeLost) return;
    const again = this.#misses > 0 || isQueueLook ? 0 : ASK_AGAIN_MS;
    if (now() - this.#askedAt < again) return;
    const lastByte = this.#lastByte;
    const { isResent, ...request } = this.#request;
    const own = { ...request, runsAs: this.#id, elapsedMs: now() - this.#began };
    const { signal } = this.#ended;
    const holding = await this.#server.holding(own, signal);
    if (signal.aborted || lastByte !== this.#lastByte) return;
    this.#holding = holding;
    if (!this.#mayBeLost) return;
    this.#askedAt = now();
    if (holding.isHeld === true) this.#wasHeld = true;
    const isMissed = holding.isHeld === false && (this.#wasHeld || !isResent);
    this.#misses = isMissed ? this.#misses + 1 : 0;
  }

  /**
   * Only llama.cpp's router reports the stages of a load, and only as events. Events also show at once that a waiting
   * load begins, which looks show up to five seconds later.
   */
  #follow({ own, blockedBy }: SilentState): void {
    if (this.#isFollowed || this.#isAnswered) return;
    if (own !== "starting" && own !== "stopping" && (own !== "gone" || blockedBy === undefined)) return;
    this.#isFollowed = true;
    void this.#followEvents(own).catch(() => {});
  }

  async #followEvents(seen: StateNow): Promise<void> {
    const { signal } = this.#ended;
    const backend = await this.#server.backend(signal);
    if (backend.kind !== "router" && seen === "starting") return;
    let last = seen;
    const report = (): void => {
      if (this.#isAnswered || signal.aborted) return;
      const state: SilentState = { own: "starting", blockedBy: undefined, stage: this.#stage };
      this.#hooks.onState(state, this.#hooks.clock.now() - this.#began);
    };
    const events: EventHooks = {
      onStage: (model, stage) => {
        if (model !== this.#id) return;
        this.#stage = stage;
        report();
      },
      onModels: (states) => {
        const own = states.get(this.#id ?? "");
        if (own === "starting" && last !== "starting") report();
        last = own ?? last;
      },
    };
    await this.#server.follow(events, signal, this.#hooks.clock);
  }

  async #isOver(state: SilentState): Promise<boolean> {
    const { signal } = this.#ended;
    if (this.#silentMs >= this.#server.config.loadTimeoutMs) return true;
    if (state.own === "unreachable" || state.own === "unknown") return true;
    // A busy llama-server reports its slots only between two batches of a prompt.
    if (state.own !== "ready" || state.isHeld === true || this.#id === undefined) return false;
    return !(await this.#server.isWorking(this.#id, signal));
  }
}

const NOT_ASKED: Holding = { isHeld: undefined, ahead: undefined };

/** The server does not have the request: it can be sent again at once. */
export class RequestLost extends ServerError {}

/** Worded so that pi asks again: another connection may work. */
function lost({ own }: SilentState, isAnswered: boolean): RequestLost {
  const why =
    own === "ready" || own === "starting"
      ? "The connection may have been lost by a suspend, a VPN or a router."
      : "The model was unloaded meanwhile, or the connection was lost.";
  const what = `${isAnswered ? "The answer broke off" : "No answer came"}: the server does not have this request any more`;
  return new RequestLost(`${what} (connection error). ${why}`, { link: "stream", remedy: "retry", what });
}

function timedOut(silentMs: number, state: SilentState): ServerError {
  const seconds = Math.round(silentMs / 1000);
  const what = `The server was silent for ${seconds} s`;
  return new ServerError(`${what} (timed out). ${whereItStands(state)}`, {
    link: state.own === "unreachable" ? "server" : "model",
    remedy: "retry",
    what,
  });
}

function whereItStands({ own }: SilentState): string {
  switch (own) {
    case "unreachable":
      return "Neither Caddy nor the model server answers.";
    case "unknown":
      return "It does not report what the model is doing; raise AI_SERVER_TIMEOUT_MS for longer prompts.";
    case "ready":
      return "The model is loaded but is not working on this request.";
    default:
      return "The model is still not loaded; see AI_SERVER_LOAD_TIMEOUT_MS.";
  }
}
