import { describe, expect, it } from "vitest";
import { ServerError } from "../../lib/errors.ts";
import { ModelServer } from "../../server/model-server.ts";
import { startSim } from "../../sim/server.ts";
import { remedyOf } from "../../stream/pi-rules.ts";
import { FakeClock } from "../support/clock.ts";
import { chunk, DONE, events } from "../support/decoding.ts";
import { model, transcript, user } from "../support/samples.ts";
import { eventually } from "../support/sim-client.ts";
import {
  type Answer,
  beginTurn,
  expectNothingLeft,
  FakeServer,
  lostConnection,
  turnWith,
} from "../support/turns.ts";
import { clientOf, kept } from "../support/wire.ts";

const OK: Answer = { pieces: [events(chunk({ content: "Hi" }), chunk({}, "stop")) + DONE] };
const REFUSED = new ServerError("127.0.0.1:9 refuses connections (connection refused).", {
  link: "TCP",
  remedy: "retry",
  cause: Object.assign(new Error("connect"), { code: "ECONNREFUSED" }),
});
const LOADING: Answer = {
  status: 503,
  pieces: ['{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'],
};
const BAD_GATEWAY = new ServerError("Caddy answers, but the model server behind it does not (HTTP 502).", {
  link: "server",
  remedy: "retry",
  status: 502,
});

/** A server that answered before, and does not for so many questions. */
function away(questions: number, fault: ServerError = REFUSED): (server: FakeServer) => void {
  return (server) => {
    server.answered = true;
    server.state = fault;
    let left = questions;
    server.ping = async () => {
      left -= 1;
      if (left >= 0) throw fault;
      server.state = "gone";
    };
  };
}

describe("a server that answered a moment ago", () => {
  it.each<[string, Answer, ServerError]>([
    ["refuses connections", { fault: REFUSED }, REFUSED],
    ["is not there behind Caddy (502)", { status: 502 }, BAD_GATEWAY],
    ["is not there behind Caddy (503)", { status: 503 }, BAD_GATEWAY],
    ["is not there behind Caddy (504)", { status: 504 }, BAD_GATEWAY],
    ["closes the connection", { fault: lostConnection() }, REFUSED],
  ])("and %s is waited for, and the user sees it", async (_what, first, fault) => {
    const { message, server, activities, clock } = await turnWith([first, OK], { prepare: away(8, fault) });
    expect(message.stopReason).toBe("stop");
    expect(server.chats).toHaveLength(2);
    expect(activities).toContainEqual({ kind: "down", by: undefined });
    const back = activities.findLastIndex(({ kind }) => kind === "down") + 1;
    expect(activities[back], "what is said once it is back").toEqual({ kind: "connecting" });
    // Pauses that grow: the whole body is sent again only when it is back.
    expect(clock.now() - new FakeClock().now()).toBeGreaterThan(15_000);
  });

  it("ends the turn when it stays away for AI_SERVER_LOAD_TIMEOUT_MS, and pi does not begin again", async () => {
    const clock = new FakeClock();
    const begun = clock.now();
    const env = { AI_SERVER_LOAD_TIMEOUT_MS: "60000" };
    const { message } = await turnWith([{ fault: REFUSED }], { clock, env, prepare: away(1000) });
    expect(message.errorMessage?.replaceAll("\u2060", "")).toBe(
      "The server answered earlier, but has not come back within 60 s (AI_SERVER_LOAD_TIMEOUT_MS). 127.0.0.1:9 refuses connections (connection refused).",
    );
    expect(remedyOf(message.errorMessage ?? "")).toBe("none");
    expect(clock.now() - begun).toBeLessThanOrEqual(60_000);
    expect(clock.now() - begun).toBeGreaterThan(54_000);
  });

  it("is waited for no longer in sum, however often a command of this pi restarts it", async () => {
    const clock = new FakeClock();
    const begun = clock.now();
    const answers = Array.from({ length: 1000 }, () => ({ fault: REFUSED }));
    const parts = { restarting: () => "/ai-server-restart" };
    const { message } = await turnWith(answers, { clock, parts });
    expect(message.errorMessage).toMatch(/^The server answered earlier, but has not come back within 600 s/);
    expect(clock.now() - begun).toBeLessThanOrEqual(600_000);
  });

  it.each<[string, Answer, boolean]>([
    ["refuses connections", { fault: REFUSED }, false],
    ["answers 502", { status: 502 }, true],
    ["closes the connection", { fault: lostConnection() }, true],
  ])("and %s each time is asked four times, and pi does not begin again", async (_what, gone, isLooked) => {
    const prepare = (server: FakeServer): void => {
      server.answered = true;
      server.state = REFUSED;
      let questions = 0;
      // Away when the turn looks, back after its first pause.
      server.ping = async () => {
        questions += 1;
        if (isLooked && questions % 2 === 1) throw REFUSED;
      };
    };
    const { message, server } = await turnWith(
      Array.from({ length: 50 }, () => gone),
      { prepare },
    );
    expect(message.errorMessage?.replaceAll("\u2060", "")).toMatch(
      /^The server went away 4 times while it worked on this request, which may be crashing it\. /,
    );
    expect(remedyOf(message.errorMessage ?? "")).toBe("none");
    expect(server.chats).toHaveLength(4);
  });

  it("may be away twice for as long as it likes within the limit in sum, whatever time is between", async () => {
    const clock = new FakeClock();
    const server = new FakeServer(clock, { AI_SERVER_LOAD_TIMEOUT_MS: "60000" });
    server.answered = true;
    // A load of 50 s between two restarts of some 8 s each.
    const loading = Array.from({ length: 50 }, () => LOADING);
    server.answers.push({ fault: REFUSED }, ...loading, { fault: REFUSED }, OK);
    let questions = 0;
    server.ping = async () => {
      questions += 1;
      if (questions % 6 !== 0) throw REFUSED;
    };
    const { message } = await clock.until(beginTurn(server, { clock }).ended);
    expect([message.stopReason, server.chats.length]).toEqual(["stop", 53]);
  });

  it("is not waited for any more when the user has had enough", async () => {
    const clock = new FakeClock();
    const server = new FakeServer(clock);
    const leave = new AbortController();
    server.answers.push({ fault: REFUSED }, OK);
    away(1000)(server);
    const turn = beginTurn(server, { clock, options: { signal: leave.signal } });
    await clock.advance(20_000);
    expect(turn.activities.at(-1)).toEqual({ kind: "down", by: undefined });
    leave.abort();
    expect((await turn.ended).message.stopReason).toBe("aborted");
    await expectNothingLeft(server, clock, leave.signal);
  });

  it("and fails this one request alone is asked as often as ever", async () => {
    const lost = Array.from({ length: 5 }, () => ({ fault: lostConnection() }));
    const prepare = (server: FakeServer): void => {
      server.answered = true;
    };
    const { server, activities } = await turnWith(lost, { prepare });
    expect(server.chats).toHaveLength(2);
    expect(activities.filter(({ kind }) => kind === "down")).toEqual([]);
  });
});

describe("a server that has not answered yet", () => {
  it.each<[string, Answer]>([
    ["refuses connections", { fault: REFUSED }],
    ["is not there behind Caddy", { status: 502 }],
  ])("and %s is reported at once", async (_what, first) => {
    const clock = new FakeClock();
    const begun = clock.now();
    const prepare = (server: FakeServer): void => {
      server.state = REFUSED;
    };
    const { message, server } = await turnWith([first, OK], { clock, prepare });
    expect([message.stopReason, server.chats.length]).toEqual(["error", 1]);
    expect(clock.now()).toBe(begun);
  });

  it("is waited for while a command of this pi restarts it, by its name", async () => {
    const { message, activities } = await turnWith([{ fault: REFUSED }, OK], {
      parts: { restarting: () => "/ai-server-restart" },
      prepare: (server) => {
        away(3)(server);
        server.answered = false;
      },
    });
    expect(message.stopReason).toBe("stop");
    expect(activities).toContainEqual({ kind: "down", by: "/ai-server-restart" });
  });
});

it("a turn begun while the server is away continues when it is back, on its port", async () => {
  const config = `models: { m: { cmd: "llama-server --port \${PORT} --no-reasoning" } }`;
  const options = { config, speed: 20, tls: "none" } as const;
  const first = await startSim(options);
  const { port } = first;
  const server = await kept(new ModelServer(clientOf(first.url, first.certsDir)));
  const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms / 20));
  const context = transcript(user("sim: say Back"));
  const begin = () => beginTurn(server, { clock: { now: Date.now, sleep }, on: model({ id: "m" }), context });
  expect((await begin().ended).message.stopReason).toBe("stop");
  await first.close();
  const turn = begin();
  await eventually(() => expect(turn.activities).toContainEqual({ kind: "down", by: undefined }));
  await kept(startSim({ ...options, port }));
  expect((await turn.ended).message.content).toEqual([{ type: "text", text: "Back" }]);
});
