import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { ServerDownloads } from "../../host/download/downloads.ts";
import { type Hub, startHub } from "../../sim/hub.ts";
import { type AdminPlace, AdminServer, CONFIG, makeAdminPlace } from "../support/admin-server.ts";
import { choose, clearEditor, enter, expectTurn, wordsOf } from "../support/admin-terminal.ts";
import { NEWEST_PI, OLDER_PI, piProblem } from "../support/pi.ts";
import { openPi } from "../support/pi-terminal.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import type { Terminal } from "../support/terminal.ts";

const SIZES = { "1.5.2": [60, 20], "1.6.0": [80, 24] } as const;
const DEVICE = "  Vulkan0: A card (98304 MiB, 90000 MiB free)";

for (const version of [OLDER_PI, NEWEST_PI] as const) {
  const problem = (await piProblem(version)) ?? missingProgram("tmux", "curl");
  realSuite(problem, `a model that is added in a terminal, pi ${version}`, () => {
    let hub: Hub;
    let server: AdminServer;
    let place: AdminPlace;
    let terminal: Terminal;
    let folder: string;

    beforeAll(async () => {
      hub = await startHub({
        repositories: {
          "maker/Wren-GGUF": {
            downloads: 48_000,
            files: {
              "Wren-Q4_K_M.gguf": { bytes: 300_000, seed: "wren 4" },
              "Wren-Q8_0.gguf": { listed: 90 * 2 ** 30 },
              "Wren-BF16.gguf": { listed: 180 * 2 ** 30 },
            },
          },
          "maker/Heron-GGUF": { downloads: 900, files: { "Heron-Q8_0.gguf": "x" } },
        },
      });
      server = await AdminServer.start();
      folder = join(server.host.folder, "models");
      server.host.tool("llama-server", `printf '%s\\n' 'Available devices:' '${DEVICE}'`);
      place = await makeAdminPlace(version, server);
      const [columns, rows] = SIZES[version];
      const env = { NO_COLOR: "1", HF_ENDPOINT: hub.url, AI_SERVER_MODELS_DIR: folder };
      terminal = await openPi(place.options([], env), { columns, rows });
    });
    afterAll(async () => {
      await terminal?.close();
      await place?.remove();
      await server?.stop();
      await hub?.close();
    });
    beforeEach(() => clearEditor(terminal));
    afterEach(async () => {
      const downloads = new ServerDownloads(server.host.shell());
      for (const { id } of await downloads.read(folder)) await downloads.stop(folder, id);
    });

    test("by a search while typing, with what fits, and Escape leaves everything as it was", async () => {
      await enter(terminal, "/ai-server-add");
      await terminal.waitFor(/^Add a model from Hugging Face$/m);
      await terminal.type("mak");
      const found = await terminal.waitFor(/^ {2}2 models$/m);
      expect(found).toMatch(/^→ maker\/Wren-GGUF +48k downloads$/m);
      expect(found).toMatch(/^ {2}maker\/Heron-GGUF +900 downloads$/m);
      await terminal.press("Enter");
      const shown = await terminal.waitFor(/^ {2}3 quantisations$/m);
      expect(shown).toContain("Memory for models: Vulkan0 96 GiB.");
      expect(shown).toMatch(/^→ Q4_K_M +293 KiB · fits$/m);
      expect(shown).toMatch(/^ {2}Q8_0 +90 GiB · tight$/m);
      expect(shown).toMatch(/^ {2}BF16 +180 GiB · too large$/m);
      await terminal.press("Escape");
      await terminal.waitFor(/^ *Nothing was added\.$/m);
      expect(server.host.text).toBe(CONFIG);
    });

    test("left while it is downloaded, found again, written, loaded, and there for turns", async () => {
      const held = hub.break("Wren-Q4_K_M.gguf", { holdAfter: 100_000 });
      await enter(terminal, "/ai-server-add maker/Wren-GGUF:q4_k_m");
      expect(wordsOf(await terminal.waitFor(/^Download maker\/Wren-GGUF:Q4_K_M\?$/m))).toContain(
        "continues when pi is closed.",
      );
      await choose(terminal, "Download it");
      await held.happened;
      await terminal.waitFor(/Downloading maker\/Wren-GGUF:Q4_K_M:/);
      await terminal.press("Escape");
      await choose(terminal, "Leave it running");
      await enter(terminal, "/ai-server-add");
      await terminal.waitFor(/^→ maker\/Wren-GGUF:Q4_K_M +downloading · \d+ %$/m);
      held.end();
      await terminal.press("Enter");
      await terminal.waitFor(/^→ Like steady$/m);
      await terminal.press("Enter");
      await terminal.waitFor(/^Which context size for Wren-Q4_K_M\?$/m);
      await terminal.type("48k");
      await terminal.waitFor(/^→ 48k +49152 tokens · as typed$/m);
      await terminal.press("Enter");
      const asked = await terminal.waitFor(/^→ Keep as it is$/m);
      expect(wordsOf(asked)).toContain("Add Wren-Q4_K_M with a context of 49152 tokens (48k)?");
      await choose(terminal, "Add and restart");
      await terminal.waitFor(/Wren-Q4_K_M is added; \/model has it now\./);
      expect(server.host.text.startsWith(CONFIG)).toBe(true);
      expect([...(await server.running())]).toEqual([["Wren-Q4_K_M", "ready"]]);
      await enter(terminal, "/model Wren");
      await terminal.waitFor(/^→ +Wren-Q4_K_M \[ai-server\]$/m);
      await terminal.press("Enter");
      await terminal.waitFor(/ Wren-Q4_K_M$/m);
      await expectTurn(terminal, "Fledged");
    });
  });
}
