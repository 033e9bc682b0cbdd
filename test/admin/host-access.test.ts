import { readdirSync } from "node:fs";
import { initTheme } from "@earendil-works/pi-coding-agent";
import { beforeAll, describe, expect, test } from "vitest";
import { placedConfig } from "../../admin/host-access.ts";
import { readConfig } from "../../config.ts";
import { CONFIG, startPlace } from "../support/command-place.ts";

beforeAll(() => initTheme());

const LLAMA_SWAP = ["~/.config/llama-swap/config.yaml", "llama-swap.service"];
const ROUTER = ["~/.llama-models.ini", "llama-server.service"];

type Kind = Parameters<typeof placedConfig>[1];

function placed(kind: Kind, env: Record<string, string> = {}, kindBefore: Kind = undefined): string[] {
  const { presetPath, serviceUnit } = placedConfig(readConfig(env, {}, "/nowhere"), kind, kindBefore);
  return [presetPath, serviceUnit];
}

test.each(["llama-swap", "other", undefined] as const)("%s has llama-swap's", (kind) => {
  expect(placed(kind)).toEqual(LLAMA_SWAP);
});

test("one llama-server has a unit that is called after it, and no config", () => {
  expect(placed("llama-server")).toEqual([LLAMA_SWAP[0], "llama-server.service"]);
  expect(placed(undefined, {}, "llama-server")[1]).toBe("llama-server.service");
  expect(placed("llama-server", { AI_SERVER_SERVICE_UNIT: "mine.service" })[1]).toBe("mine.service");
});

test("a router has its own path and unit, each only where the user has set none", () => {
  expect(placed("router")).toEqual(ROUTER);
  expect(placed("router", { AI_SERVER_PRESET_PATH: "/etc/models.ini" })).toEqual([
    "/etc/models.ini",
    ROUTER[1],
  ]);
  expect(placed("router", { AI_SERVER_SERVICE_UNIT: "mine.service" })).toEqual([ROUTER[0], "mine.service"]);
  // A folder may hold either.
  expect(placed("router", { AI_SERVER_PRESET_PATH: "/etc/models" })[0]).toBe("/etc/models");
});

test("where the server does not answer, a path that ends in .ini means a router", () => {
  expect(placed(undefined, { AI_SERVER_PRESET_PATH: "/x.INI" })).toEqual(["/x.INI", ROUTER[1]]);
  expect(placed(undefined, { AI_SERVER_PRESET_PATH: "/x.yaml" })).toEqual(["/x.yaml", LLAMA_SWAP[1]]);
});

test("where neither shows the kind, the last known kind counts", () => {
  expect(placed(undefined, {}, "router")).toEqual(ROUTER);
  expect(placed(undefined, { AI_SERVER_PRESET_PATH: "/etc/models" }, "router")[1]).toBe(ROUTER[1]);
  expect(placed(undefined, { AI_SERVER_PRESET_PATH: "/x.yaml" }, "router")).toEqual([
    "/x.yaml",
    LLAMA_SWAP[1],
  ]);
  expect(placed(undefined, { AI_SERVER_PRESET_PATH: "/x.ini" }, "llama-swap")).toEqual(["/x.ini", ROUTER[1]]);
  expect(placed("llama-swap", {}, "router")).toEqual(LLAMA_SWAP);
  expect(placed("router", {}, "llama-swap")).toEqual(ROUTER);
});

test.each([
  [
    "llama-swap",
    "/x.ini",
    "AI_SERVER_PRESET_PATH is /x.ini, a preset of llama.cpp's router, but the server is llama-swap. Set it to the file that the server reads, or unset it to use ~/.config/llama-swap/config.yaml.",
  ],
  [
    "router",
    "~/x.yml",
    "AI_SERVER_PRESET_PATH is ~/x.yml, a config of llama-swap, but the server is llama.cpp's router. Set it to the file that the server reads, or unset it to use ~/.llama-models.ini.",
  ],
] as const)("%s with %s is a sentence, but where a wrapper's own path counts", (kind, path, sentence) => {
  const env = { AI_SERVER_PRESET_PATH: path };
  expect(() => placed(kind, env)).toThrow(sentence);
  expect(placed(kind, { ...env, AI_SERVER_SSH_MODE: "wrapper" })[0]).toBe(path);
  const local = { AI_SERVER_SSH_MODE: "wrapper", AI_SERVER_SSH_HOST: "local" };
  expect(() => placed(kind, { ...env, ...local })).toThrow(sentence);
});

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
