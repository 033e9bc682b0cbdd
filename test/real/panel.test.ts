import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { visibleWidth } from "@earendil-works/pi-tui";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readConfig } from "../../config.ts";
import { Http } from "../../server/http/http.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import { choose, enter, piProcess } from "../support/admin-terminal.ts";
import { writeCertificates } from "../support/certificates.ts";
import { EXTENSION, makeWorkplace, NEWEST_PI, piProblem, type Workplace } from "../support/pi.ts";
import { openPi, storeModels } from "../support/pi-terminal.ts";
import { eventually } from "../support/processes.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { processesWith, type Terminal } from "../support/terminal.ts";
import { drained } from "../support/wire.ts";

const [COLUMNS, ROWS] = [80, 24];
const CMD = `llama-server --port \${PORT} --no-reasoning`;
const CONFIG = `
models:
  big: { cmd: "${CMD} --load 8 -c 65536 -m /m/big.gguf", metadata: { context_length: 65536 } }
  quick: { cmd: "${CMD} --load 0.2 -c 16384 --api-key hunter2", ttl: 300, metadata: { context_length: 16384 } }
  "模型/Größe:Q4": { cmd: "${CMD} --load 0.2 -c 32768", metadata: { context_length: 32768 } }
`;

/** Another extension, by which the test reloads the session while the panel has the keys. */
const RELOADER = `export default (pi) => {
  pi.registerCommand("reload-on-signal", {
    description: "Reload on SIGUSR2",
    handler: async (_, ctx) => void process.once("SIGUSR2", () => ctx.reload().catch(() => {})),
  });
};
`;

const problem = (await piProblem(NEWEST_PI)) ?? missingProgram("tmux");
realSuite(problem, `the panel of pi ${NEWEST_PI}`, () => {
  let folder: string;
  let sim: Sim;
  let env: Record<string, string>;
  let place: Workplace;
  let terminal: Terminal;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "panel-test-"));
    await writeCertificates(join(folder, "certs"));
    sim = await startSim({ dir: folder, config: CONFIG });
    env = { AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: sim.certsDir };
    place = await makeWorkplace();
    const reloader = join(place.folder, "reloader.js");
    await writeFile(reloader, RELOADER);
    const options = { version: NEWEST_PI, agentDir: place.agentDir, env };
    await storeModels(options);
    const args = ["-e", EXTENSION, "-e", reloader, "--model", "ai-server/quick"];
    terminal = await openPi({ ...options, args });
  });
  afterAll(async () => {
    await terminal?.close();
    await sim?.close();
    await place?.remove();
    await rm(folder, { recursive: true, force: true });
  });

  /** As another client of the same server. */
  async function load(id: string): Promise<void> {
    const http = new Http(readConfig(env, {}, folder));
    try {
      const path = `/upstream/${encodeURIComponent(id)}/health`;
      const { body } = await http.request({ method: "GET", path });
      await drained(body);
    } finally {
      await http.close();
    }
  }

  const underWay = (): string[] =>
    sim.requests
      .filter(({ finishedAt, disconnectedAt }) => (finishedAt ?? disconnectedAt) === undefined)
      .map(({ path }) => path);

  /** Opens the panel on a server that has loaded nothing, or only `loaded`. */
  async function open(loaded?: string): Promise<void> {
    await sim.reload();
    sim.setSpeed(1);
    if (loaded !== undefined) await load(loaded);
    await enter(terminal, "/ai-server big");
    await terminal.waitFor(/In flight: nothing/);
    await terminal.waitFor(/Host memory/);
    if (loaded !== undefined) await terminal.waitFor(new RegExp(`${loaded}.* ready`));
    await terminal.waitFor(/→ big +unloaded/);
  }

  async function leave(): Promise<void> {
    await terminal.press("Escape");
    await terminal.waitUntil("the panel has gone", (screen) => !screen.includes("In flight"));
    await eventually("no request is under way", () => underWay().length === 0 || undefined);
  }

  async function expectNoConnection(): Promise<void> {
    await eventually("every connection is closed", () => sim.connections === 0 || undefined);
  }

  async function expectTurn(words: string): Promise<void> {
    await enter(terminal, `sim: say ${words}`);
    await terminal.waitFor(new RegExp(`^ *${words}`, "m"));
  }

  /** No line of the panel was wrapped: it has its heading on top and its keys at the bottom. */
  function expectWhole(screen: string): void {
    const lines = screen.split("\n");
    expect(lines[0]).toMatch(/^AI server/);
    expect(lines.at(-1)).toMatch(/\? help$/);
    expect(lines).toHaveLength(ROWS);
    expect(Math.max(...lines.map((line) => visibleWidth(line)))).toBeLessThanOrEqual(COLUMNS);
  }

  test("follows another client, filters, is resized, and gives the input back", async () => {
    await open();
    const screen = await terminal.screen();
    expectWhole(screen);
    expect(screen).toMatch(/模型\/Größe:Q4 +unloaded/);
    expect(sim.starts).toEqual({});
    const loading = load("big");
    await terminal.waitFor(/big +starting/);
    await terminal.waitFor(/Loading big\n[█░]+ \d+ s/);
    sim.setSpeed(50);
    await loading;
    expectWhole(await terminal.waitFor(/big +ready +64k/));
    await load("模型/Größe:Q4");
    await terminal.waitFor(/模型\/Größe:Q4 +ready/);
    await terminal.type("/größe");
    await terminal.waitUntil("one model is left", (now) => /→ 模型/.test(now) && !/big +/.test(now));
    await terminal.press("Enter");
    await terminal.waitFor(/filter: größe/);
    await terminal.press("Escape");
    await terminal.waitFor(/big +unloaded/);
    const isWhole = (rows: number) => (now: string) =>
      now.split("\n").length === rows && /^AI server[\s\S]*\? help$/.test(now);
    await terminal.resize(40, 50);
    await terminal.waitUntil("it fits", isWhole(50));
    await terminal.resize(COLUMNS, ROWS);
    await terminal.waitUntil("it fits again", isWhole(ROWS));
    expectWhole(await terminal.screen());
    await leave();
    await expectTurn("Still here.");
  });

  test("loads with a bar; Escape stops it and offers what had to go", async () => {
    await open("quick");
    await terminal.press("Enter");
    await terminal.waitFor(/big +starting/);
    await terminal.waitFor(/Loading big\n[█░]+ \d+ s/);
    await terminal.press("Escape");
    await choose(terminal, "Stop and unload it");
    await terminal.waitFor(/Load quick again\?/);
    await choose(terminal, "Load it again");
    await terminal.waitFor(/quick is loaded; it took/);
    await terminal.waitFor(/big +unloaded/);
    sim.setSpeed(20);
    await terminal.press("Enter");
    const screen = await terminal.waitFor(/big is loaded; it took[\s\S]*Unloaded to make room: quick/);
    expectWhole(screen);
    expect(screen).toMatch(/big +ready +64k/);
    expect(screen).not.toContain("hunter2");
    await leave();
  });

  test("opens at pi's model, asks for a size, shows its keys, restarts and unloads, and q leaves", async () => {
    await sim.reload();
    sim.setSpeed(1);
    await load("big");
    await enter(terminal, "/ai-server");
    await terminal.waitFor(/Model 2\/3 [\s\S]*^ {2}big +ready[\s\S]*^→ quick \(in pi\) +unloaded/m);
    await terminal.waitFor(/^… \d+ more lines \(pageDown\)/m);
    await terminal.press("PageDown");
    expectWhole(await terminal.waitFor(/^… .*pageUp[\s\S]*\? help$/m));
    await terminal.type("c");
    await terminal.waitFor(/^Context size of quick: now 16k; for example 8k, or max$/m);
    await terminal.type("8kb");
    await terminal.press("Enter");
    await terminal.waitFor(/^> 8kb[\s\S]*"8kb" is not a context size/m);
    await terminal.press("Escape");
    await terminal.waitFor(/\? help$/);
    await terminal.type("?");
    await terminal.waitFor(/^Keys of the panel[\s\S]*R +restart the server/);
    await terminal.type("q");
    await terminal.waitFor(/^→ quick \(in pi\)/m);
    await terminal.type("R");
    await choose(terminal, "Leave it running");
    expectWhole(await terminal.waitFor(/Nothing was restarted\.[\s\S]*\? help$/));
    await terminal.type("U");
    await choose(terminal, "Unload them now");
    expectWhole(await terminal.waitFor(/big +unloaded[\s\S]*Unloaded: big\.[\s\S]*\? help$/));
    await terminal.type("q");
    await terminal.waitUntil("the panel has gone", (screen) => !screen.includes("In flight"));
    await eventually("no request is under way", () => underWay().length === 0 || undefined);
  });

  test("a reload closes it, and it opens again", async () => {
    await enter(terminal, "/reload-on-signal");
    await open();
    process.kill(piProcess(place.agentDir), "SIGUSR2");
    // Before that pi takes no input.
    const screen = await terminal.waitFor(/Reloaded keybindings/);
    expect(screen).not.toContain("In flight");
    await eventually("no request is under way", () => underWay().length === 0 || undefined);
    await expectNoConnection();
    await open();
    await leave();
    await expectTurn("Here again.");
  });

  test("opens the log, makes a model pi's, and quits without a trace", async () => {
    await open("模型/Größe:Q4");
    await terminal.press("Home", "l");
    await terminal.waitFor(/^Log of 模型\/Größe:Q4[\s\S]*server is listening/);
    await terminal.press("q");
    await terminal.waitFor(/→ 模型\/Größe:Q4/);
    await terminal.press("m");
    await terminal.waitFor(/模型\/Größe:Q4 is pi's model now/);
    await leave();
    await terminal.waitUntil("the footer names it", (now) =>
      now.split("\n").slice(-3).join().includes("模型"),
    );
    await terminal.press("C-d");
    expect(await terminal.exitCode()).toBe(0);
    await eventually(
      "every process of pi has ended",
      () => processesWith(place.agentDir).length === 0 || undefined,
    );
    await expectNoConnection();
  });
});
