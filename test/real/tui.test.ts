import { afterAll, beforeAll, expect, test } from "vitest";
import { enter } from "../support/admin-terminal.ts";
import { EXTENSION, makeWorkplace, NEWEST_PI, piProblem, type Workplace } from "../support/pi.ts";
import { openPi, storeModels } from "../support/pi-terminal.ts";
import { eventually } from "../support/processes.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { type StandIn, startStandIn } from "../support/stand-in.ts";
import { processesWith, type Terminal } from "../support/terminal.ts";

const problem = (await piProblem(NEWEST_PI)) ?? missingProgram("tmux");
realSuite(problem, `pi ${NEWEST_PI} in a terminal`, () => {
  let standIn: StandIn;
  let place: Workplace;
  let terminal: Terminal;

  beforeAll(async () => {
    standIn = await startStandIn();
    place = await makeWorkplace();
    const options = { version: NEWEST_PI, agentDir: place.agentDir, env: standIn.env };
    await storeModels(options);
    terminal = await openPi({ ...options, args: ["-e", EXTENSION, "--model", "ai-server/slow"] });
  });
  afterAll(async () => {
    await terminal?.close();
    await place?.remove();
    await standIn?.stop();
  });

  test("an answer streams onto the screen", async () => {
    await enter(terminal, "sim: tokens 120");
    const early = await terminal.waitUntil("the answer begins", (screen) => spoken(screen) > 0);
    expect(spoken(early)).toBeLessThan(120);
    await terminal.waitUntil("the answer is whole", (screen) => spoken(screen) === 120);
    expect(await terminal.screen()).toMatch(/\/66k|\/65\.5k|\/64k/);
  });

  test("/ai-server-status shows a table that fits", async () => {
    await enter(terminal, "/ai-server-status");
    const screen = await terminal.waitFor(/Größe.*(unloaded|ready)/);
    const rows = screen.split("\n");
    for (const id of standIn.modelIds) {
      // A row that did not fit would have been wrapped, and its state would stand on another line.
      expect(rows.filter((row) => row.includes(`${id} `))).toContainEqual(
        expect.stringMatching(/(unloaded|ready)/),
      );
    }
  });

  test("Escape ends a running turn at the server, and the next one works", async () => {
    await enter(terminal, "sim: tokens 5000");
    await terminal.waitUntil("the answer begins", (screen) => spoken(screen) > 5);
    await terminal.press("Escape");
    const request = await eventually("the stand-in sees that the client has gone", () => {
      const last = standIn.chats().at(-1);
      return last?.disconnectedAt === undefined ? undefined : last;
    });
    expect(request.tokens).toBeLessThan(5000);
    await terminal.waitFor(/aborted/i);
    await enter(terminal, "sim: say Still with you.");
    await terminal.waitFor(/^ *Still with you\./m);
  });

  test("the result of a command stands below the answer that still streams", async () => {
    await enter(terminal, "sim: tokens 5000");
    await terminal.waitUntil("the answer begins", (screen) => spoken(screen) > 40);
    await terminal.submit("/ai-server-load nope");
    const isBelow = (screen: string) => screen.indexOf('No model "nope"') > screen.lastIndexOf(" ok");
    await terminal.waitUntil("the result stands below the answer", isBelow);
    await terminal.press("Escape");
    await terminal.waitFor(/aborted/i);
  });

  test("quitting leaves no process", async () => {
    expect(processesWith(place.agentDir).length).toBeGreaterThan(0);
    await terminal.press("C-d");
    expect(await terminal.exitCode()).toBe(0);
    await eventually(
      "every process of pi has ended",
      () => processesWith(place.agentDir).length === 0 || undefined,
    );
  });
});

/** How many of the stand-in's short tokens the screen shows. */
function spoken(screen: string): number {
  // The stand-in says a number in the place of every hundredth.
  return screen.match(/\b(?:ok|\d+00)\b/g)?.length ?? 0;
}
