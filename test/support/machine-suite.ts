import {
  appendFileSync,
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Machine } from "../../host/ssh/machine.ts";
import type { ShellSettings } from "../../host/ssh/shell.ts";
import { FILE } from "./local-host.ts";

/** One server's folder and the way to it; the same tests run on all of them. */
export interface HostUnderTest {
  readonly folder: string;
  readonly path: string;
  /** Where the scripts run. */
  readonly home: string;
  readonly text: string;
  readonly leftovers: string[];
  readonly backups: string[];
  own(path: string): void;
  /** Puts a program before all others on the server user's PATH. */
  tool(name: string, script: string): void;
  machine(change?: Partial<ShellSettings>): Machine;
  remove(): void | Promise<void>;
}

export const OLD = "\ufeff# config\r\nmodels:\r\n  a: { cmd: 'llama-server -c 1024' }\r\n  # no line end";
export const NEW = OLD.replace("1024", "2048");

/** What a systemctl of the user's prints for a unit that runs. */
export const UNIT = (argv: string): string =>
  `LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nMainPID=0\nNRestarts=0\nExecStart={ path=/usr/bin/llama-swap ; argv[]=${argv} ; ignore_errors=no ; start_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }`;

const DOCKER =
  "/usr/bin/docker run --rm -v /home/u/config.yaml:/app/config.yaml ghcr.io/mostlygeek/llama-swap:vulkan -config /app/config.yaml";

/** Every verb, in what it does and in what it refuses. */
export function machineSuite(makeHost: (text: string) => HostUnderTest): void {
  let host: HostUnderTest;
  beforeEach(() => {
    host = makeHost(OLD);
  });
  afterEach(() => host.remove());

  async function hashNow(machine = host.machine()): Promise<string> {
    const [file] = await machine.read();
    return file?.hash ?? "";
  }

  test("reads, writes with a backup, lists, and puts the backup back", async () => {
    const machine = host.machine();
    const [file] = await machine.read();
    expect(file).toMatchObject({ name: FILE, text: OLD, mode: "-rw-r-----" });
    const before = statSync(host.path);
    const written = await machine.write(NEW, file?.hash ?? "", FILE);
    expect(host.text).toBe(NEW);
    const after = statSync(host.path);
    expect([after.mode, after.uid, after.gid]).toEqual([before.mode, before.uid, before.gid]);
    expect(after.ino).not.toBe(before.ino);
    expect(host.backups).toEqual([`${FILE}.bak-${written.backup}`]);
    const copy = join(host.folder, host.backups[0] ?? "");
    expect(readFileSync(copy, "utf8")).toBe(OLD);
    expect(statSync(copy).mode).toBe(before.mode);
    const [listed] = await machine.list(FILE);
    expect(listed).toMatchObject({ stamp: written.backup, bytes: Buffer.byteLength(OLD), hash: file?.hash });
    expect(Math.abs(Number(listed?.date) - Date.now())).toBeLessThan(60_000);
    expect((await machine.readBackup(written.backup ?? "", FILE)).text).toBe(OLD);
    await machine.restore(written.backup ?? "", written.hash, FILE);
    expect(host.text).toBe(OLD);
    expect(host.leftovers).toEqual([]);
  });

  test.each([
    ["nothing", ""],
    ["one byte", "x"],
    ["what a shell would run", "$(touch ran)`touch ran`'; touch ran; \"\n.\nEND\n$HOME\\\n"],
    ["a million characters", "models: # \u00e4\u20ac\n".repeat(70_000)],
  ])("a content of %s arrives byte for byte", async (_what, content) => {
    await host.machine().write(content, await hashNow(), FILE);
    expect(host.text).toBe(content);
    expect((await host.machine().read())[0]?.text).toBe(content);
    expect(host.leftovers).toEqual([]);
  });

  test("everything is on the disk before it is renamed, and the folder after", async () => {
    const log = `${host.home}/order`;
    const shown = `for last; do :; done; echo "\${0##*/} \${last##*/}" >>'${log}'`;
    const hash = await hashNow();
    for (const name of ["sync", "mv"]) host.tool(name, `${shown}\nexec /usr/bin/${name} "$@"`);
    const { backup } = await host.machine().write(NEW, hash, FILE);
    const order = readFileSync(log, "utf8").replace(/tmp\.\d+/g, "tmp.N");
    rmSync(log);
    expect(order.split("\n")).toEqual([
      `sync .${FILE}.ai-server-tmp.N`,
      `sync .${FILE}.ai-server-tmp.N.bak`,
      `mv ${FILE}.bak-${backup}`,
      `mv ${FILE}`,
      `sync ${host.folder.split("/").at(-1)}`,
      "",
    ]);
  });

  test("what a restart command starts gets neither the script's umask nor its signals", async () => {
    await host
      .machine({ restartCommand: `umask >'${host.folder}/called'; echo *.yaml >>'${host.folder}/called'` })
      .restart();
    expect(readFileSync(join(host.folder, "called"), "utf8")).toMatch(/^0?0[02]?[0-7]{2}\n/);
    expect(readFileSync(join(host.folder, "called"), "utf8")).not.toMatch(/077/);
  });

  test("the same content again writes nothing", async () => {
    expect(await host.machine().write(OLD, await hashNow(), FILE)).toMatchObject({ backup: undefined });
    expect(host.backups).toEqual([]);
  });

  test("refuses to write over another program's edit", async () => {
    const hash = await hashNow();
    appendFileSync(host.path, "# theirs\n");
    await expect(host.machine().write(NEW, hash, FILE)).rejects.toMatchObject({
      code: "changed",
      message: expect.stringMatching(/changed by another program meanwhile\. Nothing was changed\.$/),
    });
    expect(host.text).toBe(`${OLD}# theirs\n`);
    expect([...host.backups, ...host.leftovers]).toEqual([]);
  });

  test("of two writers at once one wins, and the other is told", async () => {
    const hash = await hashNow();
    const results = await Promise.allSettled(
      ["one\n", "two\n", "three\n"].map((text) => host.machine().write(text, hash, FILE)),
    );
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const result of results) {
      if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "changed" });
    }
    expect(["one\n", "two\n", "three\n"]).toContain(host.text);
    expect(host.leftovers).toEqual([]);
  });

  test("a link stays a link, also over folders, and its target is replaced", async () => {
    const real = join(host.folder, "real");
    mkdirSync(real);
    host.own(real);
    renameSync(host.path, join(real, FILE));
    symlinkSync(join(host.folder, "hop"), host.path);
    symlinkSync(`real/../real/${FILE}`, join(host.folder, "hop"));
    await host.machine().write(NEW, await hashNow(), FILE);
    expect(lstatSync(host.path).isSymbolicLink()).toBe(true);
    expect(lstatSync(join(real, FILE)).isSymbolicLink()).toBe(false);
    expect(readFileSync(join(real, FILE), "utf8")).toBe(NEW);
    expect(await host.machine().list(FILE)).toHaveLength(1);
  });

  test("a missing file, a link in a circle, a folder without files: each has its sentence", async () => {
    const absent = host.machine({ presetPath: join(host.folder, "absent.yaml") });
    await expect(absent.read()).rejects.toMatchObject({
      code: "missing",
      message: expect.stringMatching(/does not exist .*Set (AI_SERVER_PRESET_PATH|preset_path)/),
    });
    symlinkSync("circle.yaml", join(host.folder, "circle.yaml"));
    const circle = host.machine({ presetPath: join(host.folder, "circle.yaml") });
    await expect(circle.read()).rejects.toMatchObject({ code: "missing" });
    mkdirSync(join(host.folder, "empty"));
    host.own(join(host.folder, "empty"));
    expect(await host.machine({ presetPath: join(host.folder, "empty") }).read()).toEqual([]);
  });

  test("a file without rights, a read-only file and a folder that may not be written to", async () => {
    const machine = host.machine();
    const hash = await hashNow();
    chmodSync(host.path, 0o440);
    await expect(machine.write(NEW, hash, FILE)).rejects.toMatchObject({
      code: "read-only",
      message: expect.stringMatching(/is read-only\..*Nothing was changed\./),
    });
    chmodSync(host.path, 0o640);
    chmodSync(host.folder, 0o550);
    await expect(machine.write(NEW, hash, FILE)).rejects.toMatchObject({ code: "folder-read-only" });
    chmodSync(host.folder, 0o750);
    chmodSync(host.path, 0o200);
    await expect(machine.read()).rejects.toMatchObject({
      code: "unreadable",
      message: expect.stringMatching(/may not read/),
    });
    expect([...host.backups, ...host.leftovers]).toEqual([]);
  });

  test("bytes that are not UTF-8 are refused rather than changed", async () => {
    writeFileSync(host.path, Buffer.from([0x61, 0xff, 0xfe]));
    await expect(host.machine().read()).rejects.toMatchObject({ code: "not-utf8" });
  });

  test("the last ten backups stay, and nothing else that is called so is touched", async () => {
    for (let day = 10; day < 23; day++) {
      const path = `${host.path}.bak-202001${day}T000000Z`;
      writeFileSync(path, `${day}`);
      host.own(path);
    }
    writeFileSync(`${host.path}.bak-mine`, "mine");
    const { backup } = await host.machine().write(NEW, await hashNow(), FILE);
    expect(host.backups).toHaveLength(10);
    expect(host.backups.at(-1)).toBe(`${FILE}.bak-${backup}`);
    expect(host.backups[0]).toBe(`${FILE}.bak-20200114T000000Z`);
    expect(readFileSync(`${host.path}.bak-mine`, "utf8")).toBe("mine");
  });

  test("what a dead writer left is taken over", async () => {
    const left = join(host.folder, `.${FILE}.ai-server-tmp.4711`);
    for (const path of [left, `${left}.bak`]) {
      writeFileSync(path, "half");
      host.own(path);
    }
    await host.machine().write(NEW, await hashNow(), FILE);
    expect(host.leftovers).toEqual([]);
  });

  test("without flock a link is the lock, and a dead holder's is taken over", async () => {
    host.tool("flock", "exit 69");
    const lock = join(host.folder, `.${FILE}.ai-server-lock`);
    symlinkSync("4711@another-boot", lock);
    await host.machine().write(NEW, await hashNow(), FILE);
    expect(host.text).toBe(NEW);
    expect(host.leftovers).toEqual([]);
  });

  test("a full disk leaves the old file, and nothing beside it", async () => {
    const hash = await hashNow();
    host.tool("sh", `ulimit -f 4; exec /bin/sh "$@"`);
    await expect(host.machine().write(NEW.repeat(200), hash, FILE)).rejects.toMatchObject({
      message: expect.stringMatching(/Nothing was changed\.$/),
    });
    expect(host.text).toBe(OLD);
    expect([...host.backups, ...host.leftovers]).toEqual([]);
  });

  test("odd paths are data: nothing in them is run, and they work", async () => {
    const odd = join(host.folder, '-rf it\'s $(touch ran) `touch ran` "q" ; touch ran & * ~\u00e9');
    mkdirSync(odd);
    host.own(odd);
    const path = join(odd, `${"x".repeat(180)} $(touch ran).yaml`);
    writeFileSync(path, OLD);
    host.own(path);
    const machine = host.machine({ presetPath: path });
    const [file] = await machine.read();
    await machine.write(NEW, file?.hash ?? "", file?.name ?? "");
    expect(readFileSync(path, "utf8")).toBe(NEW);
    for (const presetPath of [
      `${host.path}\n$(touch ran)`,
      `/${"../".repeat(20)}${"a".repeat(10_000)}`,
      `~/$(touch ${host.folder}/ran)`,
      "/dev/zero",
      `${host.folder}/\u001b[2J`,
    ]) {
      await expect(host.machine({ presetPath }).read()).rejects.toMatchObject({ name: "HostError" });
    }
    expect(existsSync(join(host.home, "ran"))).toBe(false);
  });

  test.each([
    "../config.yaml",
    "/etc/passwd",
    "-rf.yaml",
    ".hidden.yaml",
    "a\nb.yaml",
    "x.txt",
    "",
    "$(id).yaml",
  ])("in a folder, a file named %j is refused", async (name) => {
    const machine = host.machine({ presetPath: host.folder });
    await expect(machine.write(NEW, "0".repeat(64), name)).rejects.toMatchObject({
      code: expect.stringMatching(/bad-request|missing/),
    });
    expect(host.text).toBe(OLD);
  });

  test("a folder gives its configurations, and the named one is changed", async () => {
    for (const [name, text] of [
      ["two.yml", "two"],
      [".hidden.yaml", "no"],
      ["notes.txt", "no"],
    ] as const) {
      writeFileSync(join(host.folder, name), text);
      host.own(join(host.folder, name));
    }
    const machine = host.machine({ presetPath: host.folder });
    const files = await machine.read();
    expect(files.map(({ name, text }) => [name, text])).toEqual([
      [FILE, OLD],
      ["two.yml", "two"],
    ]);
    const { backup } = await machine.write("changed", files[1]?.hash ?? "", "two.yml");
    expect(readFileSync(join(host.folder, "two.yml"), "utf8")).toBe("changed");
    expect((await machine.list("two.yml")).map(({ stamp }) => stamp)).toEqual([backup]);
    expect(await machine.list(FILE)).toEqual([]);
    expect((await machine.read()).map(({ name }) => name)).toEqual([FILE, "two.yml"]);
  });

  test.each(["20200101T000000Z", "../../etc/passwd", "$(touch ran)", "", "2020"])(
    "a backup named %j does not exist",
    async (stamp) => {
      await expect(host.machine().restore(stamp, await hashNow(), FILE)).rejects.toMatchObject({
        code: "no-backup",
      });
      await expect(host.machine().readBackup(stamp, FILE)).rejects.toMatchObject({ code: "no-backup" });
    },
  );

  test("restarts the unit, and says why it cannot be", async () => {
    host.tool("systemctl", `printf '%s|' "$@" >'${host.folder}/called'`);
    await host.machine().restart();
    expect(readFileSync(join(host.folder, "called"), "utf8")).toBe("--user|restart|--|stand-in.service|");
    const says = async (words: string) => {
      host.tool("systemctl", `echo '${words}' >&2; exit 1`);
      return host.machine().restart();
    };
    await expect(says("Failed to restart x: Unit stand-in.service not found.")).rejects.toMatchObject({
      code: "no-unit",
      message: expect.stringMatching(/Set (AI_SERVER_SERVICE_UNIT|unit in ai-server-admin)/),
    });
    await expect(says("Failed to connect to bus: No such file or directory")).rejects.toMatchObject({
      code: "no-bus",
      message: expect.stringMatching(/loginctl enable-linger/),
    });
    await expect(says("Job for x failed because of $(touch ran)")).rejects.toMatchObject({
      code: "restart-failed",
      message: expect.stringMatching(/Job for x failed because of \$\(touch ran\)/),
    });
  });

  test("a restart command takes systemctl's place, and its words are the reason when it fails", async () => {
    await host.machine({ restartCommand: `echo "it's run" >'${host.folder}/called'` }).restart();
    expect(readFileSync(join(host.folder, "called"), "utf8")).toBe("it's run\n");
    const failing = host.machine({ restartCommand: "echo no docker here >&2; exit 3" });
    await expect(failing.restart()).rejects.toMatchObject({
      code: "restart-failed",
      message: expect.stringMatching(/no docker here/),
    });
    expect((await failing.status()).hasRestartCommand).toBe(true);
  });

  test("a restart command needs no unit; without it, one that is none is said", async () => {
    const serviceUnit = "";
    const able = await host.machine({ serviceUnit, restartCommand: "true" }).status();
    expect(able).toMatchObject({ problem: undefined, hasRestartCommand: true, watchesConfig: false });
    const unable = host.machine({ serviceUnit });
    expect((await unable.status()).problem).toMatch(/Set (AI_SERVER_SERVICE_UNIT|unit in ai-server-admin)/);
    await expect(unable.restart()).rejects.toMatchObject({ code: "no-unit" });
    await expect(unable.logs(5)).rejects.toMatchObject({ code: "no-unit" });
  });

  test("tells the unit's state, its command line, and whether llama-swap watches the file", async () => {
    const argv = `/usr/bin/llama-swap -config "${host.path}"`;
    host.tool("systemctl", `cat <<'END'\n${UNIT(argv)}\nEND`);
    expect(await host.machine().status()).toMatchObject({
      problem: undefined,
      activeState: "active",
      subState: "running",
      commandLine: ["/usr/bin/llama-swap", "-config", host.path],
      watchesConfig: false,
      hasRestartCommand: false,
    });
    const watches = async (flag: string) => {
      host.tool("systemctl", `cat <<'END'\n${UNIT(`${argv} ${flag}`)}\nEND`);
      return (await host.machine().status()).watchesConfig;
    };
    expect(await watches("-watch-config")).toBe(true);
    expect(await watches("--watch-config=true -listen :1")).toBe(true);
    expect(await watches("-watch-config=false")).toBe(false);
    host.tool("systemctl", `cat <<'END'\n${UNIT(`${DOCKER} -watch-config`)}\nEND`);
    expect(await host.machine().status()).toMatchObject({ watchesConfig: false, isBlind: true });
    host.tool("systemctl", "echo LoadState=not-found");
    expect((await host.machine().status()).problem).toMatch(/does not exist/);
    host.tool("systemctl", "echo 'Failed to connect to bus: No medium found' >&2; exit 1");
    expect((await host.machine().status()).problem).toMatch(/enable-linger/);
  });

  test("the journal's last lines come cleaned", async () => {
    host.tool("journalctl", `printf '%s ' "$@"; printf '\\n\\033[31mred\\033[0m\\n'`);
    const lines = await host.machine().logs(25);
    expect(lines).toEqual(["--user -u stand-in.service -n 25 --no-pager -o short-iso ", "red"]);
  });
}
