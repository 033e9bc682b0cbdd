import {
  appendFileSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FILE } from "./local-host.ts";
import { type HostUnderTest, machineRow, NEW, OLD } from "./machine-row.ts";

/** Every verb, in what it does and in what it refuses. */
export function machineSuite(makeHost: (text: string) => HostUnderTest): void {
  describe("by any way", () => machineRow(makeHost));
  describe("in detail", () => machineDetails(makeHost));
}

/** What the scripts do in the same way however they are reached. */
function machineDetails(makeHost: (text: string) => HostUnderTest): void {
  let host: HostUnderTest;
  beforeEach(() => {
    host = makeHost(OLD);
  });
  afterEach(() => host.remove());

  async function hashNow(machine = host.machine()): Promise<string> {
    const [file] = await machine.read();
    return file?.hash ?? "";
  }

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

  test("a restart command needs no unit; without it, one that is none is said", async () => {
    const serviceUnit = "";
    const able = await host.machine({ serviceUnit, restartCommand: "true" }).status();
    expect(able).toMatchObject({ problem: undefined, hasRestartCommand: true, watchesConfig: false });
    const unable = host.machine({ serviceUnit });
    expect((await unable.status()).problem).toMatch(/Set (AI_SERVER_SERVICE_UNIT|unit in ai-server-admin)/);
    await expect(unable.restart()).rejects.toMatchObject({ code: "no-unit" });
    await expect(unable.logs(5)).rejects.toMatchObject({ code: "no-unit" });
  });
}
