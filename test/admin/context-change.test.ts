import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { CONFIG, ODD, startPlace } from "../support/command-place.ts";
import { saying, User } from "../support/command-user.ts";

beforeAll(() => initTheme());

const CHANGED = CONFIG.replace("--ctx-size 8192", "--ctx-size 4096");

const CMD = `llama-server --port \${PORT} --no-reasoning`;

describe("a confirmed change", () => {
  test("is written, restarted, loaded, read, and given to pi", async () => {
    const place = await startPlace();
    const user = await place.type("/ai-server-ctx small 4k", saying(true));
    expect(place.text).toBe(CHANGED);
    const [stamp = ""] = place.backups;
    expect(readFileSync(`${place.path}.bak-${stamp}`, "utf8")).toBe(CONFIG);
    expect(user.notices).toEqual([
      {
        level: "info",
        text: [
          "small: the context size is now 4096 tokens (4k).",
          "It is loaded, and a request may use 4096 tokens.",
          `The previous version is in ${place.path}.bak-${stamp}.`,
        ].join("\n"),
      },
    ]);
    expect([place.restarts, await place.loaded(), place.backups.length]).toEqual([1, ["small"], 1]);
    const served = place.aiServer.models.find(({ id }) => id === "small");
    expect([served?.contextWindow, served?.aiServer.context.source]).toEqual([4096, "live"]);
  });

  test.each([[`${ODD} 32768`], [`"${ODD}" 32K`], ["groesse 32k"]])(
    "finds the model by %s, and loads again what was loaded",
    async (typed) => {
      const place = await startPlace();
      await place.load("small");
      const user = await place.type(`/ai-server-ctx ${typed}`, saying(true));
      expect(place.text).toBe(CONFIG.replace("-c 16384", "-c 32768"));
      expect(user.told[0]).toMatch(new RegExp(`^${ODD}: the context size is now 32768 tokens \\(32k\\)\\.`));
      expect(user.told[0]).toContain("a request may use 16384 tokens");
      expect([place.restarts, await place.loaded()]).toEqual([1, ["small"]]);
    },
  );

  test("that gives less for a reason says which, and stays", async () => {
    const place = await startPlace(`models:\n  m: { cmd: "${CMD} --n-ctx-train 8192 -c 4096" }\n`);
    const { notices } = await place.type("/ai-server-ctx m 16384", saying(true));
    expect(notices[0]?.level).toBe("warning");
    expect(notices[0]?.text).toContain(
      "a request may use 8192 tokens instead of 16384: the model was trained for 8192 tokens and gets no more.",
    );
    expect(place.text).toContain("-c 16384");
  });

  test("where llama-swap reloads by itself restarts nothing", async () => {
    const place = await startPlace();
    place.unitRuns("llama-swap -config config.yaml -watch-config");
    await place.load("small");
    const user = saying(true);
    place.reloadsWhenChanged();
    await place.type("/ai-server-ctx small 4096", user);
    expect(user.questions[0]?.text).toContain(
      "llama-swap reloads the config by itself, which unloads every model.",
    );
    expect(user.told[0]).toContain("It is loaded, and a request may use 4096 tokens.");
    expect([place.restarts, place.text]).toEqual([0, CHANGED]);
  });

  test("where a container never sees the new file says beforehand that it restarts, and does", async () => {
    const place = await startPlace();
    const show = readFileSync(new URL("../fixtures/docker-watch.show", import.meta.url), "utf8");
    place.unitShows(show);
    await place.load("small");
    const user = saying(true);
    await place.type("/ai-server-ctx small 4096", user);
    expect(user.questions[0]?.text).toContain(
      "This restarts llama-swap.service, which unloads every model. Its container mounts the config as a single file, so -watch-config never sees the new one.",
    );
    expect(user.told[0]).toContain("It is loaded, and a request may use 4096 tokens.");
    expect([place.restarts, place.text]).toEqual([1, CHANGED]);
    expect((await place.type("/ai-server-status --ssh")).told[0]).toContain("never sees a new config");
  });

  test("in a folder goes to the file that has the model", async () => {
    const place = await startPlace();
    const folder = join(place.folder, "conf.d");
    mkdirSync(folder);
    writeFileSync(join(folder, "a.yaml"), `models:\n  other:\n    cmd: llama-server -c 1024\n`);
    writeFileSync(join(folder, "b.yml"), CONFIG);
    place.set({ AI_SERVER_PRESET_PATH: `${folder}/` });
    place.served = join(folder, "b.yml");
    const user = await place.type("/ai-server-ctx small 4k", saying(true));
    expect(user.questions[0]?.text).toContain(`In ${folder}/b.yml:\n`);
    expect(user.told[0]).toContain(`The previous version is in ${folder}/b.yml.bak-`);
    expect(readFileSync(join(folder, "b.yml"), "utf8")).toBe(CHANGED);
    expect(readdirSync(folder).sort()).toEqual(["a.yaml", "b.yml", expect.stringMatching(/^b\.yml\.bak-/)]);
    expect((await place.type("/ai-server-ctx other")).told[0]).toContain(`in ${folder}/a.yaml, line 3.`);
  });

  test("shows its diff and its steps in the terminal, and continues without a key press", async () => {
    const place = await startPlace(CONFIG.replaceAll("--load 0.2", "--load 20"));
    place.speed = 20;
    const user = saying(true, "tui");
    const changed = place.type("/ai-server-ctx small 4k", user);
    await user.shows("Loading small");
    await changed;
    expect(user.questions[0]?.text).toContain("\n-        --ctx-size 8192\n+        --ctx-size 4096\n");
    expect(user.told[0]).toContain("a request may use 4096 tokens");
  });
});

describe("a change that is not confirmed", () => {
  test.each(["rpc", "tui"] as const)("changes nothing in %s mode", async (mode) => {
    const place = await startPlace();
    await place.load("small");
    const user = await place.type("/ai-server-ctx small 4096", saying(false, mode));
    expect(user.notices).toEqual([{ level: "info", text: "Nothing was changed." }]);
    expect([place.text, place.backups, place.restarts, await place.loaded()]).toEqual([
      CONFIG,
      [],
      0,
      ["small"],
    ]);
  });

  test.each(["print", "json"] as const)("is refused in %s mode before anything is done", async (mode) => {
    const place = await startPlace();
    await place.load("small");
    // Not even the unit is asked.
    place.tool("systemctl", "echo LoadState=not-found");
    const { answered, failed } = await place.type("/ai-server-ctx small 4096", new User(mode).readsOutput());
    expect([answered, failed]).toEqual([
      "",
      `This command asks before it changes anything, and ${mode} mode cannot ask. Nothing was changed; run it in pi's terminal or over RPC.\n`,
    ]);
    expect([place.text, place.backups, place.restarts, await place.loaded()]).toEqual([
      CONFIG,
      [],
      0,
      ["small"],
    ]);
  });

  test("to what is there already is not even asked about", async () => {
    const place = await startPlace();
    const user = await place.type("/ai-server-ctx small 8k");
    expect(user.told).toEqual(["Nothing to change: the config already says so."]);
    expect([place.text, place.backups, place.restarts]).toEqual([CONFIG, [], 0]);
  });

  test("of a unit that cannot be restarted is refused, and says so", async () => {
    const place = await startPlace();
    place.tool("systemctl", "echo LoadState=not-found");
    const user = await place.type("/ai-server-ctx small 4k");
    expect(user.notices).toEqual([
      {
        level: "error",
        text: expect.stringMatching(/^The unit llama-swap.service does not exist.*Nothing was changed\.$/),
      },
    ]);
    expect([place.text, place.backups]).toEqual([CONFIG, []]);
  });
});

describe("a change that fails", () => {
  const FAILING = CONFIG.replace("-m /models/small.gguf", "-m https://u:hunter2@hub/x.gguf?token=hunter3");
  /** The model does not load with it. */
  const tooLarge = (text: string): string => text.replace("--load 0.2", "--load 60 --fail-after 1");

  test("to load is rolled back, reloads the former models, and gives the server's reason without secrets", async () => {
    const place = await startPlace(FAILING);
    await place.load(ODD);
    const user = saying(true);
    place.spoils = (text) => (text === FAILING ? undefined : tooLarge(text));
    await place.type("/ai-server-ctx small 4k", user);
    expect(user.notices).toHaveLength(1);
    expect(user.notices[0]?.level).toBe("error");
    expect(user.told[0]).toMatch(
      /^The model could not be loaded with the new config\. small could not be loaded/,
    );
    expect(user.told[0]).toContain("The previous config is restored, and the server answers with it.");
    expect(user.told[0]).toContain("cudaMalloc failed: out of memory");
    expect(user.everything).not.toContain("hunter");
    expect([place.text, place.restarts, await place.loaded()]).toEqual([FAILING, 2, [ODD]]);
    expect(place.backups).not.toEqual([]);
  });

  test("to come back goes back, with the journal's words", async () => {
    const place = await startPlace(CONFIG, { AI_SERVER_RESTART_TIMEOUT_MS: "1000" });
    place.spoils = (text) => (text === CONFIG ? undefined : "models: [}");
    const { notices } = await place.type("/ai-server-ctx small 4k", saying(true));
    expect(notices[0]?.text).toMatch(/^The server did not come back with the new config\. .* within 1 s\./);
    expect(notices[0]?.text).toMatch(/From the server's log:\nfailed to load config: yaml/);
    expect([place.text, place.restarts]).toEqual([CONFIG, 2]);
  });

  test("after another edit is refused, and that edit is shown", async () => {
    const place = await startPlace();
    const theirs = CONFIG.replace("/models/g.gguf", "/models/better.gguf --api-key hunter2");
    const user = new User("rpc");
    user.confirms = () => {
      place.text = theirs;
      return true;
    };
    await place.type("/ai-server-ctx small 4k", user);
    expect(user.notices[0]?.level).toBe("error");
    expect(user.told[0]).toMatch(
      /was changed by another program meanwhile\. Nothing was changed\.\nThe other edit:\n@@/,
    );
    expect(user.told[0]).toMatch(/\n-.*\/models\/g\.gguf.*\n\+.*\/models\/better\.gguf --api-key •+/);
    expect(user.told[0]).not.toContain("hunter");
    expect([place.text, place.backups, place.restarts]).toEqual([theirs, [], 0]);
  });

  test("when the machine does not let us in says why", async () => {
    const place = await startPlace(CONFIG, { AI_SERVER_SSH_HOST: "ops@127.0.0.1" });
    place.tool("ssh", "echo 'Permission denied (publickey).' >&2; exit 255");
    const { notices } = await place.type("/ai-server-ctx small 4k");
    expect(notices).toEqual([
      { level: "error", text: expect.stringContaining("does not accept this user's key") },
    ]);
  });
});

describe("a change that is cancelled after the write", () => {
  const slow = CONFIG.replaceAll("--load 0.2", "--load 600");

  /** Does something once while the model loads; on a busy machine the screen is there before. */
  function whileLoading(user: User, act: () => void): User {
    const look = setInterval(() => {
      if (!user.screen.includes("Loading small")) return;
      clearInterval(look);
      act();
    }, 20);
    onTestFinished(() => clearInterval(look));
    return user;
  }

  /** Presses Escape while the model loads. */
  function leaving(putBack: boolean): User {
    const user = new User("tui");
    user.confirms = ({ title }) => (title.startsWith("Restore the previous") ? putBack : true);
    return whileLoading(user, () => user.escape());
  }

  test.each([
    [true, slow, 2, "The previous config is restored."],
    [false, slow.replace("8192", "4096"), 1, undefined],
  ])("offers to restore the previous config (%s)", async (putBack, text, restarts, told) => {
    const place = await startPlace(slow);
    place.speed = 1;
    const user = await place.type("/ai-server-ctx small 4k", leaving(putBack));
    expect(user.notices[0]?.level).toBe("warning");
    expect(user.told[0]).toMatch(
      /^Cancelled\.\nThe new config is in place\.\nThe server has not been checked.*\nThe previous version is in /,
    );
    expect(user.questions[1]?.title).toBe("Restore the previous config?");
    expect([place.text, place.restarts]).toEqual([text, restarts]);
    expect(user.told[1]?.split("\n")[0]).toBe(told);
  });

  test("says why the previous config could not be restored", async () => {
    const place = await startPlace(slow);
    place.speed = 1;
    const user = leaving(true);
    const { confirms } = user;
    user.confirms = (question) => {
      if (question.title.startsWith("Restore the previous"))
        place.tool("systemctl", "echo LoadState=not-found");
      return confirms(question);
    };
    await place.type("/ai-server-ctx small 4k", user);
    expect(user.notices[1]).toEqual({
      level: "error",
      text: expect.stringMatching(
        /^The previous config was not restored\. The unit llama-swap\.service does not exist/,
      ),
    });
    expect(place.text).toBe(slow.replace("8192", "4096"));
  });

  test("by the session's end offers nothing, and leaves a whole file", async () => {
    const place = await startPlace(slow);
    place.speed = 1;
    const user = whileLoading(saying(true, "tui"), () => place.ended.abort());
    await place.type("/ai-server-ctx small 4k", user);
    await expect
      .poll(() => place.aiServer.exclusively("the next one", async () => "free").catch(String))
      .toBe("free");
    expect(user.questions).toHaveLength(1);
    expect([slow, slow.replace("8192", "4096")]).toContain(place.text);
  });
});
