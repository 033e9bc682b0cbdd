import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../support/network.ts";
import { EXTENSION, makeWorkplace, NEWEST_PI, piProblem, runPi, type Workplace } from "../support/pi.ts";
import { openPi } from "../support/pi-terminal.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { at } from "../support/rpc.ts";
import { type StandIn, startStandIn } from "../support/stand-in.ts";
import type { Terminal } from "../support/terminal.ts";

const QUESTIONS = {
  url: /Address of the server/g,
  folder: /Folder with client\.pem/g,
  ssh: /ssh target/g,
};

const problem = (await piProblem(NEWEST_PI)) ?? missingProgram("tmux");
realSuite(problem, `/login on pi ${NEWEST_PI}`, () => {
  let standIn: StandIn;
  let place: Workplace;
  let terminal: Terminal;

  // Nothing is set up: what the environment says would win over the answers.
  const env = { AI_SERVER_SSH_HOST: "" };

  beforeAll(async () => {
    standIn = await startStandIn();
    place = await makeWorkplace();
    const options = { version: NEWEST_PI, agentDir: place.agentDir, env, offline: false };
    // All questions stay on the screen.
    terminal = await openPi({ ...options, args: ["-e", EXTENSION] }, { columns: 140, rows: 60 });
    await terminal.waitFor(/No models available/);
  });
  afterAll(async () => {
    await terminal?.close();
    await place?.remove();
    await standIn?.stop();
  });

  /** Answers a question once it is asked for the `time`-th time; what stands on the screen then is returned. */
  async function answer(question: keyof typeof QUESTIONS, text: string, time = 1): Promise<string> {
    const screen = await terminal.waitUntil(
      `${question} is asked (${time})`,
      (shown) => [...shown.matchAll(QUESTIONS[question])].length >= time,
    );
    await terminal.type(text);
    await terminal.press("Enter");
    return screen;
  }

  test("Escape stores nothing", async () => {
    await terminal.submit("/login ai-server");
    await answer("url", standIn.url);
    await terminal.waitFor(/Folder with/);
    await terminal.press("Escape");
    await terminal.waitUntil("the dialog closes", (screen) => !/Folder with client/.test(screen));
    const stored = await readFile(join(place.agentDir, "auth.json"), "utf8").catch(() => "{}");
    expect(JSON.parse(stored)).not.toHaveProperty("ai-server");
  });

  test("asks again after a wrong answer, with the reason, and stores answers that need no variable afterwards", async () => {
    await terminal.submit("/login ai-server");
    await answer("url", "");
    await answer("url", "http://192.0.2.1", 2);
    await terminal.waitFor(/must begin with https:/);
    await answer("url", `https://127.0.0.1:${await freePort()}`, 3);
    await terminal.waitFor(/The client certificate is missing/);
    await answer("folder", join(place.folder, "nowhere"));
    await answer("folder", standIn.env.AI_SERVER_CERTS_DIR ?? "", 2);
    await terminal.waitFor(/refuses connections/);
    await answer("url", standIn.url, 4);
    await answer("ssh", "-oProxyCommand=evil");
    await terminal.waitFor(/use user@host, a name from/);
    await answer("ssh", "local", 2);
    await terminal.waitFor(/Saved|Logged in/);
    // pi itself has no default for this provider, and says so; a model is selected all the same.
    await terminal.waitFor(/AI Server: org\/Größe:Q4 is selected\./);
    await terminal.waitFor(/\(auto\) .* org\/Größe:Q4$/m);

    const file = join(place.agentDir, "auth.json");
    const credential = at(JSON.parse(await readFile(file, "utf8")), "ai-server");
    expect(credential).toMatchObject({
      type: "api_key",
      env: {
        AI_SERVER_URL: standIn.url,
        AI_SERVER_CERTS_DIR: standIn.env.AI_SERVER_CERTS_DIR,
        AI_SERVER_SSH_HOST: "local",
      },
    });
    expect(at(credential, "env")).not.toHaveProperty("AI_SERVER_API_KEY");
    expect((await stat(file)).mode & 0o077).toBe(0);

    const args = ["-e", EXTENSION, "-p", "--model", "ai-server/thinker", "sim: say Logged in."];
    const turn = await runPi({ version: NEWEST_PI, agentDir: place.agentDir, env, args, offline: false });
    expect(turn).toMatchObject({ code: 0, stdout: "Logged in.\n" });
  });
});
