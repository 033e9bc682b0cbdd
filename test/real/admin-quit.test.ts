import { readdirSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type AdminPlace, AdminServer, CONFIG, makeAdminPlace } from "../support/admin-server.ts";
import { EMPTY_EDITOR, enter, piProcess } from "../support/admin-terminal.ts";
import { NEWEST_PI, piProblem } from "../support/pi.ts";
import { openPi } from "../support/pi-terminal.ts";
import { eventually } from "../support/processes.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { processesWith, type Terminal } from "../support/terminal.ts";

/** What pi is in the middle of, and what its screen then shows. */
const MIDDLES = {
  "a wait": ["/ai-server-load slow", /Loading slow · \d+ s/],
  "a view": ["/ai-server-logs", /· live/],
  "a question": ["/ai-server-ctx steady 32k", /→ Keep as it is/],
} as const;

/** Milliseconds; a wait of any of the commands is longer. */
const PROMPTLY = 10_000;

let server: AdminServer;
beforeAll(async () => {
  server = await AdminServer.start();
});
afterAll(() => server.stop());

const problem = (await piProblem(NEWEST_PI)) ?? missingProgram("tmux");
realSuite(problem, `quitting in the middle of administration, pi ${NEWEST_PI}`, () => {
  let first: AdminPlace;
  beforeAll(async () => {
    first = await makeAdminPlace(NEWEST_PI, server);
  });
  afterAll(() => first.remove());

  async function begin(terminal: Terminal, what: keyof typeof MIDDLES): Promise<void> {
    const [line, shown] = MIDDLES[what];
    await enter(terminal, line);
    await terminal.waitFor(shown);
  }

  /** Runs `end` on a pi in the middle of something, and expects that nothing of it is left. */
  async function inTheMiddle(
    what: keyof typeof MIDDLES,
    end: (terminal: Terminal, place: AdminPlace) => Promise<void>,
  ): Promise<void> {
    const place = await first.copy();
    const terminal = await openPi(place.options([]));
    try {
      await begin(terminal, what);
      await end(terminal, place);
      const left = (): true | undefined => (processesWith(place.agentDir).length === 0 ? true : undefined);
      await eventually("every process of pi has ended", left, PROMPTLY);
      expect(readdirSync(place.tmp).filter((name) => name.startsWith("pi-ssh-"))).toEqual([]);
      expect(server.host.text).toBe(CONFIG);
      expect(server.host.leftovers).toEqual([]);
      expect(server.restarts).toBe(0);
    } finally {
      await terminal.close();
      await place.remove();
    }
  }

  // None changes anything that another one sees.
  test.concurrent.each(Object.keys(MIDDLES) as (keyof typeof MIDDLES)[])(
    "SIGTERM ends pi in the middle of %s",
    (what) =>
      inTheMiddle(what, async (terminal, { agentDir }) => {
        process.kill(piProcess(agentDir), "SIGTERM");
        expect(await terminal.exitCode(PROMPTLY)).toBe(0);
        expect(await terminal.history()).not.toMatch(/^ +at .*:\d+:\d+/m);
      }),
  );

  test.concurrent.each(["a wait", "a view"] as const)(
    "pi ends when its terminal is closed in the middle of %s",
    (what) => inTheMiddle(what, (terminal) => terminal.close()),
  );

  test.concurrent("Ctrl+C leaves a wait and a question, and Ctrl+D in the empty editor quits", () =>
    inTheMiddle("a wait", async (terminal) => {
      await terminal.press("C-c");
      await terminal.waitFor(/Stop loading slow\?/);
      await terminal.press("C-c");
      await begin(terminal, "a question");
      await terminal.press("C-c");
      await terminal.waitFor(EMPTY_EDITOR);
      await terminal.press("C-d");
      expect(await terminal.exitCode(PROMPTLY)).toBe(0);
    }));
});
