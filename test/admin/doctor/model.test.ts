import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, test } from "vitest";
import type { KindName } from "../../../sim/kinds/server.ts";
import { Desk } from "../../conformance/desk.ts";
import { ODD, type Place, startPlace } from "../../support/command-place.ts";
import { saying, User } from "../../support/command-user.ts";
import { findings } from "../../support/doctor-findings.ts";
import { blamed, modelPart } from "../../support/doctor-trial.ts";
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
    expect(told.at(-1)).toMatch(/^✓ Load: small is loaded$/m);
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

describe("the trial on llama-swap", () => {
  test("loads the model, and has nothing to warn of", async () => {
    const one = await place();
    const user = await one.type("/ai-server-doctor --model seeing", saying(true));
    const shown = modelPart(user.told.at(-1));
    expect(shown).toMatch(/^✓ Load: loaded in \d\.\d s, of 30 s that llama-swap's healthCheckTimeout/m);
    for (const subject of [
      "First token",
      "Reading",
      "Writing",
      "Usage",
      "Progress",
      "Prompt cache",
      "Tool call",
    ])
      expect(shown).toMatch(new RegExp(`^✓ ${subject}: `, "m"));
    for (const subject of ["Thinking on", "Thinking off", "Image"])
      expect(shown).toMatch(new RegExp(`^✓ ${subject}: `, "m"));
    expect(shown).not.toMatch(/^[!✗]/m);
    expect(await one.loaded()).toEqual(["seeing"]);
    expect(one.aiServer.models.find(({ id }) => id === "seeing")?.input).toEqual(["text", "image"]);
  });

  test("has nothing to warn of in a model without thinking and images", async () => {
    const one = await place();
    await one.load("small");
    const found = await findings(one, "--model small");
    expect(found.thinking).toMatchObject({ verdict: "unchecked" });
    expect(found.image).toMatchObject({ verdict: "unchecked" });
    expect(blamed(found)).toEqual([]);
  });

  test("does not blame a model that always thinks, or one that is declared without tools", async () => {
    const one = await place();
    const thinking = await one.type("/ai-server-doctor --model thinking", saying(true));
    expect(modelPart(thinking.told.at(-1))).toMatch(/^– Thinking off: it always thinks/m);
    expect(modelPart(thinking.told.at(-1))).not.toMatch(/^[!✗]/m);
    const talking = await one.type("/ai-server-doctor --model talking", saying(true));
    expect(modelPart(talking.told.at(-1))).toMatch(
      /^– Tool call: the server's configuration declares it without tools/m,
    );
    expect(modelPart(talking.told.at(-1))).not.toMatch(/^[!✗]/m);
  });

  test("ends with a request that fails, in the server's words", async () => {
    const one = await place();
    await one.load("small");
    one.sim.failNext({ path: "/v1/chat", status: 500, body: '{"error":{"message":"ggml went away"}}' });
    const found = await findings(one, "--model small");
    expect(found["first-token"]).toMatchObject({
      verdict: "fault",
      seen: expect.stringContaining("ggml went away"),
    });
    expect([found["tool-call"], chats(one)]).toEqual([undefined, 1]);
  });

  test("gives a request no more time than a load", async () => {
    const one = await place({ AI_SERVER_LOAD_TIMEOUT_MS: "1000" });
    await one.load("talker");
    const found = await findings(one, "--model talker");
    expect(found["first-token"]).toMatchObject({
      verdict: "fault",
      seen: expect.stringMatching(
        /^No whole answer came within 1 s .*; its first token came after 0\.\d s\.$/,
      ),
    });
  });

  test("tries a model by an alias, under the name that pi has for it", async () => {
    const one = await startPlace();
    one.sim.setSpeed(1);
    await one.load(ODD);
    const found = await findings(one, "--model groesse");
    expect(found.load).toMatchObject({ verdict: "ok" });
    expect(found["tool-call"]).toMatchObject({ verdict: "ok" });
  });

  test("uses the window that the model has now, though its command line is the same", async () => {
    const config = (size: number): string =>
      `models:\n  grown: { cmd: "llama-server --port \${PORT} --no-reasoning", env: ["STAND_IN=-c ${size}"] }\n`;
    const one = await startPlace(config(8192));
    one.sim.setSpeed(1);
    const windowOf = async (): Promise<string | undefined> => {
      const { told } = await one.type("/ai-server-doctor --model grown", saying(true));
      return /a full window of (\S+)/.exec(told.at(-1) ?? "")?.[1];
    };
    expect(await windowOf()).toBe("8k");
    one.text = config(4096);
    await one.reload();
    expect(await windowOf()).toBe("4k");
  });

  test("leaves a model alone that answers another client", async () => {
    const one = await place();
    await one.load("talker");
    await one.chat("talker", { "user-agent": "curl/8" });
    const found = await findings(one, "--model talker");
    expect(found.model).toMatchObject({
      verdict: "unchecked",
      seen: expect.stringMatching(
        /^not tried, since it is at work\. In-flight requests: 1 on talker \(.*curl/,
      ),
    });
    expect(chats(one)).toBe(1);
  });

  test("a model that fails to load is a fault with the end of its log", async () => {
    const one = await place();
    one.sim.setSpeed(100);
    const { told } = await one.type("/ai-server-doctor --model bad", saying(true));
    expect(told.at(-1)).toMatch(/^✗ Load: bad could not be loaded.*(?:\n {2}.*)*out of memory/m);
    expect(chats(one)).toBe(0);
  });

  test("a load beyond the limit is a fault that names it", async () => {
    const one = await place({ AI_SERVER_LOAD_TIMEOUT_MS: "1000" });
    const { told } = await one.type("/ai-server-doctor --model slow", saying(true));
    expect(told.at(-1)).toMatch(/^✗ Load: slow was not loaded within 1 s \(timed out\)/m);
    expect(told.at(-1)).toContain("AI_SERVER_LOAD_TIMEOUT_MS");
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
    const { env } = await kept(startKind(kind));
    const desk = new Desk(env);
    // One llama-server lists nothing while it loads.
    await eventually(async () => expect(await desk.type("/ai-server-status")).toContain(id));
    const shown = modelPart(await desk.type(`/ai-server-doctor --model ${id}`));
    expect(shown).not.toMatch(/^[!✗]/m);
    expect(shown).toMatch(/^✓ Tool call: /m);
  });

  test("a model that sleeps is woken only where the user says so", async () => {
    const sim = await kept(startKind("llama-server"));
    const desk = new Desk(sim.env);
    await eventually(async () => expect(await desk.type("/ai-server-status")).toContain("small"));
    sim.sleep("small");
    const asked = (): number => sim.asked().filter((line) => line.startsWith("POST")).length;
    const user = new User("json").readsOutput();
    await desk.type("/ai-server-doctor --model small", user);
    expect([JSON.stringify(user.objects), asked()]).toEqual([expect.stringContaining("it is asleep"), 0]);
    const yes = saying(true);
    expect(await desk.type("/ai-server-doctor --model small", yes)).toMatch(/^✓ Tool call: /m);
    expect(yes.questions[0]?.title).toBe("Load small and try it?");
  });
});
