import { readdirSync } from "node:fs";
import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, test } from "vitest";
import { CONFIG, startPlace } from "../support/command-place.ts";

beforeAll(() => initTheme());

describe("with another AI_SERVER_URL and no AI_SERVER_SSH_HOST", () => {
  const sentence = /^AI_SERVER_SSH_HOST is not set, so this command knows no machine to connect to\. Set it/;

  test.each([
    "/ai-server-ctx small 4096",
    "/ai-server-preset",
    "/ai-server-rollback",
    "/ai-server-restart",
    "/ai-server-logs",
  ])("%s says what to set, and starts no ssh", async (line) => {
    const place = await startPlace(CONFIG, { AI_SERVER_SSH_HOST: "" });
    place.tool("ssh", `echo started >>'${place.folder}/started'`);
    const user = await place.type(line);
    expect(user.notices).toEqual([{ level: "error", text: expect.stringMatching(sentence) }]);
    expect([readdirSync(place.folder), place.text, place.restarts]).toEqual([["config.yaml"], CONFIG, 0]);
  });

  test("/ai-server-status --ssh shows the server, and says what to set", async () => {
    const place = await startPlace(CONFIG, { AI_SERVER_SSH_HOST: "" });
    const user = await place.type("/ai-server-status --ssh");
    expect(user.told.join("\n")).toContain("small");
    expect(user.told.join("\n")).toContain("AI_SERVER_SSH_HOST is not set");
  });
});
