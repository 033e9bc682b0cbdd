/** Drives turns against a server that a test scripts, without a network. */
// Loaded late by a turn that fails: on a clock that only the test moves, nothing may take real time.
import "../../masking/masking.ts";
import { getEventListeners } from "node:events";
import { PassThrough } from "node:stream";
import type {
  Api,
  AssistantMessage,
  AssistantMessageEvent,
  Model,
  SimpleStreamOptions,
  TranscriptContext,
} from "@earendil-works/pi-ai";
import { createAssistantMessageEventStream } from "@earendil-works/pi-ai";
import { expect } from "vitest";
import type { EndableThinking } from "../../activity/thinking.ts";
import type { QuietReason, TurnReport } from "../../activity/turn-activity.ts";
import { readConfig, type Variables } from "../../config.ts";
import { ServerError } from "../../lib/errors.ts";
import type { Holding } from "../../server/holding.ts";
import type { HttpResponse } from "../../server/http/http.ts";
import type { Backend } from "../../server/kinds/backend.ts";
import type { EventHooks } from "../../server/kinds/events.ts";
import { ModelServer } from "../../server/model-server.ts";
import type { RunningModel } from "../../server/models/models.ts";
import { streamTurn, type TurnParts } from "../../stream.ts";
import { FakeClock } from "./clock.ts";
import { expectBalanced, type Seen } from "./decoding.ts";
import { model, PLAIN, transcript, user } from "./samples.ts";

/** What the server answers to one chat: these pieces and an end, no answer at all, or a fault of the way. */
export type Answer =
  | {
      status?: number;
      headers?: Record<string, string>;
      pieces?: readonly (string | Uint8Array)[];
      /** How the body ends: whole (default), by a lost connection, or not before the client hangs up. */
      end?: "whole" | "lost" | "never";
    }
  | { silent: true }
  | { fault: Error };

export interface Chat {
  body: Record<string, unknown>;
  headers: Record<string, string>;
  signal: AbortSignal;
  /** What is written here comes out of an answer that does not end. */
  stream: PassThrough;
}

/** A llama-swap whose answers a test writes down beforehand. */
export class FakeServer extends ModelServer {
  readonly chats: Chat[] = [];
  readonly answers: Answer[] = [];
  /** What `/running` says from now on; an error where it does not answer. */
  state: RunningModel["state"] | "gone" | undefined | Error = "ready";
  others: string[] = [];
  working = false;
  /** What it says of the request that waits. */
  held: Holding = { isHeld: undefined, ahead: undefined };
  /** How often it was asked that, and how often connections were renewed. */
  heardOf = 0;
  renewals = 0;
  /** Whether it has answered before this turn. */
  answered = false;
  /** Hears what a turn follows. */
  followed: EventHooks | undefined;
  /** Which slot a conversation that begins is to have. */
  slot: number | undefined;
  log: string[] = [];
  looks = 0;

  constructor(clock: FakeClock, env: Variables = {}) {
    super(readConfig({ AI_SERVER_URL: "http://127.0.0.1:9", ...env }, {}, "/nowhere"), clock.now);
  }

  override async running(): Promise<RunningModel[] | undefined> {
    this.looks += 1;
    if (this.state instanceof Error) throw this.state;
    if (this.state === undefined) return undefined;
    const entry = (id: string, state: RunningModel["state"]): RunningModel => ({ id, state });
    const others = this.others.map((id) => entry(id, "ready"));
    return this.state === "gone" ? others : [entry("thinker", this.state), ...others];
  }

  override async slotFor(_: string, isNew: boolean): Promise<number | undefined> {
    return isNew ? this.slot : undefined;
  }

  override async holding(): Promise<Holding> {
    this.heardOf += 1;
    return this.held;
  }

  override async renew(): Promise<void> {
    this.renewals += 1;
  }

  override get hasAnswered(): boolean {
    return this.answered;
  }

  override async ping(): Promise<void> {
    if (this.state instanceof Error) throw this.state;
  }

  override async backend(): Promise<Backend> {
    return { kind: "llama-swap" } as Backend;
  }

  override follow(hooks: EventHooks, signal: AbortSignal): Promise<void> {
    this.followed = hooks;
    return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  }

  override async isWorking(): Promise<boolean> {
    return this.working;
  }

  override async logTail(_id: string, lines: number): Promise<string[]> {
    return this.log.slice(-lines);
  }

  override chat(body: string, headers: Record<string, string>, signal: AbortSignal): Promise<HttpResponse> {
    if (signal.aborted) return Promise.reject(signal.reason);
    const stream = new PassThrough();
    stream.on("error", () => {});
    this.chats.push({ body: JSON.parse(body), headers, signal, stream });
    const answer = this.answers.shift() ?? { fault: new Error("The test has no answer for this chat.") };
    signal.addEventListener("abort", () => stream.destroy(signal.reason as Error), { once: true });
    if ("fault" in answer || "silent" in answer) stream.destroy();
    if ("fault" in answer) return Promise.reject(answer.fault);
    if ("silent" in answer) {
      return new Promise((_, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      });
    }
    void play(stream, answer.pieces ?? [], answer.end ?? "whole");
    const status = answer.status ?? 200;
    const type: Record<string, string> = status === 200 ? { "content-type": "text/event-stream" } : {};
    // Only what every readable stream can do is asked of a body.
    const response = { status, headers: { ...type, ...answer.headers }, body: stream };
    return Promise.resolve(response as unknown as HttpResponse);
  }
}

async function play(
  stream: PassThrough,
  pieces: readonly (string | Uint8Array)[],
  end: string,
): Promise<void> {
  for (const piece of pieces) {
    stream.write(piece);
    await new Promise(setImmediate);
  }
  if (end === "whole") stream.end();
  if (end === "lost") {
    await new Promise(setImmediate);
    stream.destroy(Object.assign(new Error("other side closed"), { code: "UND_ERR_SOCKET" }));
  }
}

/** What a turn said of itself. */
type Said =
  | { kind: "connecting" | "generating" | "restarted" }
  | {
      kind: "waiting";
      blockedBy: string | undefined;
      position: number | undefined;
      ahead?: number | undefined;
    }
  | { kind: "thinks"; thinking: EndableThinking }
  | { kind: "loading"; elapsedMs: number }
  | { kind: "prompt"; total: number; cached: number; processed: number }
  | { kind: "quiet"; why: QuietReason | undefined; silentMs: number }
  | { kind: "down"; by: string | undefined }
  | { kind: "retrying"; why: string; delayMs: number };

function hearing(said: Said[]): TurnReport {
  return {
    connecting: () => said.push({ kind: "connecting" }),
    waiting: (waiting) => said.push({ kind: "waiting", ...waiting }),
    loading: (elapsedMs) => said.push({ kind: "loading", elapsedMs }),
    prompt: ({ total, cached, processed }) => said.push({ kind: "prompt", total, cached, processed }),
    generating: () => said.push({ kind: "generating" }),
    thinks: (thinking) => said.push({ kind: "thinks", thinking }),
    restarted: () => said.push({ kind: "restarted" }),
    quiet: (why, silentMs) => said.push({ kind: "quiet", why, silentMs }),
    down: (by) => said.push({ kind: "down", by }),
    retrying: (why, delayMs) => said.push({ kind: "retrying", why, delayMs }),
  };
}

export interface TurnResult {
  events: string[];
  seen: Seen[];
  activities: Said[];
  message: AssistantMessage;
  windows: number[];
}

export interface TurnOptions {
  clock?: FakeClock;
  options?: SimpleStreamOptions;
  context?: TranscriptContext;
  on?: Model<Api>;
  parts?: Partial<TurnParts>;
}

export interface RunningTurn {
  ended: Promise<TurnResult>;
  activities: Said[];
  events: string[];
}

const HELLO = transcript(user("Hello"));

/** Begins a turn; `ended` resolves with its terminal event and fails where an event comes after it. */
export function beginTurn(
  server: ModelServer,
  turn: Omit<TurnOptions, "clock"> & { clock: Pick<FakeClock, "now" | "sleep"> },
): RunningTurn {
  const stream = createAssistantMessageEventStream();
  const seen: Seen[] = [];
  const events: string[] = [];
  const activities: Said[] = [];
  const windows: number[] = [];
  let message: AssistantMessage | undefined;
  const push = stream.push.bind(stream);
  stream.push = (event: AssistantMessageEvent): void => {
    events.push(event.type);
    if (event.type === "done") message = event.message;
    else if (event.type === "error") message = event.error;
    else if (event.type !== "start") {
      const text =
        "delta" in event
          ? event.delta
          : "content" in event
            ? event.content
            : "toolCall" in event
              ? "call"
              : "";
      seen.push({ type: event.type, index: event.contentIndex, text });
    }
    push(event);
  };
  const parts: TurnParts = {
    server: () => Promise.resolve(server),
    traits: () => PLAIN,
    runsAs: (served) => served.id,
    report: hearing(activities),
    onContextWindow: (_model, tokens) => windows.push(tokens),
    clock: turn.clock,
    ...turn.parts,
  };
  streamTurn(parts, stream, turn.on ?? model(), turn.context ?? HELLO, turn.options ?? {});
  const read = async (): Promise<TurnResult> => {
    for await (const _ of stream);
    // Nothing may follow, not even later.
    for (let round = 0; round < 4; round += 1) await new Promise(setImmediate);
    const terminal = events.filter((type) => type === "done" || type === "error");
    expect(terminal, "one terminal event").toHaveLength(1);
    expect(events.at(-1), "the terminal event is the last").toBe(terminal[0]);
    if (message === undefined) throw new Error("The stream ended without a terminal event.");
    expectBalanced({ seen: seen.map((one) => ({ ...one })), message });
    return { events, seen, activities, message, windows };
  };
  return { ended: read(), activities, events };
}

/** One whole turn on a clock of its own, which must leave nothing behind. */
export async function turnOn(
  server: FakeServer,
  clock: FakeClock,
  turn: TurnOptions = {},
): Promise<TurnResult> {
  const result = await clock.until(beginTurn(server, { ...turn, clock }).ended);
  await expectNothingLeft(server, clock, turn.options?.signal);
  return result;
}

/** No timer waits, no listener hangs on the caller's signal, and no activity is reported any more. */
export async function expectNothingLeft(
  server: FakeServer,
  clock: FakeClock,
  signal: AbortSignal | undefined,
): Promise<void> {
  await new Promise(setImmediate);
  expect(clock.waiting, "timers that are left").toBe(0);
  if (signal) expect(getEventListeners(signal, "abort"), "listeners that are left").toEqual([]);
  for (const { stream } of server.chats)
    expect(stream.destroyed || stream.readableEnded, "bodies left open").toBe(true);
}

/** A server with these answers, and the turn that it gives. */
export async function turnWith(
  answers: readonly Answer[],
  turn: TurnOptions & { env?: Variables; prepare?: (server: FakeServer) => void } = {},
): Promise<TurnResult & { server: FakeServer; clock: FakeClock }> {
  const clock = turn.clock ?? new FakeClock();
  const server = new FakeServer(clock, turn.env);
  server.answers.push(...answers);
  turn.prepare?.(server);
  return { ...(await turnOn(server, clock, turn)), server, clock };
}

/** A fault of the way as `server/http.ts` throws it. */
export function lostConnection(): ServerError {
  const what = "127.0.0.1:9 closed the connection before it answered";
  return new ServerError(`${what} (connection error). Caddy or the network ended it.`, {
    link: "Caddy",
    remedy: "retry",
    what,
  });
}
