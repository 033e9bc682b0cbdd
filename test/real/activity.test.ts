import { afterAll, beforeAll, expect, type TestContext, test } from "vitest";
import { ActivityPlace, screenText } from "../support/activity-place.ts";
import { enter } from "../support/admin-terminal.ts";
import { NEWEST_PI, PI_VERSIONS, type PiVersion, piProblem } from "../support/pi.ts";
import { eventually } from "../support/processes.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import type { Terminal } from "../support/terminal.ts";

const LOADING = /Loading slow( again)? · \d+ s/;
const READING = /Reading prompt · [1-9]\d? % of [\d.]+k/;
const GENERATING = /\d+ tok\/s · \d+ tokens/;

/** What must be on no screen in any phase. */
const TROUBLE = /Working|NaN|Infinity|undefined|[Ss]tale|Exception|Error:|at file:/;

/** How many times faster the server works once a test has seen what it waits for. */
const FAST = 20;

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

/** Lets a turn come to its answer, and ends it there. */
const endsOnceItAnswers = async (place: ActivityPlace, terminal: Terminal): Promise<void> => {
  place.sim.setSpeed(FAST / 2);
  await terminal.waitFor(GENERATING);
  await terminal.press("Escape");
  await terminal.waitFor(/^slow ready/m);
};

/** A suite on one pi and one server, beside the others: each of its tests goes on where the last one ended. */
const suite = async (
  version: PiVersion,
  name: string,
  [model, ...more]: [string, ...string[]],
  body: (pi: () => { place: ActivityPlace; terminal: Terminal }) => void,
): Promise<void> => {
  realSuite(
    (await piProblem(version)) ?? missingProgram("tmux"),
    name,
    () => {
      let place: ActivityPlace | undefined;
      let terminal: Terminal | undefined;
      beforeAll(async () => {
        place = await ActivityPlace.open(version);
        terminal = await place.terminal(model, more);
      });
      afterAll(() => place?.close());
      body(() => {
        if (!place || !terminal) throw new Error("pi did not start");
        return { place, terminal };
      });
    },
    "beside",
  );
};

for (const version of PI_VERSIONS)
  await suite(version, `a turn on pi ${version}`, ["slow"], (pi) => {
    test(`shows each of its phases, and the server at rest before and after, with pi ${version}`, async (t) => {
      const { place, terminal } = pi();
      await phase(t, terminal, "rest-nothing-loaded", /^no model loaded/m, version);
      await enter(terminal, "sim: tokens 200");
      const loading = await phase(t, terminal, "loading", LOADING, version);
      expect(loading).not.toContain("no model loaded");
      await phase(
        t,
        terminal,
        "prompt",
        /Reading prompt · [1-9]\d? % of [\d.]+k · \d+ tok\/s · \d+ s left/,
        version,
      );
      await phase(t, terminal, "generating", /[34]\d tok\/s · \d{2} tokens/, version);
      place.sim.setSpeed(FAST);
      await phase(t, terminal, "rest-loaded", /^slow ready · 64k/m, version);
    });

    if (version !== NEWEST_PI) {
      test(`pi ${version} shows the panel and a question, takes the key that ends thinking, and quits`, async () => {
        const { terminal } = pi();
        await enter(terminal, "/ai-server");
        await terminal.waitFor(/^AI server[\s\S]*slow \(in pi\) +ready +64k[\s\S]*In flight: nothing/);
        await terminal.press("Escape");
        await enter(terminal, "/ai-server-unload");
        await terminal.waitFor(/^Unload every model\?[\s\S]*^→ Keep them loaded$[\s\S]*escape no$/m);
        await terminal.press("Enter");
        await terminal.waitFor(/Nothing was unloaded\./);
        await terminal.press("M-a");
        await terminal.waitFor(/There is no thinking to end/);
        await enter(terminal, "sim: say Still here.");
        await terminal.waitFor(/^ *Still here\./m);
        await terminal.press("C-d");
        expect(await terminal.exitCode()).toBe(0);
      });
      return;
    }

    test("the next turn expects its load to take as long, and says that it loads again, and why", async (t) => {
      const { place, terminal } = pi();
      await place.chatByAnother("other", 3);
      place.sim.setSpeed(1);
      await enter(terminal, "sim: tokens 2000");
      const again = /Loading slow again · \d+ s of about \d+ s · other was loaded meanwhile/;
      await phase(t, terminal, "loading-again", again);
      await endsOnceItAnswers(place, terminal);
      await place.sim.reload();
      place.sim.setSpeed(1);
      await enter(terminal, "sim: tokens 2000");
      await terminal.waitFor(/Loading slow again · .* · it was unloaded meanwhile/);
      await endsOnceItAnswers(place, terminal);
    });

    test("a widget shows the compaction", async (t) => {
      const { place, terminal } = pi();
      await place.unloadByAnother();
      place.sim.setSpeed(1);
      await enter(terminal, "/compact");
      await phase(t, terminal, "compaction-loading", /^ *Loading slow again · \d+ s of about \d+ s/m);
      await terminal.waitFor(/^ *(\d+ tok\/s · )?\d+ tokens/m);
      place.sim.setSpeed(FAST);
      expect(await terminal.waitFor(/Compacted/i)).not.toMatch(/tok\/s/);
    });

    const wanted = /Waiting for other, which answers a request · \d+ s/;
    // Without events the slots of the other model show it.
    for (const events of ["", ", where the server sends no events"])
      test(`a turn that waits says for whom${events}`, async (t) => {
        const { place, terminal } = pi();
        place.sim.setSpeed(1);
        const chat = place.chatByAnother("other", 200);
        await place.chatRuns();
        if (events !== "")
          for (let asked = 0; asked < 9; asked += 1) place.sim.failNext({ path: "/api/events", status: 404 });
        await enter(terminal, "sim: say Done.");
        if (events === "") await phase(t, terminal, "waiting", wanted);
        else await terminal.waitFor(wanted);
        await chat;
        await terminal.waitFor(LOADING);
        place.sim.setSpeed(FAST);
        await terminal.waitFor(/^slow ready/m);
      });
  });

const MODELS = "ai-server/other,openai/gpt-4o,ai-server/queued";
await suite(NEWEST_PI, `models of pi ${NEWEST_PI}`, ["other", "--models", MODELS], (pi) => {
  test("another provider's model has neither line nor footer, and causes no request", async (t) => {
    const { place, terminal } = pi();
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
    await terminal.press("C-p");
    await terminal.waitFor(/^no model loaded/m);
    // The next model's footer and its notice look once each; nothing was asked before.
    const paths = place.sim.requests.slice(asked).map(({ path }) => path);
    expect(["/running", "/running"].slice(0, paths.length)).toEqual(paths);
  });

  test("llama-swap's banner gives the place in its queue, and the load", async (t) => {
    const { place, terminal } = pi();
    const chat = place.chatByAnother("other", 200);
    await place.chatRuns();
    await enter(terminal, "sim: say Done.");
    await phase(t, terminal, "queue", /Place 1 in the queue · \d+ s/);
    await chat;
    // Before the banner's own end.
    await terminal.waitFor(/Loading queued · \d+ s/);
    place.sim.setSpeed(FAST / 5);
    await terminal.waitFor(/^ *Done\./m);
    // What the load took is kept by then.
    await terminal.waitFor(/^queued ready/m);
    await place.unloadByAnother();
    place.sim.setSpeed(1);
    await enter(terminal, "sim: say Again.");
    await phase(t, terminal, "banner-loading", /Loading queued again · \d+ s of about \d+ s/);
    place.sim.setSpeed(FAST);
    await terminal.waitFor(/^ *Again\./m);
    await terminal.waitFor(/^queued ready/m);
  });

  test("a turn beside the session's own is counted", async (t) => {
    const { place, terminal } = pi();
    await terminal.press("C-p");
    await terminal.waitFor(/other$/m);
    place.sim.setSpeed(1);
    await enter(terminal, "sim: tokens 300");
    await terminal.waitFor(GENERATING);
    await terminal.submit("/side");
    await phase(t, terminal, "parallel", /tok\/s · \d+ tokens · and 1 more/);
    await terminal.press("Escape");
    await terminal.waitFor(/aborted/i);
    await phase(t, terminal, "beside", /^ *\d+ tok\/s[\s\S]*^other ready · /m);
  });
});

await suite(NEWEST_PI, `a thinking model on pi ${NEWEST_PI}`, ["thinker"], (pi) => {
  test("answers at once when the user presses the key that the working line shows", async (t) => {
    const { place, terminal } = pi();
    await enter(terminal, "sim: ponder 2000");
    await phase(t, terminal, "thinking", /\d+ tok\/s · \d+ tokens · alt\+a answers now/);
    await terminal.press("M-a");
    await terminal.waitFor(/^ *Thought through\./m);
    expect(place.sim.requests.at(-1)?.tokens ?? 0).toBeLessThan(2000);
    await terminal.waitFor(/^thinker ready/m);
    expect(await terminal.screen()).not.toMatch(/answers now|aborted/i);
  });

  test("is not there between turns: the key says so, and does nothing else", async () => {
    const { terminal } = pi();
    await terminal.press("M-a");
    await terminal.waitFor(/There is no thinking to end/);
    await enter(terminal, "sim: say Still here.");
    await terminal.waitFor(/^ *Still here\./m);
  });
});

/** A phase, the model that takes its time for it, and what the screen then shows. */
const PHASES = [
  ["loading", "slow", LOADING],
  ["reading the prompt", "reader", READING],
  ["generating", "other", GENERATING],
] as const;

for (const [what, model, wanted] of PHASES)
  await suite(NEWEST_PI, `while ${what} on pi ${NEWEST_PI}`, [model], (pi) => {
    const busy = async (): Promise<void> => {
      const { place, terminal } = pi();
      await place.unloadByAnother();
      await enter(terminal, "sim: tokens 400");
      await terminal.waitFor(wanted);
    };
    const expectNothingUnderWay = async (): Promise<void> => {
      const { place } = pi();
      await eventually("no request is under way", () => place.underWay.length === 0 || undefined);
    };

    test(`/new while ${what} leaves no request`, async () => {
      const { place, terminal } = pi();
      place.sim.setSpeed(FAST);
      await enter(terminal, "sim: say One.");
      await terminal.waitFor(/^ *One\./m);
      place.sim.setSpeed(1);
      await busy();
      await terminal.submit("/new");
      await terminal.waitFor(/New session started/i);
      await expectNothingUnderWay();
    });

    test(`/resume while ${what} leaves no request`, async () => {
      const { terminal } = pi();
      await busy();
      await terminal.submit("/resume");
      await terminal.waitFor(/Resume Session[\s\S]*sim: say One/i);
      await terminal.type("One");
      await terminal.waitFor(/^[›→] .*sim: say One/m);
      await terminal.press("Enter");
      await terminal.waitFor(/Resumed session/i);
      await terminal.waitFor(/^ *One\./m);
      await expectNothingUnderWay();
    });

    test(`a reload follows Escape while ${what}`, async () => {
      const { terminal } = pi();
      await busy();
      await terminal.press("Escape");
      // An earlier turn may have left its word on the screen.
      await terminal.waitUntil(
        "the turn is over",
        (screen) => /aborted/i.test(screen) && !wanted.test(screen),
      );
      await terminal.submit("/reload");
      await terminal.waitFor(/Reloaded/i);
      await expectNothingUnderWay();
    });

    test(`the end while ${what} leaves neither a word of trouble nor a connection`, async () => {
      const { place, terminal } = pi();
      await busy();
      expect(await terminal.history()).not.toMatch(TROUBLE);
      await terminal.press("C-c");
      await terminal.press("C-c");
      expect(await terminal.exitCode()).toBe(0);
      expect(await terminal.history()).not.toMatch(TROUBLE);
      await eventually("no connection is left", () => place.sim.connections === 0 || undefined);
    });
  });
