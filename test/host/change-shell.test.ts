import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ChangeOutcome, Progress } from "../../host/outcome.ts";
import type { ChangeHost } from "../../host/service.ts";
import { FakeServer, fakeConfig, fakePlan } from "../support/fake-server.ts";
import { FILE, LocalHost } from "../support/local-host.ts";
import { UNIT } from "../support/machine-row.ts";
import { eventually } from "../support/processes.ts";
import { changeAt, type Hooks, restoreAt } from "../support/whole-change.ts";

// A change through the real script. What it makes of each answer is in change.test.ts, each verb in machine.test.ts.

const OLD = fakeConfig(1024);
const LIMITS = { restartTimeoutMs: 100, loadTimeoutMs: 100, pollMs: 5, reloadTimeoutMs: 50 };

describe.each(["direct", "wrapper"] as const)("%s", (mode) => {
  let host: LocalHost;
  let server: FakeServer;
  let steps: Progress[];

  beforeEach(() => {
    host = new LocalHost(OLD);
    host.hurryClock();
    steps = [];
    fakeSystemctl();
    server = new FakeServer(host.path, join(host.tools, "restarts"));
  });
  afterEach(() => host.remove());

  function fakeSystemctl(before = ""): void {
    const restart = `${before} printf r >>'${host.tools}/restarts'`;
    const show = `cat <<'END'\n${UNIT("llama-swap -config config.yaml")}\nEND\n`;
    host.tool("systemctl", `case $2 in show) ${show};; restart) ${restart} ;; esac`);
    host.tool("journalctl", "echo 'llama-swap: cannot read config'");
  }

  function ends(): ChangeHost {
    return { machine: host.machine(mode), probe: server, limits: LIMITS };
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
    const stamp = "20200101T000000Z";
    writeFileSync(`${host.path}.bak-${stamp}`, fakeConfig(512));
    expect(await restoreAt(ends(), stamp, FILE)).toMatchObject({ kind: "changed", notes: [] });
    expect(host.text).toBe(fakeConfig(512));
    expect(host.backups.map((name) => readFileSync(join(host.folder, name), "utf8"))).toContain(OLD);
  });

  test.each([
    [
      "a model that no longer loads",
      "unloadable",
      "load",
      /exited prematurely/,
      "cudaMalloc failed: out of memory",
    ],
    [
      "a server that never comes back",
      "broken",
      "answer",
      /did not answer again/,
      "llama-swap: cannot read config",
    ],
  ])("after %s, restores the old text and verifies it", async (_what, more, failed, reason, log) => {
    server.loaded = ["m"];
    expect(await change(2048, more)).toMatchObject({
      kind: "rolled back",
      failed,
      reason: expect.stringMatching(reason),
      log: [log],
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

  // What follows does not depend on the way to the machine; machine.test.ts runs each verb over both.
  if (mode === "wrapper") return;

  test("refuses missing rights before anything is written", async () => {
    chmodSync(host.folder, 0o550);
    expect(await change(2048)).toMatchObject({
      kind: "refused",
      reason: expect.stringMatching(/may not write/),
    });
    chmodSync(host.folder, 0o750);
    expect(host.text).toBe(OLD);
  });

  test.each([
    ["write", "old", ""],
    ["restart", "new", ""],
    ["load", "new", "slow"],
  ] as const)("cancelled during %s, leaves the %s file whole and says so", async (during, file, more) => {
    const cancel = new AbortController();
    const reached = join(host.tools, "reached");
    const released = join(host.tools, "released");
    const holding = `: >'${reached}'; while [ ! -e '${released}' ]; do sleep 0.05; done;`;
    if (during === "write") host.tool("sync", `${holding} exec /usr/bin/sync "$@"`);
    if (during === "restart") fakeSystemctl(holding);
    const atWork = during === "load" ? async () => true : () => existsSync(reached) || undefined;
    const cancelling = async (): Promise<void> => {
      await eventually(`the ${during} is under way`, atWork);
      cancel.abort();
      writeFileSync(released, "");
    };
    const outcome = await change(2048, more, {
      signal: cancel.signal,
      report: ({ step, state }) => {
        if (step === during && state === "begun") void cancelling();
      },
    });
    if (outcome.kind !== "cancelled") throw new Error(`not cancelled: ${JSON.stringify(outcome)}`);
    expect(outcome.file).toBe(file);
    const text = file === "new" ? fakeConfig(2048, more) : OLD;
    expect(host.text).toBe(text);
    if (file === "new") expect(host.backups).toEqual([`${FILE}.bak-${outcome.backup}`]);
    // Waits for a script that may still be at its work.
    await host.machine(mode).read();
    expect(host.text).toBe(text);
    expect(await change(4096)).toMatchObject({ kind: "changed" });
    expect(host.leftovers).toEqual([]);
  });
});
