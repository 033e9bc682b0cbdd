/** Watches one request for silence, and tells a server that works from one that hangs. */
import { ServerError } from "./errors.ts";
import type { LoadStage } from "./load-progress.ts";
import type { ModelServer } from "./model-server.ts";
import type { RunningModel } from "./models.ts";
import type { StateNow } from "./refusal.ts";

/** What is known of the server while nothing comes. */
export interface SilentState {
  own: StateNow;
  /** How far the load has come, where the server tells it. */
  stage?: LoadStage | undefined;
  /** The model that has to leave, or is being stopped, before ours can be loaded. */
  busy: string | undefined;
}

export interface SilenceHooks {
  now(): number;
  sleep(milliseconds: number, signal: AbortSignal): Promise<void>;
  /** Called while nothing of the answer came yet, at most once a second. */
  onState(state: SilentState, elapsedMs: number): void;
  /** Called once, with the error that ends the request. */
  onTimeout(error: ServerError): void;
}

export interface Silence {
  /** A byte came: comments count as much as content. */
  heard(): void;
  /** The answer has begun: from now on the server is asked only after a silence. */
  answered(): void;
  stop(): void;
}

/** Milliseconds between two looks at `/running`: seldom, since each fills llama-swap's log. */
const FIRST_LOOK_MS = 1000;
const LONGEST_PAUSE_MS = 5000;

/**
 * Ends a request that was silent for `timeoutMs`, unless the server shows that it is at work: the model is being
 * loaded, another one has to leave first, or a slot is busy. Then the limit is `loadTimeoutMs`.
 *
 * @param id under which `/running` lists the model; undefined where it runs elsewhere
 */
export function watchSilence(server: ModelServer, id: string | undefined, hooks: SilenceHooks): Silence {
  const { timeoutMs, loadTimeoutMs } = server.config;
  const ended = new AbortController();
  const began = hooks.now();
  let lastByte = began;
  let isAnswered = false;
  let isFollowed = false;
  let stage: LoadStage | undefined;

  /** Only llama.cpp's router tells the stages of a load, and only as they come. */
  const followStages = async (): Promise<void> => {
    isFollowed = true;
    const backend = await server.backend(ended.signal);
    if (backend.kind !== "router") return;
    const onStage = (model: string, told: LoadStage): void => {
      if (model !== id) return;
      stage = told;
      if (!isAnswered) hooks.onState({ own: "starting", busy: undefined, stage }, hooks.now() - began);
    };
    await server.follow({ onStage }, ended.signal);
  };

  const look = async (): Promise<SilentState> => {
    try {
      return id === undefined ? UNTOLD : stateOf(await server.running(ended.signal), id);
    } catch {
      return { own: "unreachable", busy: undefined };
    }
  };

  const isAtWork = async (state: SilentState): Promise<boolean> => {
    if (state.own === "unreachable" || state.own === "unknown") return false;
    return state.own !== "ready" || (id !== undefined && (await server.isWorking(id, ended.signal)));
  };

  const watch = async (): Promise<void> => {
    let pause = FIRST_LOOK_MS;
    while (!ended.signal.aborted) {
      const untilLimit = lastByte + timeoutMs - hooks.now();
      // Past the limit the server was found at work: look again now and then.
      const untilLook = !isAnswered || untilLimit <= 0 ? pause : untilLimit;
      await hooks.sleep(untilLimit > 0 ? Math.min(untilLook, untilLimit) : untilLook, ended.signal);
      if (isAnswered && hooks.now() - lastByte < timeoutMs) continue;
      pause = Math.min(LONGEST_PAUSE_MS, pause * 1.3);
      const state = await look();
      if (ended.signal.aborted) return;
      if (state.own === "starting" && !isFollowed) void followStages().catch(() => {});
      if (!isAnswered)
        hooks.onState(state.own === "starting" ? { ...state, stage } : state, hooks.now() - began);
      if (hooks.now() - lastByte < timeoutMs) continue;
      if (hooks.now() - lastByte >= loadTimeoutMs || !(await isAtWork(state))) {
        if (!ended.signal.aborted) hooks.onTimeout(timedOut(hooks.now() - lastByte, state));
        return;
      }
    }
  };
  // The sleep rejects when the watch is stopped.
  watch().catch(() => {});

  return {
    heard: () => {
      lastByte = hooks.now();
    },
    answered: () => {
      isAnswered = true;
    },
    stop: () => ended.abort(),
  };
}

const UNTOLD: SilentState = { own: "unknown", busy: undefined };

function stateOf(running: readonly RunningModel[] | undefined, id: string): SilentState {
  if (running === undefined) return UNTOLD;
  const own = running.find((model) => model.id === id)?.state ?? "gone";
  const others = running.filter((model) => model.id !== id);
  const busy = others.find(({ state }) => state === "stopping") ?? others[0];
  return { own, busy: busy?.id };
}

function timedOut(silentMs: number, state: SilentState): ServerError {
  const seconds = Math.round(silentMs / 1000);
  return new ServerError(`The server was silent for ${seconds} s (timed out). ${whereItStands(state)}`, {
    link: state.own === "unreachable" ? "server" : "model",
    remedy: "retry",
  });
}

function whereItStands({ own }: SilentState): string {
  switch (own) {
    case "unreachable":
      return "Caddy or the model server do not answer either.";
    case "unknown":
      return "It does not tell what the model does; raise AI_SERVER_TIMEOUT_MS for longer prompts.";
    case "ready":
      return "The model is loaded but does not work on this request.";
    default:
      return "The model is still not loaded; see AI_SERVER_LOAD_TIMEOUT_MS.";
  }
}
