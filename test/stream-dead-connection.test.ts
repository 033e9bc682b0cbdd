/**
 * Turns whose connection dies without a sign, through a proxy that freezes it: against the stand-in, over mutual TLS, on
 * a clock that is as fast as the stand-in's.
 */
import { expect, onTestFinished, test } from "vitest";
import { ModelServer } from "../server/model-server.ts";
import { type Sim, startSim } from "../sim/server.ts";
import { assistant, model, transcript, user } from "./samples.ts";
import { fastClock } from "./server/fast-clock.ts";
import { clientOf, kept } from "./server/wire.ts";
import { eventually } from "./sim/client.ts";
import { FreezingProxy } from "./support/freezing-proxy.ts";
import { beginTurn, type RunningTurn } from "./turns.ts";

const SPEED = 20;
const LIMIT_MS = 30_000;
const COMMAND = `llama-server --port \${PORT} --ctx-size 65536 --no-reasoning`;
const CONFIG = `
models:
  steady: { cmd: "${COMMAND} -m /models/steady.gguf --token-rate 20" }
  quick: { cmd: "${COMMAND} -m /models/quick.gguf" }
  loads: { cmd: "${COMMAND} -m /models/loads.gguf --load 100" }
  soon: { cmd: "${COMMAND} -m /models/soon.gguf --load 20" }
  banner: { cmd: "${COMMAND} -m /models/banner.gguf --load 20", sendLoadingState: true }
`;

interface Place {
  sim: Sim;
  proxy: FreezingProxy;
  clock: ReturnType<typeof fastClock>;
  begin(id: string, text: string): RunningTurn;
  /** Requests that reached the stand-in. */
  chats(): number;
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
  const chats = (): number => sim.requests.filter(({ path }) => path.endsWith("/chat/completions")).length;
  return { sim, proxy, clock, begin, chats };
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
  expect(at.proxy.freeze()).toBeGreaterThan(0);
  at.sim.requests.length = 0;
  return at;
}

test.each(["loaded", "unloaded"])(
  "before headers, its model %s meanwhile: asked again within 30 s, once, and the user sees why",
  async (state) => {
    const { sim, clock, begin, chats } = await afterOneTurn();
    if (state === "unloaded") await unload(sim);
    const begun = clock.now();
    const { message, activities } = await begin("quick", "sim: say Two").ended;
    expect(message.content).toEqual([{ type: "text", text: "Two" }]);
    expect(clock.now() - begun).toBeLessThan(LIMIT_MS);
    expect(chats()).toBe(1);
    expect(activities).toContainEqual({ kind: "retrying", why: "the connection is dead", delayMs: 1000 });
  },
);

test("before headers, while its model loads for another client: asked again within 30 s", async () => {
  const { sim, clock, begin, chats } = await afterOneTurn();
  await another(sim, "loads");
  const begun = clock.now();
  const turn = begin("loads", "sim: say Two");
  await eventually(() => expect(chats()).toBe(2));
  expect(clock.now() - begun).toBeLessThan(LIMIT_MS);
  expect(sim.starts.loads).toBe(1);
  sim.setSpeed(2000);
  expect((await turn.ended).message.content).toEqual([{ type: "text", text: "Two" }]);
});

test.each(["soon", "banner"])(
  "during the load (%s): waits for what the server does for it, and asks again within 30 s of its end",
  async (id) => {
    const { sim, proxy, clock, begin, chats } = await place();
    const turn = begin(id, "sim: say Late");
    await eventually(() => expect(chats()).toBe(1));
    expect(proxy.freeze()).toBeGreaterThan(0);
    const [first] = sim.requests.filter(({ path }) => path.endsWith("/chat/completions"));
    await eventually(() => expect(first?.finishedAt ?? first?.disconnectedAt).toBeDefined());
    const over = clock.now();
    const { message } = await turn.ended;
    expect(message.content).toEqual([{ type: "text", text: "Late" }]);
    expect(clock.now() - over).toBeLessThan(LIMIT_MS);
    expect([chats(), sim.starts[id]]).toEqual([2, 1]);
  },
);

test("during the prompt: is not cut while a slot works on it, and asked again within 30 s of its end", async () => {
  const { sim, proxy, clock, begin, chats } = await place();
  await begin("quick", "sim: say One").ended;
  sim.requests.length = 0;
  const turn = begin("quick", "sim: silent 60\nsim: say Read");
  await eventually(() => expect(chats()).toBe(1));
  expect(proxy.freeze()).toBeGreaterThan(0);
  const [first] = sim.requests.filter(({ path }) => path.endsWith("/chat/completions"));
  await eventually(() => expect(first?.finishedAt).toBeDefined());
  expect(chats()).toBe(1);
  const over = clock.now();
  await eventually(() => expect(chats()).toBe(2));
  expect(clock.now() - over).toBeLessThan(LIMIT_MS);
  expect((await turn.ended).message.content).toEqual([{ type: "text", text: "Read" }]);
});

test("in the midst of an answer: ends within 30 s of its end on the server, and is not asked again", async () => {
  const { sim, proxy, clock, begin, chats } = await place();
  const turn = begin("steady", "sim: tokens 400");
  await eventually(() => expect(turn.events).toContain("text_delta"));
  expect(proxy.freeze()).toBeGreaterThan(0);
  const [first] = sim.requests.filter(({ path }) => path.endsWith("/chat/completions"));
  await eventually(() => expect(first?.finishedAt).toBeDefined());
  const over = clock.now();
  const { message, activities } = await turn.ended;
  expect(clock.now() - over).toBeLessThan(LIMIT_MS);
  expect(message.stopReason).toBe("error");
  expect(message.errorMessage).toMatch(
    /^The answer broke off: the server does not have this request any more \(connection error\)\./,
  );
  expect(message.content).toMatchObject([{ type: "text", text: expect.stringMatching(/^ok( ok)*$/) }]);
  expect(activities).toContainEqual({ kind: "quiet", why: "not held", silentMs: expect.any(Number) });
  expect(chats()).toBe(1);
});

test("a prompt of minutes on a living connection is never cut", async () => {
  const { sim, clock, begin, chats } = await place();
  await begin("quick", "sim: say One").ended;
  sim.requests.length = 0;
  const begun = clock.now();
  const turn = begin("quick", "sim: silent 120\nsim: say Read");
  expect((await turn.ended).message.content).toEqual([{ type: "text", text: "Read" }]);
  expect(clock.now() - begun).toBeGreaterThan(115_000);
  expect(chats()).toBe(1);
});
