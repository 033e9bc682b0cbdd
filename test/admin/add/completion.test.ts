import { afterEach, beforeEach, expect, test } from "vitest";
import { HubCompletion } from "../../../admin/add/completion.ts";
import { completer } from "../../../admin/completion.ts";
import { HubClient } from "../../../huggingface/hub.ts";
import { AiServer } from "../../../provider/ai-server.ts";
import { type Hub, startHub } from "../../../sim/hub.ts";
import { FakeClock } from "../../support/clock.ts";

const never = new AbortController().signal;

let hub: Hub;
let clock: FakeClock;
let completion: HubCompletion;

beforeEach(async () => {
  const files = { "m-Q4_K_M.gguf": { bytes: 3 * 2 ** 20 }, "m-Q8_0.gguf": { bytes: 5 * 2 ** 20 } };
  hub = await startHub({
    repositories: { "maker/Heron-GGUF": { downloads: 1_200_000, files }, "maker/Wren-GGUF": { files } },
  });
  clock = new FakeClock();
  const client = new HubClient({ url: hub.url, token: undefined, isDefault: false });
  completion = new HubCompletion(async () => client, clock);
});

afterEach(() => hub.close());

const offered = async (argument: string) => {
  const items = completion.suggestions(argument, never);
  await clock.advance(350);
  return (await items).map(({ value, label, description }) => [value, label, description]);
};

test("words offer repositories, and a colon the quantisations of one", async () => {
  expect(await offered("maker/her")).toEqual([["maker/Heron-GGUF", "maker/Heron-GGUF", "1.2M downloads"]]);
  expect(await offered("maker/Heron-GGUF:")).toEqual([
    ["maker/Heron-GGUF:Q4_K_M", "Q4_K_M", "3 MiB"],
    ["maker/Heron-GGUF:Q8_0", "Q8_0", "5 MiB"],
  ]);
  expect(await offered("maker/Heron-GGUF:q8")).toEqual([["maker/Heron-GGUF:Q8_0", "Q8_0", "5 MiB"]]);
});

test("the hub is asked once for the same, not for a few letters, and not while the text changes", async () => {
  await offered("heron");
  await offered("HERON");
  await offered("he");
  await offered("");
  const changing = new AbortController();
  const items = completion.suggestions("heronx", changing.signal);
  changing.abort(new Error("another key"));
  await expect(items).rejects.toThrow("another key");
  expect(hub.requests.length).toBe(1);
});

test("the editor offers repositories after the command, and sends no request offline", async () => {
  const env: Record<string, string> = {
    AI_SERVER_URL: "http://127.0.0.1:9",
    HF_ENDPOINT: hub.url,
    HF_HOME: "/nowhere",
  };
  const aiServer = new AiServer({ env, agentDir: "/nowhere", now: Date.now, onChanged: () => {} });
  const ended = new AbortController();
  const context = { modelRegistry: { getProviderAuth: async () => undefined } } as never;
  const complete = completer(aiServer, context, ended.signal);
  const offered = await complete("ai-server-add", "wren", never);
  expect(offered?.map(({ value }) => value)).toEqual(["maker/Wren-GGUF"]);
  env.PI_OFFLINE = "1";
  expect(await complete("ai-server-add", "heron", never)).toEqual([]);
  expect(hub.requests.length).toBe(1);
  ended.abort();
  await aiServer.close();
});
