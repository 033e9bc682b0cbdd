import { describe, expect, test } from "vitest";
import type { LoadState } from "../../activity/load-state.ts";
import { serverFor } from "../../admin/call.ts";
import { loadHooks, loadWords } from "../../admin/load.ts";
import { callOf } from "../support/calls.ts";
import { startPlace } from "../support/command-place.ts";
import { User } from "../support/command-user.ts";

test.each<[LoadState, string | undefined]>([
  [{ kind: "waiting", blockedBy: "b", requests: 2 }, "a waits for b to answer 2 requests"],
  [{ kind: "waiting", blockedBy: "b", requests: 1 }, "a waits for b to answer a request"],
  [{ kind: "waiting", blockedBy: "b", requests: 0 }, "a waits for b to unload"],
  [{ kind: "waiting", blockedBy: "b", requests: undefined }, "a waits for b to unload"],
  [{ kind: "stopping", model: "b" }, "Stopping b"],
  [{ kind: "busy" }, "a is at its request limit; asking again"],
  [{ kind: "loading", elapsedMs: 1 }, "Loading a"],
  [{ kind: "loading", elapsedMs: 1, stage: { name: "mmproj", share: 1 } }, "Loading a (mmproj 100 %)"],
  [{ kind: "ready" }, undefined],
])("%j is said as %s", (progress, words) => {
  expect(loadWords("a", progress)).toBe(words);
});

describe("the hooks of a load", () => {
  test("say the expected time as soon as it is known, and how long the load lasts", async () => {
    const place = await startPlace();
    const said: string[] = [];
    const call = callOf(place, new User("rpc"), "", said);
    const server = await serverFor(call);
    const memory = await place.aiServer.remembered.memory();
    await memory.rememberLoad(place.sim.url, "small", 20_000);
    const { onLoading } = loadHooks(call, server);
    await expect
      .poll(() => {
        onLoading("small", { kind: "loading", elapsedMs: 7000 });
        return said.at(-1);
      })
      .toBe("Loading small | 20000 | 7000");
    expect(said[0]).toBe("Loading small | 7000");
    onLoading("small", { kind: "stopping", model: "b" });
    onLoading("small", { kind: "ready" });
    expect(said.at(-1)).toBe("Stopping b");
  });

  test("remember how long it took, and never the command line", async () => {
    const place = await startPlace();
    await place.load("small");
    const call = callOf(place, new User("rpc"));
    const server = await serverFor(call);
    const { onLoaded } = loadHooks(call, server);
    onLoaded("small", 12_000);
    await expect.poll(() => call.aiServer.remembered.expectedLoadMs(server.config, "small")).toBe(12_000);
    expect(place.rememberedText).toContain("12000");
    expect(place.rememberedText).not.toContain("llama-server");
  });

  test("that cannot remember show nothing", async () => {
    const place = await startPlace();
    const call = callOf(place, new User("rpc"));
    const server = await serverFor(call);
    await place.close();
    loadHooks(call, server).onLoaded("small", 12_000);
    // An unhandled rejection fails the run.
    await expect.poll(() => call.aiServer.remembered.expectedLoadMs(server.config, "small")).toBeUndefined();
  });
});
