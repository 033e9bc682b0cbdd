import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { isConfirmed, requireUser, serverFor, storedVariables } from "../../admin/call.ts";
import { openHost, pathOf } from "../../admin/host-access.ts";
import type { Config } from "../../config.ts";
import { callOf } from "../support/calls.ts";
import { CONFIG, startPlace } from "../support/command-place.ts";
import { type Mode, User } from "../support/command-user.ts";

describe("the path of a file", () => {
  const config = (presetPath: string, more: Partial<Config> = {}): Config =>
    ({ sshHost: "local", sshMode: "direct", presetPath, ...more }) as Config;

  test.each<[string, string, string]>([
    ["/etc/swap/config.yaml", "config.yaml", "/etc/swap/config.yaml"],
    ["~/config.yaml", "config.yaml", "~/config.yaml"],
    ["/etc/swap", "a.yaml", "/etc/swap/a.yaml"],
    ["/etc/swap//", "a.yaml", "/etc/swap/a.yaml"],
  ])("%s with %s is %s", (presetPath, name, path) => {
    expect(pathOf({ name }, config(presetPath))).toBe(path);
  });

  test("is the name alone where a wrapper knows the rest", () => {
    const wrapped = { sshHost: "ops@host", sshMode: "wrapper" } as const;
    expect(pathOf({ name: "a.yaml" }, config("/etc/a.yaml", wrapped))).toBe("a.yaml");
    expect(pathOf({ name: "a.yaml" }, config("/etc/a.yaml", { ...wrapped, sshHost: "local" }))).toBe(
      "/etc/a.yaml",
    );
  });
});

const QUESTION = { title: "Really?", consequences: ["one", "two"] };

describe("a question", () => {
  test.each<[Mode, boolean]>([
    ["tui", true],
    ["rpc", true],
    ["print", false],
    ["json", false],
  ])("in %s mode is asked: %s", async (mode, isAsked) => {
    const place = await startPlace();
    const user = new User(mode);
    user.confirms = () => true;
    const call = callOf(place, user);
    if (isAsked) {
      expect(() => requireUser(call.ctx)).not.toThrow();
      expect(await isConfirmed(call, QUESTION, ["Keep", "Change"])).toBe(true);
      expect(user.questions).toEqual([{ title: "Really?", text: "one\ntwo" }]);
      expect(user.acts).toEqual([["Keep", "Change"]]);
    } else {
      const refusal = `${mode} mode cannot ask. Nothing was changed`;
      expect(() => requireUser(call.ctx)).toThrow(refusal);
      await expect(isConfirmed(call, QUESTION, ["Keep", "Change"])).rejects.toThrow(refusal);
      expect(user.questions).toEqual([]);
    }
  });
});

test("the server is that of what is stored at this moment", async () => {
  const place = await startPlace();
  const call = callOf(place, new User("rpc"));
  const stored = { AI_SERVER_SERVICE_UNIT: "mine.service" };
  const registry = { getProviderAuth: async () => ({ auth: {}, env: stored }) };
  const ctx = { ...call.ctx, modelRegistry: registry } as unknown as typeof call.ctx;
  expect(await storedVariables(ctx)).toEqual(stored);
  expect((await serverFor({ ...call, ctx })).config.serviceUnit).toBe("mine.service");
  const loggedOut = { modelRegistry: { getProviderAuth: async () => undefined } } as unknown as typeof ctx;
  expect(await storedVariables(loggedOut)).toEqual({});
});

describe("the machine", () => {
  test("is that of the configuration", async () => {
    const place = await startPlace();
    const server = await serverFor(callOf(place, new User("rpc")));
    const host = await openHost(server, place.ended.signal);
    expect(await host.machine.read()).toMatchObject([{ name: "config.yaml", text: CONFIG }]);
    await host.close();
  });

  test("is left when it is closed, over ssh with its connection", async () => {
    const place = await startPlace(CONFIG, { AI_SERVER_SSH_HOST: "ops@127.0.0.1" });
    const server = await serverFor(callOf(place, new User("rpc")));
    const log = `${place.folder}/calls`;
    place.tool("ssh", `echo "$*" >>'${log}'; case $1 in -Oexit) ;; *) exec sh -s ;; esac`);
    const host = await openHost(server, place.ended.signal);
    await host.machine.read();
    await host.close();
    const calls = readFileSync(log, "utf8").trim().split("\n");
    expect(calls).toHaveLength(2);
    const socket = /-oControlPath=(\S+)\/s /.exec(calls[0] ?? "")?.[1] ?? "";
    expect(calls[1]?.startsWith("-Oexit ")).toBe(true);
    expect(calls[1]?.endsWith(` -oControlPath=${socket}/s -- ops@127.0.0.1`)).toBe(true);
    expect(existsSync(socket)).toBe(false);
  });
});
