import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, test } from "vitest";
import type { Finding } from "../../../admin/doctor/finding.ts";
import type { KindName } from "../../../sim/kinds/server.ts";
import { Desk } from "../../conformance/desk.ts";
import { ODD, type Place, startPlace } from "../../support/command-place.ts";
import { saying, User } from "../../support/command-user.ts";
import { findings } from "../../support/doctor-findings.ts";
import { blamed, tried } from "../../support/doctor-trial.ts";
import { startKind } from "../../support/kinds.ts";
import { eventually } from "../../support/sim-client.ts";
import { kept } from "../../support/wire.ts";

beforeAll(() => initTheme());

const CMD = `llama-server --port \${PORT} --no-reasoning -c 8192`;
const CONFIG = `
healthCheckTimeout: 30
models:
  small: { cmd: "${CMD} --load 0.2" }
  seeing: { cmd: "llama-server --port \${PORT} -c 8192 --load 0.2 --vision" }
  slow: { cmd: "${CMD} --load 600" }
  bad: { cmd: "${CMD} --load 60 --fail-after 1" }
  thinking: { cmd: "llama-server --port \${PORT} -c 8192 --load 0.2", metadata: { thinking: always } }
  talking: { cmd: "${CMD} --load 0.2", metadata: { tools: false } }
  talker: { cmd: "${CMD} --load 0.2 --token-rate 2" }
`;

/** How many chat requests named a model: those by which the way's size is tried are no JSON. */
const chats = ({ sim }: Place): number =>
  sim.requests.filter(({ path, body }) => path === "/v1/chat/completions" && body.includes('"model"')).length;

/** A server whose models write no faster than they say. */
async function place(env: Record<string, string> = {}): Promise<Place> {
  const made = await startPlace(CONFIG, env);
  made.sim.setSpeed(1);
  return made;
}

describe("before the table opens", () => {
  test("asks with the consequences, and loads nothing where the user says no", async () => {
    const one = await place();
    await one.type("/ai-server-load small");
    const user = await one.type("/ai-server-doctor --model talker", saying(false));
    expect(user.questions).toEqual([
      {
        title: "Load talker and try it?",
        text: [
          "May be unloaded to make room: small.",
          "No requests in flight.",
          "No load time recorded yet; a minute is typical.",
          "A few short requests follow, and it stays loaded.",
        ].join("\n"),
      },
    ]);
    expect(user.acts).toEqual([["Do not load it", "Load and try it"]]);
    expect(user.told.at(-1)).toContain("– talker: it is not loaded, and you chose not to load it");
    expect([one.sim.starts, chats(one)]).toEqual([{ small: 1 }, 0]);
  });

  test("names the requests that wait on other models, and how long loads took", async () => {
    const one = await place();
    await one.type("/ai-server-load small");
    await one.type("/ai-server-load talker");
    await one.chat("talker", { "user-agent": "curl/8" });
    const { questions } = await one.type("/ai-server-doctor --model small", saying(false));
    expect(questions[0]?.text).toMatch(
      /^May be unloaded to make room: talker\.\nIn-flight requests: 1 on talker \(for \d+ s, curl.*\)\.\nIt should take about \d+ s\.\n/,
    );
  });

  test("a model that is ready needs no question", async () => {
    const one = await place();
    await one.load("small");
    const { questions, told } = await one.type("/ai-server-doctor --model small");
    expect(questions).toEqual([]);
    expect(JSON.parse(told.at(-1) ?? "").lines).toContain("✓ Load: small is loaded");
  });

  test("an unknown model is an error with suggestions, and nothing is checked", async () => {
    const one = await place();
    const { notices } = await one.type("/ai-server-doctor --model smoll");
    expect(notices).toEqual([{ level: "error", text: 'No model "smoll". Did you mean "small"?' }]);
  });

  test.each(["print", "json"] as const)("%s mode cannot ask, so nothing is loaded", async (mode) => {
    const one = await place();
    const { answered } = await one.type("/ai-server-doctor --model small", new User(mode).readsOutput());
    expect(answered).toContain("– small: it is not loaded; load it with /ai-server-load small first");
    expect([one.sim.starts, chats(one)]).toEqual([{}, 0]);
  });

  test("a server that does not answer is left to the checks", async () => {
    const one = await place();
    await one.close();
    const found = await findings(one, "--model small");
    expect(found.model).toMatchObject({ verdict: "unchecked", subject: "small" });
    expect(found.certificates).toMatchObject({ verdict: "ok" });
  });

  test("without --model, no model is asked anything", async () => {
    const one = await place();
    await one.load("small");
    const found = await findings(one);
    expect(found.model).toMatchObject({
      verdict: "unchecked",
      seen: expect.stringContaining("--model <id>"),
    });
    expect(chats(one)).toBe(0);
  });
});

const seenOf = (found: Record<string, Finding>): Record<string, string> =>
  Object.fromEntries(Object.values(found).map(({ check, verdict, seen }) => [check, `${verdict}: ${seen}`]));

describe("the trial on llama-swap", () => {
  test("loads the model, and has nothing to warn of", async () => {
    const one = await place();
    const found = await tried(one, "seeing", saying(true));
    expect(seenOf(found).load).toMatch(
      /^ok: loaded in \d\.\d s, of 30 s that llama-swap's healthCheckTimeout allows; it stays loaded$/,
    );
    const judged = ["first-token", "reading", "writing", "usage", "progress", "prefix", "tool-call"];
    for (const check of [...judged, "thinking", "thinking-off", "image"])
      expect(found[check]).toMatchObject({ verdict: "ok" });
    expect(blamed(found)).toEqual([]);
    expect(await one.loaded()).toEqual(["seeing"]);
    expect(one.aiServer.models.find(({ id }) => id === "seeing")?.input).toEqual(["text", "image"]);
  });

  test("has nothing to warn of in a model without thinking and images", async () => {
    const one = await place();
    await one.load("small");
    const found = await tried(one, "small");
    expect(found.thinking).toMatchObject({ verdict: "unchecked" });
    expect(found.image).toMatchObject({ verdict: "unchecked" });
    expect(blamed(found)).toEqual([]);
  });

  test("does not blame a model that always thinks, or one that is declared without tools", async () => {
    const one = await place();
    const thinking = await tried(one, "thinking", saying(true));
    expect(seenOf(thinking)["thinking-off"]).toMatch(/^unchecked: it always thinks/);
    const talking = await tried(one, "talking", saying(true));
    expect(seenOf(talking)["tool-call"]).toMatch(
      /^unchecked: the server's configuration declares it without/,
    );
    expect([blamed(thinking), blamed(talking)]).toEqual([[], []]);
  });

  test("ends with a request that fails, in the server's words", async () => {
    const one = await place();
    await one.load("small");
    const body = '{"error":{"message":"ggml went away"}}';
    one.sim.failNext({ path: "/v1/chat", asking: '"model"', status: 500, body });
    const found = await tried(one, "small");
    expect(seenOf(found)["first-token"]).toMatch(/^fault: .*ggml went away/);
    expect([found["tool-call"], chats(one)]).toEqual([undefined, 1]);
  });

  test("gives a request no more time than a load", async () => {
    const one = await place({ AI_SERVER_LOAD_TIMEOUT_MS: "1000" });
    await one.load("talker");
    expect(seenOf(await tried(one, "talker"))["first-token"]).toMatch(
      /^fault: No whole answer came within 1 s .*; its first token came after 0\.\d s\.$/,
    );
  });

  test("tries a model by an alias, under the name that pi has for it", async () => {
    const one = await startPlace();
    one.sim.setSpeed(1);
    await one.load(ODD);
    const found = await tried(one, "groesse");
    expect(found.load).toMatchObject({ verdict: "ok" });
    expect(found["tool-call"]).toMatchObject({ verdict: "ok" });
  });

  test("tries a model of a peer, once the user agrees", async () => {
    const peers = 'peers:\n  other: { proxy: "http://127.0.0.1:9", models: [far] }\n';
    const one = await startPlace(`${CONFIG}${peers}`);
    one.sim.setSpeed(1);
    const user = saying(true);
    const found = await tried(one, "other/far", user);
    expect(user.questions[0]).toMatchObject({
      title: "Try other/far?",
      text: expect.stringContaining("does not report whether it is loaded"),
    });
    expect(found["tool-call"]).toMatchObject({ verdict: "ok" });
    expect((await tried(one, "other/far")).model).toMatchObject({ verdict: "unchecked" });
  });

  test("uses the window that the model has now, though its command line is the same", async () => {
    const config = (size: number): string =>
      `models:\n  grown: { cmd: "llama-server --port \${PORT} --no-reasoning", env: ["STAND_IN=-c ${size}"] }\n`;
    const one = await startPlace(config(8192));
    one.sim.setSpeed(1);
    const reading = async (): Promise<string | undefined> =>
      seenOf(await tried(one, "grown", saying(true))).reading;
    expect(await reading()).toContain("a full window of 8k");
    one.text = config(4096);
    await one.reload();
    expect(await reading()).toContain("a full window of 4k");
  });

  test("leaves a model alone that answers another client", async () => {
    const one = await place();
    await one.load("talker");
    await one.chat("talker", { "user-agent": "curl/8" });
    const found = await tried(one, "talker");
    expect(seenOf(found).model).toMatch(
      /^unchecked: not tried, since it is at work\. In-flight requests: 1 on talker \(.*curl/,
    );
    expect(chats(one)).toBe(1);
  });

  test("does not load a model that was ready when the command began, and is not any more", async () => {
    const one = await place();
    const given = { id: "small", runsAs: "small", mayLoad: false };
    const found = await tried(one, "small", saying(true), given);
    expect(Object.values(found)).toMatchObject([{ check: "load", verdict: "unchecked" }]);
    expect([one.sim.starts, chats(one)]).toEqual([{}, 0]);
  });

  test("a model that the server no longer lists is a fault", async () => {
    const one = await place();
    await one.load("small");
    const given = { id: "renamed", runsAs: "small", mayLoad: false };
    const found = await tried(one, "renamed", new User("json"), given);
    expect(seenOf(found).model).toBe("fault: the server does not list it any more");
    expect(chats(one)).toBe(0);
  });

  test("a model that fails to load is a fault with the end of its log", async () => {
    const one = await place();
    one.sim.setSpeed(100);
    const found = await tried(one, "bad", saying(true));
    expect(seenOf(found).load).toMatch(/^fault: bad could not be loaded.*\n(?:.*\n)*.*out of memory/);
    expect(chats(one)).toBe(0);
  });

  test("a load beyond the limit is a fault that names it", async () => {
    const one = await place({ AI_SERVER_LOAD_TIMEOUT_MS: "1000" });
    const { load } = seenOf(await tried(one, "slow", saying(true)));
    expect(load).toMatch(/^fault: slow was not loaded within 1 s \(timed out\).*AI_SERVER_LOAD_TIMEOUT_MS/);
  });
});

describe("Escape", () => {
  test("during the load leaves the server loading, and says so", async () => {
    const one = await place();
    const user = saying(true, "tui");
    const visit = one.type("/ai-server-doctor --model slow", user);
    await user.shows("Checking: Loading slow");
    await eventually(async () => expect(await one.loaded()).toEqual(["slow starting"]));
    user.escape();
    await visit;
    expect(user.told.at(-1)).toContain("Stopped; the rest was not checked. The server goes on loading slow.");
    expect(await one.loaded()).toEqual(["slow starting"]);
  });

  test("during a request ends it, leaves the model loaded, and says so", async () => {
    const one = await place();
    const user = saying(true, "tui");
    const visit = one.type("/ai-server-doctor --model talker", user);
    await user.shows("Checking: talker: a long prompt");
    await eventually(() => expect(chats(one)).toBe(1));
    user.escape();
    await visit;
    expect(user.told.at(-1)).toContain("Stopped; the rest was not checked. talker stays loaded.");
    expect(user.told.at(-1)).not.toContain("First token");
    expect([await one.loaded(), chats(one)]).toEqual([["talker"], 1]);
  });
});

describe("on every other kind of server", () => {
  test.each<[KindName, string]>([
    ["router", "thinker"],
    ["llama-server", "small"],
    ["vllm", "thinker"],
    ["ollama", "thinker"],
    ["lm-studio", "thinker"],
    ["plain", "thinker"],
  ])("%s has nothing to warn of", async (kind, id) => {
    const desk = new Desk((await kept(startKind(kind))).env);
    // One llama-server lists nothing while it loads.
    await eventually(async () => expect(await desk.type("/ai-server-status")).toContain(id));
    const found = await tried(desk, id, saying(true));
    expect(blamed(found)).toEqual([]);
    expect(found["tool-call"]).toMatchObject({ verdict: "ok" });
  });

  test("a model that sleeps is woken only where the user says so", async () => {
    const sim = await kept(startKind("llama-server"));
    const desk = new Desk(sim.env);
    await eventually(async () => expect(await desk.type("/ai-server-status")).toContain("small"));
    sim.sleep("small");
    const asked = (): number => sim.asked().filter((line) => line.startsWith("POST")).length;
    expect(seenOf(await tried(desk, "small")).model).toMatch(/^unchecked: it is asleep/);
    expect(asked()).toBe(0);
    const yes = saying(true);
    expect((await tried(desk, "small", yes))["tool-call"]).toMatchObject({ verdict: "ok" });
    expect(yes.questions[0]?.title).toBe("Load small and try it?");
  });
});
