/** The thinking of a running answer is ended, on the stand-in of each kind of server that can. */
import { afterEach, describe, expect, test } from "vitest";
import { readConfig } from "../config.ts";
import { REAL_CLOCK } from "../lib/clock.ts";
import { ModelServer } from "../server/model-server.ts";
import { startSim } from "../sim/server.ts";
import { startKind } from "./support/kinds.ts";
import { model, PLAIN, transcript, user } from "./support/samples.ts";
import { eventually } from "./support/sim-client.ts";
import { beginTurn, type RunningTurn } from "./support/turns.ts";

const CONTROL = /chat\/completions\/control$/;
const FLAGS = "--ctx-size 65536 --token-rate 400";
const THOUGHTS = `sim: think ${Array.from({ length: 3000 }, (_, at) => `thought ${at}`).join(" ")}\nsim: say Done.`;
const LOOP = `sim: think ${"Let me look at it once more. ".repeat(2000)}\nsim: say Done.`;
const THINKS = { traits: () => ({ ...PLAIN, thinking: { kind: "always" as const } }) };

interface Place {
  requests: readonly { path: string; body: string }[];
  env: Record<string, string>;
  id: string;
  close(): Promise<void>;
}

const STARTS = {
  "llama-swap": async (flags: string): Promise<Place> => {
    const config = `models: { "org/a": { cmd: "llama-server --port \${PORT} ${flags}" } }`;
    const sim = await startSim({ config });
    const env = { AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir };
    return { requests: sim.requests, env, id: "org/a", close: () => sim.close() };
  },
  "llama-server": async (flags: string): Promise<Place> => ({
    ...(await startKind("llama-server", { models: { a: flags } })),
    id: "a",
  }),
  router: async (flags: string): Promise<Place> => {
    const lines = flags.replaceAll("--", "\n").replace(/^(\S+) (\S+)/gm, "$1 = $2");
    const preset = `[a]\nmodel = /models/a.gguf${lines.replace(/^(no-control)\s*$/m, "$1 = true")}\n`;
    return { ...(await startKind("router", { preset })), id: "a" };
  },
};

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function connect(place: Place): Promise<ModelServer> {
  const server = new ModelServer(readConfig(place.env, {}, "/nowhere"));
  open.push(place.close, () => server.close());
  // A llama-server listens a moment after its start.
  await eventually(() => server.backend());
  return server;
}

interface Begun extends RunningTurn {
  notices: string[];
}

function begin(server: ModelServer, { id }: Place, text: string, signal?: AbortSignal): Begun {
  const notices: string[] = [];
  const parts = { ...THINKS, onNotice: (notice: string) => void notices.push(notice) };
  const context = transcript(user(text));
  const options = signal === undefined ? {} : { signal };
  const turn = beginTurn(server, { clock: REAL_CLOCK, on: model({ id }), context, parts, options });
  return { ...turn, notices };
}

const controls = ({ requests }: Place): unknown[] =>
  requests.filter(({ path }) => CONTROL.test(path.split("?")[0] ?? "")).map(({ body }) => JSON.parse(body));

/** The handle on the thinking, once it is known that it can be ended. */
const thinkingOf = (turn: RunningTurn) =>
  eventually(() => {
    const said = turn.activities.find(({ kind }) => kind === "thinks");
    if (said?.kind !== "thinks") throw new Error("It is not known yet.");
    return said.thinking;
  });

for (const [kind, start] of Object.entries(STARTS)) {
  describe(`with ${kind}`, () => {
    test("the thinking ends on request and the answer follows; whether that works is asked once", async () => {
      const place = await start(FLAGS);
      const server = await connect(place);
      for (let round = 0; round < 2; round += 1) {
        const turn = begin(server, place, THOUGHTS);
        const thinking = await thinkingOf(turn);
        expect(thinking.isOn()).toBe(true);
        expect(await thinking.end()).toBe(true);
        const { message } = await turn.ended;
        expect(message.stopReason).toBe("stop");
        const [thought, said] = message.content;
        expect(said).toEqual({ type: "text", text: "Done." });
        expect(thought?.type === "thinking" && thought.thinking.length).toBeLessThan(10_000);
        expect(thinking.isOn()).toBe(false);
        expect(await thinking.end()).toBe(false);
        const answer = { id: message.responseId, action: "reasoning_end", model: place.id };
        expect(controls(place).at(-1)).toEqual(answer);
      }
      expect(controls(place)).toHaveLength(3);
      const chats = place.requests.filter(({ path }) => path === "/v1/chat/completions");
      for (const { body } of chats) expect(JSON.parse(body)).toMatchObject({ reasoning_control: true });
    });

    test("a loop in the thinking ends it, and the turn goes on with a notice", async () => {
      const place = await start(FLAGS.replace("400", "3000"));
      const turn = begin(await connect(place), place, LOOP);
      const { message } = await turn.ended;
      expect(message.stopReason).toBe("stop");
      expect(message.content.at(-1)).toEqual({ type: "text", text: "Done." });
      expect(turn.notices).toEqual([
        expect.stringMatching(
          /^The model repeated itself while it thought: it wrote "Let me look at it once more\." at least \d+ times/,
        ),
      ]);
    });

    test("an earlier llama-server is asked once, and a loop in its thinking ends the turn", async () => {
      const place = await start(`${FLAGS.replace("400", "3000")} --no-control`);
      const server = await connect(place);
      for (let round = 0; round < 2; round += 1) {
        const turn = begin(server, place, LOOP);
        const { message, activities } = await turn.ended;
        expect(message.errorMessage).toMatch(/^The model repeats itself while it thinks: /);
        expect(activities.filter((said) => said.kind === "thinks")).toEqual([]);
      }
      expect(controls(place)).toHaveLength(1);
    });
  });
}

test("no other server is asked", async () => {
  const place: Place = { ...(await startKind("vllm", { models: { a: FLAGS } })), id: "a" };
  const { message } = await begin(await connect(place), place, "sim: think Hm.\nsim: say Done.").ended;
  expect(message.content.at(-1)).toEqual({ type: "text", text: "Done." });
  const chats = place.requests.filter(({ path }) => path === "/v1/chat/completions");
  expect(chats.map(({ body }) => JSON.parse(body).reasoning_control)).toEqual([undefined]);
  expect(controls(place)).toEqual([]);
});

test("a model that does not think is not asked for", async () => {
  const place = await STARTS["llama-server"](`${FLAGS} --no-reasoning`);
  const server = await connect(place);
  const context = transcript(user("sim: say Done."));
  await beginTurn(server, { clock: REAL_CLOCK, on: model({ id: "a" }), context }).ended;
  expect(place.requests.some(({ body }) => body.includes("reasoning_control"))).toBe(false);
  expect(controls(place)).toEqual([]);
});

test("a turn that is aborted while it thinks leaves the question open for the next", async () => {
  const place = await STARTS["llama-server"](FLAGS);
  const server = await connect(place);
  const stop = new AbortController();
  const turn = begin(server, place, THOUGHTS, stop.signal);
  await eventually(() => expect(turn.events).toContain("thinking_delta"));
  stop.abort();
  expect((await turn.ended).message.stopReason).toBe("aborted");
  const again = begin(server, place, THOUGHTS);
  expect(await (await thinkingOf(again)).end()).toBe(true);
  expect((await again.ended).message.stopReason).toBe("stop");
});
