/**
 * Turns whose connection dies without a sign, through a proxy that freezes it: against the stand-in, over mutual TLS, on
 * a clock that is as fast as the stand-in's.
 */
import { expect, onTestFinished, test } from "vitest";
import { ModelServer } from "../server/model-server.ts";
import { type RequestRecord, type Sim, startSim } from "../sim/server.ts";
import { fastClock } from "./support/clock.ts";
import { FreezingProxy } from "./support/freezing-proxy.ts";
import { assistant, model, transcript, user } from "./support/samples.ts";
import { eventually } from "./support/sim-client.ts";
import { beginTurn, type RunningTurn } from "./support/turns.ts";
import { clientOf, kept } from "./support/wire.ts";

const SPEED = 20;
/** At /running, which is what can be counted on a machine that is busy: they are up to five seconds apart. */
const MOST_LOOKS = 12;
const COMMAND = `llama-server --port \${PORT} --ctx-size 65536 --no-reasoning`;
const CONFIG = `
healthCheckTimeout: 3600
models:
  steady: { cmd: "${COMMAND} -m /models/steady.gguf --token-rate 20" }
  quick: { cmd: "${COMMAND} -m /models/quick.gguf" }
  loads: { cmd: "${COMMAND} -m /models/loads.gguf --load 1000" }
  soon: { cmd: "${COMMAND} -m /models/soon.gguf --load 20" }
  banner: { cmd: "${COMMAND} -m /models/banner.gguf --load 20", sendLoadingState: true }
`;

interface Place {
  sim: Sim;
  server: ModelServer;
  proxy: FreezingProxy;
  clock: ReturnType<typeof fastClock>;
  begin(id: string, text: string): RunningTurn;
  /** Requests for an answer that reached the stand-in. */
  chats(): readonly RequestRecord[];
  /** Looks that reached it. */
  looks(): number;
}

async function place(): Promise<Place> {
  const sim = await kept(startSim({ config: CONFIG, speed: SPEED }));
  const proxy = await kept(FreezingProxy.to(sim.port));
  const clock = fastClock(SPEED);
  const url = `https://127.0.0.1:${proxy.port}`;
  const server = await kept(new ModelServer(clientOf(url, sim.certsDir), clock.now));
  const begin = (id: string, text: string): RunningTurn => {
    const options = { sessionId: "our-session" };
    // One that goes on, as after a pause: a new one would ask for the slots first.
    const context = transcript(user("Hello"), assistant("Hi"), user(text));
    return beginTurn(server, { clock, on: model({ id, name: id }), context, options });
  };
  const chats = () => sim.requests.filter(({ path }) => path.endsWith("/chat/completions"));
  const looks = (): number => sim.requests.filter(({ path }) => path === "/running").length;
  return { sim, server, proxy, clock, begin, chats, looks };
}

/** A client of its own, which asks for a model and does not wait. */
async function another(sim: Sim, id: string): Promise<void> {
  const other = await kept(new ModelServer(clientOf(sim.url, sim.certsDir)));
  const cut = new AbortController();
  onTestFinished(() => cut.abort());
  const body = JSON.stringify({ model: id, stream: true, messages: [{ role: "user", content: "Hi" }] });
  other.chat(body, {}, cut.signal).catch(() => {});
  const isThere = () => sim.requests.some(({ path }) => path.endsWith("/chat/completions"));
  await eventually(() => expect(isThere()).toBe(true));
}

async function unload(sim: Sim): Promise<void> {
  const other = await kept(new ModelServer(clientOf(sim.url, sim.certsDir)));
  await (await other.backend()).unload?.(undefined, new AbortController().signal);
}

/** The first turn, after which every connection is dead. */
async function afterOneTurn(): Promise<Place> {
  const at = await place();
  expect((await at.begin("quick", "sim: say One").ended).message.stopReason).toBe("stop");
  // Whatever became of the turn's connection, one is kept.
  await at.server.runningNow();
  expect(at.proxy.freeze()).toBeGreaterThan(0);
  at.sim.requests.length = 0;
  return at;
}

test.each(["loaded", "unloaded"])(
  "a connection that dies before headers, with its model %s meanwhile: the turn asks again, once, and shows why",
  async (state) => {
    const { sim, begin, chats, looks } = await afterOneTurn();
    if (state === "unloaded") await unload(sim);
    const { message, activities } = await begin("quick", "sim: say Two").ended;
    expect(message.content).toEqual([{ type: "text", text: "Two" }]);
    expect(chats()).toHaveLength(1);
    expect(looks()).toBeLessThan(MOST_LOOKS);
    expect(activities).toContainEqual({ kind: "retrying", why: "the connection is dead", delayMs: 1000 });
  },
);

test("a connection that dies before headers, while the model loads for another client: the turn asks again during that load", async () => {
  const { sim, begin, chats, looks } = await afterOneTurn();
  await another(sim, "loads");
  const turn = begin("loads", "sim: say Two");
  await eventually(() => expect(chats()).toHaveLength(2), 60_000);
  expect(looks()).toBeLessThan(MOST_LOOKS);
  expect([chats()[0]?.finishedAt, sim.starts.loads]).toEqual([undefined, 1]);
  sim.setSpeed(2000);
  expect((await turn.ended).message.content).toEqual([{ type: "text", text: "Two" }]);
});

test.each<[string, string, string]>([
  ["the load", "soon", "sim: say Late"],
  ["a load with a banner", "banner", "sim: say Late"],
  ["the prompt", "quick", "sim: silent 30\nsim: say Late"],
])(
  "a connection that dies during %s: the turn asks again once the server has dropped the request, and not before",
  async (_when, id, text) => {
    const { sim, proxy, begin, chats } = await place();
    const turn = begin(id, text);
    await eventually(() => expect(chats()).toHaveLength(1));
    expect(proxy.freeze()).toBeGreaterThan(0);
    const { message } = await turn.ended;
    expect(message.content).toEqual([{ type: "text", text: "Late" }]);
    const [first, second, ...more] = chats();
    expect(more).toEqual([]);
    expect(second?.at).toBeGreaterThanOrEqual(first?.finishedAt ?? Number.POSITIVE_INFINITY);
    expect(sim.starts[id]).toBe(1);
  },
);

test("a connection that dies during an answer: the turn ends once the server has dropped the request, and does not ask again", async () => {
  const { proxy, begin, chats } = await place();
  const turn = begin("steady", "sim: tokens 400");
  await eventually(() => expect(turn.events).toContain("text_delta"));
  expect(proxy.freeze()).toBeGreaterThan(0);
  const { message, activities } = await turn.ended;
  expect(message.stopReason).toBe("error");
  expect(message.errorMessage).toMatch(
    /^The answer broke off: the server does not have this request any more \(connection error\)\./,
  );
  expect(message.content).toMatchObject([{ type: "text", text: expect.stringMatching(/^ok( ok)*$/) }]);
  expect(activities).toContainEqual({ kind: "quiet", why: "not held", silentMs: expect.any(Number) });
  expect(chats()).toHaveLength(1);
  expect(chats()[0]?.finishedAt).toBeDefined();
});

test("a prompt of a minute on a living connection is never cut", async () => {
  const { clock, begin, chats } = await place();
  const begun = clock.now();
  const turn = begin("quick", "sim: silent 60\nsim: say Read");
  expect((await turn.ended).message.content).toEqual([{ type: "text", text: "Read" }]);
  expect(clock.now() - begun).toBeGreaterThan(55_000);
  expect(chats()).toHaveLength(1);
});
