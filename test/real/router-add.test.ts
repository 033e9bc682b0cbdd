import { initTheme } from "@earendil-works/pi-coding-agent";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { Hub } from "../../sim/hub.ts";
import { choosing, saying } from "../support/command-user.ts";
import { llamaServerProblem, prepareLlamaServer } from "../support/llama-server.ts";
import { eventually } from "../support/processes.ts";
import { realSuite } from "../support/programs.ts";
import { placeWithHub, type RouterPlace, SMALL_PRESET } from "../support/router-place.ts";

const TINY = "maker/Tiny-GGUF:Q4_K_M";

realSuite(llamaServerProblem(), "a model that is added to a real router", () => {
  let hub: Hub;
  let place: RouterPlace;

  beforeAll(async () => {
    initTheme();
    await prepareLlamaServer();
  });

  beforeEach(async () => {
    ({ place, hub } = await placeWithHub("Tiny-Q4_K_M.gguf", "Tiny-Q8_0.gguf"));
  });

  afterEach(async () => {
    await place.stop();
    await hub.close();
  });

  test("with a context is downloaded, written into the preset, loaded and checked", async () => {
    const user = choosing("4.1k", "4k", "8k", "Q4_K_M");
    await place.type("/ai-server-add maker/Tiny-GGUF", user);
    expect(user.questions.map(({ title }) => title)).toEqual([
      `Download ${TINY}?`,
      `Add ${TINY} with a context of 8192 tokens (8k)?`,
    ]);
    expect(place.text).toBe(`${SMALL_PRESET}\n[${TINY}]\nctx-size = 8192\n`);
    expect(user.told.at(-1)).toContain(`${TINY} is added; /model has it now.`);
    expect(user.told.at(-1)).toContain("It is loaded, and a request may use");
    expect(await place.states()).toMatchObject({ [TINY]: "loaded" });
    expect(place.restarts).toBe(0);
  });

  test("as it is changes no preset, and is loaded where the user wants it", async () => {
    const user = choosing("As llama-server");
    user.confirms = ({ title }) => title.startsWith("Download");
    await place.type(`/ai-server-add ${TINY}`, user);
    expect(user.told.at(-1)).toBe(`${TINY} is downloaded; /model has it now, and a turn loads it.`);
    expect([place.text, await place.states()]).toMatchObject([SMALL_PRESET, { [TINY]: "unloaded" }]);
    const { length: asked } = hub.requests;
    const again = choosing("As llama-server");
    await place.type("/ai-server-add maker/Tiny-GGUF:q4_k_m", again);
    expect(again.questions.map(({ title }) => title)).toEqual([`Load ${TINY} now?`]);
    expect(again.told.at(-1)).toContain(`${TINY} is loaded; it took`);
    // Nothing is asked of the hub for what the router has.
    expect(hub.requests.length).toBe(asked);
    expect(await place.states()).toMatchObject({ [TINY]: "loaded" });
  });

  test("whose section the preset has already is loaded with it", async () => {
    place.text = `${SMALL_PRESET}\n[${TINY}]\nctx-size = 1024\n`;
    const user = choosing();
    await place.type(`/ai-server-add ${TINY}`, user);
    expect(user.questions.map(({ title }) => title)).toEqual([`Download ${TINY}?`, `Load ${TINY} now?`]);
    expect(user.choices).toEqual([]);
  });

  test("that another section downloads is refused before the question", async () => {
    place.text = `${SMALL_PRESET}\n[mine]\nhf-repo = ${TINY}\n`;
    const user = choosing();
    await place.type(`/ai-server-add ${TINY}`, user);
    expect(user.questions).toEqual([]);
    expect(user.told[0]).toContain(`${TINY} is in the config already: mine. Nothing was downloaded;`);
  });

  test("is shown while it arrives, left on Escape, found again, and stopped", async () => {
    hub.setPace(50_000);
    const leaving = saying(false, "tui");
    leaving.confirms = ({ title }) => title.startsWith("Download");
    const first = place.type(`/ai-server-add ${TINY}`, leaving);
    await leaving.shows(`Downloading ${TINY}: `);
    leaving.escape();
    await first;
    expect(leaving.acts.at(-1)).toEqual(["Leave it running", "Stop it"]);
    expect(leaving.told.at(-1)).toBe(
      `The router goes on with the download. /ai-server-add ${TINY} shows it again.`,
    );
    expect(await place.states()).toMatchObject({ [TINY]: "downloading" });
    const stopping = saying(true, "tui");
    const second = place.type(`/ai-server-add ${TINY}`, stopping);
    await stopping.shows(`Downloading ${TINY}`);
    stopping.escape();
    await second;
    expect(stopping.questions.map(({ title }) => title)).toEqual([`Stop the download of ${TINY}?`]);
    expect(stopping.told.at(-1)).toBe(`The download of ${TINY} is stopped.`);
    expect(Object.keys(await place.states())).not.toContain(TINY);
  });

  test("and stalls is stopped when its next bytes arrive, which pi says and does not wait for", async () => {
    const held = hub.break("Tiny-Q4_K_M.gguf", { holdAfter: 300_000 });
    const user = saying(true, "tui");
    const typed = place.type(`/ai-server-add ${TINY}`, user);
    await user.shows(`Downloading ${TINY}: `);
    await held.happened;
    user.escape();
    await user.shows(`Stopping the download of ${TINY}`);
    await typed;
    expect(user.told.at(-1)).toContain(
      `The router has not stopped the download of ${TINY} yet: it stops a stalled one when the next bytes arrive`,
    );
    expect(await place.states()).toMatchObject({ [TINY]: "downloading" });
    held.end();
    await eventually("it has stopped", async () => !(TINY in (await place.states())) || undefined);
  }, 20_000);

  test("and that does not exist ends in a sentence", async () => {
    const user = choosing();
    await place.type("/ai-server-add maker/Tiny-GGUF:Q2_K", user);
    await place.type("/ai-server-add maker/None", user);
    expect(user.told[0]).toBe('maker/Tiny-GGUF has no "Q2_K". It has Q4_K_M, Q8_0.');
    expect(user.told[1]).toContain("has no repository maker/None");
    expect(user.questions).toEqual([]);
  });
});
