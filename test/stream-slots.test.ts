/** Turns whose model is loaded and works for others: against the stand-in, on a clock as fast as its own. */
import { expect, onTestFinished, test } from "vitest";
import { ModelServer } from "../server/model-server.ts";
import { startSim } from "../sim/server.ts";
import { fastClock } from "./support/clock.ts";
import { model, transcript, user } from "./support/samples.ts";
import { eventually } from "./support/sim-client.ts";
import { beginTurn, type RunningTurn } from "./support/turns.ts";
import { clientOf, kept } from "./support/wire.ts";

const SPEED = 20;
const COMMAND = `llama-server --port \${PORT} --ctx-size 65536 --no-reasoning --parallel 1 --token-rate 20 --load 4`;
const CONFIG = `
models:
  plain: { cmd: "${COMMAND} -m /models/plain.gguf" }
  banner: { cmd: "${COMMAND} -m /models/banner.gguf", sendLoadingState: true }
`;

test.each(["plain", "banner"])(
  "a turn whose model (%s) has no slot for it names what it waits for, once the model is loaded",
  async (id) => {
    // The load goes on only once the turn has seen it.
    const sim = await kept(startSim({ config: CONFIG, speed: 0.001 }));
    const clock = fastClock(SPEED);
    const connect = () => kept(new ModelServer(clientOf(sim.url, sim.certsDir), clock.now));
    const [ours, theirs] = [await connect(), await connect()];
    const hangUp = new AbortController();
    onTestFinished(() => hangUp.abort());
    const messages = [{ role: "user", content: "sim: tokens 100000" }];
    const answer = theirs.chat(JSON.stringify({ model: id, stream: true, messages }), {}, hangUp.signal);
    answer.catch(() => {});
    await eventually(() => expect(sim.starts[id]).toBe(1));
    const context = transcript(user("sim: say Mine"));
    const turn: RunningTurn = beginTurn(ours, { clock, on: model({ id, name: id }), context });
    await eventually(() => expect(turn.activities.map(({ kind }) => kind)).toContain("loading"));
    sim.setSpeed(SPEED);
    const waits = { kind: "waiting", blockedBy: undefined, position: undefined, ahead: 1 };
    await eventually(() => expect(turn.activities).toContainEqual(waits));
    // Before that it was loaded, and nothing else is said from then on.
    expect(turn.activities.at(0)).toEqual({ kind: "connecting" });
    hangUp.abort();
    const { message } = await turn.ended;
    expect(message.content).toEqual([{ type: "text", text: "Mine" }]);
    expect(sim.requests.map(({ path }) => path)).not.toContain(`/upstream/${id}/slots`);
  },
);
