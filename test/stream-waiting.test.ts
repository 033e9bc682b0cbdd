import { describe, expect, it } from "vitest";
import { FakeClock } from "./support/clock.ts";
import { chunk, DONE, events } from "./support/decoding.ts";
import { system, tool, transcript, user } from "./support/samples.ts";
import { type Answer, FakeServer, turnOn, turnWith } from "./support/turns.ts";

const OK: Answer = { pieces: [events(chunk({ content: "Hi" }), chunk({}, "stop")) + DONE] };
const EMPTY_502: Answer = { status: 502 };

function refusal(
  status: number,
  message: string,
  type = "server_error",
  headers: Record<string, string> = {},
): Answer {
  return { status, headers, pieces: [JSON.stringify({ src: "llama-swap", error: { message, type } })] };
}

const UNLOADED = refusal(500, "unspecific error: group: model unloaded");
const FAILED = refusal(500, "unspecific error: upstream command exited prematurely");
const LOADING = refusal(503, "Loading model", "unavailable_error");
const BUSY = refusal(429, "Too many requests", "rate_limit_error", { "retry-after": "7" });

/** A server whose state follows a script: one entry for each look at `/running`, the last one for the rest. */
function scripted(states: FakeServer["state"][]): (server: FakeServer) => void {
  return (server) => {
    const running = server.running.bind(server);
    server.running = () => {
      server.state = states.length > 1 ? states.shift() : states[0];
      return running();
    };
  };
}

describe("waiting", () => {
  it.each<[string, Answer, FakeServer["state"]]>([
    ["an empty 502 while the model starts", EMPTY_502, "starting"],
    ["an empty 502 while the model stops", EMPTY_502, "stopping"],
    ["503 Loading model", LOADING, "ready"],
    ["503 Loading model where /running loads too", LOADING, new Error("503")],
    ["503 Loading model where there is no /running", LOADING, undefined],
    ["500 after an unload, the model gone", UNLOADED, "gone"],
    ["500 after an unload, the model starting again", UNLOADED, "starting"],
    ["429", BUSY, "ready"],
  ])("%s is asked again and again until it answers, as activity", async (_what, answer, state) => {
    const {
      message,
      server,
      activities,
      events: seen,
    } = await turnWith(
      Array.from({ length: 31 }, (_, at) => (at < 30 ? answer : OK)),
      {
        prepare: (server) => {
          server.state = state;
        },
      },
    );
    expect(message.stopReason).toBe("stop");
    expect(server.chats).toHaveLength(31);
    expect(seen.filter((type) => type === "start")).toHaveLength(1);
    expect(activities.filter(({ kind }) => kind === "retrying")).toHaveLength(30);
  });

  it("heeds the time of a Retry-After", async () => {
    const { clock, activities } = await turnWith([BUSY, OK]);
    expect(clock.sleeps).toContain(7000);
    expect(activities).toContainEqual({
      kind: "retrying",
      why: "the server has too many requests",
      delayMs: 7000,
    });
  });

  it.each<[string, Answer, RegExp]>([
    ["loading", LOADING, /^thinker was not loaded within AI_SERVER_LOAD_TIMEOUT_MS \(timed out\)\./],
    [
      "busy",
      BUSY,
      /^thinker has had too many requests at once for longer than AI_SERVER_LOAD_TIMEOUT_MS allows/,
    ],
  ])("that is %s ends after AI_SERVER_LOAD_TIMEOUT_MS", async (_what, answer, sentence) => {
    const clock = new FakeClock();
    const begun = clock.now();
    const { message } = await turnWith(
      Array.from({ length: 100 }, () => answer),
      { clock, env: { AI_SERVER_LOAD_TIMEOUT_MS: "60000" } },
    );
    expect(message.errorMessage).toMatch(sentence);
    expect(clock.now() - begun).toBeLessThanOrEqual(60_000);
    expect(clock.now() - begun).toBeGreaterThan(50_000);
  });

  it("does not begin where a Retry-After goes beyond the limit", async () => {
    const later = refusal(429, "Too many requests", "rate_limit_error", { "retry-after": "601" });
    const { message, server } = await turnWith([later, OK]);
    expect(message.errorMessage).toContain("too many requests at once");
    expect(server.chats).toHaveLength(1);
  });
});

describe("a load that fails", () => {
  const sentence =
    "thinker could not be loaded: unspecific error: upstream command exited prematurely\nIts log ends with:\ncudaMalloc failed: out of memory\nexiting\nMemory ran out: give the model a smaller context with /ai-server-ctx thinker <size>, or use a smaller quantisation.";

  it("ends at once, with its reason and the end of its log", async () => {
    const { message, server } = await turnWith([FAILED, OK], {
      prepare: (server) => {
        server.state = "gone";
        server.log = ["loading", "cudaMalloc failed: out of memory", "exiting"].slice(1);
      },
    });
    expect(message.errorMessage?.replaceAll("\u2060", "")).toBe(sentence);
    expect(server.chats).toHaveLength(1);
  });

  it("with endless lines in its log shows their beginnings", async () => {
    const { message } = await turnWith([FAILED], {
      prepare: (server) => {
        server.state = "gone";
        server.log = Array.from({ length: 6 }, () => "timeout 500 ".repeat(20_000));
      },
    });
    expect(message.errorMessage?.length).toBeLessThan(10_000);
  });

  it("is not loaded again because /running was read before it failed", async () => {
    const { message, server } = await turnWith([FAILED, OK], { prepare: scripted(["starting", "gone"]) });
    expect(message.errorMessage?.replaceAll("\u2060", "")).toMatch(/^thinker could not be loaded: /);
    expect(server.chats).toHaveLength(1);
  });

  it("is asked for once more where /running says ready, and then no more: each request may load it", async () => {
    const { message, server } = await turnWith(Array.from({ length: 9 }, () => FAILED));
    expect(message.errorMessage?.replaceAll("\u2060", "")).toMatch(/^thinker could not be loaded: /);
    expect(server.chats).toHaveLength(2);
  });

  it("is asked for once more when another client's load is over, however long that takes", async () => {
    const states: FakeServer["state"][] = [...Array.from({ length: 40 }, () => "starting" as const), "ready"];
    const { message, server, clock } = await turnWith([FAILED, OK], { prepare: scripted(states) });
    expect([message.stopReason, server.chats.length]).toEqual(["stop", 2]);
    expect(clock.now() - new FakeClock().now()).toBeGreaterThan(300_000);
  });

  it("is not asked for again where another client's load fails too", async () => {
    const prepare = scripted(["starting", "starting", "starting", "gone"]);
    const { message, server } = await turnWith([FAILED, OK], { prepare });
    expect([message.stopReason, server.chats.length]).toEqual(["error", 1]);
  });

  it("for an unload is asked for more and more seldom", async () => {
    const unloaded = Array.from({ length: 500 }, () => UNLOADED);
    const { message, server } = await turnWith(unloaded, { prepare: scripted(["starting"]) });
    expect(message.errorMessage).toContain("was not loaded within AI_SERVER_LOAD_TIMEOUT_MS");
    expect(server.chats.length).toBeLessThan(75);
  });

  it("is asked for again where another client is loading it", async () => {
    const { message } = await turnWith([FAILED, OK], {
      prepare: scripted(["starting", "starting", "ready"]),
    });
    expect(message.stopReason).toBe("stop");
  });

  const swapFailed = events({
    choices: [
      {
        delta: {
          reasoning_content:
            "Unable to swap model err: unable to start process: upstream command exited prematurely\n",
        },
      },
    ],
  });
  it.each<[string, string, "whole" | "lost"]>([
    [
      "the banner of today",
      '\n{"src":"llama-swap","error":{"message":"unspecific error: upstream command exited prematurely","type":"server_error"}}',
      "whole",
    ],
    ["the banner up to v217", swapFailed, "whole"],
    ["the banner up to v217 that garbles the stream", swapFailed, "lost"],
  ])("behind %s ends at once too", async (_what, said, end) => {
    const banner = events({
      choices: [{ delta: { reasoning_content: "llama-swap loading model: thinker\n" } }],
    });
    const { message, server } = await turnWith([{ pieces: [banner, said], end }, OK], {
      prepare: (server) => {
        server.state = "gone";
        server.log = ["out of memory"];
      },
    });
    expect(message.content).toEqual([]);
    expect(message.errorMessage?.replaceAll("\u2060", "")).toMatch(
      /^thinker could not be loaded: .*upstream command exited prematurely\nIts log ends with:\nout of memory\nMemory ran out: /,
    );
    expect(server.chats).toHaveLength(1);
  });

  it("by an unload behind a banner is waited for", async () => {
    const banner = events({
      choices: [{ delta: { reasoning_content: "llama-swap loading model: thinker\n" } }],
    });
    const said =
      '{"src":"llama-swap","error":{"message":"unspecific error: group: model unloaded","type":"server_error"}}';
    const turn = await turnWith([{ pieces: [banner, said] }, OK], { prepare: scripted(["gone"]) });
    expect(turn.message.stopReason).toBe("stop");
    expect(turn.events.filter((type) => type === "start")).toHaveLength(1);
    expect(turn.activities).toEqual([
      { kind: "connecting" },
      { kind: "loading", elapsedMs: 0 },
      { kind: "restarted" },
      { kind: "retrying", why: "the model was unloaded", delayMs: 1000 },
      { kind: "connecting" },
      { kind: "generating" },
    ]);
  });
});

describe("a crash", () => {
  const gone = (server: FakeServer): void => {
    server.state = "gone";
    server.log = ["ggml_abort", "Aborted (core dumped)"];
  };

  it("is asked for once more", async () => {
    const { message, server, activities } = await turnWith([EMPTY_502, OK], { prepare: gone });
    expect(message.stopReason).toBe("stop");
    expect(server.chats).toHaveLength(2);
    expect(activities).toContainEqual({ kind: "retrying", why: "the model's process ended", delayMs: 1000 });
  });

  it("that comes again ends the turn with the last lines of the log", async () => {
    const { message, server } = await turnWith([EMPTY_502, EMPTY_502, OK], { prepare: gone });
    expect(message.errorMessage?.replaceAll("\u2060", "")).toBe(
      "thinker gave no answer, twice: its process ended or could not be reached\nIts log ends with:\nggml_abort\nAborted (core dumped)",
    );
    expect(server.chats).toHaveLength(2);
  });

  it("without a log says what is known", async () => {
    const { message } = await turnWith([EMPTY_502, EMPTY_502], { prepare: scripted(["gone"]) });
    expect(message.errorMessage?.replaceAll("\u2060", "")).toBe(
      "thinker gave no answer, twice: its process ended or could not be reached",
    );
  });
});

describe("an unknown field", () => {
  const unknown = (field: string): Answer =>
    refusal(400, `Unrecognized request argument supplied: ${field}`, "invalid_request_error");

  it("is left out, asked again at once, and remembered", async () => {
    const clock = new FakeClock();
    const server = new FakeServer(clock);
    server.answers.push(unknown("return_progress"), unknown("stream_options"), OK, OK);
    await turnOn(server, clock);
    await turnOn(server, clock);
    expect(server.chats.map(({ body }) => [body.return_progress, body.stream_options])).toEqual([
      [true, { include_usage: true }],
      [undefined, { include_usage: true }],
      [undefined, undefined],
      [undefined, undefined],
    ]);
    expect(clock.sleeps.filter((ms) => ms < 1000)).toEqual([]);
  });

  it("may be the slot that was asked for", async () => {
    const prepare = (server: FakeServer): void => {
      server.slot = 1;
    };
    const { server } = await turnWith([unknown("id_slot"), OK], { prepare });
    expect(server.chats.map(({ body }) => body.id_slot)).toEqual([1, undefined]);
  });

  it("of a pydantic server is found", async () => {
    const detail = [
      { type: "extra_forbidden", loc: ["body", "return_progress"], msg: "Extra inputs are not permitted" },
    ];
    const { server } = await turnWith([{ status: 422, pieces: [JSON.stringify({ detail })] }, OK]);
    expect(server.chats[1]?.body).not.toHaveProperty("return_progress");
  });

  it("that is no optional one ends the turn", async () => {
    const { message, server } = await turnWith([unknown("messages"), OK]);
    expect(server.chats).toHaveLength(1);
    expect(message.errorMessage).toBe(
      "The server refused the request (HTTP 400). It says: Unrecognized request argument supplied: messages",
    );
  });

  it("that a hook puts back ends the turn instead of going round", async () => {
    const answers = Array.from({ length: 5 }, () => unknown("return_progress"));
    const { message, server } = await turnWith(answers, {
      options: { onPayload: (body: unknown) => ({ ...(body as object), return_progress: true }) },
    });
    expect(message.stopReason).toBe("error");
    expect(server.chats).toHaveLength(2);
  });

  it("in several turns at once costs each of them one request", async () => {
    const context = transcript(system("", { toolsAdded: [tool("bash")] }), user("Hi"));
    const options = { toolChoice: "auto" } as const;
    const { server } = await turnWith([unknown("tool_choice"), OK], { context, options });
    expect(server.chats.map(({ body }) => body.tool_choice)).toEqual(["auto", undefined]);
  });
});

describe("a refusal that stays", () => {
  it.each<[string, Answer, FakeServer["state"]]>([
    ["400", refusal(400, "bad", "invalid_request_error"), "ready"],
    ["401", refusal(401, "unauthorized", "authentication_error"), "ready"],
    ["403", { status: 403 }, "ready"],
    ["404", refusal(404, "no router for requested model", "invalid_request_error"), "ready"],
    ["500 of a server_error", refusal(500, "image input is not supported"), "ready"],
    ["a redirect", { status: 302, headers: { location: "https://elsewhere.example" } }, "ready"],
    ["an empty 502 of Caddy's, when llama-swap is down", EMPTY_502, new Error("down")],
  ])("%s is asked once", async (_what, answer, state) => {
    const { server, message } = await turnWith([answer, OK], { prepare: scripted([state]) });
    expect(message.stopReason).toBe("error");
    expect(server.chats).toHaveLength(1);
  });

  it("with a body without end is read up to a limit", async () => {
    const endless = Array.from({ length: 40 }, () => "x".repeat(4096));
    const { message } = await turnWith([{ status: 400, pieces: endless, end: "never" }]);
    expect(message.errorMessage?.length).toBeLessThan(600);
  });
});
