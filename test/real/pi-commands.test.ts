import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EXTENSION, makeWorkplace, NEWEST_PI, piProblem, runPi, type Workplace } from "../support/pi.ts";
import { storeModels } from "../support/pi-terminal.ts";
import { realSuite } from "../support/programs.ts";
import { parseJsonLines } from "../support/rpc.ts";
import { type StandIn, startStandIn } from "../support/stand-in.ts";

realSuite(await piProblem(NEWEST_PI), `commands and faults without a terminal, pi ${NEWEST_PI}`, () => {
  let standIn: StandIn;
  let place: Workplace;

  beforeAll(async () => {
    standIn = await startStandIn();
    place = await makeWorkplace();
    await writeFile(join(place.agentDir, "settings.json"), JSON.stringify({ retry: { enabled: false } }));
    await storeModels({ version: NEWEST_PI, agentDir: place.agentDir, env: standIn.env });
  });
  afterAll(async () => {
    await place?.remove();
    await standIn?.stop();
  });

  function pi(args: string[], env: Record<string, string> = {}) {
    const all = ["-e", EXTENSION, "--model", "ai-server/thinker", ...args];
    const options = { version: NEWEST_PI, agentDir: place.agentDir, args: all, offline: false };
    return runPi({ ...options, env: { ...standIn.env, ...env } });
  }

  test("status and refresh print what they find, call no model and load none", async () => {
    const { code, stdout } = await pi(["-p", "/ai-server-status", "/ai-server-refresh"]);
    expect(code).toBe(0);
    for (const id of standIn.modelIds) expect(stdout).toContain(id);
    expect(stdout).toMatch(/slow .*unloaded/);
    expect(stdout).toMatch(/Nothing changed: 5 models\./);
    expect(standIn.chats()).toEqual([]);
    expect(await standIn.running()).toEqual([]);
  });

  test("status and refresh in JSON mode are one event each, and nothing is on standard error", async () => {
    const { code, stdout, stderr } = await pi(["--mode", "json", "/ai-server-status", "/ai-server-refresh"]);
    expect(code).toBe(0);
    const answer = { type: "ai_server_result", ok: true };
    const models = standIn.modelIds.map((id) => expect.objectContaining({ id, state: "unloaded" }));
    expect(parseJsonLines(stdout)).toEqual([
      expect.objectContaining({ type: "session" }),
      expect.objectContaining({ ...answer, models: expect.arrayContaining(models) }),
      expect.objectContaining({ ...answer, lines: ["Nothing changed: 5 models."], changes: [] }),
    ]);
    expect(stderr.split("\n").filter((line) => line !== "" && !line.endsWith("…"))).toEqual([]);
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
  ])("a turn reports a client certificate %s", async (_what, env, sentence) => {
    const { code, stdout, stderr } = await pi(["-p", "Hello"], env);
    expect(code).not.toBe(0);
    expect(stdout).toBe("");
    expect(stderr).toMatch(sentence);
    expect(stderr).not.toMatch(/fetch failed|\n +at /);
  });

  test("a quick command in print mode is not over before a misspelt variable is named", async () => {
    const { code, stderr } = await pi(["-p", "/ai-server-last"], { AI_SERVER_ULR: "x" });
    expect(code).toBe(0);
    expect(stderr).toContain("AI_SERVER_ULR is set, but there is no such variable");
  });

  test("pi starts with a wrong variable, and the turn names it", async () => {
    const { code, stderr } = await pi(["-p", "Hello"], { AI_SERVER_TIMEOUT_MS: "soon" });
    expect(code).not.toBe(0);
    expect(stderr).toContain('AI_SERVER_TIMEOUT_MS is "soon"');
  });

  test("a turn reports a server that is down, and the status names the broken link", async () => {
    await standIn.whileDown(async () => {
      const { code, stdout, stderr } = await pi(["-p", "/ai-server-status", "Hello"]);
      expect(code).not.toBe(0);
      expect(`${stdout}${stderr}`).toMatch(/TCP/);
      expect(stderr).toMatch(/refuses connections \(connection refused\)\. Caddy may be stopped/);
    });
  });

  test("pi starts with nothing set up, and offers no model of the provider", async () => {
    const other = await makeWorkplace();
    try {
      const args = ["-e", EXTENSION, "--list-models"];
      const { code, stdout } = await runPi({ version: NEWEST_PI, agentDir: other.agentDir, args });
      expect(code).toBe(0);
      expect(stdout).toContain("No models available");
    } finally {
      await other.remove();
    }
  });
});
