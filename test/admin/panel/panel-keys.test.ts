import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, test } from "vitest";
import { type Place, startPlace } from "../../support/command-place.ts";
import { Sitter } from "../../support/panel-sitter.ts";

beforeAll(() => initTheme());

const ESCAPE = "\u001b";
const DOWN = "\u001b[B";

const CMD = `llama-server --port \${PORT} --no-reasoning --load 0.2 -c 4096`;
const MODELS = `
models:
  one: { cmd: "${CMD}" }
  two: { cmd: "${CMD}" }
  three: { cmd: "${CMD}" }
`;

interface Opened {
  place: Place;
  sitter: Sitter;
  over: Promise<void>;
}

async function opened(argument = "", prepare?: (place: Place, sitter: Sitter) => unknown): Promise<Opened> {
  const place = await startPlace(MODELS);
  const sitter = new Sitter(place);
  await prepare?.(place, sitter);
  const over = sitter.open(argument);
  return { place, sitter, over };
}

describe("the panel opens", () => {
  test.each([
    ["at the first model", "", undefined, undefined, "one"],
    ["at the first loaded one", "", "two", undefined, "two"],
    ["at pi's own before a loaded one", "", "two", "three", "three"],
    ["at the one of the command before all", "one", "two", "three", "one"],
    ["at the first loaded one if pi uses a model of another name", "", "two", "gone", "two"],
  ])("%s", async (_, argument, loaded, inPi, selected) => {
    const { sitter, over } = await opened(argument, async (place, user) => {
      if (loaded !== undefined) await place.load(loaded);
      if (inPi !== undefined) user.selected.push(inPi);
    });
    await sitter.sees(new RegExp(`→ ${selected}\\b`));
    sitter.press("q");
    await over;
  });
});

test("loaded models move to the top, and the selected one stays selected", async () => {
  const { place, sitter, over } = await opened();
  await sitter.sees(/→ one +unloaded[\s\S]*three[\s\S]*two/);
  await place.load("two");
  await sitter.sees(/Model 2\/3[\s\S]*two +ready[\s\S]*→ one +unloaded[\s\S]*three +unloaded/);
  sitter.press(DOWN);
  await place.load("three");
  await sitter.sees(/Model 1\/3[\s\S]*→ three +ready[\s\S]*one +unloaded[\s\S]*two +unloaded/);
  sitter.press(ESCAPE);
  await over;
});

describe("capitals", () => {
  test("R restarts after the question of the command", async () => {
    const { place, sitter, over } = await opened();
    await sitter.sees(/→ one/);
    sitter.press("R");
    await sitter.sees(/Nothing was restarted\./);
    expect([sitter.asked, place.restarts]).toEqual([["Restart llama-swap.service?"], 0]);
    sitter.answers = () => "Restart";
    sitter.press("R");
    await sitter.sees(/The server was restarted/);
    expect(place.restarts).toBe(1);
    sitter.press("q");
    await over;
  });

  test("U unloads every model after the question of the command", async () => {
    const { place, sitter, over } = await opened("", (started) => started.load("two"));
    await sitter.sees(/→ two +ready/);
    sitter.press("U");
    await sitter.sees(/Nothing was unloaded\./);
    sitter.answers = () => "Unload them now";
    sitter.press("U");
    await sitter.sees(/Unloaded: two\./);
    expect(sitter.asked).toEqual(["Unload every model?", "Unload every model?"]);
    expect(await place.loaded()).toEqual([]);
    sitter.press("q");
    await over;
  });

  test("? shows all keys, and comes back", async () => {
    const { sitter, over } = await opened();
    await sitter.sees(/→ one/);
    sitter.press("?");
    await sitter.sees(/^Keys of the panel\n[\s\S]*^R +restart the server$/m);
    sitter.press("q");
    await sitter.sees(/→ one/);
    sitter.press("q");
    await over;
  });
});

describe("a server that is down", () => {
  async function down(prepare?: (place: Place) => unknown): Promise<Opened> {
    const found = await opened("", async (place) => {
      await place.close();
      await prepare?.(place);
    });
    await found.sitter.sees(/TCP FAILS[\s\S]*^r {2}try again now$/m);
    return found;
  }

  test("can be tried again", async () => {
    const { sitter, over } = await down();
    sitter.press("r");
    await sitter.sees(/TCP FAILS[\s\S]*Tried again; it still fails\./);
    sitter.press("q");
    await over;
    expect(sitter.user.notices).toEqual([]);
  });

  test("can be restarted, and the models come back", async () => {
    const { place, sitter, over } = await down();
    await sitter.sees(/^R {2}restart over ssh; asks first$/m);
    sitter.answers = () => "Restart";
    sitter.press("R");
    await sitter.sees(/→ one +unloaded/);
    expect(place.restarts).toBe(1);
    expect(sitter.screen).not.toMatch(/FAILS|try again now/);
    sitter.press("q");
    await over;
  });

  test("shows the journal of its unit", async () => {
    const { sitter, over } = await down((place) => {
      place.journal = "llama-swap: cannot bind\n";
    });
    sitter.press("l");
    await sitter.sees(/^Journal of llama-swap\.service\n[\s\S]*cannot bind/);
    sitter.press("q");
    await sitter.sees(/try again now/);
    sitter.press("q");
    await over;
  });

  test("while the panel is open keeps the list, with the fault above it", async () => {
    const { place, sitter, over } = await opened();
    await sitter.sees(/→ one +unloaded/);
    await place.close();
    await sitter.sees(/TCP FAILS[\s\S]*→ one[\s\S]*r retry · R restart · l logs/);
    sitter.press(ESCAPE);
    await over;
  });
});
