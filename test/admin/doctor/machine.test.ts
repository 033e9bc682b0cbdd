import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { writable } from "../../../admin/doctor/machine/room.ts";
import type { Site } from "../../../admin/doctor/machine/site.ts";
import { type Place, startPlace } from "../../support/command-place.ts";
import { saying, User } from "../../support/command-user.ts";
import { docsBlock } from "../../support/docs.ts";
import { allFindings, type ShownFinding } from "../../support/doctor-findings.ts";
import { installSystemd, recordedSystemd, type SystemdParts } from "../../support/systemd.ts";

/** A place whose unit and programs are as these parts say, with a home of its own. */
async function placeWith(parts: SystemdParts = {}, env: Record<string, string> = {}): Promise<Place> {
  const home = mkdtempSync(join(tmpdir(), "machine-home-"));
  vi.stubEnv("HOME", home);
  onTestFinished(() => {
    vi.unstubAllEnvs();
    rmSync(home, { recursive: true, force: true });
  });
  const place = await startPlace(undefined, env);
  installSystemd(place, parts);
  return place;
}

async function machineFindings(place: Place): Promise<ShownFinding[]> {
  return (await allFindings(place)).filter(({ group }) => group === "machine");
}

async function found(
  parts: SystemdParts,
  check: string,
  env: Record<string, string> = {},
): Promise<ShownFinding[]> {
  const list = await machineFindings(await placeWith(parts, env));
  return list.filter((finding) => finding.check === check);
}

const show = (state: string, changes: Record<string, string>): string =>
  Object.entries(changes).reduce(
    (text, [name, value]) => text.replace(new RegExp(`^${name}=.*$`, "m"), `${name}=${value}`),
    recordedSystemd(`${state}.show`),
  );

test("on a machine where everything is right, every check holds", async () => {
  const list = await machineFindings(await placeWith());
  expect(list.map(({ check, verdict }) => `${verdict} ${check}`)).toEqual([
    "ok ssh",
    "ok unit",
    "ok unit-enabled",
    "ok unit-running",
    "ok unit-stop",
    "ok unit-lines",
    "ok linger",
    "ok disk-models",
    "ok disk-config",
    "ok config-writable",
    "ok backups",
    "ok lock",
    "ok journal",
    "ok memory",
  ]);
  const seen = Object.fromEntries(list.map((finding) => [finding.check, finding.seen]));
  expect(seen).toMatchObject({
    unit: "/home/ai-server/.config/systemd/user/llama-swap.service",
    "unit-enabled": "enabled, by default.target",
    "unit-stop": "45 s; llama-swap needs up to 35 s",
    "disk-models": "572 GiB of 954 GiB free on /srv/the models",
    "disk-config": "the same as that of the models (/srv/the models)",
    backups: "none yet; the first change makes one",
    lock: "flock",
    memory: "the kernel has ended no process to free memory since the machine started",
  });
});

describe("the unit", () => {
  test("is missing", async () => {
    const [unit] = await found({ state: "none" }, "unit");
    expect(unit).toMatchObject({ verdict: "fault", fixable: false });
    expect(unit?.next).toContain("Set AI_SERVER_SERVICE_UNIT");
  });

  test("is one of the whole machine", async () => {
    const [unit] = await found({ state: "none", system: "LoadState=loaded\nActiveState=active" }, "unit");
    expect(unit).toMatchObject({ verdict: "warning", fixable: false });
    expect(unit?.next).toContain(
      "AI_SERVER_RESTART_COMMAND='sudo -n /usr/bin/systemctl restart llama-swap.service'",
    );
  });

  test("is masked", async () => {
    const [unit] = await found({ state: "masked" }, "unit");
    expect(unit).toMatchObject({
      verdict: "fault",
      seen: "llama-swap.service is masked, so nothing can start it",
    });
    expect(unit?.next).toMatch(/systemctl --user unmask llama-swap\.service/);
  });

  test("was changed after systemd read it", async () => {
    const [unit] = await found({ show: show("good", { NeedDaemonReload: "yes" }) }, "unit");
    expect(unit).toMatchObject({ verdict: "warning", next: expect.stringContaining("daemon-reload") });
  });

  test("cannot be seen without a bus, and the reason is that of every other command", async () => {
    const place = await placeWith();
    place.tool("systemctl", "echo 'Failed to connect to bus: No medium found' >&2; exit 1");
    const unit = (await machineFindings(place)).filter(({ check }) => check.startsWith("unit"));
    expect(unit).toMatchObject([
      {
        check: "unit",
        verdict: "fault",
        seen: expect.stringMatching(/no session to connect to.*enable-linger/),
      },
      { check: "unit-lines", verdict: "unchecked" },
    ]);
  });

  test("is not looked at where a command restarts the server", async () => {
    const list = await machineFindings(
      await placeWith({ state: "none" }, { AI_SERVER_RESTART_COMMAND: "true" }),
    );
    expect(list.filter(({ check }) => check.startsWith("unit") || check === "linger")).toMatchObject([
      { check: "unit", verdict: "unchecked" },
    ]);
    expect(list.find(({ check }) => check === "journal")).toMatchObject({ verdict: "unchecked" });
  });

  test.each<[SystemdParts, string]>([
    [{ state: "disabled" }, "the unit is not enabled"],
    [{ state: "static" }, "the unit has no [Install] section, so nothing starts it"],
    [{ state: "broken" }, "it is enabled, but no target of the user's starts it"],
    [
      { show: show("good", { UnitFileState: "enabled-runtime" }) },
      "it is enabled until the next start of the machine only",
    ],
  ])("does not start with the machine (%o)", async (parts, seen) => {
    const [enabled] = await found(parts, "unit-enabled");
    expect(enabled).toMatchObject({ verdict: "warning", seen });
  });

  test.each<[SystemdParts, ShownFinding["verdict"], string, string]>([
    [{ state: "stopped" }, "fault", "it is not running (inactive)", "/ai-server-restart starts it"],
    [
      { state: "broken" },
      "fault",
      "it ends at once and is started again, 2 times so far (exit-code, exit status 216/GROUP)",
      "Remove User= and Group=",
    ],
    [
      { show: show("broken", { ActiveState: "failed", SubState: "failed", ExecMainStatus: "203" }) },
      "fault",
      "it has failed (exit-code, exit status 203/EXEC)",
      "ExecStart=",
    ],
    [
      { show: show("stopped", { ActiveState: "failed", Result: "oom-kill" }) },
      "fault",
      "it has failed (oom-kill)",
      "/ai-server-logs",
    ],
  ])("does not run (%o)", async (parts, verdict, seen, next) => {
    const [running] = await found(parts, "unit-running");
    expect(running).toMatchObject({ verdict, seen, next: expect.stringContaining(next) });
  });

  test("was started again by itself a moment ago, or long ago", async () => {
    const uptime = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
    const started = (ago: number) =>
      show("good", {
        NRestarts: "3",
        ActiveEnterTimestampMonotonic: String(Math.round((uptime - ago) * 1e6)),
      });
    const [recent] = await found({ show: started(5) }, "unit-running");
    expect(recent).toMatchObject({ verdict: "warning", seen: expect.stringContaining("again 3 times") });
    const [old] = await found({ show: started(700) }, "unit-running");
    expect(old).toMatchObject({ verdict: "ok", seen: expect.stringContaining("again 3 times") });
  });

  test("gives llama-swap too little time to stop", async () => {
    const [stop] = await found({ show: show("good", { TimeoutStopUSec: "10s" }) }, "unit-stop");
    expect(stop).toMatchObject({ verdict: "warning", next: expect.stringContaining("TimeoutStopSec=45") });
    const [none] = await found({ show: show("good", { TimeoutStopUSec: "infinity" }) }, "unit-stop");
    expect(none).toMatchObject({ verdict: "ok", seen: expect.stringContaining("no limit") });
  });

  test("has lines that a user unit cannot have, and those that keep it from starting are faults", async () => {
    const lines = await found({ state: "broken" }, "unit-lines");
    expect(lines.map(({ verdict, subject }) => `${verdict} ${subject}`)).toEqual([
      "warning After= in the unit",
      "warning Wants= in the unit",
      "fault User= in the unit",
      "fault Group= in the unit",
      "warning LimitMEMLOCK_BYTES= in the unit",
      "warning Foo= in the unit",
      "warning WantedBy= in the unit",
    ]);
    expect(lines[4]?.next).toContain("the setting is called LimitMEMLOCK=");
    expect(lines[6]?.next).toContain("write WantedBy=default.target");
    expect(
      lines.every(({ next }) => next?.includes("/home/ai-server/.config/systemd/user/llama-swap.service")),
    ).toBe(true);
  });
});

test("lingering is off", async () => {
  const [linger] = await found({ linger: "Linger=no" }, "linger");
  expect(linger).toMatchObject({ verdict: "warning", fixable: true });
  expect(linger?.next).toMatch(/loginctl enable-linger/);
});

describe("disks", () => {
  test.each([
    ["1000000000 991000000 9000000", "warning"],
    ["1000000000 999500000 500000", "fault"],
    ["4000000000 3880000000 120000000", "ok"],
    ["4000000000 3920000000 80000000", "warning"],
    ["100000000 80000000 20000000", "ok"],
  ])("with %s KiB: %s", async (disk, verdict) => {
    expect((await found({ disk }, "disk-models"))[0]).toMatchObject({ verdict });
  });

  test("of the config alone needs little, and is one of its own", async () => {
    const place = await placeWith();
    const line = (mount: string, free: number) => `echo '/dev/x 20000000 1 ${free} 50% ${mount}'`;
    const df = (free: number) =>
      `case $2 in */place-*) ${line("/home", free)} ;; *) ${line("/srv", 15_000_000)} ;; esac`;
    place.tool("df", df(2_000_000));
    const of = async () => (await machineFindings(place)).find(({ check }) => check === "disk-config");
    expect(await of()).toMatchObject({ verdict: "ok", seen: "1.9 GiB of 19.1 GiB free on /home" });
    place.tool("df", df(20_000));
    expect(await of()).toMatchObject({ verdict: "fault" });
  });
});

describe("the config's folder", () => {
  test.each([
    [{ isFolderReadOnly: true }, "ai may not write to the folder of ~/config.yaml"],
    [{ isConfigReadOnly: true }, "ai may not write to ~/config.yaml"],
  ])("may not be written to (%o)", (rights, seen) => {
    const facts = { user: "ai", backups: { count: 0, newest: "" }, ...rights };
    const site = { facts, host: { config: { presetPath: "~/config.yaml" } } } as unknown as Site;
    const [finding] = [...writable(site)];
    expect(finding).toMatchObject({ check: "config-writable", verdict: "warning", seen });
  });

  test("has backups, and the newest one is named", async () => {
    const place = await placeWith();
    writeFileSync(`${place.path}.bak-20260131T235900Z`, "");
    const list = await machineFindings(place);
    expect(list.find(({ check }) => check === "backups")).toMatchObject({
      verdict: "ok",
      seen: "1 backup, the newest from 2026-01-31 23:59 UTC",
    });
  });

  test("is not there", async () => {
    const list = await machineFindings(
      await placeWith({}, { AI_SERVER_PRESET_PATH: "/nowhere/config.yaml" }),
    );
    expect(list.find(({ check }) => check === "backups")).toMatchObject({ verdict: "unchecked" });
    expect(list.some(({ check }) => check === "disk-config" || check === "config-writable")).toBe(false);
  });
});

test.each([
  [recordedSystemd("nofiles.journal"), "warning", "journalctl --flush"],
  ["-- No entries --", "unchecked", undefined],
  ["2026-11-30T19:00:00+0000 vm llama-swap[1]: hello", "ok", undefined],
])("the journal with %j is %s", async (journal, verdict, next) => {
  const [one] = await found({ journal }, "journal");
  expect(one).toMatchObject({ verdict });
  if (next !== undefined) expect(one?.next).toContain(next);
});

describe("memory", () => {
  const killed = (date: string, program: string) =>
    recordedSystemd("kernel.journal")
      .replace("2026-11-30T19:32:59+0000", date)
      .replace("(python3)", `(${program})`);
  const now = () => new Date().toISOString().replace(/\.\d+Z$/, "+0000");

  test.each([
    [
      "2020-01-01T10:00:00+0000",
      "llama-server",
      "ok",
      "llama-server (30837) was ended on 2020-01-01 10:00 UTC",
    ],
    ["2020-01-01T10:00:00+0000", "python3", "ok", "no process of the server's"],
  ])("ran out on %s for %s: %s", async (date, program, verdict, seen) => {
    const [memory] = await found({ kernel: killed(date, program) }, "memory");
    expect(memory).toMatchObject({ verdict, seen: expect.stringContaining(seen) });
  });

  test("ran out today for a model", async () => {
    const [memory] = await found({ kernel: killed(now(), "llama-server") }, "memory");
    expect(memory).toMatchObject({
      verdict: "warning",
      next: expect.stringContaining("/ai-server-ctx <id> max"),
    });
  });

  test("ran out for a process of the unit's, which its own journal says", async () => {
    const unitKernel = `${now()} host systemd[800]: llama-swap.service: A process of this unit has been killed by the OOM killer.`;
    const [memory] = await found({ kernel: "", unitKernel }, "memory");
    expect(memory).toMatchObject({
      verdict: "warning",
      seen: expect.stringContaining("a process of llama-swap.service was ended"),
    });
  });

  test("is unknown where the kernel's log may not be read", async () => {
    expect((await found({ kernel: "" }, "memory"))[0]).toMatchObject({ verdict: "unchecked" });
  });
});

test("what the machine says controls no terminal", async () => {
  const bell = "\u001b]0;evil\u0007\u001b[2J";
  const list = await machineFindings(
    await placeWith({
      show: show("good", { FragmentPath: `/x${bell}`, UnitFileState: `odd${bell}`, WantedBy: bell }),
      unit: `[Service]\nUser=${bell}me\n`,
      journal: bell,
      disk: `1 1 1${bell}`,
    }),
  );
  expect(list.map(({ check }) => check)).toContain("unit-lines");
  expect(list.map(({ subject, seen, next }) => `${subject}${seen}${next}`).join("")).not.toMatch(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not come through
    /[\u0000-\u001f]/,
  );
});

test("without AI_SERVER_SSH_HOST there is one unchecked finding", async () => {
  const list = await machineFindings(await placeWith({}, { AI_SERVER_SSH_HOST: "" }));
  expect(list).toMatchObject([{ check: "machine", verdict: "unchecked" }]);
});

test("a machine that cannot be reached is one fault, with ssh's reason", async () => {
  const place = await placeWith({}, { AI_SERVER_SSH_HOST: "ai@127.0.0.1" });
  place.tool("ssh", "echo 'Host key verification failed.' >&2; exit 255");
  expect(await machineFindings(place)).toMatchObject([
    {
      check: "ssh",
      verdict: "fault",
      seen: expect.stringContaining("does not know the host key of ai@127.0.0.1"),
    },
    { check: "machine", verdict: "unchecked" },
  ]);
});

test("with a restricted key the rest is unchecked", async () => {
  const place = await placeWith({}, { AI_SERVER_SSH_HOST: "ai@127.0.0.1", AI_SERVER_SSH_MODE: "wrapper" });
  place.installsWrapper();
  const list = await machineFindings(place);
  expect(list.map(({ check, verdict }) => `${verdict} ${check}`)).toEqual([
    "ok ssh",
    "ok startup-files",
    "ok unit-running",
    "ok journal",
    "unchecked machine",
  ]);
  expect(list[0]?.seen).toContain("its key may only run ai-server-admin");
});

describe("--fix", () => {
  async function fix(parts: SystemdParts, answer: boolean, prepare: (place: Place) => void = () => {}) {
    const place = await placeWith();
    const log = join(process.env.HOME ?? "", "log");
    installSystemd(place, { ...parts, does: `echo "$*" >>'${log}'` });
    prepare(place);
    const user = saying(answer);
    await place.type("/ai-server-doctor --fix", user);
    const lines = existsSync(log) ? readFileSync(log, "utf8").trimEnd().split("\n") : [];
    return { user, lines, home: process.env.HOME ?? "" };
  }

  test("enables lingering, after a question", async () => {
    const { user, lines } = await fix({ linger: "Linger=no" }, true);
    expect(user.questions[0]?.title).toMatch(/^Let the units of \S+ run without a login\?$/);
    expect(lines[0]).toMatch(/^--no-ask-password enable-linger -- \S+$/);
    expect(lines).toHaveLength(1);
    expect((await fix({ linger: "Linger=no" }, false)).lines).toEqual([]);
  });

  test("enables the unit, after a question", async () => {
    const { user, lines } = await fix({ state: "disabled" }, true);
    expect(user.questions[0]?.title).toBe("Let llama-swap.service start with the machine?");
    expect(lines).toEqual(["--user --no-ask-password enable -- llama-swap.service"]);
    expect((await fix({ state: "disabled" }, false)).lines).toEqual([]);
  });

  /** llama-swap where docs/server.md puts it, and the config where it is by default. */
  function installed(place: Place): void {
    const folder = join(process.env.HOME ?? "", ".local/bin");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "llama-swap"), "#!/bin/sh\n", { mode: 0o755 });
    place.set({ AI_SERVER_PRESET_PATH: "~/.config/llama-swap/config.yaml" });
  }

  test("writes the missing unit of docs/server.md, shown whole before, and enables it", async () => {
    const { user, lines, home } = await fix({ state: "none" }, true, installed);
    const text = docsBlock("server.md", "unit");
    expect(user.questions[0]?.title).toBe("Write llama-swap.service on the server, and enable it?");
    for (const line of text.trim().split("\n")) expect(user.questions[0]?.text).toContain(line);
    expect(readFileSync(join(home, ".config/systemd/user/llama-swap.service"), "utf8")).toBe(text);
    expect(lines).toEqual(["--user daemon-reload", "--user --no-ask-password enable -- llama-swap.service"]);
  });

  test("writes nothing where the user says no", async () => {
    const { lines, home } = await fix({ state: "none" }, false, installed);
    expect([lines, readdirSync(home)]).toEqual([[], [".local"]]);
  });

  test("reports what loginctl refuses, and goes on", async () => {
    const place = await placeWith();
    installSystemd(place, {
      linger: "Linger=no",
      state: "disabled",
      does: "echo 'Could not enable linger: Access denied' >&2; exit 1",
    });
    const user = saying(true);
    await place.type("/ai-server-doctor --fix", user);
    expect(user.told.join("\n")).toMatch(/Lingering: Lingering could not be enabled.*Access denied/);
    expect(user.questions).toHaveLength(2);
  });
});

test("looking changes nothing on the machine", async () => {
  const place = await placeWith({ state: "none", linger: "Linger=no", does: `echo "$*" >>"$HOME/log"` });
  await place.type("/ai-server-doctor", new User("json").readsOutput());
  expect(readdirSync(process.env.HOME ?? "")).toEqual([]);
  expect(readdirSync(place.folder)).toEqual(["config.yaml"]);
});
