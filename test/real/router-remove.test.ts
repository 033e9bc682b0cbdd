import { copyFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { initTheme } from "@earendil-works/pi-coding-agent";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { Hub } from "../../sim/hub.ts";
import { saying, User } from "../support/command-user.ts";
import { llamaServerProblem, prepareLlamaServer, TINY_MODEL } from "../support/llama-server.ts";
import { realSuite } from "../support/programs.ts";
import { placeWithHub, type RouterPlace, SMALL_PRESET } from "../support/router-place.ts";

const CACHED = "maker/Tiny-GGUF:Q4_K_M";

realSuite(llamaServerProblem(), "a model that is removed from a real router", () => {
  let hub: Hub;
  let place: RouterPlace;

  beforeAll(async () => {
    initTheme();
    await prepareLlamaServer();
  });

  beforeEach(async () => {
    ({ place, hub } = await placeWithHub("Tiny-Q4_K_M.gguf"));
  });

  afterEach(async () => {
    await place.stop();
    await hub.close();
  });

  const titles = ({ questions }: User) => questions.map(({ title }) => title);

  test("its section goes without a restart, the others stay loaded, and its file is deleted", async () => {
    const own = join(place.home, "own model.gguf");
    copyFileSync(TINY_MODEL, own);
    await place.begin(`${SMALL_PRESET}\n; mine\n[mine]\nmodel = ${own}\n`, ["small", "mine"]);
    const user = await place.type("/ai-server-remove mine", saying(true));
    expect(titles(user)).toEqual(["Remove mine from the config?", "Delete the files of mine too?"]);
    expect(user.questions[0]?.text).toContain("Will be unloaded: mine.\n");
    expect(user.questions[0]?.text).toContain("Stays loaded if there is room: small.\n");
    expect(user.questions[1]?.text).toContain(`${own} (`);
    expect(user.told[0]).toMatch(/^mine is no longer in the config\.\nThe server answers with it\.\n/);
    expect([place.text, await place.states(), existsSync(own)]).toEqual([
      SMALL_PRESET,
      { small: "loaded" },
      false,
    ]);
    expect([place.takeDeeds(), place.restarts]).toEqual([["GET /v1/models?reload=1"], 0]);
  });

  test("a file that another section names is not asked about", async () => {
    await place.begin(`${SMALL_PRESET}\n[again]\nmodel = ${TINY_MODEL}\n`, []);
    const user = await place.type("/ai-server-remove again", saying(true));
    expect(titles(user)).toEqual(["Remove again from the config?"]);
    expect([place.text, existsSync(TINY_MODEL), await place.states()]).toEqual([
      SMALL_PRESET,
      true,
      { small: "unloaded" },
    ]);
  });

  test("one that the router finds itself loses its section and stays", async () => {
    const file = join(place.home, "models", "found.gguf");
    copyFileSync(TINY_MODEL, file);
    await place.begin(SMALL_PRESET, []);
    const none = await place.type("/ai-server-remove found", new User("rpc"));
    expect(none.told[0]).toMatch(
      /\.llama-models\.ini has no section for found: the router finds its file itself\. Delete that file on the server/,
    );
    await place.begin(`${SMALL_PRESET}\n[found]\nctx-size = 1024\n`, ["found"]);
    const user = await place.type("/ai-server-remove found", saying(true));
    expect(user.told[0]).toContain("The router still offers found: it finds the model's file itself.");
    expect([place.text, await place.states()]).toEqual([
      SMALL_PRESET,
      { small: "unloaded", found: "unloaded" },
    ]);
    expect([place.restarts, existsSync(file)]).toEqual([0, true]);
  });

  test("one that the router has downloaded is deleted by it, with its section or without", async () => {
    const adding = saying(true);
    adding.selects = (offered) => offered.find((line) => line.startsWith("8k"));
    await place.type(`/ai-server-add ${CACHED}`, adding);
    expect(place.text).toContain(`[${CACHED}]`);
    const keeping = new User("rpc");
    keeping.confirms = ({ title }) => title.startsWith("Remove ");
    await place.type(`/ai-server-remove ${CACHED}`, keeping);
    expect(titles(keeping)).toEqual([
      `Remove ${CACHED} from the config?`,
      `Delete ${CACHED} from the router's cache?`,
    ]);
    expect([place.text, await place.states()]).toMatchObject([SMALL_PRESET, { [CACHED]: "unloaded" }]);

    const user = await place.type(`/ai-server-remove ${CACHED}`, saying(true));
    expect(titles(user)).toEqual([`Delete ${CACHED} from the router's cache?`]);
    expect(user.told.at(-1)).toBe(`${CACHED} is deleted.`);
    expect(await place.states()).toEqual({ small: "unloaded" });
  });

  test("a router that cannot reload is restarted", async () => {
    await place.begin(`${SMALL_PRESET}\n[other]\nmodel = ${TINY_MODEL}\n`, ["small"]);
    place.knowsReload = false;
    const user = await place.type("/ai-server-remove other", saying(true));
    expect(user.told[0]).toMatch(/^other is no longer in the config\./);
    expect([place.restarts, place.text, await place.states()]).toEqual([
      1,
      SMALL_PRESET,
      { small: "loaded" },
    ]);
  });
});
