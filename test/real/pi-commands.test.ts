import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { EXTENSION, makeWorkplace, NEWEST_PI, piProblem, runPi, type Workplace } from "../support/pi.ts";
import { realSuite } from "../support/programs.ts";
import { parseJsonLines } from "../support/rpc.ts";
import { type StandIn, startStandIn } from "../support/stand-in.ts";

let standIn: StandIn;
beforeAll(async () => {
  standIn = await startStandIn();
});
afterAll(() => standIn.stop());

realSuite(await piProblem(NEWEST_PI), `commands and faults without a terminal, pi ${NEWEST_PI}`, () => {
  let place: Workplace;

  beforeEach(async () => {
    place = await makeWorkplace();
    await writeFile(join(place.agentDir, "settings.json"), JSON.stringify({ retry: { enabled: false } }));
  });
  afterEach(() => place.remove());

  function pi(args: string[], env: Record<string, string> = {}) {
    const all = ["-e", EXTENSION, "--model", "ai-server/thinker", ...args];
    const options = { version: NEWEST_PI, agentDir: place.agentDir, args: all, offline: false };
    return runPi({ ...options, env: { ...standIn.env, ...env } });
  }

  test("/ai-server-status in print mode prints its table", async () => {
    const { code, stdout } = await pi(["-p", "/ai-server-status"]);
    expect(code).toBe(0);
    for (const id of standIn.modelIds) expect(stdout).toContain(id);
    expect(stdout).toMatch(/slow .*unloaded/);
  });

  test("/ai-server-refresh in print mode says what it found", async () => {
    const { code, stdout } = await pi(["-p", "/ai-server-refresh"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/\S.*\n/);
  });

  test.each(["/ai-server-status", "/ai-server-refresh"])(
    "%s in JSON mode leaves the stream clean",
    async (line) => {
      const { code, stdout, stderr } = await pi(["--mode", "json", line]);
      expect(code).toBe(0);
      expect(parseJsonLines(stdout)[0]).toMatchObject({ type: "session" });
      expect(stdout).not.toContain("unloaded");
      expect(stderr).toMatch(/\S/);
    },
  );

  test("no command calls the model", async () => {
    const before = standIn.chats().length;
    await pi(["-p", "/ai-server-status"]);
    await pi(["-p", "/ai-server-refresh"]);
    expect(standIn.chats()).toHaveLength(before);
  });

  test("status and refresh load no model", async () => {
    await standIn.unloadAll();
    await pi(["-p", "/ai-server-status"]);
    await pi(["-p", "/ai-server-refresh"]);
    expect(await standIn.running()).toEqual([]);
  });

  // One of another CA is in the suite on Caddy: a TLS server of Node's closes without an alert.
  test.each([
    [
      "that has expired",
      { AI_SERVER_CLIENT_CERT: "expired.pem", AI_SERVER_CLIENT_KEY: "expired-key.pem" },
      /expired\.pem expired on \d{4}-\d\d-\d\d/,
    ],
    [
      "that is missing",
      { AI_SERVER_CLIENT_CERT: "absent.pem" },
      /The client certificate is missing: there is no file .*absent\.pem/,
    ],
    [
      "without its key",
      { AI_SERVER_CLIENT_KEY: "stranger-key.pem" },
      /The client key .*stranger-key\.pem does not belong to/,
    ],
  ])("a client certificate %s is said in the turn", async (_what, env, sentence) => {
    await pi(["--list-models"]);
    const { code, stdout, stderr } = await pi(["-p", "Hello"], env);
    expect(code).not.toBe(0);
    expect(stdout).toBe("");
    expect(stderr).toMatch(sentence);
    expect(stderr).not.toMatch(/fetch failed|\n +at /);
  });

  test("a variable that is wrong is named, and pi starts all the same", async () => {
    await pi(["--list-models"]);
    const { code, stderr } = await pi(["-p", "Hello"], { AI_SERVER_TIMEOUT_MS: "soon" });
    expect(code).not.toBe(0);
    expect(stderr).toContain('AI_SERVER_TIMEOUT_MS is "soon"');
  });

  test("a server that is down is said in the turn, and the status names the broken link", async () => {
    await pi(["--list-models"]);
    await standIn.whileDown(async () => {
      const turn = await pi(["-p", "Hello"]);
      expect(turn.code).not.toBe(0);
      expect(turn.stderr).toMatch(/refuses connections \(connection refused\)\. Caddy may be stopped/);
      const status = await pi(["-p", "/ai-server-status"]);
      expect(`${status.stdout}${status.stderr}`).toMatch(/TCP/);
    });
  });

  test("with nothing set up the provider is not offered, and pi starts", async () => {
    const options = {
      version: NEWEST_PI,
      agentDir: place.agentDir,
      args: ["-e", EXTENSION, "--list-models"],
    };
    const { code, stdout } = await runPi(options);
    expect(code).toBe(0);
    expect(stdout).toContain("No models available");
  });
});
