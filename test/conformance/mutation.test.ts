import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { modelDetails, statusTable } from "../../admin/model-words.ts";
import { PanelSource } from "../../admin/panel/source.ts";
import { readConfig } from "../../config.ts";
import { ServerError } from "../../lib/errors.ts";
import { requestsInFlight } from "../../server/in-flight.ts";
import { loadModel, unloadModel } from "../../server/load.ts";
import { ModelServer } from "../../server/model-server.ts";
import { NO_DESCRIPTION } from "../../server/models/listed-model.ts";
import type { ModelFacts } from "../../server/models/models.ts";
import { type KindName, startKindSim } from "../../sim/kinds/server.ts";
import { startSim } from "../../sim/server.ts";
import { fastClock } from "../support/clock.ts";
import { listen } from "../support/network.ts";
import { RUNS, seeded } from "../support/random.ts";
import { eventually } from "../support/sim-client.ts";
import { DAMAGES, hugeList, type Mutation, mutated, mutatedEvents, STATUSES, WHOLE } from "./mutations.ts";

const ID = "small";
const NEVER = new AbortController().signal;
const SEED = 20_261_121;
/** Mutations of values, of each kind; with AI_SERVER_TEST_RUNS that many times as many. */
const VALUES = 20;
/** None of these answers takes long: what has not ended by then hangs. */
const LIMIT_MS = 8000;
/** So fast that a limit of a minute is over in a few dozen looks. */
const SPEED = 2000;
/** For everything that is done at once, however many models there are. */
const MOST_REQUESTS = 1000;
const SWAP = `models: { ${ID}: { cmd: "llama-server --port \${PORT} -c 8192", aliases: [s] }, b: { cmd: "x \${PORT}" } }`;

interface Answer {
  status: number;
  type: string;
  body: string;
}

/** A server that gives recorded answers, one of them another than it was. */
class Mutant {
  readonly answers = new Map<string, Answer>();
  #other: { key: string; answer: Answer } | undefined;
  /** Where the answers come from while they are recorded. */
  source: string | undefined;
  requests = 0;
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((request, response) => void this.#answer(request, response));
  url = "";

  async open(): Promise<void> {
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    this.url = `http://127.0.0.1:${await listen(this.#server)}`;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  mutate(key: string, answer: Answer): void {
    this.#other = { key, answer };
  }

  client(): ModelServer {
    const env = { AI_SERVER_URL: this.url, AI_SERVER_LOAD_TIMEOUT_MS: "30000" };
    return new ModelServer(readConfig(env, {}, "/nowhere"));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests += 1;
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const key = keyOf(request);
    if (this.source !== undefined) await this.#record(key, request, `${Buffer.concat(pieces)}`);
    const answer = this.#other?.key === key ? this.#other.answer : this.answers.get(key);
    const { status, type, body } = answer ?? { status: 404, type: "text/plain", body: "404 page not found" };
    response.writeHead(status, { "content-type": type }).end(body);
  }

  async #record(key: string, { method, url }: IncomingMessage, body: string): Promise<void> {
    const limit = AbortSignal.timeout(5000);
    const more = method === "GET" ? {} : { body, headers: { "content-type": "application/json" } };
    const answer = await fetch(`${this.source}${url}`, { method: method ?? "GET", signal: limit, ...more });
    const type = answer.headers.get("content-type") ?? "text/plain";
    // A stream of events has no end: without it everything is asked for.
    if (type.includes("event-stream")) return void (await answer.body?.cancel());
    this.answers.set(key, { status: answer.status, type, body: await answer.text() });
  }
}

/** Without the time from which on something is asked for. */
function keyOf({ method, url = "" }: IncomingMessage): string {
  return `${method} ${url.replace(/after=.*/, "after=")}`;
}

type Work = Readonly<Record<string, (server: ModelServer) => Promise<unknown>>>;

/** What is read of a server; each ends with a value or a sentence. */
const READINGS: Work = {
  discover: async (server) => shown(await server.discover(new Map()), server),
  kind: async (server) => (await server.backend()).kind,
  running: (server) => server.runningNow(),
  version: (server) => server.version(undefined),
  context: (server) => server.liveContext(ID),
  working: (server) => server.isWorking(ID, NEVER),
  "in flight": (server) => requestsInFlight(server, NEVER),
};

/** What is done with it. These ask again and again, so that they are left out at times. */
const DEEDS: Work = {
  load: (server) => loadModel(server, ID, { report: () => {}, signal: NEVER, clock: fastClock(SPEED) }),
  unload: (server) => unloadModel(server, ID, NEVER, fastClock(SPEED)),
  "unload all": (server) => unloadModel(server, undefined, NEVER, fastClock(SPEED)),
  "read the config": async (server) => (await server.backend()).reloadConfig?.(NEVER),
};

/** The models as they are shown, with their figures checked. */
function shown(models: readonly ModelFacts[], { descriptions, config }: ModelServer): string {
  for (const { context, outputLimit, id, name } of models) {
    for (const { value } of [context, outputLimit])
      expect(Number.isSafeInteger(value) && value > 0).toBe(true);
    expect([id, name].every((word) => word.length > 0 && word.length < 1000)).toBe(true);
  }
  const details = models.slice(0, 3).flatMap((facts) => {
    const description = descriptions.get(facts.id) ?? NO_DESCRIPTION;
    const around = { running: undefined, lastLoadMs: undefined, description, address: config.origin };
    return modelDetails(facts, around, 100);
  });
  return [...statusTable(models, 100), ...details].join("\n");
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not be there
const CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/;
const LEAKED = /undefined|\[object|TypeError|is not a function|Cannot read|Maximum call stack|\bat .*\.ts:/;

/** What is wrong with the end of some work; undefined where it is well. */
async function faultOf(work: Promise<unknown>): Promise<string | undefined> {
  const late = Symbol("late");
  const limit = new Promise<symbol>((resolve) => setTimeout(() => resolve(late), LIMIT_MS).unref());
  try {
    const value = await Promise.race([work, limit]);
    if (value === late) return "hangs";
    return CONTROL.test(typeof value === "string" ? value : "")
      ? `shows ${JSON.stringify(value)}`
      : undefined;
  } catch (error) {
    if (!(error instanceof ServerError)) return `throws ${error instanceof Error ? error.stack : error}`;
    const { message } = error;
    if (CONTROL.test(message) || LEAKED.test(message) || message.length < 10 || message.length > 5000) {
      return `says ${JSON.stringify(message.slice(0, 300))}`;
    }
    return undefined;
  }
}

/** Follows the server for the panel until the first reading has come. */
async function watched(server: ModelServer): Promise<void> {
  const over = new AbortController();
  const parts = { server, remembered: () => new Map(), expectedLoadMs: async () => undefined };
  const read = Promise.withResolvers<void>();
  const source = new PanelSource({ ...parts, onChange: read.resolve, clock: fastClock(SPEED) });
  const following = source.follow(over.signal);
  await read.promise;
  JSON.stringify(source.state);
  over.abort();
  await following;
}

async function startSource(kind: KindName | "llama-swap"): Promise<{ url: string; close(): Promise<void> }> {
  if (kind === "llama-swap") return startSim({ tls: "none", config: SWAP, speed: 100 });
  return startKindSim(kind, { tls: "none", speed: 100 });
}

/** Asks everything of the stand-in, before and after a load, through the server that records. */
async function record(mutant: Mutant, kind: KindName | "llama-swap"): Promise<void> {
  const source = await startSource(kind);
  mutant.source = source.url;
  const server = mutant.client();
  try {
    await eventually(() => server.discover(new Map()));
    const { load, ...others } = DEEDS;
    const again = { "load again": load, ...READINGS };
    for (const work of [load, ...Object.values({ ...others, ...again })]) {
      await work?.(server).catch(() => undefined);
    }
    await watched(server);
  } finally {
    mutant.source = undefined;
    await server.close();
    await source.close();
  }
}

/** Streams of events as they were recorded, by who has them. */
const EVENTS: Readonly<Record<string, readonly [key: string, fixture: string]>> = {
  "llama-swap": ["GET /api/events", "llama-swap-head/events-sample.raw"],
  router: ["GET /models/sse", "llama-server/r02-models-sse.sse"],
};

const KINDS = [
  "llama-swap",
  "router",
  "llama-server",
  "vllm",
  "ollama",
  "lm-studio",
  "lm-studio-0.3",
  "plain",
] as const;

describe.each(KINDS)("a client of %s that gets one damaged answer", (kind) => {
  const mutant = new Mutant();
  beforeAll(async () => {
    await mutant.open();
    await record(mutant, kind);
    const [key, fixture] = EVENTS[kind] ?? [];
    if (key === undefined) return;
    const body = readFileSync(new URL(`../fixtures/${fixture}`, import.meta.url), "utf8");
    mutant.answers.set(key, { status: 200, type: "text/event-stream", body });
  });
  afterAll(() => mutant.close());

  /** Does everything at once, and says what went wrong. */
  async function faultsWith(key: string, mutation: Mutation, work: Work): Promise<string[]> {
    mutant.mutate(key, mutation);
    const server = mutant.client();
    try {
      const faults = await Promise.all(
        Object.entries(work).map(async ([name, work]) => {
          const fault = await faultOf(work(server));
          return fault === undefined ? [] : [`${key} is ${mutation.what}: ${name} ${fault}`];
        }),
      );
      return faults.flat();
    } finally {
      await server.close();
    }
  }

  test("throws nothing but sentences, never hangs, and never shows what steers a terminal", async () => {
    const random = seeded(SEED);
    const keys = [...mutant.answers.keys()];
    expect(keys.length).toBeGreaterThan(0);
    const faults: string[] = [];
    let runs = 0;
    const tried = new Set<string>();
    const check = async (key: string, mutation: Mutation): Promise<void> => {
      runs += 1;
      for (const damage of mutation.damages ?? [mutation.what]) tried.add(damage);
      const watches = runs % 10 === 0 || EVENTS[kind]?.[0] === key;
      const does = runs % 4 === 0 || key.startsWith("POST");
      const work = { ...READINGS, ...(does ? DEEDS : {}), ...(watches ? { panel: watched } : {}) };
      faults.push(...(await faultsWith(key, mutation, work)));
    };
    for (const [index, key] of keys.entries()) {
      // Most for what is asked first: the list and what runs. What the server does not have, it has for once.
      const step = RUNS > 1 ? 1 : index < 2 ? 2 : mutant.answers.get(key)?.status === 200 ? 5 : 10;
      const mutations = [...WHOLE, ...STATUSES].filter((_, at) => (at + index) % step === 0);
      for (const mutation of mutations) await check(key, mutation);
    }
    const told = keys.filter((key) => mutant.answers.get(key)?.status === 200);
    const bodyOf = (key: string): string => mutant.answers.get(key)?.body ?? "";
    for (let at = 0; at < VALUES * RUNS; at += 1) {
      const key = told[at % told.length] ?? "";
      const mutate = EVENTS[kind]?.[0] === key ? mutatedEvents : mutated;
      await check(key, mutate(random, at, bodyOf(key)));
    }
    for (const key of told) {
      const huge = hugeList(bodyOf(key), 3000);
      if (huge === undefined) continue;
      const before = mutant.requests;
      await check(key, huge);
      const asked = mutant.requests - before;
      if (asked > MOST_REQUESTS) faults.push(`${key} has ${huge.what}: ${asked} requests`);
    }
    expect(faults).toEqual([]);
    expect(DAMAGES.filter((damage) => !tried.has(damage))).toEqual([]);
  }, 60_000);
});
