import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { RemoteMachine } from "../../host/ssh/machine.ts";
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
  machine(change?: Partial<ShellSettings>): RemoteMachine;
  remove(): void | Promise<void>;
}

export const OLD = "\ufeff# config\r\nmodels:\r\n  a: { cmd: 'llama-server -c 1024' }\r\n  # no line end";
export const NEW = OLD.replace("1024", "2048");

/** What a systemctl of the user's prints for a unit that runs. */
export const UNIT = (argv: string): string =>
  `LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nMainPID=0\nNRestarts=0\nExecStart={ path=/usr/bin/llama-swap ; argv[]=${argv} ; ignore_errors=no ; start_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }`;

const DOCKER =
  "/usr/bin/docker run --rm -v /home/u/config.yaml:/app/config.yaml ghcr.io/mostlygeek/llama-swap:vulkan -config /app/config.yaml";

/** What depends on the way to the machine: bytes, paths, rights, and what each verb answers. */
export function machineRow(makeHost: (text: string) => HostUnderTest): void {
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

  test("of two writers at once one wins, and the other gets an error", async () => {
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

  test("reports the unit's state, its command line, and whether llama-swap watches the file", async () => {
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
