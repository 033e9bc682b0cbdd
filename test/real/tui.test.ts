import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import {
  EXTENSION,
  makeWorkplace,
  PI_VERSIONS,
  piCommand,
  piProblem,
  runPi,
  type Workplace,
} from "../support/pi.ts";
import { eventually } from "../support/processes.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { type StandIn, startStandIn } from "../support/stand-in.ts";
import { processesWith, Terminal } from "../support/terminal.ts";

let standIn: StandIn;
beforeAll(async () => {
  standIn = await startStandIn();
});
afterAll(() => standIn.stop());

for (const version of PI_VERSIONS) {
  const problem = (await piProblem(version)) ?? missingProgram("tmux");
  realSuite(problem, `pi ${version} in a terminal`, () => {
    let place: Workplace;
    let terminal: Terminal;
    let opened: Terminal | undefined;

    beforeEach(async () => {
      place = await makeWorkplace();
      opened = undefined;
      const options = { version, agentDir: place.agentDir, env: standIn.env };
      const listed = await runPi({ ...options, args: ["-e", EXTENSION, "--list-models"], offline: false });
      expect(listed.stdout).toContain("slow");
      const args = ["-e", EXTENSION, "--model", "ai-server/slow"];
      terminal = opened = await Terminal.start({ ...(await piCommand({ ...options, args })), columns: 60 });
      // The footer names the model once the session has started.
      await terminal.waitFor(/ slow\b/);
    });
    afterEach(async () => {
      await opened?.close();
      await place.remove();
    });

    test("an answer streams onto the screen", async () => {
      await terminal.submit("sim: tokens 120");
      const early = await terminal.waitUntil("the answer begins", (screen) => spoken(screen) > 0);
      expect(spoken(early)).toBeLessThan(120);
      await terminal.waitUntil("the answer is whole", (screen) => spoken(screen) === 120);
      expect(await terminal.screen()).toMatch(/\/66k|\/65\.5k|\/64k/);
    });

    test("/ai-server-status shows a table that fits", async () => {
      await terminal.submit("/ai-server-status");
      const screen = await terminal.waitFor(/Größe.*(unloaded|ready)/);
      const rows = screen.split("\n");
      for (const id of standIn.modelIds) {
        // A row that did not fit would have been wrapped, and its state would stand on another line.
        expect(rows.filter((row) => row.includes(`${id} `))).toContainEqual(
          expect.stringMatching(/(unloaded|ready)/),
        );
      }
    });

    test("the results of two commands stay on the screen, and are laid out again for a narrower one", async () => {
      await terminal.submit("/ai-server-status");
      await terminal.waitFor(/Model +State +Context +From/);
      await terminal.submit("/ai-server-load nothing-like-that");
      const both = await terminal.waitFor(/^ No model "nothing-like-that"/m);
      expect(both).toMatch(/^ https:.*\n\n Model +State +Context +From/m);
      await terminal.resize(40, 50);
      const narrow = await terminal.waitFor(/^ Model +State +Context$/m);
      expect(narrow).toMatch(/^ No model "nothing-like-that"/m);
      expect(narrow).not.toMatch(/renderer failed/);
    });

    test("Escape ends a running turn at the server, and the next one works", async () => {
      await terminal.submit("sim: tokens 5000");
      await terminal.waitUntil("the answer begins", (screen) => spoken(screen) > 5);
      await terminal.press("Escape");
      const request = await eventually("the stand-in sees that the client has gone", () => {
        const last = standIn.chats().at(-1);
        return last?.disconnectedAt === undefined ? undefined : last;
      });
      expect(request.tokens).toBeLessThan(5000);
      await terminal.waitFor(/aborted/i);
      await terminal.submit("sim: say Still with you.");
      await terminal.waitFor(/^ *Still with you\./m);
    });

    test("quitting leaves no process", async () => {
      await terminal.submit("sim: say Bye.");
      await terminal.waitFor(/^ *Bye\./m);
      expect(processesWith(place.agentDir).length).toBeGreaterThan(0);
      await terminal.press("C-d");
      expect(await terminal.exitCode()).toBe(0);
      await eventually("every process of pi has ended", () =>
        processesWith(place.agentDir).length === 0 ? true : undefined,
      );
    });
  });
}

/** How many of the stand-in's short tokens the screen shows. */
function spoken(screen: string): number {
  return screen.match(/\bok\b/g)?.length ?? 0;
}
