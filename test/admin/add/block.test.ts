import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, test } from "vitest";
import { type AddPlace, startAddPlace } from "../../support/add-place.ts";
import { CONFIG } from "../../support/command-place.ts";
import { choosing, saying } from "../../support/command-user.ts";
import { installFitTools } from "../../support/fit-tools.ts";

beforeAll(() => initTheme());

const WREN = "maker/Wren-GGUF:Q4_K_M";

const pathIn = ({ folder }: AddPlace, name = "Wren-Q4_K_M.gguf") => `${folder}/maker/Wren-GGUF/${name}`;

describe("the block of a new model", () => {
  test("is that of another with the new file and context; the model is loaded, checked, and in /model", async () => {
    const all = await startAddPlace();
    const { place, downloads, folder } = all;
    const user = choosing("Like small", "16k");
    await place.type(`/ai-server-add ${WREN}`, user);
    expect(user.choices.map(({ title }) => title)).toEqual([
      "Which command should start Wren-Q4_K_M?",
      "Which context size for Wren-Q4_K_M?",
    ]);
    expect(user.choices[0]?.offered).toEqual([
      "Like small",
      "Like org/Größe:Q4 x",
      "A plain llama-server command",
    ]);
    expect(user.choices[1]?.offered).toEqual([
      "40k · 40960 tokens · what it was trained for",
      "32k · 32768 tokens",
      "16k · 16384 tokens",
      "8k · 8192 tokens · copied",
    ]);
    expect(user.questions[1]?.title).toBe("Add Wren-Q4_K_M with a context of 16384 tokens (16k)?");
    expect(user.questions[1]?.text).toContain("+        --ctx-size 16384");
    expect(user.acts[1]).toEqual(["Keep as it is", "Add and restart"]);
    expect(place.text).toBe(`${CONFIG}  Wren-Q4_K_M:
    cmd: |
      llama-server --port \${PORT} --load 0.2 --no-reasoning
        -m ${pathIn(all)}
        --ctx-size 16384
`);
    const [stamp = ""] = place.backups;
    expect(readFileSync(`${place.path}.bak-${stamp}`, "utf8")).toBe(CONFIG);
    expect(user.told).toEqual([
      [
        "Wren-Q4_K_M is added; /model has it now.",
        "It is loaded, and a request may use 16384 tokens.",
        `The previous version is in ${place.path}.bak-${stamp}.`,
      ].join("\n"),
    ]);
    expect([place.restarts, await place.loaded()]).toEqual([1, ["Wren-Q4_K_M"]]);
    expect(place.aiServer.models.find(({ id }) => id === "Wren-Q4_K_M")?.contextWindow).toBe(16_384);
    expect(await downloads.read(folder)).toEqual([]);
  });

  test("is offered the largest context that fits, and the question says what that needs", async () => {
    const { place } = await startAddPlace(
      'models:\n  plain: { cmd: "llama-server --port ${PORT} -m /m.gguf -c 8192" }\n',
    );
    installFitTools(place, 3000);
    const user = choosing("Like plain", "28k");
    await place.type(`/ai-server-add ${WREN}`, user);
    expect(user.choices[1]?.offered).toEqual([
      "28k · 27904 tokens · max: the largest that fits",
      "16k · 16384 tokens",
      "8k · 8192 tokens · copied",
    ]);
    expect(user.questions[1]?.text).toMatch(
      /^Needs 1\.9 GiB on Vulkan0 \(weights 1\.0, context 0\.9, compute 0\.1\) of 24 GiB; 2\.9 GiB now free\.$/m,
    );
    expect(place.text).toContain("-c 27904");
  });

  test("is a plain command in a config without models, with all shards by the first", async () => {
    const all = await startAddPlace("models: {}\n");
    const user = choosing("32k");
    await all.place.type("/ai-server-add maker/Wren-GGUF:Q8_0", user);
    expect(all.place.text).toBe(`models:
  Wren-Q8_0:
    cmd: |
      llama-server
      --port \${PORT}
      --model ${pathIn(all, "Wren-Q8_0-00001-of-00002.gguf")}
      --ctx-size 32768
`);
    expect(all.names()).toEqual([
      "maker/Wren-GGUF/Wren-Q8_0-00001-of-00002.gguf",
      "maker/Wren-GGUF/Wren-Q8_0-00002-of-00002.gguf",
    ]);
    expect(user.told[0]).toContain("Wren-Q8_0 is added; /model has it now.");
  });

  test.each([
    ["an empty file", ""],
    ["a comment alone", "# my models\n"],
    ["a list without models", "healthCheckTimeout: 60\nmodels:\n"],
  ])("is the first one in %s", async (_what, text) => {
    const { place } = await startAddPlace(text);
    const user = choosing("32k");
    await place.type(`/ai-server-add ${WREN}`, user);
    expect(user.told).toEqual([expect.stringContaining("Wren-Q4_K_M is added; /model has it now.")]);
    expect(place.text.startsWith(text)).toBe(true);
    expect(await place.loaded()).toEqual(["Wren-Q4_K_M"]);
  });

  test("names the projector that was chosen", async () => {
    const { place, folder } = await startAddPlace("models: {}\n");
    await place.type("/ai-server-add maker/Kestrel-VL-GGUF", choosing("mmproj", "As llama-server"));
    expect(place.text).toContain(`--model ${folder}/maker/Kestrel-VL-GGUF/Kestrel-Q4_K_M.gguf\n`);
    expect(place.text).toContain(`--mmproj ${folder}/maker/Kestrel-VL-GGUF/mmproj-F16.gguf\n`);
    const other = await startAddPlace("models: {}\n");
    await other.place.type("/ai-server-add maker/Kestrel-VL-GGUF", choosing("None", "As llama-server"));
    expect(other.place.text).not.toContain("mmproj");
    expect(other.names()).toEqual(["maker/Kestrel-VL-GGUF/Kestrel-Q4_K_M.gguf"]);
  });

  test("gets a name of its own where the config has a model of that name with another file", async () => {
    const { place } = await startAddPlace(CONFIG.replace("  small: ", "  Wren-Q4_K_M: "));
    const user = choosing("Like Wren", "8k");
    await place.type(`/ai-server-add ${WREN}`, user);
    expect(user.told[0]).toContain("Wren-Q4_K_M-2 is added; /model has it now.");
    expect(place.text).toContain("  Wren-Q4_K_M-2:\n");
  });

  test("cannot be like a model that its environment names: the others are offered again", async () => {
    const named = `  named:\n    cmd: llama-server --port \${PORT}\n    env: ["LLAMA_ARG_MODEL=/models/n.gguf"]\n`;
    const { place } = await startAddPlace(CONFIG + named);
    const user = saying(true);
    user.selects = (offered) =>
      ["Like named", "Like small", "8k"].flatMap(
        (words) => offered.find((line) => line.startsWith(words)) ?? [],
      )[0];
    await place.type(`/ai-server-add ${WREN}`, user);
    expect(user.choices.slice(0, 2).map(({ offered }) => offered)).toEqual([
      ["Like small", "Like org/Größe:Q4 x", "Like named", "A plain llama-server command"],
      ["Like small", "Like org/Größe:Q4 x", "A plain llama-server command"],
    ]);
    expect(user.told[0]).toContain("Wren-Q4_K_M is added");
  });

  test("goes into the file of the model that it is like", async () => {
    const all = await startAddPlace();
    const { place } = all;
    const folder = join(place.folder, "conf.d");
    mkdirSync(folder);
    renameSync(place.path, join(folder, "a.yaml"));
    writeFileSync(join(folder, "b.yaml"), 'models:\n  other: { cmd: "llama-server --port 1 -m /o.gguf" }\n');
    place.set({ AI_SERVER_PRESET_PATH: folder });
    const user = choosing("Like other");
    await place.type(`/ai-server-add ${WREN}`, user);
    expect(user.choices[0]?.offered).toContain("Like other");
    expect(readFileSync(join(folder, "a.yaml"), "utf8")).toBe(CONFIG);
  });
});

describe("the config stays as it was", () => {
  test.each([
    ["a command", []],
    ["a context", ["Like small"]],
  ] as const)("where the user chooses not %s", async (_what, wanted) => {
    const { place, names } = await startAddPlace();
    const user = choosing(...wanted);
    await place.type(`/ai-server-add ${WREN}`, user);
    expect(user.told).toEqual([
      `The config was not changed. The files stay on the server; /ai-server-add ${WREN} goes on from there.`,
    ]);
    expect([place.text, names()]).toEqual([CONFIG, ["maker/Wren-GGUF/Wren-Q4_K_M.gguf"]]);
  });

  test("where the user says no; the same command goes on from there, and then finds it in the config", async () => {
    const { place, hub } = await startAddPlace();
    const user = choosing("Like small", "8k");
    user.confirms = ({ title }) => title.startsWith("Download");
    await place.type(`/ai-server-add ${WREN}`, user);
    expect(user.told[0]).toContain("The config was not changed.");
    expect(place.text).toBe(CONFIG);
    const { length } = hub.requests;
    const again = choosing("Like small", "8k");
    await place.type(`/ai-server-add ${WREN}`, again);
    expect(again.questions.map(({ title }) => title)).toEqual([
      "Add Wren-Q4_K_M with a context of 8192 tokens (8k)?",
    ]);
    expect(hub.requests.length).toBe(length);
    const third = choosing();
    await place.type(`/ai-server-add ${WREN}`, third);
    expect(third.questions).toEqual([]);
    expect(third.told[0]).toContain(`${WREN} is in the config already: Wren-Q4_K_M.`);
  });

  test("where the model cannot be loaded: it is rolled back, and the files stay", async () => {
    const failing = CONFIG.replace("--load 0.2 --no-reasoning", "--load 9 --fail-after 1 --no-reasoning");
    const { place, names, downloads, folder } = await startAddPlace(failing);
    const user = choosing("Like small", "8k");
    await place.type(`/ai-server-add ${WREN}`, user);
    expect(user.notices[0]?.level).toBe("error");
    expect(user.told[0]).toContain("The model could not be loaded with the new config.");
    expect(user.told[0]).toContain("The previous config is restored, and the server answers with it.");
    expect([place.text, names()]).toEqual([failing, ["maker/Wren-GGUF/Wren-Q4_K_M.gguf"]]);
    expect((await downloads.read(folder)).map(({ stage }) => stage)).toEqual(["complete"]);
  });

  test("where another pi has added a model meanwhile, and the next try adds this one too", async () => {
    const { place } = await startAddPlace();
    const other = `${CONFIG}  theirs: { cmd: "llama-server --port \${PORT} --load 0.1 -m /t.gguf" }\n`;
    const user = choosing("Like small", "8k");
    user.confirms = ({ title }) => {
      if (title.startsWith("Add")) place.text = other;
      return true;
    };
    await place.type(`/ai-server-add ${WREN}`, user);
    expect(user.told[0]).toContain("The other edit:");
    expect(place.text).toBe(other);
    await place.type(`/ai-server-add ${WREN}`, choosing("Like small", "8k"));
    expect(place.text.startsWith(other)).toBe(true);
    expect(place.text).toContain("  Wren-Q4_K_M:\n");
  });
});
