import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { planChange, planRestore, restartServer } from "../../host/change.ts";
import type { ChangeOutcome, Planned, Progress } from "../../host/outcome.ts";
import type { ChangeHost, Limits } from "../../host/service.ts";
import { FakeServer, fakeConfig, fakePlan } from "../support/fake-server.ts";
import { InProcessShell } from "../support/in-process-shell.ts";
import { FILE, LocalHost } from "../support/local-host.ts";
import { UNIT } from "../support/machine-row.ts";
import { changeAt, type Hooks, restoreAt } from "../support/whole-change.ts";

const OLD = fakeConfig(1024);
const LIMITS: Limits = {
  restartTimeoutMs: 100,
  loadTimeoutMs: 100,
  pollMs: 5,
  reloadTimeoutMs: 50,
  retryMs: 5,
  portHeldMs: 1000,
};

let host: LocalHost;
let shell: InProcessShell;
let server: FakeServer;
let steps: Progress[];

beforeEach(() => {
  host = new LocalHost(OLD);
  shell = new InProcessShell(host);
  steps = [];
  server = new FakeServer(host.path, shell.restarts);
});
afterEach(() => host.remove());

function ends(limits = LIMITS): ChangeHost {
  return { machine: shell.machine(), probe: server, limits };
}

function change(size: number, more = "", hooks: Hooks = {}): Promise<ChangeOutcome> {
  return changeAt(ends(), fakePlan(size, more), { report: (progress) => steps.push(progress), ...hooks });
}

const names = () => steps.filter(({ state }) => state === "begun").map(({ step }) => step);

test("writes, restarts, loads, and verifies the new command line and window", async () => {
  server.loaded = ["m"];
  const outcome = await change(2048);
  expect(outcome).toMatchObject({
    kind: "changed",
    context: { kind: "as asked", tokens: 2048, expected: 2048 },
    notes: [],
  });
  expect(host.text).toBe(fakeConfig(2048));
  expect(names()).toEqual(["status", "write", "restart", "answer", "load", "verify"]);
  expect(server.restarts).toBe(1);
  expect(host.backups).toHaveLength(1);
  expect(host.leftovers).toEqual([]);
});

test("restores a backup the same way, with a backup of its own", async () => {
  await change(2048);
  const [stamp] = host.backups.map((name) => name.split(".bak-")[1] ?? "");
  server.loaded = ["m"];
  expect(await restoreAt(ends(), stamp ?? "", FILE)).toMatchObject({ kind: "changed", notes: [] });
  expect(host.text).toBe(OLD);
  expect(server.loads.at(-1)).toBe("m");
  expect(host.backups.map((name) => readFileSync(join(host.folder, name), "utf8"))).toContain(
    fakeConfig(2048),
  );
});

test.each([
  [
    "a model that no longer loads",
    "unloadable",
    "load",
    /exited prematurely/,
    ["cudaMalloc failed: out of memory"],
  ],
  [
    "a server that never comes back",
    "broken",
    "answer",
    /did not answer again/,
    ["llama-swap: cannot read config"],
  ],
  ["a load without end", "slow", "load", /m was not loaded within 1 s/, ["cudaMalloc failed: out of memory"]],
  [
    "a smaller window for no reason",
    "half --fit off",
    "verify",
    /1024 tokens instead of 2048/,
    ["failed to reload config"],
  ],
])("after %s, restores the old text and verifies it", async (_what, more, failed, reason, log) => {
  server.loaded = ["m"];
  const outcome = await change(2048, more);
  expect(outcome).toMatchObject({
    kind: "rolled back",
    failed,
    reason: expect.stringMatching(reason),
    log,
    file: "old",
    isHealthy: true,
    trouble: "",
    notes: [],
  });
  expect(host.text).toBe(OLD);
  expect(server.restarts).toBe(2);
  expect(server.loaded).toEqual(["m"]);
  expect(host.backups).toHaveLength(2);
  expect(host.leftovers).toEqual([]);
  expect(names().slice(-4)).toEqual(["restore", "restart", "answer", "load again"]);
  expect(steps.at(-1)?.isGoingBack).toBe(true);
});

test("a plan holds both texts, the loaded models and the unit, and writes nothing", async () => {
  server.loaded = ["m", "other"];
  const [file] = await ends().machine.read();
  const planned = file && (await planChange(ends(), fakePlan(2048)(file)));
  expect([planned?.file.text, planned?.text]).toEqual([OLD, fakeConfig(2048)]);
  expect(planned?.loaded.map(({ id }) => id)).toEqual(["m", "other"]);
  expect(planned?.unit.activeState).toBe("active");
  expect(host.text).toBe(OLD);
  expect(host.backups).toEqual([]);
});

test("plans nothing where the file already has the text", async () => {
  const [file] = await ends().machine.read();
  expect(file && (await planChange(ends(), { file, text: OLD }))).toBeUndefined();
});

test("loads the models again that were loaded, and notes one that no longer fits", async () => {
  server.loaded = ["other", "gone"];
  expect(await change(2048)).toMatchObject({
    kind: "changed",
    notes: [expect.stringMatching(/^gone was loaded before and could not be loaded again: upstream command/)],
  });
  expect(server.loads).toEqual(["m", "other"]);
});

test("keeps a smaller window that has a reason, and reports it", async () => {
  expect(await change(2048, "half")).toMatchObject({
    kind: "changed",
    context: { kind: "less", tokens: 1024, why: expect.stringMatching(/--fit/) },
  });
});

test("notices a server that keeps the old command line", async () => {
  server.isStubborn = true;
  expect(await change(2048)).toMatchObject({
    kind: "rolled back",
    failed: "verify",
    reason: expect.stringMatching(/still starts m with the old command line/),
    file: "old",
    isHealthy: true,
  });
});

test("undoes a change whose restart fails, and finds that the server never stopped", async () => {
  shell.restartFault = "Job failed. See journalctl.";
  const outcome = await change(2048);
  expect(outcome).toMatchObject({
    kind: "rolled back",
    failed: "restart",
    reason: expect.stringMatching(/The restart on .* failed: Job failed/),
    file: "old",
    isHealthy: true,
    trouble: expect.stringMatching(/The restart on .* failed/),
  });
  expect(host.text).toBe(OLD);
});

test("refuses a unit that cannot be restarted before anything is written", async () => {
  shell.unit = "LoadState=not-found";
  await expect(change(2048)).rejects.toThrow(/does not exist.*Nothing was changed\.$/);
  expect([...host.backups, ...host.leftovers]).toEqual([]);
});

test("does not also restart a llama-swap that watches its file", async () => {
  shell.unit = UNIT("llama-swap -config config.yaml -watch-config");
  server.watches = true;
  server.loaded = ["m"];
  expect(await change(2048)).toMatchObject({ kind: "changed", context: { tokens: 2048 } });
  expect(server.restarts).toBe(0);
  expect(await changeAt(ends({ ...LIMITS, portHeldMs: 50 }), fakePlan(4096, "unloadable"))).toMatchObject({
    kind: "rolled back",
    file: "old",
    isHealthy: true,
  });
  expect(host.text).toBe(fakeConfig(2048));
  expect(server.restarts).toBe(0);
});

test("waits for an old process that holds the model's port after a reload", async () => {
  shell.unit = UNIT("llama-swap -watch-config");
  server.watches = true;
  server.heldFor = 6;
  expect(await change(2048)).toMatchObject({ kind: "changed", context: { tokens: 2048 } });
  expect(server.tries).toBe(7);
});

test("does not retry a load that fails later than a port can be held", async () => {
  shell.unit = UNIT("llama-swap -watch-config");
  server.watches = true;
  const limits = { ...LIMITS, portHeldMs: 20 };
  const outcome = await changeAt(ends(limits), fakePlan(2048, "slow"));
  expect(outcome).toMatchObject({ kind: "rolled back", failed: "load" });
  expect(server.tries).toBe(1);
});

test("rolls back where a watching llama-swap refuses the file and keeps the old one running", async () => {
  shell.unit = UNIT("llama-swap -watch-config");
  server.loaded = ["m"];
  expect(await change(2048)).toMatchObject({
    kind: "rolled back",
    failed: "verify",
    log: ["failed to reload config"],
    file: "old",
  });
  expect(host.text).toBe(OLD);
  expect(server.restarts).toBe(0);
});

test("restarts at once a llama-swap whose container never sees a new file, as the plan says", async () => {
  shell.unit = UNIT("docker run -v /x/c.yaml:/app/config.yaml image -config /app/config.yaml -watch-config");
  server.loaded = ["m"];
  const seen = ({ unit }: Planned): void => expect([unit.isBlind, unit.watchesConfig]).toEqual([true, false]);
  expect(await change(2048, "", { seen })).toMatchObject({
    kind: "changed",
    context: { tokens: 2048 },
    notes: [],
  });
  expect(names()).toEqual(["status", "write", "restart", "answer", "load", "verify"]);
  expect(server.restarts).toBe(1);
});

test.each([[["m"]], [[]]])("restarts where no reload comes, with %j loaded", async (loaded) => {
  shell.unit = UNIT("/opt/start-llama-swap -watch-config");
  server.isSilent = true;
  server.loaded = [...loaded];
  expect(await change(2048)).toMatchObject({ kind: "changed", context: { tokens: 2048 }, notes: [] });
  expect(server.restarts).toBe(1);
  expect(host.text).toBe(fakeConfig(2048));
});

test("restarts on the way back too where no reload comes", async () => {
  shell.unit = UNIT("/opt/start-llama-swap -watch-config");
  server.isSilent = true;
  server.loaded = ["m"];
  expect(await change(2048, "unloadable")).toMatchObject({
    kind: "rolled back",
    failed: "load",
    file: "old",
    isHealthy: true,
  });
  expect(server.restarts).toBe(2);
  expect(server.loaded).toEqual(["m"]);
  expect(host.text).toBe(OLD);
});

test("rolls back where no reload comes and nothing can restart it", async () => {
  shell.unit = "LoadState=not-found\nExecStart={ path=/x ; argv[]=llama-swap -watch-config ; pid=0 }";
  server.isSilent = true;
  server.loaded = ["m"];
  expect(await change(2048)).toMatchObject({ kind: "rolled back", failed: "verify", file: "old" });
  expect(server.restarts).toBe(0);
});

test("refuses after an edit during the question, and returns the file as it is now", async () => {
  const outcome = await change(2048, "", {
    seen: () => appendFileSync(host.path, "# theirs\n"),
  });
  expect(outcome).toMatchObject({
    kind: "refused",
    reason: expect.stringMatching(/changed by another program/),
    current: { text: `${OLD}# theirs\n` },
  });
  expect([...host.backups, ...host.leftovers]).toEqual([]);
  expect(server.restarts).toBe(0);
});

test("a change repairs a server that was down", async () => {
  writeFileSync(host.path, fakeConfig(1024, "broken"));
  server = new FakeServer(host.path, shell.restarts);
  expect(await change(2048)).toMatchObject({ kind: "changed" });
  expect(host.text).toBe(fakeConfig(2048));
});

test("reports both failures where the way back fails too", async () => {
  const outcome = await change(2048, "unloadable", {
    report: ({ step, state }) => {
      if (step === "load" && state === "failed") writeFileSync(host.path, "another program's");
    },
  });
  expect(outcome).toMatchObject({
    kind: "rolled back",
    failed: "load",
    file: "other",
    isHealthy: false,
    trouble: expect.stringMatching(/changed by another program/),
  });
  expect(host.text).toBe("another program's");
});

test.each(["read", "status"] as const)(
  "a plan that is cancelled during %s writes nothing",
  async (during) => {
    writeFileSync(`${host.path}.bak-20200101T000000Z`, fakeConfig(512));
    const cancel = new AbortController();
    const cancelled = new Error("Cancelled");
    const planned = planRestore(ends(), "20200101T000000Z", FILE, {
      signal: cancel.signal,
      report: ({ step, state }) => {
        if (step === during && state === "begun") cancel.abort(cancelled);
      },
    });
    await expect(planned).rejects.toBe(cancelled);
    expect(host.text).toBe(OLD);
    expect(host.backups).toHaveLength(1);
  },
);

test("a change that is cancelled before it begins writes nothing", async () => {
  const cancel = new AbortController();
  expect(await change(2048, "", { signal: cancel.signal, seen: () => cancel.abort() })).toMatchObject({
    kind: "cancelled",
    file: "old",
  });
  expect([host.text, host.backups]).toEqual([OLD, []]);
});

test("restores the present text where the server does not start with the backup", async () => {
  const broken = fakeConfig(512, "broken");
  writeFileSync(`${host.path}.bak-20200101T000000Z`, broken);
  expect(await restoreAt(ends(), "20200101T000000Z", FILE)).toMatchObject({
    kind: "rolled back",
    failed: "answer",
    file: "old",
    isHealthy: true,
  });
  expect(host.text).toBe(OLD);
});

describe("where llama-swap watches its file, a restored backup", () => {
  const STAMP = "20200101T000000Z";
  beforeEach(() => {
    shell.unit = UNIT("llama-swap -watch-config");
    writeFileSync(`${host.path}.bak-${STAMP}`, fakeConfig(512));
  });

  const restore = () => restoreAt(ends(), STAMP, FILE, { report: (progress) => steps.push(progress) });

  test.each([[["m"]], [[]]])("that llama-swap refuses is undone, with %j loaded", async (loaded) => {
    server.loaded = [...loaded];
    expect(await restore()).toMatchObject({
      kind: "rolled back",
      failed: "await reload",
      reason: expect.stringMatching(/^Its log says that the reload failed/),
      log: ["failed to reload config"],
      file: "old",
      isHealthy: true,
    });
    expect([host.text, server.loaded, server.restarts]).toEqual([OLD, loaded, 0]);
  });

  test("is confirmed by the log where no model was loaded, in a step of its own", async () => {
    server.watches = true;
    expect(await restore()).toEqual({
      kind: "changed",
      backup: expect.any(String),
      context: undefined,
      notes: [],
    });
    expect(names()).toEqual(["read", "status", "write", "await reload", "await reload", "answer"]);
  });

  test("that no log mentions is reported as unseen where no model was loaded", async () => {
    server.isSilent = true;
    expect(await restore()).toMatchObject({ kind: "changed", isUnseen: true });
  });

  test("that llama-swap neither reloads nor can be restarted with is undone", async () => {
    shell.unit = "LoadState=not-found\nExecStart={ path=/x ; argv[]=llama-swap -watch-config ; pid=0 }";
    server.isSilent = true;
    server.loaded = ["m"];
    expect(await restore()).toMatchObject({
      kind: "rolled back",
      failed: "await reload",
      reason: expect.stringMatching(/did not reload the config by itself/),
      file: "old",
    });
  });
});

test("a restart loads the models again that were loaded", async () => {
  const restart = async () => restartServer(ends(), await ends().machine.status());
  server.loaded = ["m", "gone"];
  expect(await restart()).toEqual([expect.stringMatching(/^gone was loaded before/)]);
  expect(server.loaded).toEqual(["m"]);
  shell.restartFault = "exit 1";
  await expect(restart()).rejects.toThrow(/The restart on .* failed/);
  expect(existsSync(host.path)).toBe(true);
});
