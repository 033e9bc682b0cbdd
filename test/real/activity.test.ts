import { type TestContext, test } from "vitest";
import { ActivityPlace, screenText } from "../support/activity-place.ts";
import { NEWEST_PI, PI_VERSIONS, type PiVersion, piProblem } from "../support/pi.ts";
import { eventually } from "../support/processes.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import type { Terminal } from "../support/terminal.ts";

const LOADING = /Loading slow · \d+ s/;
const READING = /Reading prompt · [1-9]\d? % of [\d.]+k/;
const GENERATING = /\d+ tok\/s · \d+ tokens/;

/** What must be on no screen in any phase. */
const TROUBLE = /Working|NaN|Infinity|undefined|[Ss]tale|Exception|Error:|at file:/;

/** A server of the test's own: several of them wait for their phases at a time. */
const opened = async (
  { onTestFinished }: TestContext,
  version: PiVersion = NEWEST_PI,
): Promise<ActivityPlace> => {
  const place = await ActivityPlace.open(version);
  onTestFinished(() => place.close());
  return place;
};

/** Waits for a phase, and compares its screen with the one that is kept. */
const phase = async (
  { expect }: TestContext,
  terminal: Terminal,
  name: string,
  wanted: RegExp,
  version: PiVersion = NEWEST_PI,
): Promise<string> => {
  const screen = await terminal.waitFor(wanted);
  const shown = screenText(screen);
  expect(shown).not.toMatch(TROUBLE);
  await expect(shown).toMatchFileSnapshot(`../screens/${version}/${name}.txt`);
  return screen;
};

// Each is mostly waiting, and none sees anything of another.
for (const version of PI_VERSIONS)
  realSuite(
    (await piProblem(version)) ?? missingProgram("tmux"),
    `the screen of pi ${version}`,
    () => {
      test(`each phase of a turn, and the server at rest before and after, with pi ${version}`, async (t) => {
        const place = await opened(t, version);
        const terminal = await place.terminal("slow");
        await phase(t, terminal, "rest-nothing-loaded", /^no model loaded/m, version);
        await terminal.submit("sim: tokens 200");
        const loading = await phase(t, terminal, "loading", LOADING);
        t.expect(loading).not.toContain("no model loaded");
        await phase(
          t,
          terminal,
          "prompt",
          /Reading prompt · [1-9]\d? % of [\d.]+k · \d+ tok\/s · \d+ s left/,
          version,
        );
        await phase(t, terminal, "generating", /[34]\d tok\/s · \d{2} tokens/, version);
        await phase(t, terminal, "rest-loaded", /^slow ready · 64k/m, version);
      });
    },
    "at once",
  );

realSuite(
  (await piProblem(NEWEST_PI)) ?? missingProgram("tmux"),
  `what pi ${NEWEST_PI} shows of a turn`,
  () => {
    test("the next turn expects its load to take as long, and says that it loads again, and why", async (t) => {
      const place = await opened(t);
      const terminal = await place.terminal("slow");
      await terminal.submit("sim: say One.");
      await terminal.waitFor(/^ *One\./m);
      await place.chatByAnother("other", 3);
      await terminal.submit("sim: tokens 60");
      const again = /Loading slow again \(other was loaded meanwhile\) · \d+ s of about \d+ s/;
      await phase(t, terminal, "loading-again", again);
      await terminal.waitFor(GENERATING);
      await terminal.waitFor(/^slow ready/m);
      await place.sim.reload();
      await terminal.submit("sim: tokens 60");
      await terminal.waitFor(/Loading slow again \(it was unloaded meanwhile\)/);
      await terminal.waitFor(GENERATING);
    });

    for (const events of ["", ", where the server tells no events"])
      test(`a turn that waits says for whom${events}`, async (t) => {
        const place = await opened(t);
        const terminal = await place.terminal("slow");
        const chat = place.chatByAnother("other", 200);
        await place.chatRuns();
        if (events !== "")
          for (let asked = 0; asked < 9; asked += 1) place.sim.failNext({ path: "/api/events", status: 404 });
        await terminal.submit("sim: say Done.");
        if (events === "")
          await phase(t, terminal, "waiting", /Waiting for other, which answers a request · \d+ s/);
        // A build of unknown age is not asked for its slots: before v218 it might load the model again for that.
        else await terminal.waitFor(/Waiting for other to unload · \d+ s/);
        await terminal.waitFor(LOADING);
        await chat;
        await terminal.waitFor(/^ *Done\./m);
      });

    test("llama-swap's banner tells the place in its queue, and the load", async (t) => {
      const place = await opened(t);
      const terminal = await place.terminal("queued");
      const chat = place.chatByAnother("other", 250);
      await place.chatRuns();
      await terminal.submit("sim: say Done.");
      await phase(t, terminal, "queue", /Place 1 in the queue · \d+ s/);
      await chat;
      // Before the banner's own end.
      await terminal.waitFor(/Loading queued · \d+ s/);
      await terminal.waitFor(/^ *Done\./m, 30_000);
      // What the load took is kept by then.
      await terminal.waitFor(/^queued ready/m);
      await place.unloadByAnother();
      await terminal.submit("sim: say Again.");
      await phase(t, terminal, "banner-loading", /Loading queued again \(.+\) · \d+ s of about \d+ s/);
      await terminal.waitFor(/^ *Again\./m, 30_000);
    });

    test("a turn beside the session's own is counted", async (t) => {
      const place = await opened(t);
      const terminal = await place.terminal("other");
      await terminal.submit("sim: tokens 300");
      await terminal.waitFor(GENERATING);
      await terminal.submit("/side");
      await phase(t, terminal, "parallel", /tok\/s · \d+ tokens · and 1 more/);
      await terminal.press("Escape");
      await terminal.waitFor(/aborted/i);
      await phase(t, terminal, "beside", /^ *\d+ tok\/s[\s\S]*^other ready · /m);
    });

    test("a widget shows the compaction", async (t) => {
      const place = await opened(t);
      const terminal = await place.terminal("slow");
      await terminal.submit("sim: tokens 150");
      await terminal.waitFor(/^slow ready · 64k/m, 30_000);
      await terminal.submit("sim: say Enough.");
      await terminal.waitFor(/^ *Enough\./m);
      await terminal.waitFor(/^slow ready · 64k/m);
      await place.unloadByAnother();
      await terminal.submit("/compact");
      await phase(t, terminal, "compaction-loading", /^ *Loading slow again \(.+\) · \d+ s of about \d+ s/m);
      await terminal.waitFor(/^ *(\d+ tok\/s · )?\d+ tokens/m);
      const after = await terminal.waitFor(/Compacted/i);
      t.expect(after).not.toMatch(/tok\/s/);
    });

    test("another provider's model has neither line nor footer, and no request is made", async (t) => {
      const place = await opened(t);
      const terminal = await place.terminal("other", ["--models", "ai-server/other,openai/gpt-4o"]);
      await terminal.press("C-p");
      const screen = await terminal.waitUntil(
        "gpt-4o is selected",
        (screen) =>
          /Switched to/.test(screen) &&
          /gpt-4o/.test(screen.split("\n").slice(-3).join("\n")) &&
          !/no model loaded/.test(screen),
      );
      await t.expect(screenText(screen)).toMatchFileSnapshot(`../screens/${NEWEST_PI}/other-provider.txt`);
      const asked = place.sim.requests.length;
      await new Promise((resolve) => setTimeout(resolve, 2000));
      t.expect(place.sim.requests.length).toBe(asked);
      await terminal.press("C-p");
      await terminal.waitFor(/^no model loaded/m);
    });

    const phases = [
      ["loading", LOADING],
      ["reading the prompt", READING],
      ["generating", GENERATING],
    ] as const;
    const busyWith = async (terminal: Terminal, wanted: RegExp): Promise<void> => {
      await terminal.submit("sim: tokens 400");
      await terminal.waitFor(wanted);
    };
    const quits = async (
      { expect }: TestContext,
      place: ActivityPlace,
      terminal: Terminal,
    ): Promise<void> => {
      expect(await terminal.history()).not.toMatch(TROUBLE);
      await terminal.press("C-c");
      await terminal.press("C-c");
      expect(await terminal.exitCode()).toBe(0);
      expect(await terminal.history()).not.toMatch(TROUBLE);
      await eventually("no connection is left", () => (place.sim.connections === 0 ? true : undefined));
    };
    for (const [what, wanted] of phases) {
      test(`while ${what}, /new, /reload and the end leave neither a word of trouble nor a connection`, async (t) => {
        const place = await opened(t);
        const terminal = await place.terminal("slow");
        await busyWith(terminal, wanted);
        await terminal.submit("/new");
        await terminal.waitFor(/New session started/i);
        await place.unloadByAnother();
        await busyWith(terminal, wanted);
        await terminal.press("Escape");
        await terminal.waitFor(/aborted/i);
        await terminal.submit("/reload");
        await terminal.waitFor(/Reloaded/i);
        await place.unloadByAnother();
        await busyWith(terminal, wanted);
        await quits(t, place, terminal);
      });
    }

    for (const [resumed, resumedAt] of [phases[0], phases[2]])
      test(`while ${resumed}, /resume leaves neither a word of trouble nor a request`, async (t) => {
        const place = await opened(t);
        const terminal = await place.terminal("slow");
        await terminal.submit("sim: say One.");
        await terminal.waitFor(/^ *One\./m);
        await place.unloadByAnother();
        await terminal.submit("/new");
        await terminal.waitFor(/New session started/i);
        await busyWith(terminal, resumedAt);
        await terminal.submit("/resume");
        await terminal.waitFor(/Resume Session[\s\S]*sim: say One/i);
        await terminal.type("One");
        await terminal.waitFor(/^[›→] .*sim: say One/m);
        await terminal.press("Enter");
        await terminal.waitFor(/Resumed session/i);
        await terminal.waitFor(/^ *One\./m);
        await eventually("nothing is asked any more", () => place.underWay.length === 0 || undefined);
        await quits(t, place, terminal);
      });
  },
  "at once",
);
