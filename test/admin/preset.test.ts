import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, test } from "vitest";
import { CONFIG, ODD, startPlace } from "../support/command-place.ts";
import { User } from "../support/command-user.ts";

beforeAll(() => initTheme());

const SECRETS = `apiKeys:
  - hunter1
macros:
  key: hunter2
models:
  m:
    env:
      - "HF_TOKEN=hunter3"
    cmd: |
      llama-server --port \${PORT}
        --api-key hunter4
  n:
    cmd: llama-server --port \${PORT} --api-key \${key}
`;

describe("/ai-server-preset", () => {
  test("shows the whole file, under its path", async () => {
    const place = await startPlace();
    expect((await place.type("/ai-server-preset")).notices).toEqual([
      { level: "info", text: `${place.path}\n\n${CONFIG}` },
    ]);
    // The kind of server decides where its config is.
    expect(place.sim.requests.map(({ path }) => path)).toEqual(["/running"]);
  });

  test.each(["print", "json"] as const)("in %s mode writes it", async (mode) => {
    const place = await startPlace();
    const user = await place.type("/ai-server-preset", new User(mode).readsOutput());
    expect([user.answered, user.failed]).toEqual([`${CONFIG}\n`, ""]);
    if (mode === "json") expect(user.objects).toMatchObject([{ title: place.path }]);
  });

  test.each([ODD, `"${ODD}"`])("with the id %s shows that model's part, and its line", async (typed) => {
    const place = await startPlace();
    const part = CONFIG.slice(CONFIG.indexOf(`  "${ODD}"`)).trimEnd();
    expect((await place.type(`/ai-server-preset ${typed}`)).told).toEqual([
      `${place.path}, line 9\n\n${part}`,
    ]);
  });

  test("with an unknown id names the nearest", async () => {
    expect((await (await startPlace()).type("/ai-server-preset smol")).notices).toEqual([
      { level: "error", text: 'No model "smol". Did you mean "small"?' },
    ]);
  });

  test("hides every secret, of the file and of one model", async () => {
    const place = await startPlace();
    place.text = SECRETS;
    for (const line of ["", " m", " n"]) {
      const user = await place.type(`/ai-server-preset${line}`);
      expect(user.told[0]).toContain("llama-server --port");
      expect(user.everything).not.toContain("hunter");
    }
    const screen = new User("tui");
    const over = place.type("/ai-server-preset m", screen);
    await expect.poll(() => screen.screen).toContain("--api-key ••••");
    expect(screen.screen).not.toContain("hunter");
    screen.escape();
    await over;
  });

  test("shows a file that is not understood, but no model of it", async () => {
    const place = await startPlace();
    place.text = "models: [}\napiKeys: [hunter1]\n";
    const whole = await place.type("/ai-server-preset");
    expect(whole.told[0]).toMatch(/\n\nmodels: \[\}\napiKeys: \[•+\]\n$/);
    expect((await place.type("/ai-server-preset m")).notices).toEqual([
      { level: "error", text: expect.stringMatching(/line 1/) },
    ]);
  });

  test("shows the files of a folder one after the other, and a model out of the one that has it", async () => {
    const place = await startPlace();
    const folder = join(place.folder, "conf.d");
    mkdirSync(folder);
    writeFileSync(join(folder, "a.yaml"), "models:\n  other:\n    cmd: llama-server\n");
    writeFileSync(join(folder, "b.yaml"), CONFIG);
    place.set({ AI_SERVER_PRESET_PATH: folder });
    expect((await place.type("/ai-server-preset")).told.map((text) => text.split("\n")[0])).toEqual([
      `${folder}/a.yaml`,
      `${folder}/b.yaml`,
    ]);
    expect((await place.type("/ai-server-preset small")).told[0]).toMatch(`${folder}/b.yaml, line 4\n`);
  });

  test("of a router that is down shows a section, of llama-swap says that the file is none of its", async () => {
    const place = await startPlace();
    const path = join(place.folder, "models.ini");
    writeFileSync(
      path,
      "[*]\nn-gpu-layers = 99\n\n[one]\nctx-size = 4096\napi-key = hunter1\n\n[two]\nctx-size = 1\n",
    );
    place.set({ AI_SERVER_PRESET_PATH: path });
    expect((await place.type("/ai-server-preset one")).told[0]).toMatch(
      /^AI_SERVER_PRESET_PATH is .*models\.ini, a preset of llama\.cpp's router, but the server is llama-swap\./,
    );
    await place.close();
    place.set({ AI_SERVER_SERVICE_UNIT: "router.service" });
    const user = await place.type("/ai-server-preset one");
    expect(user.told[0]).toMatch(/models\.ini, line 4\n\n\[one\]\nctx-size = 4096\napi-key = •+$/);
  });

  test("that is missing says where it was looked for", async () => {
    const place = await startPlace();
    rmSync(place.path);
    expect((await place.type("/ai-server-preset")).notices).toEqual([
      {
        level: "error",
        text: `${place.path} does not exist on this machine. Set AI_SERVER_PRESET_PATH to the server's config.`,
      },
    ]);
  });
});
