import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { requestText, sha256 } from "../../host/ssh/protocol.ts";
import { FILE, installWrapper, LocalHost } from "../support/local-host.ts";
import { isInstalled } from "../support/programs.ts";

const OLD = "models: {}\n";
const WRITERS = 4;
let host: LocalHost;

beforeEach(() => {
  host = new LocalHost(OLD);
});
afterEach(() => host.remove());

/** Programs that report two writers at the same time in what only the holder of the lock does: it asks for a hash. */
function watchTheLock(): void {
  const inside = join(host.tools, "inside");
  const wrong = join(host.tools, "wrong");
  writeFileSync(wrong, "");
  host.own(wrong);
  host.tool(
    "sha256sum",
    `mkdir '${inside}' 2>/dev/null || echo two >>'${wrong}'; /usr/bin/sleep 0.02; /usr/bin/sha256sum "$@"; rmdir '${inside}' 2>/dev/null`,
  );
  // Also one that waits for the others, or for what a killed writer has left, looks again soon.
  host.tool("sleep", "exec /usr/bin/sleep 0.1");
  // Between a look at a lock and what is done about it anything may happen.
  host.tool("readlink", `found=$(/usr/bin/readlink "$@"); /usr/bin/sleep 0.05; printf '%s\\n' "$found"`);
}

/** One write by a forced command. @returns the codes and keys of its answer */
function write(shell: readonly string[], index: number, hasFlock: boolean): Promise<string[]> {
  const [program = "", ...args] = shell;
  const wrapper = join(host.tools, "ai-server-admin");
  const content = Buffer.from(`# writer ${index}\n`);
  const nonce = createHash("md5").update(`${index}`).digest("hex");
  const without = join(host.tools, "without-flock");
  const path = [...(hasFlock ? [] : [without]), host.tools, process.env.PATH].join(delimiter);
  const env = { ...process.env, PATH: path, SSH_ORIGINAL_COMMAND: `write ${sha256(OLD)}` };
  const ids = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
  const child = spawn(program, [...args, wrapper], { env, cwd: host.folder, ...ids });
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  child.stdin.end(requestText(nonce, { verb: ["write"], content }, undefined));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", () =>
      resolve(
        said
          .split("\n")
          .filter((line) => /^(error|stamp)/.test(line))
          .map((line) => line.replace(/^(stamp).*/, "$1")),
      ),
    );
  });
}

const SHELLS: readonly (readonly string[])[] = [["dash"], ["bash"], ["busybox", "sh"]];
const CASES = SHELLS.filter(([name = ""]) => isInstalled(name)).map((shell) => ({ shell, flock: "none" }));

test.each([...CASES, { shell: ["sh"], flock: "half" }, { shell: ["sh"], flock: "all" }])(
  "of several writers at once in $shell, $flock of them with flock, one at a time holds the lock, one writes, and the others learn why they may not",
  async ({ shell, flock }) => {
    watchTheLock();
    mkdirSync(join(host.tools, "without-flock"));
    writeFileSync(join(host.tools, "without-flock", "flock"), "#!/bin/sh\nexit 69\n", { mode: 0o755 });
    installWrapper(join(host.tools, "ai-server-admin"), host.settings());
    // Left by writers that were killed: of this version, and of one before.
    symlinkSync("999999@no-boot", join(host.folder, `.${FILE}.ai-server-lock`));
    symlinkSync("999999@no-boot@1", join(host.folder, `.${FILE}.ai-server-lock.1000-999999-abcd`));
    const answers = await Promise.all(
      Array.from({ length: WRITERS }, (_, index) =>
        write(shell, index, flock === "all" || (flock === "half" && index % 2 === 0)),
      ),
    );
    expect(readFileSync(join(host.tools, "wrong"), "utf8")).toBe("");
    const [written, ...refused] = answers.flat().sort().reverse();
    expect(written).toBe("stamp");
    // On a machine that is busy the last in the line may have waited for too long.
    expect(refused).toHaveLength(WRITERS - 1);
    for (const code of refused) expect(code).toMatch(/^error (changed|locked)$/);
    expect(host.text).toMatch(/^# writer \d\n$/);
    expect(readdirSync(host.folder).sort()).toEqual([FILE, ...host.backups]);
  },
  60_000,
);

test.each([
  ["runs no more", (now: string) => now.replace(/^\d+/, "4194304")],
  ["is of another boot", (now: string) => now.replace(/@.*@/, "@another@")],
  ["has ended, its number being used again", (now: string) => now.replace(/@\d+$/, "@1")],
])("a writer waits for a lock whose process runs, and removes one whose process %s", async (_why, change) => {
  host.tool("flock", "exit 69");
  const stat = readFileSync(`/proc/${process.pid}/stat`, "utf8");
  const started = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  const mine = `${process.pid}@${boot}@${started}`;
  const ticket = join(host.folder, `.${FILE}.ai-server-lock.1000-${process.pid}-abcd`);
  symlinkSync(mine, ticket);
  host.tool("sleep", "exit 0");
  await expect(host.machine().write("new\n", sha256(OLD), FILE)).rejects.toMatchObject({ code: "locked" });
  expect(host.leftovers).toEqual([`.${FILE}.ai-server-lock.1000-${process.pid}-abcd`]);
  expect(host.text).toBe(OLD);
  symlinkSync(change(mine), join(host.folder, `.${FILE}.ai-server-lock.999-dead`));
  unlinkSync(ticket);
  await host.machine().write("new\n", sha256(OLD), FILE);
  expect(host.text).toBe("new\n");
  expect(host.leftovers).toEqual([]);
});

test("a writer without flock waits once for all that killed writers have left", async () => {
  const log = join(host.tools, "sleeps");
  writeFileSync(log, "");
  host.own(log);
  host.tool("flock", "exit 69");
  host.tool("sleep", `echo "$1" >>'${log}'`);
  for (let at = 0; at < 20; at += 1)
    symlinkSync("4194304@no-boot@1", join(host.folder, `.${FILE}.ai-server-lock.10${10 + at}-4194304-abcd`));
  await host.machine().write("new\n", sha256(OLD), FILE);
  expect(readFileSync(log, "utf8")).toBe("1\n");
  expect([host.text, host.leftovers]).toEqual(["new\n", []]);
});
