import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { mistypedCommand } from "../admin.ts";
import { writeCertificates } from "./support/certificates.ts";
import { CONFIG, startPlace } from "./support/command-place.ts";
import { User } from "./support/command-user.ts";
import { httpsServer, kept, pair } from "./support/wire.ts";

let folder = "";
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "admin-test-"));
  await writeCertificates(folder);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Everything that may be typed; `changes` is refused while another of these runs. */
const LINES: [line: string, changes: boolean][] = [
  ["/ai-server-status", false],
  ["/ai-server-status small --ssh", false],
  ["/ai-server-refresh", false],
  ["/ai-server-load small", true],
  ["/ai-server-unload", true],
  ["/ai-server-unload small", true],
  ["/ai-server-add maker/Wren-GGUF:Q4_K_M", true],
  ["/ai-server-remove small", true],
  ["/ai-server-ctx small", false],
  ["/ai-server-ctx small 4k", true],
  ["/ai-server-preset", false],
  ["/ai-server-preset small", false],
  ["/ai-server-restart", true],
  ["/ai-server-rollback", true],
  ["/ai-server-rollback 20260131T235959Z", true],
  ["/ai-server-logs", false],
  ["/ai-server-logs small", false],
];

describe("a command", () => {
  test.each(LINES)("%s reports a wrong configuration in a sentence", async (line) => {
    const place = await startPlace(CONFIG, { AI_SERVER_SSH_MODE: "both" });
    const user = await place.type(line);
    const said = 'AI_SERVER_SSH_MODE is "both": it must be direct or wrapper.';
    expect(user.told.join()).toContain(said);
    expect(user.notices[0]?.level).toBe("error");
    expect(user.questions).toEqual([]);
  });

  test.each(LINES)("%s reports a server that does not answer in a sentence", async (line) => {
    const place = await startPlace();
    await place.close();
    const user = new User("rpc");
    user.confirms = () => false;
    await place.type(line, user);
    expect(user.told.join("").length + user.questions.length).toBeGreaterThan(0);
    expect(user.everything).not.toMatch(/undefined|\[object|at .*\.ts:/);
  });

  test.each(LINES)("%s after the session's end changes and shows nothing", async (line) => {
    const place = await startPlace();
    await place.load("small");
    place.ended.abort();
    const user = await place.type(line);
    expect([user.notices, user.questions]).toEqual([[], []]);
    expect([place.text, place.restarts, await place.loaded()]).toEqual([CONFIG, 0, ["small"]]);
  });
});

describe("a command that is typed wrongly", () => {
  test.each([
    ["/ai-server-statu", "/ai-server-status"],
    ["/ai-serverstatus small --ssh", "/ai-server-status"],
    ["  /AI-Server-Load x", "/ai-server-load"],
    ["/ai-server-", "/ai-server"],
  ])("%s is answered with %s", (text, meant) => {
    const typed = text.trim().split(" ")[0];
    expect(mistypedCommand(text)).toBe(
      `${typed} is not a command, and was not sent to the model. Did you mean ${meant}?`,
    );
  });

  test.each(["/ai-server-load\tsmall", "/ai-server-status\nsmall", " /ai-server-status"])(
    "%j, which pi does not run, goes to no model",
    (text) => {
      const typed = text.trim().split(/\s/)[0];
      expect(mistypedCommand(text)).toContain(`${typed} was not run, and not sent to the model.`);
    },
  );

  test("a prompt template of the user with such a name is a prompt", () => {
    const templates = ["ai-server-notes"];
    expect(mistypedCommand("/ai-server-notes today", templates)).toBeUndefined();
    expect(mistypedCommand("/ai-server-note today", templates)).toContain("is not a command");
  });

  test.each([
    "Why does /ai-server-statu fail?",
    "/ai-servers/a.ts is broken",
    "/compact",
    "",
    "ai-server-statu",
  ])("%j is a prompt", (text) => {
    expect(mistypedCommand(text)).toBeUndefined();
  });

  test("/ai-server status is /ai-server-status, also with what follows", async () => {
    const place = await startPlace();
    const status = await place.type("/ai-server-status small", new User("rpc"));
    expect((await place.type("/ai-server  status  small", new User("rpc"))).told).toEqual(status.told);
  });
});

describe("hostile text after a command", () => {
  const HOSTILE = [
    "$(touch ran)",
    "`touch ran`",
    "'; touch ran; '",
    '"; touch ran #',
    "--help",
    "-oProxyCommand=touch",
    "../../../etc/passwd",
    "x\n.\nrestart",
    "\u001b]0;owned\u0007\u001b[2J\u202e",
    "x".repeat(10_000),
  ];

  test.each(["status", "load", "unload", "ctx", "ctx small", "preset", "rollback", "logs"])(
    "%s answers with a sentence, and runs nothing",
    async (command) => {
      const place = await startPlace();
      writeFileSync(`${place.path}.bak-20260131T235959Z`, "models: {}\n");
      for (const text of HOSTILE) {
        const user = await place.type(`/ai-server-${command} ${text}`);
        expect(user.notices).toEqual([{ level: "error", text: expect.any(String) }]);
        expect(user.told[0]).not.toMatch(/(?!\n)[\p{Cc}\p{Bidi_Control}]/u);
        expect(user.told[0]?.length).toBeLessThan(600);
      }
      const left = [".", place.folder].flatMap((folder) => readdirSync(folder));
      expect(left).not.toContain("ran");
      expect([place.text, place.restarts, place.backups.length]).toEqual([CONFIG, 0, 1]);
      expect(place.sim.starts).toEqual({});
    },
  );
});

describe("while another command changes the server", () => {
  test.each(LINES)("%s is refused if it changes something too (%s)", async (line, changes) => {
    const place = await startPlace();
    await place.load("small");
    const asked = Promise.withResolvers<void>();
    const answered = Promise.withResolvers<boolean>();
    const first = new User("rpc");
    first.confirms = () => {
      asked.resolve();
      return answered.promise;
    };
    const over = place.type("/ai-server-ctx small 16k", first);
    await asked.promise;
    const user = await place.type(line);
    const refusal = {
      level: "error",
      text: "/ai-server-ctx small 16384 is still running. Wait until it ends; nothing was done.",
    };
    if (changes) expect(user.notices).toEqual([refusal]);
    else expect(user.notices).not.toContainEqual(refusal);
    expect([user.questions, await place.loaded(), place.text]).toEqual([[], ["small"], CONFIG]);
    answered.resolve(false);
    await over;
    expect(first.told).toEqual(["Nothing was changed."]);
  });

  test("the next command runs, however the first one ended", async () => {
    const place = await startPlace();
    await place.type("/ai-server-ctx small 16k", new User("rpc"));
    const { told } = await place.type("/ai-server-load small");
    expect(told[0]).toMatch(/^small is loaded/);
  });
});

describe("a server that sends terminal sequences", () => {
  const EVIL = "\u001b[2J\u001b]0;owned\u0007\u009b31m\r\n\u202e";
  const evil = (text: string): unknown => ({ error: { message: text, type: text }, src: text });
  const LISTED = {
    data: [
      { id: `bad${EVIL}`, name: "x" },
      { id: "good", name: EVIL, meta: { llamaswap: { thinking_levels: [EVIL, "high"] } } },
      { id: "x".repeat(10_000) },
    ],
  };
  const RUNNING = {
    running: [
      { model: `bad${EVIL}`, state: EVIL, cmd: EVIL },
      { model: "good", state: "ready", cmd: `llama-server ${EVIL}` },
    ],
  };

  test.each<[string, Record<string, unknown>, number]>([
    [
      "in ids, names and metadata",
      {
        "/v1/models": LISTED,
        "/running": RUNNING,
        "/api/version": { version: EVIL, commit: EVIL, build_date: EVIL },
      },
      200,
    ],
    ["in an error", { "/v1/models": evil(`no${EVIL}`.repeat(1000)), "/running": evil(EVIL) }, 403],
    ["in an error of text", { "/v1/models": `no${EVIL}`, "/running": EVIL }, 500],
    ["in logs and answers of a model", { "/v1/models": LISTED, "/running": RUNNING, other: EVIL }, 200],
  ])("%s: none reaches the terminal", async (_, answers, status) => {
    const server = await kept(
      httpsServer(pair(folder), (request, response) => {
        response.writeHead(status);
        const answer = answers[request.url ?? ""] ?? answers.other ?? {};
        response.end(typeof answer === "string" ? answer : JSON.stringify(answer));
      }),
    );
    const place = await startPlace(CONFIG, { AI_SERVER_URL: server.url, AI_SERVER_CERTS_DIR: folder });
    const shown: string[] = [];
    for (const line of ["status", "status good", "refresh", "load good", "unload good", "logs good"]) {
      const user = new User("rpc");
      user.confirms = () => false;
      await place.type(`/ai-server-${line}`, user);
      shown.push(...user.told, ...user.questions.map(({ title, text }) => `${title}${text}`));
      shown.push(...user.statuses.filter((text) => text !== undefined));
    }
    expect(shown.join("\n")).not.toMatch(/(?!\n)[\p{Cc}\p{Bidi_Control}]/u);
    expect(shown.join("\n").length).toBeLessThan(10_000);
    expect(JSON.stringify(place.aiServer.models)).not.toMatch(/\\u00|\\r|\\n|\u009b|\u202e/);
  });
});
