import { describe, expect, test } from "vitest";
import { completer } from "../../admin/completion.ts";
import { ODD, type Place, startPlace } from "../support/command-place.ts";
import { User } from "../support/command-user.ts";

const NEVER = new AbortController().signal;

function completing(place: Place): (command: string, argument: string) => Promise<unknown> {
  const complete = completer(place.aiServer, place.contextOf(new User("tui")), place.ended.signal);
  return (command, argument) => complete(command, argument, NEVER);
}

describe("completion", () => {
  test("offers what the server has, loaded ones first for unload, and loads nothing", async () => {
    const place = await startPlace();
    await place.load("small");
    const offered = completing(place);
    await expect
      .poll(() => offered("ai-server-unload", ""))
      .toEqual([
        { value: "small", label: "small", description: "ready · 8k" },
        expect.objectContaining({ value: "groesse", description: "unloaded" }),
        expect.objectContaining({ value: ODD, description: "unloaded" }),
      ]);
    expect(place.sim.starts).toEqual({ small: 1 });
  });

  test("asks the server once for many keys", async () => {
    const place = await startPlace();
    const offered = completing(place);
    await expect.poll(() => offered("ai-server-load", "s")).toHaveLength(2);
    for (const argument of ["s", "sm", "sma"]) await offered("ai-server-load", argument);
    expect(place.sim.requests.filter(({ path }) => path === "/v1/models")).toHaveLength(1);
  });

  test("ends a size at the trained one that was remembered, also for an alias, and marks the one that is set", async () => {
    const place = await startPlace();
    await place.load(ODD);
    const memory = await place.aiServer.remembered.memory();
    await memory.remember(place.sim.url, ODD, {
      trainedContext: { value: 40_960, source: "live" },
      seenAt: 1,
    });
    const offered = completing(place);
    await expect
      .poll(() => offered("ai-server-ctx", "groesse "))
      .toEqual([
        { value: "groesse max", label: "max", description: "the largest that fits" },
        { value: "groesse 8k", label: "8k", description: "8192 tokens" },
        { value: "groesse 16k", label: "16k", description: "16384 tokens · now" },
        { value: "groesse 32k", label: "32k", description: "32768 tokens" },
        { value: "groesse 40k", label: "40k", description: "40960 tokens · trained for" },
      ]);
  });

  test.each([
    ["ai-server-ctx", false, 0],
    ["ai-server-preset", false, 0],
    ["ai-server-preset", true, 1],
    ["ai-server-logs", false, 1],
  ])(
    "of %s, with a config file on the server: %s, offers %i models",
    async (command, hasConfigFile, count) => {
      const { aiServer, ended } = await startPlace();
      const known = {
        models: [{ id: "a", aiServer: { context: { value: 8192, source: "live" } } }],
        openServer: async () => ({ hasConfigFile }),
      } as unknown as typeof aiServer;
      const offered = completer(known, {} as Parameters<typeof completer>[1], ended.signal);
      expect(await offered(command, "", NEVER)).toHaveLength(count);
    },
  );

  test("has nothing to offer while the server is down, and says nothing", async () => {
    const place = await startPlace();
    await place.close();
    expect(await completing(place)("ai-server-load", "")).toEqual([]);
  });

  test("asks nothing after the session's end", async () => {
    const place = await startPlace();
    const offered = completing(place);
    place.ended.abort();
    expect(await offered("ai-server-load", "")).toEqual([]);
    expect(place.sim.requests).toEqual([]);
  });

  test("is none for commands without arguments", async () => {
    const place = await startPlace();
    expect(await completing(place)("ai-server-restart", "")).toBeNull();
    expect(await completing(place)("ai-server-refresh", "")).toHaveLength(1);
    expect(place.sim.requests).toEqual([]);
  });
});
