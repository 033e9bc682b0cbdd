import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, test } from "vitest";
import { byPath, cannedServer } from "../../support/canned.ts";
import { ODD, type Place, startPlace } from "../../support/command-place.ts";
import { type Mode, User } from "../../support/command-user.ts";
import { installFitTools } from "../../support/fit-tools.ts";
import { Sitter } from "../../support/panel-sitter.ts";
import { eventually } from "../../support/sim-client.ts";

beforeAll(() => initTheme());

const ESCAPE = "\u001b";
const ENTER = "\r";
const DOWN = "\u001b[B";

const CMD = `llama-server --port \${PORT} --no-reasoning`;
const SLOW = `
models:
  quick: { cmd: "${CMD} --load 0.2 -c 4096" }
  slow: { cmd: "${CMD} --load 60 -c 8192" }
`;
const TALKER = `
models:
  talker: { cmd: "${CMD} --token-rate 2 -c 4096", ttl: 300 }
`;

async function opened(config?: string, argument = "") {
  const place = await startPlace(config);
  const sitter = new Sitter(place);
  const over = sitter.open(argument);
  await sitter.sees(/live · llama-swap/);
  return { place, sitter, over };
}

/** Escape until it is closed, and nothing of it is left. */
async function leaves({ place, sitter, over }: { place: Place; sitter: Sitter; over: Promise<void> }) {
  sitter.press(ESCAPE);
  await over;
  expect(sitter.isOpen).toBe(false);
  await nothingIsAsked(place);
}

async function nothingIsAsked({ sim }: Place): Promise<void> {
  await eventually(() =>
    expect(
      sim.requests.filter(({ finishedAt, disconnectedAt }) => (finishedAt ?? disconnectedAt) === undefined),
    ).toEqual([]),
  );
}

describe("the panel", () => {
  test("shows the models, and Escape leaves it with nothing running", async () => {
    const { place, sitter, over } = await opened();
    await sitter.sees(
      /→ groesse +unloaded[\s\S]*small +unloaded[\s\S]*In flight: nothing[\s\S]*GPU NVIDIA RTX/,
    );
    expect(place.sim.starts).toEqual({});
    await leaves({ place, sitter, over });
    await place.aiServer.close();
    await eventually(() => expect(place.sim.connections).toBe(0));
  });

  test("shows what the selected model needs of memory, and asks again after a change of its size", async () => {
    const config = `models:\n  m:\n    cmd: llama-server --port \${PORT} -m /m.gguf -c 8192\n`;
    const place = await startPlace(config);
    installFitTools(place);
    const sitter = new Sitter(place);
    const over = sitter.open("m");
    await sitter.sees(
      /Memory +needs 1\.3 GiB on Vulkan0 \(weights 1\.0,\s+context 0\.3,\s+compute 0\.1\)\s+of 24 GiB/,
    );
    sitter.answers = () => "Change and restart";
    sitter.press("c", "6", "4", "k", ENTER);
    await sitter.sees(/Memory +needs 3\.1 GiB [\s\S]*context 2\.0,/);
    await leaves({ place, sitter, over });
  });

  test("follows what another client does", async () => {
    const { place, sitter, over } = await opened();
    await place.load("small");
    await sitter.sees(/small +ready +8k +live/);
    await place.load(ODD);
    await sitter.sees(/small +unloaded/);
    await place.chat(ODD, { "user-agent": "curl/8" });
    await leaves({ place, sitter, over });
  });

  test("opens at the model named by the argument", async () => {
    const { place, sitter, over } = await opened(undefined, ` "${ODD}" `);
    await sitter.sees(/→ org\/Größe:Q4 x[\s\S]*small +unloaded/);
    await leaves({ place, sitter, over });
  });

  test("opens with the argument as a filter", async () => {
    const { place, sitter, over } = await opened(undefined, " smal ");
    await sitter.sees(/→ small/);
    expect(sitter.screen).not.toContain(ODD);
    sitter.press(ESCAPE);
    await sitter.sees(/Größe/);
    await leaves({ place, sitter, over });
  });

  test("closes at the end of the session, during a load", async () => {
    const { place, sitter, over } = await opened(SLOW, "slow");
    await sitter.sees(/→ slow/);
    place.sim.setSpeed(1);
    sitter.press(ENTER);
    await sitter.sees(/slow +starting/);
    place.ended.abort();
    await over;
    expect(sitter.isOpen).toBe(false);
    await nothingIsAsked(place);
  });

  test("says which link to a lost server fails, and can be left", async () => {
    const place = await startPlace();
    await place.close();
    const sitter = new Sitter(place);
    const over = sitter.open();
    await sitter.sees(/TCP FAILS[\s\S]*connection lost, reconnecting|connection lost[\s\S]*TCP FAILS/);
    sitter.press(ESCAPE);
    await over;
  });

  test.each<Mode>(["rpc", "print", "json"])("shows the status in %s mode", async (mode) => {
    const place = await startPlace();
    const user = new User(mode).readsOutput();
    await place.type("/ai-server", user);
    expect(user.everything).toMatch(/llama-swap .*Model .*small +unloaded/);
  });
});

describe("Enter", () => {
  test("loads, shows the result, and gives pi the live context", async () => {
    const { place, sitter, over } = await opened(undefined, "small");
    await sitter.sees(/→ small/);
    sitter.press(ENTER);
    await sitter.sees(/small is loaded; it took[\s\S]*A request may use 8192 tokens/);
    await sitter.sees(/small +ready +8k +live/);
    const served = place.aiServer.models.find(({ id }) => id === "small");
    expect(served?.aiServer.context).toEqual({ value: 8192, source: "live" });
    sitter.press(ESCAPE);
    await leaves({ place, sitter, over });
    expect(sitter.user.notices).toEqual([]);
  });

  test("shows a bar during a load, based on earlier loads", async () => {
    const { place, sitter, over } = await opened(SLOW, "slow");
    await sitter.sees(/→ slow/);
    sitter.press(ENTER);
    await sitter.sees(/slow is loaded/);
    await (await place.client()).http.request({ method: "POST", path: "/api/models/unload/slow" });
    await sitter.sees(/slow +unloaded/);
    place.sim.setSpeed(20);
    sitter.press(ENTER);
    await sitter.sees(/Loading slow\n[█░]{40} \d s of about \d s/);
    place.sim.setSpeed(1000);
    await sitter.sees(/slow is loaded/);
    sitter.press(ESCAPE);
    await leaves({ place, sitter, over });
  });

  test("unloads a loaded model, as the command does", async () => {
    const { place, sitter, over } = await opened(undefined, "small");
    await place.load("small");
    await sitter.sees(/→ small +ready/);
    sitter.press(ENTER);
    await sitter.sees(/small +unloaded[\s\S]*small is unloaded\./);
    expect(await place.loaded()).toEqual([]);
    sitter.press(ESCAPE);
    await leaves({ place, sitter, over });
  });

  test.each([
    ["Unload it now", []],
    ["Keep it loaded", ["talker"]],
  ])("asks before it cuts off a request of another client: %s", async (answer, left) => {
    const { place, sitter, over } = await opened(TALKER);
    await place.load("talker");
    place.sim.setSpeed(1);
    sitter.columns = 90;
    await place.chat("talker", { "user-agent": "curl/8" });
    await sitter.sees(/→ talker +ready .*in use[\s\S]*In flight: 1\n +talker · \d+ s · curl/);
    sitter.answers = () => answer;
    sitter.press(ENTER);
    await sitter.sees(/talker is unloaded\.|Nothing was unloaded\./);
    expect(sitter.asked).toEqual(["Unload talker anyway?"]);
    expect(await place.loaded()).toEqual(left);
    sitter.press(ESCAPE);
    await over;
  });

  test("shows why a load failed, also as a notice of pi", async () => {
    const { place, sitter, over } = await opened(
      `models:\n  bad: { cmd: "${CMD} --load 60 --fail-after 1" }\n`,
    );
    await sitter.sees(/→ bad/);
    sitter.press(ENTER);
    await sitter.sees(/bad could not be loaded/);
    expect(sitter.user.notices).toEqual([{ level: "error", text: expect.stringContaining("out of memory") }]);
    await leaves({ place, sitter, over });
  });

  test("masks a secret in the server's error", async () => {
    const { swap } = await cannedServer((request, response) => {
      const running = { running: [{ model: "m", state: "ready" }] };
      const said = { status: 500, headers: {}, body: "cannot stop llama-server --api-key hunter2" };
      const models = { data: [{ id: "m" }] };
      byPath({ "/running": running, "/v1/models": models, "/api/models/unload/m": said })(request, response);
    });
    const place = await startPlace(SLOW, { AI_SERVER_URL: swap.config.origin });
    const sitter = new Sitter(place);
    const over = sitter.open();
    await sitter.sees(/→ m +ready/);
    sitter.press(ENTER);
    await sitter.sees(/cannot stop llama-server --api-key ••••/);
    expect(sitter.user.everything).not.toContain("hunter2");
    sitter.press(ESCAPE);
    await over;
  });

  test("does not start a second load", async () => {
    const { place, sitter, over } = await opened(SLOW);
    await sitter.sees(/→ quick/);
    place.sim.setSpeed(1);
    sitter.press(DOWN, ENTER);
    await sitter.sees(/slow +starting/);
    sitter.press(DOWN, ENTER);
    await sitter.sees(/slow is still loading/);
    sitter.answers = (_, offered) => offered.find((choice) => choice.includes("leave"));
    sitter.press(ESCAPE);
    await over;
    expect(sitter.user.told).toEqual([
      "slow is still loading. Wait for it, or stop it.",
      "The server continues loading slow.",
    ]);
    expect(await place.loaded()).toEqual(["slow starting"]);
    await nothingIsAsked(place);
  });
});

describe("Escape while a model loads", () => {
  async function loading() {
    const { place, sitter, over } = await opened(SLOW);
    await place.load("quick");
    await sitter.sees(/→ quick +ready/);
    place.sim.setSpeed(2);
    sitter.press(DOWN, ENTER);
    await sitter.sees(/slow +starting/);
    return { place, sitter, over };
  }

  test.each([
    ["Load it again", ["quick"]],
    ["Leave it unloaded", []],
  ])("stops it, and offers to reload what was unloaded for it: %s", async (again, loaded) => {
    const { place, sitter, over } = await loading();
    sitter.answers = (title, offered) =>
      title.startsWith("Load") ? again : offered.find((choice) => choice.startsWith("Stop"));
    sitter.press(ESCAPE);
    await sitter.sees(/slow +unloaded/);
    if (again === "Load it again") await sitter.sees(/quick is loaded/);
    else await sitter.sees(/slow is unloaded\./);
    expect(sitter.asked).toEqual(["Stop loading slow?", "Load quick again?"]);
    expect(await place.loaded()).toEqual(loaded);
    await leaves({ place, sitter, over });
  });

  test("can let it go on, and the panel stays", async () => {
    const { place, sitter, over } = await loading();
    sitter.answers = (_, offered) => offered.find((choice) => choice === "Let it load");
    sitter.press(ESCAPE);
    await eventually(() => expect(sitter.asked).toEqual(["Stop loading slow?"]));
    await sitter.sees(/slow +starting[\s\S]*Loading slow/);
    place.sim.setSpeed(100);
    await sitter.sees(/slow is loaded; .*\n.*\nUnloaded to make room: quick\./);
    await leaves({ place, sitter, over });
  });

  test("asks for Enter on that model too", async () => {
    const { place, sitter, over } = await loading();
    sitter.answers = (title, offered) => (title.startsWith("Load") ? offered[0] : "Stop and unload it");
    sitter.press(ENTER);
    await sitter.sees(/slow is unloaded\./);
    await leaves({ place, sitter, over });
  });
});

test("stopping one of two reloads cancels both", async () => {
  let running = ["one", "two"].map((model) => ({ model, state: "ready" }));
  const models = { data: [{ id: "big" }, { id: "one" }, { id: "two" }] };
  const { swap, requests } = await cannedServer((request, response) => {
    const url = request.url ?? "";
    const loaded = /^\/upstream\/(.*)\/health$/.exec(url)?.[1];
    if (url.startsWith("/api/models/unload/")) running = [];
    // Such a load never ends.
    if (loaded !== undefined) running = [{ model: loaded, state: "starting" }];
    else
      byPath({
        [url]: url.startsWith("/api/models/") ? 200 : 404,
        "/v1/models": models,
        "/running": { running },
      })(request, response);
  });
  const place = await startPlace(SLOW, { AI_SERVER_URL: swap.config.origin });
  const sitter = new Sitter(place);
  const over = sitter.open("big");
  await sitter.sees(/two +ready[\s\S]*→ big +unloaded/);
  sitter.answers = (title, offered) => (title.startsWith("Load") ? offered[1] : "Stop and unload it");
  sitter.press(ENTER);
  await eventually(() => expect(requests).toContain("GET /upstream/big/health"));
  sitter.press(ESCAPE);
  await eventually(() => expect(requests).toContain("GET /upstream/one/health"));
  sitter.press(ESCAPE);
  await sitter.sees(/one is unloaded\./);
  expect(sitter.asked).toEqual(["Stop loading big?", "Load one, two again?", "Stop loading one?"]);
  sitter.press(ESCAPE);
  await over;
  expect(requests).not.toContain("GET /upstream/two/health");
});

describe("letters", () => {
  test("m selects the model in pi", async () => {
    const { place, sitter, over } = await opened();
    await place.aiServer
      .discover(undefined)
      .then(({ models }) => place.aiServer.publish(models, sitter.ctx.modelRegistry, false));
    sitter.press("\u001b[F", "m");
    await sitter.sees(/small is pi's model now\./);
    expect(sitter.selected).toEqual(["small"]);
    await sitter.sees(/→ small \(in pi\)/);
    sitter.mayUse = false;
    sitter.press("m");
    await sitter.sees(/no credentials/);
    await leaves({ place, sitter, over });
  });

  test("m says so if pi does not list the model", async () => {
    const { place, sitter, over } = await opened();
    await sitter.sees(/→ groesse/);
    sitter.press("m");
    await sitter.sees(/pi lists no chat model groesse/);
    await leaves({ place, sitter, over });
  });

  test("l opens the log, and comes back", async () => {
    const { place, sitter, over } = await opened(undefined, "small");
    await place.load("small");
    await sitter.sees(/→ small +ready/);
    sitter.press("l");
    await sitter.sees(/^Log of small\n[\s\S]*main: server is listening/);
    sitter.press(ESCAPE);
    await sitter.sees(/→ small +ready/);
    sitter.press(ESCAPE);
    await leaves({ place, sitter, over });
  });

  test("c asks for a size and changes the context", async () => {
    const { place, sitter, over } = await opened(undefined, "small");
    await sitter.sees(/→ small/);
    sitter.answers = (_, offered) => offered[1];
    sitter.press("c", "4", "k", ENTER);
    await sitter.sees(/small: the context size is now 4096 tokens/);
    expect(place.text).toContain("--ctx-size 4096");
    await sitter.sees(/live · llama-swap[\s\S]*small +ready +4k +live/);
    sitter.press("c");
    await sitter.sees(/Context size of small: now 4k; for example 8k/);
    sitter.press(ESCAPE);
    expect(sitter.screen).not.toContain("Context size of");
    expect(place.restarts).toBe(1);
    sitter.press(ESCAPE);
    await leaves({ place, sitter, over });
  });

  test("c asks for no size if the context cannot be changed", async () => {
    const { swap } = await cannedServer(
      byPath({
        "/running": 404,
        "/v1/models": { data: [{ id: "m" }] },
        "/props": { default_generation_settings: { n_ctx: 4096 } },
      }),
    );
    const place = await startPlace(SLOW, { AI_SERVER_URL: swap.config.origin });
    const sitter = new Sitter(place);
    const over = sitter.open();
    await sitter.sees(/→ m +ready[\s\S]*m use in pi · l log/);
    sitter.press("c");
    await sitter.sees(/This server is a single llama-server/);
    expect(sitter.asked).toEqual([]);
    sitter.press(ESCAPE);
    await over;
  });

  test("r reads everything again, also for pi", async () => {
    const { place, sitter, over } = await opened();
    await sitter.sees(/→ groesse/);
    sitter.press("r");
    await sitter.sees(/Refreshed\./);
    expect(place.aiServer.models.map(({ id }) => id)).toEqual(["groesse", ODD, "small"]);
    await leaves({ place, sitter, over });
  });
});

test("the panel follows a resized terminal", async () => {
  const { place, sitter, over } = await opened();
  for (const [rows, columns] of [
    [10, 40],
    [60, 200],
  ] as const) {
    Object.assign(sitter, { rows, columns });
    const lines = sitter.screen.split("\n");
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns);
    expect(lines).toHaveLength(rows);
  }
  await leaves({ place, sitter, over });
});
