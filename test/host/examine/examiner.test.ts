import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Examiner } from "../../../host/examine/examiner.ts";
import { type ServerShell, SHELLS } from "../../support/download-place.ts";
import { LocalHost } from "../../support/local-host.ts";
import { installSystemd, recordedSystemd, type SystemdParts } from "../../support/systemd.ts";

let host: LocalHost;
beforeEach(() => {
  host = new LocalHost("models: {}\n");
});
afterEach(() => host.remove());

function examiner(parts: SystemdParts = {}, shell: ServerShell = "dash", unit = "llama-swap.service") {
  installSystemd(host, parts);
  const sh = join(host.tools, "sh");
  rmSync(sh, { force: true });
  symlinkSync(`/usr/bin/${shell}`, sh);
  return new Examiner(host.shell("direct", { serviceUnit: unit }, { HOME: host.folder }));
}

const unitFolder = (): string => join(host.folder, ".config/systemd/user");

describe.each(SHELLS)("in %s", (shell) => {
  test("all that is known of a machine in order arrives", async () => {
    const facts = await examiner({}, shell).look("~/models/not/yet");
    const room = { totalBytes: 1_024_000_000_000, freeBytes: 614_400_000_000, mount: "/srv/the models" };
    expect(facts).toMatchObject({
      unit: {
        problem: undefined,
        fileState: "enabled",
        activeState: "active",
        subState: "running",
        restarts: 0,
        path: "/home/ai-server/.config/systemd/user/llama-swap.service",
        needsReload: false,
        stopSeconds: 45,
        wantedBy: ["default.target"],
        wrong: [],
        systemUnit: undefined,
      },
      isLingering: true,
      modelsRoom: room,
      configRoom: room,
      configProblem: undefined,
      isConfigReadOnly: false,
      isFolderReadOnly: false,
      backups: { count: 0, newest: "" },
      hasFlock: true,
      journal: { isReadable: true, said: expect.stringContaining("listening") },
      kills: [],
      unitKill: undefined,
    });
    expect(Math.abs(Number(facts.now) - Date.now())).toBeLessThan(60_000);
    expect(facts.user).not.toBe("");
  });

  test("a unit that restarts in a loop arrives with its exit status and its wrong lines", async () => {
    const { unit } = await examiner({ state: "broken" }, shell).look("/models");
    expect(unit).toMatchObject({
      activeState: "activating",
      subState: "auto-restart",
      result: "exit-code",
      exitStatus: 216,
      restarts: 2,
      stopSeconds: 10,
    });
    expect(unit.wrong.map(({ line }) => line.key)).toEqual([
      "After",
      "Wants",
      "User",
      "Group",
      "LimitMEMLOCK_BYTES",
      "Foo",
      "WantedBy",
    ]);
  });

  test("files of models are looked at whatever their names, and nothing in them is run", async () => {
    const odd = join(host.folder, 'it\'s $(touch ran) `touch ran`; touch ran & "q" *');
    mkdirSync(odd);
    host.own(odd);
    const [whole, locked, link] = ["-rf é.gguf", "locked.gguf", "link.gguf"].map((name) =>
      join(odd, name),
    ) as [string, string, string];
    writeFileSync(whole, "GGUF");
    writeFileSync(locked, "GGUF", { mode: 0o000 });
    symlinkSync(whole, link);
    const closed = join(host.folder, "closed");
    mkdirSync(closed, { mode: 0o000 });
    const paths = [
      whole,
      locked,
      link,
      odd,
      join(odd, "none.gguf"),
      join(closed, "x.gguf"),
      "relative.gguf",
      `${whole}\ntouch ran`,
      whole,
    ];
    const found = await examiner({}, shell).files(paths);
    expect(found).toEqual(
      [
        ["file", 4],
        ["unreadable", 4],
        ["file", 4],
        ["other", 0],
        ["missing", 0],
        ["hidden", 0],
        ["unasked", 0],
        ["unasked", 0],
        ["file", 4],
      ].map(([kind, bytes], at) => ({ path: paths[at], kind, bytes })),
    );
    expect(existsSync(join(host.folder, "ran"))).toBe(false);
  });

  test("a missing unit is written whole with mode 644, and systemd reads it", async () => {
    const log = join(host.folder, "log");
    const text = '[Service]\nExecStart=/bin/true "it\'s" $$(touch ran) `touch ran`\n# no line end';
    await examiner({ does: `echo "$*" >>'${log}'` }, shell).writeUnit(text);
    const path = join(unitFolder(), "llama-swap.service");
    expect(readFileSync(path, "utf8")).toBe(text);
    expect(statSync(path).mode & 0o777).toBe(0o644);
    expect(readdirSync(unitFolder())).toEqual(["llama-swap.service"]);
    expect(readFileSync(log, "utf8")).toBe("--user daemon-reload\n");
  });

  test("lingering and enabling run one command each", async () => {
    const log = join(host.folder, "log");
    const one = examiner({ does: `echo "$*" >>'${log}'` }, shell);
    await one.enableLingering();
    await one.enableUnit();
    const lines = readFileSync(log, "utf8").trimEnd().split("\n");
    expect(lines[0]).toMatch(/^--no-ask-password enable-linger -- \S+$/);
    expect(lines[1]).toBe("--user --no-ask-password enable -- llama-swap.service");
  });

  test("the newest of the backups is the one that was written last", async () => {
    for (const [stamp, second] of [
      ["20260102T000000Z", 9],
      ["20260103T000000Z", 5],
    ] as const) {
      const path = `${host.path}.bak-${stamp}`;
      writeFileSync(path, "");
      utimesSync(path, second, second);
    }
    writeFileSync(`${host.path}.bak-2026`, "");
    chmodSync(host.path, 0o440);
    chmodSync(host.folder, 0o550);
    const facts = await examiner({}, shell).look("/models");
    expect(facts).toMatchObject({
      backups: { count: 2, newest: "20260102T000000Z" },
      isConfigReadOnly: true,
      isFolderReadOnly: true,
    });
    chmodSync(host.folder, 0o750);
  });

  test("a process that the kernel ended is read from the journal, else from dmesg", async () => {
    const recorded = recordedSystemd("kernel.journal");
    const { kills } = await examiner({ kernel: recorded }, shell).look("/models");
    expect(kills).toEqual([{ date: new Date("2026-11-30T19:32:59Z"), program: "python3", pid: 30837 }]);
    const other = examiner({ kernel: "" }, shell);
    host.tool("dmesg", `cat <<'END'\n${recordedSystemd("kernel.dmesg")}END`);
    const [kill] = (await other.look("/models")).kills ?? [];
    expect(kill).toMatchObject({ program: "python3", pid: 30837 });
    const uptime = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
    const expected = Date.now() - (uptime - 1845) * 1000;
    expect(Math.abs(Number(kill?.date) - expected)).toBeLessThan(5000);
  });
});

test("what cannot be read is unknown", async () => {
  const one = examiner({ kernel: "", linger: "" });
  host.tool("df", "exit 1");
  host.tool("loginctl", "echo 'Failed to connect to bus: No such file or directory' >&2; exit 1");
  const facts = await one.look("/models");
  expect(facts).toMatchObject({ kills: undefined, modelsRoom: undefined, configRoom: undefined });
  expect(facts.isLingering).toBe(
    existsSync("/var/lib/systemd/linger/nobody") ||
      (existsSync("/var/lib/systemd/linger") ? false : undefined),
  );
});

test("a user without a login is not lingering", async () => {
  const one = examiner();
  host.tool("loginctl", "echo 'Failed to get user: User ID 65534 is not logged in or lingering' >&2; exit 1");
  expect((await one.look("/models")).isLingering).toBe(false);
});

test("without a bus the unit's own file is read, and the reason arrives", async () => {
  const one = examiner();
  mkdirSync(unitFolder(), { recursive: true });
  writeFileSync(join(unitFolder(), "llama-swap.service"), "[Service]\nUser=me\n");
  host.tool("systemctl", "echo 'Failed to connect to bus: No medium found' >&2; exit 1");
  const { unit } = await one.look("/models");
  expect(unit.problem).toMatchObject({ code: "no-bus" });
  expect(unit.wrong.map(({ why }) => why)).toEqual(["account"]);
});

test("a unit of the machine's with that name is seen", async () => {
  const one = examiner({ state: "none", system: "LoadState=loaded\nActiveState=active" });
  expect((await one.look("/models")).unit).toMatchObject({
    problem: { code: "no-unit" },
    systemUnit: "active",
  });
});

test.each(["file", "link"])("a unit that is there as a %s is never overwritten", async (what) => {
  const one = examiner();
  mkdirSync(unitFolder(), { recursive: true });
  const path = join(unitFolder(), "llama-swap.service");
  if (what === "file") writeFileSync(path, "mine");
  else symlinkSync("/dev/null", path);
  host.own(unitFolder());
  await expect(one.writeUnit("[Service]\n")).rejects.toMatchObject({ code: "unit-exists" });
  expect(readFileSync(path, "utf8")).toBe(what === "file" ? "mine" : "");
});

test.each([
  "../../evil.service",
  ".hidden.service",
  "-x.service",
  "a b.service",
  "$(touch ran).service",
  "llama-swap.service\ntouch ran",
  "llama-swap.timer",
])("a unit called %j is neither written nor enabled", async (unit) => {
  const log = join(host.folder, "log");
  const one = examiner({ does: `echo "$*" >>'${log}'` }, "dash", unit);
  await expect(one.writeUnit("[Service]\n")).rejects.toMatchObject({ code: "bad-request" });
  if (!unit.endsWith(".timer") && !unit.startsWith(".")) {
    await expect(one.enableUnit()).rejects.toMatchObject({ code: "no-unit" });
  }
  expect(readdirSync(host.folder)).toEqual(["config.yaml"]);
});

test("what loginctl says is the reason why lingering could not be enabled", async () => {
  const one = examiner({ does: "echo 'Could not enable linger: Access denied' >&2; exit 1" });
  await expect(one.enableLingering()).rejects.toMatchObject({
    code: "linger-failed",
    message: expect.stringMatching(/Access denied.*sudo loginctl enable-linger/),
  });
});

test("a key with a forced command is refused before anything is sent", async () => {
  const one = new Examiner(host.shell("wrapper"));
  expect(one.isDirect).toBe(false);
  for (const ask of [one.look("/models"), one.files(["/x"]), one.writeUnit("x"), one.enableLingering()]) {
    await expect(ask).rejects.toMatchObject({ code: "not-allowed" });
  }
});

test("a program that does not end is given up, and the rest arrives", async () => {
  const one = examiner();
  host.tool("df", "exec /usr/bin/sleep 600");
  // What the limit waits with.
  host.tool("sleep", "exec /usr/bin/sleep 1");
  const facts = await one.look("/models");
  expect(facts.modelsRoom).toBeUndefined();
  expect(facts.isLingering).toBe(true);
});

test("looking changes nothing", async () => {
  const log = join(host.folder, "log");
  const one = examiner({ state: "none", does: `echo "$*" >>'${log}'` });
  await one.look("~/models");
  await one.files([join(host.folder, "x.gguf")]);
  expect(readdirSync(host.folder)).toEqual(["config.yaml"]);
});
