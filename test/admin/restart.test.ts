import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, test } from "vitest";
import { CONFIG, startPlace } from "../support/command-place.ts";
import { saying, User } from "../support/command-user.ts";

beforeAll(() => initTheme());

describe("/ai-server-restart", () => {
  test("asks, restarts, and loads again what was loaded", async () => {
    const place = await startPlace();
    await place.load("small");
    const user = await place.type("/ai-server-restart", saying(true));
    expect(user.questions).toEqual([
      {
        title: "Restart llama-swap.service?",
        text: [
          "Will be unloaded: small.",
          "No requests in flight.",
          "No load time recorded yet; a minute is typical.",
          "llama-swap refuses new requests and gives those in flight up to 30 s to finish; this may add up to 35 s.",
        ].join("\n"),
      },
    ]);
    expect(user.acts).toEqual([["Leave it running", "Restart"]]);
    expect(user.notices).toEqual([{ level: "info", text: "The server was restarted and answers." }]);
    expect([place.restarts, await place.loaded(), place.text]).toEqual([1, ["small"], CONFIG]);
    expect(place.aiServer.models.map(({ id }) => id)).toContain("small");
  });

  test("names the command that restarts, reports the changed models, and leaves nothing for the next refresh", async () => {
    const place = await startPlace();
    await place.type("/ai-server-refresh");
    place.set({ AI_SERVER_RESTART_COMMAND: "systemctl --user restart x" });
    place.text = `${CONFIG}  new: { cmd: "llama-server --port \${PORT} -c 4096" }\n`;
    const user = await place.type("/ai-server-restart", saying(true));
    expect(user.questions[0]?.title).toBe("Restart the server with AI_SERVER_RESTART_COMMAND?");
    expect(user.told).toEqual([
      "The server was restarted with AI_SERVER_RESTART_COMMAND and answers.\nnew: added",
    ]);
    expect((await place.type("/ai-server-refresh")).told).toEqual(["Nothing changed: 4 models."]);
  });

  test("does nothing unless confirmed", async () => {
    const place = await startPlace();
    await place.load("small");
    expect((await place.type("/ai-server-restart", saying(false))).told).toEqual(["Nothing was restarted."]);
    expect([place.restarts, await place.loaded()]).toEqual([0, ["small"]]);
  });

  test.each(["print", "json"] as const)("is refused in %s mode without a question", async (mode) => {
    const place = await startPlace();
    const { answered, failed } = await place.type("/ai-server-restart", new User(mode).readsOutput());
    expect([answered, place.restarts, place.sim.requests]).toEqual(["", 0, []]);
    expect(failed).toContain("mode cannot ask. Nothing was changed");
  });

  test("reports systemd's reason when it fails", async () => {
    const place = await startPlace();
    const failing = "case $2 in restart) echo 'Job for llama-swap.service failed.' >&2; exit 1 ;;";
    place.tool("systemctl", `${failing} *) echo LoadState=loaded ;; esac`);
    expect((await place.type("/ai-server-restart", saying(true))).notices).toEqual([
      {
        level: "error",
        text: "The restart on this machine failed: Job for llama-swap.service failed.",
      },
    ]);
  });

  test("says that the unit is missing, and that nothing was changed", async () => {
    const place = await startPlace();
    place.tool("systemctl", "echo LoadState=not-found");
    const { notices } = await place.type("/ai-server-restart", saying(true));
    expect(notices).toEqual([
      {
        level: "error",
        text: expect.stringMatching(
          /^The unit llama-swap\.service does not exist on this machine\..*Nothing was changed\.$/,
        ),
      },
    ]);
  });

  test("says that the server did not answer again", async () => {
    const place = await startPlace(CONFIG, { AI_SERVER_RESTART_TIMEOUT_MS: "1000" });
    place.spoils = () => "models: [}";
    const { notices } = await place.type("/ai-server-restart", saying(true));
    expect(notices).toEqual([{ level: "error", text: "The server did not answer again within 1 s." }]);
  });

  test("asks also when the server is down, and starts it", async () => {
    const place = await startPlace();
    await place.close();
    const user = await place.type("/ai-server-restart", saying(true));
    expect(user.questions[0]?.text).toBe("The server is not answering.");
    expect(user.acts).toEqual([["Leave it as it is", "Restart"]]);
    expect(user.told).toEqual(["The server was restarted and answers."]);
  });

  test("reports the model that could not be loaded again, without secrets", async () => {
    const place = await startPlace();
    await place.load("small");
    place.spoils = (text) =>
      text
        .replace("--load 0.2", "--load 60 --fail-after 1")
        .replace("/models/small.gguf", "https://u:hunter2@hub/x");
    const user = await place.type("/ai-server-restart", saying(true));
    expect(user.notices[0]?.level).toBe("warning");
    expect(user.told[0]).toMatch(
      /^The server was restarted and answers\.\nsmall was loaded before and could not be loaded again: small could not/,
    );
    expect(user.everything).not.toContain("hunter");
  });

  test("names the user's own command", async () => {
    const place = await startPlace(CONFIG, { AI_SERVER_RESTART_COMMAND: "true" });
    const user = await place.type("/ai-server-restart", saying(false));
    expect(user.questions[0]?.title).toBe("Restart the server with AI_SERVER_RESTART_COMMAND?");
  });

  test.each([
    ["true", "Restart the server with the wrapper's restart_command?"],
    ["", "Restart llama-swap.service?"],
  ])("names the command that the wrapper runs, not the one set here: %j", async (command, title) => {
    const place = await startPlace(CONFIG, {
      AI_SERVER_SSH_HOST: "ops@127.0.0.1",
      AI_SERVER_SSH_MODE: "wrapper",
      AI_SERVER_RESTART_COMMAND: "docker restart x",
    });
    place.installsWrapper(command);
    const user = await place.type("/ai-server-restart", saying(false));
    expect(user.questions[0]?.title).toBe(title);
  });

  test("says after Escape what may still happen", async () => {
    const place = await startPlace();
    await place.load("small");
    place.spoils = (text) => text.replace("--load 0.2", "--load 600");
    place.speed = 1;
    const user = saying(true, "tui");
    const left = place.type("/ai-server-restart", user);
    await user.shows("Loading small again");
    user.escape();
    await left;
    expect(user.notices).toEqual([
      {
        level: "warning",
        text: "Cancelled. The server may still restart; see /ai-server-status.",
      },
    ]);
  });
});
