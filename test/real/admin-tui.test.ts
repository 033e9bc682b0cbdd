import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import {
  type AdminPlace,
  AdminServer,
  CONFIG,
  MODEL_IDS,
  makeAdminPlace,
  SECRETS,
} from "../support/admin-server.ts";
import { choose, clearEditor, enter, expectTurn, wordsOf } from "../support/admin-terminal.ts";
import { NEWEST_PI, piProblem } from "../support/pi.ts";
import { openPi } from "../support/pi-terminal.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import type { Terminal } from "../support/terminal.ts";

const [COLUMNS, ROWS] = [80, 24];
const FILLER = Array.from({ length: 120 }, (_, index) => `# filler ${index + 1}.\n`).join("");

const UNLOADED = "Will be unloaded: steady. No requests in flight.";

/** A line, the choice that keeps, the one that changes, and what is read before. */
const QUESTIONS = [
  [
    "/ai-server-ctx org/Größe:Q4 48k",
    "Keep as it is",
    "Change and restart",
    "Change the context size of org/Größe:Q4 to 49152 tokens (48k)?",
    "It is 32768 tokens (32k) now.",
    "This restarts stand-in.service, which unloads every model.",
    UNLOADED,
  ],
  ["/ai-server-restart", "Leave it running", "Restart", "Restart stand-in.service?", UNLOADED],
  ["/ai-server-unload", "Keep them loaded", "Unload them now", "Unload every model?", UNLOADED],
] as const;

/** Of the terminal. */
const SIZES = [
  [COLUMNS, ROWS],
  [60, 20],
  [40, 15],
] as const;

const problem = (await piProblem(NEWEST_PI)) ?? missingProgram("tmux");
realSuite(
  problem,
  `administration in a terminal, pi ${NEWEST_PI}`,
  () => {
    let server: AdminServer;
    let place: AdminPlace;
    let terminal: Terminal;

    beforeAll(async () => {
      server = await AdminServer.start();
      place = await makeAdminPlace(NEWEST_PI, server);
      // The panel's test on a light theme looks at the colours.
      terminal = await openPi(place.options([], { NO_COLOR: "1" }));
    });
    afterAll(async () => {
      await terminal?.close();
      await place?.remove();
      await server?.stop();
    });
    beforeEach(async () => {
      await server.reset();
      await clearEditor(terminal);
    });

    test("the ids are listed right after a command, and Tab takes the first", async () => {
      // pi applies a list to the text as it is when the list arrives.
      await terminal.type("/ai-server-load");
      await terminal.waitFor(/^→ ai-server-load\b/m);
      await terminal.type(" ");
      const listed = await terminal.waitFor(/^[→ ] a model with spaces( |$)/m);
      for (const id of MODEL_IDS) expect(listed).toMatch(new RegExp(`^[→ ] ${id}( |$)`, "m"));
      const first = MODEL_IDS.find((id) => new RegExp(`^→ ${id}( |$)`, "m").test(listed));
      await terminal.press("Tab");
      await terminal.waitFor(new RegExp(`^/ai-server-load ${first}$`, "m"));
      await clearEditor(terminal);
    });

    test("Tab completes an id whatever is in it, and a size", async () => {
      for (const [typed, completed] of [
        ["/ai-server-load a mo", "/ai-server-load a model with spaces"],
        ["/ai-server-unload org/G", "/ai-server-unload org/Größe:Q4"],
        ["/ai-server-ctx steady 9", "/ai-server-ctx steady 96k"],
      ] as const) {
        await typeUntilOffered(terminal, typed);
        await terminal.press("Tab");
        await terminal.waitFor(new RegExp(`^${completed}$`, "m"));
        await clearEditor(terminal);
      }
      const sizes = await typeUntilOffered(terminal, "/ai-server-ctx steady ");
      expect(sizes).toMatch(/^→ max +the largest that fits\n {2}8k +8192 tokens/m);
      expect(sizes).toMatch(/^ {2}64k +65536 tokens/m);
    });

    test("the status is a table that fits", async () => {
      await server.load("steady");
      await enter(terminal, "/ai-server-status");
      const screen = await terminal.waitFor(/^ *steady +ready/m);
      for (const id of MODEL_IDS.slice(0, -1)) {
        // Where the table would be too wide, a long id is cut.
        const shown = screen.includes(id) ? id : `${id.slice(0, 11)}.*…`;
        expect(screen).toMatch(new RegExp(`^ *${shown} +unloaded`, "m"));
      }
      await expectTurn(terminal, "Status");
    });

    test("a load is waited for on a screen that counts, and Escape asks whether to stop it", async () => {
      await enter(terminal, "/ai-server-load slow");
      await terminal.waitFor(/Loading slow · [2-9] s[\s\S]*escape\S* cancel/);
      await terminal.press("Escape");
      const asked = await terminal.waitFor(/Stop loading slow\?/);
      expect(wordsOf(asked)).toContain(
        "On the server, slow is starting. Stopping unloads it; models unloaded to make room for it stay unloaded. → Let it load Stop and unload it",
      );
      await terminal.press("Enter");
      await terminal.waitFor(/The server continues loading slow\./);
      expect((await server.running()).get("slow")).toBe("starting");

      await enter(terminal, "/ai-server-load slow");
      await terminal.waitFor(/Loading slow · \d+ s/);
      await terminal.press("Escape");
      await choose(terminal, "Stop and unload it");
      await terminal.waitFor(/slow is unloaded\./);
      expect((await server.running()).size).toBe(0);
      await expectTurn(terminal, "Stopped");
    });

    test("a context size: the question has every word of the difference, and the change goes through", async () => {
      await server.load("steady");
      await enter(terminal, "/ai-server-ctx org/Größe:Q4 48k");
      const middle = await terminal.waitFor(/→ Keep as it is/);
      await terminal.press("Home");
      const top = await terminal.waitFor(/^@@/m);
      await terminal.press("End");
      const end = await terminal.waitFor(/^ {3}slow:$/m);
      const asked = [top, middle, end].map(wordsOf).join("");
      for (const words of [
        "Change the context size of org/Größe:Q4 to 49152 tokens (48k)? It is 32768 tokens (32k) now.",
        `In ${server.host.path}: @@ -11,7 +11,7 @@ cmd: | llama-server`,
        "- --ctx-size 32768 + --ctx-size 49152",
        "cmd: llama-server --port ${PORT} --load 0.2 -m /models/spaces.gguf -c 8192 --no-reasoning --token-rate 40",
        "This restarts stand-in.service, which unloads every model.",
        "Will be unloaded: steady. No requests in flight.",
      ])
        expect(asked).toContain(words);
      await terminal.press("Enter");
      await terminal.waitFor(/Nothing was changed\./);
      expect(server.host.text).toBe(CONFIG);

      await enter(terminal, "/ai-server-ctx org/Größe:Q4 48k");
      await choose(terminal, "Change and restart");
      const done = wordsOf(await terminal.waitFor(/context size is now 49152 tokens/));
      expect(done).toMatch(
        /a request may use 49152 tokens\. The previous version is in .*\.bak-\d{8}T\d{6}Z\./,
      );
      expect(server.host.text).toBe(CONFIG.replace("32768", "49152"));
      expect(server.host.leftovers).toEqual([]);
      expect([...(await server.running())]).toEqual([["steady", "ready"]]);
      await expectTurn(terminal, "Changed");
    });

    test("a backup is chosen from a list and put back; a restart and an unload ask", async () => {
      await enter(terminal, "/ai-server-ctx steady 32k");
      await choose(terminal, "Change and restart");
      await terminal.waitFor(/context size is now 32768 tokens/);
      await enter(terminal, "/ai-server-rollback");
      const listed = await terminal.waitFor(/Which backup should be restored\?/);
      expect(wordsOf(listed)).toMatch(
        /→ Keep the config as it is \d{8}T\d{6}Z · \d{4}-\d\d-\d\d \d\d:\d\d:\d\d · \d+ B · \+2 −2 lines/,
      );
      await terminal.press("Down", "Enter");
      await terminal.waitFor(/Restore [\s\S]*→ Keep as it is/);
      await choose(terminal, "Restore and restart");
      await terminal.waitFor(/The\s+server\s+answers\s+with\s+it\./);
      expect(server.host.text).toBe(CONFIG);

      await enter(terminal, "/ai-server-restart");
      await terminal.waitFor(/Restart stand-in\.service\?[\s\S]*→ Leave it running/);
      await choose(terminal, "Restart");
      await terminal.waitFor(/The server was restarted and answers\./);
      expect(server.restarts).toBe(3);
      await enter(terminal, "/ai-server-unload");
      await terminal.waitFor(/Unload every model\?[\s\S]*→ Keep them loaded/);
      await choose(terminal, "Unload them now");
      await terminal.waitFor(/Unloaded: steady\./);
      await expectTurn(terminal, "Back");
    });

    test("the config scrolls, without its secrets, and Escape leaves it", async () => {
      await server.reset(CONFIG + FILLER);
      await enter(terminal, "/ai-server-preset");
      const top = await terminal.waitFor(/of 141/);
      expect(top).toMatch(/^apiKeys: \["••••"\]$/m);
      for (const secret of SECRETS) expect(top).not.toContain(secret);
      expect(top).not.toContain("# filler 120.");
      await terminal.press("NPage");
      await terminal.waitUntil("the next page", (screen) => !/^apiKeys/m.test(screen));
      await terminal.press("End");
      await terminal.waitFor(/# filler 120\.[\s\S]*100 %/);
      await terminal.press("Home");
      await terminal.waitFor(/^apiKeys/m);
      await terminal.press("Escape");
      await terminal.waitUntil("the view is left", (screen) => !screen.includes("apiKeys"));
      await expectTurn(terminal, "Scrolled");
    });

    test("logs go on while they are looked at", async () => {
      const words = Array.from({ length: 80 }, (_, index) => `entry ${index + 1}.`);
      server.journal = words;
      await enter(terminal, "/ai-server-logs");
      expect(await terminal.waitFor(/entry 80\.[\s\S]*live/)).toMatch(/^Journal of stand-in\.service/);
      server.journal = [...words, "entry 81, which is new"];
      await terminal.waitFor(/entry 81, which is new/);
      await terminal.press("Escape");
      await terminal.waitUntil("the view is left", (screen) => !screen.includes("entry 81"));

      await server.load("steady");
      await enter(terminal, "/ai-server-logs steady");
      const before = await terminal.waitFor(/main: server is listening[\s\S]*live/);
      await server.complete("steady");
      await terminal.waitUntil("a new line", (screen) => served(screen) > served(before));
      await terminal.press("q");
      await expectTurn(terminal, "Logged");
    });

    test.each(SIZES)(
      "a question at %d×%d shows all that counts, and Enter right away changes nothing",
      async (columns, rows) => {
        await server.load("steady");
        await terminal.resize(columns, rows);
        for (const [line, keep, change, ...said] of QUESTIONS) {
          await enter(terminal, line);
          const asked = wordsOf(await terminal.waitFor(new RegExp(`^→ ${keep}$[\\s\\S]*escape no$`, "m")));
          for (const words of [...said, `→ ${keep} ${change} `]) expect(asked).toContain(words);
          await terminal.press("Enter");
          await terminal.waitFor(/^ *Nothing was (changed|restarted|unloaded)\./m);
        }
        await enter(terminal, "/ai-server-ctx org/Größe:Q4 48k");
        const before = await terminal.waitFor(/^→ Keep as it is$[\s\S]*escape no$/m);
        // Dragged as small and as large as it goes, and back.
        await terminal.resize(30, 6);
        await terminal.waitFor(/^\d+ hidden.*\n→ Keep as it is\n {2}Change and restart\nup\/down.*$/m);
        await terminal.resize(120, 50);
        await terminal.waitFor(
          /^@@[\s\S]*^ {3}slow:\n\n→ Keep as it is\n {2}Change and restart\n\n.*escape no$/m,
        );
        await terminal.resize(columns, rows);
        await terminal.waitUntil("the question is as it was", (now) => now === before);
        await terminal.press("End");
        await terminal.waitUntil("the end of the difference", (now) => /^ {3}slow:$/m.test(now));
        await terminal.press("Escape");
        await terminal.waitFor(/^ *Nothing was changed\./m);
        expect([server.host.text, server.host.backups, server.restarts]).toEqual([CONFIG, [], 0]);
        expect([...(await server.running())]).toEqual([["steady", "ready"]]);
      },
    );

    test("quitting afterwards ends at once", async () => {
      await terminal.press("C-d");
      expect(await terminal.exitCode(5_000)).toBe(0);
    });
  },
  "beside",
);

/** Types into an empty editor; once more where what may follow was still being read from the server. */
async function typeUntilOffered(terminal: Terminal, typed: string): Promise<string> {
  const offered = new RegExp(`^${typed.trimEnd()}\\n─{20,}\\n→ `, "m");
  await terminal.type(typed);
  return terminal.waitFor(offered, 3_000).catch(async () => {
    await clearEditor(terminal);
    await terminal.type(typed);
    return terminal.waitFor(offered);
  });
}

/** How many answered requests a log shows. */
function served(screen: string): number {
  return screen.match(/HTTP\/1\.1"\s+200/g)?.length ?? 0;
}
