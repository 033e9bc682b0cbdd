import { copyFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { saying, User } from "../support/command-user.ts";
import { llamaServerProblem, TINY_MODEL } from "../support/llama-server.ts";
import { realSuite } from "../support/programs.ts";
import { RouterPlace } from "../support/router-place.ts";
import { at } from "../support/rpc.ts";

const PRESET = `; the models of this house
version = 1

[*]
n-gpu-layers = 0

[small]
model = ${TINY_MODEL}
ctx-size = 2048   ; for everyday questions

[other]
model = ${TINY_MODEL}
c = 1024

[bare]
ctx-size = 512
`;
const LARGER = PRESET.replace("2048", "4096");

realSuite(llamaServerProblem(), "the preset of a real router, with every default", () => {
  let place: RouterPlace;
  beforeEach(async () => {
    place = await RouterPlace.start(PRESET);
    await place.begin(PRESET, ["small", "other"]);
    expect(await states()).toEqual({ small: "loaded", other: "loaded", bare: "unloaded" });
  });
  afterEach(() => place.stop());

  async function states(): Promise<unknown> {
    const answer = await place.ask("/models");
    const data = at(answer, "data") as unknown[];
    return Object.fromEntries(data.map((entry) => [at(entry, "id"), at(entry, "status", "value")]));
  }

  async function window(id: string): Promise<unknown> {
    const props = await place.ask(`/props?model=${id}&autoload=false`);
    return at(props, "default_generation_settings", "n_ctx");
  }

  test("a size is changed without a restart, and the other model stays loaded", async () => {
    const user = await place.type("/ai-server-ctx small 4k", saying(true));
    expect(user.told.join("\n")).toMatch(
      /^small: the context size is now 4096 tokens \(4k\)\.\nIt is loaded, and a request may use 4096 tokens\.\nThe previous version is in ~\/\.llama-models\.ini\.bak-/,
    );
    const [question] = user.questions;
    expect(question?.text).toContain(
      "The router rereads its preset and unloads only the models that change.",
    );
    expect(question?.text).toContain("Will be unloaded: small.\n");
    expect(question?.text).toContain("Stays loaded if there is room: other.\n");
    expect(user.everything).not.toContain("llama-swap");
    expect(place.text).toBe(LARGER);
    expect(place.takeDeeds()).toEqual(["GET /v1/models?reload=1", 'POST /models/load {"model":"small"}']);
    expect(await states()).toMatchObject({ small: "loaded", other: "loaded" });
    expect([await window("small"), await window("other")]).toEqual([4096, 1024]);

    const [stamp = ""] = place.backups.slice(-1);
    const back = await place.type(`/ai-server-rollback ${stamp}`, saying(true));
    expect(back.questions[0]?.text).toContain("Will be unloaded: small.\n");
    expect(place.text).toBe(PRESET);
    expect(place.takeDeeds()).toEqual(["GET /v1/models?reload=1", 'POST /models/load {"model":"small"}']);
    expect([await window("small"), place.restarts]).toEqual([2048, 0]);
  });

  test("a model that no longer loads: the old size is back, and the others never noticed", async () => {
    const own = join(place.home, "own.gguf");
    copyFileSync(TINY_MODEL, own);
    const preset = PRESET.replace(TINY_MODEL, own);
    await place.begin(preset, ["small"]);
    // The file that runs stays as it is: only its name leads elsewhere now.
    writeFileSync(`${own}.new`, "no model at all");
    renameSync(`${own}.new`, own);
    const { notices } = await place.type("/ai-server-ctx small 4k", saying(true));
    expect(notices).toEqual([
      {
        level: "error",
        text: expect.stringMatching(
          /^The model could not be loaded with the new config\. small could not be loaded(.|\n)*The previous config is restored, and the server answers with it\.\nsmall was loaded before and could not be loaded again/,
        ),
      },
    ]);
    expect(place.text).toBe(preset);
    expect(place.restarts).toBe(0);
    expect(await states()).toMatchObject({ small: "unloaded", other: "loaded" });
  });

  test("a preset that the router refuses: the user reads its words, and nothing was unloaded", async () => {
    const refused = PRESET.replace("c = 1024", "c = 1024\nctx-sizzle = 1");
    place.text = refused;
    const { told } = await place.type("/ai-server-ctx small 4k", saying(true));
    expect(told[0]).toMatch(/^The router did not accept the new config\. .*ctx-sizzle/);
    expect([place.text, place.restarts]).toEqual([refused, 0]);
    expect(place.takeDeeds()).toEqual(Array(2).fill("GET /v1/models?reload=1"));
    expect(await states()).toMatchObject({ small: "loaded", other: "loaded" });
  });

  test("a model of the router's folder gets a section, keeps its file, and goes back without it", async () => {
    const preset = "version = 1\n\n[*]\nc = 1024\n";
    copyFileSync(TINY_MODEL, join(place.home, "models", "tiny-7b.gguf"));
    await place.begin(preset, ["tiny-7b"]);
    const shown = await place.type("/ai-server-ctx tiny-7b");
    expect(shown.everything).toContain("Context size: 1024 tokens (1k), set by c (global section)");

    const user = await place.type("/ai-server-ctx tiny-7b 2k", saying(true));
    expect(user.told[0]).toMatch(/^tiny-7b: the context size is now 2048 tokens \(2k\)\.\nIt is loaded,/);
    expect(user.questions[0]?.text).toContain(
      'The router has found "tiny-7b" itself; it gets a section of its own for this.',
    );
    expect(place.text).toBe(`${preset}\n[tiny-7b]\nc = 2048\n`);
    expect([await window("tiny-7b"), place.restarts]).toEqual([2048, 0]);

    const again = await place.type("/ai-server-ctx tiny-7b 3k", saying(true));
    expect(again.told[0]).toMatch(/^tiny-7b: the context size is now 3072 tokens/);
    const [stamp = ""] = place.backups.toSorted();
    await place.type(`/ai-server-rollback ${stamp}`, saying(true));
    expect([place.text, await window("tiny-7b")]).toEqual([preset, 1024]);
    expect(await states()).toEqual({ "tiny-7b": "loaded" });
  });

  test("a model that another preset names is not written into this one", async () => {
    place.text = "version = 1\n";
    const { told } = await place.type("/ai-server-ctx small 4k", saying(true));
    expect(told[0]).toMatch(/^small is not in the config .*AI_SERVER_PRESET_PATH is not the file/);
    expect(place.text).toBe("version = 1\n");
  });

  test("a router that cannot reload is restarted", async () => {
    place.knowsReload = false;
    const { told } = await place.type("/ai-server-ctx small 4k", saying(true));
    expect(told[0]).toMatch(/^small: the context size is now 4096 tokens/);
    expect(place.restarts).toBe(1);
    expect(await states()).toMatchObject({ small: "loaded", other: "loaded" });
    expect([await window("small"), await window("other")]).toEqual([4096, 1024]);
  });

  test("what cannot take effect is refused before anything is written", async () => {
    const bare = await place.type("/ai-server-ctx bare 4k", saying(true));
    expect(bare.notices).toEqual([
      { level: "error", text: expect.stringMatching(/^The section "bare" \(line \d+\) names no model/) },
    ]);
    place.unitRuns("-c", "4096");
    const small = await place.type("/ai-server-ctx small 4k", saying(true));
    expect(small.told[0]).toMatch(/^llama-server\.service starts the router with "-c", which overrides/);
    expect([bare.questions, small.questions]).toEqual([[], []]);
    expect([place.text, place.takeDeeds()]).toEqual([PRESET, []]);
  });

  test("file and unit are found, and shown as the router's own", async () => {
    const status = await place.type("/ai-server-status --ssh");
    expect(status.told[0]).toMatch(
      /\nthis machine: reachable\nllama-server\.service: active, running · restarted by your own command\n~\/\.llama-models\.ini: -rw\S+, 3 models\nWhat fits is not known: .*$/,
    );
    const preset = await place.type("/ai-server-preset other");
    expect(preset.told[0]).toBe(`~/.llama-models.ini, line 11\n\n[other]\nmodel = ${TINY_MODEL}\nc = 1024`);
    const setting = await place.type("/ai-server-ctx other");
    expect(setting.told[0]).toMatch(
      /^other\nContext size: 1024 tokens \(1k\), set by c \(section\) in ~\/\.llama/,
    );
    for (const { everything } of [status, preset, setting]) expect(everything).not.toContain("llama-swap");
  });

  test("a refresh reads it again after saying whom that unloads", async () => {
    place.text = `${LARGER}\n[new]\nmodel = ${TINY_MODEL}\n`;
    const print = await place.type("/ai-server-refresh", new User("print").readsOutput());
    expect(print.stdout).toMatch(/did not reread its preset: that may unload other, small,/);
    const no = await place.type("/ai-server-refresh", saying(false));
    expect(no.told[0]).toMatch(/^The router did not reread its preset\.\n/);
    expect([place.takeDeeds(), await states()]).toEqual([
      [],
      { small: "loaded", other: "loaded", bare: "unloaded" },
    ]);

    const user = await place.type("/ai-server-refresh", saying(true));
    expect(user.questions[0]?.text).toContain(
      "~/.llama-models.ini differs from what the router runs for small.\n",
    );
    expect(user.questions[0]?.text).toContain("Stays loaded if there is room: other.");
    expect(user.told[0]).toMatch(/^2 changes, 3 models now\nThe router reread its preset\.\n/);
    expect(await states()).toMatchObject({ small: "unloaded", other: "loaded", new: "unloaded" });
    // The next one cuts nothing off.
    place.text = `${place.text}; a comment\n`;
    expect((await place.type("/ai-server-refresh")).told[0]).toMatch(/^The router reread its preset\./);
    expect(await states()).toMatchObject({ other: "loaded" });
  });
});
