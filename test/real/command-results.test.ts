import { afterAll, beforeAll, expect, test } from "vitest";
import { enter } from "../support/admin-terminal.ts";
import { EXTENSION, makeWorkplace, PI_VERSIONS, piProblem, type Workplace } from "../support/pi.ts";
import { openPi, storeModels } from "../support/pi-terminal.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { type StandIn, startStandIn } from "../support/stand-in.ts";
import type { Terminal } from "../support/terminal.ts";

for (const version of PI_VERSIONS) {
  const problem = (await piProblem(version)) ?? missingProgram("tmux");
  realSuite(problem, `results of commands in a terminal, pi ${version}`, () => {
    let standIn: StandIn;
    let place: Workplace;
    let terminal: Terminal;

    beforeAll(async () => {
      standIn = await startStandIn();
      place = await makeWorkplace();
      const options = { version, agentDir: place.agentDir, env: standIn.env };
      await storeModels(options);
      const args = ["-e", EXTENSION, "--model", "ai-server/slow"];
      terminal = await openPi({ ...options, args }, { columns: 80, rows: 40 });
    });
    afterAll(async () => {
      await terminal?.close();
      await place?.remove();
      await standIn?.stop();
    });

    test("two results stay on the screen, and are laid out again for a narrower one", async () => {
      await enter(terminal, "/ai-server-status");
      await terminal.waitFor(/Model +State +Context +From/);
      await enter(terminal, "/ai-server-last");
      const both = await terminal.waitFor(/^ No turn has ended yet\./m);
      expect(both).toMatch(/^ https:.*\n\n Model +State +Context +From/m);
      await terminal.resize(40, 40);
      const narrow = await terminal.waitFor(/^ Model +State +Context$/m);
      expect(narrow).toMatch(/^ No turn has ended yet\./m);
      expect(narrow).not.toContain("renderer failed");
    });
  });
}
