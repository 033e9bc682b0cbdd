import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, test } from "vitest";
import { byPath, cannedServer } from "../support/canned.ts";
import { ODD, startPlace } from "../support/command-place.ts";
import { saying, User } from "../support/command-user.ts";
import { eventually } from "../support/sim-client.ts";

beforeAll(() => initTheme());

const CMD = `llama-server --port \${PORT} --no-reasoning`;
const SLOW = `
models:
  slow: { cmd: "${CMD} --load 20 -c 4096" }
  endless: { cmd: "${CMD} --load 600" }
  talker: { cmd: "${CMD} --token-rate 2 -c 4096" }
  sturdy: { cmd: "${CMD} --stop-delay 60" }
`;

describe("/ai-server-load", () => {
  test("loads, reports the live context, and gives pi the models again", async () => {
    const place = await startPlace();
    const { notices, questions } = await place.type("/ai-server-load small");
    expect(notices).toEqual([
      {
        level: "info",
        text: expect.stringMatching(
          /^small is loaded; it took \d\.\d s\.\nA request may use 8192 tokens \(8k\)\.$/,
        ),
      },
    ]);
    expect([questions, await place.loaded()]).toEqual([[], ["small"]]);
    const served = place.aiServer.models.find(({ id }) => id === "small");
    expect(served?.aiServer.context).toEqual({ value: 8192, source: "live" });
  });

  test("says that a model is loaded already, and starts nothing", async () => {
    const place = await startPlace();
    await place.load("small");
    expect((await place.type("/ai-server-load small")).told[0]).toMatch(/^small is already loaded\.\n/);
    expect(place.sim.starts).toEqual({ small: 1 });
  });

  test.each([ODD, `"${ODD}"`, `'${ODD}'`, "groesse"])(
    "takes the id %s, and says which model was unloaded for it",
    async (typed) => {
      const place = await startPlace();
      await place.load("small");
      const [text = ""] = (await place.type(`/ai-server-load ${typed}`)).told;
      expect(text).toMatch(new RegExp(`^${ODD} is loaded`));
      expect(text).toContain("A request may use 8192 tokens (8k).");
      expect(text).toContain("Unloaded to make room: small.");
      expect(await place.loaded()).toEqual([ODD]);
    },
  );

  test("lists the models when the id is missing, and the nearest when it is wrong", async () => {
    const place = await startPlace();
    expect((await place.type("/ai-server-load")).notices).toEqual([
      { level: "error", text: `Name a model. The server has groesse, ${ODD}, small.` },
    ]);
    expect((await place.type("/ai-server-load smoll")).told).toEqual([
      'No model "smoll". Did you mean "small"?',
    ]);
    expect(place.sim.starts).toEqual({});
  });

  test("remembers how long it took, and shows it the next time", async () => {
    const place = await startPlace();
    await place.type("/ai-server-load small");
    await expect
      .poll(async () => (await place.type("/ai-server-status small")).told[0])
      .toMatch(/Loading {4}takes about \d\.\d s/);
  });

  test("says meanwhile which model may be unloaded, which it waits for, and that it loads", async () => {
    const place = await startPlace(SLOW);
    await place.load("talker");
    place.sim.setSpeed(1);
    await place.chat("talker", { "user-agent": "curl/8" });
    const user = new User("rpc");
    const loading = place.type("/ai-server-load slow", user);
    await eventually(() =>
      // A busy machine says first that it asks the server.
      expect(user.statuses.filter((status) => status !== "Asking the server…")).toEqual([
        "Loading slow; may unload talker…",
        "slow waits for talker to answer a request…",
      ]),
    );
    await (await place.client()).http.request({ method: "POST", path: "/api/models/unload/talker" });
    await eventually(() => expect(user.statuses.at(-1)).toBe("Loading slow…"));
    place.sim.setSpeed(1000);
    await loading;
    expect(user.told[0]).toMatch(/^slow is loaded; .*\nA request.*\nUnloaded to make room: talker\.$/);
    expect(user.statuses.at(-1)).toBeUndefined();
  });

  test("says that another model is being stopped", async () => {
    const place = await startPlace(SLOW);
    await place.load("sturdy");
    place.sim.setSpeed(1);
    const user = new User("rpc");
    const loading = place.type("/ai-server-load slow", user);
    await eventually(() => expect(user.statuses).toContain("Stopping sturdy…"));
    place.sim.setSpeed(1000);
    await loading;
    expect(user.told[0]).toContain("Unloaded to make room: sturdy.");
  });

  test("shows the end of the model's log when the load fails", async () => {
    const place = await startPlace(`models:\n  bad: { cmd: "${CMD} --load 60 --fail-after 1" }\n`);
    const { notices } = await place.type("/ai-server-load bad");
    expect(notices).toHaveLength(1);
    expect(notices[0]?.level).toBe("error");
    expect(notices[0]?.text).toMatch(
      /^bad could not be loaded.*\n(?:.*\n)*.*cudaMalloc failed: out of memory/,
    );
  });

  test("shows no secret of the log or the command line when the load fails", async () => {
    const flags = "--load 60 --fail-after 1 -m https://u:hunter2@hub/x.gguf?token=hunter3";
    const place = await startPlace(`
models:
  bad: { cmd: "${CMD} ${flags}" }
  gone: { cmd: "/nonexistent/llama-server --port \${PORT} --api-key hunter4 -m /m.gguf" }
`);
    for (const id of ["bad", "gone"]) {
      const user = await place.type(`/ai-server-load ${id}`);
      expect(user.notices).toEqual([
        { level: "error", text: expect.stringContaining(`${id} could not be loaded`) },
      ]);
      expect(user.everything).not.toMatch(/hunter/);
    }
  });

  test.each(["print", "json"] as const)("in %s mode loads without asking", async (mode) => {
    const place = await startPlace();
    const { answered } = await place.type("/ai-server-load small", new User(mode).readsOutput());
    expect([answered, await place.loaded()]).toEqual([expect.stringMatching(/^small is loaded/), ["small"]]);
  });

  test("says over RPC what it waits for", async () => {
    const place = await startPlace(SLOW);
    place.sim.setSpeed(1);
    const user = new User("rpc");
    const loading = place.type("/ai-server-load slow", user);
    await eventually(() => expect(user.statuses).toEqual(["Loading slow…"]));
    place.sim.setSpeed(1000);
    await loading;
    expect(user.statuses).toEqual(["Loading slow…", undefined]);
  });

  test.each([
    [true, "endless is unloaded.", []],
    [false, "The server continues loading endless.", ["endless starting"]],
  ])("offers to stop the load after Escape (%s)", async (answer, told, loaded) => {
    const place = await startPlace(SLOW);
    place.sim.setSpeed(1);
    const user = saying(answer, "tui");
    user.sees = () =>
      void eventually(() => expect(place.sim.starts.endless).toBe(1)).then(() => user.escape());
    await place.type("/ai-server-load endless", user);
    expect(user.questions).toEqual([
      {
        title: "Stop loading endless?",
        text: "On the server, endless is starting.\nStopping unloads it; models unloaded to make room for it stay unloaded.",
      },
    ]);
    expect(user.acts).toEqual([["Let it load", "Stop and unload it"]]);
    expect(user.told).toEqual([told]);
    expect(await place.loaded()).toEqual(loaded);
  });
});

test("a load that cannot be stopped after Escape says why", async () => {
  const place = await startPlace(SLOW);
  place.sim.setSpeed(1);
  const user = new User("tui");
  user.confirms = async () => {
    await place.close();
    return true;
  };
  user.sees = () => void eventually(() => expect(place.sim.starts.endless).toBe(1)).then(() => user.escape());
  await place.type("/ai-server-load endless", user);
  expect(user.notices).toEqual([
    { level: "error", text: expect.stringMatching(/refused|lost|unreachable/i) },
  ]);
});

describe("/ai-server-unload", () => {
  test("unloads an idle model without a question", async () => {
    const place = await startPlace();
    await place.load(ODD);
    const { told, questions } = await place.type("/ai-server-unload groesse");
    expect([told, questions, await place.loaded()]).toEqual([[`${ODD} is unloaded.`], [], []]);
  });

  test("does nothing if the model is not loaded", async () => {
    const place = await startPlace();
    await place.load("small");
    expect((await place.type(`/ai-server-unload ${ODD}`)).told).toEqual([`${ODD} is not loaded.`]);
    expect(await place.loaded()).toEqual(["small"]);
  });

  test.each([
    [false, "Nothing was unloaded.", ["talker"]],
    [true, "talker is unloaded.", []],
  ])("asks first if the model answers another client (%s)", async (answer, told, loaded) => {
    const place = await startPlace(SLOW);
    await place.load("talker");
    place.sim.setSpeed(1);
    await place.chat("talker", { "user-agent": "curl/8.5 (linux)", "x-session-id": "another" });
    const user = await place.type("/ai-server-unload talker", saying(answer));
    expect(user.questions).toEqual([
      {
        title: "Unload talker anyway?",
        text: "In-flight requests that will be cut off: 1 on talker (for 0 s, curl/8.5 at 127.0.0.1).",
      },
    ]);
    expect(user.acts).toEqual([["Keep it loaded", "Unload it now"]]);
    expect([user.told, await place.loaded()]).toEqual([[told], loaded]);
  });

  test("asks about the requests of that model alone", async () => {
    const request = (model: string): object => ({ id: model, model, timestamp: new Date().toISOString() });
    const snapshot = { operation: "snapshot", requests: [request("a"), request("b")] };
    const event = { type: "inflight", data: JSON.stringify(snapshot) };
    const models = ["a", "b"].map((id) => ({ id, model: id, state: "ready" }));
    const { swap } = await cannedServer((incoming, response) => {
      if (incoming.url !== "/api/events")
        return byPath({
          "/v1/models": { data: models },
          "/running": { running: models },
          "/api/version": { version: "v250" },
        })(incoming, response);
      response
        .writeHead(200, { "content-type": "text/event-stream" })
        .write(`event:message\ndata:${JSON.stringify(event)}\n\n`);
    });
    const place = await startPlace(SLOW, { AI_SERVER_URL: swap.config.origin });
    const user = await place.type("/ai-server-unload a", saying(false));
    expect(user.told).toEqual(["Nothing was unloaded."]);
    expect(user.questions[0]?.text).toMatch(
      /^In-flight requests that will be cut off: 1 on a( \([^)]*\))?\.$/,
    );
  });

  test("asks first if the model does not report its requests in time", async () => {
    const { swap, requests } = await cannedServer((request, response) => {
      const running = { running: [{ model: "m", state: "ready" }] };
      if (request.url === "/upstream/m/slots") return;
      byPath({ "/v1/models": { data: [{ id: "m" }] }, "/running": running })(request, response);
    });
    const place = await startPlace(SLOW, { AI_SERVER_URL: swap.config.origin });
    const user = await place.type("/ai-server-unload m", saying(false));
    expect(user.questions).toEqual([
      {
        title: "Unload m anyway?",
        text: "m did not answer in time and may be reading a prompt, which would be cut off.",
      },
    ]);
    expect(user.told).toEqual(["Nothing was unloaded."]);
    expect(requests.join()).not.toContain("unload");
  });

  test.each([
    [false, "Nothing was unloaded.", ["small"]],
    [true, "Unloaded: small.", []],
  ])("of all models always asks (%s)", async (answer, told, loaded) => {
    const place = await startPlace();
    await place.load("small");
    const user = await place.type("/ai-server-unload", saying(answer));
    expect(user.questions).toEqual([
      {
        title: "Unload every model?",
        text: "Will be unloaded: small.\nNo requests in flight.",
      },
    ]);
    expect(user.acts).toEqual([["Keep them loaded", "Unload them now"]]);
    expect([user.told, await place.loaded()]).toEqual([[told], loaded]);
  });

  test("of all models asks nothing if none is loaded", async () => {
    expect(await (await startPlace()).type("/ai-server-unload")).toMatchObject({
      told: ["No model is loaded."],
      questions: [],
    });
  });

  test("names the nearest model if the id is unknown", async () => {
    expect((await (await startPlace()).type("/ai-server-unload smol")).told).toEqual([
      'No model "smol". Did you mean "small"?',
    ]);
  });

  test.each(["print", "json"] as const)("is refused in %s mode if it would ask", async (mode) => {
    const place = await startPlace(SLOW);
    await place.load("talker");
    place.sim.setSpeed(1);
    await place.chat("talker", { "user-agent": "curl/8" });
    for (const line of ["/ai-server-unload", "/ai-server-unload talker"]) {
      const { answered, failed } = await place.type(line, new User(mode).readsOutput());
      expect(answered).toBe("");
      expect(failed).toMatch(new RegExp(`${mode} mode cannot ask. Nothing was changed`));
    }
    expect(await place.loaded()).toEqual(["talker"]);
  });
});

describe("a server without /running", () => {
  test.each(["load small", "unload small", "unload"])("does not %s", async (line) => {
    const place = await startPlace(undefined, { AI_SERVER_RUNNING_PATH: "/nowhere" });
    expect((await place.type(`/ai-server-${line}`)).told[0]).toMatch(
      /^The server has no \/nowhere: AI_SERVER_RUNNING_PATH is wrong, and without it the loaded models are unknown\.$/,
    );
    expect(place.sim.starts).toEqual({});
  });
});

describe("a server that loads nothing when asked", () => {
  test.each(["load tiny", "unload tiny", "unload"])("does not ask first whether to %s", async (line) => {
    const { swap } = await cannedServer(
      byPath({
        "/running": 404,
        "/v1/models": { data: [{ id: "tiny" }] },
        "/props": { default_generation_settings: { n_ctx: 4096 } },
        "/slots": [{ is_processing: true }],
      }),
    );
    const place = await startPlace(SLOW, { AI_SERVER_URL: swap.config.origin });
    const { told, questions } = await place.type(`/ai-server-${line}`);
    expect(questions).toEqual([]);
    expect(told[0]).toMatch(
      /^This server is a single llama-server: its model is loaded for as long as it runs/,
    );
  });
});

describe("a model that runs elsewhere", () => {
  const listed = (id: string, type: string): unknown => ({ id, meta: { llamaswap: { type } } });

  test.each([
    [
      "far",
      "far runs on another server, to which llama-swap forwards its requests: it cannot be loaded, unloaded or logged here.",
    ],
    ["any", "any chooses among other models for each request: it cannot be loaded, unloaded or logged here."],
  ])("is neither loaded nor unloaded: %s", async (id, sentence) => {
    const { swap, requests } = await cannedServer(
      byPath({
        "/v1/models": { data: [listed("far", "peer"), listed("any", "selector")] },
        "/running": { running: [] },
      }),
    );
    const place = await startPlace(SLOW, { AI_SERVER_URL: swap.config.origin });
    for (const line of [`/ai-server-load ${id}`, `/ai-server-unload ${id}`]) {
      expect((await place.type(line)).notices).toEqual([{ level: "error", text: sentence }]);
    }
    expect(new Set(requests)).toEqual(new Set(["GET /v1/models", "GET /running"]));
  });
});
