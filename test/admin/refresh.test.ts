import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { type Call, serverFor } from "../../admin/call.ts";
import { reloadPreset } from "../../admin/refresh.ts";
import { AiServer } from "../../provider/ai-server.ts";
import { byPath, cannedServer } from "../support/canned.ts";
import { contextOf } from "../support/command-place.ts";
import { type Mode, saying, User } from "../support/command-user.ts";
import { kept } from "../support/wire.ts";

const RELOAD = "GET /v1/models?reload=1";
const PRESET = "[a]\nmodel = /m/a.gguf\nctx-size = 2048\n[b]\nmodel = /m/b.gguf\n";
const NEVER = new AbortController().signal;

const entry = (id: string, value: string, preset: string): unknown => ({
  id,
  status: { value, args: ["llama-server", "--model", `/m/${id}.gguf`], preset },
});
const LOADED = {
  data: [
    entry("a", "loaded", "[a]\nctx-size = 2048\nmodel = /m/a.gguf\n"),
    entry("b", "unloaded", "[b]\nmodel = /m/b.gguf\n"),
  ],
};
const NONE_LOADED = { data: [entry("a", "unloaded", "")] };

interface Refreshed {
  told: string | undefined;
  user: User;
  requests: string[];
}

interface Given {
  models: unknown;
  reload?: unknown;
  /** The text of the preset; undefined where there is no file. */
  text?: string;
  user?: User;
  busyWith?: string;
  file?: string;
}

async function refreshed(given: Given): Promise<Refreshed> {
  const { models, reload = models, text, user = saying(true), busyWith, file = "models.ini" } = given;
  const folder = mkdtempSync(join(tmpdir(), "reload-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  if (text !== undefined) writeFileSync(join(folder, file), text);
  const answers = { "/running": 404, "/v1/models": models, "/v1/models?reload=1": reload };
  const { swap, requests } = await cannedServer(byPath(answers));
  const env = {
    AI_SERVER_URL: swap.config.origin,
    AI_SERVER_SSH_HOST: "local",
    AI_SERVER_PRESET_PATH: join(folder, file),
  };
  const aiServer = await kept(
    new AiServer({ env, agentDir: join(folder, "agent"), now: Date.now, onChanged: () => {} }),
  );
  const call: Call = {
    aiServer,
    ctx: contextOf(aiServer, user),
    argument: "",
    ended: NEVER,
    waiting: { signal: NEVER, say: () => {}, ask: (dialog) => dialog() },
  };
  const server = await serverFor(call);
  const run = (): Promise<string | undefined> => reloadPreset(call, server);
  const told = await (busyWith === undefined ? run() : aiServer.exclusively(busyWith, run));
  return { told, user, requests };
}

const isRead = "The router reread its preset.";

describe("a router's preset", () => {
  test("is read again without a question where nothing is loaded, or nothing that is loaded has changed", async () => {
    const idle = await refreshed({ models: NONE_LOADED });
    expect([idle.told, idle.user.questions]).toEqual([isRead, []]);
    const same = await refreshed({ models: LOADED, text: PRESET.replace("/m/b.gguf", "/m/other.gguf") });
    expect([same.told, same.user.questions]).toEqual([isRead, []]);
    expect(same.requests).toContain(RELOAD);
  });

  test.each([
    [true, isRead],
    [false, "The router did not reread its preset."],
  ])("with a loaded model that has changed only after asking: %s", async (answer, sentence) => {
    const text = PRESET.replace("2048", "4096");
    const { told, user, requests } = await refreshed({ models: LOADED, text, user: saying(answer) });
    expect([told, requests.includes(RELOAD)]).toEqual([sentence, answer]);
    expect(user.questions).toEqual([
      {
        title: "Have the router reread its preset?",
        text: expect.stringMatching(
          /models\.ini differs from what the router runs for a\.\nWill be unloaded: a\.\n/,
        ),
      },
    ]);
    expect(user.acts).toEqual([["Leave it as it is", "Reread it"]]);
  });

  test.each<[string, Partial<Given>, RegExp]>([
    ["is missing", {}, /models\.ini does not exist on this machine/],
    ["is not understood", { text: "no preset" }, /llama\.cpp cannot parse this line/],
    [
      "is llama-swap's",
      { text: "models: {}", file: "config.yaml" },
      /AI_SERVER_PRESET_PATH is .*config\.yaml, a config of llama-swap, but the server is llama\.cpp's router/,
    ],
  ])("with a file that %s asks all the same, and says why it does not know", async (_what, given, why) => {
    const { told, user } = await refreshed({ models: LOADED, ...given });
    expect(told).toBe(isRead);
    expect(user.questions[0]?.text).toMatch(why);
    expect(user.questions[0]?.text).toMatch(
      /\nThe changed sections are therefore unknown\.\nLoaded now: a\. Models whose section has changed will be unloaded and their requests cut off\.$/,
    );
  });

  test.each<[Mode, unknown, string | undefined]>([
    ["print", NONE_LOADED, undefined],
    ["json", LOADED, "The router did not reread its preset: that may unload a, and json mode cannot ask."],
  ])("is not read again in %s mode", async (mode, models, sentence) => {
    const { told, requests } = await refreshed({ models, user: new User(mode) });
    expect([told, requests.includes(RELOAD)]).toEqual([sentence, false]);
  });

  test.each<[string, Partial<Given>, RegExp]>([
    ["does not know how", { reload: 404 }, /^This router cannot reread its preset; use \/ai-server-restart/],
    [
      "refuses it",
      {
        reload: {
          status: 500,
          headers: { "content-type": "application/json" },
          body: '{"error":{"message":"option \'x\' not recognized in preset \'b\'"}}',
        },
      },
      /^The router did not reread its preset: .*option 'x' not recognized/,
    ],
    [
      "is being changed",
      { busyWith: "/ai-server-ctx a 4k" },
      /^The router did not reread.*\/ai-server-ctx a 4k is still running/,
    ],
  ])("of a router that %s is not read, and the notice says why", async (_what, given, sentence) => {
    expect((await refreshed({ models: NONE_LOADED, ...given })).told).toMatch(sentence);
  });
});
