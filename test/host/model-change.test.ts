import { appendFileSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ChangeOutcome, Edit, Planned, Progress } from "../../host/outcome.ts";
import type { ChangeHost, Limits } from "../../host/service.ts";
import type { HostFile } from "../../host/ssh/machine.ts";
import { FakeServer, fakeAddition, fakeConfig, fakeRemoval } from "../support/fake-server.ts";
import { InProcessShell } from "../support/in-process-shell.ts";
import { LocalHost } from "../support/local-host.ts";
import { UNIT } from "../support/machine-row.ts";
import { changeAt, type Hooks } from "../support/whole-change.ts";

const LIMITS = {
  restartTimeoutMs: 100,
  loadTimeoutMs: 100,
  pollMs: 5,
  reloadTimeoutMs: 50,
  retryMs: 5,
  portHeldMs: 100,
};
const WITHOUT = fakeConfig(1024);
const WITH = `${WITHOUT}  new:\n    cmd: llama-server -m /m/new.gguf -c 512 \n`;

let host: LocalHost;
let shell: InProcessShell;
let server: FakeServer;
let steps: Progress[];

function begin(text: string, loaded: string[]): void {
  writeFileSync(host.path, text);
  server = new FakeServer(host.path, shell.restarts, loaded);
}

beforeEach(() => {
  host = new LocalHost(WITHOUT);
  shell = new InProcessShell(host);
  steps = [];
});
afterEach(() => host.remove());

/** How the server comes to read its file. */
const WAYS = {
  restart: () => {},
  watch: () => {
    shell.unit = UNIT("llama-swap -watch-config");
    server.watches = true;
  },
  reload: () => {
    shell.unit = UNIT("llama-server --models-preset config.yaml");
    server.canReload("reloaded");
  },
} as const;

function change(
  plan: (file: HostFile) => Edit,
  hooks: Hooks = {},
  limits: Limits = LIMITS,
): Promise<ChangeOutcome> {
  const ends: ChangeHost = { machine: shell.machine(), probe: server, limits };
  return changeAt(ends, plan, { report: (progress) => steps.push(progress), ...hooks });
}

const names = () => steps.filter(({ state }) => state === "begun").map(({ step }) => step);

describe.each(["restart", "watch", "reload"] as const)("by %s", (way) => {
  const read = { restart: ["restart"], watch: ["await reload"], reload: ["reload"] }[way];

  test("a new model is read, loaded, verified, and the others are loaded again", async () => {
    begin(WITHOUT, ["m"]);
    WAYS[way]();
    expect(await change(fakeAddition(512))).toMatchObject({
      kind: "changed",
      context: { kind: "as asked", tokens: 512 },
      notes: [],
    });
    expect(host.text).toBe(WITH);
    expect(server.loads.slice(0, 1)).toEqual(["new"]);
    expect([...server.loaded].sort()).toEqual(["m", "new"]);
    expect(names().slice(0, 6)).toEqual(["status", "write", ...read, "answer", "load", "verify"]);
    expect(host.leftovers).toEqual([]);
  });

  test.each([
    ["unloadable", "load", /exited prematurely/],
    ["half --fit off", "verify", /256 tokens instead of 512/],
  ])("one that is %s goes again, and what was loaded is loaded again", async (more, failed, reason) => {
    begin(WITHOUT, ["m"]);
    WAYS[way]();
    expect(await change(fakeAddition(512, more))).toMatchObject({
      kind: "rolled back",
      failed,
      reason: expect.stringMatching(reason),
      file: "old",
      isHealthy: true,
      notes: [],
    });
    expect([host.text, server.loaded]).toEqual([WITHOUT, ["m"]]);
    expect(await server.lists("new")).toBe(false);
  });

  test("a model that is taken out is no longer offered, and the others are loaded again", async () => {
    begin(WITH, ["new", "m"]);
    WAYS[way]();
    const seen = ({ unloads }: Planned): void =>
      expect(unloads).toEqual(way === "reload" ? ["new"] : ["new", "m"]);
    expect(await change(fakeRemoval(), { seen })).toEqual({
      kind: "changed",
      backup: expect.stringMatching(/Z$/),
      context: undefined,
      notes: [],
    });
    expect([host.text, server.loaded]).toEqual([WITHOUT, ["m"]]);
    expect(names().slice(0, 5)).toEqual(["status", "write", ...read, "answer", "verify gone"]);
  });

  test("nothing is loaded for a model that is taken out of an idle server", async () => {
    begin(WITH, []);
    WAYS[way]();
    expect(await change(fakeRemoval())).toMatchObject({ kind: "changed", notes: [] });
    expect([server.loads, server.loaded]).toEqual([[], []]);
  });
});

test("a server that still offers the model gets the old config back", async () => {
  begin(WITH, ["new"]);
  server.isStubborn = true;
  expect(await change(fakeRemoval())).toMatchObject({
    kind: "rolled back",
    failed: "verify gone",
    reason: "The server still offers new. It may have refused the new config, or it reads another file.",
    file: "old",
    isHealthy: true,
  });
  expect(host.text).toBe(WITH);
});

test("a server that does not come back without the model gets the old config back", async () => {
  begin(WITH, ["m"]);
  const plan = (file: HostFile): Edit => ({ ...fakeRemoval()(file), text: fakeConfig(1024, "broken") });
  expect(await change(plan)).toMatchObject({ kind: "rolled back", failed: "answer", file: "old" });
  expect([host.text, server.loaded]).toEqual([WITH, ["m"]]);
});

test("a router that ignores the reload is restarted, for a new model and for one that goes", async () => {
  begin(WITHOUT, ["m"]);
  WAYS.reload();
  server.canReload("ignored");
  expect(await change(fakeAddition(512))).toMatchObject({ kind: "changed", notes: [] });
  expect(server.restarts).toBe(1);
  expect(await change(fakeRemoval())).toMatchObject({ kind: "changed", notes: [] });
  expect([server.restarts, host.text]).toEqual([2, WITHOUT]);
});

test("a llama-swap that should watch its file and does not is restarted", async () => {
  begin(WITH, []);
  shell.unit = UNIT("llama-swap -watch-config");
  server.isSilent = true;
  expect(await change(fakeRemoval())).toMatchObject({ kind: "changed" });
  expect(server.restarts).toBe(1);
  expect(await change(fakeAddition(512))).toMatchObject({ kind: "changed", context: { tokens: 512 } });
  expect(server.restarts).toBe(2);
});

test("a reload of an idle server is seen by the list, and not waited for to the end", async () => {
  begin(WITHOUT, []);
  WAYS.watch();
  const limits = { ...LIMITS, reloadTimeoutMs: 600_000 };
  expect(await change(fakeAddition(512), {}, limits)).toMatchObject({ kind: "changed" });
  server.loaded = [];
  expect(await change(fakeRemoval(), {}, limits)).toMatchObject({ kind: "changed" });
  expect([host.text, server.restarts]).toEqual([WITHOUT, 0]);
});

test("a router may go on offering a model that it finds itself", async () => {
  begin(WITH, ["new", "m"]);
  WAYS.reload();
  server.found = ["new"];
  const plan = (file: HostFile): Edit => ({ ...fakeRemoval()(file), removed: { id: "new", mayStay: true } });
  expect(await change(plan)).toMatchObject({
    kind: "changed",
    notes: ["The router still offers new: it finds the model's file itself."],
  });
  expect([host.text, server.restarts]).toEqual([WITHOUT, 0]);
});

test("an edit during the question, and a cancel before the write, change nothing", async () => {
  begin(WITH, []);
  const seen = (): void => appendFileSync(host.path, "# theirs\n");
  expect(await change(fakeRemoval(), { seen })).toMatchObject({ kind: "refused" });
  expect(host.text).toBe(`${WITH}# theirs\n`);
  begin(WITH, []);
  const cancel = new AbortController();
  const hooks = { signal: cancel.signal, seen: () => cancel.abort() };
  expect(await change(fakeRemoval(), hooks)).toEqual({ kind: "cancelled", file: "old", backup: undefined });
  expect(host.text).toBe(WITH);
});

test("a model that the list does not show is taken out without that proof", async () => {
  begin(WITH, ["m"]);
  server.lists = async () => undefined;
  expect(await change(fakeRemoval())).toMatchObject({ kind: "changed", notes: [] });
  expect(host.text).toBe(WITHOUT);
});
