import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, test } from "vitest";
import { linesAfter } from "../../admin/logs.ts";
import { byPath, cannedServer } from "../support/canned.ts";
import { ODD, startPlace } from "../support/command-place.ts";
import { User } from "../support/command-user.ts";
import { llamaServerBody } from "../support/recorded.ts";
import { drained } from "../support/wire.ts";

beforeAll(() => initTheme());

describe("what a later reading of the journal adds", () => {
  test.each<[string[], string[], string[]]>([
    [[], ["a"], ["a"]],
    [["a", "b"], ["a", "b"], []],
    [["a", "b"], ["a", "b", "c"], ["c"]],
    [["a", "b", "c"], ["b", "c", "d"], ["d"]],
    [["a", "a"], ["a", "a", "a"], ["a"]],
    [
      ["a", "b"],
      ["x", "y"],
      ["x", "y"],
    ],
    [["a", "b"], ["b"], []],
    [["a", "b"], [], []],
  ])("%j, then %j", (before, now, added) => {
    expect(linesAfter(before, now)).toEqual(added);
  });
});

describe("/ai-server-logs of a model", () => {
  test("shows its last lines, also by alias, and loads nothing", async () => {
    const place = await startPlace();
    await place.load(ODD);
    for (const typed of [ODD, "groesse"]) {
      const { notices } = await place.type(`/ai-server-logs ${typed}`);
      expect(notices).toEqual([
        {
          level: "info",
          text: expect.stringMatching(/^Log of org\/Größe:Q4 x\n\n(.*\n)*main: server is listening/),
        },
      ]);
    }
    expect(place.sim.starts).toEqual({ [ODD]: 1 });
  });

  test("says that the model has logged nothing", async () => {
    const place = await startPlace();
    expect((await place.type("/ai-server-logs small")).told[0]).toContain(
      "small has logged nothing, or this llama-swap is older than v178 and keeps no log per model.",
    );
    expect(place.sim.starts).toEqual({});
  });

  test("names the nearest model if the id is unknown", async () => {
    expect((await (await startPlace()).type("/ai-server-logs smol")).notices).toEqual([
      { level: "error", text: 'No model "smol". Did you mean "small"?' },
    ]);
  });

  test.each(["print", "json"] as const)("ends after the last lines in %s mode", async (mode) => {
    const place = await startPlace();
    await place.load("small");
    const { answered, failed } = await place.type("/ai-server-logs small", new User(mode).readsOutput());
    expect([answered, failed]).toEqual([expect.stringContaining("main: server is listening"), ""]);
  });

  test("follows the log in the terminal until Escape, without secrets", async () => {
    const place = await startPlace(`models:
  m: { cmd: "llama-server --port \${PORT} -m https://u:hunter2@hub/x.gguf?token=hunter3" }
`);
    await place.load("m");
    const user = new User("tui");
    const over = place.type("/ai-server-logs m", user);
    await user.shows("Log of m");
    await expect
      .poll(() => place.sim.requests.filter(({ path }) => path.includes("no-history")).length)
      .toBe(1);
    const client = await place.client();
    void drained(
      (await client.http.request({ method: "GET", path: "/upstream/m/live-now?token=hunter4" })).body,
    );
    await user.shows('"GET /live-now');
    expect(user.screen).toContain("loaded meta data from https://u:••••@hub/x.gguf");
    expect(user.screen).not.toContain("hunter");
    user.escape();
    await over;
    await expect
      .poll(() => place.sim.requests.find(({ path }) => path.includes("no-history"))?.disconnectedAt)
      .toBeDefined();
    expect(user.notices).toEqual([]);
  });

  test("ends with the session", async () => {
    const place = await startPlace();
    await place.load("small");
    const user = new User("tui");
    const over = place.type("/ai-server-logs small", user);
    await user.shows("Log of small");
    place.ended.abort();
    await over;
    expect(user.notices).toEqual([]);
  });
});

describe("/ai-server-logs of the unit", () => {
  test("shows its journal, without secrets", async () => {
    const place = await startPlace();
    place.journal = "started\nllama-server --api-key hunter2\nlistening\n";
    const user = await place.type("/ai-server-logs");
    expect(user.told[0]).toMatch(
      /^Journal of llama-swap\.service\n\nstarted\nllama-server --api-key •+\nlistening/,
    );
    expect(user.everything).not.toContain("hunter");
  });

  test("shows it for a router's model, which writes where the router does", async () => {
    const { swap } = await cannedServer(
      byPath({ "/running": 404, "/v1/models": llamaServerBody("r01-models") }),
    );
    const env = { AI_SERVER_URL: swap.config.origin, AI_SERVER_PRESET_PATH: "/nowhere/models.ini" };
    const place = await startPlace(undefined, env);
    place.journal = "[41843] error loading model\n";
    const user = await place.type("/ai-server-logs alpha");
    expect(user.told[0]).toMatch(
      /^Journal of llama-server\.service, which includes alpha\n\n\[41843\] error loading model/,
    );
  });

  test("follows it in the terminal", async () => {
    const place = await startPlace();
    place.journal = "one\ntwo\n";
    const user = new User("tui");
    const over = place.type("/ai-server-logs", user);
    await user.shows("two");
    place.journal = "two\nHF_TOKEN=hunter2\nthree\n";
    await user.shows("three");
    expect(user.screen.match(/two/g)).toHaveLength(1);
    expect(user.screen).not.toContain("hunter");
    user.escape();
    await over;
  });

  test("says in the view why it no longer follows the journal", async () => {
    const place = await startPlace();
    place.journal = "one\n";
    const user = new User("tui");
    const over = place.type("/ai-server-logs", user);
    await user.shows("one");
    place.tool("journalctl", "echo 'No journal files were found.' >&2; exit 1");
    await user.shows("The journal cannot be read");
    user.escape();
    await over;
  });

  test("reports a journal that cannot be read in a sentence", async () => {
    const place = await startPlace();
    place.tool("journalctl", "echo 'No journal files were found.' >&2; exit 1");
    const { notices } = await place.type("/ai-server-logs");
    expect(notices).toEqual([
      { level: "error", text: expect.stringMatching(/^The journal cannot be read on this machine\./) },
    ]);
  });
});
