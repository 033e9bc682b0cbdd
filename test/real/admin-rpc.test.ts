import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { Dialogs, no, noticesIn, statusesIn, yes } from "../support/admin-rpc.ts";
import {
  type AdminPlace,
  AdminServer,
  CONFIG,
  makeAdminPlace,
  PRIVATE,
  SECRETS,
} from "../support/admin-server.ts";
import { NEWEST_PI, piProblem } from "../support/pi.ts";
import { eventually } from "../support/processes.ts";
import { realSuite } from "../support/programs.ts";
import { at, type Json, RpcPi } from "../support/rpc.ts";

let server: AdminServer;
beforeAll(async () => {
  server = await AdminServer.start();
});
afterAll(() => server.stop());

realSuite(await piProblem(NEWEST_PI), `administration over RPC, pi ${NEWEST_PI}`, () => {
  const dialogs = new Dialogs();
  let place: AdminPlace;
  let pi: RpcPi;

  beforeAll(async () => {
    await server.reset();
    place = await makeAdminPlace(NEWEST_PI, server);
    pi = await RpcPi.start(place.options([]), dialogs.answer);
  });
  afterAll(async () => {
    await pi.close();
    await place.remove();
  });
  beforeEach(async () => {
    server.sim.setSpeed(1);
    await server.reset();
    dialogs.expect();
  });

  function expectUntouched(): void {
    expect(server.host.text).toBe(CONFIG);
    expect(server.host.backups).toEqual([]);
    expect(server.restarts).toBe(0);
  }

  /** Begins a load that lasts until the stand-in is set to a higher speed. */
  async function beginSlowLoad(): Promise<{ seen: Promise<Json[]> }> {
    const seen = pi.command("/ai-server-load slow");
    await eventually("the server loads it", async () =>
      (await server.running()).get("slow") === "starting" ? true : undefined,
    );
    return { seen };
  }

  test("a context size: asked with all that is at stake, changed, and what was loaded is loaded again", async () => {
    await server.load("steady");
    dialogs.expect(yes);
    const seen = await pi.command("/ai-server-ctx org/Größe:Q4 48k");
    expect(dialogs.asked).toEqual([
      expect.objectContaining({ method: "select", options: ["Keep as it is", "Change and restart"] }),
    ]);
    const question = dialogs.question();
    for (const part of [
      "Change the context size of org/Größe:Q4 to 49152 tokens (48k)?",
      "It is 32768 tokens (32k) now.",
      `In ${server.host.path}:`,
      "-        --ctx-size 32768",
      "+        --ctx-size 49152",
      "This restarts stand-in.service, which unloads every model.",
      "Will be unloaded: steady.",
      "No requests in flight.",
    ])
      expect(question).toContain(part);
    expect(question).toMatch(/should take about|No load time recorded/);

    expect(noticesIn(seen).at(-1)).toMatch(
      /^org\/Größe:Q4: the context size is now 49152 tokens \(48k\)\.\nIt is loaded, and a request may use 49152 tokens\.\nThe previous version is in .*\.bak-\d{8}T\d{6}Z\./,
    );
    expect(server.host.text).toBe(CONFIG.replace("32768", "49152"));
    expect(server.host.backups).toHaveLength(1);
    expect(server.host.leftovers).toEqual([]);
    expect(server.restarts).toBe(1);
    expect([...(await server.running())]).toEqual([["steady", "ready"]]);
    // The status line goes with the command.
    expect(statusesIn(seen).length).toBeGreaterThan(1);
    expect(statusesIn(seen).at(-1)).toBeUndefined();
  });

  test("the same declined, and dismissed: nothing is changed", async () => {
    dialogs.expect(no, () => ({ cancelled: true }));
    for (let answers = 1; answers <= 2; answers += 1) {
      const seen = await pi.command("/ai-server-ctx steady 96k");
      expect(dialogs.asked).toHaveLength(answers);
      expect(noticesIn(seen)).toEqual(["Nothing was changed."]);
      expectUntouched();
    }
  });

  test("a size that is there already is not asked for", async () => {
    expect(noticesIn(await pi.command("/ai-server-ctx steady 64k"))).toEqual([
      "Nothing to change: the config already says so.",
    ]);
    expect(dialogs.asked).toEqual([]);
    expectUntouched();
  });

  test("a model that no longer loads: the old config is back, with the server's own reason", async () => {
    const failing = CONFIG.replace("--fail-after 1", "--fail-after 0.2");
    await server.reset(failing);
    dialogs.expect(yes);
    const notice = noticesIn(await pi.command("/ai-server-ctx failing 8k")).at(-1);
    expect(notice).toMatch(/^The model could not be loaded with the new config\./);
    expect(notice).toMatch(/The previous config is restored, and the server answers with it\./);
    expect(notice).toMatch(/out of memory/);
    expect(server.host.text).toBe(failing);
    expect(server.restarts).toBe(2);
  });

  test("a rollback lists the backups and puts the chosen one back", async () => {
    dialogs.expect(yes);
    await pi.command("/ai-server-ctx steady 96k");
    const [stamp] = server.host.backups.map((name) => name.slice("config.yaml.bak-".length));
    dialogs.expect((request) => ({ value: at(request.options, 1) }), yes);
    const seen = await pi.command("/ai-server-rollback");
    expect(dialogs.asked).toEqual([
      expect.objectContaining({
        method: "select",
        options: [
          "Keep the config as it is",
          expect.stringMatching(new RegExp(`^${stamp} · \\d{4}-\\d\\d-\\d\\d .* B · \\+2 −2 lines$`)),
        ],
      }),
      expect.objectContaining({ method: "select", options: ["Keep as it is", "Restore and restart"] }),
    ]);
    expect(dialogs.question(1)).toMatch(/^-.*--ctx-size 98304[\s\S]*^\+.*--ctx-size 65536/m);
    expect(noticesIn(seen).at(-1)).toMatch(/^Restored .* as of .*\.\nThe server answers with it\./);
    expect(server.host.text).toBe(CONFIG);
    expect(server.host.backups).toHaveLength(2);
    expect(server.restarts).toBe(2);
  });

  test("a restart loads again what was loaded", async () => {
    await server.load("steady");
    dialogs.expect(no, yes);
    expect(noticesIn(await pi.command("/ai-server-restart"))).toEqual(["Nothing was restarted."]);
    expect(server.restarts).toBe(0);
    const seen = await pi.command("/ai-server-restart");
    expect(dialogs.question(1)).toMatch(/^Restart stand-in\.service\?\nWill be unloaded: steady\./);
    expect(noticesIn(seen)).toEqual(["The server was restarted and answers."]);
    expect(server.restarts).toBe(1);
    expect([...(await server.running())]).toEqual([["steady", "ready"]]);
  });

  test("unload asks when it is all, and when a request would be cut, whose it is", async () => {
    await server.load("steady");
    dialogs.expect(no, yes);
    expect(noticesIn(await pi.command("/ai-server-unload"))).toEqual(["Nothing was unloaded."]);
    expect([...(await server.running())]).toEqual([["steady", "ready"]]);
    expect(noticesIn(await pi.command("/ai-server-unload"))).toEqual(["Unloaded: steady."]);
    expect((await server.running()).size).toBe(0);

    await pi.send({ type: "set_model", provider: "ai-server", modelId: "a model with spaces" });
    const mark = pi.mark();
    await pi.send({ type: "prompt", message: "sim: tokens 2000" });
    await pi.waitFor((event) => at(event, "assistantMessageEvent", "type") === "text_delta", 30_000, mark);
    dialogs.expect(no);
    expect(noticesIn(await pi.command("/ai-server-unload a model with spaces"))).toEqual([
      "Nothing was unloaded.",
    ]);
    expect(dialogs.question()).toMatch(
      /^Unload a model with spaces anyway\?\nIn-flight requests that will be cut off: 1 on a model with spaces \(.*this pi session/,
    );
    await pi.send({ type: "abort" });
    await pi.waitFor((event) => event.type === "agent_settled", 10_000, mark);
    await pi.send({ type: "set_model", provider: "ai-server", modelId: "steady" });
  });

  test("a second changing command is refused at once with what is running", async () => {
    const first = await beginSlowLoad();
    for (const second of ["/ai-server-unload steady", "/ai-server-load steady", "/ai-server-restart"]) {
      const seen = noticesIn(await pi.command(second, 5_000));
      expect(seen).toEqual(["/ai-server-load slow is still running. Wait until it ends; nothing was done."]);
    }
    // What only reads is not held up.
    expect(noticesIn(await pi.command("/ai-server-status")).join()).toMatch(/^slow +starting/m);
    server.sim.setSpeed(200);
    expect(noticesIn(await first.seen).at(-1)).toMatch(/^slow is loaded; it took /);
    expectUntouched();
  });

  test("while a config is being changed nothing else is", async () => {
    dialogs.expect(yes);
    const mark = pi.mark();
    const first = pi.command("/ai-server-ctx slow 8k");
    await pi.waitFor((event) => statusesIn([event])[0] === "Loading slow…", 20_000, mark);
    const changed = server.host.text;
    for (const second of ["/ai-server-ctx steady 32k", "/ai-server-rollback", "/ai-server-unload slow"]) {
      dialogs.expect((request) => ({ value: at(request.options, 0) }));
      expect(noticesIn(await pi.command(second, 5_000))).toEqual([
        "/ai-server-ctx slow 8192 is still running. Wait until it ends; nothing was done.",
      ]);
    }
    server.sim.setSpeed(200);
    expect(noticesIn(await first).at(-1)).toMatch(/^slow: the context size is now 8192 tokens/);
    expect(server.host.text).toBe(changed);
    expect(server.host.backups).toHaveLength(1);
    expect(server.restarts).toBe(1);
  });

  test("a failed load, a wait with its status, and ids with every odd character", async () => {
    const failed = await pi.command("/ai-server-load failing");
    expect(noticesIn(failed).at(-1)).toMatch(/^failing could not be loaded[\s\S]*out of memory/);
    // A first command may take long enough to say that it asks the server.
    expect(statusesIn(failed).slice(-2)).toEqual(["Loading failing…", undefined]);
    // Beside it stands which window has changed.
    for (const [id, words] of [
      ["org/Größe:Q4", /^org\/Größe:Q4 is loaded/],
      ["a model with spaces", /^a model with spaces is loaded[\s\S]*Unloaded to make room: org\/Größe:Q4\./],
    ] as const) {
      const told = noticesIn(await pi.command(`/ai-server-load ${id}`));
      expect(told).toContainEqual(expect.stringMatching(words));
    }
    expect(noticesIn(await pi.command('/ai-server-unload "a model with spaces"'))).toEqual([
      "a model with spaces is unloaded.",
    ]);
  });

  test("config and logs come as one notice each, masked, and are not followed", async () => {
    await server.load("steady");
    for (const [line, content] of [
      ["/ai-server-preset", /apiKeys: \["••••"\][\s\S]*HF_TOKEN=••••/],
      ["/ai-server-preset steady", /steady\.gguf/],
      ["/ai-server-logs", new RegExp(PRIVATE)],
      ["/ai-server-logs steady", /main: server is listening/],
    ] as const) {
      const seen = noticesIn(await pi.command(line, 10_000));
      expect(seen).toEqual([expect.stringMatching(content)]);
      for (const secret of SECRETS) expect(seen.join()).not.toContain(secret);
    }
  });

  test("nothing of config, differences and logs is in the session or reaches the model", async () => {
    await pi.turn("sim: say The end.");
    const messages = JSON.stringify(await pi.send({ type: "get_messages" }));
    expect(messages).toContain("The end.");
    const folder = join(place.agentDir, "sessions");
    const files = await readdir(folder, { recursive: true, withFileTypes: true });
    const texts = await Promise.all(
      files
        .filter((entry) => entry.isFile())
        .map((entry) => readFile(join(entry.parentPath, entry.name), "utf8")),
    );
    expect(texts.join("")).toContain("The end.");
    const requests = server.sim.requests.map(({ body }) => body).join("\n");
    expect(requests).toContain("The end.");
    for (const text of [messages, requests, ...texts]) {
      for (const hidden of [PRIVATE, "--ctx-size", "is loaded", "out of memory", ...SECRETS])
        expect(text).not.toContain(hidden);
    }
    const remembered = await readFile(join(place.agentDir, "ai-server.json"), "utf8").catch(() => "");
    for (const hidden of [PRIVATE, "--ctx-size", ...SECRETS]) expect(remembered).not.toContain(hidden);
  });
});
