import { expect, test } from "vitest";
import { OneAtATime } from "../../provider/one-at-a-time.ts";

test("a command that changes the server runs alone, and another one is refused with its name", async () => {
  const commands = new OneAtATime();
  const end = Promise.withResolvers<string>();
  const first = commands.run("/ai-server-ctx a 4096", () => end.promise);
  let hasRun = false;
  const second = commands.run("/ai-server-restart", async () => {
    hasRun = true;
  });
  await expect(second).rejects.toThrow(
    "/ai-server-ctx a 4096 is still at work. Wait for its end; nothing was done.",
  );
  expect([hasRun, commands.running]).toEqual([false, "/ai-server-ctx a 4096"]);
  end.resolve("done");
  expect(await first).toBe("done");
  expect(await commands.run("/ai-server-restart", async () => "next")).toBe("next");
});

test("a command that fails leaves the way free", async () => {
  const commands = new OneAtATime();
  await expect(commands.run("one", () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  const thrown = commands.run("two", () => {
    throw new Error("at once");
  });
  await expect(thrown).rejects.toThrow("at once");
  expect(await commands.run("three", async () => 3)).toBe(3);
});
