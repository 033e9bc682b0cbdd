import { afterEach, beforeEach, expect, test } from "vitest";
import { restartServer } from "../../host/change.ts";
import type { ChangeOutcome, Progress } from "../../host/outcome.ts";
import type { ChangeHost } from "../../host/service.ts";
import { ServerError } from "../../lib/errors.ts";
import { FakeServer, fakeConfig, fakePlan } from "../support/fake-server.ts";
import { InProcessShell } from "../support/in-process-shell.ts";
import { FILE, LocalHost } from "../support/local-host.ts";
import { UNIT } from "../support/machine-row.ts";
import { changeAt, type Hooks, restoreAt } from "../support/whole-change.ts";

const OLD = fakeConfig(1024);
const LIMITS = { restartTimeoutMs: 100, loadTimeoutMs: 100, pollMs: 5, reloadTimeoutMs: 50, retryMs: 5 };

let host: LocalHost;
let shell: InProcessShell;
let server: FakeServer;
let steps: Progress[];

beforeEach(() => {
  host = new LocalHost(OLD);
  steps = [];
  shell = new InProcessShell(host);
  shell.unit = UNIT("llama-server --models-preset config.yaml");
  shell.journal = "llama-server: cannot load";
  server = new FakeServer(host.path, shell.restarts, ["m", "other"]);
  server.canReload("reloaded");
});
afterEach(() => host.remove());

function ends(): ChangeHost {
  return { machine: shell.machine(), probe: server, limits: LIMITS };
}

const restart = async () => restartServer(ends(), await ends().machine.status());

function change(size: number, more = "", hooks: Hooks = {}): Promise<ChangeOutcome> {
  return changeAt(ends(), fakePlan(size, more), { report: (progress) => steps.push(progress), ...hooks });
}

const names = () => steps.filter(({ state }) => state === "begun").map(({ step }) => step);

test("a router reloads instead of restarting, and loads again only what it unloaded", async () => {
  const outcome = await change(2048, "", {
    seen: ({ reloads, loaded, unloads }) => {
      expect(reloads).toBe(true);
      expect([loaded.map(({ id }) => id), unloads]).toEqual([["m", "other"], ["m"]]);
    },
  });
  expect(outcome).toMatchObject({ kind: "changed", context: { tokens: 2048 }, notes: [] });
  expect(names()).toEqual(["status", "write", "reload", "answer", "load", "verify"]);
  expect([server.restarts, server.reloads, server.loads]).toEqual([0, 1, ["m"]]);
  expect(server.loaded).toEqual(["other", "m"]);
});

test("a reload needs no unit", async () => {
  shell.unit = "LoadState=not-found";
  expect(await change(2048)).toMatchObject({ kind: "changed" });
  await expect(restart()).rejects.toThrow(/does not exist/);
});

test("loads a model again that the changed one displaced", async () => {
  server.load = async (id) => {
    server.loads.push(id);
    server.loaded = [id];
  };
  server.loaded = ["other"];
  expect(await change(2048)).toMatchObject({ kind: "changed", notes: [] });
  expect(server.loads).toEqual(["m", "other"]);
});

test.each(["unloadable", "half --fit off"])(
  "rolls back a change to %s by a reload, and restarts nothing",
  async (more) => {
    expect(await change(2048, more)).toMatchObject({
      kind: "rolled back",
      file: "old",
      isHealthy: true,
      trouble: "",
      notes: [],
    });
    expect(host.text).toBe(OLD);
    expect([server.restarts, server.reloads]).toEqual([0, 2]);
    expect(names().slice(-4)).toEqual(["restore", "reload", "answer", "load again"]);
    expect(server.loaded).toEqual(["other", "m"]);
  },
);

test("a router that refuses the new preset gives the reason, and unloads nothing", async () => {
  expect(await change(2048, "broken")).toMatchObject({
    kind: "rolled back",
    failed: "reload",
    reason: "option 'broken' not recognized",
    file: "old",
    isHealthy: true,
  });
  expect(host.text).toBe(OLD);
  expect([server.restarts, server.loads]).toEqual([0, []]);
});

test("gives up a reload that does not end in time", async () => {
  const { reload = untilAborted } = server;
  server.reload = (signal) => (server.reloads++ === 0 ? untilAborted(signal) : reload(signal));
  expect(await change(2048)).toMatchObject({
    kind: "rolled back",
    failed: "reload",
    reason: "The server did not read its config again within 1 s.",
    file: "old",
    isHealthy: true,
  });
  expect(server.restarts).toBe(0);
});

test("quotes the unit's journal where the server's own log is empty", async () => {
  server.log = async () => [];
  expect(await change(2048, "unloadable")).toMatchObject({
    failed: "load",
    log: ["llama-server: cannot load"],
  });
});

test("does not repeat a log that the reason quotes already", async () => {
  const details = { link: "model", remedy: "none", quotesLog: true } as const;
  const load = server.load.bind(server);
  server.load = (id, signal) =>
    load(id, signal).catch(() => {
      throw new ServerError("m could not be loaded. Its log ends with: out of memory", details);
    });
  expect(await change(2048, "unloadable")).toMatchObject({ failed: "load", log: [] });
});

test.each(["not understood", "ignored"] as const)(
  "restarts where a reload is %s, and does not try one on the way back",
  async (how) => {
    server.canReload(how);
    expect(await change(2048)).toMatchObject({ kind: "changed", notes: [] });
    expect(names()).toEqual(expect.arrayContaining(["reload", "restart", "load again"]));
    expect([server.restarts, server.reloads]).toEqual([1, 1]);
    expect(await change(4096, "unloadable")).toMatchObject({ kind: "rolled back", isHealthy: true });
    expect([server.restarts, server.reloads]).toEqual([3, 2]);
    expect(host.text).toBe(fakeConfig(2048));
  },
);

test.each([
  ["that does not answer is restarted on the way back", "broken", 1, ""],
  ["that refuses the old text too is never restarted, as it would not start with it", "", 0, "It refuses."],
])("a server %s", async (_what, isGone, restarts, trouble) => {
  const { reload = untilAborted, answers } = server;
  server.reload = async (signal) => {
    if (server.reloads > 0) throw new ServerError("It refuses.", { link: "server", remedy: "none" });
    return reload(signal);
  };
  server.answers = async () =>
    isGone === "" || server.restarts > 0 ? answers.call(server) : server.reloads < 1;
  expect(await change(2048, "unloadable")).toMatchObject({ kind: "rolled back", file: "old", trouble });
  expect(server.restarts).toBe(restarts);
});

test.each(["reload", "load"] as const)(
  "a change that is cancelled during %s leaves the new file",
  async (during) => {
    const cancel = new AbortController();
    if (during === "reload") server.reload = untilAborted;
    const outcome = await change(2048, during === "load" ? "slow" : "", {
      signal: cancel.signal,
      report: ({ step, state }) => {
        if (step === during && state === "begun") setImmediate(() => cancel.abort());
      },
    });
    expect(outcome).toMatchObject({ kind: "cancelled", file: "new" });
    expect(host.text).toBe(fakeConfig(2048, during === "load" ? "slow" : ""));
    expect(host.backups).toHaveLength(1);
  },
);

test("restarts where the user asks for a restart", async () => {
  expect(await restart()).toEqual([]);
  expect([server.restarts, server.reloads, server.loads]).toEqual([1, 0, ["m", "other"]]);
});

test("restores a backup by a reload too", async () => {
  await change(2048);
  const [stamp] = host.backups.map((name) => name.split(".bak-")[1] ?? "");
  expect(await restoreAt(ends(), stamp ?? "", FILE)).toMatchObject({ kind: "changed" });
  expect([server.restarts, server.reloads]).toEqual([0, 2]);
  expect(server.loads).toEqual(["m", "m"]);
});

function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
